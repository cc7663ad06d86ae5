"""A contestant in a process of its own, which waits for its turns."""

import time

from benchmarks import report
from benchmarks.agreement import losses_of
from benchmarks.inputs import draw_batches
from benchmarks.inputs import initial_weights
from benchmarks.peers import build
from keras_ssgan.workers import Worker


def start_worker(contestant, settings, batch_size):
    """A `Worker` with `Turns`; `ask` calls one of their methods.

    Args:
        contestant: A `Contestant`.
        settings: A `Preset`.
        batch_size: int.
    """
    return Worker(contestant.backend, Turns, contestant, settings, batch_size)


class Turns:
    """What a contestant does when it is asked."""

    def __init__(self, contestant, settings, batch_size):
        self.contestant = contestant
        self.settings = settings
        self.batch_size = batch_size

    def losses(self):
        """See `agreement.losses_of`."""
        return losses_of(self.contestant, self.settings)

    def start(self):
        """Builds the contestant; seconds of its first step, with compiling."""
        self.peer = build(
            self.contestant, self.settings, initial_weights(self.settings)
        )
        seconds = self.train(1)
        # What else is compiled, or first allocated, with the second.
        self.train(2)
        return seconds

    def train(self, steps):
        """Seconds that so many steps take."""
        return self._time(self.peer.train, steps)

    def train_bare(self, steps):
        """The same without what `fit` adds."""
        return self._time(self.peer.train_bare, steps)

    def _time(self, train, steps):
        batches = draw_batches(self.settings, self.batch_size, steps)
        start = time.perf_counter()
        train(batches)
        return time.perf_counter() - start

    def peak_memory(self):
        """As `report.peak_mib`."""
        return report.peak_mib()

    def start_matmul(self, size):
        """Makes two square matrices, in the contestant's dtype."""
        from keras import ops
        from keras import random

        self.matrices = [
            ops.cast(random.normal((size, size)), self.contestant.dtype)
            for _ in range(2)
        ]
        self.matmul(1)

    def matmul(self, count):
        """Seconds that so many products of them take."""
        from keras import ops

        start = time.perf_counter()
        for _ in range(count):
            product = ops.matmul(*self.matrices)
        float(ops.cast(product[0, 0], "float32"))
        return time.perf_counter() - start
