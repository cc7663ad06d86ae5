"""Fonts, and text that fits its place.

The font is the one that Pillow bundles, so that no machine lacks it. It covers
ASCII. Names with other characters are drawn in a font of the system's; what
that lacks, too, is written without its accents or as its code point.
"""

import contextlib
import functools
import math
import unicodedata
from collections.abc import Iterable

from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

TITLE_SIZE = 22
HEADING_SIZE = 18
TEXT_SIZE = 15

# Linux, macOS and Windows come with one or more of these.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)


def find_font(size: int, texts: Iterable[str] = ()) -> ImageFont.FreeTypeFont:
    """The bundled font, or one of the system that has more of `texts`."""
    characters = set().union(*texts)
    bundled = _bundled_font(size)
    if all(_has(bundled, character) for character in characters):
        return bundled
    return max(
        [bundled, *_system_fonts(size)],
        key=lambda font: sum(_has(font, c) for c in characters),
    )


def shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Spells `text` for `font`; ends it with an ellipsis before `width`."""
    text = "".join(_spell(character, font) for character in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def draw_upright(
    picture: Image.Image,
    top_middle: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
) -> None:
    """Draws text that reads upwards and ends at `top_middle`."""
    height = sum(font.getmetrics())
    mask = Image.new("L", (math.ceil(font.getlength(text)), height))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    mask = mask.transpose(Image.Transpose.ROTATE_90)
    x, y = top_middle
    picture.paste(colour, (round(x - height / 2), round(y)), mask=mask)


def _spell(character: str, font: ImageFont.FreeTypeFont) -> str:
    """What stands for a character in a font that may lack it."""
    if _has(font, character):
        return character
    plain = [
        part
        for part in unicodedata.normalize("NFKD", character)
        if not unicodedata.combining(part)
    ]
    if all(_has(font, part) for part in plain):
        return "".join(plain)
    # Unlike a question mark, this keeps names apart.
    return character.encode("unicode_escape").decode()


@functools.cache
def _bundled_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)  # type: ignore[return-value]


@functools.cache
def _system_fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    fonts = []
    for name in _SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    return fonts


@functools.cache
def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether a font draws a character as more than the box of those it lacks.

    Pillow does not say; U+FFFF, which is no character, gets that box.
    """
    drawn, box = font.getmask(character), font.getmask("\uffff")
    return drawn.size != box.size or bytes(drawn) != bytes(box)
