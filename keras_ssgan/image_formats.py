"""What the images were like that a model learnt from.

A run's results say it, and a `.keras` file. Images that are to be classified
are read in the same format.
"""

import functools
import math
import operator
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_ssgan import datasets
from keras_ssgan import limits
from keras_ssgan import runs
from keras_ssgan.errors import InputError
from keras_ssgan.types import PathLike

# What a run's results, and files of models, say of them.
NAMES = (
    "image_size",
    "ink_size",
    "ink_by_mass",
    "light_paper",
    # Of earlier versions, in place of how the ink lies.
    "mnist_format",
)


def describe(images: np.ndarray) -> dict[str, Any]:
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


def load(path: PathLike) -> dict[str, Any]:
    """What is known of the images that a run learnt from.

    Args:
        path: Folder of a run, or a `.keras` file.

    Returns:
        Dict of those of `NAMES` that are known.

    Raises:
        InputError: If the file, or the run's results, are damaged.
    """
    known = runs.read_facts(path)
    return {name: known[name] for name in NAMES if name in known}


def complete(known: Mapping[str, Any], path: PathLike) -> dict[str, Any]:
    """Adds what is most likely to what is known of a model's images.

    Args:
        known: Dict as from `load`.
        path: Where it is from, to name it.

    Returns:
        Dict as from `describe`; what is not known is MNIST's.

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
    known = load(path)
    if "image_size" not in known:
        return None
    return max(complete(known, path)["image_size"])


def reader(path: PathLike) -> Callable[[PathLike], np.ndarray]:
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
    known = complete(load(path), path)
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


def _is_size(value):
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(length) is int and length > 0 for length in value)
        and math.prod(value) <= limits.MAX_IMAGE_PIXELS
    )
