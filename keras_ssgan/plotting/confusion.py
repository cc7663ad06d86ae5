"""Which classes a classifier takes for which."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageOps

from keras_ssgan.errors import InputError
from keras_ssgan.plotting import style
from keras_ssgan.plotting.text import TEXT_SIZE
from keras_ssgan.plotting.text import TITLE_SIZE
from keras_ssgan.plotting.text import draw_upright
from keras_ssgan.plotting.text import find_font
from keras_ssgan.plotting.text import shorten

_BLACK = (0, 0, 0)
_COLD = (244, 247, 251)
_HOT = (8, 64, 129)
_LEAST_CELL = 44
# Of more, the cells share the room of as many, and have no numbers.
_MOST_CLASSES_WITH_COUNTS = 100


def confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str]
) -> Image.Image:
    """Draws a confusion matrix, with the accuracy as its title.

    The colour of a cell grows with the square root of the cell's share of its
    row, so that rare confusions can still be seen. The counts are written in
    the cells of up to 100 classes. Of more, the cells are smaller, and every
    so-many-th name is written where there is no room for all.

    Args:
        matrix: Integer array of shape `(k, k)`: `matrix[t, p]` images of class
            `t` were taken for class `p`.
        class_names: The `k` names, in the order of the rows. Long ones are
            cut off.

    Returns:
        An RGB picture on white.

    Raises:
        InputError: If `matrix` is not a square of counts, or if there are
            more or fewer names than rows.

    Example:
        >>> confusion_matrix([[48, 2], [5, 45]], ["cat", "dog"]).mode
        'RGB'
    """
    matrix = np.asarray(matrix)
    if (
        matrix.ndim != 2
        or matrix.shape[0] != matrix.shape[1]
        or matrix.size == 0
        or not np.issubdtype(matrix.dtype, np.integer)
        or matrix.min() < 0
    ):
        raise InputError(
            "confusion_matrix needs a square array of whole numbers >= 0; got "
            f"shape {matrix.shape} and dtype {matrix.dtype}."
        )
    classes = len(matrix)
    if len(class_names) != classes:
        raise InputError(
            "confusion_matrix needs one name per class; got "
            f"{len(class_names)} names for {classes} classes."
        )

    font = find_font(TEXT_SIZE)
    names = list(map(str, class_names))
    name_font = find_font(TEXT_SIZE, names)
    names = [shorten(name, name_font, style.NAME_WIDTH) for name in names]
    widest_name = math.ceil(max(map(name_font.getlength, names)))
    counted = classes <= _MOST_CLASSES_WITH_COUNTS
    if counted:
        widest_count = math.ceil(font.getlength(str(matrix.max())))
        side = classes * max(_LEAST_CELL, 360 // classes, widest_count + 14)
    else:
        side = _MOST_CLASSES_WITH_COUNTS * _LEAST_CELL
    cell = side / classes
    # Names too wide for a column are turned to run upwards.
    upright = widest_name + 8 > cell

    left = style.MARGIN + 30 + widest_name + 10
    top = style.MARGIN + 44
    names_top = top + side + 10
    axis_top = names_top + (widest_name if upright else TEXT_SIZE) + 14
    size = (left + side + style.MARGIN, axis_top + TEXT_SIZE + style.MARGIN)

    picture = Image.new("RGB", size, style.WHITE)
    draw = ImageDraw.Draw(picture)
    draw.text(
        (left + side / 2, style.MARGIN),
        _accuracy_title(matrix),
        fill=style.INK,
        font=find_font(TITLE_SIZE),
        anchor="ma",
    )
    colours = _heat(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    if counted:
        _draw_cells(draw, (left, top), cell, matrix, colours)
    else:
        cells = colours.resize((side, side), Image.Resampling.BOX)
        picture.paste(cells, (left, top))
    step = math.ceil((TEXT_SIZE + 3) / cell)
    for i in range(0, classes, step):
        name, middle = names[i], (i + 0.5) * cell
        draw.text(
            (left - 10, top + middle),
            name,
            fill=style.INK,
            font=name_font,
            anchor="rm",
        )
        below = (left + middle, names_top)
        if upright:
            draw_upright(picture, below, name, name_font, style.INK)
        else:
            draw.text(below, name, fill=style.INK, font=name_font, anchor="ma")
    draw.text(
        (left + side / 2, axis_top),
        "predicted",
        fill=style.MUTED,
        font=font,
        anchor="ma",
    )
    true_top = top + (side - font.getlength("true")) / 2
    draw_upright(
        picture, (style.MARGIN + 10, true_top), "true", font, style.MUTED
    )
    return picture


def _accuracy_title(matrix: np.ndarray) -> str:
    total, right = int(matrix.sum()), int(matrix.trace())
    if not total:
        return "No images"
    return f"Accuracy {right / total:.2%} ({right:,} of {total:,})"


def _draw_cells(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    cell: float,
    matrix: np.ndarray,
    colours: Image.Image,
):
    left, top = corner
    for (row, column), count in np.ndenumerate(matrix):
        x, y = left + column * cell, top + row * cell
        colour = colours.getpixel((column, row))
        # One pixel less than the cell leaves a white line to the next.
        draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
        draw.text(
            (x + cell / 2, y + cell / 2),
            str(count),
            fill=_readable_on(colour) if count else style.MUTED,  # type: ignore[arg-type]
            font=find_font(TEXT_SIZE),
            anchor="mm",
        )


def _heat(shares: np.ndarray) -> Image.Image:
    """A picture with a pixel per cell, in its colour."""
    levels = Image.fromarray(np.rint(255 * np.sqrt(shares)).astype("uint8"))
    return ImageOps.colorize(levels, _COLD, _HOT)


def _readable_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more by WCAG 2's contrast ratio."""
    linear = (np.array(colour) / 255) ** 2.2
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    # Here 1.05 / (l + 0.05) = (l + 0.05) / 0.05: white and black are level.
    return _BLACK if luminance > math.sqrt(1.05 * 0.05) - 0.05 else style.WHITE
