"""How far the probabilities of a classifier are right."""

import math
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_ssgan.errors import InputError
from keras_ssgan.plotting import style
from keras_ssgan.plotting.learning_curves import draw_value_axis
from keras_ssgan.plotting.text import TEXT_SIZE
from keras_ssgan.plotting.text import TITLE_SIZE
from keras_ssgan.plotting.text import find_font
from keras_ssgan.plotting.text import shorten

_BIN_WIDTH = 42
_SMALL_SIZE = 12
_BAR = (153, 199, 224)


def reliability_diagram(
    bins: Sequence[Mapping], title: str = ""
) -> Image.Image:
    """Draws how often a classifier is right, by how sure it says it is.

    Every bin has a bar, the share of its images that are correct, a thin line,
    the interval of that share, and a mark, the mean probability that was said.
    A classifier is calibrated where the marks end the bars. The numbers below
    are the images in the bins.

    Args:
        bins: In order, as `calibration.reliability` gives them, each with
            `interval` added, `(low, high)` of the share that is correct.
        title: Text above the bars.

    Returns:
        An RGB picture on white.

    Raises:
        InputError: If there are no bins.
    """
    if not bins:
        raise InputError("reliability_diagram needs at least one bin.")
    small, font = find_font(_SMALL_SIZE), find_font(TEXT_SIZE)
    left, top = style.MARGIN + 66, style.MARGIN + 44
    right = left + len(bins) * _BIN_WIDTH
    bottom = top + style.PLOT_HEIGHT
    picture = Image.new(
        "RGB", (right + style.MARGIN, bottom + 124), style.WHITE
    )
    draw = ImageDraw.Draw(picture)
    title_font = find_font(TITLE_SIZE, [title])
    draw.text(
        ((style.MARGIN + right) / 2, style.MARGIN),
        shorten(title, title_font, right - style.MARGIN),
        fill=style.INK,
        font=title_font,
        anchor="ma",
    )

    def y(share):
        return bottom - share * style.PLOT_HEIGHT

    ticks = np.linspace(0, 1, 6)
    percents = [f"{tick:.0%}" for tick in ticks]
    draw_value_axis(draw, (left, right), y(ticks), percents)
    for i, entry in enumerate(bins):
        x = left + i * _BIN_WIDTH
        middle = x + _BIN_WIDTH // 2
        draw.text(
            (middle, bottom + 29),
            _short_count(entry["images"]),
            fill=style.MUTED,
            font=small,
            anchor="ma",
        )
        if not entry["images"]:
            continue
        share = entry["correct"] / entry["images"]
        draw.rectangle((x + 3, y(share), x + _BIN_WIDTH - 4, bottom), fill=_BAR)
        low, high = entry["interval"]
        draw.line(
            [(middle, y(low)), (middle, y(high))], style.COLOURS[0], width=2
        )
        said = y(entry["confidence"])
        draw.line(
            [(x + 3, said), (x + _BIN_WIDTH - 4, said)],
            style.COLOURS[1],
            width=3,
        )
    draw.line([(left, bottom), (right, bottom)], fill=style.AXIS)
    for tick, percent in zip(ticks, percents, strict=True):
        x = left + tick * (right - left)
        draw.line([(x, bottom), (x, bottom + 5)], fill=style.AXIS)
        draw.text(
            (x, bottom + 8), percent, fill=style.MUTED, font=font, anchor="ma"
        )
    draw.text(
        (left - 10, bottom + 29),
        "images",
        fill=style.MUTED,
        font=small,
        anchor="ra",
    )
    draw.text(
        ((left + right) / 2, bottom + 52),
        "Probability of the predicted class",
        fill=style.INK,
        font=font,
        anchor="ma",
    )
    _draw_keys(draw, left, bottom + 90)
    return picture


def _draw_keys(draw: ImageDraw.ImageDraw, x: int, middle: int):
    """Explains bar, line and mark of a reliability diagram, side by side."""
    font = find_font(TEXT_SIZE)
    for text, colour, (half_width, half_height) in (
        ("correct", _BAR, (8, 8)),
        ("its 95% interval", style.COLOURS[0], (1, 8)),
        ("mean probability said", style.COLOURS[1], (8, 1)),
    ):
        draw.rectangle(
            (
                x + 8 - half_width,
                middle - half_height,
                x + 8 + half_width,
                middle + half_height,
            ),
            fill=colour,
        )
        draw.text(
            (x + 24, middle), text, fill=style.INK, font=font, anchor="lm"
        )
        x += 24 + math.ceil(font.getlength(text)) + 28


def _short_count(count: int) -> str:
    return str(count) if count < 100_000 else f"{count // 1000}k"
