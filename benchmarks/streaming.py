"""Memory, speed and waiting against the number of images that are streamed.

Writes shards of generated images, or a file each, to a temporary folder, one
size after the other, and deletes them again. Each measurement is a process of
its own, so that each has a peak of its own.

Example:

    KERAS_BACKEND=jax python -m benchmarks.streaming \\
        --sizes 10000,100000,1000000 --output docs/results/streaming_jax.json
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from benchmarks import report

SHARD = 10_000
LABELS = 1000
BATCH_SIZE = 128
COLUMNS = {
    "images": "images",
    "pixels_mib": "pixels, MiB",
    "order": "shuffle",
    "peak_mib": "peak of a pass, MiB",
    "images_per_second": "images/s of a pass",
    "shards_per_batch": "shards in a batch",
    "correlation": "place to place",
    "training_peak_mib": "peak of training, MiB",
    "training_images_per_second": "images/s of training",
    "waiting_share": "waiting",
}


def main():
    args = _parse_args()
    if args.measure:
        measure = {"pass": _pass, "train": _train}[args.measure]
        print(json.dumps(measure(args)))
        return
    rows = [_measure_size(size, args) for size in args.sizes]
    print(table(rows))
    if args.output:
        document = {
            "arguments": vars(args),
            "machine": report.describe_machine(),
            "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
            "rows": rows,
        }
        report.write(args.output, document)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.streaming", description=__doc__.split("\n")[0]
    )

    add = parser.add_argument
    add("--sizes", type=report.counts, default=[10_000, 100_000])
    add("--image-size", type=int, default=28, help="pixels (default: 28)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--compressed", action="store_true", help="np.savez_compressed"
    )
    kind.add_argument(
        "--files", action="store_true", help="PNG files in place of shards"
    )
    add(
        "--cold",
        action="store_true",
        help="have the system forget the files before a pass, as it would if "
        "they were more than its memory",
    )
    add("--preset", default="compact")
    add("--steps", type=int, default=200, help="of training; 0 for none")
    add("--batches", type=int, help="of a pass (default: all of an epoch)")
    add("--output", type=pathlib.Path, metavar="FILE", help="JSON to write")
    add("--measure", choices=("pass", "train"), help=argparse.SUPPRESS)
    add("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure_size(size, args):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        if args.files:
            write_files(path, size, args.image_size)
        else:
            write_shards(path, size, args.image_size, args.compressed)
        row = {"images": size, **_run("pass", folder, args)}
        if args.steps:
            row |= _run("train", folder, args)
    return row


def _run(measure, folder, args):
    """What one measurement finds, in a process of its own."""
    if args.cold:
        _forget(pathlib.Path(folder))
    command = [sys.executable, "-m", "benchmarks.streaming"]
    command += ["--measure", measure, "--folder", folder]
    command += ["--preset", args.preset, "--steps", str(args.steps)]
    command += ["--batches", str(args.batches)] if args.batches else []
    command += ["--files"] * args.files
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def write_shards(folder, num_images, image_size, compressed=False):
    """Writes shards of images, each with a label.

    Args:
        folder: `pathlib.Path`.
        num_images: int, a multiple of ten.
        image_size: int, in pixels.
        compressed: Whether to use `np.savez_compressed`.
    """
    save = np.savez_compressed if compressed else np.savez
    for start, x in _draw_images(num_images, image_size):
        y = np.arange(start, start + len(x)) % 10
        save(folder / f"train-{start // SHARD:05d}.npz", x=x, y=y)
    save(folder / "test.npz", x=x[:100], y=y[:100])


def write_files(folder, num_images, image_size):
    """Writes images as PNG files, of which the first `LABELS` have a label.

    Args:
        folder: `pathlib.Path`.
        num_images: int.
        image_size: int, in pixels.
    """
    for name in [*map(str, range(10)), "unlabeled"]:
        (folder / name).mkdir()
    for start, x in _draw_images(num_images, image_size):
        for number, pixels in enumerate(x, start):
            name = str(number % 10) if number < LABELS else "unlabeled"
            Image.fromarray(pixels).save(folder / name / f"{number:08d}.png")


def _draw_images(num_images, image_size):
    """Yields grey spots on black, which compress as digits do.

    The first four pixels of an image are its number, little-endian.

    Yields:
        The number of the first image, and at most `SHARD` images.
    """
    spot = slice(image_size // 4, -image_size // 4)
    rng = np.random.default_rng(0)
    for start in range(0, num_images, SHARD):
        number = np.arange(start, min(start + SHARD, num_images))
        x = np.zeros((len(number), image_size, image_size), "uint8")
        x[:, spot, spot] = rng.integers(0, 256, x[:, spot, spot].shape)
        bytes_of = number.astype("<u4").view("uint8").reshape(-1, 4)
        x.reshape(len(x), -1)[:, :4] = bytes_of
        yield start, x


def _forget(folder):
    for path in filter(pathlib.Path.is_file, folder.rglob("*")):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# === In a process of its own ===


def _open(args):
    from keras_ssgan import datasets

    dataset = datasets.load(args.folder, stream=True)
    labels = dataset.y_train
    if not args.files:
        labels = datasets.hide_labels(labels, LABELS)
    return dataset, labels


def _pass(args):
    """One epoch of all the images, without training."""
    from keras_ssgan import datasets

    before = report.peak_mib()
    start = time.perf_counter()
    dataset, labels = _open(args)
    images = dataset.x_train
    data = datasets.MixedDataset(
        images, labels, BATCH_SIZE, labeled_per_batch=BATCH_SIZE // 2
    )
    opened = time.perf_counter() - start
    whole = images.groups(np.arange(1), np.random.default_rng(0)) is None
    # Of files some are the test set, whose numbers no batch has.
    order = Order(len(images) + len(dataset.x_test))
    start = time.perf_counter()
    num_batches = min(args.batches or len(data), len(data))
    for index in range(num_batches):
        batch, batch_labels = data[index]
        order.add(batch[batch_labels < 0])
    seconds = time.perf_counter() - start
    # No image came twice: so each has come once.
    assert args.batches or order.count == (labels < 0).sum()
    return {
        "pixels_mib": images.nbytes / 2**20,
        "order": "of all" if whole else "in groups",
        "open_seconds": opened,
        "peak_before_mib": before,
        "peak_mib": report.peak_mib(),
        "images_per_second": BATCH_SIZE * num_batches / seconds,
        **order.summary(),
    }


class Order:
    """How an epoch orders images that tell their own numbers.

    Args:
        num_images: int.
    """

    def __init__(self, num_images):
        self.seen = np.zeros(num_images, bool)
        self.count = 0
        self.shards = []
        self.moments = np.zeros((3, 3))

    def add(self, images):
        """Notes the unlabelled images of the next batch."""
        heads = images.reshape(len(images), -1)[:, :4]
        number = np.ascontiguousarray(heads).view("<u4")[:, 0]
        assert not self.seen[number].any()
        self.seen[number] = True
        place = self.count + np.arange(len(number))
        self.count += len(number)
        self.shards.append(len(np.unique(number // SHARD)))
        points = np.stack([number, place, np.full(len(number), 1.0)])
        points[:2] /= len(self.seen)
        self.moments += points @ points.T

    def summary(self):
        """What the batches so far tell.

        Returns:
            Dict of the mean number of shards in a batch, and the correlation
            of where an image is stored with when it is drawn.
        """
        moments = self.moments / self.count
        means = moments[:2, 2]
        covariance = moments[:2, :2] - np.outer(means, means)
        spread = np.sqrt(covariance[0, 0] * covariance[1, 1])
        return {
            "shards_per_batch": float(np.mean(self.shards)),
            "correlation": float(covariance[0, 1] / spread),
        }


def _train(args):
    """Some steps of training, as `keras-ssgan train` takes them."""
    import keras

    from keras_ssgan import callbacks
    from keras_ssgan.config import Config
    from keras_ssgan.model import SemiSupervisedGAN
    from keras_ssgan.split import load_split
    from keras_ssgan.split import mix

    config = Config(
        dataset=str(args.folder),
        preset=args.preset,
        labels=None if args.files else LABELS,
        batch_size=BATCH_SIZE,
        stream=True,
    )
    keras.utils.set_random_seed(0)
    data = mix(config, load_split(config))
    gan = SemiSupervisedGAN.from_preset(args.preset, seed=0)
    gan.compile()
    gan.train_on_batch(*data[0])  # Compiles.
    waiting = callbacks.WaitingShare(data)
    steps = min(args.steps, len(data))
    gan.fit(
        data,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[waiting],
        verbose=0,
    )
    return {
        "training_peak_mib": report.peak_mib(),
        "training_images_per_second": BATCH_SIZE * steps / waiting.seconds,
        "waiting_share": waiting.share,
    }


# === Report ===


def table(rows):
    """Markdown of one line per size.

    Args:
        rows: List of dicts with the keys of `COLUMNS`, or some of them.

    Returns:
        str.
    """
    names = [name for name in COLUMNS if name in rows[0]]
    return report.markdown(
        [COLUMNS[name] for name in names],
        [[_cell(name, row[name]) for name in names] for row in rows],
    )


def _cell(name, value):
    if name == "waiting_share":
        return f"{value:.1%}"
    if name in ("correlation", "shards_per_batch"):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
    return value if isinstance(value, str) else f"{value:,.0f}"


if __name__ == "__main__":
    main()
