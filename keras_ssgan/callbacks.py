"""Keras callbacks for training a GAN."""

import dataclasses
import logging
import shutil
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_ssgan import distribution
from keras_ssgan import files
from keras_ssgan import health
from keras_ssgan import plotting
from keras_ssgan import propagation
from keras_ssgan import runs
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.checkpoints import Progress
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.mixed import MixedDataset
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.history import read_history
from keras_ssgan.interruption import Interruption
from keras_ssgan.optimizer import put_averages
from keras_ssgan.types import PathLike

_logger = logging.getLogger(__name__)

# Those that the progress bar shows first.
_MAIN_LOGS = ("accuracy", "d_loss", "g_loss", "val_accuracy")
# Columns of Keras' progress bar without the numbers of steps and the logs.
_BAR_WIDTH = len("/ " + 20 * "=" + " 12:34 1234ms/step")


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of generated images after each epoch.

    The latents are the same every time, so the pictures show one set of
    digits as it forms.

    Args:
        folder: Where `epoch_001.png` and its followers go; it is created.
        num_images: int, images in a grid.
        columns: int, images in a row.
        seed: int, seed of the latents.

    Raises:
        InputError: If the folder is a link.
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
        files.check_no_link(self.folder)
        if distribution.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            files.remove_leftovers(self.folder)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # By all processes: on JAX each has a part of the model to compute.
        images = self.model.generate(self.num_images, seed=self.seed)
        if not distribution.is_main():
            return
        grid = plotting.image_grid(images, columns=self.columns)
        path = self.folder / f"epoch_{epoch + 1:03d}.png"
        with files.replacing(path) as temporary:
            grid.save(temporary)


class PropagateLabels(keras.callbacks.Callback):
    """Gives unlabelled images labels before each epoch, along a graph.

    Before the first epoch the graph joins images whose strokes are alike
    (`propagation.image_features`, made for written characters), and the labels
    spread along it. Later it joins those of like features, and what the
    discriminator says of the others spreads, too, by the averaged weights if
    there are any. `accuracy` in the logs is then that of these labels, too.

    A graph takes time: 60,000 images half a minute on one core, twice as
    many four times as long. Of more than `max_images` some are in it, labelled
    ones up to the half; the others stay without.

    Args:
        data: `datasets.MixedDataset` with `pseudo_labels`, that `fit` is
            given.
        max_images: int, images in the graph.

    Raises:
        InputError: If the dataset has no pseudo-labels.

    Example:

    ```python
    data = ks.datasets.MixedDataset(
        x_train,
        y_train,
        batch_size=64,
        pseudo_labels=ks.propagation.PseudoLabels.none(len(x_train)),
    )
    gan.fit(data, shuffle=False, callbacks=[ks.callbacks.PropagateLabels(data)])
    ```
    """

    def __init__(self, data: MixedDataset, max_images: int = 100_000) -> None:
        super().__init__()
        if data.pseudo_labels is None:
            raise InputError(
                "data has no pseudo_labels; give MixedDataset "
                "pseudo_labels=PseudoLabels.none(len(x))"
            )
        self.data = data
        self._pseudo_labels = data.pseudo_labels
        rng = np.random.default_rng(data.seed)
        labeled = rng.permutation(np.flatnonzero(data.y >= 0))
        # Room is left for those that are to get a label.
        labeled = labeled[: max_images // 2]
        others = rng.permutation(np.flatnonzero(data.y < 0))
        others = others[: max_images - len(labeled)]
        taken = np.zeros(len(data.y), bool)
        taken[labeled] = taken[others] = True
        self._rows = np.flatnonzero(taken)
        self._images = streams.select(data.x, taken)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self.data.first_batch:
            # An epoch that was broken off: it goes on with what it began with.
            return
        labels = self.data.y[self._rows]
        if self.data.epoch:
            features, known = self._learnt()
            # Something is known of each, and near ones have to agree.
            alpha = 0.9
        else:
            features = self._image_features()
            known = np.zeros((len(labels), self.model.num_classes))
            # The fewer labels, the longer the way from one to all images.
            alpha = float(np.mean(labels < 0))
        labeled = np.flatnonzero(labels >= 0)
        known[labeled] = np.eye(self.model.num_classes)[labels[labeled]]
        self._pseudo_labels.update(
            self._rows, propagation.propagate(features, known, alpha)
        )

    def _image_features(self):
        features = []
        for start in range(0, len(self._images), 256):
            batch = self.model.preprocess(self._images[start : start + 256])
            features.append(
                ops.convert_to_numpy(propagation.image_features(batch))
            )
        return np.concatenate(features)

    def _learnt(self):
        discriminator = self.model.discriminator
        weights = discriminator.get_weights()
        try:
            put_averages(
                self.model.discriminator_optimizer,
                discriminator.trainable_variables,
            )
            self.model.update_statistics(streams.some(self._images))
            return self.model.features_and_probabilities(self._images)
        finally:
            # Whoever interrupts it goes on with the weights in training.
            discriminator.set_weights(weights)


class StopOnFailure(keras.callbacks.Callback):
    """Ends a run that has failed, by the means of each epoch.

    A run has failed once a mean is NaN or infinite, or the discriminator has
    collapsed (`health.find_collapse`). Goes before all that write, so that
    none sees the failed epoch as one that is finished.

    Args:
        checkpoints: `checkpoints.Checkpoints` of the run.
        folder: Path of the run's folder.

    Raises:
        RunStopped: If the run has failed.
    """

    def __init__(self, checkpoints: Checkpoints, folder: PathLike) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.folder = Path(folder)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        reason = _find_collapse(self.model, self.folder, logs)
        if not np.isfinite(list(logs.values())).all():  # type: ignore[union-attr]
            reason = "a loss is NaN or infinite"
        if reason:
            raise _failure(
                f"{reason} in epoch {epoch + 1}",
                self.model,
                self.checkpoints,
                self.folder,
            )


class Checkpoint(keras.callbacks.Callback):
    """Saves all that a run needs to go on from the very step it has reached.

    After each epoch, and within one every so often, unless the discriminator
    seems to have collapsed in it. If the run is to be interrupted, at once, and
    the run ends. It also ends once a weight or a mean loss is NaN or infinite;
    that is never saved.

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

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        folder: PathLike,
        interruption: Interruption,
        every: float,
    ) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.folder = Path(folder)
        self.interruption = interruption
        self.every = every

    def on_train_begin(self, logs: dict | None = None) -> None:
        # `fit` resets them before an epoch.
        self._metrics = [v.numpy() for v in self.model.metrics_variables]
        now = time.monotonic()
        self._due = now + self.every
        self._began = now - self.progress.seconds

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        self._first_step = 0
        if epoch == self.progress.epoch and self.progress.step:
            self._first_step = self.progress.step
            for variable, value in zip(
                self.model.metrics_variables, self._metrics, strict=True
            ):
                variable.assign(value)

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        interrupted = self.interruption.signal is not None
        if not interrupted and time.monotonic() < self._due:
            return
        # Before the first step nothing is new since the last checkpoint, and
        # the means of no step, which are 0, would look like a collapse.
        if interrupted or (batch and not self._seems_collapsed()):
            self._save(self._epoch, self._first_step + batch)
        self._due = time.monotonic() + self.every

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._save(epoch + 1, 0)

    def _history(self):
        # As bytes: the ends of its lines stay as they are.
        return (self.folder / "history.csv").read_bytes().decode()

    def _failure(self, reason):
        return _failure(reason, self.model, self.checkpoints, self.folder)

    def _seems_collapsed(self):
        means = {
            name: float(value)
            for name, value in self.model.get_metrics_result().items()
        }
        return _find_collapse(self.model, self.folder, means) is not None

    def _save(self, epoch, step):
        progress = dataclasses.replace(
            self.progress,
            epoch=epoch,
            step=step,
            history=self._history(),
            seconds=time.monotonic() - self._began,
        )
        try:
            self.checkpoints.save(self.model, progress)
        except FloatingPointError as error:
            raise self._failure(f"{error} after {progress}") from None
        if self.interruption.signal is not None:
            raise runs.stopped_by(
                self.interruption.signal, self.folder, progress
            )


def _find_collapse(gan, folder, means):
    return health.find_collapse(means, read_history(folder), gan.num_classes)


def _failure(reason, gan, checkpoints, folder):
    message = (
        f"{reason}; start another run with another --seed, a larger "
        "--batch-size or --dtype float32"
    )
    saved = checkpoints.progress
    if saved is not None:
        message += f"; the state after {saved} is kept"
        # A learning rate that falls over the run allows no shorter one.
        if saved.epoch and isinstance(gan.learning_rate, float):
            message += (
                f", and {runs.resume_command(folder)} --epochs {saved.epoch} "
                "writes its results"
            )
    return RunStopped(message, exit_code=1)


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

    def __init__(self, data: MixedDataset) -> None:
        super().__init__()
        self.data = data
        self.seconds = 0.0
        self.waiting = 0.0

    @property
    def share(self) -> float | None:
        """The share of time that was waited, in [0, 1]; `None` of no step."""
        return self.waiting / self.seconds if self.seconds else None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._idle_since = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        made_at = self.data.made_at.pop(batch, self._idle_since)
        self.waiting += max(made_at - self._idle_since, 0.0)
        self.seconds += now - self._idle_since
        self._idle_since = now


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, with as many figures as a line holds.

    Of a line that is wider than the terminal, every step would leave a copy.
    The others are in the history.
    """

    # Keras calls it from a thread of its own, as it does its own bar: no step
    # waits for the figures.
    async_safe = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        super().on_train_batch_end(batch, self._fitting(logs or {}))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, self._fitting(logs or {}))

    def _fitting(self, logs):
        # The bar, the time and twice the number of steps.
        room = shutil.get_terminal_size().columns - _BAR_WIDTH
        room -= 2 * len(str(self.target))
        shown = {}
        for name in dict.fromkeys([*_MAIN_LOGS, *logs]):
            if name in logs:
                room -= len(f" - {name}: 12.3456")
                if room < 0:
                    break
                shown[name] = logs[name]
        return shown


class TimeLeft(keras.callbacks.Callback):
    """Logs how long the epochs that are left will take.

    Keras' progress bar tells the time left of one epoch; this tells that of
    the whole training, before each epoch but the first.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._batches = 0
        self._epochs = 0

    # Not `on_train_batch_end`: Keras would fetch the logs of every step for it.
    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        # The first batch compiles: the clock starts after it.
        if self._batches == 1:
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
