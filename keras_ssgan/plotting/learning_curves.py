"""Losses and accuracies over the epochs of a training run."""

import math
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_ssgan.errors import InputError
from keras_ssgan.plotting import style
from keras_ssgan.plotting.text import HEADING_SIZE
from keras_ssgan.plotting.text import TEXT_SIZE
from keras_ssgan.plotting.text import TITLE_SIZE
from keras_ssgan.plotting.text import find_font
from keras_ssgan.plotting.text import shorten

_GRIDLINE = (228, 230, 233)
_PANEL_WIDTH = 640
_LINE_WIDTH = 2.5
_MARKER_RADIUS = 4
_MOST_EPOCHS_WITH_MARKERS = 25
_SWATCH_WIDTH = 34
_LEGEND_ROW = 26


def curves(
    history: Mapping[str, Sequence[float]], title: str = ""
) -> Image.Image:
    """Draws the losses and the accuracies of a training run over its epochs.

    Losses are the entries with "loss" in their name, accuracies the others
    with "accuracy" in it; any other entry is left out. Each kind gets a panel
    of its own, side by side, if there is anything to draw in it.

    Args:
        history: Maps a name to one float per epoch, first epoch first, as
            `keras.callbacks.History.history` does. Accuracies are fractions
            from 0 to 1. A value that is not finite leaves a gap.
        title: Text above the panels.

    Returns:
        An RGB picture on white.

    Raises:
        InputError: If there is no loss and no accuracy in `history`.

    Example:
        >>> history = {"d_loss": [1.9, 1.2], "val_accuracy": [0.71, 0.93]}
        >>> curves(history, "digits, 200 labels").save("curves.png")
    """
    losses, accuracies = {}, {}
    values: Any
    for name, values in history.items():
        values = np.asarray(values, dtype="float64")
        if values.size and "loss" in name:
            losses[name] = values
        elif values.size and "accuracy" in name:
            accuracies[name] = 100 * values
    panels = []
    if losses:
        panels.append(_Panel("Loss", losses, "", (0, math.inf)))
    if accuracies:
        panels.append(_Panel("Accuracy", accuracies, "%", (0, 100)))
    if not panels:
        raise InputError(
            'curves needs an entry with "loss" or "accuracy" in its name and '
            f"at least one epoch; got {sorted(history)}."
        )

    width = style.MARGIN + len(panels) * (_PANEL_WIDTH + style.MARGIN)
    plot_top = style.MARGIN + (50 if title else 0) + 38
    legend_top = plot_top + style.PLOT_HEIGHT + 66
    legend_rows = max(
        math.ceil(len(panel.series) / _legend_columns(panel.series))
        for panel in panels
    )
    height = legend_top + legend_rows * _LEGEND_ROW + style.MARGIN // 2

    picture = Image.new("RGB", (width, height), style.WHITE)
    if title:
        font = find_font(TITLE_SIZE, [title])
        ImageDraw.Draw(picture).text(
            (width / 2, style.MARGIN),
            shorten(title, font, width - 2 * style.MARGIN),
            fill=style.INK,
            font=font,
            anchor="ma",
        )
    epochs = max(len(v) for panel in panels for v in panel.series.values())
    for i, panel in enumerate(panels):
        left = style.MARGIN + i * (_PANEL_WIDTH + style.MARGIN)
        _draw_plot(picture, (left, plot_top), panel, epochs)
        _draw_legend(picture, (left, legend_top), panel.series)
    return picture


class _Panel(NamedTuple):
    """What one plot shows; its axis leaves `limits` only if a value does."""

    heading: str
    series: Mapping[str, np.ndarray]
    unit: str
    limits: tuple[float, float]


def _draw_plot(
    picture: Image.Image,
    corner: tuple[int, int],
    panel: _Panel,
    epochs: int,
):
    """Draws heading, axes and lines; `corner` is left and top of the plot."""
    draw = ImageDraw.Draw(picture)
    left, top = corner
    draw.text(
        (left, top - 20),
        panel.heading,
        fill=style.INK,
        font=find_font(HEADING_SIZE),
        anchor="ls",
    )

    values = np.concatenate(list(panel.series.values()))
    ticks = _value_ticks(values, panel.limits)
    labels = [label + panel.unit for label in _tick_labels(ticks)]
    widest_label = max(map(find_font(TEXT_SIZE).getlength, labels))
    right, bottom = left + _PANEL_WIDTH, top + style.PLOT_HEIGHT
    left += math.ceil(widest_label) + 10
    # A single epoch sits in the middle of its axis.
    first, last = (1, epochs) if epochs > 1 else (0, 2)
    inset = 12

    def x(epoch):
        share = (epoch - first) / (last - first)
        return left + inset + share * (right - left - 2 * inset)

    def y(value):
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return bottom - share * style.PLOT_HEIGHT

    draw_value_axis(draw, (left, right), y(ticks), labels)
    numbers = _epoch_ticks(epochs)
    _draw_epoch_axis(draw, (left, right), bottom, x(numbers), numbers)
    for i, values in enumerate(panel.series.values()):
        points = np.column_stack([x(np.arange(1, len(values) + 1)), y(values)])
        for run in np.ma.clump_unmasked(np.ma.masked_invalid(values)):
            run = points[run]
            markers = epochs <= _MOST_EPOCHS_WITH_MARKERS or len(run) == 1
            _draw_line(picture, run, i, markers)


def draw_value_axis(
    draw: ImageDraw.ImageDraw,
    span: tuple[int, int],
    heights: np.ndarray,
    labels: Sequence[str],
) -> None:
    """Draws a line across `span` at each height, its label to the left."""
    left, right = span
    for y, label in zip(heights, labels, strict=True):
        draw.line([(left, round(y)), (right, round(y))], fill=_GRIDLINE)
        draw.text(
            (left - 10, y),
            label,
            fill=style.MUTED,
            font=find_font(TEXT_SIZE),
            anchor="rm",
        )


def _draw_epoch_axis(
    draw: ImageDraw.ImageDraw,
    span: tuple[int, int],
    height: int,
    positions: np.ndarray,
    numbers: np.ndarray,
):
    left, right = span
    font = find_font(TEXT_SIZE)
    draw.line([(left, height), (right, height)], fill=style.AXIS)
    for x, number in zip(positions, numbers, strict=True):
        draw.line([(round(x), height), (round(x), height + 5)], fill=style.AXIS)
        draw.text(
            (x, height + 9),
            str(number),
            fill=style.MUTED,
            font=font,
            anchor="ma",
        )
    draw.text(
        ((left + right) / 2, height + 34),
        "Epoch",
        fill=style.INK,
        font=font,
        anchor="ma",
    )


def _draw_legend(
    picture: Image.Image,
    corner: tuple[int, int],
    series: Mapping[str, np.ndarray],
):
    draw = ImageDraw.Draw(picture)
    font = find_font(TEXT_SIZE, series)
    columns = _legend_columns(series)
    for i, name in enumerate(series):
        row, column = divmod(i, columns)
        left = corner[0] + column * _PANEL_WIDTH // columns
        middle = corner[1] + row * _LEGEND_ROW + _LEGEND_ROW // 2
        swatch = np.array([(left, middle), (left + _SWATCH_WIDTH, middle)])
        _draw_line(picture, swatch, i, markers=False)
        draw.text(
            (left + _SWATCH_WIDTH + 8, middle),
            shorten(name, font, _PANEL_WIDTH - _SWATCH_WIDTH - 8),
            fill=style.INK,
            font=font,
            anchor="lm",
        )


def _legend_columns(series: Mapping[str, np.ndarray]) -> int:
    widest = max(map(find_font(TEXT_SIZE, series).getlength, series))
    entry = _SWATCH_WIDTH + 8 + widest + 20
    return min(max(1, int(_PANEL_WIDTH // entry)), 3)


def _draw_line(
    picture: Image.Image, points: np.ndarray, index: int, markers: bool
):
    """Draws one smooth line through `points`, of shape `(n, 2)` in pixels.

    The index chooses the colour. When the colours are used up they return
    with dashes, which grow shorter from round to round.
    """
    # Pillow's lines have no anti-aliasing: draw a mask four times as large,
    # of the surroundings of the line only, and shrink it.
    zoom = 4
    origin = np.floor(points.min(axis=0)).astype(int) - 8
    size = np.ceil(points.max(axis=0)).astype(int) + 8 - origin
    mask = Image.new("L", tuple(map(int, size * zoom)))  # type: ignore[arg-type]
    draw = ImageDraw.Draw(mask)
    # Pillow counts pixels by their centres, hence the half.
    points = (points + 0.5 - origin) * zoom - 0.5

    dashed, index = divmod(index, len(style.COLOURS))
    pieces = _dashes(points, 9 * zoom / dashed) if dashed else [points]
    for piece in pieces:
        draw.line(
            [tuple(point) for point in piece.tolist()],
            fill=255,
            width=round(_LINE_WIDTH * zoom),
            joint="curve",
        )
    if markers:
        radius = _MARKER_RADIUS * zoom
        for x, y in points.tolist():
            draw.ellipse(
                (x - radius, y - radius, x + radius, y + radius), fill=255
            )
    picture.paste(
        style.COLOURS[index],
        tuple(map(int, origin)),  # type: ignore[arg-type]
        mask=mask.reduce(zoom),
    )


def _dashes(points: np.ndarray, length: float) -> Iterator[np.ndarray]:
    """Cuts a line into dashes of one length, with gaps half as long."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    for start in np.arange(0.0, travelled[-1], 1.5 * length):
        end = min(start + length, travelled[-1])
        corners = travelled[(travelled > start) & (travelled < end)]
        stops = np.concatenate([[start], corners, [end]])
        yield np.column_stack(
            [np.interp(stops, travelled, axis) for axis in points.T]
        )


def _nice_step(least: float) -> float:
    """The smallest of …, 0.5, 1, 2, 5, 10, 20, … not below `least`."""
    # Rounding errors such as 0.9 - 0.3 > 0.6 must not double the step.
    least *= 1 - 1e-9
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least)


def _value_ticks(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Round numbers, evenly spaced, of which the outer two enclose `values`."""
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.array([0.0, 1.0])
    lowest, highest = values.min(), values.max()
    # Less than one per cent of change is noise that no axis should magnify.
    least = 0.01 * max(abs(lowest), abs(highest)) or 1.0
    spare = max(0.0, least - (highest - lowest)) / 2
    low = max(lowest - spare, min(lowest, limits[0]))
    high = min(highest + spare, max(highest, limits[1]))
    step = _nice_step((high - low) / 6)
    # Rounding keeps 0.3 / 0.1 from being a little less than three steps.
    first = math.floor(round(low / step, 6))
    last = math.ceil(round(high / step, 6))
    return np.arange(first, last + 1) * step


def _epoch_ticks(epochs: int) -> np.ndarray:
    step = int(_nice_step(max(1.0, epochs / 10)))
    return np.arange(step, epochs + 1, step)


def _tick_labels(ticks: np.ndarray) -> list[str]:
    step = ticks[1] - ticks[0]
    if step < 1e-4 or np.abs(ticks).max() >= 1e6:
        return [f"{tick:g}" for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    return [f"{tick:.{decimals}f}" for tick in ticks]
