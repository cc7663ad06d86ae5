"""Keras callbacks for training a GAN."""

import os
import time
from pathlib import Path

import keras

from keras_ssgan import plotting


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

    def __init__(self, folder, num_images=25, columns=5, seed=0):
        super().__init__()
        self.folder = Path(folder)
        self.num_images = num_images
        self.columns = columns
        self.seed = seed

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
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

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch, logs=None):
        temporary = self.path.with_suffix(".writing.keras")
        self.model.save(temporary)
        os.replace(temporary, self.path)


class WaitingShare(keras.callbacks.Callback):
    """Measures how much of the training's time it waits for data.

    It waits from the end of a step, or the beginning of an epoch, until the
    next batch is made. A device that still computes meanwhile is not idle, so
    that this is the most it can be. Steps have to take the batches one by one,
    and in order: `steps_per_execution=1` and `shuffle=False`.

    Args:
        data: The `datasets.MixedDataset` that is trained on.

    Attributes:
        seconds: float, time of all steps so far.
        waiting: float, the part of it that was waited.
    """

    def __init__(self, data):
        super().__init__()
        self.data = data
        self.seconds = 0.0
        self.waiting = 0.0

    @property
    def share(self):
        """The share of time that was waited, in [0, 1]; 0 before a step."""
        return self.waiting / self.seconds if self.seconds else 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._idle_since = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        made_at = self.data.made_at.pop(batch, self._idle_since)
        self.waiting += max(made_at - self._idle_since, 0.0)
        self.seconds += now - self._idle_since
        self._idle_since = now
