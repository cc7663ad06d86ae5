"""The same network on the labelled images alone, to compare."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from keras_ssgan import callbacks
from keras_ssgan import losses
from keras_ssgan import runs
from keras_ssgan import trainer
from keras_ssgan.calibration import calibrated_classifier
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.config import Config
from keras_ssgan.datasets import MixedDataset
from keras_ssgan.datasets import streams
from keras_ssgan.errors import RunStopped
from keras_ssgan.split import Split
from keras_ssgan.split import mix
from keras_ssgan.types import PathLike


def train_baseline(
    config: Config,
    folder: PathLike,
    split: Split,
    verbose: str | int = 0,
    checkpoint_every: float = 120.0,
) -> tuple[keras.Model, float]:
    """Trains the preset's discriminator on the labelled images alone.

    The same network from the same weights, the same optimizer, steps and
    batches, in which the labelled images come again and again; no unlabelled
    one and no generator. It goes on from its last checkpoint, as
    `training.train` does.

    Args:
        config: A `Config`.
        folder: Path of the run's folder, of which it takes
            `checkpoints/baseline/`.
        split: A `Split`.
        verbose: As in `keras.Model.fit`.
        checkpoint_every: float, seconds between two checkpoints of an epoch.

    Returns:
        A classifier, as `SemiSupervisedGAN.classifier` gives it, calibrated
        on the validation images; and the seconds that its training took.

    Raises:
        InputError: If no checkpoint is good.
        RunStopped: If it was interrupted or has failed.
    """
    gan = trainer.build_gan(config, split)
    images, labels = split.labeled
    # As many images as the GAN gets in an epoch.
    count = len(mix(config, split)) * config.batch_size  # type: ignore[operator]
    rows = max(count, len(labels))
    folder = Path(folder)
    checkpoints = Checkpoints(folder / "checkpoints" / "baseline")
    alone = _Trainer(
        # The process that writes trains it by itself.
        config=dataclasses.replace(config, distribute=False),
        folder=folder,
        model=_classifier_in_training(gan, images),
        split=split,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        verbose=verbose,
        images=streams.Repeated(images, rows),
        labels=np.resize(labels, rows),
        images_per_epoch=count,
    )
    alone.train(alone.restore())
    gan.update_statistics(streams.some(images))
    classifier = calibrated_classifier(gan, split.validation)
    return classifier, checkpoints.progress.seconds  # type: ignore[union-attr]


def _classifier_in_training(gan, images):
    """The GAN's discriminator as a classifier that `fit` trains."""
    inputs = keras.Input(images.shape[1:], dtype="uint8")
    x = gan.preprocess(inputs)
    if gan.augmentation is not None:
        x = gan.augmentation(x)
    _, logits = gan.discriminator(x)
    model = keras.Model(inputs, losses.class_logits(logits))
    model.compile(
        gan.discriminator_optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return model


class BaselineCheckpoint(callbacks.Checkpoint):
    """As `callbacks.Checkpoint`, of a classifier without a generator.

    There is no `history.csv` of it, and no game that could collapse.
    """

    def _history(self):
        return ""

    def _seems_collapsed(self):
        return False

    def _failure(self, reason):
        return RunStopped(
            f"{reason} of the labels alone; the GAN is kept, and "
            f"{runs.resume_command(self.folder)} --no-baseline writes its "
            "results",
            exit_code=1,
        )


@dataclasses.dataclass(frozen=True)
class _Trainer(trainer.Trainer):
    """Trains a classifier on images that all have a label.

    Attributes:
        images: `datasets.StreamedImages`, the labelled ones.
        labels: Integer array, those of the images.
        images_per_epoch: int, as `MixedDataset` takes it.
    """

    images: streams.StreamedImages = dataclasses.field(kw_only=True)
    labels: np.ndarray = dataclasses.field(kw_only=True)
    images_per_epoch: int = dataclasses.field(kw_only=True)

    checkpoint = BaselineCheckpoint

    def mix(self, epoch, step):
        return MixedDataset(
            self.images,
            self.labels,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            initial_epoch=epoch,
            initial_batch=step,
            images_per_epoch=self.images_per_epoch,
        )

    def validation(self):
        # It chooses nothing, and is for the calibration alone.
        return None

    def watchers(self, data):
        return []

    def loggers(self):
        return []
