"""Checks of what users pass in: images and labels, with NumPy alone."""

import os
from typing import Any

import numpy as np

from keras_ssgan.errors import InputError


def check_images(images: np.ndarray) -> None:
    """Checks that an array holds raw images.

    An array of uint8 is accepted by its shape alone, whatever its size; the
    values of any other dtype are looked through once.

    Args:
        images: Pixels in `[0, 255]`, shape `(n, height, width)` or `(n,
            height, width, channels)`, of any integer or floating dtype.

    Raises:
        InputError: If the array is anything else, or if its pixels look
            scaled to `[0, 1]`.

    Example:

    >>> check_images(np.zeros((10, 28, 28), "uint8"))
    """
    if not isinstance(images, np.ndarray):
        raise InputError(
            f"images must be a NumPy array, not {type(images).__name__}; "
            "convert them with np.asarray"
        )
    _check_image_shape(images.shape)
    if images.dtype.kind not in "uif":
        raise InputError(
            f"images have dtype {images.dtype}; pass integers or floats in "
            "0..255, best as uint8"
        )
    if images.dtype != np.uint8:
        _check_pixel_values(images)


def check_raw(images: Any, source: str = "the images") -> None:
    """Checks that not all pixels are 0 or 1, which is black to the networks.

    Args:
        images: Array of some of the images, not of one of them: it may be
            black.
        source: What they are, to name them.

    Raises:
        InputError: If no pixel is above 1.

    Example:

    >>> check_raw(np.full((10, 28, 28), 255, "uint8"))
    """
    if images.max() <= 1:
        raise InputError(
            f"no pixel of {source} is above 1 of 255; multiply them by 255, "
            "scaling is part of the model"
        )


def count_channels(shape: tuple[int | None, ...]) -> int:
    """Counts the channels of images.

    Args:
        shape: `(n, height, width)` or `(n, height, width, channels)`.

    Returns:
        int, 1 where there is no axis for them.
    """
    return shape[3] if len(shape) == 4 else 1  # type: ignore[return-value]


def check_weights_dtype(dtype: str) -> None:
    """Checks that weights of a dtype can be trained.

    Those of 8 or 11 bits stay as they are after a small step.

    Args:
        dtype: Name of the dtype that the variables have, whatever the layers
            compute in.

    Raises:
        InputError: If it is `"bfloat16"` or `"float16"`.

    Example:

    >>> check_weights_dtype("float32")
    """
    if dtype in ("bfloat16", "float16"):
        raise InputError(
            f"weights of dtype {dtype!r} are too coarse for small steps; use "
            "float32, mixed_bfloat16 or mixed_float16"
        )


def check_has_labels(labels: Any) -> None:
    """Checks that labels are given, of any kind.

    Args:
        labels: Array or tensor, or `None`.

    Raises:
        InputError: If they are `None`.

    Example:

    >>> check_has_labels(np.array([3, -1, 9]))
    """
    if labels is None:
        raise InputError(
            "there are no labels; pass y, with -1 for each image that has none"
        )


def check_no_one_hot(labels: Any) -> None:
    """Checks that labels are no rows of a number for each class.

    Args:
        labels: Array or tensor.

    Raises:
        InputError: If they are such rows.

    Example:

    >>> check_no_one_hot(np.array([3, -1, 9]))
    """
    # Of a tensor in a graph, neither may be known.
    if labels.ndim == 2 and labels.shape[1] not in (None, 1):
        raise InputError(
            f"labels of shape {labels.shape} look one-hot; pass class ids, as "
            "labels.argmax(axis=1) gives them, and -1 for no label"
        )


def check_labels(
    labels: np.ndarray,
    num_classes: int | None,
    num_images: int | None = None,
) -> None:
    """Checks that an array holds class ids, with -1 for "no label".

    Args:
        labels: Class ids in `[0, num_classes)` or -1, shape `(n,)` or `(n,
            1)`, of any integer dtype.
        num_classes: Number of classes. `None` accepts every id that fits
            int32.
        num_images: Number of images that the labels belong to. `None` accepts
            every length.

    Raises:
        InputError: If the array is anything else.

    Example:

    >>> check_labels(np.array([3, -1, 9]), num_classes=10, num_images=3)
    """
    check_has_labels(labels)
    if not isinstance(labels, np.ndarray):
        raise InputError(
            f"labels must be a NumPy array, not {type(labels).__name__}; "
            "convert them with np.asarray"
        )
    if labels.dtype.kind in "OSUT":
        raise InputError(
            f"labels have dtype {labels.dtype}; turn class names into integer "
            "ids, as np.unique(labels, return_inverse=True)[1] does"
        )
    check_no_one_hot(labels)
    if labels.ndim != 1 and labels.shape[1:] != (1,):
        raise InputError(
            f"labels have shape {labels.shape}; pass one class id per image, "
            "shape (n,)"
        )
    if labels.dtype.kind not in "ui":
        raise InputError(
            f"labels have dtype {labels.dtype}; pass integer class ids, as "
            'labels.astype("int32") gives them, and -1 for no label'
        )
    if num_images is not None and len(labels) != num_images:
        raise InputError(
            f"there are {num_images} images and {len(labels)} labels; pass "
            "one label per image, -1 for no label"
        )
    _check_label_values(labels.reshape(-1), num_classes)


def check_labeled_set(labels: np.ndarray, num_classes: int | None) -> None:
    """Checks that labels are enough to learn a classifier from.

    Args:
        labels: Class ids, as `check_labels` takes them.
        num_classes: Number of classes, as `check_labels` takes it.

    Raises:
        InputError: If `check_labels` refuses the labels, if no image has a
            label, or if all labels are of one class.

    Example:

    >>> check_labeled_set(np.array([3, -1, 9]), num_classes=10)
    """
    check_labels(labels, num_classes)
    check_some_labels(labels)
    classes = np.unique(labels[labels >= 0])
    if len(classes) == 1:
        raise InputError(
            f"all labels are of class {classes[0]}; label some images of "
            "another class too"
        )


def check_some_labels(labels: np.ndarray) -> None:
    """Checks that not all labels are missing.

    Args:
        labels: Class ids, as `check_labels` takes them.

    Raises:
        InputError: If all are -1.

    Example:

    >>> check_some_labels(np.array([3, -1, 9]))
    """
    if not np.any(labels >= 0):
        raise InputError(
            "no image has a label (all are -1); label some images of each class"
        )


def check_one_size(
    source: str | os.PathLike,
    x_train: Any,
    x_test: Any,
    remedy: str = "store one size",
) -> None:
    """Checks that training and test images are of one size.

    Args:
        source: What they come from.
        x_train: Images with a `shape`, `(n, height, width)` or `(n, height,
            width, channels)`.
        x_test: The same.
        remedy: What the user should do where they are not.

    Raises:
        InputError: If they are not.
    """
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"{source}: training images of shape {x_train.shape[1:]} do not "
            f"go with test images of shape {x_test.shape[1:]}; {remedy}"
        )


def _check_image_shape(shape):
    if len(shape) not in (3, 4):
        raise InputError(
            f"images have shape {shape}; pass (n, height, width) or (n, "
            "height, width, channels)"
        )
    if 0 in shape:
        raise InputError(
            f"images of shape {shape} have no pixels; pass at least one image"
        )


def _check_pixel_values(images):
    low, high = images.min(), images.max()  # NaN if there is one.
    if np.isnan(low):
        raise InputError(
            f"image {_first_image(np.isnan(images))} has a pixel that is NaN; "
            "pass finite values in 0..255"
        )
    for value in (low, high):
        if not 0 <= value <= 255:
            raise InputError(
                f"image {_first_image(images == value)} has a pixel of value "
                f"{value}; pass raw values in 0..255, scaling is part of the "
                "model"
            )
    # Image by image, as each comparison is a copy.
    if high <= 1 and any((image != np.rint(image)).any() for image in images):
        raise InputError(
            "pixels look scaled to [0, 1]; pass raw 0..255 values, scaling is "
            "part of the model"
        )


def _check_label_values(labels, num_classes):
    limit = 2**31 if num_classes is None else num_classes
    wrong = (labels < -1) | (labels >= limit)
    if wrong.any():
        index = np.argmax(wrong)
        raise InputError(
            f"label {labels[index]} at index {index} is no class id; use "
            f"0..{limit - 1}, and -1 for no label"
        )


def _first_image(mask):
    return np.argmax(mask.reshape(len(mask), -1).any(axis=1))
