"""Reading models back from the folder of a run."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_ssgan.errors import InputError
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.types import PathLike


def load_classifier(path: PathLike) -> keras.Model:
    """Loads a model that gives class probabilities of raw images.

    Args:
        path: Folder of a run, or a `.keras` file of a GAN or a classifier.

    Returns:
        Functional `keras.Model`, as `SemiSupervisedGAN.classifier` gives it.

    Raises:
        InputError: If there is no such model.
    """
    model = _load(path, "classifier.keras")
    return model.classifier() if isinstance(model, SemiSupervisedGAN) else model


def load_gan(path: PathLike) -> SemiSupervisedGAN:
    """Loads a GAN.

    Args:
        path: Folder of a run, or a `.keras` file of a GAN.

    Returns:
        A `SemiSupervisedGAN`.

    Raises:
        InputError: If there is no such model, or it is no GAN.
    """
    model = _load(path, "gan.keras")
    if not isinstance(model, SemiSupervisedGAN):
        raise InputError(f"{path} is no GAN; give the run's gan.keras")
    return model


def load_class_names(path: PathLike, num_classes: int) -> list[str]:
    """The names of the classes of a run.

    Args:
        path: Folder of a run, or a `.keras` file.
        num_classes: int, K.

    Returns:
        List of K names; `"0"`, `"1"`, and so on, where none are known.
    """
    default = [str(label) for label in range(num_classes)]
    return _read_metrics(path).get("class_names", default)


def learnt_from_mnist_format(path: PathLike) -> bool:
    """Whether the images of a run were of MNIST's size.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        bool; `True` where it is not known.
    """
    return _read_metrics(path).get("image_size", [28, 28]) == [28, 28]


def classify(model: keras.Model, images: Sequence[np.ndarray]) -> np.ndarray:
    """Predicts images of any sizes, those of one size in one pass.

    Args:
        model: As from `load_classifier`.
        images: List of uint8 arrays of shape `(height, width)`.

    Returns:
        float32 array of shape `(n, K)`, in the order of `images`.
    """
    probabilities = np.empty((len(images), model.output_shape[-1]), "float32")
    shapes = [image.shape for image in images]
    for shape in set(shapes):
        alike = [index for index, s in enumerate(shapes) if s == shape]
        probabilities[alike] = model.predict(
            np.stack([images[index] for index in alike]),
            batch_size=256,
            verbose=0,
        )
    return probabilities


def _read_metrics(path):
    try:
        return json.loads((Path(path) / "metrics.json").read_text())
    except OSError:
        return {}


def _load(path, name):
    path = Path(path)
    if path.is_dir():
        path = path / name
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run's folder")
    try:
        return keras.saving.load_model(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no model to load: {reason}") from None
