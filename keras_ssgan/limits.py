"""What a file from a stranger may take of the machine: every bound there is.

A bound refuses what no honest file needs, before memory is taken for it; the
reasons and the counts of the inputs tried stand in `docs/safety.md`.
"""

import contextlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from keras_ssgan.errors import InputError

# === Memory ===
# Share of the machine's memory that the arrays of one dataset may take.
MEMORY_SHARE = 0.5
# Bytes, where the machine does not tell.
DEFAULT_MEMORY = 16 << 30
# What unpacks to more than this many bytes ...
EXPANSION_FLOOR = 256 << 20
# ... may not have more than so many for each packed one. Deflate reaches 1,030,
# MNIST 5.
MAX_EXPANSION = 100

# === Archives ===
# Bytes of a zip archive's list of its members, at least 46 for each: 22,000
# members, of which zipfile makes objects as it opens the archive.
MAX_ZIP_DIRECTORY = 1 << 20
# Bytes of a compressed shard's member, which is read whole to get at one image.
MAX_COMPRESSED = 1 << 30
# What zipfile, zlib and NumPy raise on one that is damaged, encrypted or packed
# in a way that they do not know.
DAMAGED_ARCHIVE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

# === Images ===
# 67 megapixels, of up to 24 bytes each while an image is read: 1.6 GB.
MAX_IMAGE_PIXELS = 1 << 26
# Pixels of a grid of samples, of which an animation holds up to 100, of up to 3
# bytes each: 630 MB. Grids of the presets have 0.2 million.
MAX_GRID_PIXELS = 1 << 21
# JPEG stands for MPO too. Not the rest of what Pillow reads: EPS, for one, runs
# Ghostscript.
IMAGE_FORMATS = (
    "AVIF",
    "BMP",
    "GIF",
    "JPEG",
    "JPEG2000",
    "PCX",
    "PNG",
    "PPM",
    "TGA",
    "TIFF",
    "WEBP",
)

# === Text ===
MAX_JSON_BYTES = 16 << 20
# Objects and lists in it: a model's config has some for each of its layers.
MAX_JSON_CONTAINERS = 1 << 18
MAX_JSON_DEPTH = 100
MAX_CSV_BYTES = 16 << 20
# Cells in it, each of some hundred bytes once it is read: 13,000 epochs.
MAX_CSV_CELLS = 1 << 18
# What the logs of a run have room for, of some twenty columns.
MAX_EPOCHS = 10_000
# Of a larger figure no picture can be drawn, and no run goes on to log one.
MAX_LOGGED = 1e30
# Characters in the name of a class.
MAX_NAME_LENGTH = 256

# === Models ===
# Members of a `.keras` archive; Keras writes three and its assets.
MAX_MODEL_MEMBERS = 1000
# Objects in its config, such as layers, initializers and dtype policies.
MAX_MODEL_OBJECTS = 20_000
# Models in it that are compiled, each with an optimizer's variables.
MAX_MODEL_OPTIMIZERS = 3
# Calls of layers in one call of the model, with those in nested models.
MAX_MODEL_CALLS = 50_000
# Values that one layer may give for one image.
MAX_LAYER_OUTPUT = 1 << 26
# Sum of the squares of all numbers in the configs of metrics, which make arrays
# of them, such as a matrix of all classes by all classes.
MAX_METRIC_VALUES = 1 << 24
# Values of a model that its file does not hold: states of random generators.
MAX_UNSAVED_VALUES = 1 << 16
# Groups and arrays in an HDF5 file.
MAX_HDF5_OBJECTS = 100_000


def machine_memory() -> int:
    """Bytes of memory that the machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return DEFAULT_MEMORY


def check_memory(
    num_bytes: int,
    name: str | os.PathLike,
    advice: str = "use fewer or smaller images",
) -> None:
    """Refuses arrays that the machine has no room for.

    Args:
        num_bytes: Bytes that the arrays of `name` take.
        name: What they are read from.
        advice: What to do about it.

    Raises:
        InputError: If that is more than `MEMORY_SHARE` of the memory.
    """
    if num_bytes > MEMORY_SHARE * machine_memory():
        raise InputError(
            f"{name} takes {num_bytes:,} bytes of memory, more than "
            f"{MEMORY_SHARE:.0%} of what this machine has; {advice}"
        )


def check_expansion(packed: int, unpacked: int) -> None:
    """Refuses what unpacks to far more than it is.

    Args:
        packed: Bytes in the file.
        unpacked: Bytes that they are said to become.

    Raises:
        ValueError: If that is more than any image data does.
    """
    if unpacked > max(EXPANSION_FLOOR, MAX_EXPANSION * packed):
        raise ValueError(f"{packed:,} bytes unpack to {unpacked:,}")


def check_member(member: zipfile.ZipInfo) -> None:
    """Refuses an array in an archive that NumPy would not have packed so.

    Args:
        member: The member of the archive that holds the array.

    Raises:
        ValueError: If it unpacks to far more than it is, or in a way that has
            no bound.
    """
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if member.compress_type not in methods:
        raise ValueError("NumPy does not compress so")
    check_expansion(member.compress_size, member.file_size)


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Opens a file to read bytes; no pipe, which could block for ever.

    Args:
        path: The file. A symbolic link is followed.

    Returns:
        Binary file object.

    Raises:
        OSError: If there is no such file, or it is something else.
    """
    # Else opening a pipe waits for someone to write.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


@contextlib.contextmanager
def open_zip(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive to read, if it has no absurd number of members.

    Args:
        path: The archive, a regular file.

    Yields:
        `zipfile.ZipFile`.

    Raises:
        OSError: If there is no such file, or it is something else.
        ValueError: If the list of its members is larger than any honest one.
        zipfile.BadZipFile: If it is no archive.
    """
    with open_regular(path) as file:
        # zipfile reads all of the list as it opens an archive, and has no
        # public function that tells its size before.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        size = end[zipfile._ECD_SIZE] if end else 0  # type: ignore[attr-defined]
        if size > MAX_ZIP_DIRECTORY:
            raise ValueError("it holds too many files")
        with zipfile.ZipFile(file) as archive:
            yield archive
