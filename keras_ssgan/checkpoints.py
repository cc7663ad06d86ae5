"""Checkpoints that a run goes on from as if it had never stopped.

A checkpoint is one file: a line with the SHA-256 of all that follows, a line of
JSON, and the raw values of the variables one after the other. Nothing in it is
executed, and nothing but the model's own shapes decides what is allocated.
"""

import dataclasses
import hashlib
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.backend import is_float_dtype

from keras_ssgan import distribution
from keras_ssgan import files
from keras_ssgan import limits
from keras_ssgan import saving
from keras_ssgan import text_files
from keras_ssgan.errors import InputError
from keras_ssgan.history import parse_history
from keras_ssgan.types import PathLike

_FORMAT = 1
_DIGEST_LENGTH = 2 * hashlib.sha256().digest_size
# Bytes of the largest number that there is in a checkpoint.
_LARGEST_NUMBER = 8
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come.

    The batches follow from the seed, the epoch and the step alone (see
    `datasets.MixedDataset`), so this is the order of the data, too.

    Attributes:
        steps_per_epoch: int.
        epoch: int, the running epoch, from 0.
        step: int, steps of it that are done.
        history: Text of `history.csv`, a row for each finished epoch.
        dataset: Its `datasets.Dataset.fingerprint`; `""` if it is not known.
        preset: Its `settings.Preset.fingerprint`; `""` if it is not known.
        seconds: float, that it has taken so far; not compared.
    """

    steps_per_epoch: int
    epoch: int = 0
    step: int = 0
    history: str = ""
    dataset: str = ""
    preset: str = ""
    seconds: float = dataclasses.field(default=0.0, compare=False)

    def __str__(self):
        return f"{self.epoch} epochs and {self.step} steps"


class Checkpoints:
    """The last two good checkpoints of a model, in a folder of their own.

    Beside them stays the last one of an epoch's end, if it is none of the two.

    Args:
        folder: Path of the folder; it is created.
        arrays: List of NumPy arrays that belong to the run's state, too:
            integers, which are class ids, or floats from 0 to 1. They are
            saved, and restored in place.

    Attributes:
        progress: `Progress` of the last good one; `None` while there is none.
    """

    def __init__(
        self, folder: PathLike, arrays: Sequence[np.ndarray] = ()
    ) -> None:
        self.folder = Path(folder)
        self.arrays = arrays
        self.progress: Progress | None = None

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Writes a checkpoint, and drops those that are not kept any more.

        Nothing is done where the last good one is of the same progress.

        Args:
            model: A compiled `keras.Model`, its optimizer's variables built.
            progress: A `Progress`.

        Raises:
            FloatingPointError: If a weight, an optimizer's variable or a mean
                loss is NaN or infinite; nothing is written then.
            InputError: If the folder is a link.
            OSError: If the file cannot be written; those before it stay.
        """
        if progress == self.progress:
            return
        arrays = [
            *(np.ascontiguousarray(v.numpy()) for v in _state(model)),
            *self.arrays,
        ]
        if not all(np.isfinite(array).all() for array in arrays):
            raise FloatingPointError("a weight or a loss is NaN or infinite")
        header = {
            "format": _FORMAT,
            "progress": dataclasses.asdict(progress),
            "dtypes": [array.dtype.name for array in arrays],
        }
        body: list[Any] = [
            json.dumps(header).encode() + b"\n",
            *(array.reshape(-1).view("uint8") for array in arrays),
        ]
        digest = hashlib.sha256()
        for part in body:
            digest.update(part)

        files.check_no_link(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(progress)
        with (
            files.replacing(path) as temporary,
            temporary.open("wb") as file,
        ):
            file.write(digest.hexdigest().encode() + b"\n")
            file.writelines(body)
        kept = [path]
        if self.progress is not None:
            kept.append(self._path(self.progress))
        paths = self._paths()
        whole = [p for p in paths if _is_of_whole_epochs(p) and p <= path]
        kept += whole[-1:]
        for other in paths:
            if other not in kept:
                files.remove(other)
        self.progress = progress

    def restore(
        self, model: keras.Model, within_epoch: bool = True
    ) -> Progress | None:
        """Gives a model the state of the newest good checkpoint.

        A checkpoint that is broken, or says what none of a run does, is
        skipped, with a warning that says why.

        Args:
            model: A compiled `keras.Model`, as in `save`; it is not touched
                unless a checkpoint is good. A `SemiSupervisedGAN`, whose
                classes they are, where there are `arrays`.
            within_epoch: Whether it may be one within an epoch. Those are
                skipped otherwise, with a warning, too.

        Returns:
            The checkpoint's `Progress`, or `None` if there is no checkpoint.

        Raises:
            InputError: If there are checkpoints and none is good, or the folder
                is a link.
        """
        files.check_no_link(self.folder)
        if distribution.is_main():
            files.remove_leftovers(self.folder)
        paths = self._paths()
        if not within_epoch:
            paths = self._without_steps(paths)
        for path in reversed(paths):
            try:
                progress, arrays = self._read(model, path)
            except (OSError, ValueError) as error:
                reason = text_files.one_line(error)
                _logger.warning("Skipped the checkpoint %s: %s", path, reason)
                continue
            # Those of the model come first.
            for variable in _state(model):
                variable.assign(arrays.pop(0))
            for kept, array in zip(self.arrays, arrays, strict=True):
                kept[...] = array
            self.progress = progress
            return progress
        if paths:
            raise InputError(
                f"none of the {len(paths)} checkpoints in {self.folder} is "
                f"good ({reason}); restore them from a copy, or remove them "
                "to begin again"
            )
        return None

    def _read(self, model, path):
        progress, arrays = _read(path, [*_state(model), *self.arrays])
        if path != self._path(progress):
            raise ValueError(f"its name is not that of {progress}")
        for array in arrays[len(arrays) - len(self.arrays) :]:
            most = 1 if is_float_dtype(array.dtype) else model.num_classes - 1
            if np.any((array < 0) | (array > most)):
                raise ValueError(
                    "a label in it, or its weight, is out of range"
                )
        return progress, arrays

    def _without_steps(self, paths):
        whole = [path for path in paths if _is_of_whole_epochs(path)]
        if paths[-1:] != whole[-1:] and distribution.is_main():
            _logger.warning(
                "The run was stopped within an epoch; several processes begin "
                "that epoch again"
            )
        return whole

    def _path(self, progress):
        # Names sort by progress.
        return self.folder / f"{progress.epoch:06}-{progress.step:08}.ckpt"

    def _paths(self):
        # A glob's * would find the temporary files, too.
        return sorted(self.folder.glob("[0-9]*.ckpt"))


def _is_of_whole_epochs(path):
    return path.stem.endswith(f"-{0:08}")


def _state(model):
    """The variables that decide how training goes on."""
    return (
        model.trainable_variables
        # The random states are among them.
        + model.non_trainable_variables
        + model.optimizer.variables
        # An epoch's means go on from where they were.
        + model.metrics_variables
    )


def _read(path, variables):
    """Reads a checkpoint and checks all of it.

    Returns:
        `(progress, arrays)`, one array for each of the variables.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is broken, with the reason.
    """
    num_values = sum(math.prod(variable.shape) for variable in variables)
    with limits.open_regular(path) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes > limits.MAX_JSON_BYTES + num_values * _LARGEST_NUMBER:
            raise ValueError(f"it is too large, of {num_bytes:,} bytes")
        data = file.read(num_bytes)
    body = memoryview(data)[_DIGEST_LENGTH + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != data[:_DIGEST_LENGTH]:
        raise ValueError(
            f"its checksum is not that of its {len(data)} bytes, so it was cut "
            "short or changed"
        )
    end = data.find(b"\n", _DIGEST_LENGTH + 1) + 1
    progress, dtypes = _parse_header(data[_DIGEST_LENGTH + 1 : end])

    if len(dtypes) != len(variables):
        raise ValueError("it is of another network")
    sizes = [
        dtype.itemsize * math.prod(variable.shape)
        for dtype, variable in zip(dtypes, variables, strict=True)
    ]
    if end + sum(sizes) != len(data):
        raise ValueError("it is of another network, or of other images")
    arrays = []
    for variable, dtype, size in zip(variables, dtypes, sizes, strict=True):
        array = np.frombuffer(data[end : end + size], dtype)
        if not _fits(array, variable.dtype):
            raise ValueError("a number in it is NaN, infinite or out of range")
        arrays.append(array.reshape(variable.shape))
        end += size
    return progress, arrays


def _fits(array, dtype):
    """Whether numbers are finite, and of a dtype once they are cast to it."""
    if is_float_dtype(array.dtype) != is_float_dtype(dtype):
        return False
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    exact = is_float_dtype(dtype) or np.array_equal(cast, array)
    return exact and np.isfinite(cast).all()


def _parse_header(line):
    try:
        header = text_files.parse_json(line)
        names = header["dtypes"]
        if header["format"] != _FORMAT or any(
            name not in saving.DTYPES for name in names
        ):
            raise ValueError
        progress = Progress(**header["progress"])
    except (ValueError, TypeError, KeyError):
        raise ValueError("another version of keras_ssgan wrote it") from None
    _check_progress(progress)
    return progress, [np.dtype(name) for name in names]


def _check_progress(progress):
    """Raises a ValueError on what no run writes."""
    counts = (progress.steps_per_epoch, progress.epoch, progress.step)
    if (
        # A bool is an int, too.
        any(type(count) is not int for count in counts)
        or not isinstance(progress.history, str)
        or not isinstance(progress.dataset, str)
        or not isinstance(progress.preset, str)
        or not isinstance(progress.seconds, float)
        or progress.epoch < 0
        or not 0 <= progress.step < progress.steps_per_epoch
        or not 0 <= progress.seconds < math.inf
    ):
        raise ValueError(
            "its epoch, step, history, dataset, preset or seconds are none of "
            "a run"
        )
    try:
        # Half of a pair of surrogates, which JSON can hold, is no text.
        history = parse_history(progress.history.encode().decode())
        if history and "loss" not in history:
            raise ValueError("it has no loss")
    except ValueError as error:
        raise ValueError(f"its history is damaged: {error}") from None
