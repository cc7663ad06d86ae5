"""Reading, and showing, text that anyone may have written."""

import contextlib
import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

from keras_ssgan import limits
from keras_ssgan.errors import InputError

# Categories of control characters, which could steer a terminal, of what
# stands for bytes of a file name that are no UTF-8, and of what ends a line.
_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")


def is_printable(text: str) -> bool:
    """Tells whether a text can be shown as it is, on one line."""
    return not any(map(_is_unshown, text))


def one_line(message: object) -> str:
    """What a terminal may show: file names and files can hold anything.

    Args:
        message: What `str` makes a text.

    Returns:
        str, printable, with single spaces.
    """
    text = " ".join(str(message).split())
    return "".join("\ufffd" if _is_unshown(c) else c for c in text)


def print_error(message: object) -> None:
    """Prints an error of the command line: one line, to stderr.

    Args:
        message: What `str` makes a text.
    """
    print(f"keras-ssgan: {one_line(message)}", file=sys.stderr)


def _is_unshown(character):
    return unicodedata.category(character) in _UNSHOWN


@contextlib.contextmanager
def trouble_is_input_error(path: str | os.PathLike) -> Iterator[None]:
    """Has a file of a run that cannot be read, or is damaged, named.

    Args:
        path: The file.

    Raises:
        InputError: For an OSError or a ValueError of what is done within, but
            for those that say that there is no such file.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be read: {reason}") from None
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}); restore it from a copy, or train "
            "again"
        ) from None


def read_text(path: str | os.PathLike, max_bytes: int) -> str:
    """Reads a text file of bounded size.

    Args:
        path: The file, in UTF-8.
        max_bytes: The most that it may hold.

    Returns:
        Its text.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is larger, or no UTF-8.
    """
    with limits.open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise ValueError(f"it holds more than {max_bytes:,} bytes")
        return file.read().decode()


def parse_json(text: str | bytes) -> Any:
    """Parses JSON of bounded size and depth.

    Args:
        text: The JSON.

    Returns:
        What it stands for.

    Raises:
        ValueError: If it is no JSON, too large or nested too deeply, or holds
            too many objects.
    """
    if len(text) > limits.MAX_JSON_BYTES:
        raise ValueError(f"it holds more than {limits.MAX_JSON_BYTES:,} bytes")
    if isinstance(text, bytes):
        text = text.decode()
    if text.count("[") + text.count("{") > limits.MAX_JSON_CONTAINERS:
        raise ValueError("it holds too many objects and lists")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [content]
    for _ in range(limits.MAX_JSON_DEPTH):
        if not level:
            return content
        level = [child for parent in level for child in _containers(parent)]
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"it is nested more than {limits.MAX_JSON_DEPTH} deep"


def _containers(value):
    """The objects and lists right within a value."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return []
    return [child for child in value if isinstance(child, dict | list)]


def read_json_object(path: str | os.PathLike) -> dict:
    """Reads a JSON file that holds one object.

    Args:
        path: The file.

    Returns:
        Dict of what it holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file.
    """
    content = parse_json(read_text(path, limits.MAX_JSON_BYTES))
    if not isinstance(content, dict):
        raise ValueError("it holds no settings or results")
    return content


def parse_csv_rows(text: str) -> list[dict]:
    """Parses CSV with a header.

    Args:
        text: The CSV.

    Returns:
        List of one dict per row, from column to cell.

    Raises:
        ValueError: If it is no CSV, too large, or its rows are of different
            lengths.
    """
    rows, num_cells = [], 0
    try:
        for row in csv.reader(io.StringIO(text, newline="")):
            rows.append(row)
            num_cells += max(1, len(row))
            if num_cells > limits.MAX_CSV_CELLS:
                raise ValueError("it holds too many cells")
    except csv.Error as error:
        raise ValueError(str(error)) from None
    header, *rows = rows or [[]]
    if any(len(row) != len(header) for row in rows):
        raise ValueError("its rows are of different lengths")
    return [dict(zip(header, row, strict=True)) for row in rows]
