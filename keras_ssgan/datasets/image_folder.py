"""Datasets as a folder of images, one sub-folder per class."""

import collections
import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageOps

from keras_ssgan.errors import InputError
from keras_ssgan.types import Parts
from keras_ssgan.types import PathLike

_UNLABELED = ("unlabeled", "unlabelled")


def load_image_folder(
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Parts:
    """Loads a folder of images as grayscale, one sub-folder per class.

    ```
    path/
      cat/         the images of class 0
      dog/         the images of class 1
      unlabeled/   images without a label, if there are any
    ```

    Classes are numbered in the order of `class_names`. Hidden files are
    ignored; a file that is no readable image is named in a warning and
    skipped. EXIF orientation is applied, the upper eight bits of 16-bit images
    are kept, and transparent pixels lie on white.

    Args:
        path: The folder.
        image_size: Height and width, in pixels, that every image is resized to,
            bilinearly. `None` stands for the most common size in the folder.
        test_fraction: Share of each class, in (0, 1), that becomes the test
            set; at least one image of each class, and never all.
        seed: Seed of the draw of the test set.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 of shape `(n,
        height, width)`, and labels, int32 of shape `(n,)`, -1 for the
        unlabelled images, all of which are in the training set.

    Raises:
        InputError: If the folder has fewer than two classes, or a class fewer
            than two readable images.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_image_folder("pets")
    """
    if not 0 < test_fraction < 1:
        raise InputError(
            f"test_fraction is {test_fraction}; choose it between 0 and 1"
        )
    if image_size is not None and min(image_size) < 1:
        raise InputError(
            f"image_size is {image_size}; give height and width in pixels"
        )
    images, labels = _read_classes(path, image_size)
    x, y = _stack(images, image_size), np.array(labels, "int32")
    in_test = _draw_test_set(y, test_fraction, np.random.default_rng(seed))
    return (x[~in_test], y[~in_test]), (x[in_test], y[in_test])


def class_names(path: str | os.PathLike[str]) -> list[str]:
    """Lists the class folders of an image folder in the order of their ids.

    Args:
        path: The folder that `load_image_folder` takes.

    Returns:
        The names, sorted; by value, where all of them are whole numbers.

    Raises:
        InputError: If the folder has fewer than two class folders.

    Example:

    >>> class_names("pets")
    ['cat', 'dog']
    """
    if not os.path.isdir(path):
        raise InputError(f"{path} is no folder")
    names = sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir()
        and not entry.name.startswith(".")
        and entry.name not in _UNLABELED
    )
    if len(names) < 2:
        raise InputError(
            f"{path} has {len(names) or 'no'} class "
            f"folder{'s' * (not names)}; give each of at least two classes a "
            "folder of images"
        )
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return names


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads one image as `load_image_folder` does.

    Args:
        path: A file that Pillow can read.

    Returns:
        uint8 array of shape `(height, width)`.

    Raises:
        InputError: If there is no readable image.

    Example:

    >>> read_image("digit.png").shape
    (28, 28)
    """
    with unreadable_is_input_error(path):
        return _read_image(path, image_size=None)


@contextlib.contextmanager
def unreadable_is_input_error(path: PathLike) -> Iterator[None]:
    """Makes whatever Pillow raises on a file one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    # Pillow's decoders raise many types on damaged files.
    except Exception as error:
        raise InputError(f"{path} is no readable image ({error})") from None


def _read_classes(path, image_size):
    """Reads every image, and its class id, of every class."""
    names = class_names(path)
    images, labels, skipped = [], [], 0
    for label, name in [*enumerate(names), *((-1, u) for u in _UNLABELED)]:
        found, unreadable = _read_folder(Path(path) / name, image_size)
        if label >= 0 and len(found) < 2:
            raise InputError(
                f"{Path(path) / name} has {len(found) or 'no'} readable "
                f"image{'s' * (not found)}; a class needs at least two, one "
                "of them for the test set"
            )
        images += found
        labels += [label] * len(found)
        skipped += unreadable
    if skipped:
        warnings.warn(
            f"{path}: {skipped} unreadable file{'s' * (skipped > 1)} skipped",
            stacklevel=3,
        )
    return images, labels


def _read_folder(folder, image_size):
    """Reads the images of one folder; counts the files that are none."""
    if not folder.is_dir():  # Only `unlabeled` can be missing.
        return [], 0
    images, skipped = [], 0
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            images.append(_read_image(file, image_size))
        # Pillow's decoders raise many types on damaged files.
        except Exception:
            warnings.warn(f"skipped {file}: no readable image", stacklevel=4)
            skipped += 1
    return images, skipped


def _read_image(file, image_size):
    with Image.open(file) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # Pillow clips 16 bits at 255 instead of scaling them.
            pixels = np.asarray(image).clip(0, 65535) >> 8
            image = Image.fromarray(pixels.astype("uint8"))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        image = image.convert("L")
        if image_size is not None:
            image = _resize(image, image_size)
        return np.asarray(image)


def _stack(images, image_size):
    """Brings images to one size and into one array."""
    if image_size is None:
        shapes = collections.Counter(image.shape for image in images)
        image_size, _ = shapes.most_common(1)[0]
    for index, image in enumerate(images):
        if image.shape != image_size:
            resized = _resize(Image.fromarray(image), image_size)
            images[index] = np.asarray(resized)
    return np.stack(images)


def _resize(image, image_size):
    height, width = image_size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _draw_test_set(labels, fraction, rng):
    """Draws a mask of `fraction` of each class, at least one, never all."""
    in_test = np.zeros(len(labels), bool)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        count = round(fraction * len(members))
        count = min(max(count, 1), len(members) - 1)
        in_test[rng.choice(members, count, replace=False)] = True
    return in_test
