"""Datasets as a folder of images, one sub-folder per class."""

import collections
import contextlib
import logging
import math
import os
import warnings
from pathlib import Path

import numpy as np

from keras_ssgan import limits
from keras_ssgan import text_files
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.image_files import image_suffixes
from keras_ssgan.datasets.image_files import list_files
from keras_ssgan.datasets.image_files import read_head
from keras_ssgan.datasets.image_files import read_pixels
from keras_ssgan.datasets.image_files import unreadable_is_input_error
from keras_ssgan.datasets.image_files import warn_of_link
from keras_ssgan.errors import InputError

_logger = logging.getLogger(__name__)

# In any case: some file systems make no difference.
_UNLABELED = ("unlabeled", "unlabelled")
# As archives of images name the two, in any case.
_TRAINING, _TEST = ("train", "training"), ("test", "testing")
# Test images are in memory even where a folder is streamed, and take no more.
_TEST_BYTES = 1 << 28
# Files of each class that are looked at to tell how large the images are.
_SAMPLE = 64


def load_image_folder(
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    stream: bool = False,
    largest: int | None = None,
) -> tuple[tuple[streams.Images, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Loads a folder of images as grayscale, one sub-folder per class.

    ```
    path/
      cat/         the images of class 0
      dog/         the images of class 1
      unlabeled/   images without a label, if there are any, in folders or not
    ```

    Or such a folder `train/`, and beside it a folder `test/` with the same
    classes, whose images are the test set.

    Classes are numbered in the order of `class_names`. Hidden files are
    ignored; a file that is no readable image is named in a warning and
    skipped, and so is a folder within that of a class. EXIF orientation is
    applied, the upper eight bits of 16-bit images are kept, and transparent
    pixels lie on white.

    Args:
        path: The folder.
        image_size: Height and width, in pixels, that every image is resized to,
            bilinearly. `None` stands for the most common size in the folder.
        test_fraction: Share of each class, in (0, 1), that becomes the test
            set; at least one image of each class, never all, and at most 256
            MiB of images. Not where there is a folder `test/`.
        seed: Seed of the draw of the test set. The draw depends neither on
            `stream` nor on files that break off in the middle.
        stream: Whether the training images stay on disk, see `FolderImages`.
        largest: Height and width, in pixels, that the most common size is cut
            to. `None` leaves it as it is.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 of shape `(n,
        height, width)`, and labels, int32 of shape `(n,)`, -1 for the
        unlabelled images, all of which are in the training set. `x_train` is a
        `StreamedImages` where the images are streamed.

    Raises:
        InputError: If the folder has fewer than two classes, a class fewer
            than two readable images (one beside a folder `test/`), a folder of
            unlabelled images none, or `test/` other classes.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_image_folder("pets")
    """
    if not 0 < test_fraction < 1:
        raise InputError(
            f"test_fraction is {test_fraction}; choose it between 0 and 1"
        )
    if image_size is not None and min(image_size) < 1:
        raise InputError(
            f"image_size is {image_size}; give height and width in pixels"
        )
    root, (path, test_path) = Path(path), _find_split(path)
    if test_path is not None:
        _check_beside(root, path, test_path)
        _check_test_folders(test_path, path)
    least = 2 if test_path is None else 1
    files, y, skipped = _list_classes(path, image_size, largest, least)
    skipped += len(y)
    if test_path is None:
        (x, y), test = _split(path, files, y, test_fraction, seed)
        skipped -= len(test[1])
        _logger.info(
            "%s has no test folder beside a training one: %d of its labelled "
            "images, drawn from each class, are the test set",
            path,
            len(test[1]),
        )
    else:
        x, test = files, _read_test_set(test_path, files.shape[1:])
    if not stream:
        beside = 0 if test_path is None else test[0].nbytes
        limits.check_memory(files.nbytes + beside, path)
        x, readable = _read_readable(x)
        y = y[readable]
        _check_classes(path, y, least=1)
    _warn_of_skipped(path, skipped - len(y))
    return (x, y), test


def estimate_bytes(path: str | os.PathLike, largest: int | None = None) -> int:
    """Estimates the memory that the images of a folder would take.

    Args:
        path: The folder that `load_image_folder` takes.
        largest: As `load_image_folder` takes it.

    Returns:
        Bytes, from the number of files and the sizes of a few.
    """
    path, _ = _find_split(path)
    count, sizes = 0, []
    for label, folder in _labeled_folders(path):
        files, _ = list_files(path / folder, within=label < 0)
        count += len(files)
        for file in files[:: max(1, len(files) // _SAMPLE)]:
            with contextlib.suppress(Exception):
                shape, _ = read_head(path / folder / file)
                sizes.append(math.prod(_cut(shape, largest)))
    return count * int(np.median(sizes)) if sizes else 0


def class_names(path: str | os.PathLike[str]) -> list[str]:
    """Lists the class folders of an image folder in the order of their ids.

    Args:
        path: The folder that `load_image_folder` takes.

    Returns:
        The names, sorted; by value, where all of them are whole numbers.

    Raises:
        InputError: If the folder has fewer than two class folders, or one
            whose name cannot be shown.

    Example:

    >>> class_names("pets")
    ['cat', 'dog']
    """
    return _class_names(_find_split(path)[0])


def _class_names(path):
    names = _folder_names(path, unlabeled=False)
    if len(names) < 2:
        raise InputError(
            f"{path} has {len(names) or 'no'} class "
            f"folder{'s' * (not names)}; give each of at least two classes a "
            "folder of images"
        )
    for name in names:
        if not text_files.is_printable(name):
            raise InputError(
                f"{path} has a class folder {ascii(name)}, with control "
                "characters or bytes that are no UTF-8; rename it"
            )
    if "-1" in names:
        raise InputError(
            f"{path} has a class folder -1, which means no label elsewhere; "
            "rename it, to unlabeled if it is of images without one"
        )
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return names


def _find_split(path):
    """The folder of the class folders, and that of the test set or `None`."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is no folder")
    names = _folder_names(path, unlabeled=False)
    # A class may be called so, too: its folder has images.
    training, test = (
        [
            name
            for name in names
            if name.lower() in known and _has_folders_alone(path / name)
        ]
        for known in (_TRAINING, _TEST)
    )
    if not training:
        return path, None
    if not test:
        raise InputError(
            f"{path} has class folders in {training[0]}, and beside it no "
            "folder test with the same ones; make one of the test images, or "
            f"give {path / training[0]}, of which a part becomes the test set"
        )
    return path / training[0], path / test[0]


def _has_folders_alone(path):
    """Whether there are folders in it, and no images beside them."""
    suffixes = image_suffixes()
    has_images = any(
        os.path.splitext(entry.name)[1].lower() in suffixes
        for entry in os.scandir(path)
        if not entry.name.startswith(".")
    )
    return not has_images and bool(_folder_names(path, unlabeled=False))


def _check_beside(path, training, test):
    """Refuses unlabelled images, and names what else is not read."""
    for name in _folder_names(path, unlabeled=True):
        raise InputError(f"{path / name} has to lie in {training}; move it")
    for name in _folder_names(path, unlabeled=False):
        if path / name not in (training, test):
            warnings.warn(
                f"skipped {path / name}, beside {training.name} and "
                f"{test.name}",
                stacklevel=3,
            )


def _folder_names(path, unlabeled):
    """Names of the class folders, or of the others, sorted."""
    return sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir()
        and not entry.name.startswith(".")
        and (entry.name.lower() in _UNLABELED) == unlabeled
    )


def _labeled_folders(path):
    """Pairs of class id, -1 for no label, and name of the folder."""
    classes = enumerate(_class_names(path))
    return [*classes, *((-1, u) for u in _folder_names(path, unlabeled=True))]


def _check_classes(path, labels, least):
    needs = "one" if least == 1 else "two, one of them for the test set"
    for label, name in enumerate(_class_names(path)):
        count = np.count_nonzero(labels == label)
        if count < least:
            raise InputError(
                f"{path / name} has {count or 'no'} readable "
                f"image{'s' * (not count)}; a class needs at least {needs}"
            )


def _warn_of_skipped(path, count):
    if count:
        warnings.warn(
            f"{path}: {count} unreadable file{'s' * (count > 1)} skipped",
            stacklevel=3,
        )


def _split(path, files, y, fraction, seed):
    """Draws the test set from the names of the files, and reads it.

    It is the same however the training images are read. Where all that is
    drawn of a class breaks off, it is drawn again without what does.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, with `FolderImages` to train on.
    """
    while True:
        most = _TEST_BYTES * len(y) / files.nbytes / max((y >= 0).sum(), 1)
        rng = np.random.default_rng(seed)
        in_test = _draw_test_set(y, min(fraction, most), rng)
        test = files.where(in_test)
        limits.check_memory(test.nbytes, path)
        x_test, readable = _read_readable(test)
        y_test = y[in_test][readable]
        if len(np.unique(y_test)) == len(np.unique(y[y >= 0])):
            return (files.where(~in_test), y[~in_test]), (x_test, y_test)
        keep = ~in_test
        keep[in_test] = readable
        files, y = files.where(keep), y[keep]
        _check_classes(path, y, least=2)


def _check_test_folders(path, training_path):
    """Refuses test images of other classes, or of none."""
    ours, theirs = _class_names(path), _class_names(training_path)
    if ours != theirs:
        odd = sorted({*ours} ^ {*theirs})[0]
        lacking, other = (
            (path, training_path) if odd in theirs else (training_path, path)
        )
        raise InputError(
            f"{lacking} has no class folder {odd}, and {other} has one; give "
            "both the same classes"
        )
    for name in _folder_names(path, unlabeled=True):
        raise InputError(
            f"{path / name} has test images without a label; move it to "
            f"{training_path}, or remove it"
        )


def _read_test_set(path, image_size):
    """Reads a folder of test images, at the size of the training images."""
    files, y, skipped = _list_classes(path, image_size, None, least=1)
    skipped += len(y)
    limits.check_memory(files.nbytes, path)
    x, readable = _read_readable(files)
    y = y[readable]
    _check_classes(path, y, least=1)
    _warn_of_skipped(path, skipped - len(y))
    return x, y


def _read_readable(files):
    """Reads all images but those that break off.

    Returns:
        Images, and a mask of those of `files` that they are.
    """
    images = np.empty(files.shape, files.dtype)
    readable = np.ones(len(files), bool)
    count = 0
    for row in range(len(files)):
        try:
            images[count] = files.decode(row)
            count += 1
        # Pillow's decoders raise many types on damaged files.
        except Exception:
            _warn_of(files.path(row), stacklevel=5)
            readable[row] = False
    return images[:count], readable


def _warn_of(file, stacklevel):
    warnings.warn(f"skipped {file}: no readable image", stacklevel=stacklevel)


def _draw_test_set(labels, fraction, rng):
    """Draws a mask of `fraction` of each class, at least one, never all."""
    in_test = np.zeros(len(labels), bool)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        count = round(fraction * len(members))
        count = min(max(count, 1), len(members) - 1)
        in_test[rng.choice(members, count, replace=False)] = True
    return in_test


# === Files ===


class FolderImages(streams.StreamedImages):
    """Images in folders, each decoded when it is asked for.

    Only the names of the files are in memory. A file that turns out to break
    off in the middle is named in a warning, and the image next to it, of those
    in its folder that are among these, stands in for it.

    Args:
        folders: List of `pathlib.Path`.
        names: List of the names of each folder's files: bytes, as
            `os.fsencode` gives them, in a NumPy array.
        image_size: Height and width that the images are resized to.
    """

    def __init__(
        self,
        folders: list[Path],
        names: list[np.ndarray],
        image_size: tuple[int, int],
    ) -> None:
        counts = [len(files) for files in names]
        super().__init__((sum(counts), *image_size))
        self._image_size = image_size
        self._folders = folders
        self._names = names
        self._ends = np.cumsum(counts)

    def where(self, mask: np.ndarray) -> "FolderImages":
        """Takes images by a mask of shape `(n,)`, with no memory of others."""
        parts = np.split(mask, self._ends[:-1])
        names = [n[part] for n, part in zip(self._names, parts, strict=True)]
        return FolderImages(self._folders, names, self._image_size)

    def path(self, row: int) -> Path:
        """The file of an image."""
        return self._path(*self._locate(row))

    def decode(self, row: int) -> np.ndarray:
        """Reads an image; Pillow raises many types where it is damaged."""
        return read_pixels(self.path(row), self._image_size)

    def _read(self, rows):
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows):
            try:
                images[place] = self.decode(row)
            # Pillow's decoders raise many types on damaged files.
            except Exception:
                file, other = self.path(row), self._neighbour(row)
                warnings.warn(f"{file} is damaged; took {other}", stacklevel=3)
                with unreadable_is_input_error(other):
                    images[place] = read_pixels(other, self._image_size)
        return images

    def _neighbour(self, row):
        folder, index = self._locate(row)
        last = len(self._names[folder]) - 1
        return self._path(folder, index - 1 if index == last else index + 1)

    def _locate(self, row):
        """The folder of an image, and which of its files it is."""
        folder = np.searchsorted(self._ends, row, side="right")
        return folder, row - self._ends[folder] + len(self._names[folder])

    def _path(self, folder, index):
        name = os.fsdecode(self._names[folder][index])
        return self._folders[folder] / name


def _list_classes(path, image_size, largest, least):
    """Finds every image, and its class id, of every class.

    Returns:
        `FolderImages`, int32 labels of shape `(n,)`, and the number of files
        that are left out as their heads are those of no image.
    """
    folders, names, labels, skipped = [], [], [], 0
    heads = collections.Counter()
    for label, name in _labeled_folders(path):
        folder = path / name
        found = []
        files, left_out = list_files(folder, within=label < 0)
        if left_out and label < 0:
            warn_of_link(folder / left_out[0])
        elif left_out:
            warnings.warn(
                f"skipped {folder / left_out[0]}, a folder within that of a "
                "class; move its images up",
                stacklevel=3,
            )
        for file in files:
            try:
                heads[read_head(folder / file)] += 1
                found.append(os.fsencode(file))
            # Pillow's decoders raise many types on damaged files.
            except Exception:
                _warn_of(folder / file, stacklevel=4)
                skipped += 1
        if label < 0 and not found:
            raise InputError(
                f"{folder} has no readable image; put those without a label "
                "into it, or remove it"
            )
        folders.append(folder)
        names.append(np.array(found, "S"))
        labels.append(np.full(len(found), label, "int32"))
    y = np.concatenate(labels)
    _check_classes(path, y, least)
    shapes = collections.Counter()
    in_colour = 0
    for (shape, colour), count in heads.items():
        shapes[shape] += count
        in_colour += colour * count
    if in_colour:
        _logger.info(
            "%d of the %d images in %s are in colour, and are read as grey",
            in_colour,
            len(y),
            path,
        )
    image_size = image_size or _cut(shapes.most_common(1)[0][0], largest)
    return FolderImages(folders, names, image_size), y, skipped


def _cut(shape, largest):
    return shape if largest is None else tuple(min(n, largest) for n in shape)
