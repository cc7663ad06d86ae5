"""What a `.keras` file says beside its model: its classes and its images.

Keras reads its own members of the archive alone, and leaves others be. So a
classifier that is moved away from its run is still known by its classes' names.
"""

import json
import zipfile
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_ssgan import limits
from keras_ssgan import text_files
from keras_ssgan.errors import InputError
from keras_ssgan.types import PathLike

_LABELS = "labels.txt"
_IMAGES = "images.json"
MEMBERS = (_LABELS, _IMAGES)


def is_class_name(name: Any) -> bool:
    """Whether a class may be called so: it can be shown, on one line."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= limits.MAX_NAME_LENGTH
        and text_files.is_printable(name)
    )


def format_labels(class_names: Sequence[str]) -> str:
    """The text of a `labels.txt`: one name a line."""
    return "".join(f"{name}\n" for name in class_names)


def append(
    path: PathLike, class_names: Sequence[str], images: Mapping[str, Any]
) -> None:
    """Adds names of classes, and what the images were, to a zip archive.

    Args:
        path: The archive, such as a `.keras` or a `.tflite` file.
        class_names: Names of the classes; no member is added for none.
        images: Dict as from `image_formats.describe`, or some of it; likewise.
    """
    with zipfile.ZipFile(path, "a") as archive:
        if class_names:
            archive.writestr(_LABELS, format_labels(class_names))
        if images:
            archive.writestr(_IMAGES, json.dumps(dict(images)))


def read(path: PathLike) -> dict[str, Any]:
    """Reads back what `append` has added.

    Args:
        path: A `.keras` file.

    Returns:
        Dict of `class_names` and what is known of the images, as in a run's
        `metrics.json`; without what is not there.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        with limits.open_zip(path) as archive:
            names = archive.namelist()
            known = {}
            if _IMAGES in names:
                known = text_files.parse_json(_read(archive, _IMAGES))
                if not isinstance(known, dict):
                    raise ValueError(f"{_IMAGES} holds no object")
            if _LABELS in names:
                lines = _read(archive, _LABELS).decode().split("\n")
                known["class_names"] = lines[:-1]
    except limits.DAMAGED_ARCHIVE as error:
        raise InputError(
            f"{path} is damaged ({error}); restore it from a copy"
        ) from None
    return known


def _read(archive, name):
    member = archive.getinfo(name)
    # Other methods have no bound on what a small file unpacks to.
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    if member.file_size > limits.MAX_JSON_BYTES:
        raise ValueError(f"{name} is too large")
    return archive.read(member)
