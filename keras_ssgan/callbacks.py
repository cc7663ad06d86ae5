"""Keras callbacks for training a GAN."""

import logging
import os
import time
from pathlib import Path

import keras

from keras_ssgan import plotting
from keras_ssgan.types import PathLike

_logger = logging.getLogger(__name__)


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of generated images after each epoch.

    The latents are the same every time, so the pictures show one set of
    digits as it forms.

    Args:
        folder: Where `epoch_001.png` and its followers go; it is created.
        num_images: int, images in a grid.
        columns: int, images in a row.
        seed: int, seed of the latents.
    """

    def __init__(
        self,
        folder: PathLike,
        num_images: int = 25,
        columns: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.num_images = num_images
        self.columns = columns
        self.seed = seed

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        images = self.model.generate(self.num_images, seed=self.seed)
        grid = plotting.image_grid(images, columns=self.columns)
        grid.save(self.folder / f"epoch_{epoch + 1:03d}.png")


class LatestModel(keras.callbacks.Callback):
    """Saves the whole model after each epoch, replacing the one before.

    `keras.callbacks.ModelCheckpoint` writes over the old file, and leaves a
    broken one if it is interrupted; here the new file takes the place of the
    old one only when it is complete.

    Args:
        path: Where the model goes; ends in `.keras`.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        temporary = self.path.with_suffix(".writing.keras")
        self.model.save(temporary)
        os.replace(temporary, self.path)


class TimeLeft(keras.callbacks.Callback):
    """Logs how long the epochs that are left will take.

    Keras' progress bar tells the time left of one epoch; this tells that of
    the whole training, before each epoch but the first.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._batches = 0
        self._epochs = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The first batch compiles: the clock starts after it.
        if not self._batches:
            self._start = time.perf_counter()
        self._batches += 1

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # Here and not at an epoch's end, where the progress bar still has its
        # line to finish.
        if self._batches > 1:
            passed = time.perf_counter() - self._start
            batches_per_epoch = self._batches / self._epochs
            seconds_per_epoch = passed / (self._batches - 1) * batches_per_epoch
            left = seconds_per_epoch * (self.params["epochs"] - epoch)
            _logger.info("About %s of training left", _duration(left))
        self._epochs += 1


def _duration(seconds):
    """A time for people, of two figures or so."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
