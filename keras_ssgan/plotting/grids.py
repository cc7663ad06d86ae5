"""Many images in one picture, with or without text."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_ssgan.errors import InputError
from keras_ssgan.plotting import style
from keras_ssgan.plotting.text import HEADING_SIZE
from keras_ssgan.plotting.text import TEXT_SIZE
from keras_ssgan.plotting.text import find_font
from keras_ssgan.plotting.text import shorten

_SEPARATOR = 160
_CELL_SIZE = 64
_CAPTIONED_SIZE = 112
_CAPTION_WIDTH = 136
_CAPTION_LINE = 19


def image_grid(
    images: np.ndarray,
    columns: int = 5,
    scale: int | None = None,
    padding: int = 2,
) -> Image.Image:
    """Puts many small images into one picture, row by row.

    Args:
        images: uint8 array of shape `(n, height, width)`,
            `(n, height, width, 1)` or `(n, height, width, 3)`, with `n >= 1`.
        columns: Images per row, at least 1. Fewer images than this make one
            shorter row.
        scale: Factor by which every image is enlarged, at least 1; each pixel
            becomes a square of `scale` × `scale` pixels. `None` takes the
            smallest factor that makes an image 64 pixels long.
        padding: Width in pixels of the grey lines between and around the
            images, at least 0.

    Returns:
        A greyscale (`"L"`) or colour (`"RGB"`) picture.

    Raises:
        InputError: If `images` has another dtype or shape, or if a number is
            too small.

    Example:
        >>> image_grid(np.zeros((25, 28, 28), "uint8"), columns=5).size
        (432, 432)
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.size == 0:
        raise InputError(
            "image_grid needs at least one image, in an array of shape "
            "(n, height, width), (n, height, width, 1) or "
            f"(n, height, width, 3); got shape {images.shape}."
        )
    if images.dtype != np.uint8:
        raise InputError(
            "image_grid needs uint8 images with values from 0 to 255; got "
            f"{images.dtype}: scale and convert them first."
        )
    count, height, width, channels = images.shape
    if scale is None:
        scale = math.ceil(_CELL_SIZE / max(height, width))
    if columns < 1 or scale < 1 or padding < 0:
        raise InputError(
            "image_grid needs columns >= 1, scale >= 1 and padding >= 0; got "
            f"columns={columns}, scale={scale}, padding={padding}."
        )

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    cells = np.pad(
        images.repeat(scale, axis=1).repeat(scale, axis=2),
        ((0, rows * columns - count), (0, padding), (0, padding), (0, 0)),
        constant_values=_SEPARATOR,
    )
    _, height, width, _ = cells.shape
    picture = (
        cells.reshape(rows, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width, channels)
    )
    picture = np.pad(
        picture,
        ((padding, 0), (padding, 0), (0, 0)),
        constant_values=_SEPARATOR,
    )
    return Image.fromarray(picture[..., 0] if channels == 1 else picture)


def class_grid(
    rows: Sequence[np.ndarray], class_names: Sequence[str], columns: int
) -> Image.Image:
    """Puts the images of each class into a row of its own, with its name.

    Args:
        rows: One uint8 array per class, of shape `(n, height, width, 1)` or
            `(n, height, width, 3)`, with `n` from 0 to `columns`. What a row
            lacks stays grey.
        class_names: As many names. Long ones are cut off; that of an empty
            row is grey.
        columns: Images per row, at least 1.

    Returns:
        An RGB picture on white.

    Example:
        >>> rows = [np.zeros((n, 8, 8, 1), "uint8") for n in (5, 0, 2)]
        >>> class_grid(rows, ["cat", "dog", "owl"], columns=5).mode
        'RGB'
    """
    # More than there are take no memory.
    columns = min(columns, max(1, *map(len, rows)))
    cells = np.full(
        (len(rows), columns, *rows[0].shape[1:]), _SEPARATOR, "uint8"
    )
    for row, images in zip(cells, rows, strict=True):
        row[: len(images)] = images
    grid = image_grid(cells.reshape(-1, *cells.shape[2:]), columns)

    names = list(map(str, class_names))
    font = find_font(HEADING_SIZE, names)
    names = [shorten(name, font, style.NAME_WIDTH) for name in names]
    gap = style.MARGIN // 2
    left = math.ceil(max(map(font.getlength, names))) + 2 * gap
    size = (left + grid.width + gap, grid.height + 2 * gap)
    picture = Image.new("RGB", size, style.WHITE)
    picture.paste(grid, (left, gap))
    draw = ImageDraw.Draw(picture)
    for i, (name, images) in enumerate(zip(names, rows, strict=True)):
        draw.text(
            (left - gap, gap + (i + 0.5) * grid.height / len(rows)),
            name,
            fill=style.INK if len(images) else style.MUTED,
            font=font,
            anchor="rm",
        )
    return picture


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """Puts a line of text above a picture.

    Args:
        picture: A greyscale (`"L"`) or colour (`"RGB"`) picture.
        text: What to write. It is cut off where the picture ends.

    Returns:
        A picture of the same mode and width.

    Example:
        >>> captioned(Image.new("L", (332, 332)), "Epoch 1").size
        (332, 362)
    """
    font = find_font(HEADING_SIZE, [text])
    height = HEADING_SIZE + 12
    framed = Image.new(
        picture.mode, (picture.width, picture.height + height), "white"
    )
    framed.paste(picture, (0, height))
    ImageDraw.Draw(framed).text(
        (picture.width / 2, height / 2),
        shorten(text, font, picture.width),
        fill="black",
        font=font,
        anchor="mm",
    )
    return framed


def captioned_grid(
    images: np.ndarray, captions: Sequence[Sequence[str]], columns: int = 7
) -> Image.Image:
    """Puts images with lines of text under each into one picture.

    Args:
        images: uint8 array of shape `(n, height, width)`,
            `(n, height, width, 1)` or `(n, height, width, 3)`, with `n >= 1`.
            Each is enlarged by the whole number that brings it to 112 pixels
            or more.
        captions: Per image its lines, as many for each; long ones are cut off.
        columns: Images per row, at least 1.

    Returns:
        An RGB picture on white.

    Raises:
        InputError: If there are no images, or another number of captions.

    Example:
        >>> digits = np.zeros((2, 28, 28), "uint8")
        >>> captioned_grid(digits, [("0", "99%"), ("0", "98%")]).mode
        'RGB'
    """
    if not len(images) or len(images) != len(captions):
        raise InputError(
            "captioned_grid needs one caption per image; got "
            f"{len(captions)} for {len(images)} images."
        )
    font = find_font(TEXT_SIZE, itertools.chain(*captions))
    scale = math.ceil(_CAPTIONED_SIZE / max(images.shape[1:3]))
    tiles = [image_grid(image[np.newaxis], 1, scale, 0) for image in images]
    width = max(tiles[0].width, _CAPTION_WIDTH)
    height = tiles[0].height + 6 + len(captions[0]) * _CAPTION_LINE
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)

    picture = Image.new(
        "RGB",
        (
            style.MARGIN + columns * (width + style.MARGIN),
            style.MARGIN + rows * (height + style.MARGIN),
        ),
        style.WHITE,
    )
    draw = ImageDraw.Draw(picture)
    for i, (tile, lines) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(i, columns)
        middle = style.MARGIN + column * (width + style.MARGIN) + width // 2
        top = style.MARGIN + row * (height + style.MARGIN)
        picture.paste(tile, (middle - tile.width // 2, top))
        for j, line in enumerate(lines):
            draw.text(
                (middle, top + tile.height + 6 + j * _CAPTION_LINE),
                shorten(line, font, width),
                fill=style.MUTED if j else style.INK,
                font=font,
                anchor="ma",
            )
    return picture
