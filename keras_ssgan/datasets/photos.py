"""Photos and drawings of a digit, normalised as MNIST was made."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageOps

from keras_ssgan import limits
from keras_ssgan.datasets.image_files import open_image
from keras_ssgan.datasets.image_folder import unreadable_is_input_error
from keras_ssgan.errors import InputError

# MNIST's: "The original black and white (bilevel) images from NIST were size
# normalized to fit in a 20x20 pixel box while preserving their aspect ratio
# [...] the images were centered in a 28x28 image by computing the center of
# mass of the pixels". (http://yann.lecun.com/exdb/mnist/)
_INK_SIZE = 20
_IMAGE_SIZE = 28
# The pixel, from 0, where the images of MNIST have their centre of mass.
_CENTER = 14

# Photos are reduced to this many pixels first: it evens out their grain.
_WORKING_SIZE = 1024
# What differs less from the paper, of 255 levels, is no ink.
_LEAST_CONTRAST = 16
# What has less than this share of the strongest ink is paper.
_LEAST_INK = 0.2
# What has less than this share of the strongest light is as if it had it.
_LEAST_LIGHT = 0.2
# Share of the ink on each side that the box may miss: specks lie there.
_SPECKS = 0.002
# What scaling or JPEG may have done to a normalised digit, in pixels.
_LARGEST_ERROR = 1


def read_digit(path: str | os.PathLike) -> np.ndarray:
    """Reads an image of one digit and normalises it as MNIST was made.

    The paper has to fill the picture: its colour is that of the border, and may
    change across the picture as light falls off. Ink is what is darker, or what is lighter, whichever stands out more. It is
    made light on black, scaled so that the longer side of its box is 20 pixels,
    and centred by mass in 28x28 pixels, as [MNIST](
    http://yann.lecun.com/exdb/mnist/) was. EXIF orientation is applied, and
    transparent pixels lie on white, or on black where white shows no ink.

    Args:
        path: A file that Pillow can read, of any size up to Pillow's limit.

    Returns:
        uint8 array of shape `(28, 28)`, 0 is paper and 255 ink.

    Raises:
        InputError: If there is no readable image, or no ink on it.

    Example:

    >>> read_digit("photo.jpg").shape
    (28, 28)
    """
    with unreadable_is_input_error(path):
        image = _open(path)
    for paper in ("white", "black"):
        ink = _find_ink(_lay_on(image, paper))
        if ink is not None:
            return _normalize(ink)
    raise InputError(
        f"{path} is blank; give a digit that stands out from its paper"
    )


def in_mnist_format(images: np.ndarray) -> bool:
    """Tells whether images look as `read_digit` gives them.

    A model that learnt from such images has to be given such; one that learnt
    from others, images like those.

    Args:
        images: uint8 array of shape `(n, height, width)` or `(n, height, width,
            1)`.

    Returns:
        bool, `True` if nine in ten images, or more, are of 28x28 pixels, with
        light ink on black whose box has a longer side of 20 pixels and whose
        centre of mass is the centre.

    Example:

    >>> in_mnist_format(np.stack([read_digit("photo.jpg")]))
    True
    """
    if images.shape[1:3] != (_IMAGE_SIZE, _IMAGE_SIZE):
        return False
    images = images.reshape(-1, _IMAGE_SIZE, _IMAGE_SIZE)
    return bool(np.mean([_is_normalized(image) for image in images]) >= 0.9)


def on_light_paper(images: np.ndarray) -> bool:
    """Tells whether images are light where there is no ink.

    Args:
        images: uint8 array of shape `(n, height, width)` or `(n, height, width,
            1)`.

    Returns:
        bool, `True` if the median of the pixels at their borders is in the
        lighter half of the levels.

    Example:

    >>> on_light_paper(np.stack([read_digit("photo.jpg")]))
    False
    """
    return bool(np.median(_border(np.moveaxis(images, 0, -1))) > 127)


def _border(pixels):
    """The pixels at the edges of an array `(height, width, ...)`."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _is_normalized(image):
    ink = np.where(image < 255 * _LEAST_INK, 0, image)
    if not ink.any():
        return False
    profiles = [ink.sum(axis=axis, dtype="float64") for axis in (0, 1)]
    size = max(end - begin for begin, end in map(_extent, profiles))
    centers = [np.average(np.arange(_IMAGE_SIZE), weights=p) for p in profiles]
    return bool(
        abs(size - _INK_SIZE) <= _LARGEST_ERROR
        and np.abs(np.subtract(centers, _CENTER)).max() <= _LARGEST_ERROR
    )


def find_images(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Finds the files that a user names.

    Args:
        paths: Files; folders, of which every image is taken, recursively and
            sorted, hidden ones aside; and patterns such as `scans/*.png`, as
            `glob` reads them.

    Returns:
        List of `pathlib.Path`, in the order of `paths`.

    Raises:
        InputError: If one of `paths` stands for no file.

    Example:

    >>> find_images(["digit.png", "scans", "photos/*.jpg"])
    """
    files = []
    for path in map(Path, paths):
        names = [path] if path.exists() else _match(path)
        # Once each: `**` matches a folder, and what is in it.
        found = list(
            dict.fromkeys(file for name in names for file in _expand(name))
        )
        if not found:
            why = "holds no image" if path.is_dir() else "does not exist"
            raise InputError(
                f"{path} {why}; give files, folders of images or patterns such "
                "as 'scans/*.png'"
            )
        files += found
    return files


def _match(pattern):
    """Lists what a pattern matches, sorted."""
    return [
        Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))
    ]


def _expand(path):
    """Lists the images in a folder; a file stands for itself."""
    if not path.is_dir():
        return [path]
    Image.init()
    suffixes = {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in limits.IMAGE_FORMATS
    }
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(p.startswith(".") for p in file.relative_to(path).parts)
    )


def _open(path):
    """Reads an image.

    Returns:
        Upright `PIL.Image.Image` of at most `_WORKING_SIZE` pixels a side,
        `"RGBA"`, or `"F"` where there were more than eight bits a pixel.
    """
    with open_image(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            image = Image.fromarray(_to_levels(image))
        else:
            image = image.convert("RGBA")
    image.thumbnail((_WORKING_SIZE, _WORKING_SIZE))
    return image


def _to_levels(image):
    """Scales an image so that its largest value is 255.

    For 16 bits often hold fewer, and floats have no range of their own.

    Returns:
        float32 array of shape `(height, width)`.
    """
    pixels = np.nan_to_num(np.asarray(image, "float32"), posinf=0.0, neginf=0.0)
    return pixels * (255 / max(np.abs(pixels).max(), 1e-6))


def _lay_on(image, paper):
    """Fills what is transparent with a colour.

    Returns:
        float32 array of shape `(height, width, channels)`.
    """
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, paper)
        image = Image.alpha_composite(ground, image).convert("RGB")
    pixels = np.asarray(image, "float32")
    return pixels.reshape(*pixels.shape[:2], -1)


def _find_ink(pixels):
    """Tells ink from paper, in the channel where it stands out most.

    Args:
        pixels: float32 array of shape `(height, width, channels)`.

    Returns:
        float32 array of shape `(height, width)`, from 0 for paper to 1 for the
        strongest ink; `None` if all is paper.
    """
    paper = _find_paper(pixels)
    # Grain and uneven light. The median, as ink may touch the border.
    noise = 3 * np.median(np.abs(_border(pixels - paper)), axis=0)
    lighter, darker = pixels - paper - noise, paper - pixels - noise
    # Where there is less light, dark ink differs less from the paper.
    light = paper / np.maximum(paper.max(axis=(0, 1)), 1)
    darker /= np.maximum(light, _LEAST_LIGHT)
    ink = np.concatenate([lighter, darker], axis=-1)
    contrast = ink.max(axis=(0, 1))
    best = contrast.argmax()
    if contrast[best] < _LEAST_CONTRAST:
        return None
    ink = ink[..., best] / contrast[best]
    return np.where(ink < _LEAST_INK, 0, ink)


def _find_paper(pixels):
    """The paper behind the ink: its border, as a plane where light falls off.

    Args:
        pixels: float32 array of shape `(height, width, channels)`.

    Returns:
        float32 array of that shape.
    """
    height, width = pixels.shape[:2]
    rows = np.linspace(-1, 1, height)[:, None]
    columns = np.linspace(-1, 1, width)
    places = np.stack(np.broadcast_arrays(1.0, rows, columns), axis=-1)
    at, border = _border(places), _border(pixels)
    paper = np.broadcast_to(np.median(border, axis=0), pixels.shape)
    # Ink may touch the border: it is far from the median, then from the plane.
    for _ in range(2):
        error = np.abs(border - _border(paper))
        # Half a level is rounding.
        near = error <= 3 * np.median(error, axis=0) + 0.5
        planes = [
            np.linalg.lstsq(at[n], values[n], rcond=None)[0]
            for n, values in zip(near.T, border.T, strict=True)
        ]
        paper = (places @ np.stack(planes, axis=-1)).astype("float32")
    # An even ground stays even: a last digit decides what is as faint as paper.
    return paper.round(2)


def _normalize(ink):
    """Brings ink to MNIST's size and place.

    Args:
        ink: float32 array of shape `(height, width)`, 0 is paper.

    Returns:
        uint8 array of shape `(28, 28)`.
    """
    rows, columns = _extent(ink.sum(axis=1)), _extent(ink.sum(axis=0))
    inside = np.zeros_like(ink)
    box = slice(*rows), slice(*columns)
    inside[box] = ink[box]
    size = max(rows[1] - rows[0], columns[1] - columns[0]) / _INK_SIZE
    top, bottom = _frame(inside.sum(axis=1), *rows, size)
    left, right = _frame(inside.sum(axis=0), *columns, size)
    # The frame may lie outside the image, but by less than its own size.
    pad = int(np.ceil(_IMAGE_SIZE * size))
    image = Image.fromarray(np.pad(inside, pad)).resize(
        (_IMAGE_SIZE, _IMAGE_SIZE),
        Image.Resampling.BILINEAR,
        box=(left + pad, top + pad, right + pad, bottom + pad),
    )
    return _stretch(np.asarray(image))


def _extent(profile):
    """First and one past the last index of ink, specks aside.

    Args:
        profile: float array of shape `(n,)`, the ink in each row or column.
    """
    share = np.cumsum(profile) / profile.sum()
    first, last = np.searchsorted(share, [_SPECKS, 1 - _SPECKS])
    return first, last + 1


def _frame(profile, first, last, size):
    """Lays MNIST's frame around ink, moved where it would cut some off.

    Args:
        profile: float array of shape `(n,)`, the ink in each row or column.
        first: int, where the ink begins.
        last: int, one past its end.
        size: float, what becomes one pixel, in pixels of the profile.

    Returns:
        Begin and end as floats, in pixels of the profile.
    """
    mass = (np.arange(len(profile)) + 0.5) @ profile / profile.sum()
    begin = mass - (_CENTER + 0.5) * size
    begin = np.clip(begin, last - _IMAGE_SIZE * size, first)
    return begin, begin + _IMAGE_SIZE * size


def _stretch(ink):
    """Makes the stroke white, for a thin one gets faint when it is reduced.

    Returns:
        uint8 array of the shape of `ink`.
    """
    white = np.median(ink[ink > ink.max() / 2])
    return np.rint((ink / white).clip(0, 1) * 255).astype("uint8")
