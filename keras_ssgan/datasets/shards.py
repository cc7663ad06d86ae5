"""Datasets in many NumPy archives, read row by row."""

import collections
import math
import os
import struct
import threading
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_ssgan import limits
from keras_ssgan.checks import check_images
from keras_ssgan.checks import check_labels
from keras_ssgan.checks import check_one_size
from keras_ssgan.datasets import npy
from keras_ssgan.datasets.streams import StreamedImages
from keras_ssgan.errors import InputError

# Compressed shards are shuffled, and kept, so many bytes at a time. Twice as
# much is in memory where one group ends and the next begins.
GROUP_BYTES = 1 << 27

# Of a label in memory, int32.
_LABEL_BYTES = 4

_LOCAL_HEADER = struct.Struct("<4s22xHH")


def load_shards(
    folder: str | os.PathLike,
) -> tuple[tuple["ShardedImages", np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Opens a folder of `.npz` shards, whose training images stay on disk.

    ```
    folder/
      train-00000.npz   x: images; y: labels, or no y where there are none
      train-00001.npz
      test.npz          or test-00000.npz and so on
    ```

    Images are uint8, of one size in all the shards. Only training labels may
    be -1. Shards that `np.savez` wrote are read image by image; those of
    `np.savez_compressed` can only be read whole, see `ShardedImages`. Labels
    and test images are read into memory.

    Args:
        folder: The folder.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, `ShardedImages` and
        uint8 array of shape `(n, height, width)` or `(n, height, width,
        channels)`; labels, int32 of shape `(n,)`.

    Raises:
        InputError: If a shard is missing or damaged, or if the shards do not
            belong together.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_shards("shards")
    """
    x_train, y_train = _open_part(folder, "train-*.npz")
    x_test, y_test = _open_part(folder, "test*.npz")
    check_one_size(folder, x_train, x_test)
    limits.check_memory(x_test.nbytes, folder)
    if (y_test < 0).any():
        raise InputError(
            f"{folder}: the test shards have an image without a label; every "
            "test image needs one"
        )
    return (x_train, y_train), (x_test[:], y_test)


def has_shards(folder: Path) -> bool:
    """Tells whether a folder holds shards of training images."""
    return any(folder.glob("train-*.npz"))


class Shard(NamedTuple):
    """Where the images of one archive lie.

    Attributes:
        path: The archive, `pathlib.Path`.
        size: Its size in bytes.
        shape: Shape of its images.
        start: Bytes before the first pixel: in the archive, or where that is
            compressed, in the member `x.npy`.
        compressed: Whether it is.
    """

    path: Path
    size: int
    shape: tuple[int, ...]
    start: int
    compressed: bool


class ShardedImages(StreamedImages):
    """Images in many `.npz` archives.

    Of an archive that is not compressed, the bytes of the images that are
    asked for are read, and nothing is kept: neither memory nor open files
    grow with the number of images. Checksums are not looked at then.

    A compressed archive is read whole. An epoch therefore takes the archives
    in groups of `GROUP_BYTES`: which ones come together is drawn, and the
    images of a group are shuffled among each other. Two groups at most are
    kept.

    Args:
        shards: List of `Shard`, of images of one size.
    """

    def __init__(self, shards: list[Shard]) -> None:
        counts = [shard.shape[0] for shard in shards]
        image_shape = shards[0].shape[1:]
        super().__init__((sum(counts), *image_shape))
        self._shards = shards
        self._starts = np.cumsum([0, *counts[:-1]])
        self._image_bytes = math.prod(image_shape)
        largest = max(counts) * self._image_bytes
        self._group_size = max(1, GROUP_BYTES // largest)
        self._kept = _Kept(2 * self._group_size)

    @property
    def compressed(self) -> bool:
        """Whether any of the archives is."""
        return any(shard.compressed for shard in self._shards)

    def groups(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        if not self.compressed or len(self._shards) <= self._group_size:
            return None
        group = np.arange(len(self._shards)) // self._group_size
        return rng.permutation(group)[self._shard_of(rows)]

    def _shard_of(self, rows):
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _read(self, rows):
        images = np.empty((len(rows), self._image_bytes), self.dtype)
        shard_of = self._shard_of(rows)
        for index in np.unique(shard_of):
            shard = self._shards[index]
            places = np.flatnonzero(shard_of == index)
            inside = rows[places] - self._starts[index]
            try:
                if shard.compressed:
                    whole = self._kept.get(shard, _decompress)
                    images[places] = whole[inside]
                else:
                    self._read_bytes(shard, inside, images, places)
            except limits.DAMAGED_ARCHIVE as error:
                raise InputError(
                    f"{shard.path} cannot be read any more ({error}); leave "
                    "the shards as they are during a run"
                ) from None
        return images.reshape(len(rows), *self.shape[1:])

    def _read_bytes(self, shard, inside, images, places):
        """Reads images of one archive into their places in the batch."""
        # Not mapped into memory: that would count as memory, and end the
        # process where a file gets shorter.
        with open(shard.path, "rb", buffering=0) as file:
            _check_size(shard, os.fstat(file.fileno()).st_size)
            for place, row in zip(places, inside.tolist(), strict=True):
                file.seek(shard.start + row * self._image_bytes)
                if file.readinto(images[place]) != self._image_bytes:
                    raise EOFError("it is shorter than it was")


class _Kept:
    """Keeps what was asked for last; can be called from many threads.

    Args:
        capacity: int, how many things are kept.
    """

    def __init__(self, capacity):
        self._capacity = capacity
        self._things = collections.OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self):
        # Locks cannot be pickled, and another process reads for itself.
        return type(self), (self._capacity,)

    def get(self, key, make):
        """What `make(key)` gives, or gave."""
        with self._lock:
            if key not in self._things:
                self._things[key] = make(key)
            self._things.move_to_end(key)
            while len(self._things) > self._capacity:
                self._things.popitem(last=False)
            return self._things[key]


def _decompress(shard):
    """Reads all images of a compressed archive; zipfile checks its sum.

    Returns:
        uint8 array of shape `(n, bytes of an image)`.
    """
    _check_size(shard, os.path.getsize(shard.path))
    with limits.open_zip(shard.path) as archive:
        info = _member(archive, "x.npy")
        if info.file_size != shard.start + math.prod(shard.shape):
            raise EOFError("it is other than it was")
        payload = _read_member(archive, info)
    pixels = np.frombuffer(payload, np.uint8, offset=shard.start)
    return pixels.reshape(shard.shape[0], -1)


def _check_size(shard, size):
    if size != shard.size:
        raise EOFError("it is of another size than it was")


def _open_part(folder, pattern):
    """Opens all shards of a part, and reads their labels."""
    paths = sorted(Path(folder).glob(pattern))
    if not paths:
        raise InputError(f"{folder} lacks {pattern}; see docs/your_data.md")
    shards, labels = [], []
    for path in paths:
        shard, y = _open_shard(path, num_before=sum(map(len, labels)))
        if shard.shape[1:] != (shards or [shard])[0].shape[1:]:
            raise InputError(
                f"{path} has images of shape {shard.shape[1:]}, the shards "
                f"before it {shards[0].shape[1:]}; store one size"
            )
        shards.append(shard)
        labels.append(y)
    return ShardedImages(shards), np.concatenate(labels)


def _open_shard(path, num_before):
    """Finds the images of one archive, and reads its labels.

    Args:
        path: `pathlib.Path` of the archive.
        num_before: int, images in the archives before it.
    """
    try:
        with limits.open_zip(path) as archive:
            shard = _find_images(path, archive)
            num_bytes = _LABEL_BYTES * (num_before + shard.shape[0])
            limits.check_memory(num_bytes, "y")
            labels = _read_labels(archive, shard.shape[0])
            check_labels(labels, None, num_images=shard.shape[0])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except limits.DAMAGED_ARCHIVE as error:
        raise InputError(
            f"{path} is no readable shard ({error}); store x, uint8 images, "
            "and y, integer labels, with np.savez"
        ) from None
    return shard, labels.reshape(-1).astype("int32")


def _find_images(path, archive):
    info = _member(archive, "x.npy")
    shape, dtype, start = _read_header(archive, info)
    if dtype != np.uint8:
        raise InputError(f"x has dtype {dtype}; store pixels 0..255 as uint8")
    # An array without memory of its own.
    check_images(np.broadcast_to(np.uint8(0), shape))
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    size = os.path.getsize(path)
    compressed = _is_compressed(info)
    if not compressed:
        start += _payload_offset(path, info)
        if start + math.prod(shape) > size:
            raise EOFError("x reaches beyond the end of the file")
    return Shard(path, size, shape, start, compressed)


def _read_labels(archive, num_images):
    """Reads `y`, or where it is left out, labels that say there are none."""
    if "y.npy" not in archive.namelist():
        return np.full(num_images, -1, "int32")
    info = _member(archive, "y.npy")
    shape, dtype, start = _read_header(archive, info)
    # Before anything of the declared size is read.
    if math.prod(shape) != num_images or dtype.kind not in "ui":
        raise InputError(
            f"y has shape {shape} and dtype {dtype}; store one integer for "
            f"each of the {num_images} images"
        )
    payload = _read_member(archive, info)
    return np.frombuffer(payload, dtype, offset=start).reshape(shape)


def _member(archive, name):
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise ValueError(f"{len(found)} members are called {name}")
    (info,) = found
    if _is_compressed(info) and info.file_size > limits.MAX_COMPRESSED:
        raise InputError(
            f"{name} unpacks to {info.file_size} bytes, and at most "
            f"{limits.MAX_COMPRESSED} are read at once; store smaller shards, "
            "or use np.savez"
        )
    limits.check_member(info)
    return info


def _read_member(archive, info):
    """Reads a member, and unpacks no more than it is said to hold."""
    with archive.open(info) as member:
        return member.read(info.file_size)


def _is_compressed(info):
    return info.compress_type != zipfile.ZIP_STORED


def _read_header(archive, info):
    """Reads what an array says of itself; its rows have to lie in a row.

    Returns:
        Shape, dtype, and the number of bytes before the data.
    """
    header = npy.read_header(archive, info)
    if header.fortran_order and len(header.shape) > 1:
        raise ValueError(f"{info.filename} is no array in C order")
    return header.shape, header.dtype, header.start


def _payload_offset(path, info):
    """Where the bytes of a member begin in the archive."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise ValueError("a member does not begin where the archive says")
    return info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
