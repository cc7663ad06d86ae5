"""What the folder of a run holds, and the command that goes on with it."""

import shlex
import signal
from pathlib import Path
from typing import Any

import keras

from keras_ssgan import facts
from keras_ssgan import saving
from keras_ssgan import text_files
from keras_ssgan.classifier import is_classifier
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.types import PathLike

# With it a run has ended.
RESULTS = "metrics.json"


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


def read_facts(path: PathLike) -> dict[str, Any]:
    """What is known of a run, or of the one that a model file is of.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        Dict, as in a run's `metrics.json`; empty where there is nothing.

    Raises:
        InputError: If the file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _read_metrics(path)
    known = facts.read(path)
    # Files of earlier versions say nothing, but may lie in their run.
    if not known and is_run(path.parent):
        known = _read_metrics(path.parent)
    return known


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
        read_facts(path).get("class_names", default), num_classes, path
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
        or not all(map(facts.is_class_name, names))
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

    Raises:
        InputError: If the run's results are damaged.
    """
    return str(_read_metrics(Path(path)).get("dataset_fingerprint", ""))


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


def _read_metrics(folder):
    path = folder / RESULTS
    if not path.exists():
        return {}
    with text_files.trouble_is_input_error(path):
        return text_files.read_json_object(path)


def _load(path, name):
    path = Path(path)
    if path.is_dir():
        # Without its results, the names of its classes would be missing.
        ended = (path / name).exists() and (path / RESULTS).exists()
        if is_run(path) and not ended:
            raise InputError(
                f"{path} holds a run that has not ended; finish it with: "
                f"{resume_command(path)}"
            )
        path = path / name
    return saving.load_model(path)
