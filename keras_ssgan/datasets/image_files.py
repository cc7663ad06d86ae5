"""Opening image files that anyone may have made."""

import contextlib
from collections.abc import Iterator

from PIL import Image
from PIL import UnidentifiedImageError

from keras_ssgan import limits
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
        width, height = image.size
        if width * height > limits.MAX_IMAGE_PIXELS:
            raise ValueError(
                f"{width}x{height} pixels are more than "
                f"{limits.MAX_IMAGE_PIXELS:,}"
            )
        yield image


def _identify(file):
    Image.init()
    # An older Pillow lacks AVIF, and a build of one's own perhaps others.
    formats = [name for name in limits.IMAGE_FORMATS if name in Image.OPEN]
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        # Pillow's message shows the file object.
        raise ValueError("its format is unknown") from None
