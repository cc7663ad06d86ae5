"""Datasets in the four IDX files of MNIST and its descendants."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from keras_ssgan import limits
from keras_ssgan.checks import check_one_size
from keras_ssgan.errors import InputError
from keras_ssgan.types import Parts

_UNSIGNED_BYTE = 0x08  # The IDX format's code of the element type.
_CHUNK = 1 << 20  # bytes


def load_idx(folder: str | os.PathLike) -> Parts:
    """Loads a folder of MNIST-like IDX files, gzipped or not.

    Args:
        folder: Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each with or
            without `.gz`, and also under the spelling
            `train-images.idx3-ubyte`.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 of shape `(n,
        height, width)`, and labels, int32 of shape `(n,)`.

    Raises:
        InputError: If a file is missing or damaged, or if the files do not
            belong together.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_idx("data/mnist")
    """
    x_train, y_train = _read_part(folder, "train")
    x_test, y_test = _read_part(folder, "t10k")
    check_one_size(folder, x_train, x_test, "use files of one dataset")
    return (x_train, y_train), (x_test, y_test)


def has_idx_files(folder: Path) -> bool:
    """Tells whether a folder holds at least one of the four IDX files."""
    return any(
        _find(folder, part, kind)
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )


def _read_part(folder, part):
    paths = []
    for kind in ("images-idx3", "labels-idx1"):
        path = _find(folder, part, kind)
        if path is None:
            raise InputError(
                f"{folder} lacks {part}-{kind}-ubyte (or the same with .gz)"
            )
        paths.append(path)
    images, labels = _read(paths[0], rank=3), _read(paths[1], rank=1)
    if len(images) != len(labels):
        raise InputError(
            f"{paths[0]} has {len(images)} images and {paths[1]} has "
            f"{len(labels)} labels; use files of one dataset"
        )
    return images, labels.astype("int32")


def _find(folder, part, kind):
    stems = (f"{part}-{kind}", f"{part}-{kind.replace('-', '.')}")
    for stem in stems:
        for suffix in ("-ubyte", "-ubyte.gz"):
            path = Path(folder) / (stem + suffix)
            if path.is_file():
                return path
    return None


def _read(path, rank):
    try:
        with limits.open_regular(path) as file:
            packed = os.fstat(file.fileno()).st_size
            # Browsers unpack downloads and keep the name, so the name says
            # little.
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _parse(file, rank, path, packed)
            with gzip.open(file) as unpacked:
                return _parse(unpacked, rank, path, packed)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or no IDX file ({error}); fetch it again"
        ) from None


def _parse(file, rank, path, packed):
    zeros, dtype, ndim = struct.unpack(">HBB", file.read(4))
    if (zeros, dtype, ndim) != (0, _UNSIGNED_BYTE, rank):
        raise ValueError(f"no header of unsigned bytes of rank {rank}")
    shape = struct.unpack(f">{rank}I", file.read(4 * rank))
    size = math.prod(shape)
    if size == 0:
        raise ValueError(f"shape {shape} is empty")
    limits.check_expansion(packed, size)
    limits.check_memory(size, path)
    # In chunks: neither a huge size in the header nor a huge payload behind a
    # small one gets to allocate memory.
    payload = bytearray()
    while len(payload) <= size and (chunk := file.read(_CHUNK)):
        payload += chunk
    if len(payload) != size:
        more = "more than " if len(payload) > size else ""
        raise ValueError(
            f"shape {shape} needs {size} bytes, there are {more}"
            f"{min(len(payload), size)}"
        )
    return np.frombuffer(payload, np.uint8).reshape(shape)
