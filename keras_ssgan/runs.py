"""Reading back what the folder of a run holds."""

import functools
import math
import operator
import shlex
import signal
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_ssgan import datasets
from keras_ssgan import facts
from keras_ssgan import limits
from keras_ssgan import saving
from keras_ssgan import text_files
from keras_ssgan.classifier import is_classifier
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.types import PathLike

# Of a larger figure no picture can be drawn, and no run goes on to log one.
_MAX_LOGGED = 1e30
# What a run's results say of its images.
IMAGE_FORMAT = (
    "image_size",
    "ink_size",
    "ink_by_mass",
    "light_paper",
    # Of earlier versions, in place of how the ink lies.
    "mnist_format",
)


def is_run(path: PathLike) -> bool:
    """Whether a path is the folder of a run, finished or not."""
    path = Path(path)
    return path.is_dir() and (path / "config.json").exists()


def is_model(path: PathLike) -> bool:
    """Whether a path is one that `load_classifier` would load."""
    return Path(path).suffix == ".keras" or is_run(path)


def load_classifier(path: PathLike) -> keras.Model:
    """Loads a model that gives class probabilities of raw images.

    Args:
        path: Folder of a run, or a `.keras` file of a GAN or a classifier. A
            GAN's is not calibrated; the run's folder has the one that is.

    Returns:
        Functional `keras.Model`, as `SemiSupervisedGAN.classifier` gives it.

    Raises:
        InputError: If there is no such model, or it is of another kind.
    """
    model = _load(path, "classifier.keras")
    if isinstance(model, SemiSupervisedGAN):
        return model.classifier()
    # Others may give anything.
    if not is_classifier(model):
        raise InputError(
            f"{path} is neither a GAN nor the classifier of one; give the "
            "run's folder, its gan.keras or its classifier.keras"
        )
    return model


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


def read_history(folder: PathLike) -> dict[str, list[float]]:
    """The logs of a run's finished epochs.

    Args:
        folder: Path of a run's folder.

    Returns:
        Dict from the name of a figure to its values, one per epoch; NaN where
        there is none.

    Raises:
        InputError: If the logs are damaged.
    """
    path = Path(folder) / "history.csv"
    if not path.exists():
        return {}
    with text_files.trouble_is_input_error(path):
        return parse_history(text_files.read_text(path, limits.MAX_CSV_BYTES))


def parse_history(text: str) -> dict[str, list[float]]:
    """The logs that a text holds, as `read_history` gives those of a run.

    Args:
        text: Text of a `history.csv`.

    Returns:
        Dict as from `read_history`.

    Raises:
        ValueError: If the text is none of one.
    """
    rows = text_files.parse_csv_rows(text)
    history = {}
    for name in rows[0] if rows else []:
        cells = [row[name] for row in rows]
        # Keras makes a column for each validation figure there could be.
        if set(cells) != {"NA"}:
            history[name] = [
                float("nan") if cell == "NA" else float(cell) for cell in cells
            ]
            if (np.abs(history[name]) > _MAX_LOGGED).any():
                raise ValueError(f"a figure in it is above {_MAX_LOGGED}")
    return history


def load_class_names(path: PathLike, num_classes: int) -> list[str]:
    """The names of the classes of a run.

    Args:
        path: Folder of a run, or a `.keras` file.
        num_classes: int, K.

    Returns:
        List of K names; `"0"`, `"1"`, and so on, where none are known.

    Raises:
        InputError: If the run's results are damaged.
    """
    default = [str(label) for label in range(num_classes)]
    return check_class_names(
        _read_facts(path).get("class_names", default), num_classes, path
    )


def check_class_names(
    names: Any, num_classes: int, path: PathLike
) -> list[str]:
    """Checks what a file says its classes are called.

    Args:
        names: Whatever it says.
        num_classes: int, K.
        path: The file, or the folder of its run, to name it.

    Returns:
        `names`, K of them that can be printed.

    Raises:
        InputError: If they are something else.
    """
    if (
        not isinstance(names, list)
        or len(names) != num_classes
        or not all(map(_is_name, names))
    ):
        raise InputError(
            f"{path} does not name its {num_classes} classes; what it says of "
            "them is damaged: restore it from a copy, or train again"
        )
    return names


def load_fingerprint(path: PathLike) -> str:
    """That of the dataset of a run (`datasets.Dataset.fingerprint`).

    Args:
        path: Folder of a run.

    Returns:
        str; that of an earlier version is the beginning of the dataset's now,
        and where none is known it is `""`.
    """
    return str(_read_metrics(Path(path)).get("dataset_fingerprint", ""))


def _is_name(name):
    return (
        isinstance(name, str)
        and len(name) <= limits.MAX_NAME_LENGTH
        and text_files.is_printable(name)
    )


def describe_images(images: np.ndarray) -> dict[str, Any]:
    """What a run's results say of the images that it learnt from.

    Args:
        images: uint8 array of shape `(n, height, width)` or `(n, height, width,
            channels)`, some of them.

    Returns:
        Dict of `image_size`, a list of height and width; `ink_size` and
        `ink_by_mass`, as in `datasets.DigitFormat`, and `None` where
        `datasets.find_digit_format` finds no digits; and `light_paper`, whether
        they are dark on light.
    """
    digits = datasets.find_digit_format(images)
    return {
        "image_size": list(images.shape[1:3]),
        "ink_size": digits and list(digits.ink_size),
        "ink_by_mass": digits and digits.by_mass,
        "light_paper": datasets.on_light_paper(images),
    }


def load_image_format(path: PathLike) -> dict[str, Any]:
    """What is known of the images that a run learnt from.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        Dict of those of `IMAGE_FORMAT` that are known.
    """
    known = _read_facts(path)
    return {name: known[name] for name in IMAGE_FORMAT if name in known}


def complete_image_format(
    known: Mapping[str, Any], path: PathLike
) -> dict[str, Any]:
    """Adds what is most likely to what is known of a model's images.

    Args:
        known: Dict as from `load_image_format`.
        path: Where it is from, to name it.

    Returns:
        Dict as from `describe_images`; what is not known is MNIST's.

    Raises:
        InputError: If the sizes are none.
    """
    mnist_size = list(datasets.DigitFormat.image_size)
    size = known.get("image_size", mnist_size)
    if "ink_size" in known:
        ink_size = known["ink_size"]
    # Earlier versions knew this one format, and the first ones the size alone.
    elif known.get("mnist_format", size == mnist_size):
        ink_size = list(datasets.DigitFormat.ink_size)
    else:
        ink_size = None
    if not _is_size(size) or not (
        ink_size is None
        or (_is_size(ink_size) and all(map(operator.le, ink_size, size)))
    ):
        raise InputError(
            f"{path} does not say what sizes its images and their ink have; "
            "its metadata is damaged: restore it from a copy, or train again"
        )
    return {
        "image_size": size,
        "ink_size": ink_size,
        "ink_by_mass": bool(known.get("ink_by_mass", True)),
        "light_paper": bool(known.get("light_paper", False)),
    }


def longest_side(path: PathLike) -> int | None:
    """Height or width of the images that a run learnt from, the larger one.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        int, in pixels; `None` where it is not known.

    Raises:
        InputError: If the run's results are damaged.
    """
    known = load_image_format(path)
    if "image_size" not in known:
        return None
    return max(complete_image_format(known, path)["image_size"])


def _is_size(value):
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(length) is int and length > 0 for length in value)
        and math.prod(value) <= limits.MAX_IMAGE_PIXELS
    )


def image_reader(path: PathLike) -> Callable[[PathLike], np.ndarray]:
    """How to read images as those that a run learnt from.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        `datasets.read_digit` in the run's format, MNIST's where it is not
        known; or `datasets.read_image` at its size, where its images are no
        digits.

    Raises:
        InputError: If the run's results are damaged.
    """
    known = complete_image_format(load_image_format(path), path)
    image_size = tuple(known["image_size"])
    if known["ink_size"] is None:
        return functools.partial(datasets.read_image, image_size=image_size)
    digit_format = datasets.DigitFormat(
        image_size,
        tuple(known["ink_size"]),
        known["ink_by_mass"],
        known["light_paper"],
    )
    return functools.partial(datasets.read_digit, digit_format=digit_format)


def resume_command(folder: PathLike) -> str:
    """The command that goes on with a run, on the backend that it runs on.

    Args:
        folder: Path of the run's folder.

    Returns:
        str, for a shell.
    """
    backend = keras.backend.backend()
    return (
        f"keras-ssgan train --resume --backend {backend} "
        f"--output={shlex.quote(str(folder))}"
    )


def stopped_by(
    received: signal.Signals, folder: PathLike, after: object = None
) -> RunStopped:
    """What ends a run that a signal stops.

    Args:
        received: The `signal.Signals`.
        folder: Path of the run's folder.
        after: What `str` makes of how far the run has come, if it is told.

    Returns:
        `RunStopped`, to raise; it says how to go on.
    """
    reached = "" if after is None else f" after {after}"
    return RunStopped(
        f"stopped by {received.name}{reached}; go on with: "
        f"{resume_command(folder)}",
        128 + received,
    )


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
        # As many at a time as have the pixels of one image of the largest size.
        fit = max(1, limits.MAX_IMAGE_PIXELS // math.prod(shape))
        alike = [index for index, s in enumerate(shapes) if s == shape]
        probabilities[alike] = model.predict(
            np.stack([images[index] for index in alike]),
            batch_size=min(256, fit),
            verbose=0,
        )
    return probabilities


def _read_facts(path):
    """What is known of a run, or of the one that a model file is of."""
    path = Path(path)
    if path.is_dir():
        return _read_metrics(path)
    known = facts.read(path)
    # Files of earlier versions say nothing, but may lie in their run.
    if not known and is_run(path.parent):
        known = _read_metrics(path.parent)
    return known


def _read_metrics(folder):
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    with text_files.trouble_is_input_error(path):
        return text_files.read_json_object(path)


def _load(path, name):
    path = Path(path)
    if path.is_dir():
        # Without its results, the names of its classes would be missing.
        ended = (path / name).exists() and (path / "metrics.json").exists()
        if is_run(path) and not ended:
            raise InputError(
                f"{path} holds a run that has not ended; finish it with: "
                f"{resume_command(path)}"
            )
        path = path / name
    return saving.load_model(path)
