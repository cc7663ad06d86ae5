"""Reading models back from the folder of a run."""

import json
from pathlib import Path

import keras

from keras_ssgan.errors import InputError
from keras_ssgan.model import SemiSupervisedGAN


def load_classifier(path):
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


def load_gan(path):
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


def load_class_names(path, num_classes):
    """The names of the classes of a run.

    Args:
        path: Folder of a run, or a `.keras` file.
        num_classes: int, K.

    Returns:
        List of K names; `"0"`, `"1"`, and so on, where none are known.
    """
    try:
        metrics = json.loads((Path(path) / "metrics.json").read_text())
    except OSError:
        return [str(label) for label in range(num_classes)]
    return metrics["class_names"]


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
