"""Times `fit` as images, networks, batches and datasets grow, one at a time.

Beside the time stand the operations that are counted (`operations.py`).

Example:

    KERAS_BACKEND=tensorflow python -m benchmarks.growth --output growth.json
"""

import argparse
import dataclasses
import math
import pathlib
import statistics
import time

from benchmarks import report
from benchmarks.inputs import draw_batches
from benchmarks.inputs import initial_weights
from benchmarks.operations import step_multiply_adds
from benchmarks.peers import Contestant
from benchmarks.peers import build
from keras_ssgan.settings import PRESETS
from keras_ssgan.settings import get_preset

COLUMNS = ("grows", "to", "million multiply-adds", "ms", "ms of the processor")


def main():
    args = _parse_args()
    settings = get_preset(args.preset)
    rows = []
    for name, value, case in cases(settings, args.batch_size, args.steps):
        rows.append({"grows": name, "to": value, **_measure(*case, args)})
        print(*(rows[-1][column] for column in COLUMNS), flush=True)
    if args.output:
        # What `--help` does not wait for.
        from keras_ssgan.autodiff import BACKEND

        document = {
            "arguments": vars(args) | {"backend": BACKEND},
            "rows": rows,
        }
        report.write(args.output, document)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", choices=PRESETS, default="compact")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--steps", type=int, default=5, help="per call of `fit`"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    return parser.parse_args()


def cases(settings, batch_size, steps):
    """What is measured.

    Args:
        settings: A `Preset`.
        batch_size: int, images per step where that is not what grows.
        steps: int, steps where the number of images is not what grows.

    Yields:
        What grows, to which value, and `(settings, batch_size, steps)`.
    """
    size = settings.image_size
    for image_size in (size // 2 // 4 * 4, size, 2 * size):
        resized = with_image_size(settings, image_size)
        yield "image size", image_size, (resized, batch_size, steps)
    for factor in (0.5, 1, 2):
        widened = with_width(settings, factor)
        yield "width", factor, (widened, batch_size, steps)
    for factor in (1, 2, 4):
        size = factor * batch_size
        yield "batch", size, (settings, size, steps)
    for factor in (1, 2, 4):
        images = factor * steps * batch_size
        yield "images", images, (settings, batch_size, factor * steps)


def with_image_size(settings, image_size):
    """A preset for other images, whose generator starts with other windows.

    Args:
        settings: A `Preset`.
        image_size: int, a multiple of the strides of the generator.

    Returns:
        A `Preset`.
    """
    first, *others = settings.generator
    filters, _, *geometry = first
    size = image_size // math.prod(row[-2] for row in others)
    return dataclasses.replace(
        settings,
        image_size=image_size,
        generator=((filters, size, *geometry), *others),
    )


def with_width(settings, factor):
    """A preset with more filters in each layer, or fewer.

    Args:
        settings: A `Preset`.
        factor: float.

    Returns:
        A `Preset`.
    """
    *hidden, output = settings.generator

    def widen(rows):
        return tuple((int(factor * row[0]), *row[1:]) for row in rows)

    return dataclasses.replace(
        settings,
        discriminator=widen(settings.discriminator),
        generator=(*widen(hidden), output),
    )


def _measure(settings, batch_size, steps, args):
    """Operations and milliseconds of one call of `fit`."""
    from keras_ssgan.autodiff import BACKEND

    contestant = Contestant(BACKEND, "ours", "float32")
    peer = build(contestant, settings, initial_weights(settings))
    batches = draw_batches(settings, batch_size, steps)
    peer.train(batches)
    timings = []
    for _ in range(args.rounds):
        start, cpu_start = time.perf_counter(), time.process_time()
        peer.train(batches)
        timings.append(
            (time.perf_counter() - start, time.process_time() - cpu_start)
        )
    wall, cpu = map(statistics.median, zip(*timings, strict=True))
    count = step_multiply_adds(settings) * batch_size * steps
    values = (count / 1e6, 1e3 * wall, 1e3 * cpu)
    return {
        name: round(value, 1)
        for name, value in zip(COLUMNS[2:], values, strict=True)
    }


if __name__ == "__main__":
    main()
