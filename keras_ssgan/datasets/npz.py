"""Datasets in one NumPy archive."""

import os

import numpy as np

from keras_ssgan import limits
from keras_ssgan.checks import check_images
from keras_ssgan.checks import check_labels
from keras_ssgan.checks import check_one_size
from keras_ssgan.datasets import npy
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
        height, width)` or `(n, height, width, channels)`, and labels, int32 of
        shape `(n,)`. Fractional pixel values are rounded.

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
    check_one_size(path, x_train, x_test)
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
        with limits.open_zip(path) as archive:
            members = _find_members(path, archive)
            return [_read_array(archive, member) for member in members]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except InputError:
        raise
    except limits.DAMAGED_ARCHIVE:
        raise InputError(
            f"{path} is no readable .npz file of plain arrays; store "
            f"{', '.join(_NAMES)} with np.savez"
        ) from None


def _find_members(path, archive):
    """The members with the arrays, if there is room for all of them."""
    names = archive.namelist()
    missing = [name for name in _NAMES if f"{name}.npy" not in names]
    if missing:
        raise InputError(
            f"{path} lacks {', '.join(missing)}; store {', '.join(_NAMES)} "
            "with np.savez"
        )
    members = [archive.getinfo(f"{name}.npy") for name in _NAMES]
    for member in members:
        limits.check_member(member)
    limits.check_memory(sum(member.file_size for member in members), path)
    return members


def _read_array(archive, member):
    # It may say more than there is to read.
    npy.read_header(archive, member)
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _to_uint8(images):
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.dtype == np.uint8:
        return images
    # Image by image: rounding is a copy, of eight times the bytes at most.
    pixels = np.empty(images.shape, "uint8")
    for image, rounded in zip(images, pixels, strict=True):
        rounded[...] = np.rint(image)
    return pixels
