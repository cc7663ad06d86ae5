"""Datasets in one NumPy archive."""

import os
import zipfile
import zlib

import numpy as np

from keras_ssgan.checks import check_images
from keras_ssgan.checks import check_labels
from keras_ssgan.errors import InputError
from keras_ssgan.types import Parts

_NAMES = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: str | os.PathLike) -> Parts:
    """Loads an `.npz` archive of `x_train`, `y_train`, `x_test` and `y_test`.

    Args:
        path: The archive. Its images are what `checks.check_images` accepts,
            its labels what `checks.check_labels` accepts; only training
            labels may be -1.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 of shape `(n,
        height, width)` or `(n, height, width, 3)`, and labels, int32 of shape
        `(n,)`. Fractional pixel values are rounded.

    Raises:
        InputError: If the file is no such archive, or its arrays do not
            belong together.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_npz("mnist.npz")
    """
    x_train, y_train, x_test, y_test = _read_arrays(path)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        try:
            check_images(x)
            check_labels(y, None, num_images=len(x))
        except InputError as error:
            raise InputError(f"{path}, {part}: {error}") from None
    x_train, x_test = _to_uint8(x_train), _to_uint8(x_test)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"{path}: training images of shape {x_train.shape[1:]} do not go "
            f"with test images of shape {x_test.shape[1:]}; store one size"
        )
    if (y_test < 0).any():
        raise InputError(
            f"{path}: y_test has -1 at index {np.argmax(y_test < 0)}; every "
            "test image needs a label"
        )
    return (
        (x_train, y_train.reshape(-1).astype("int32")),
        (x_test, y_test.reshape(-1).astype("int32")),
    )


def _read_arrays(path):
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            return [archive[name] for name in _NAMES]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except KeyError:
        missing = [name for name in _NAMES if name not in archive]
        raise InputError(
            f"{path} lacks {', '.join(missing)}; store {', '.join(_NAMES)} "
            "with np.savez"
        ) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path} is no readable .npz file of plain arrays; store "
            f"{', '.join(_NAMES)} with np.savez"
        ) from None


def _to_uint8(images):
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.dtype.kind == "f":
        images = np.rint(images)
    return images.astype("uint8", copy=False)
