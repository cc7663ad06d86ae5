"""Photos and drawings become what MNIST's images are."""

import dataclasses
import errno
import math
import os

import numpy as np
import pytest
from conftest import peak_memory
from PIL import Image
from PIL import ImageDraw

from keras_ssgan import datasets
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend

# A seven and a four: neither is symmetric, so that a turned, mirrored or
# inverted one is far from itself.
_SEVEN = [(10, 10), (70, 10), (30, 110)]
_FOUR = [(60, 110), (60, 10), (10, 75), (80, 75)]

_MNIST_FORMAT = datasets.DigitFormat()
# As scikit-learn's digits are.
_SMALL_FORMAT = datasets.DigitFormat((8, 8), (8, 6), by_mass=False)


def _draw(strokes=_SEVEN, size=(120, 140), at=(15, 10), scale=1.0, width=12):
    """Draws strokes, smooth at the edges; float coverage in [0, 1]."""
    fine = 4
    image = Image.new("L", (size[0] * fine, size[1] * fine))
    points = [
        ((x * scale + at[0]) * fine, (y * scale + at[1]) * fine)
        for x, y in strokes
    ]
    ImageDraw.Draw(image).line(
        points, fill=255, width=round(width * scale * fine), joint="curve"
    )
    return np.asarray(image.reduce(fine), "float64") / 255


def _paint(coverage, ink, paper):
    """Mixes the colours of ink and paper; uint8."""
    if not np.isscalar(ink):
        coverage = coverage[..., None]
    mixed = coverage * np.array(ink) + (1 - coverage) * np.array(paper)
    return Image.fromarray(np.rint(mixed).astype("uint8"))


def _read(
    image, tmp_path, name="image.png", digit_format=_MNIST_FORMAT, **options
):
    image.save(tmp_path / name, **options)
    return datasets.read_digit(tmp_path / name, digit_format)


def _difference(one, other):
    """Mean absolute difference, in levels of 255.

    Two different digits differ by more than 30, a shift by a pixel by 12.
    """
    return np.abs(one.astype(float) - other).mean()


@pytest.fixture
def base(tmp_path):
    """The seven in white on black, normalised."""
    return _read(_paint(_draw(), 255, 0), tmp_path, "base.png")


# === Size and place ===


@pytest.mark.parametrize("strokes", [_SEVEN, _FOUR, [(0, 50), (110, 60)]])
@pytest.mark.parametrize("scale", [0.15, 1.0, 6.0])
def test_ink_is_20_pixels_long_and_centred_by_mass(strokes, scale, tmp_path):
    side = int(160 * scale)
    coverage = _draw(strokes, (side, side), (20 * scale, 9 * scale), scale)
    digit = _read(_paint(coverage, 20, 230), tmp_path)
    assert digit.dtype == np.uint8 and digit.shape == (28, 28)
    rows, columns = (np.flatnonzero((digit > 64).any(axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    assert 19 <= longer <= 21
    weights = digit / digit.sum()
    for axis in (0, 1):
        center = weights.sum(axis=1 - axis) @ np.arange(28)
        # MNIST's lies at pixel 14 on average.
        assert center == pytest.approx(14, abs=0.3)


# === The format of the digits that a model learnt from ===


def _drawings():
    """Twelve digits of three kinds, in several sizes; a seven may be wide."""
    wide = [(10, 10), (115, 10), (60, 110)]
    return [
        _paint(_draw(strokes, (200, 200), (20, 9), 0.5 + 0.2 * number), 255, 0)
        for strokes in (_SEVEN, _FOUR, wide)
        for number in range(4)
    ]


@pytest.fixture
def digits(tmp_path):
    """Drawings normalised as MNIST was made."""
    return np.stack([_read(drawing, tmp_path) for drawing in _drawings()])


@pytest.mark.parametrize(
    "digit_format",
    [
        _MNIST_FORMAT,
        datasets.DigitFormat(light_paper=True),
        datasets.DigitFormat((32, 32)),
        datasets.DigitFormat((40, 30), (24, 24)),
        datasets.DigitFormat((28, 28), (20, 20), by_mass=False),
        datasets.DigitFormat((28, 28), (20, 11)),
    ],
    ids=["MNIST", "light paper", "more paper", "large", "by box", "squeezed"],
)
@pytest.mark.parametrize("channel", [(), (1,)])
def test_the_format_of_normalised_digits_is_found(
    channel, digit_format, tmp_path
):
    images = np.stack(
        [
            _read(drawing, tmp_path, digit_format=digit_format)
            for drawing in _drawings()
        ]
    )
    assert images.shape[1:] == digit_format.image_size
    # One in ten may be of another kind.
    images[3] = images[3, 0, 0]
    found = datasets.find_digit_format(images.reshape(*images.shape, *channel))
    assert found.image_size == digit_format.image_size
    np.testing.assert_allclose(found.ink_size, digit_format.ink_size, atol=1)
    assert found.by_mass == digit_format.by_mass
    assert found.light_paper == digit_format.light_paper


def _weights(count, length, begin, size):
    """Of a row of pixels for each of another that lies over it, in float64.

    Each of the other's is a mean, with weights that fall off linearly.
    """
    reach = max(size, 1)
    centers = begin + (np.arange(count) + 0.5) * size
    # Beyond the row there is paper.
    first = min(0, math.floor(centers[0] - reach))
    last = max(length, math.ceil(centers[-1] + reach))
    pixels = np.arange(first, last) + 0.5
    distances = np.abs(pixels - centers[:, None]) / reach
    weights = np.maximum(1 - distances, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights[:, (pixels > 0) & (pixels < length)]


@pytest.mark.parametrize(
    "digit_format",
    [
        datasets.DigitFormat(by_mass=False),
        datasets.DigitFormat((28, 28), (5, 4), by_mass=False),
        datasets.DigitFormat((160, 150), (130, 130), by_mass=False),
        datasets.DigitFormat((9, 12), (1, 1), by_mass=False),
    ],
    ids=["MNIST", "small ink", "enlarged", "one pixel of ink"],
)
def test_ink_is_the_mean_of_what_lies_below_each_pixel(digit_format, tmp_path):
    drawing = np.zeros((60, 64))
    drawing[10:50, 20:44] = 1
    digit = _read(_paint(drawing, 255, 0), tmp_path, digit_format=digit_format)
    size = 40 / digit_format.ink_size[0]
    height, width = digit_format.image_size
    down = _weights(height, 60, 30 - height / 2 * size, size)
    across = _weights(width, 64, 32 - width / 2 * size, size)
    expected = down @ drawing @ across.T
    # Strokes are made white.
    white = np.median(expected[expected > 0.499 * expected.max()])
    expected = 255 * (expected / white).clip(0, 1)
    np.testing.assert_allclose(digit, expected, atol=1)


def test_a_format_with_little_ink_takes_no_more_memory(tmp_path):
    path = tmp_path / "drawing.png"
    _paint(_draw(size=(900, 1000), scale=8), 255, 0).save(path)
    little = datasets.DigitFormat((64, 64), (7, 5))
    usual = peak_memory(datasets.read_digit, path)
    assert peak_memory(datasets.read_digit, path, little) < 1.5 * usual


def test_the_format_of_small_digits_is_found():
    (images, _), _ = datasets.load_digits()
    assert datasets.find_digit_format(images) == _SMALL_FORMAT


def _photos():
    """Pictures of things: shades of grey, from edge to edge."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 7, 7), "uint8")
    return noise.repeat(4, axis=1).repeat(4, axis=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda digits: np.roll(digits, 3, axis=1),
        lambda digits: np.where(np.arange(12)[:, None, None] % 2, digits, 0),
        lambda digits: np.concatenate([digits, 255 - digits]),
        lambda digits: np.stack(
            [np.roll(d, i, 0) for i, d in enumerate(digits)]
        ),
        lambda digits: np.stack([digits] * 3, axis=-1),
        lambda digits: np.zeros_like(digits),
        lambda digits: np.where(digits > 127, 255, 90).astype("uint8"),
        lambda digits: _photos(),
    ],
    ids=[
        "off the centre",
        "half are blank",
        "dark and light",
        "anywhere",
        "colour",
        "blank",
        "grey paper",
        "photos of things",
    ],
)
def test_images_that_lie_as_it_comes_have_no_format(change, digits):
    assert datasets.find_digit_format(change(digits)) is None


@pytest.mark.parametrize("light", [False, True])
def test_a_photo_becomes_a_small_digit(light, tmp_path):
    digit_format = dataclasses.replace(_SMALL_FORMAT, light_paper=light)
    digit = _read(_paint(_draw(), 20, 230), tmp_path, digit_format=digit_format)
    ink = (255 - digit if light else digit) > 64
    assert digit.shape == (8, 8)
    # The seven is higher than wide, and fills the height.
    assert ink.any(axis=1).all()
    columns = np.flatnonzero(ink.any(axis=0))
    assert 1 <= columns[0] <= 2 and 5 <= columns[-1] <= 6


def test_ink_wider_than_its_box_is_squeezed(tmp_path):
    coverage = np.zeros((200, 200))
    coverage[50:150, 40:140] = 1
    coverage[70:130, 60:120] = 0
    digit = _read(
        _paint(coverage, 0, 255), tmp_path, digit_format=_SMALL_FORMAT
    )
    assert (digit[0] > 64).tolist() == [False, *[True] * 6, False]
    assert (digit[:, 1] > 64).all()


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_an_image_in_the_format_stays_as_it_is(name, tmp_path):
    (images, _), _ = datasets.load_digits()
    for image in images[:20]:
        given = Image.fromarray(image)
        if name == "image.tif":
            given = given.convert("RGB")
        digit = _read(given, tmp_path, name, _SMALL_FORMAT)
        np.testing.assert_array_equal(digit, image)


def test_a_small_image_on_other_paper_is_normalised(tmp_path):
    (images, _), _ = datasets.load_digits()
    for image in images[:20]:
        dark = _read(
            Image.fromarray(255 - image), tmp_path, "a.png", _SMALL_FORMAT
        )
        light = _read(Image.fromarray(image), tmp_path, "b.png", _SMALL_FORMAT)
        assert 2 * _difference(dark, light) < _difference(dark, 255 - light)


def test_an_image_of_the_size_alone_is_normalised(base, tmp_path):
    faint = Image.fromarray(base // 3)
    assert _difference(_read(faint, tmp_path), base) < 5
    dark = Image.fromarray(255 - base)
    assert _difference(_read(dark, tmp_path), base) < 5


@pytest.mark.parametrize("shape", [(-1, 28, 28), (-1, 28, 28, 1)])
def test_paper_is_light_or_dark(shape, digits):
    # One of them lies on other paper, and ink may touch the border.
    digits[3] = 255 - digits[3]
    digits[:, 0, :8] = 255
    images = digits.reshape(shape)
    assert not datasets.on_light_paper(images)
    assert datasets.on_light_paper(255 - images)


def test_the_proportions_stay(tmp_path):
    coverage = np.zeros((300, 200))
    coverage[20:120, 30:80] = 1
    digit = _read(_paint(coverage, 0, 255), tmp_path)
    height, width = ((digit / 255).sum(axis).max() for axis in (0, 1))
    assert height == pytest.approx(20, abs=0.3)
    assert width == pytest.approx(10, abs=0.3)


def test_ink_that_is_heavy_at_one_end_is_not_cut_off(tmp_path):
    coverage = np.zeros((200, 200))
    coverage[10:190, 100:104] = coverage[10:40, 30:180] = 1
    digit = _read(_paint(coverage, 0, 255), tmp_path)
    rows = np.flatnonzero((digit > 32).any(axis=1))
    assert np.ptp(rows) + 1 >= 19 and rows[-1] <= 27


def test_an_image_as_in_mnist_stays_as_it_is(tmp_path):
    image = np.zeros((28, 28), "uint8")
    image[4:24, 12:17] = 255
    # These ten pixels bring the centre of mass from row 13.5 to 14.
    image[19, 7:12] = image[19, 17:22] = 255
    digit = _read(Image.fromarray(image), tmp_path)
    assert np.abs(digit.astype(int) - image).max() <= 1


# === What people have ===


def _sixteen_bits(image):
    return Image.fromarray(np.asarray(image).astype("uint16") * 257)


_PICTURES = {
    "dark on light": lambda c: _paint(c, 0, 255),
    "grey on grey": lambda c: _paint(c, 90, 140),
    "colours": lambda c: _paint(c, (30, 60, 200), (250, 240, 190)),
    "red on a green as light": lambda c: _paint(c, (255, 0, 0), (0, 130, 0)),
    "yellow on white": lambda c: _paint(c, (255, 255, 0), (255, 255, 255)),
    "palette": lambda c: _paint(c, 0, 255).convert("P"),
    "16 bits": lambda c: _sixteen_bits(_paint(c, 0, 255)),
    "12 of 16 bits": lambda c: Image.fromarray((c * 4095).astype("uint16")),
}


@pytest.mark.parametrize("name", _PICTURES)
def test_colours_and_depth_do_not_matter(name, base, tmp_path):
    digit = _read(_PICTURES[name](_draw()), tmp_path)
    assert _difference(digit, base) < 1


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (40, 90, 200)])
def test_ink_on_a_transparent_ground_is_seen(ink, base, tmp_path):
    pixels = np.empty((*_draw().shape, 4))
    pixels[..., :3], pixels[..., 3] = ink, _draw() * 255
    digit = _read(Image.fromarray(pixels.astype("uint8")), tmp_path)
    assert _difference(digit, base) < 1


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("LA", "png"), ("CMYK", "tif"), ("F", "tif"), ("I", "tif")],
)
def test_modes_of_pillow_do_not_matter(mode, suffix, base, tmp_path):
    image = _paint(_draw(), 0, 255).convert(mode)
    digit = _read(image, tmp_path, f"image.{suffix}")
    # One bit has no smooth edges.
    assert _difference(digit, base) < (4 if mode == "1" else 1)


@pytest.mark.parametrize(
    ("at", "scale", "size"),
    [
        ((0, 0), 1.0, (100, 120)),
        ((200, 90), 1.0, (400, 260)),
        ((30, 30), 0.4, (100, 100)),
        ((100, 400), 5.0, (1500, 1000)),
        ((20, 20), 14.0, (1200, 1600)),
    ],
)
def test_place_and_size_do_not_matter(at, scale, size, base, tmp_path):
    coverage = _draw(at=at, scale=scale, size=size)
    digit = _read(_paint(coverage, 40, 220), tmp_path)
    assert _difference(digit, base) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, base, tmp_path):
    # How a camera stores what, turned by the flag, is upright again.
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = _paint(_draw(), (0, 0, 0), (255, 255, 255))
    if orientation > 1:
        image = image.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    digit = _read(image, tmp_path, "photo.jpg", exif=exif, quality=95)
    assert _difference(digit, base) < 3


def test_uneven_light_grain_and_specks_do_not_matter(base, tmp_path):
    rng = np.random.default_rng(0)
    coverage = _draw(at=(300, 200), scale=3.0, size=(900, 700))
    light = np.linspace(230, 160, 900)[None] + np.linspace(0, -20, 700)[:, None]
    pixels = light * (1 - coverage) + 50 * coverage
    pixels += rng.normal(0, 5, pixels.shape)
    pixels[30:32, 840:842] = 40
    image = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
    digit = _read(image, tmp_path, "photo.jpg", quality=80)
    assert _difference(digit, base) < 5


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("at", [(25, 20), (0, 0)], ids=["inside", "cut close"])
def test_light_that_falls_off_does_not_matter(at, turn, base, tmp_path):
    coverage = _draw(at=at, size=(130, 160))
    rows, columns = np.mgrid[0:1:160j, 0:1:130j]
    share = [rows, columns, 1 - rows, (rows + 1 - columns) / 2][turn]
    pixels = 240 * (1 - 0.7 * share) * (1 - 0.9 * coverage)
    photo = Image.fromarray(np.rint(pixels).astype("uint8"))
    assert _difference(_read(photo, tmp_path), base) < 8


def test_paper_that_is_darker_at_one_side_is_blank(tmp_path):
    pixels = np.rint(240 * np.linspace(0.3, 1, 200) * np.ones((100, 1)))
    with pytest.raises(InputError, match="blank"):
        _read(Image.fromarray(pixels.astype("uint8")), tmp_path)


def test_the_grain_of_a_large_photo_does_not_matter(base, tmp_path):
    coverage = _draw(at=(300, 200), scale=10.0, size=(2000, 1600))
    pixels = 230 - 170 * coverage
    pixels += np.random.default_rng(0).normal(0, 40, pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
    assert _difference(_read(image, tmp_path), base) < 3


def test_a_thin_pen_is_as_white_as_a_thick_one(tmp_path):
    coverage = _draw(scale=6.0, size=(800, 800), width=1)
    digit = _read(_paint(coverage, 0, 255), tmp_path)
    assert digit.max() == 255
    assert np.median(digit[digit > 64]) > 190


def test_a_small_image_is_scaled_up(tmp_path):
    pixels = np.zeros((8, 8), "uint8")
    pixels[1:7, 3:5] = 255
    digit = _read(Image.fromarray(pixels), tmp_path)
    assert np.count_nonzero((digit > 127).any(axis=1)) in (19, 20, 21)


# === Refusals ===


def _noise():
    return np.random.default_rng(0).normal(200, 4, (400, 300))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((28, 28)),
        np.full((50, 40), 255),
        np.full((1, 1), 7),
        np.full((50, 40, 3), (250, 240, 190)),
        np.zeros((50, 40, 4)),
        _noise(),
    ],
    ids=["black", "white", "one pixel", "colour", "transparent", "noise"],
)
def test_a_blank_image_is_refused(pixels, tmp_path):
    image = Image.fromarray(pixels.astype("uint8"))
    with pytest.raises(InputError, match="image.png is blank") as info:
        _read(image, tmp_path)
    assert "\n" not in str(info.value)


def test_a_blank_image_of_floats_is_refused(tmp_path):
    pixels = np.full((9, 9), np.nan, "float32")
    with pytest.raises(InputError, match="blank"):
        _read(Image.fromarray(pixels), tmp_path, "image.tif")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"no image", "no readable image"),
        (b"\x89PNG\r\n\x1a\n", "no readable image"),
    ],
)
def test_what_is_no_image_is_named(content, reason, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"a.png .*{reason}") as info:
        datasets.read_digit(path)
    assert "\n" not in str(info.value)


def test_a_truncated_photo_is_refused(tmp_path):
    image = _paint(_draw(), (0, 0, 0), (255, 255, 255))
    image.save(tmp_path / "whole.jpg")
    half = (tmp_path / "whole.jpg").read_bytes()[:800]
    (tmp_path / "half.jpg").write_bytes(half)
    with pytest.raises(InputError, match="half.jpg is no readable image"):
        datasets.read_digit(tmp_path / "half.jpg")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    _paint(_draw(), 0, 255).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="bomb.png .* exceeds limit"):
        datasets.read_digit(tmp_path / "bomb.png")


# === Finding files ===


@pytest.fixture
def tree(tmp_path):
    """Images in a folder and its sub-folder, among what is none."""
    names = ["b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.tiff"]
    names += ["sub/deep/d.webp", ".cache/e.png", "sub/model.keras"]
    for name in names:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tree" / "empty").mkdir()
    return tmp_path / "tree"


def test_folders_are_searched_recursively_and_in_order(tree):
    expected = ["a.JPG", "b.png", "sub/c.tiff", "sub/deep/d.webp"]
    assert datasets.find_images([tree]) == [tree / name for name in expected]


def test_a_link_to_a_folder_is_named_and_not_followed(tree):
    expected = datasets.find_images([tree])
    (tree / "around").symlink_to(tree)
    with pytest.warns(UserWarning, match="around, a link to a folder"):
        assert datasets.find_images([tree]) == expected


def test_a_folder_that_cannot_be_read_is_an_error(tree, monkeypatch):
    scandir = os.scandir

    def scan(path):
        if os.path.basename(path) == "sub":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    # The superuser, who may run the tests, can read any.
    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(PermissionError, match="Permission denied.*sub"):
        datasets.find_images([tree])


def test_files_folders_and_patterns_keep_their_order(tree):
    found = datasets.find_images(
        [tree / "sub", str(tree / "*.png"), tree / "notes.txt"]
    )
    names = ["sub/c.tiff", "sub/deep/d.webp", "b.png", "notes.txt"]
    assert found == [tree / name for name in names]


def test_a_pattern_may_reach_into_folders_and_match_them(tree):
    deep = [tree / "sub/deep/d.webp"]
    assert datasets.find_images([tree / "**" / "*.webp"]) == deep
    assert datasets.find_images([tree / "su?" / "d*"]) == deep


def test_a_pattern_gives_each_image_once(tree):
    found = datasets.find_images([tree / "**"])
    assert len(found) == len(set(found))
    assert set(datasets.find_images([tree])) < set(found)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree):
    path = tree / "scan[1].png"
    path.touch()
    assert datasets.find_images([path]) == [path]


@pytest.mark.parametrize("name", ["nothing.png", "*.bmp", "empty", "e*"])
def test_what_matches_nothing_is_named(name, tree):
    with pytest.raises(InputError) as info:
        datasets.find_images([tree / "b.png", tree / name])
    message = str(info.value)
    assert str(tree / name) in message and "\n" not in message
