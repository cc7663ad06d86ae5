"""A contestant in a process of its own, which waits for its turns."""

import multiprocessing
import os
import time
import traceback

from benchmarks import report
from benchmarks.agreement import losses_of
from benchmarks.inputs import draw_batches
from benchmarks.inputs import initial_weights
from benchmarks.peers import Unavailable
from benchmarks.peers import build
from keras_ssgan.scheduling import schedule_as_batch


class Worker:
    """The parent's end: `ask` calls a function below in the process.

    Args:
        contestant: A `Contestant`.
        settings: A `Preset`.
        batch_size: int.
    """

    def __init__(self, contestant, settings, batch_size):
        context = multiprocessing.get_context("spawn")
        self.contestant = contestant
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(other, contestant, settings, batch_size),
            daemon=True,
        )
        self.process.start()
        other.close()

    def ask(self, command, *args):
        """The result of `command`, a method of `Turns`.

        Raises:
            Unavailable: If the contestant cannot run here.
            RuntimeError: If it fails, with its traceback.
        """
        self.connection.send((command, args))
        result = self.connection.recv()
        if isinstance(result, Exception):
            raise result
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.join()


def _serve(connection, contestant, settings, batch_size):
    # As `keras-ssgan train` is: threads that interrupt each other on a few
    # cores can take half as long again, now and then.
    schedule_as_batch()
    # Before the first import of Keras, which reads it once.
    os.environ["KERAS_BACKEND"] = contestant.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Otherwise the first process takes all memory of a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    turns = Turns(contestant, settings, batch_size)
    while True:
        try:
            command, args = connection.recv()
        except EOFError:
            return
        try:
            result = getattr(turns, command)(*args)
        except Unavailable as error:
            result = error
        except Exception:
            # Tracebacks cannot be sent, and some exceptions neither.
            result = RuntimeError(f"{contestant}:\n{traceback.format_exc()}")
        connection.send(result)


class Turns:
    """The process's end."""

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
