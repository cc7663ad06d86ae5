"""Files that are whole, or not there at all."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_ssgan.errors import InputError

try:
    import fcntl
except ImportError:
    # On Windows.
    fcntl = None  # type: ignore[assignment]

_PREFIX = ".writing-"
# Disk full or over quota, file too large, no right to write, disk broken, a
# file where a folder should be, or the other way round.
WRITE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Writes a file that takes its place only once it is on the disk.

    Whatever happens meanwhile, even a power cut, the place holds all of the
    old file or all of the new one.

    Args:
        path: Where the file goes; what is there is replaced. That may be a
            link: what it leads to stays as it is.

    Yields:
        Path of a temporary file to write, in the same folder and with the same
        suffix.

    Example:

    ```python
    with replacing("settings.json") as temporary:
        temporary.write_text("{}")
    ```
    """
    path = Path(path)
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    # A link that somebody has put there would be followed.
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        # Not O_RDONLY: Windows flushes what may be written alone.
        _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # Whoever reads of it knows the file by its own name.
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise
    if os.name == "posix":
        # The new name is an entry of the folder, which is cached as well.
        _sync(path.parent, os.O_RDONLY)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes JSON, in place of what is there.

    Args:
        path: Where the file goes.
        content: Plain values.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that lock a folder out of it.

    The lock is the system's, which drops it when the process ends, however
    that may be. Where there are none, as on Windows and some network drives,
    nothing is kept out.

    Args:
        folder: Path of the folder; it is created.

    Raises:
        InputError: If another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor, folder):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process is training in {folder}; wait for it, or stop it"
        ) from None
    except OSError:
        # A drive without locks.
        pass


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files of writers that were killed.

    Args:
        folder: Path of a folder; it may be missing.
    """
    for path in Path(folder).glob(f"{_PREFIX}*"):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file or a link; a folder, which no writer makes, stays.

    Args:
        path: What to remove.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()


def check_no_link(folder: str | os.PathLike[str]) -> None:
    """Refuses a link in place of a folder whose files come and go.

    In a stranger's run it may lead to files of the user's.

    Args:
        folder: Path of a folder; it may be missing.

    Raises:
        InputError: If it is a link.
    """
    if Path(folder).is_symlink():
        raise InputError(
            f"{folder} is a link, and a run writes and removes files in "
            "folders of its own alone; put a folder in its place"
        )


def is_empty(folder: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with nothing but a killed writer's leftovers.

    Args:
        folder: Path.

    Returns:
        bool.
    """
    folder = Path(folder)
    return folder.is_dir() and all(
        path.name.startswith(_PREFIX) for path in folder.iterdir()
    )


def bare_name(path: str | os.PathLike[str]) -> str:
    """The name of a folder, or that of a file without its suffix.

    Args:
        path: Path; "." and ".." have the names of the folders that they are.

    Returns:
        str.
    """
    path = Path(os.path.abspath(path))
    # What follows a dot in a folder's name is part of it: pets.v1, pets.v2.
    return path.name if os.path.isdir(path) else path.stem


def _sync(path, flags):
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
