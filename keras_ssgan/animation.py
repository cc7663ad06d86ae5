"""Animated pictures, as GIF."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_ssgan import files
from keras_ssgan import plotting
from keras_ssgan.types import PathLike

_MOST_FRAMES = 100
# Times in milliseconds; GIF counts hundredths of a second.
_TRAINING_TIME = 10_000
_SHORTEST, _LONGEST = 100, 500
_HOLD = 2500
_LOOP_FRAME = 80


def training(folder: PathLike, path: PathLike) -> None:
    """Animates the sample grids of a training, with the epoch above each.

    The animation takes about ten seconds, holds its last frame, and repeats.
    Of more than 100 epochs, 100 are shown, evenly spaced, among them the
    first and the last. The pictures in the folder alone decide what it shows,
    so that a resumed run has the animation of an unbroken one. Where there is
    none, nothing is written.

    Args:
        folder: Where `callbacks.SampleGrid` wrote its `epoch_*.png`.
        path: Where the animation goes; ends in `.gif`.
    """
    pictures = _sample_grids(Path(folder))
    if not pictures:
        return
    epochs = np.array(sorted(pictures))
    chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_FRAMES))
    frames = []
    for epoch in epochs[np.rint(chosen).astype(int)]:
        with Image.open(pictures[epoch]) as picture:
            frames.append(
                plotting.captioned(picture, f"Epoch {epoch} of {epochs[-1]}")
            )
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
        if match := re.fullmatch(r"epoch_(\d+)", path.stem):
            pictures[int(match[1])] = path
    return pictures


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
