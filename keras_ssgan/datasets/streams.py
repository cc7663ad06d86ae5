"""Images that stay on disk and are read row by row."""

import math
from typing import TypeAlias

import numpy as np

from keras_ssgan import limits


class StreamedImages:
    """Images that are read when rows of them are asked for.

    Stands where an array of images does: it has `shape`, `dtype` and `nbytes`,
    and indexing by rows gives an array in memory. A subclass reads rows in
    `_read`.

    Args:
        shape: Shape of all the images, `(n, height, width)` or `(n, height,
            width, channels)`.

    Example:

    >>> images[[3, 1, 4]].shape
    (3, 28, 28)
    """

    dtype = np.dtype("uint8")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(size) for size in shape)

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that the images would take in memory."""
        return math.prod(self.shape)

    def __getitem__(self, rows):
        """Reads images.

        Args:
            rows: A slice, a mask of shape `(n,)`, or integers of shape `(m,)`;
                negative ones count from the end.

        Returns:
            uint8 array of shape `(m, *shape[1:])`.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = rows.astype("int64", copy=False)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"there are {len(self)} images")
        return self._read(np.where(rows < 0, rows + len(self), rows))

    def _read(self, rows):
        """Reads the images of int64 rows in `[0, n)`."""
        raise NotImplementedError

    def groups(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        """Draws which rows of an epoch have to come close to each other.

        Args:
            rows: Integer array of shape `(m,)`.
            rng: `numpy.random.Generator`.

        Returns:
            Integer array of shape `(m,)`: the number of the group of each row,
            in the order in which the groups come; `None` where all rows can be
            read equally well at any time.
        """


# Images that are moved at a time.
_BLOCK = 256
# Of the images that statistics are taken of.
_SOME_BYTES = 1 << 26

Images: TypeAlias = np.ndarray | StreamedImages


class Subset(StreamedImages):
    """Some rows of streamed images.

    Args:
        source: `StreamedImages`.
        rows: Integer array of shape `(m,)`.
    """

    def __init__(self, source: StreamedImages, rows: np.ndarray) -> None:
        super().__init__((len(rows), *source.shape[1:]))
        self._source = source
        self._rows = compact(rows, len(source))

    def _read(self, rows):
        return self._source[self._rows[rows]]

    def groups(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        return self._source.groups(self._rows[rows], rng)


class PartlyInMemory(StreamedImages):
    """Streamed images, of which some rows are read once and kept.

    Args:
        source: `StreamedImages`.
        rows: Integer array of shape `(m,)`, sorted; what is kept.
    """

    def __init__(self, source: StreamedImages, rows: np.ndarray) -> None:
        super().__init__(source.shape)
        self._source = source
        self._kept_rows = rows
        self._kept = source[rows]

    def _read(self, rows):
        place = np.searchsorted(self._kept_rows, rows)
        place = np.minimum(place, len(self._kept_rows) - 1)
        kept = self._kept_rows[place] == rows
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        images[kept] = self._kept[place[kept]]
        images[~kept] = self._source[rows[~kept]]
        return images

    def groups(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        return self._source.groups(rows, rng)


class Repeated(StreamedImages):
    """Images in memory that come again and again, and are there once.

    Args:
        images: uint8 array of shape `(n, height, width)` or `(n, height,
            width, channels)`.
        count: int, how many they seem to be: the rows after the last are the
            first ones again.
    """

    def __init__(self, images: np.ndarray, count: int) -> None:
        super().__init__((count, *images.shape[1:]))
        self._images = images

    def _read(self, rows):
        return self._images[rows % len(self._images)]


def select(images: Images, mask: np.ndarray, overwrite: bool = False) -> Images:
    """Takes images by a mask, without reading those that are streamed.

    Args:
        images: Array or `StreamedImages` of `n` images.
        mask: bool array of shape `(n,)`.
        overwrite: Whether an array may be overwritten, so that there is no
            second one; not if it is read-only.

    Returns:
        Images of the same kind; `images` itself where all are taken.
    """
    if mask.all():
        return images
    if isinstance(images, StreamedImages):
        return Subset(images, np.flatnonzero(mask))
    if not (overwrite and images.flags.writeable):
        return images[mask]
    rows = np.flatnonzero(mask)
    # Images move to the front alone: none is overwritten before it has moved.
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        images[start : start + len(block)] = images[block]
    return images[: len(rows)]


def some(images: Images, enough: int = 4000) -> np.ndarray:
    """Takes as many images as are enough, or less than twice as many.

    Args:
        images: Array or `StreamedImages` of `n` images.
        enough: int, as `some_rows` takes it.

    Returns:
        Array of the images in `some_rows`.
    """
    return images[some_rows(images, enough)]


def some_rows(images: Images, enough: int = 4000) -> slice:
    """Chooses images from everywhere, as they may be in the order of classes.

    Args:
        images: Array or `StreamedImages` of `n` images.
        enough: int, by default what statistics need. Of images of more than
            128x128 pixels fewer are enough, which make 64 MiB.

    Returns:
        Slice of the first image and every so-many-th after it; all, where
        there are less than twice as many as are enough.
    """
    fit = max(1, _SOME_BYTES // math.prod(images.shape[1:]))
    return slice(None, None, max(1, len(images) // min(enough, fit)))


def keep_labeled(images: Images, labels: np.ndarray) -> Images:
    """Reads the labelled images among streamed ones once, and keeps them.

    For they come up again and again, in any order.

    Args:
        images: Array or `StreamedImages` of `n` images.
        labels: Integer array of shape `(n,)`, -1 for no label.

    Returns:
        The same images; `images` itself where they are all in memory, kept
        already, or where every one has a label.

    Raises:
        InputError: If the machine has no room for the labelled ones.
    """
    streamed = isinstance(images, StreamedImages)
    if not streamed or isinstance(images, PartlyInMemory) or labels.min() >= 0:
        return images
    labeled = compact(np.flatnonzero(labels >= 0), len(images))
    check_room(images, len(labeled), "keeping the labelled images")
    return PartlyInMemory(images, labeled)  # type: ignore[arg-type]


def check_room(images: Images, count: int, name: str) -> None:
    """Refuses to read more of streamed images than the machine has room for.

    Args:
        images: Array or `StreamedImages`; an array is in memory already.
        count: int, images to read.
        name: What takes the memory.

    Raises:
        InputError: If that is more than `limits.check_memory` allows.
    """
    if isinstance(images, StreamedImages):
        limits.check_memory(count * math.prod(images.shape[1:]), name)


def in_groups(
    images: Images, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Brings shuffled rows into an order in which images can be read.

    Args:
        images: Array or `StreamedImages`.
        rows: Integer array of shape `(m,)`.
        rng: `numpy.random.Generator`.

    Returns:
        `rows`; or where the images have `groups`, the same, one group after
        the other, and as they were within a group.
    """
    if not isinstance(images, StreamedImages):
        return rows
    groups = images.groups(rows, rng)
    return rows if groups is None else rows[np.argsort(groups, kind="stable")]


def compact(rows: np.ndarray, limit: int) -> np.ndarray:
    """Stores row numbers below `limit` in as few bytes as they need.

    Args:
        rows: Integer array.
        limit: int.

    Returns:
        int32 array where that is enough, else int64.
    """
    dtype = "int32" if limit <= 2**31 else "int64"
    return rows.astype(dtype, copy=False)
