"""How fast a preset trains on this machine, by backend and dtype."""

import contextlib
import itertools
import logging
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssgan import backends
from keras_ssgan import settings
from keras_ssgan.errors import InputError
from keras_ssgan.workers import Worker

_logger = logging.getLogger(__name__)

# What MNIST has: images, and pixels along each side.
_IMAGES = 60_000
_SIZE = 28
# Steps after the first, in which the rest is compiled and allocated.
_WARM_UP = 2


class Training:
    """A preset's model, trained on random images.

    What the pixels show costs no time. It lives in a `Worker`.

    Args:
        name: Name of the preset.
        preset: A `settings.Preset`; that of the name may be one that is not
            known in this process.
        dtype: Dtype policy of the networks.
        batch_size: int, images per step.

    Raises:
        InputError: If the dtype is not usable.
    """

    def __init__(
        self,
        name: str,
        preset: settings.Preset,
        dtype: str,
        batch_size: int,
    ) -> None:
        from keras_ssgan.config import Config
        from keras_ssgan.model import SemiSupervisedGAN

        settings.PRESETS[name] = preset
        # Refuses what `train` would.
        Config(preset=name, dtype=dtype)
        self.batch_size = batch_size
        self.gan = SemiSupervisedGAN.from_preset(name, dtype=dtype, seed=0)
        self.gan.compile()

    def train(self, steps: int) -> float:
        """Times one call of `fit`.

        Args:
            steps: int, batches in it, half of each labelled.

        Returns:
            Seconds.
        """
        rng = np.random.default_rng(0)
        count = steps * self.batch_size
        images = rng.integers(0, 256, (count, _SIZE, _SIZE), dtype="uint8")
        labels = np.arange(count) % self.gan.num_classes
        labels[::2] = -1
        start = time.perf_counter()
        self.gan.fit(images, labels, batch_size=self.batch_size, verbose=0)
        return time.perf_counter() - start


def compare(
    preset: str,
    names: Sequence[str] | None = None,
    dtypes: Sequence[str] = ("float32",),
    batch_size: int | None = None,
    steps: int = 20,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """Times `fit` under each backend and dtype, in turns.

    Each is in a process of its own, and takes its turn in every round (A B C,
    A B C, ...), so that load of the machine meets all alike.

    Args:
        preset: Name of the preset.
        names: The backends. Defaults to those that are installed.
        dtypes: Dtype policies.
        batch_size: Images per step. Defaults to the preset's.
        steps: int, steps in a turn.
        rounds: int, turns of each.

    Returns:
        List of dicts, the fastest first: `backend`, `dtype`, `batch_size`;
        `first_step_seconds`, with compiling; `seconds` of each turn; and of
        their median `images_per_second` and `milliseconds` of a step, and
        `run_minutes`, what the steps of the preset's run take on MNIST's
        60,000 images; and `spread`, the shortest turn over the longest.

    Raises:
        InputError: If there is no such preset, backend or dtype here, or no
            room in a batch for an unlabelled image.
    """
    known = settings.get_preset(preset)
    batch_size = batch_size or known.batch_size
    if _unlabeled_per_batch(known, batch_size) < 1:
        raise InputError(
            f"batch_size is {batch_size}; give one with room for labelled and "
            "unlabelled images, such as 64"
        )
    # Where there is none, the first is named as missing.
    names = names or backends.installed() or backends.BACKENDS[:1]
    for name in names:
        backends.check_known(name)
        if name not in backends.installed():
            raise backends.not_installed(name)
    with contextlib.ExitStack() as stack:
        timings = []
        for name, dtype in itertools.product(names, dtypes):
            _logger.info("%s, %s: the first step ...", name, dtype)
            worker = stack.enter_context(
                Worker(name, Training, preset, known, dtype, batch_size)
            )
            timing = {
                "backend": name,
                "dtype": dtype,
                "batch_size": batch_size,
                "first_step_seconds": worker.ask("train", 1),
                "seconds": [],
            }
            worker.ask("train", _WARM_UP)
            timings.append((worker, timing))
        for number in range(rounds):
            _logger.info("round %d of %d ...", number + 1, rounds)
            for worker, timing in timings:
                timing["seconds"].append(worker.ask("train", steps))
    rows = [summarize(timing, known, steps) for _, timing in timings]
    return sorted(rows, key=lambda row: row["milliseconds"])


def summarize(
    timing: dict[str, Any], preset: settings.Preset, steps: int
) -> dict[str, Any]:
    """What seconds say of the speed.

    Args:
        timing: Dict with `seconds` and `batch_size`, as in `compare`.
        preset: The `settings.Preset` that was timed.
        steps: int, steps in each of `seconds`.

    Returns:
        `timing` and the rest of what `compare` gives.
    """
    seconds, batch_size = timing["seconds"], timing["batch_size"]
    step = statistics.median(seconds) / steps
    return {
        **timing,
        "images_per_second": batch_size / step,
        "milliseconds": 1000 * step,
        "run_minutes": _count_steps(preset, batch_size) * step / 60,
        "spread": min(seconds) / max(seconds),
    }


def _count_steps(preset, batch_size):
    """Steps of the preset's run, whose epochs are of the unlabelled images."""
    per_batch = _unlabeled_per_batch(preset, batch_size)
    unlabeled = _IMAGES - _count_labels(preset)
    return preset.epochs * math.ceil(unlabeled / per_batch)


def _unlabeled_per_batch(preset, batch_size):
    labeled = preset.labeled_per_batch(batch_size)
    if labeled is None:
        share = _count_labels(preset) / _IMAGES
        labeled = max(1, round(share * batch_size))
    return batch_size - labeled


def _count_labels(preset):
    if isinstance(preset.labels, float):
        return round(preset.labels * _IMAGES)
    return preset.labels
