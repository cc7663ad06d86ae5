"""The images of a training run, and the labels that it may see."""

import dataclasses
import logging

import numpy as np

from keras_ssgan import checks
from keras_ssgan import datasets
from keras_ssgan import text_files
from keras_ssgan.config import Config
from keras_ssgan.datasets import streams
from keras_ssgan.errors import InputError
from keras_ssgan.propagation import PseudoLabels
from keras_ssgan.settings import get_preset

_logger = logging.getLogger(__name__)

# Threads that read batches ahead, where images are streamed.
_READERS = 4


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a run.

    Attributes:
        train: `(images, labels)`; -1 where there is no label.
        validation: `(images, labels)`, possibly of length 0.
        test: `(images, labels)`.
        class_names: One name per class.
        fingerprint: That of the dataset (`datasets.Dataset.fingerprint`).
        pseudo_labels: `PseudoLabels` of the training images, which training
            fills; `None` where the preset does without, or has no use for
            them.
    """

    train: tuple
    validation: tuple
    test: tuple
    class_names: list
    fingerprint: str
    pseudo_labels: PseudoLabels | None

    @property
    def labeled(self) -> tuple[np.ndarray, np.ndarray]:
        """The labelled training images, `(images, labels)`."""
        images, labels = self.train
        return images[labels >= 0], labels[labels >= 0]

    @property
    def is_streamed(self) -> bool:
        """Whether the training images stay on disk."""
        return isinstance(self.train[0], datasets.StreamedImages)

    def counts(self) -> dict[str, int]:
        """Dict of the number of images in each part."""
        return {
            "train_images": len(self.train[1]),
            "train_labels": int(np.sum(self.train[1] >= 0)),
            "validation_labels": len(self.validation[1]),
            "test_images": len(self.test[1]),
        }


def load_split(config: Config) -> Split:
    """Loads a dataset and hides all labels but those that the run may see.

    Args:
        config: A `Config`.

    Returns:
        A `Split`.

    Raises:
        InputError: If the dataset or the labels asked for are not there.
    """
    size = get_preset(config.preset).image_size
    dataset = datasets.load(config.dataset, config.stream, largest=size)
    if dataset.channels != 1:
        raise InputError(
            f"{config.dataset} holds images of {dataset.channels} channels, "
            "and the presets are for grey ones; convert them, or build "
            "networks of your own"
        )
    _check_pixels(dataset, config)
    # Before its images are moved.
    fingerprint = dataset.fingerprint()
    labels = _hide_labels(dataset, config)
    train, validation = datasets.split_validation(
        dataset.x_train,
        labels,
        config.validation,
        seed=config.seed,
        overwrite=True,
    )
    images, labels = train
    unlabeled = np.any(labels < 0)
    if config.baseline:
        # Beside those that are kept in memory anyway.
        streams.check_room(
            images,
            2 * int(np.sum(labels >= 0)),
            "reading the labelled images for --baseline",
        )
    return Split(
        train=(streams.keep_labeled(images, labels), labels),
        validation=validation,
        test=(dataset.x_test, dataset.y_test),
        class_names=dataset.class_names,
        fingerprint=fingerprint,
        pseudo_labels=(
            PseudoLabels.none(len(labels))
            if unlabeled and get_preset(config.preset).propagation
            else None
        ),
    )


def _check_pixels(dataset, config):
    """Refuses images that are scaled to 0 and 1, and warns of large ones."""
    checks.check_raw(
        streams.some(dataset.x_train, 100),
        f"the training images in {config.dataset}",
    )
    height, width = dataset.x_train.shape[1:3]
    size = get_preset(config.preset).image_size
    if max(height, width) >= 2 * size:
        _logger.warning(
            "Of images of %dx%d the networks of %s see no more than the pixels "
            "at %dx%d points, so thin lines get lost; store them that small",
            height,
            width,
            config.preset,
            size,
            size,
        )


def _hide_labels(dataset, config):
    """The labels that the run may see, -1 for the others."""
    keep = config.labels
    is_unasked = keep is None and np.all(dataset.y_train >= 0)
    if keep is None:
        keep = get_preset(config.preset).labels if is_unasked else 1.0
    try:
        labels = datasets.hide_labels(dataset.y_train, keep, seed=config.seed)
    except InputError as error:
        if not is_unasked:
            raise
        raise InputError(
            f"{error}. It is {config.preset} that hides labels where all "
            "images have one, to compare; --labels 1.0 keeps them"
        ) from None
    checks.check_labeled_set(labels, dataset.num_classes)
    hidden = np.sum(dataset.y_train >= 0) - np.sum(labels >= 0)
    if config.labels is None and hidden:
        _logger.info(
            "%d of %d labels are hidden, to compare; --labels 1.0 keeps them",
            hidden,
            len(labels),
        )
    without = np.setdiff1d(np.arange(dataset.num_classes), labels)
    if len(without):
        _logger.warning(
            "%d of the %d classes, such as %s, have no labelled image in "
            "training, and no image will be taken for one of them; classes "
            "are numbered from 0, without gaps",
            len(without),
            dataset.num_classes,
            text_files.one_line(dataset.class_names[without[0]]),
        )
    return labels


def mix(
    config: Config, split: Split, initial_epoch: int = 0, initial_batch: int = 0
) -> datasets.MixedDataset:
    """The training images in batches of labelled and unlabelled ones.

    Args:
        config: A `Config`.
        split: A `Split`.
        initial_epoch: int, epoch that comes first.
        initial_batch: int, batch of it that comes first.

    Returns:
        A `datasets.MixedDataset`.
    """
    images, labels = split.train
    labeled_per_batch = config.labeled_per_batch
    if labeled_per_batch is None and np.any(labels < 0):
        preset = get_preset(config.preset)
        labeled_per_batch = preset.labeled_per_batch(config.batch_size)  # type: ignore[arg-type]
    return datasets.MixedDataset(
        images,
        labels,
        batch_size=config.batch_size,
        labeled_per_batch=labeled_per_batch,
        seed=config.seed,
        initial_epoch=initial_epoch,
        initial_batch=initial_batch,
        pseudo_labels=split.pseudo_labels,
        workers=_READERS if split.is_streamed else 1,
    )
