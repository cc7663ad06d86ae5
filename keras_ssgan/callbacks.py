"""Keras callbacks for training a GAN."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np

from keras_ssgan import health
from keras_ssgan import plotting
from keras_ssgan import runs
from keras_ssgan.errors import RunStopped


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


class Checkpoint(keras.callbacks.Callback):
    """Saves all that a run needs to go on from the very step it has reached.

    After each epoch, and within one every so often; if the run is to be
    interrupted, at once, and the run ends. It also ends once a loss or a weight
    is NaN or infinite, or the discriminator has collapsed
    (`health.find_collapse`); nothing that looks like it is saved.

    In between, a step costs a look at the clock: the device is not waited for.
    A callback of `on_train_batch_end` would have Keras fetch the logs of every
    step, so this one looks before a step.

    Goes last of all callbacks: with it, the epoch is finished.

    Args:
        checkpoints: `checkpoints.Checkpoints`, where to save.
        progress: `checkpoints.Progress` that the model is at.
        folder: Path of the run's folder, with the `history.csv` that another
            callback writes.
        interruption: `interruption.Interruption`.
        every: float, seconds between two checkpoints of an epoch.

    Raises:
        RunStopped: If the run was interrupted or has failed.
    """

    def __init__(self, checkpoints, progress, folder, interruption, every):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.folder = Path(folder)
        self.interruption = interruption
        self.every = every
        self._saved = progress

    def on_train_begin(self, logs=None):
        # `fit` resets them before an epoch.
        self._metrics = [v.numpy() for v in self.model.metrics_variables]
        self._due = time.monotonic() + self.every

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._first_step = 0
        if epoch == self.progress.epoch and self.progress.step:
            self._first_step = self.progress.step
            for variable, value in zip(
                self.model.metrics_variables, self._metrics, strict=True
            ):
                variable.assign(value)

    def on_train_batch_begin(self, batch, logs=None):
        stopping = self.interruption.signal is not None
        if not stopping and time.monotonic() < self._due:
            return
        step = self._first_step + batch
        if stopping or not self._find_collapse(self._means()):
            self._save(self._epoch, step)
        self._due = time.monotonic() + self.every
        if stopping:
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        collapse = self._find_collapse(logs)
        if collapse:
            raise self._failure(f"{collapse} in epoch {epoch + 1}")
        if not np.isfinite(list(logs.values())).all():
            raise self._failure(f"a loss became NaN in epoch {epoch + 1}")
        self._save(epoch + 1, 0)
        if self.interruption.signal is not None:
            self._stop()

    def _means(self):
        return {
            name: float(value)
            for name, value in self.model.get_metrics_result().items()
        }

    def _find_collapse(self, logs):
        return health.find_collapse(
            logs, runs.read_history(self.folder), self.model.num_classes
        )

    def _save(self, epoch, step):
        history = self.folder / "history.csv"
        progress = dataclasses.replace(
            self.progress,
            epoch=epoch,
            step=step,
            # As bytes: the ends of its lines stay as they are.
            history=history.read_bytes().decode(),
        )
        try:
            self.checkpoints.save(self.model, progress)
        except FloatingPointError as error:
            raise self._failure(f"{error} after {progress}") from None
        self._saved = progress

    def _stop(self):
        signal = self.interruption.signal
        raise RunStopped(
            f"stopped by {signal.name} after {self._saved}; go on with: "
            f"{runs.resume_command(self.folder)}",
            128 + signal,
        )

    def _failure(self, reason):
        advice = (
            "start another run with another --seed, a larger --batch-size or "
            "--dtype float32"
        )
        epochs = self._saved.epoch
        if epochs:
            command = runs.resume_command(self.folder)
            advice += f", or have its results: {command} --epochs {epochs}"
        return RunStopped(
            f"{reason}; the state after {self._saved} is kept; {advice}",
            exit_code=1,
        )
