"""Training that goes on from a run's last checkpoint."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from keras_ssgan import callbacks
from keras_ssgan import distribution
from keras_ssgan import runs
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.checkpoints import Progress
from keras_ssgan.config import Config
from keras_ssgan.datasets import MixedDataset
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.interruption import Interruption
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.settings import get_preset
from keras_ssgan.split import Split
from keras_ssgan.split import mix


def build_gan(config: Config, split: Split) -> SemiSupervisedGAN:
    """Builds the GAN that a run begins with, and seeds all that is random.

    Args:
        config: A `Config`.
        split: A `Split`, over whose batches a learning rate may decay.

    Returns:
        A `SemiSupervisedGAN`, compiled.
    """
    keras.utils.set_random_seed(config.seed)
    preset = get_preset(config.preset)
    learning_rate = preset.learning_rate
    if preset.decay:
        steps = config.epochs * len(mix(config, split))  # type: ignore[operator]
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate, steps
        )
    gan = SemiSupervisedGAN.from_preset(
        config.preset,
        len(split.class_names),
        dtype=config.dtype,
        seed=config.seed,
        learning_rate=learning_rate,
    )
    gan.compile()
    return gan


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains a model from where its run stands to the last epoch.

    A subclass says which batches it gets (`mix`, `validation`), what happens
    meanwhile (`watchers`, `loggers`) and what saves it (`checkpoint`).

    Attributes:
        config: A `Config`.
        folder: `pathlib.Path` of the run.
        model: A compiled `keras.Model`, its optimizer's variables built.
        split: A `Split`.
        checkpoints: `Checkpoints` of the model.
        checkpoint_every: float, seconds between two of an epoch.
        verbose: As in `keras.Model.fit`.
        interruption: `Interruption`, which hears signals while it trains.
        checkpoint: Class of the callback that saves.
    """

    config: Config
    folder: Path
    model: keras.Model
    split: Split
    checkpoints: Checkpoints
    checkpoint_every: float
    verbose: str | int
    interruption: Interruption = dataclasses.field(default_factory=Interruption)

    checkpoint: ClassVar[type[callbacks.Checkpoint]]

    def mix(self, epoch: int, step: int) -> MixedDataset:
        """The batches from a step of an epoch on."""
        raise NotImplementedError

    def watchers(
        self, data: MixedDataset
    ) -> Sequence[keras.callbacks.Callback]:
        """Callbacks of every process, which come before the writers."""
        raise NotImplementedError

    def loggers(self) -> Sequence[keras.callbacks.Callback]:
        """Callbacks of the process that writes, which log an epoch."""
        raise NotImplementedError

    def validation(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Images and labels that each epoch is scored on."""
        raise NotImplementedError

    def restore(self) -> Progress:
        """Gives the model the state of the last checkpoint.

        Returns:
            The `Progress` of that checkpoint, or that of a run before its
            first step.

        Raises:
            InputError: If the checkpoint is of another dataset, of other
                settings of the preset or of more epochs.
        """
        beginning = Progress(
            steps_per_epoch=len(self.mix(0, 0)),
            dataset=self.split.fingerprint,
            preset=get_preset(self.config.preset).fingerprint(),
        )
        # `train` reads back what it saved at the end of a broken epoch, and
        # only the main process knows when that is.
        progress = self.checkpoints.restore(
            self.model, within_epoch=not self.config.distribute
        )
        if progress is None:
            return beginning
        _check_same_start(self.config, progress, beginning)
        return progress

    def train(self, progress: Progress) -> None:
        """Trains from the given progress to the last epoch.

        Args:
            progress: `Progress` that the model is at.

        Raises:
            InputError: If an image cannot be read any more.
            RunStopped: If it was interrupted or has failed.
        """
        epochs = self.config.epochs
        with self.interruption:
            if progress.step and progress.epoch < epochs:  # type: ignore[operator]
                # Keras counts the batches of an epoch once per `fit`, and ends
                # it with averaged weights: the others are read back.
                self._fit(progress, progress.epoch + 1)
                progress = self.checkpoints.restore(self.model)  # type: ignore[assignment]
            self._fit(progress, epochs)
        if self.interruption.signal is not None:
            # It came when the last epoch was saved already.
            raise runs.stopped_by(self.interruption.signal, self.folder)

    def _writers(self, progress):
        return [
            callbacks.TimeLeft(),
            *[callbacks.ProgressBar()] * bool(self.verbose),
            *self.loggers(),
            # Last: with it, the epoch is finished.
            self.checkpoint(
                self.checkpoints,
                progress,
                self.folder,
                self.interruption,
                self.checkpoint_every,
            ),
        ]

    def _fit(self, progress, epochs):
        data = self.mix(progress.epoch, progress.step)
        is_main = distribution.is_main()
        try:
            self.model.fit(
                data,
                epochs=epochs,
                initial_epoch=progress.epoch,
                # The dataset shuffles by itself, reproducibly.
                shuffle=False,
                validation_data=self.validation(),
                callbacks=[
                    *self.watchers(data),
                    *(self._writers(progress) if is_main else []),
                ],
                verbose=self.verbose if is_main else 0,
            )
        except Exception as error:
            if data.failure is not None:
                # TensorFlow has raised an error that hides it.
                raise data.failure from None
            if is_main:
                raise
            # The main process is gone, which breaks off what this one computes
            # with it.
            stopped = self.interruption.signal
            if stopped is not None:
                raise RunStopped(
                    f"stopped by {stopped.name}", 128 + stopped
                ) from None
            if "closed by peer" in str(error):
                raise RunStopped(
                    "the main process has ended, and says why", 1
                ) from None
            raise


def _check_same_start(config, progress, beginning):
    """Checks that a checkpoint is of the data and the preset of the run."""
    if (
        progress.steps_per_epoch != beginning.steps_per_epoch
        # Earlier versions knew the beginning of it, or nothing.
        or not beginning.dataset.startswith(progress.dataset)
    ):
        raise InputError(
            "the dataset has changed: its images, its labels or its test set; "
            "resume with what the run was started with"
        )
    if progress.preset not in ("", beginning.preset):
        raise InputError(
            f"another version of keras_ssgan started the run, whose preset "
            f"{config.preset} has other settings; resume it with that version, "
            "or start another"
        )
    if progress.epoch > config.epochs:
        raise InputError(
            f"the run has {progress.epoch} epochs behind it; give --epochs "
            f"{progress.epoch} or more"
        )
