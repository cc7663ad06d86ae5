"""Animated pictures, as GIF."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_ssgan import files
from keras_ssgan import limits
from keras_ssgan import plotting
from keras_ssgan import text_files
from keras_ssgan.datasets import image_files
from keras_ssgan.types import PathLike

_MOST_FRAMES = 100
# Times in milliseconds; GIF counts hundredths of a second.
_TRAINING_TIME = 10_000
_SHORTEST, _LONGEST = 100, 500
_HOLD = 2500
_LOOP_FRAME = 80
_logger = logging.getLogger(__name__)


def training(folder: PathLike, path: PathLike) -> None:
    """Animates the sample grids of a training, with the epoch above each.

    The animation takes about ten seconds, holds its last frame, and repeats.
    Of more than 100 epochs, 100 are shown, evenly spaced, among them the
    first and the last. The pictures in the folder alone decide what it shows,
    so that a resumed run has the animation of an unbroken one. What is no grid
    of the size of the first is left out, with a warning. Where there is no
    grid, nothing is written.

    Args:
        folder: Where `callbacks.SampleGrid` wrote its `epoch_*.png`.
        path: Where the animation goes; ends in `.gif`.
    """
    pictures = _sample_grids(Path(folder))
    epochs = np.array(sorted(pictures))
    chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_FRAMES))
    frames: list[Image.Image] = []
    size = None
    left_out = []
    for epoch in epochs[np.rint(chosen).astype(int)]:
        try:
            grid = _read_grid(pictures[epoch], size)
        # Pillow raises many types on what makes no sense to it.
        except Exception as error:
            left_out.append(f"{pictures[epoch]}: {error}")
            continue
        size = grid.size
        frames.append(
            plotting.captioned(grid, f"Epoch {epoch} of {epochs[-1]}")
        )
    if left_out:
        _logger.warning(
            "Left %d of %d pictures out of the animation; the first of them "
            "is %s",
            len(left_out),
            len(chosen),
            text_files.one_line(left_out[0]),
        )
    if not frames:
        return
    duration = np.clip(_TRAINING_TIME / len(frames), _SHORTEST, _LONGEST)
    durations = [round(duration / 10) * 10] * (len(frames) - 1) + [_HOLD]
    _save(frames, path, durations)


def loop(images: np.ndarray, path: PathLike) -> None:
    """Shows images one after the other, again and again.

    Args:
        images: uint8 array of shape `(n, height, width, channels)`, with one
            or three channels. Each is enlarged to 256 pixels or a little
            more.
        path: Where the animation goes; ends in `.gif`.
    """
    scale = -(-256 // max(images.shape[1:3]))
    frames = [
        plotting.image_grid(image[np.newaxis], scale=scale, padding=0)
        for image in images
    ]
    _save(frames, path, _LOOP_FRAME)


def _sample_grids(folder: Path) -> dict[int, Path]:
    """Maps epochs to their pictures."""
    pictures = {}
    for path in folder.glob("epoch_*.png"):
        # Of a bounded number, which a stranger's names are not.
        if match := re.fullmatch(r"epoch_(\d{1,9})", path.stem):
            pictures[int(match[1])] = path
    return pictures


def _read_grid(path, size):
    """Reads a sample grid, of the given size unless that is `None`."""
    with image_files.open_image(path) as picture:
        if math.prod(picture.size) > limits.MAX_GRID_PIXELS:
            raise ValueError("it is too large")
        if picture.mode not in ("L", "RGB") or size not in (None, picture.size):
            raise ValueError("it is no grid like those before it")
        return picture.copy()


def _save(
    frames: Sequence[Image.Image],
    path: PathLike,
    duration: int | Sequence[int],
) -> None:
    first, *others = frames
    with files.replacing(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=duration,
            loop=0,
        )
