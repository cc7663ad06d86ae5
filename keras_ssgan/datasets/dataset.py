"""One door to every kind of dataset."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from keras_ssgan import limits
from keras_ssgan.checks import count_channels
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.bundled import load_digits
from keras_ssgan.datasets.bundled import load_mnist
from keras_ssgan.datasets.idx import has_idx_files
from keras_ssgan.datasets.idx import load_idx
from keras_ssgan.datasets.image_folder import class_names
from keras_ssgan.datasets.image_folder import estimate_bytes
from keras_ssgan.datasets.image_folder import load_image_folder
from keras_ssgan.datasets.npz import load_npz
from keras_ssgan.datasets.shards import has_shards
from keras_ssgan.datasets.shards import load_shards
from keras_ssgan.datasets.streams import StreamedImages
from keras_ssgan.errors import InputError

# Sources that are no path.
NAMES = ("digits", "mnist")
# What takes more memory is streamed, unless told otherwise.
STREAM_BYTES = 1 << 30


# Arrays have no truth value, so a generated __eq__ could only fail.
@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, split into training and test sets.

    Attributes:
        x_train: Images, uint8 of shape `(n, height, width)` or `(n, height,
            width, channels)`.
        y_train: Class ids, int32 of shape `(n,)`, -1 for no label.
        x_test: Images like `x_train`, always an array.
        y_test: Class ids like `y_train`, all of them known.
        class_names: Names of the classes in the order of their ids.
    """

    x_train: np.ndarray | StreamedImages
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: list[str]

    @property
    def channels(self) -> int:
        """Channels of its images: 1 where they have no axis for them."""
        return count_channels(self.x_train.shape)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def fingerprint(self) -> str:
        """Tells a dataset from what it was before its images were changed.

        Returns:
            128 hexadecimal digits: the SHA-256 of the test set and of the
            labels of the training set, which is all that earlier versions gave,
            and that of some dozens of training images from everywhere.
        """
        digest = hashlib.sha256(str(self.x_train.shape).encode())
        for array in (self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array).data)
        some = np.ascontiguousarray(streams.some(self.x_train, 32))
        return digest.hexdigest() + hashlib.sha256(some.data).hexdigest()


def load(
    source: str | os.PathLike,
    stream: bool | None = None,
    largest: int | None = None,
) -> Dataset:
    """Loads a dataset by name or from a path.

    Args:
        source: `"digits"` (comes with scikit-learn), `"mnist"`, or the path of
            an `.npz` file, a folder of IDX files, of `.npz` shards or of
            images. See `load_digits`, `load_mnist`, `load_npz`, `load_idx`,
            `load_shards` and `load_image_folder`.
        stream: Whether the training images stay on disk, and are read when
            they are needed. `None` stands for those of shards and of folders
            of images that would take more than 1 GiB of memory.
        largest: Height and width, in pixels, that larger images of a folder
            are reduced to as they are read, with all of their pixels. `None`
            leaves them, for a model that then sees the four nearest pixels of
            each of its own alone.

    Returns:
        A `Dataset`. Its classes are named after the class folders, or "0",
        "1", and so on where there are none.

    Raises:
        InputError: If the source is none of these, or its loader refuses it.

    Example:

    >>> load("digits").num_classes
    10
    """
    path, source = Path(source), str(source)
    if source not in NAMES and path.is_dir() and not has_idx_files(path):
        return _load_folder(path, stream, largest)
    if stream:
        raise InputError(
            f"{source} cannot be streamed; give a folder of .npz shards or of "
            "images, or leave --stream out"
        )
    if source == "digits":
        return _numbered(load_digits(), num_classes=10)
    if source == "mnist":
        return _numbered(load_mnist(), num_classes=10)
    if path.suffix.lower() == ".npz":
        return _numbered(load_npz(path), num_classes=2)
    if not path.is_dir():
        raise InputError(
            f"there is no dataset {source!r}; give digits, mnist, an "
            ".npz file, a folder of IDX files, a folder of .npz shards, or a "
            "folder of images with one sub-folder per class (or train/ and "
            "test/ of such)"
        )
    return _numbered(load_idx(path), num_classes=10)


def _load_folder(path, stream, largest):
    if has_shards(path):
        (x_train, y_train), test = load_shards(path)
        if not _should_stream(stream, x_train.nbytes):
            limits.check_memory(x_train.nbytes + test[0].nbytes, path)
            x_train = x_train[:]
        return _numbered(((x_train, y_train), test), num_classes=2)
    has_folders = any(entry.is_dir() for entry in path.iterdir())
    if any(path.glob("*.npz")) and not has_folders:
        raise InputError(
            f"{path} holds .npz files, and none is called train-*.npz, as "
            "shards are; rename them, or give one .npz file"
        )
    # Looks at the folder only where it has to.
    size = estimate_bytes(path, largest) if stream is None else 0
    train, test = load_image_folder(
        path, stream=_should_stream(stream, size), largest=largest
    )
    return Dataset(*train, *test, class_names(path))


def _should_stream(stream, size):
    return size > STREAM_BYTES if stream is None else stream


def _numbered(arrays, num_classes):
    """Names classes by their ids: at least `num_classes`, more if there are."""
    (x_train, y_train), (x_test, y_test) = arrays
    largest = int(max(y_train.max(), y_test.max()))
    # Also keeps one odd id from making millions of names.
    if largest >= max(num_classes, len(y_train)):
        raise InputError(
            f"class id {largest} is too large for {len(y_train)} training "
            "images; number the classes 0, 1, 2 and so on"
        )
    num_classes = max(num_classes, largest + 1)
    names = [str(label) for label in range(num_classes)]
    return Dataset(x_train, y_train, x_test, y_test, names)
