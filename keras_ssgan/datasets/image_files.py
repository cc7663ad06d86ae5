"""Image files that anyone may have made: finding, opening and reading them."""

import contextlib
import glob
import os
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps
from PIL import TiffImagePlugin
from PIL import UnidentifiedImageError

from keras_ssgan import limits
from keras_ssgan.errors import InputError
from keras_ssgan.types import PathLike


@contextlib.contextmanager
def open_image(path: PathLike) -> Iterator[Image.Image]:
    """Opens an image of a known format and a bounded number of pixels.

    Args:
        path: A regular file, or a link to one.

    Yields:
        `PIL.Image.Image`, not decoded yet. Of several frames it is the first.

    Raises:
        Exception: Many types, from Pillow.
    """
    with limits.open_regular(path) as file, _identify(file) as image:
        _check_pixels(*image.size)
        if image.format == "TIFF":
            # A tile is read whole, however little of it the image takes.
            _check_pixels(
                image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0),
                image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0),
            )
        yield image


def _check_pixels(width, height):
    if width * height > limits.MAX_IMAGE_PIXELS:
        raise ValueError(
            f"{width}x{height} pixels are more than {limits.MAX_IMAGE_PIXELS:,}"
        )


def _identify(file):
    Image.init()
    # An older Pillow lacks AVIF, and a build of one's own perhaps others.
    formats = [name for name in limits.IMAGE_FORMATS if name in Image.OPEN]
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        # Pillow's message shows the file object.
        raise ValueError("its format is unknown") from None


# === Reading ===


def read_image(
    path: str | os.PathLike, image_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads one image as `load_image_folder` does.

    Args:
        path: A file that Pillow can read.
        image_size: Height and width, in pixels, to resize it to. `None` leaves
            it as large as it is.

    Returns:
        uint8 array of shape `(height, width)`.

    Raises:
        InputError: If there is no readable image.

    Example:

    >>> read_image("digit.png").shape
    (28, 28)
    """
    with unreadable_is_input_error(path):
        return read_pixels(path, image_size)


@contextlib.contextmanager
def unreadable_is_input_error(path: PathLike) -> Iterator[None]:
    """Makes whatever Pillow raises on a file one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    # Pillow's decoders raise many types on damaged files.
    except Exception as error:
        raise InputError(f"{path} is no readable image ({error})") from None


def read_pixels(
    file: PathLike, image_size: tuple[int, int] | None
) -> np.ndarray:
    """Reads an image as `read_image` does.

    Args:
        file: As in `read_image`.
        image_size: As in `read_image`.

    Returns:
        As in `read_image`.

    Raises:
        Exception: Many types, from Pillow.
    """
    with open_image(file) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # Pillow clips 16 bits at 255 instead of scaling them.
            pixels = np.asarray(image).clip(0, 65535) >> 8
            image = Image.fromarray(pixels.astype("uint8"))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        image = image.convert("L")
        if image_size is not None:
            height, width = image_size
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image)


def read_head(file: PathLike) -> tuple[tuple[int, int], bool]:
    """What the head of a file says of its image.

    Args:
        file: As in `read_image`.

    Returns:
        Height and width, upright; and whether it is stored in colour.

    Raises:
        Exception: Many types, from Pillow.
    """
    with open_image(file) as image:
        width, height = image.size
        colour = len(image.getbands()) > 2
        # A PNG's own `getexif` decodes it, to look behind the pixels too.
        exif = Image.Image.getexif(image)
        # The size of a TIFF is upright by itself.
        is_upright = image.format == "TIFF"
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    lies = orientation in (5, 6, 7, 8) and not is_upright
    return ((width, height) if lies else (height, width)), colour


# === Finding ===


def find_images(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Finds the files that a user names.

    Args:
        paths: Files; folders, of which every image is taken, recursively and
            sorted, hidden ones aside; and patterns such as `scans/*.png`, as
            `glob` reads them.

    Returns:
        List of `pathlib.Path`, in the order of `paths`.

    Raises:
        InputError: If one of `paths` stands for no file.

    Example:

    >>> find_images(["digit.png", "scans", "photos/*.jpg"])
    """
    files = []
    for path in map(Path, paths):
        names = [path] if path.exists() else _match(path)
        # Once each: `**` matches a folder, and what is in it.
        found = list(
            dict.fromkeys(file for name in names for file in _expand(name))
        )
        if not found:
            why = "holds no image" if path.is_dir() else "does not exist"
            raise InputError(
                f"{path} {why}; give files, folders of images or patterns such "
                "as 'scans/*.png'"
            )
        files += found
    return files


def _match(pattern):
    """Lists what a pattern matches, sorted."""
    return [
        Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))
    ]


def _expand(path):
    """Lists the images in a folder; a file stands for itself."""
    if not path.is_dir():
        return [path]
    suffixes = image_suffixes()
    names, links = list_files(path, within=True)
    for name in links:
        warn_of_link(path / name)
    return [
        path / name
        for name in names
        if os.path.splitext(name)[1].lower() in suffixes
        and (path / name).is_file()
    ]


def image_suffixes() -> set[str]:
    """What the names of images end with, in lower case and with the dot."""
    return {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in limits.IMAGE_FORMATS
    }


def list_files(
    folder: str | os.PathLike[str], within: bool
) -> tuple[list[str], list[str]]:
    """Lists the files of a folder, hidden ones aside.

    Args:
        folder: The folder.
        within: Whether those in folders within it count, too. Links to folders
            are not followed, as they may lead around in circles.

    Returns:
        Names of the files, sorted, and of the folders that were left out.

    Raises:
        OSError: If a folder cannot be read.
    """
    names: list[str] = []
    left_out: list[str] = []

    def fail(error):
        raise error

    for root, folders, files in os.walk(folder, onerror=fail):
        prefix = os.path.relpath(root, folder)
        prefix = "" if prefix == os.curdir else prefix
        folders[:] = _visible(folders)
        names += [os.path.join(prefix, name) for name in _visible(files)]
        left_out += [
            os.path.join(prefix, name)
            for name in folders
            if not within or os.path.islink(os.path.join(root, name))
        ]
        if not within:
            break
    return sorted(names), sorted(left_out)


def _visible(names):
    return [name for name in names if not name.startswith(".")]


def warn_of_link(folder: str | os.PathLike) -> None:
    """Says that a link to a folder was not followed."""
    warnings.warn(
        f"skipped {folder}, a link to a folder; copy its images, or link to "
        "each of them",
        stacklevel=3,
    )
