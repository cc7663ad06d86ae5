"""Photos and drawings of a digit, normalised as a model's digits were."""

import dataclasses
import math
import os

import numpy as np
from PIL import Image
from PIL import ImageOps

from keras_ssgan.datasets.image_files import open_image
from keras_ssgan.datasets.image_files import unreadable_is_input_error
from keras_ssgan.errors import InputError

# Photos are reduced to this many pixels first: it evens out their grain.
_WORKING_SIZE = 1024
# What differs less from the paper, of 255 levels, is no ink.
_LEAST_CONTRAST = 16
# What has less than this share of the strongest ink is paper.
_LEAST_INK = 0.2
# What has less than this share of the strongest light is as if it had it.
_LEAST_LIGHT = 0.2
# A stroke has more than this share of the strongest ink. Half of it is what its
# edges have where the box is centred: rounding is not to decide about them.
_STRONG = 0.499
# Share of the ink on each side that the box may miss: specks lie there.
_SPECKS = 0.002
# What scaling or JPEG may have done to a normalised digit, as a share of its
# size; a pixel at least.
_LARGEST_ERROR = 0.05
# Strokes leave paper between them: less than this share of their box is ink.
_MOST_INK = 0.7


@dataclasses.dataclass(frozen=True)
class DigitFormat:
    """How digits lie in images; as MNIST's do, unless something else is given.

    "The original black and white (bilevel) images from NIST were size
    normalized to fit in a 20x20 pixel box while preserving their aspect ratio
    [...] the images were centered in a 28x28 image by computing the center of
    mass of the pixels." ([MNIST](http://yann.lecun.com/exdb/mnist/))

    Attributes:
        image_size: Height and width in pixels.
        ink_size: Height and width of the box that the ink fits. It is scaled
            until its longer side is that of the box, and squeezed where its
            other side then is longer than the box's.
        by_mass: Whether the ink's centre of mass is in the middle, or else the
            centre of its box. MNIST's centre of mass is at pixel 14, from 0, of
            28, half a pixel past the middle.
        light_paper: Whether ink is dark on light.

    Example:

    >>> DigitFormat((8, 8), ink_size=(8, 6), by_mass=False)
    """

    image_size: tuple[int, int] = (28, 28)
    ink_size: tuple[int, int] = (20, 20)
    by_mass: bool = True
    light_paper: bool = False


MNIST_FORMAT = DigitFormat()


def read_digit(
    path: str | os.PathLike, digit_format: DigitFormat = MNIST_FORMAT
) -> np.ndarray:
    """Reads an image of one digit and normalises it as a model's digits were.

    The paper has to fill the picture: its colour is that of the border, and may
    change across the picture as light falls off. A frame or ruled lines are
    taken for ink. Ink is what is darker, or what is lighter, whichever stands
    out more. It is scaled and centred as the ink of `digit_format`; an image
    that is in this format stays as it is. EXIF orientation is applied, and
    transparent pixels lie on white, or on black where white shows no ink.

    Args:
        path: Image file of at most 67 megapixels.
        digit_format: As from `find_digit_format`, where the model learnt from
            other images than MNIST's.

    Returns:
        uint8 array of shape `digit_format.image_size`; 0 is paper and 255 ink,
        or the reverse with `light_paper`.

    Raises:
        InputError: If there is no readable image, or no ink on it.

    Example:

    >>> read_digit("photo.jpg").shape
    (28, 28)
    """
    with unreadable_is_input_error(path):
        image = _open(path)
    digit = _given_digit(image, digit_format)
    if digit is not None:
        return digit
    for paper in ("white", "black"):
        ink = _find_ink(_lay_on(image, paper))
        if ink is not None:
            digit = _normalize(ink, digit_format)
            return 255 - digit if digit_format.light_paper else digit
    raise InputError(
        f"{path} is blank; give a digit that stands out from its paper"
    )


def find_digit_format(images: np.ndarray) -> DigitFormat | None:
    """Measures how digits lie in the images that a model learns from.

    For the model has to be given photos in the format of these.

    Args:
        images: uint8 array of shape `(n, height, width)` or `(n, height, width,
            channels)`.

    Returns:
        `DigitFormat`; `None` where the images are no strokes of ink on black or
        white, or more than one in ten lie otherwise than the rest.

    Example:

    >>> (x_train, _), _ = load_mnist()
    >>> find_digit_format(x_train[:4000]) == DigitFormat()
    True
    """
    if images.ndim == 4:
        if images.shape[-1] > 1:
            return None
        images = images[..., 0]
    light_paper = on_light_paper(images)
    inks = [_given_ink(image, light_paper) for image in images]
    inks = [ink for ink in inks if ink.any()]
    if not inks or np.median([_share_of_box(ink) for ink in inks]) > _MOST_INK:
        return None
    boxes = np.array([_box(ink) for ink in inks])
    sizes = np.percentile(np.diff(boxes)[..., 0], 95, axis=0)
    # Which of the two is always in the same place?
    spread = [
        np.var(
            [
                _centers(*pair, by_mass)
                for pair in zip(inks, boxes, strict=True)
            ],
            axis=0,
        ).sum()
        for by_mass in (False, True)
    ]
    digit_format = DigitFormat(
        (images.shape[1], images.shape[2]),
        (round(sizes[0]), round(sizes[1])),
        bool(spread[True] < spread[False]),
        light_paper,
    )
    alike = sum(_lies_in(ink, digit_format) for ink in inks)
    return digit_format if alike >= 0.9 * len(images) else None


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


def _given_ink(image, light_paper):
    """The ink of an image on black, or else white, as of `_find_ink`."""
    ink = image.astype("float32") / 255
    ink = 1 - ink if light_paper else ink
    return np.where(ink < _LEAST_INK, 0, ink)


def _share_of_box(ink):
    return np.mean(ink[_slices(_box(ink))] > 0)


def _lies_in(ink, digit_format):
    """Whether the ink of an image is in a format already."""
    box = _box(ink)
    length = max(last - first for first, last in box)
    centers = _centers(ink, box, digit_format.by_mass)
    errors = [
        length - max(digit_format.ink_size),
        *np.subtract(centers, _middle(digit_format)),
    ]
    return np.abs(errors).max() <= max(1, _LARGEST_ERROR * length)


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


def _given_digit(image, digit_format):
    """The pixels of an image that is in a format, or else `None`."""
    if image.size != digit_format.image_size[::-1]:
        return None
    pixels = _lay_on(image, "white").mean(axis=-1)
    pixels = np.rint(pixels).clip(0, 255).astype("uint8")
    if on_light_paper(pixels[None]) != digit_format.light_paper:
        return None
    ink = _given_ink(pixels, digit_format.light_paper)
    # A faint one is made white.
    if ink.max() < 0.9 or not _lies_in(ink, digit_format):
        return None
    return pixels


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


def _normalize(ink, digit_format):
    """Brings ink to the size and place that it has in a format.

    Args:
        ink: float32 array of shape `(height, width)`, 0 is paper.
        digit_format: `DigitFormat`.

    Returns:
        uint8 array of shape `digit_format.image_size`, 0 is paper.
    """
    box = _box(ink)
    inside = np.zeros_like(ink)
    inside[_slices(box)] = ink[_slices(box)]
    lengths = [last - first for first, last in box]
    scale = max(lengths) / max(digit_format.ink_size)
    centers = _centers(inside, box, digit_format.by_mass)
    windows, frames, pads = [], [], []
    for axis, count in enumerate(digit_format.image_size):
        size = max(scale, lengths[axis] / digit_format.ink_size[axis])
        begin = centers[axis] - _middle(digit_format)[axis] * size
        # Moved where it would cut some ink off.
        first, last = box[axis]
        begin = np.clip(begin, last - count * size, first)
        # Drawn are the pixels that get some ink: a frame around all would be
        # many times as large as the image where a format's ink is small.
        reach = max(size, 1)
        start = max(0, math.floor((first - reach - begin) / size))
        stop = min(count, math.ceil((last + reach - begin) / size))
        windows.append(slice(start, stop))
        # What they are made of may lie outside of the image, as far as that.
        pads.append(math.ceil(3 * reach))
        frames.append([begin + n * size + pads[-1] for n in (start, stop)])
    (top, bottom), (left, right) = frames
    digit = np.zeros(digit_format.image_size, "float32")
    image = Image.fromarray(np.pad(inside, [(pad, pad) for pad in pads]))
    image = image.resize(
        digit[tuple(windows)].shape[::-1],
        Image.Resampling.BILINEAR,
        box=(left, top, right, bottom),
    )
    digit[tuple(windows)] = np.asarray(image)
    return _stretch(digit)


def _box(ink):
    """First and one past the last row of ink, and column."""
    return [_extent(ink.sum(axis=1)), _extent(ink.sum(axis=0))]


def _extent(profile):
    """First and one past the last index of ink, specks aside.

    Args:
        profile: float array of shape `(n,)`, the ink in each row or column.
    """
    share = np.cumsum(profile) / profile.sum()
    first, last = np.searchsorted(share, [_SPECKS, 1 - _SPECKS])
    return first, last + 1


def _slices(box):
    return tuple(slice(first, last) for first, last in box)


def _centers(ink, box, by_mass):
    """Where the centre of mass is, or that of the box: row and column."""
    if not by_mass:
        return [(first + last) / 2 for first, last in box]
    profiles = ink.sum(axis=1), ink.sum(axis=0)
    return [(np.arange(len(p)) + 0.5) @ p / p.sum() for p in profiles]


def _middle(digit_format):
    """Where the centres are in images of a format."""
    beside = 0.5 * digit_format.by_mass
    return [count / 2 + beside for count in digit_format.image_size]


def _stretch(ink):
    """Makes the stroke white, for a thin one gets faint when it is reduced.

    Returns:
        uint8 array of the shape of `ink`.
    """
    white = np.median(ink[ink > ink.max() * _STRONG])
    return np.rint((ink / white).clip(0, 1) * 255).astype("uint8")
