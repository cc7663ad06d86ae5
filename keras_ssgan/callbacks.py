"""Keras callbacks for training a GAN."""

import os
from pathlib import Path

import keras

from keras_ssgan import distribution
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
        if distribution.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        # By all processes: on JAX each has a part of the model to compute.
        images = self.model.generate(self.num_images, seed=self.seed)
        if not distribution.is_main():
            return
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
