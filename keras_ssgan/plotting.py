"""Pictures of a training run, drawn with Pillow.

The font is the one that Pillow bundles, so that no machine lacks it. It covers
ASCII. Names with other characters are drawn in a font of the system's; what
that lacks, too, is written without its accents or as its code point.
"""

import contextlib
import functools
import itertools
import math
import unicodedata
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
from PIL import ImageOps

from keras_ssgan.errors import InputError

_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)
_INK = (32, 33, 36)
_MUTED = (95, 99, 104)
_AXIS = (154, 160, 166)
_GRIDLINE = (228, 230, 233)

# Okabe and Ito's colours, safe for the colour-blind, with grey in place of
# their yellow, which is hard to see on white.
_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
    (153, 153, 153),
)

_TITLE_SIZE = 22
_HEADING_SIZE = 18
_TEXT_SIZE = 15

# === Image grid ===

_SEPARATOR = 160
_CELL_SIZE = 64


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
    cells = np.full(
        (len(rows), columns, *rows[0].shape[1:]), _SEPARATOR, "uint8"
    )
    for row, images in zip(cells, rows, strict=True):
        row[: len(images)] = images
    grid = image_grid(cells.reshape(-1, *cells.shape[2:]), columns)

    names = list(map(str, class_names))
    font = _font(_HEADING_SIZE, names)
    names = [_shorten(name, font, _NAME_WIDTH) for name in names]
    gap = _MARGIN // 2
    left = math.ceil(max(map(font.getlength, names))) + 2 * gap
    size = (left + grid.width + gap, grid.height + 2 * gap)
    picture = Image.new("RGB", size, _WHITE)
    picture.paste(grid, (left, gap))
    draw = ImageDraw.Draw(picture)
    for i, (name, images) in enumerate(zip(names, rows, strict=True)):
        draw.text(
            (left - gap, gap + (i + 0.5) * grid.height / len(rows)),
            name,
            fill=_INK if len(images) else _MUTED,
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
    font = _font(_HEADING_SIZE, [text])
    height = _HEADING_SIZE + 12
    framed = Image.new(
        picture.mode, (picture.width, picture.height + height), "white"
    )
    framed.paste(picture, (0, height))
    ImageDraw.Draw(framed).text(
        (picture.width / 2, height / 2),
        _shorten(text, font, picture.width),
        fill="black",
        font=font,
        anchor="mm",
    )
    return framed


# === Curves ===

_PANEL_WIDTH = 640
_PLOT_HEIGHT = 320
_MARGIN = 24
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

    width = _MARGIN + len(panels) * (_PANEL_WIDTH + _MARGIN)
    plot_top = _MARGIN + (50 if title else 0) + 38
    legend_top = plot_top + _PLOT_HEIGHT + 66
    legend_rows = max(
        math.ceil(len(panel.series) / _legend_columns(panel.series))
        for panel in panels
    )
    height = legend_top + legend_rows * _LEGEND_ROW + _MARGIN // 2

    picture = Image.new("RGB", (width, height), _WHITE)
    if title:
        font = _font(_TITLE_SIZE, [title])
        ImageDraw.Draw(picture).text(
            (width / 2, _MARGIN),
            _shorten(title, font, width - 2 * _MARGIN),
            fill=_INK,
            font=font,
            anchor="ma",
        )
    epochs = max(len(v) for panel in panels for v in panel.series.values())
    for i, panel in enumerate(panels):
        left = _MARGIN + i * (_PANEL_WIDTH + _MARGIN)
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
        fill=_INK,
        font=_font(_HEADING_SIZE),
        anchor="ls",
    )

    values = np.concatenate(list(panel.series.values()))
    ticks = _value_ticks(values, panel.limits)
    labels = [label + panel.unit for label in _tick_labels(ticks)]
    widest_label = max(map(_font(_TEXT_SIZE).getlength, labels))
    right, bottom = left + _PANEL_WIDTH, top + _PLOT_HEIGHT
    left += math.ceil(widest_label) + 10
    # A single epoch sits in the middle of its axis.
    first, last = (1, epochs) if epochs > 1 else (0, 2)
    inset = 12

    def x(epoch):
        share = (epoch - first) / (last - first)
        return left + inset + share * (right - left - 2 * inset)

    def y(value):
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return bottom - share * _PLOT_HEIGHT

    _draw_value_axis(draw, (left, right), y(ticks), labels)
    numbers = _epoch_ticks(epochs)
    _draw_epoch_axis(draw, (left, right), bottom, x(numbers), numbers)
    for i, values in enumerate(panel.series.values()):
        points = np.column_stack([x(np.arange(1, len(values) + 1)), y(values)])
        for run in np.ma.clump_unmasked(np.ma.masked_invalid(values)):
            run = points[run]
            markers = epochs <= _MOST_EPOCHS_WITH_MARKERS or len(run) == 1
            _draw_line(picture, run, i, markers)


def _draw_value_axis(
    draw: ImageDraw.ImageDraw,
    span: tuple[int, int],
    heights: np.ndarray,
    labels: Sequence[str],
):
    left, right = span
    for y, label in zip(heights, labels, strict=True):
        draw.line([(left, round(y)), (right, round(y))], fill=_GRIDLINE)
        draw.text(
            (left - 10, y),
            label,
            fill=_MUTED,
            font=_font(_TEXT_SIZE),
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
    font = _font(_TEXT_SIZE)
    draw.line([(left, height), (right, height)], fill=_AXIS)
    for x, number in zip(positions, numbers, strict=True):
        draw.line([(round(x), height), (round(x), height + 5)], fill=_AXIS)
        draw.text(
            (x, height + 9), str(number), fill=_MUTED, font=font, anchor="ma"
        )
    draw.text(
        ((left + right) / 2, height + 34),
        "Epoch",
        fill=_INK,
        font=font,
        anchor="ma",
    )


def _draw_legend(
    picture: Image.Image,
    corner: tuple[int, int],
    series: Mapping[str, np.ndarray],
):
    draw = ImageDraw.Draw(picture)
    font = _font(_TEXT_SIZE, series)
    columns = _legend_columns(series)
    for i, name in enumerate(series):
        row, column = divmod(i, columns)
        left = corner[0] + column * _PANEL_WIDTH // columns
        middle = corner[1] + row * _LEGEND_ROW + _LEGEND_ROW // 2
        swatch = np.array([(left, middle), (left + _SWATCH_WIDTH, middle)])
        _draw_line(picture, swatch, i, markers=False)
        draw.text(
            (left + _SWATCH_WIDTH + 8, middle),
            _shorten(name, font, _PANEL_WIDTH - _SWATCH_WIDTH - 8),
            fill=_INK,
            font=font,
            anchor="lm",
        )


def _legend_columns(series: Mapping[str, np.ndarray]) -> int:
    widest = max(map(_font(_TEXT_SIZE, series).getlength, series))
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

    dashed, index = divmod(index, len(_COLOURS))
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
        _COLOURS[index],
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


# === Captioned images ===

_CAPTIONED_SIZE = 112
_CAPTION_WIDTH = 136
_CAPTION_LINE = 19


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
    font = _font(_TEXT_SIZE, itertools.chain(*captions))
    scale = math.ceil(_CAPTIONED_SIZE / max(images.shape[1:3]))
    tiles = [image_grid(image[np.newaxis], 1, scale, 0) for image in images]
    width = max(tiles[0].width, _CAPTION_WIDTH)
    height = tiles[0].height + 6 + len(captions[0]) * _CAPTION_LINE
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)

    picture = Image.new(
        "RGB",
        (
            _MARGIN + columns * (width + _MARGIN),
            _MARGIN + rows * (height + _MARGIN),
        ),
        _WHITE,
    )
    draw = ImageDraw.Draw(picture)
    for i, (tile, lines) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(i, columns)
        middle = _MARGIN + column * (width + _MARGIN) + width // 2
        top = _MARGIN + row * (height + _MARGIN)
        picture.paste(tile, (middle - tile.width // 2, top))
        for j, line in enumerate(lines):
            draw.text(
                (middle, top + tile.height + 6 + j * _CAPTION_LINE),
                _shorten(line, font, width),
                fill=_MUTED if j else _INK,
                font=font,
                anchor="ma",
            )
    return picture


# === Reliability ===

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
    small, font = _font(_SMALL_SIZE), _font(_TEXT_SIZE)
    left, top = _MARGIN + 66, _MARGIN + 44
    right = left + len(bins) * _BIN_WIDTH
    bottom = top + _PLOT_HEIGHT
    picture = Image.new("RGB", (right + _MARGIN, bottom + 124), _WHITE)
    draw = ImageDraw.Draw(picture)
    title_font = _font(_TITLE_SIZE, [title])
    draw.text(
        ((_MARGIN + right) / 2, _MARGIN),
        _shorten(title, title_font, right - _MARGIN),
        fill=_INK,
        font=title_font,
        anchor="ma",
    )

    def y(share):
        return bottom - share * _PLOT_HEIGHT

    ticks = np.linspace(0, 1, 6)
    percents = [f"{tick:.0%}" for tick in ticks]
    _draw_value_axis(draw, (left, right), y(ticks), percents)
    for i, entry in enumerate(bins):
        x = left + i * _BIN_WIDTH
        middle = x + _BIN_WIDTH // 2
        draw.text(
            (middle, bottom + 29),
            _short_count(entry["images"]),
            fill=_MUTED,
            font=small,
            anchor="ma",
        )
        if not entry["images"]:
            continue
        share = entry["correct"] / entry["images"]
        draw.rectangle((x + 3, y(share), x + _BIN_WIDTH - 4, bottom), fill=_BAR)
        low, high = entry["interval"]
        draw.line([(middle, y(low)), (middle, y(high))], _COLOURS[0], width=2)
        said = y(entry["confidence"])
        draw.line(
            [(x + 3, said), (x + _BIN_WIDTH - 4, said)], _COLOURS[1], width=3
        )
    draw.line([(left, bottom), (right, bottom)], fill=_AXIS)
    for tick, percent in zip(ticks, percents, strict=True):
        x = left + tick * (right - left)
        draw.line([(x, bottom), (x, bottom + 5)], fill=_AXIS)
        draw.text((x, bottom + 8), percent, fill=_MUTED, font=font, anchor="ma")
    draw.text(
        (left - 10, bottom + 29), "images", fill=_MUTED, font=small, anchor="ra"
    )
    draw.text(
        ((left + right) / 2, bottom + 52),
        "Probability of the predicted class",
        fill=_INK,
        font=font,
        anchor="ma",
    )
    _draw_keys(draw, left, bottom + 90)
    return picture


def _draw_keys(draw: ImageDraw.ImageDraw, x: int, middle: int):
    """Explains bar, line and mark of a reliability diagram, side by side."""
    font = _font(_TEXT_SIZE)
    for text, colour, (half_width, half_height) in (
        ("correct", _BAR, (8, 8)),
        ("its 95% interval", _COLOURS[0], (1, 8)),
        ("mean probability said", _COLOURS[1], (8, 1)),
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
        draw.text((x + 24, middle), text, fill=_INK, font=font, anchor="lm")
        x += 24 + math.ceil(font.getlength(text)) + 28


def _short_count(count: int) -> str:
    return str(count) if count < 100_000 else f"{count // 1000}k"


# === Confusion matrix ===

_NAME_WIDTH = 150
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

    font = _font(_TEXT_SIZE)
    names = list(map(str, class_names))
    name_font = _font(_TEXT_SIZE, names)
    names = [_shorten(name, name_font, _NAME_WIDTH) for name in names]
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

    left = _MARGIN + 30 + widest_name + 10
    top = _MARGIN + 44
    names_top = top + side + 10
    axis_top = names_top + (widest_name if upright else _TEXT_SIZE) + 14
    size = (left + side + _MARGIN, axis_top + _TEXT_SIZE + _MARGIN)

    picture = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(picture)
    draw.text(
        (left + side / 2, _MARGIN),
        _accuracy_title(matrix),
        fill=_INK,
        font=_font(_TITLE_SIZE),
        anchor="ma",
    )
    colours = _heat(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    if counted:
        _draw_cells(draw, (left, top), cell, matrix, colours)
    else:
        cells = colours.resize((side, side), Image.Resampling.BOX)
        picture.paste(cells, (left, top))
    step = math.ceil((_TEXT_SIZE + 3) / cell)
    for i in range(0, classes, step):
        name, middle = names[i], (i + 0.5) * cell
        draw.text(
            (left - 10, top + middle),
            name,
            fill=_INK,
            font=name_font,
            anchor="rm",
        )
        below = (left + middle, names_top)
        if upright:
            _draw_upright(picture, below, name, name_font, _INK)
        else:
            draw.text(below, name, fill=_INK, font=name_font, anchor="ma")
    draw.text(
        (left + side / 2, axis_top),
        "predicted",
        fill=_MUTED,
        font=font,
        anchor="ma",
    )
    true_top = top + (side - font.getlength("true")) / 2
    _draw_upright(picture, (_MARGIN + 10, true_top), "true", font, _MUTED)
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
            fill=_readable_on(colour) if count else _MUTED,  # type: ignore[arg-type]
            font=_font(_TEXT_SIZE),
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
    return _BLACK if luminance > math.sqrt(1.05 * 0.05) - 0.05 else _WHITE


def _draw_upright(
    picture: Image.Image,
    top_middle: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
):
    """Draws text that reads upwards and ends at `top_middle`."""
    height = sum(font.getmetrics())
    mask = Image.new("L", (math.ceil(font.getlength(text)), height))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    mask = mask.transpose(Image.Transpose.ROTATE_90)
    x, y = top_middle
    picture.paste(colour, (round(x - height / 2), round(y)), mask=mask)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Spells `text` for `font`; ends it with an ellipsis before `width`."""
    text = "".join(_spell(character, font) for character in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _spell(character: str, font: ImageFont.FreeTypeFont) -> str:
    """What stands for a character in a font that may lack it."""
    if _has(font, character):
        return character
    plain = [
        part
        for part in unicodedata.normalize("NFKD", character)
        if not unicodedata.combining(part)
    ]
    if all(_has(font, part) for part in plain):
        return "".join(plain)
    # Unlike a question mark, this keeps names apart.
    return character.encode("unicode_escape").decode()


# === Fonts ===

# Linux, macOS and Windows come with one or more of these.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)


def _font(size: int, texts: Iterable[str] = ()) -> ImageFont.FreeTypeFont:
    """The bundled font, or one of the system that has more of `texts`."""
    characters = set().union(*texts)
    bundled = _bundled_font(size)
    if all(_has(bundled, character) for character in characters):
        return bundled
    return max(
        [bundled, *_system_fonts(size)],
        key=lambda font: sum(_has(font, c) for c in characters),
    )


@functools.cache
def _bundled_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)  # type: ignore[return-value]


@functools.cache
def _system_fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    fonts = []
    for name in _SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    return fonts


@functools.cache
def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether a font draws a character as more than the box of those it lacks.

    Pillow does not say; U+FFFF, which is no character, gets that box.
    """
    drawn, box = font.getmask(character), font.getmask("\uffff")
    return drawn.size != box.size or bytes(drawn) != bytes(box)
