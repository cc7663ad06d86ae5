"""The parsers, each with valid files to start from.

A target writes an input where its parser looks for it, and calls the parser. It
may answer, or raise `InputError` with one line; whatever else it does is a
finding.
"""

import csv
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from keras_ssgan import datasets
from keras_ssgan import limits
from keras_ssgan.errors import InputError

_IDX_IMAGES = struct.pack(">HBBIII", 0, 8, 3, 3, 4, 4) + bytes(range(48))
_IDX_LABELS = struct.pack(">HBBI", 0, 8, 1, 3) + bytes([0, 1, 2])


@dataclasses.dataclass(frozen=True)
class Target:
    """A parser under test.

    Attributes:
        seeds: Function that returns valid inputs, a list of bytes.
        parse: Function of an input and an empty folder to write it to.
        inputs: Share of a run's inputs; a slow parser gets few.
        megabytes: The most that the process may grow by over the whole run.
    """

    seeds: Callable[[], list]
    parse: Callable[[bytes, Path], object]
    inputs: float = 1.0
    megabytes: int = 512


# === Datasets ===


def _idx_seeds():
    return [_IDX_IMAGES, _IDX_LABELS + bytes(45)]


def _parse_idx(content, folder):
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(content)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_IDX_LABELS)
    datasets.load_idx(folder)


def _gzip_seeds():
    return [gzip.compress(content, mtime=0) for content in _idx_seeds()]


def _saved(**arrays):
    """The arrays in both kinds of archive that NumPy writes."""
    archives = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **arrays)
        archives.append(file.getvalue())
    return archives


def _npz_seeds():
    images = np.arange(48, dtype="uint8").reshape(3, 4, 4)
    labels = np.arange(3)
    arrays = {
        "x_train": images,
        "y_train": labels,
        "x_test": images.astype("float32"),
        "y_test": labels.astype("uint8"),
    }
    return _saved(**arrays)


def _parse_npz(content, folder):
    path = folder / "data.npz"
    path.write_bytes(content)
    datasets.load(path)


@functools.cache
def _shard_seeds():
    images = np.arange(48, dtype="uint8").reshape(3, 4, 4)
    return _saved(x=images, y=np.arange(3))


def _parse_shards(content, folder):
    (folder / "train-0.npz").write_bytes(content)
    (folder / "test-0.npz").write_bytes(_shard_seeds()[0])
    (images, _), _ = datasets.load_shards(folder)
    images[:]


# === Images ===

# 24 bytes for each pixel of the largest image.
_IMAGE_MEGABYTES = 24 * limits.MAX_IMAGE_PIXELS // 10**6


def _image_seeds(*formats):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 10, 4), dtype="uint8")
    images = [
        Image.fromarray(pixels[..., 0]),
        Image.fromarray(pixels[..., :3]),
        Image.fromarray(pixels),
        Image.fromarray(pixels[..., 0].astype("uint16") * 257),
        Image.fromarray(pixels[..., 0]).convert("P"),
    ]
    seeds = []
    for name in formats:
        for image in images:
            file = io.BytesIO()
            try:
                image.save(file, name)
            # A format that has no such mode, or that this Pillow lacks.
            except (OSError, KeyError, ValueError):
                continue
            seeds.append(file.getvalue())
    return seeds


def _digit_seeds():
    pixels = np.full((12, 10), 250, "uint8")
    pixels[3:9, 4:6] = 10
    seeds = []
    for name in ("PNG", "JPEG", "TIFF"):
        for mode in ("L", "RGB"):
            file = io.BytesIO()
            Image.fromarray(pixels).convert(mode).save(file, name)
            seeds.append(file.getvalue())
    return seeds


def _parse_image(content, folder):
    path = folder / "image"
    path.write_bytes(content)
    datasets.read_image(path)


def _parse_digit(content, folder):
    path = folder / "image"
    path.write_bytes(content)
    datasets.read_digit(path)


def _parse_image_folder(content, folder):
    good, *_ = _image_seeds("PNG")
    for name in ("cat", "dog"):
        (folder / name).mkdir(exist_ok=True)
        for index in range(2):
            (folder / name / f"{index}.png").write_bytes(good)
    (folder / "cat" / "stranger").write_bytes(content)
    datasets.load(folder)


# === Folders of runs ===


def _config_seeds():
    from keras_ssgan.config import Config

    settings = [
        dataclasses.asdict(Config()),
        dataclasses.asdict(Config("digits", "compact", labels=100, epochs=3)),
        dataclasses.asdict(Config("data.npz", "compact", labels=0.2, seed=7)),
    ]
    return [json.dumps(config, indent=2).encode() for config in settings]


def _parse_config(content, folder):
    from keras_ssgan.config import read_config

    (folder / "config.json").write_bytes(content)
    read_config(folder)


def _metrics_seeds():
    metrics = {"class_names": ["cat", "dog"], "image_size": [28, 28]}
    metrics["test"] = {"accuracy": 0.5, "confusion": [[1, 2], [3, 4]]}
    formats = [{"ink_size": [20, 20], "ink_by_mass": True}]
    formats += [{"ink_size": None}, {"mnist_format": False}]
    seeds = [json.dumps(metrics | known, indent=2) for known in formats]
    return [*(seed.encode() for seed in seeds), b"{}"]


def _parse_metrics(content, folder):
    (folder / "metrics.json").write_bytes(content)
    _read_facts(folder)


def _facts_seeds():
    """Archives of what a model file says beside its model."""
    from keras_ssgan import facts

    seeds = []
    for metrics in map(json.loads, _metrics_seeds()):
        names = metrics.pop("class_names", [])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            facts.append(path, names, metrics)
            seeds.append(path.read_bytes())
    return seeds


def _parse_facts(content, folder):
    path = folder / "model.keras"
    path.write_bytes(content)
    _read_facts(path)


def _read_facts(path):
    """What a run, or a model file, says of its two classes and its images."""
    from keras_ssgan import image_formats
    from keras_ssgan import runs

    runs.load_class_names(path, 2)
    image_formats.reader(path)


def _history_seeds():
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["epoch", "d_loss", "g_loss", "val_loss"])
    writer.writerows([[0, 1.5, 0.25, "NA"], [1, 1e-3, -2.0, "nan"]])
    return [file.getvalue().encode(), b""]


def _parse_history(content, folder):
    from keras_ssgan.history import read_history

    (folder / "history.csv").write_bytes(content)
    read_history(folder)


def _parse_sample(content, folder):
    from keras_ssgan import animation

    good, *_ = _image_seeds("PNG")
    for epoch in (1, 3):
        (folder / f"epoch_{epoch:03d}.png").write_bytes(good)
    (folder / "epoch_002.png").write_bytes(content)
    animation.training(folder, folder / "training.gif")


# === Models ===


@functools.cache
def _gan():
    """A compiled GAN of a few hundred weights."""
    import keras

    import keras_ssgan as ks

    keras.utils.set_random_seed(0)
    discriminator = ks.networks.build_discriminator(
        (4, 4, 1), [(2, 3, 2, "same"), (3, 2, 1, "valid")], num_classes=2
    )
    generator = ks.networks.build_generator(
        2, [(2, 2, 1, "valid"), (1, 2, 2, "same")]
    )
    gan = ks.SemiSupervisedGAN(discriminator, generator, seed=0)
    gan.compile()
    return gan


def _model_seeds():
    """A classifier and a compiled GAN."""
    gan = _gan()
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for model in (gan.classifier(), gan):
            model.save(f"{folder}/model.keras")
            seeds.append(Path(folder, "model.keras").read_bytes())
    return seeds


def _parse_model(content, folder):
    from keras_ssgan import saving

    path = folder / "model.keras"
    path.write_bytes(content)
    saving.load_model(path)


def repack(archive, name, content):
    """A zip archive with one member replaced.

    Args:
        archive: Bytes of the archive.
        name: Name of the member.
        content: Its new bytes.

    Returns:
        Bytes of the new archive, its members stored as they are.
    """
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(file, "w") as new,
    ):
        for member in old.namelist():
            new.writestr(
                member, content if member == name else old.read(member)
            )
    return file.getvalue()


@functools.cache
def _classifier():
    return _model_seeds()[0]


def _member_seeds(name):
    with zipfile.ZipFile(io.BytesIO(_classifier())) as archive:
        return [archive.read(name)]


def _parse_member(name, content, folder):
    _parse_model(repack(_classifier(), name, content), folder)


def _parse_hdf5(content, folder):
    """HDF5's own code, which is native, without a model around it."""
    from keras_ssgan import saving

    try:
        saving.count_stored_values(content)
    # `load_model` makes one line of whatever it is.
    except Exception as error:
        raise InputError(type(error).__name__) from None


# === Checkpoints ===


def _checkpoints(folder):
    """Those of a run with labels of two images from a graph."""
    from keras_ssgan.checkpoints import Checkpoints

    arrays = [np.array([0, 1], "int32"), np.array([1.0, 0.5], "float32")]
    return Checkpoints(folder, arrays)


@functools.cache
def _checkpoint():
    """Name of one, and what follows its checksum."""
    from keras_ssgan.checkpoints import Progress

    history = "epoch,loss\r\n0,1.5\r\n"
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = _checkpoints(folder)
        checkpoints.save(_gan(), Progress(9, 1, 2, history, seconds=3.0))
        (path,) = Path(folder).iterdir()
        _, body = path.read_bytes().split(b"\n", 1)
        return path.name, body


def _checkpoint_seeds():
    # After a line end it does not look like JSON, which it is not all of.
    return [b"\n" + _checkpoint()[1]]


def _parse_checkpoint(content, folder):
    """Under a checksum that is right: any stranger can make one."""
    body = content[1:]
    name, _ = _checkpoint()
    checkpoints = _checkpoints(folder / "checkpoints")
    checkpoints.folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(body).hexdigest().encode()
    (checkpoints.folder / name).write_bytes(digest + b"\n" + body)
    progress = checkpoints.restore(_gan())
    # A run does so with what it is given, and saves nothing that is not finite.
    (folder / "history.csv").write_bytes(progress.history.encode())
    _checkpoints(folder / "again").save(_gan(), progress)


def _header_seeds():
    header, _ = _checkpoint()[1].split(b"\n", 1)
    return [header]


def _parse_header(content, folder):
    _, values = _checkpoint()[1].split(b"\n", 1)
    _parse_checkpoint(b"\n" + content + b"\n" + values, folder)


# === Command line ===

_COMMANDS = (
    "train --dataset digits --preset compact --labels 0.2 --epochs 1 --resume",
    "evaluate run --dataset data.npz --json",
    "predict run image.png folder --csv --as-is",
    "generate run --count 25 --columns 5 --seed 3 --output samples.png",
    "export run --formats onnx,keras --output out --overwrite",
)


def _parse_arguments(content, folder):
    import contextlib

    from keras_ssgan import arguments

    words = content.decode("utf-8", "replace").split()
    with contextlib.redirect_stderr(io.StringIO()):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                arguments.parse(words)
            except SystemExit as error:
                if error.code:
                    raise InputError(f"exit code {error.code}") from None


TARGETS = {
    "idx": Target(_idx_seeds, _parse_idx),
    "idx_gz": Target(_gzip_seeds, _parse_idx),
    "npz": Target(_npz_seeds, _parse_npz),
    "shards": Target(_shard_seeds, _parse_shards),
    "png": Target(
        lambda: _image_seeds("PNG"), _parse_image, megabytes=_IMAGE_MEGABYTES
    ),
    "jpeg": Target(
        lambda: _image_seeds("JPEG"), _parse_image, megabytes=_IMAGE_MEGABYTES
    ),
    "other_images": Target(
        lambda: _image_seeds(
            *("AVIF", "BMP", "GIF", "JPEG2000"),
            *("PCX", "PPM", "TGA", "TIFF", "WEBP"),
        ),
        _parse_image,
        megabytes=_IMAGE_MEGABYTES,
    ),
    "digit": Target(
        _digit_seeds, _parse_digit, 0.3, megabytes=_IMAGE_MEGABYTES
    ),
    "image_folder": Target(
        lambda: _image_seeds("PNG", "GIF"),
        _parse_image_folder,
        0.2,
        megabytes=_IMAGE_MEGABYTES,
    ),
    "config": Target(_config_seeds, _parse_config),
    "metrics": Target(_metrics_seeds, _parse_metrics),
    "facts": Target(_facts_seeds, _parse_facts),
    "history": Target(_history_seeds, _parse_history),
    "sample_grid": Target(lambda: _image_seeds("PNG"), _parse_sample, 0.2),
    "checkpoint": Target(_checkpoint_seeds, _parse_checkpoint, 0.2),
    "checkpoint_header": Target(_header_seeds, _parse_header, 0.2),
    "arguments": Target(
        lambda: [line.encode() for line in _COMMANDS], _parse_arguments, 0.3
    ),
    "hdf5": Target(lambda: _member_seeds("model.weights.h5"), _parse_hdf5),
    "model": Target(_model_seeds, _parse_model, 0.1, 2048),
    "model_config": Target(
        lambda: _member_seeds("config.json"),
        functools.partial(_parse_member, "config.json"),
        0.1,
        2048,
    ),
    "model_weights": Target(
        lambda: _member_seeds("model.weights.h5"),
        functools.partial(_parse_member, "model.weights.h5"),
        0.1,
        2048,
    ),
}
