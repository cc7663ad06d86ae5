"""One door to every kind of dataset."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_ssgan.datasets.bundled import load_digits
from keras_ssgan.datasets.bundled import load_mnist
from keras_ssgan.datasets.idx import has_idx_files
from keras_ssgan.datasets.idx import load_idx
from keras_ssgan.datasets.image_folder import class_names
from keras_ssgan.datasets.image_folder import load_image_folder
from keras_ssgan.datasets.npz import load_npz
from keras_ssgan.errors import InputError


# Arrays have no truth value, so a generated __eq__ could only fail.
@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, split into training and test sets.

    Attributes:
        x_train: Images, uint8 of shape `(n, height, width)` or `(n, height,
            width, 3)`.
        y_train: Class ids, int32 of shape `(n,)`, -1 for no label.
        x_test: Images like `x_train`.
        y_test: Class ids like `y_train`, all of them known.
        class_names: Names of the classes in the order of their ids.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: list[str]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load(source: str | os.PathLike) -> Dataset:
    """Loads a dataset by name or from a path.

    Args:
        source: `"digits"` (comes with scikit-learn), `"mnist"`, or the path of
            an `.npz` file, a folder of IDX files or a folder of images. See
            `load_digits`, `load_mnist`, `load_npz`, `load_idx` and
            `load_image_folder`.

    Returns:
        A `Dataset`. Its classes are named after the class folders, or "0",
        "1", and so on where there are none.

    Raises:
        InputError: If the source is none of these, or its loader refuses it.

    Example:

    >>> load("digits").num_classes
    10
    """
    if source == "digits":
        return _numbered(load_digits(), num_classes=10)
    if source == "mnist":
        return _numbered(load_mnist(), num_classes=10)
    path = Path(source)
    if path.suffix.lower() == ".npz":
        return _numbered(load_npz(path), num_classes=2)
    if not path.is_dir():
        raise InputError(
            f"there is no dataset {str(source)!r}; give digits, mnist, an "
            ".npz file, a folder of IDX files, or a folder of images with one "
            "sub-folder per class"
        )
    if has_idx_files(path):
        return _numbered(load_idx(path), num_classes=10)
    (x_train, y_train), (x_test, y_test) = load_image_folder(path)
    return Dataset(x_train, y_train, x_test, y_test, class_names(path))


def _numbered(arrays, num_classes):
    """Names classes by their ids: at least `num_classes`, more if there are."""
    (x_train, y_train), (x_test, y_test) = arrays
    largest = int(max(y_train.max(), y_test.max()))
    # Also keeps one odd id from making millions of names.
    if largest >= max(num_classes, len(y_train)):
        raise InputError(
            f"class id {largest} is too large for {len(y_train)} training "
            "images; number the classes 0, 1, 2 and so on"
        )
    num_classes = max(num_classes, largest + 1)
    names = [str(label) for label in range(num_classes)]
    return Dataset(x_train, y_train, x_test, y_test, names)
