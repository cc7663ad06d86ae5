"""What an array in a NumPy archive says of itself, before it is read."""

import math
import zipfile
from typing import NamedTuple

import numpy as np

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """The header of an array.

    Attributes:
        shape: Its shape.
        fortran_order: Whether its first index changes fastest.
        dtype: Its dtype, of plain values.
        start: Bytes before its data in the member of the archive.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    start: int


def read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """Reads the header of an array, and compares it with the member's size.

    Args:
        archive: The archive.
        member: Its member that holds the array.

    Returns:
        A `Header`.

    Raises:
        ValueError: If it is no array of plain values, or one of another size.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"unknown version {version} of the npy format")
        header = Header(*_READERS[version](file), file.tell())
    if header.dtype.hasobject:
        raise ValueError(f"{member.filename} is no plain array")
    size = header.start + math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or size != member.file_size:
        raise ValueError(
            f"{member.filename} says shape {header.shape}, and has "
            f"{member.file_size} bytes"
        )
    return header
