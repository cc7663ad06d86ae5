import errno
import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import warnings
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssgan import datasets
from keras_ssgan.datasets import image_files
from keras_ssgan.datasets import image_folder
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend


def _refusal(function, *args, **kwargs):
    """Returns the message of the refusal, which has to be one line."""
    with pytest.raises(InputError) as info:
        function(*args, **kwargs)
    message = str(info.value)
    assert "\n" not in message
    return message


# === Bundled datasets ===


def test_digits_are_the_1797_of_scikit_learn_scaled_to_255():
    from sklearn.datasets import load_digits

    original = load_digits()
    (x_train, y_train), (x_test, y_test) = datasets.load_digits()
    assert (len(x_train), len(x_test)) == (1297, 500)
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert x.dtype == np.uint8 and x.shape == (1797, 8, 8)
    assert y.dtype == np.int32 and y.shape == (1797,)
    # 255 / 16 is between 15 and 16, so that the level can be told again.
    levels = np.rint(x / 255 * 16).astype(int)
    ours = Counter(
        (k.tobytes(), int(c)) for k, c in zip(levels, y, strict=True)
    )
    theirs = Counter(
        (k.astype(int).tobytes(), int(c))
        for k, c in zip(original.images, original.target, strict=True)
    )
    assert ours == theirs
    assert x.max() == 255


def test_digits_are_split_evenly_over_the_classes_and_always_alike():
    first, second = datasets.load_digits(), datasets.load_digits()
    (_, y_train), (_, y_test) = first
    share = np.bincount(y_test) / (np.bincount(y_test) + np.bincount(y_train))
    np.testing.assert_allclose(share, 500 / 1797, atol=0.005)
    np.testing.assert_array_equal(first[1][0], second[1][0])


def test_mnist_has_int32_labels(monkeypatch):
    x, y = np.zeros((3, 28, 28), "uint8"), np.array([1, 2, 3], "uint8")
    monkeypatch.setattr(
        keras.datasets.mnist, "load_data", lambda: ((x, y), (x[:1], y[:1]))
    )
    (x_train, y_train), (x_test, y_test) = datasets.load_mnist()
    assert x_train.shape == (3, 28, 28) and x_test.shape == (1, 28, 28)
    assert y_train.dtype == y_test.dtype == np.int32
    assert y_train.tolist() == [1, 2, 3]


def test_mnist_without_network_is_refused_with_a_way_out(monkeypatch):
    def fail():
        raise Exception("URL fetch failure: \n name not known")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    assert "folder of IDX files" in _refusal(datasets.load_mnist)


# === .npz ===


def _arrays(n_train=6, n_test=4, size=(5, 7)):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n_train, *size), "uint8"),
        "y_train": np.arange(n_train) % 3,
        "x_test": rng.integers(0, 256, (n_test, *size), "uint8"),
        "y_test": np.arange(n_test) % 3,
    }


def _save_npz(folder, **changes):
    path = folder / "data.npz"
    arrays = {**_arrays(), **changes}
    np.savez(path, **{k: a for k, a in arrays.items() if a is not None})
    return path


def test_npz_gives_back_what_was_saved(tmp_path):
    arrays = _arrays()
    arrays["y_train"][0] = -1
    path = _save_npz(tmp_path, **arrays)
    (x_train, y_train), (x_test, y_test) = datasets.load_npz(path)
    for name, array in [("x_train", x_train), ("x_test", x_test)]:
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, arrays[name])
    for name, array in [("y_train", y_train), ("y_test", y_test)]:
        assert array.dtype == np.int32
        np.testing.assert_array_equal(array, arrays[name])


def test_npz_floats_are_rounded_and_lone_axes_dropped(tmp_path):
    path = _save_npz(
        tmp_path,
        x_train=np.full((6, 5, 7, 1), 254.7),
        y_train=np.arange(6, dtype="uint8")[:, None],
    )
    (x_train, y_train), _ = datasets.load_npz(path)
    np.testing.assert_array_equal(x_train, np.full((6, 5, 7), 255, "uint8"))
    assert y_train.tolist() == [0, 1, 2, 3, 4, 5]


def test_npz_keeps_colour_images(tmp_path):
    x = np.zeros((6, 5, 7, 3), "uint8")
    path = _save_npz(tmp_path, x_train=x, x_test=x[:4])
    (x_train, _), (x_test, _) = datasets.load_npz(path)
    assert x_train.shape == (6, 5, 7, 3) and x_test.shape == (4, 5, 7, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"y_train": None, "x_test": None}, "lacks y_train, x_test"),
        ({"x_train": np.array([None] * 6)}, "plain arrays"),
        ({"x_train": np.zeros((6, 35), "uint8")}, "train: images have shape"),
        ({"x_test": np.full((4, 5, 7), 0.5)}, "test: pixels look scaled"),
        ({"y_train": np.zeros(5, int)}, "6 images and 5 labels"),
        ({"y_train": np.zeros(6)}, "dtype float64"),
        ({"x_test": np.zeros((4, 5, 8), "uint8")}, "(5, 8)"),
        ({"x_test": np.zeros((4, 5, 7, 3), "uint8")}, "(5, 7, 3)"),
        ({"y_test": np.array([0, 1, -1, 2])}, "-1 at index 2"),
    ],
)
def test_an_unfit_npz_is_refused_with_its_path(tmp_path, changes, reason):
    path = _save_npz(tmp_path, **changes)
    message = _refusal(datasets.load_npz, path)
    assert str(path) in message
    assert reason in message


def _npy(folder):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 4)))
    return buffer.getvalue()


def _truncated_npz(folder):
    content = _save_npz(folder).read_bytes()
    return content[: len(content) // 2]


def _npz_with_a_flipped_byte(folder):
    content = bytearray(_save_npz(folder).read_bytes())
    content[200] ^= 0xFF  # Within the pixels of x_train.
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        lambda folder: b"",
        lambda folder: b"no archive",
        lambda folder: pickle.dumps({"x_train": 1}),
        _npy,
        _truncated_npz,
        _npz_with_a_flipped_byte,
    ],
    ids=["empty", "text", "pickle", "npy", "truncated", "damaged"],
)
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content(tmp_path))
    assert "no readable .npz" in _refusal(datasets.load_npz, path)


def test_an_npz_that_is_not_there_is_refused(tmp_path):
    message = _refusal(datasets.load_npz, tmp_path / "none.npz")
    assert "does not exist" in message


def test_real_mnist_is_read_from_npz(mnist_path):
    (x_train, y_train), (x_test, y_test) = datasets.load_npz(mnist_path)
    assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
    assert np.bincount(y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert len(y_test) == 10000


# === IDX ===

_IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def _idx(array):
    """Packs an array as the format's description says."""
    header = struct.pack(">HBB", 0, 8, array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype("uint8").tobytes()


def _save_idx(folder, arrays, name=lambda name: name, pack=lambda data: data):
    folder.mkdir(exist_ok=True)
    for key, file_name in _IDX_NAMES.items():
        (folder / name(file_name)).write_bytes(pack(_idx(arrays[key])))
    return folder


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        (lambda name: name, lambda data: data),
        (lambda name: name + ".gz", gzip.compress),
        (lambda name: name.replace("-idx", ".idx"), lambda data: data),
        (lambda name: name.replace("-idx", ".idx") + ".gz", gzip.compress),
        (lambda name: name + ".gz", lambda data: data),
        (lambda name: name, gzip.compress),
    ],
    ids=["plain", "gz", "dot", "dot-gz", "unpacked-gz", "gz-without-suffix"],
)
def test_idx_gives_back_what_was_saved(tmp_path, name, pack):
    arrays = _arrays()
    _save_idx(tmp_path, arrays, name, pack)
    (x_train, y_train), (x_test, y_test) = datasets.load_idx(tmp_path)
    for key, array in [("x_train", x_train), ("x_test", x_test)]:
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, arrays[key])
    for key, array in [("y_train", y_train), ("y_test", y_test)]:
        assert array.dtype == np.int32
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:3],
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\1" + data[1:],  # The magic number's zeros.
        lambda data: data[:2] + b"\x0d" + data[3:],  # float32 elements
        lambda data: data[:3] + b"\1" + data[4:],  # rank 1
        lambda data: data[:4] + struct.pack(">I", 0) + data[8:],  # no images
        # 2**96 bytes, which nothing can allocate.
        lambda data: data[:4] + b"\xff" * 12 + data[16:],
        lambda data: gzip.compress(data)[:-9],
        lambda data: gzip.compress(data)[:20],
        lambda data: gzip.compress(data)[:-8] + b"\0" * 8,  # checksum
        lambda data: b"\x1f\x8b" + data,  # no gzip behind its magic number
        lambda data: gzip.compress(data[:4] + b"\xff" * 12),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, damage):
    _save_idx(tmp_path, _arrays())
    path = tmp_path / _IDX_NAMES["x_train"]
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in _refusal(datasets.load_idx, tmp_path)


def test_a_byte_behind_a_whole_mebibyte_of_idx_is_noticed(tmp_path):
    large = np.zeros((4, 512, 512))
    _save_idx(tmp_path, {**_arrays(n_train=4), "x_train": large})
    path = tmp_path / _IDX_NAMES["x_train"]
    path.write_bytes(path.read_bytes() + b"\0")
    assert "more than" in _refusal(datasets.load_idx, tmp_path)


def test_a_damaged_idx_label_file_is_refused_by_name(tmp_path):
    _save_idx(tmp_path, _arrays())
    path = tmp_path / _IDX_NAMES["y_test"]
    path.write_bytes((tmp_path / _IDX_NAMES["x_test"]).read_bytes())
    assert str(path) in _refusal(datasets.load_idx, tmp_path)


def test_a_missing_idx_file_is_refused_by_name(tmp_path):
    _save_idx(tmp_path, _arrays())
    (tmp_path / _IDX_NAMES["y_test"]).unlink()
    assert _IDX_NAMES["y_test"] in _refusal(datasets.load_idx, tmp_path)


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path):
    labels = {**_arrays(), "y_train": np.zeros(5)}
    message = _refusal(datasets.load_idx, _save_idx(tmp_path, labels))
    assert "6 images" in message and "5 labels" in message
    sizes = {**_arrays(), "x_test": np.zeros((4, 5, 8))}
    message = _refusal(datasets.load_idx, _save_idx(tmp_path, sizes))
    assert "(5, 8)" in message


def test_real_mnist_written_as_idx_has_the_published_md5s(mnist_path, tmp_path):
    with np.load(mnist_path) as arrays:
        _save_idx(tmp_path, arrays)
        (x_train, y_train), (x_test, y_test) = datasets.load_idx(tmp_path)
        np.testing.assert_array_equal(x_train, arrays["x_train"])
        np.testing.assert_array_equal(y_test, arrays["y_test"])
    # Of the files that LeCun's page had, unpacked.
    published = {
        "x_train": "6bbc9ace898e44ae57da46a324031adb",
        "y_train": "a25bea736e30d166cdddb491f175f624",
        "x_test": "2646ac647ad5339dbf082846283269ea",
        "y_test": "27ae3e4e09519cfbb04c329615203637",
    }
    for key, md5 in published.items():
        content = (tmp_path / _IDX_NAMES[key]).read_bytes()
        assert hashlib.md5(content).hexdigest() == md5


# === Image folders ===


def _save_image(path, value, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, "uint8")).save(path)


def _save_folder(path, classes=("cat", "dog"), count=10):
    for c, name in enumerate(classes):
        for i in range(count):
            _save_image(path / name / f"{i:02}.png", 100 * c + i)
    return path


def test_image_folder_labels_images_by_their_class_folder(tmp_path):
    _save_folder(tmp_path)
    (x_train, y_train), (x_test, y_test) = datasets.load_image_folder(tmp_path)
    assert x_train.shape == (16, 6, 4) and x_test.shape == (4, 6, 4)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int32
    np.testing.assert_array_equal(y_train, x_train[:, 0, 0] // 100)
    np.testing.assert_array_equal(y_test, x_test[:, 0, 0] // 100)
    values = [*x_train[:, 0, 0], *x_test[:, 0, 0]]
    assert sorted(values) == [*range(10), *range(100, 110)]


def test_image_folder_splits_each_class_by_the_fraction(tmp_path):
    _save_folder(tmp_path)
    _, (_, y_test) = datasets.load_image_folder(tmp_path, test_fraction=0.3)
    assert np.bincount(y_test).tolist() == [3, 3]
    _, (_, y_test) = datasets.load_image_folder(tmp_path, test_fraction=0.001)
    assert np.bincount(y_test).tolist() == [1, 1]
    (_, y_train), _ = datasets.load_image_folder(tmp_path, test_fraction=0.999)
    assert np.bincount(y_train).tolist() == [1, 1]


def test_image_folder_split_depends_on_the_seed_alone(tmp_path):
    _save_folder(tmp_path)
    drawn = [
        datasets.load_image_folder(tmp_path, seed=seed)[1][0][:, 0, 0].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["unlabeled", "unlabelled", "Unlabeled"])
def test_unlabeled_folder_goes_to_training_as_minus_one(tmp_path, name, stream):
    _save_folder(tmp_path)
    for i in range(3):
        _save_image(tmp_path / name / f"{i}.png", 200 + i)
    (x_train, y_train), (_, y_test) = datasets.load_image_folder(
        tmp_path, stream=stream
    )
    assert sorted(x_train[y_train == -1][:, 0, 0]) == [200, 201, 202]
    assert (y_test >= 0).all()
    assert image_folder.estimate_bytes(tmp_path) == 23 * 24
    assert datasets.class_names(tmp_path) == ["cat", "dog"]


def test_class_names_are_sorted_by_value_where_all_are_numbers(tmp_path):
    for name in ["10", "9", "0", "unlabeled", ".git"]:
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").write_text("no folder")
    assert datasets.class_names(tmp_path) == ["0", "9", "10"]
    (tmp_path / "x").mkdir()
    assert datasets.class_names(tmp_path) == ["0", "10", "9", "x"]


@pytest.mark.parametrize("name", [b"cat\x1b[31m", b"cat\ncat", b"caf\xe9"])
def test_a_class_name_that_cannot_be_shown_is_refused(tmp_path, name):
    (tmp_path / "dog").mkdir()
    os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    for function in (datasets.class_names, datasets.load):
        message = _refusal(function, tmp_path)
        assert message.isprintable() and "rename it" in message
        assert "'ca" in message


def test_images_of_another_size_are_resized_to_the_most_common(tmp_path):
    _save_folder(tmp_path)
    _save_image(tmp_path / "cat" / "large.png", 50, size=(40, 30))
    (x_train, _), (x_test, _) = datasets.load_image_folder(tmp_path)
    x = np.concatenate([x_train, x_test])
    assert x.shape == (21, 6, 4)
    assert 50 in x[:, 3, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_larger_images_of_a_folder_are_reduced_with_all_of_their_pixels(
    stream, tmp_path
):
    # A line of four pixels' width, which 28 points of 448 rows would miss.
    drawing = np.zeros((448, 28), "uint8")
    drawing[32:36] = 255
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(drawing).save(tmp_path / f"{name}.png")
    data = datasets.load(tmp_path, stream=stream, largest=28)
    images = data.x_train[:]
    assert images.shape[1:] == (28, 28)
    # Each of the 16 rows that become one has its share.
    np.testing.assert_allclose(
        images.astype(float).sum(axis=(1, 2)), 28 * 255 * 4 / 16, rtol=0.02
    )
    assert datasets.load(tmp_path, largest=1000).x_train.shape[1:] == (448, 28)


def test_image_size_is_height_and_width(tmp_path):
    _save_folder(tmp_path)
    (x_train, _), (x_test, _) = datasets.load_image_folder(tmp_path, (9, 5))
    assert x_train.shape[1:] == x_test.shape[1:] == (9, 5)


def test_resizing_is_bilinear(tmp_path):
    _save_folder(tmp_path)
    ramp = np.array([[0, 100]], "uint8")
    for path in tmp_path.glob("*/*.png"):
        Image.fromarray(ramp).save(path)
    (x_train, _), _ = datasets.load_image_folder(tmp_path, image_size=(1, 4))
    # Pixel centres of the target lie at 0.25, 0.75, 1.25 and 1.75 of the
    # source, whose own centres are 0.5 and 1.5.
    assert x_train[0].tolist() == [[0, 25, 75, 100]]


def _only_image(tmp_path, image, **kwargs):
    """Sends one image through the loader and returns its pixels."""
    _save_folder(tmp_path, count=2)
    (tmp_path / "unlabeled").mkdir()
    image.save(tmp_path / "unlabeled" / "it.png", **kwargs)
    (x_train, y_train), _ = datasets.load_image_folder(
        tmp_path, image_size=image.size[::-1]
    )
    return x_train[y_train == -1][0]


def test_colour_images_become_luma(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], "uint8")
    gray = _only_image(tmp_path, Image.fromarray(colours))
    # ITU-R 601: 0.299, 0.587 and 0.114 of 255.
    np.testing.assert_allclose(gray, [[76, 150, 29]], atol=1)


def test_sixteen_bit_images_are_scaled_to_eight_bits(tmp_path):
    deep = np.array([[0, 255, 256, 32768, 65535]], "uint16")
    gray = _only_image(tmp_path, Image.fromarray(deep))
    assert gray.tolist() == [[0, 0, 1, 128, 255]]


def test_transparent_pixels_lie_on_white(tmp_path):
    # Black ink; what is not ink is transparent black.
    ink = np.zeros((1, 3, 4), "uint8")
    ink[0, :, 3] = [0, 128, 255]
    gray = _only_image(tmp_path, Image.fromarray(ink))
    np.testing.assert_allclose(gray, [[255, 127, 0]], atol=1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_what_the_head_says_of_the_size_is_upright(suffix, tmp_path):
    exif, path = Image.Exif(), tmp_path / f"it.{suffix}"
    # What is above 8 means nothing.
    for orientation in range(1, 10):
        exif[0x0112] = orientation
        Image.new("L", (20, 40)).save(path, exif=exif)
        shape, _ = image_files.read_head(path)
        assert shape == datasets.read_image(path).shape


def test_exif_orientation_is_applied(tmp_path):
    _save_folder(tmp_path, count=2)
    exif = Image.Exif()
    exif[0x0112] = 6  # To be shown turned by 90 degrees, clockwise.
    stored = np.array([[1, 2, 3], [4, 5, 6]], "uint8")
    (tmp_path / "unlabeled").mkdir()
    path = tmp_path / "unlabeled" / "it.png"
    Image.fromarray(stored).save(path, exif=exif)
    (x_train, y_train), _ = datasets.load_image_folder(tmp_path, (3, 2))
    shown = np.rot90(stored, k=-1)
    np.testing.assert_array_equal(x_train[y_train == -1][0], shown)


def test_unreadable_files_are_named_counted_and_skipped(tmp_path):
    _save_folder(tmp_path)
    png = (tmp_path / "cat" / "00.png").read_bytes()
    broken = [tmp_path / "cat" / "broken.png", tmp_path / "dog" / "notes.txt"]
    broken[0].write_bytes(png[: len(png) // 2])
    broken[1].write_text("no image")
    with pytest.warns(UserWarning) as record:
        (x_train, _), (x_test, _) = datasets.load_image_folder(tmp_path)
    assert len(x_train) + len(x_test) == 20
    messages = [str(warning.message) for warning in record]
    assert len(messages) == 3
    assert str(broken[0]) in messages[0]
    assert str(broken[1]) in messages[1]
    assert "2 unreadable files" in messages[2]
    assert not any("\n" in message for message in messages)
    assert {warning.filename for warning in record} == {__file__}


def test_hidden_files_and_folders_are_ignored(tmp_path):
    _save_folder(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_text("no image")
    (tmp_path / "cat" / ".thumbnails").mkdir()
    _save_image(tmp_path / "unlabeled" / "0.png", 1)
    _save_image(tmp_path / "unlabeled" / ".trash" / "0.png", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x_train, _), _ = datasets.load_image_folder(tmp_path)
    assert len(x_train) == 17


def test_a_folder_within_that_of_a_class_is_named(tmp_path):
    _save_folder(tmp_path)
    _save_image(tmp_path / "cat" / "more" / "0.png", 1)
    with pytest.warns(UserWarning, match="cat/more, a folder within") as record:
        (x_train, _), _ = datasets.load_image_folder(tmp_path)
    assert len(x_train) == 16
    assert {warning.filename for warning in record} == {__file__}


def test_a_link_to_a_folder_of_unlabeled_images_is_named(tmp_path):
    for i, place in enumerate(["0/0", "0/1", "1/0", "1/1", "unlabeled/0"]):
        _save_image(tmp_path / "data" / f"{place}.png", i)
    _save_image(tmp_path / "elsewhere" / "0.png", 200)
    link = tmp_path / "data" / "unlabeled" / "more"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="unlabeled/more, a link to a folder"):
        (_, y_train), _ = datasets.load_image_folder(tmp_path / "data")
    assert sorted(y_train) == [-1, 0, 1]


def test_it_is_said_that_colour_is_read_as_grey(tmp_path, caplog):
    for i, place in enumerate(["0/0", "0/1", "1/0", "1/1"]):
        _save_image(tmp_path / f"{place}.png", i)
    with caplog.at_level("INFO", logger="keras_ssgan"):
        datasets.load_image_folder(tmp_path)
        assert "in colour" not in caplog.text
        Image.new("RGB", (4, 4), "red").save(tmp_path / "0" / "2.png")
        datasets.load_image_folder(tmp_path)
    assert "1 of the 5 images" in caplog.text
    assert "in colour, and are read as grey" in caplog.text


def test_it_is_said_that_a_part_becomes_the_test_set(tmp_path, caplog):
    for i, place in enumerate(["0/0", "0/1", "1/0", "1/1"]):
        _save_image(tmp_path / "alone" / f"{place}.png", i)
        for part in ("train", "test"):
            _save_image(tmp_path / "parts" / part / f"{place}.png", i)
    with caplog.at_level("INFO", logger="keras_ssgan"):
        datasets.load_image_folder(tmp_path / "parts")
        assert caplog.text == ""
        datasets.load_image_folder(tmp_path / "alone")
    assert "alone has no test folder" in caplog.text
    assert "2 of its labelled images" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_unlabeled_images_may_lie_in_folders(tmp_path, stream):
    _save_folder(tmp_path)
    for i, place in enumerate(["", "2024", "2024/may"]):
        _save_image(tmp_path / "unlabeled" / place / "0.png", 200 + i)
    (x_train, y_train), _ = datasets.load_image_folder(tmp_path, stream=stream)
    assert sorted(x_train[y_train == -1][:, 0, 0]) == [200, 201, 202]


def test_a_dataset_with_an_image_more_has_another_fingerprint(tmp_path):
    _save_folder(tmp_path)
    before = datasets.load(tmp_path).fingerprint()
    assert datasets.load(tmp_path, stream=True).fingerprint() == before
    _save_image(tmp_path / "cat" / "new.png", 50)
    assert datasets.load(tmp_path).fingerprint() != before


def test_a_dataset_with_other_training_images_has_another_fingerprint():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 6, 6), dtype="uint8")
    labels = np.arange(200) % 2
    names = ["cat", "dog"]
    fingerprints = [
        datasets.Dataset(
            x_train, labels, images[:9], labels[:9], names
        ).fingerprint()
        for x_train in (images, images[::-1])
    ]
    # What earlier versions gave is the first half.
    assert fingerprints[0][:64] == fingerprints[1][:64]
    assert fingerprints[0] != fingerprints[1]


def _save_split_folder(path, training="train", test="test"):
    _save_folder(path / training)
    _save_image(path / training / "unlabeled" / "0.png", 250)
    for c, name in enumerate(["cat", "dog"]):
        _save_image(path / test / name / "0.png", 100 * c + 50, size=(12, 8))
    return path


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "names", [("train", "test"), ("Train", "Test"), ("training", "testing")]
)
def test_a_folder_of_test_images_is_the_test_set(tmp_path, names, stream):
    _save_split_folder(tmp_path, *names)
    data = datasets.load(tmp_path, stream=stream)
    assert data.class_names == ["cat", "dog"]
    pixels = data.x_train[:][:, 0, 0]
    assert sorted(pixels) == [*range(10), *range(100, 110), 250]
    np.testing.assert_array_equal(
        data.y_train, np.where(pixels == 250, -1, (pixels // 100).astype(int))
    )
    # The size is that of the training images.
    assert data.x_test.shape == (2, 6, 4)
    assert data.x_test[:, 0, 0].tolist() == [50, 150]
    assert data.y_test.tolist() == [0, 1]
    assert image_folder.estimate_bytes(tmp_path) == 21 * 24


def test_other_files_beside_the_classes_of_a_split_do_not_matter(tmp_path):
    _save_split_folder(tmp_path)
    # Pillow has these among its formats, and here they are none of an image.
    for name in ("licence.pdf", "cache.h5"):
        (tmp_path / "train" / name).touch()
    data = datasets.load(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert len(data.x_test) == 2


def test_folders_beside_those_of_a_split_are_named(tmp_path):
    _save_split_folder(tmp_path)
    _save_folder(tmp_path / "val")
    with pytest.warns(UserWarning, match="skipped .*val, beside train") as all_:
        datasets.load(tmp_path)
    assert len(all_) == 1


def test_classes_may_be_called_train_and_test(tmp_path):
    _save_folder(tmp_path, classes=["test", "train"])
    _save_image(tmp_path / "train" / "thumbnails" / "0.png", 1)
    _save_image(tmp_path / "test" / "thumbnails" / "0.png", 1)
    with pytest.warns(UserWarning, match="thumbnails, a folder within"):
        data = datasets.load(tmp_path)
    assert data.class_names == ["test", "train"]
    assert (len(data.x_train), len(data.x_test)) == (16, 4)


def test_a_class_folder_that_means_no_label_is_refused(tmp_path):
    _save_folder(tmp_path, classes=["1", "-1"])
    message = _refusal(datasets.load, tmp_path)
    assert "class folder -1, which means no label" in message


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    _save_folder(tmp_path)
    _save_image(tmp_path / "unlabeled" / "more" / "0.png", 1)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="more"):
        datasets.load(tmp_path)


def test_an_unfit_split_folder_is_refused(tmp_path):
    load = datasets.load_image_folder
    _save_folder(tmp_path / "train")
    _save_folder(tmp_path / "val")
    assert "no folder test" in _refusal(load, tmp_path)
    (tmp_path / "val").rename(tmp_path / "test")
    (tmp_path / "train" / "emu").mkdir()
    message = _refusal(load, tmp_path)
    assert f"{tmp_path / 'test'} has no class folder emu" in message
    (tmp_path / "test" / "emu").mkdir()
    message = _refusal(load, tmp_path)
    assert f"{tmp_path / 'train' / 'emu'} has no readable images" in message
    _save_image(tmp_path / "train" / "emu" / "0.png", 1)
    message = _refusal(load, tmp_path)
    assert f"{tmp_path / 'test' / 'emu'} has no readable images" in message
    _save_image(tmp_path / "test" / "emu" / "0.png", 1)
    assert len(load(tmp_path)[1][0]) == 21
    for place in (tmp_path / "test" / "unlabeled", tmp_path / "unlabeled"):
        _save_image(place / "0.png", 1)
        message = _refusal(load, tmp_path)
        assert str(place) in message and "move it" in message
        shutil.rmtree(place)


def test_an_unfit_image_folder_is_refused(tmp_path):
    load = datasets.load_image_folder
    assert "no folder" in _refusal(load, tmp_path / "none")
    assert "no class folders" in _refusal(load, tmp_path)
    _save_folder(tmp_path, classes=["cat"])
    assert "1 class folder;" in _refusal(load, tmp_path)
    (tmp_path / "dog").mkdir()
    message = _refusal(load, tmp_path)
    assert str(tmp_path / "dog") in message and "no readable" in message
    _save_image(tmp_path / "dog" / "0.png", 1)
    message = _refusal(load, tmp_path)
    assert str(tmp_path / "dog") in message and "1 readable" in message
    _save_image(tmp_path / "dog" / "1.png", 1)
    assert len(load(tmp_path)[1][0]) == 3
    (tmp_path / "unlabeled").mkdir()
    message = _refusal(load, tmp_path)
    assert str(tmp_path / "unlabeled") in message and "no readable" in message


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_test_fraction_out_of_range_is_refused(tmp_path, fraction):
    _save_folder(tmp_path)
    message = _refusal(
        datasets.load_image_folder, tmp_path, test_fraction=fraction
    )
    assert "test_fraction" in message


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_an_empty_image_size_is_refused(tmp_path, size):
    _save_folder(tmp_path)
    assert "image_size" in _refusal(datasets.load_image_folder, tmp_path, size)


# === load ===


def test_load_digits_by_name():
    data = datasets.load("digits")
    assert data.x_train.shape == (1297, 8, 8)
    assert data.class_names == [str(k) for k in range(10)]
    assert data.num_classes == 10


def test_load_mnist_by_name(monkeypatch):
    x, y = np.zeros((3, 28, 28), "uint8"), np.array([1, 2, 2], "uint8")
    monkeypatch.setattr(
        keras.datasets.mnist, "load_data", lambda: ((x, y), (x, y))
    )
    data = datasets.load("mnist")
    assert data.y_test.tolist() == [1, 2, 2]
    assert data.num_classes == 10


@pytest.mark.parametrize("as_type", [str, Path])
def test_load_npz_counts_the_classes_up_to_the_largest_id(tmp_path, as_type):
    path = as_type(_save_npz(tmp_path))
    assert datasets.load(path).class_names == ["0", "1", "2"]
    _save_npz(tmp_path, y_train=np.zeros(6, int), y_test=np.zeros(4, int))
    assert datasets.load(path).class_names == ["0", "1"]


def test_load_refuses_a_class_id_beyond_the_number_of_images(tmp_path):
    path = _save_npz(tmp_path, y_train=np.array([0, 1, 2, 0, 1, 10**9]))
    assert str(10**9) in _refusal(datasets.load, path)


def test_load_tells_idx_files_from_images(tmp_path):
    _save_folder(tmp_path)
    data = datasets.load(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert len(data.x_test) == 4
    _save_idx(tmp_path, _arrays())
    data = datasets.load(tmp_path)
    assert data.num_classes == 10
    np.testing.assert_array_equal(data.x_test, _arrays()["x_test"])


def test_load_says_what_shards_are_called(tmp_path):
    np.savez(tmp_path / "train1.npz", x=np.zeros((2, 8, 8), "uint8"))
    assert "train-*.npz" in _refusal(datasets.load, tmp_path)


def test_load_names_the_missing_idx_file(tmp_path):
    _save_idx(tmp_path, _arrays())
    for key in ("x_train", "x_test", "y_test"):
        (tmp_path / _IDX_NAMES[key]).unlink()
    assert _IDX_NAMES["x_train"] in _refusal(datasets.load, tmp_path)


@pytest.mark.parametrize("source", ["cifar", "data.csv"])
def test_load_lists_what_it_accepts(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("1,2\n")
    message = _refusal(datasets.load, source)
    for accepted in ("digits", "mnist", ".npz", "IDX", "folder of images"):
        assert accepted in message


def test_dataset_is_frozen():
    data = datasets.Dataset(*(np.zeros(1),) * 4, class_names=["a", "b"])
    with pytest.raises(AttributeError):
        data.x_train = None


# === hide_labels and split_validation ===


def _counts(y, num_classes):
    return np.bincount(y[y >= 0], minlength=num_classes).tolist()


def test_hidden_labels_are_minus_one_and_the_rest_is_kept():
    y = np.repeat(np.arange(10, dtype="uint8"), 50)
    before = y.copy()
    hidden = datasets.hide_labels(y, labels=0.2, seed=0)
    assert hidden.dtype == np.int32 and hidden.shape == (500,)
    np.testing.assert_array_equal(y, before)
    kept = hidden >= 0
    np.testing.assert_array_equal(hidden[kept], y[kept])
    assert (hidden[~kept] == -1).all()
    assert _counts(hidden, 10) == [10] * 10


def test_twenty_percent_is_the_default():
    y = np.repeat(np.arange(10), 50)
    np.testing.assert_array_equal(
        datasets.hide_labels(y), datasets.hide_labels(y, 100, seed=0)
    )


@pytest.mark.parametrize(
    ("available", "budget", "quotas"),
    [
        ([2, 10, 10], 12, [2, 5, 5]),
        ([1, 2, 100], 50, [1, 2, 47]),
        ([5, 5], 10, [5, 5]),
        ([0, 7, 7], 4, [0, 2, 2]),
    ],
)
def test_classes_are_filled_evenly_as_far_as_they_go(available, budget, quotas):
    y = np.repeat(np.arange(len(available)), available)
    hidden = datasets.hide_labels(y, budget)
    assert _counts(hidden, len(available)) == quotas


def test_the_remainder_goes_to_drawn_classes():
    y = np.repeat(np.arange(4), [2, 9, 9, 9])
    favoured = set()
    for seed in range(20):
        counts = _counts(datasets.hide_labels(y, 9, seed=seed), 4)
        assert counts[0] == 2 and sorted(counts[1:]) == [2, 2, 3]
        favoured.add(counts.index(3))
    assert favoured == {1, 2, 3}


def test_unlabeled_images_stay_unlabeled_and_are_not_counted():
    y = np.repeat([0, 1, -1], [10, 10, 80])
    hidden = datasets.hide_labels(y, 0.5)
    assert _counts(hidden, 2) == [5, 5]
    assert (hidden[20:] == -1).all()


def test_a_share_of_one_keeps_every_label():
    y = np.array([[3], [-1], [1]])
    assert datasets.hide_labels(y, 1.0).tolist() == [3, -1, 1]


def test_hidden_labels_depend_on_the_seed_alone():
    y = np.repeat(np.arange(10), 50)
    first, again, other = (
        datasets.hide_labels(y, 100, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("labels", [np.int64(4), np.float32(0.4)])
def test_numpy_numbers_are_accepted_as_share_and_count(labels):
    hidden = datasets.hide_labels(np.repeat([0, 1], 5), labels)
    assert _counts(hidden, 2) == [2, 2]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (True, "share such as"),
        (np.True_, "share such as"),
        ("0.2", "share such as"),
        (None, "share such as"),
        (0.0, "(0, 1]"),
        (1.5, "(0, 1]"),
        (-0.5, "(0, 1]"),
        (float("nan"), "(0, 1]"),
        (11, "at most 10"),
        (1, "too few for 2 classes"),
        (0, "too few for 2 classes"),
        (-3, "too few for 2 classes"),
        (0.1, "too few for 2 classes"),
    ],
)
def test_an_unfit_number_of_labels_is_refused(labels, reason):
    y = np.repeat([0, 1, -1], 5)
    assert reason in _refusal(datasets.hide_labels, y, labels)


def test_labels_cannot_be_kept_where_there_are_none():
    for labels in (0.5, 0):
        message = _refusal(datasets.hide_labels, np.full(5, -1), labels)
        assert "no image has a label" in message


def test_validation_is_a_stratified_part_of_the_labelled_images():
    y = np.repeat([0, 1, -1], [30, 57, 200])
    x = np.arange(len(y))[:, None, None]
    train, val = datasets.split_validation(x, y, fraction=0.1)
    assert _counts(val[1], 2) == [3, 5]
    assert (val[1] >= 0).all()
    for images, labels in (train, val):
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, y[images[:, 0, 0]])
    together = np.concatenate([train[0], val[0]])[:, 0, 0]
    assert sorted(together) == list(range(len(y)))


def test_validation_counts_do_not_suffer_from_binary_fractions():
    y = np.repeat([0, 1], 100)
    _, (_, y_val) = datasets.split_validation(np.arange(200), y, 0.29)
    assert _counts(y_val, 2) == [29, 29]


@pytest.mark.parametrize("fraction", [0, 0.1])
def test_validation_is_empty_where_labels_are_too_few(fraction):
    x, y = np.zeros((8, 4, 4), "uint8"), np.array([0, 1] + [-1] * 6)
    train, (x_val, y_val) = datasets.split_validation(x, y, fraction)
    assert x_val.shape == (0, 4, 4) and y_val.shape == (0,)
    assert len(train[0]) == len(train[1]) == 8


def test_validation_depends_on_the_seed_alone():
    x, y = np.arange(100), np.repeat([0, 1], 50)
    first, again, other = (
        datasets.split_validation(x, y, seed=seed)[1][0].tolist()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("fraction", [1, -0.1, float("nan")])
def test_a_validation_fraction_out_of_range_is_refused(fraction):
    message = _refusal(
        datasets.split_validation, np.arange(4), np.zeros(4, int), fraction
    )
    assert "fraction" in message


def test_validation_of_images_without_their_labels_is_refused():
    x, y = np.zeros((5, 4, 4)), np.zeros(4, int)
    assert "5 images" in _refusal(datasets.split_validation, x, y)


# === MixedDataset ===


def _mixable(n=100, labelled=20):
    """Images that tell their own index; `labelled` of them are labelled."""
    index = np.arange(n)
    x = np.stack([index % 256, index // 256], axis=1).astype("uint8")
    y = np.full(n, -1)
    drawn = np.random.default_rng(0).choice(n, labelled, replace=False)
    y[drawn] = np.arange(labelled) % 3
    return x.reshape(n, 1, 2), y


def _indices(images):
    images = np.asarray(images)
    return (images[:, 0, 0] + 256 * images[:, 0, 1].astype(int)).tolist()


def _pass(data):
    """Returns the indices of the images of the current epoch's batches."""
    return [_indices(images) for images, _ in data]


def test_every_batch_holds_the_asked_number_of_labels():
    x, y = _mixable()
    data = datasets.MixedDataset(x, y, batch_size=10, labeled_per_batch=4)
    batches = list(data)
    assert len(batches) == len(data) == 14  # 80 unlabelled, 6 a batch
    for images, labels in batches:
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        np.testing.assert_array_equal(labels, y[_indices(images)])
    for _, labels in batches[:-1]:
        assert (labels >= 0).sum() == 4 and len(labels) == 10
    # Of 2 unlabelled images left, with 4 labels to 6.
    assert (batches[-1][1] >= 0).sum() == 1 and len(batches[-1][1]) == 3


@pytest.mark.parametrize(
    ("n", "labelled", "batch_size", "share"),
    [
        (100, 20, 10, 2),
        (100, 25, 10, 2),
        (100, 1, 10, 1),
        (100, 99, 10, 9),
        (60000, 12000, 128, 26),
        (100, 20, 2, 1),
        (100, 20, 500, 100),
    ],
)
def test_the_share_of_labels_is_that_of_the_data_by_default(
    n, labelled, batch_size, share
):
    data = datasets.MixedDataset(*_mixable(n, labelled), batch_size=batch_size)
    assert data.labeled_per_batch == share


@pytest.mark.parametrize(
    ("labelled", "per_batch"), [(20, 4), (20, 1), (7, 9), (1, 5), (90, 3)]
)
def test_an_epoch_is_one_pass_over_the_unlabeled_images(labelled, per_batch):
    x, y = _mixable(100, labelled)
    data = datasets.MixedDataset(x, y, 10, per_batch)
    seen = Counter(index for batch in _pass(data) for index in batch)
    unlabelled = np.flatnonzero(y < 0)
    assert [seen[index] for index in unlabelled] == [1] * len(unlabelled)
    uses = [seen[index] for index in np.flatnonzero(y >= 0)]
    assert max(uses) - min(uses) <= 1


def test_without_unlabeled_images_an_epoch_is_one_pass():
    x, y = _mixable(25, 25)
    data = datasets.MixedDataset(x, y, batch_size=10)
    assert [len(batch) for batch in _pass(data)] == [10, 10, 5]
    assert sorted(sum(_pass(data), [])) == list(range(25))


def test_a_batch_larger_than_the_data_is_the_data():
    x, y = _mixable(100, 20)
    batches = _pass(datasets.MixedDataset(x, y, batch_size=500))
    assert [sorted(batch) for batch in batches] == [list(range(100))]


def test_a_batch_depends_on_seed_epoch_and_index_alone():
    x, y = _mixable()
    data, other = (datasets.MixedDataset(x, y, 10, seed=7) for _ in range(2))
    for index in (3, 0, 3, 9, -1):
        assert _indices(data[index][0]) == _indices(other[index][0])
    assert _pass(datasets.MixedDataset(x, y, 10, seed=8)) != _pass(data)


def test_the_next_epoch_has_another_order():
    x, y = _mixable()
    orders = {"labelled": [], "unlabelled": []}
    for epoch in (0, 1):
        data = datasets.MixedDataset(x, y, 10, initial_epoch=epoch)
        seen = np.concatenate(_pass(data))
        orders["labelled"].append(seen[y[seen] >= 0].tolist())
        orders["unlabelled"].append(seen[y[seen] < 0].tolist())
    for first, second in orders.values():
        assert first != second
        assert sorted(first) == sorted(second)


def test_an_index_out_of_range_is_an_index_error():
    data = datasets.MixedDataset(*_mixable(), batch_size=10)
    with pytest.raises(IndexError):
        data[len(data)]


@pytest.mark.parametrize("writeable", [True, False])
def test_a_split_that_may_overwrite_the_images_is_the_same(writeable):
    x, y = _mixable(2000, 700)
    expected = datasets.split_validation(x.copy(), y, 0.3, seed=2)
    copy = x.copy()
    copy.flags.writeable = writeable
    split = datasets.split_validation(copy, y, 0.3, seed=2, overwrite=True)
    for (images, labels), (others, other_labels) in zip(
        split, expected, strict=True
    ):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)
    assert np.shares_memory(split[0][0], copy) == writeable


def test_images_are_not_copied():
    x, y = _mixable()
    data = datasets.MixedDataset(x, y, batch_size=10)
    x[:] = 0
    assert set(_indices(data[0][0])) == {0}


def test_a_loop_of_ones_own_moves_on_with_begin_and_end():
    x, y = _mixable()
    data = datasets.MixedDataset(x, y, batch_size=10, initial_epoch=4)
    for epoch in (4, 5):
        data.on_epoch_begin()
        reference = datasets.MixedDataset(x, y, 10, initial_epoch=epoch)
        assert _pass(data) == _pass(reference)
        data.on_epoch_end()
    assert data.epoch == 6


def test_an_epoch_that_begins_in_its_middle_has_the_batches_that_are_left():
    x, y = _mixable()
    data = datasets.MixedDataset(x, y, 10, initial_epoch=4, initial_batch=3)
    whole = _pass(datasets.MixedDataset(x, y, 10, initial_epoch=4))
    data.on_epoch_begin()
    assert len(data) == len(whole) - 3
    assert _pass(data) == whole[3:]
    data.on_epoch_end()
    assert _pass(data) == _pass(
        datasets.MixedDataset(x, y, 10, initial_epoch=5)
    )


def test_an_epoch_that_was_not_completed_does_not_count():
    data = datasets.MixedDataset(*_mixable(), batch_size=10)
    data.on_epoch_end()
    list(data)
    data.on_epoch_end()
    data.on_epoch_begin()
    data[len(data) - 1]
    data.on_epoch_end()
    assert data.epoch == 0


def test_a_pickled_copy_gives_the_same_batches():
    data = datasets.MixedDataset(*_mixable(), batch_size=10, initial_epoch=2)
    assert _pass(pickle.loads(pickle.dumps(data))) == _pass(data)


def test_keras_workers_can_be_set():
    data = datasets.MixedDataset(
        *_mixable(), workers=3, use_multiprocessing=True, max_queue_size=5
    )
    assert (data.workers, data.max_queue_size) == (3, 5)
    assert data.use_multiprocessing
    # Other processes draw the batches then.
    data.on_epoch_end()
    data.on_epoch_begin()
    data.on_epoch_end()
    assert data.epoch == 1


@pytest.mark.parametrize(
    ("labelled", "arguments", "reason"),
    [
        (0, {}, "no image has a label"),
        (20, {"labeled_per_batch": 0}, "labeled_per_batch"),
        (20, {"labeled_per_batch": 10}, "leave room"),
        (20, {"labeled_per_batch": 2.0}, "labeled_per_batch"),
        (20, {"batch_size": 1}, "batch_size"),
        (20, {"batch_size": True}, "batch_size"),
        (100, {"batch_size": 0}, "batch_size"),
        (100, {"labeled_per_batch": 4}, "leave it out"),
        (20, {"seed": -1}, "seed"),
        (20, {"initial_epoch": -1}, "initial_epoch"),
        (20, {"initial_batch": -1}, "initial_batch"),
        (20, {"initial_batch": 99}, "initial_batch"),
        (20, {"images_per_epoch": 10}, "all, have a label"),
        (100, {"images_per_epoch": 101}, "all, have a label"),
        (100, {"images_per_epoch": 0}, "images_per_epoch"),
        (100, {"images_per_epoch": 20, "initial_batch": 2}, "initial_batch"),
    ],
)
def test_unfit_arguments_of_mixed_dataset_are_refused(
    labelled, arguments, reason
):
    x, y = _mixable(100, labelled)
    arguments = {"batch_size": 10, **arguments}
    assert reason in _refusal(datasets.MixedDataset, x, y, **arguments)


def test_an_epoch_of_fewer_images_has_others_each_time():
    x, y = _mixable(100, 100)
    data = datasets.MixedDataset(x, y, batch_size=10, images_per_epoch=25)
    epochs = []
    for epoch in range(20):
        data.move_to(epoch)
        assert [len(data[i][1]) for i in range(len(data))] == [10, 10, 5]
        images = np.concatenate([data[i][0] for i in range(len(data))])
        assert len(np.unique(images, axis=0)) == 25
        epochs.append(images)
    assert len(np.unique(np.concatenate(epochs), axis=0)) > 95


def test_mixed_dataset_checks_images_and_labels():
    x, y = _mixable()
    assert "scaled" in _refusal(datasets.MixedDataset, x / 255 / 2, y)
    assert "99 labels" in _refusal(datasets.MixedDataset, x, y[:-1])


class Witness(keras.Model):
    """A classifier that notes which images it is trained on."""

    def __init__(self):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(3)
        self.seen = []

    def call(self, inputs):
        return self.dense(keras.ops.cast(self.flatten(inputs), "float32"))

    def train_step(self, *args):
        images = keras.ops.convert_to_numpy(args[-1][0])
        self.seen.append(_indices(images))
        return super().train_step(*args)


def _witness(build):
    model = Witness()
    # Without jit, for a traced step would note its one tracing.
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=-1
        ),
        metrics=["accuracy"],
        run_eagerly=True,
    )
    if build:
        x, y = _mixable(10, 10)
        model.fit(x, y, verbose=0)
        model.seen.clear()
    return model


# Unbuilt, Keras asks for one batch more; with workers it then mixes epochs.
@pytest.mark.parametrize(
    ("build", "workers"), [(False, 1), (True, 1), (True, 3)]
)
def test_fit_sees_epoch_after_epoch_from_the_initial_one(build, workers):
    x, y = _mixable()
    model = _witness(build)
    data = datasets.MixedDataset(
        x, y, 10, seed=5, initial_epoch=3, workers=workers
    )
    validation = datasets.MixedDataset(*_mixable(30, 30), batch_size=10)
    options = {"shuffle": False, "verbose": 0}
    model.fit(data, epochs=2, validation_data=validation, **options)
    model.evaluate(*_mixable(10, 10), verbose=0)
    model.fit(data, epochs=1, **options)
    expected = []
    for epoch in (3, 4, 5):
        reference = datasets.MixedDataset(x, y, 10, seed=5, initial_epoch=epoch)
        expected += _pass(reference)
    assert model.seen == expected
    assert data.epoch == 6
    assert validation.epoch == 2


def test_fit_that_shuffles_batches_still_sees_whole_epochs():
    x, y = _mixable()
    model = _witness(build=False)
    data = datasets.MixedDataset(x, y, batch_size=10)
    model.fit(data, epochs=2, verbose=0)
    reference = datasets.MixedDataset(x, y, batch_size=10)
    for epoch in (0, 1):
        reference.epoch = epoch
        half = model.seen[epoch * len(data) : (epoch + 1) * len(data)]
        assert sorted(half) == sorted(_pass(reference))


def test_fit_takes_up_again_an_epoch_that_was_broken_off():
    x, y = _mixable()
    model = _witness(build=True)
    data = datasets.MixedDataset(x, y, 10)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    model.fit(data, callbacks=[Stop()], verbose=0, shuffle=False)
    reference = _pass(datasets.MixedDataset(x, y, 10))
    assert model.seen == reference[:1]
    model.seen.clear()
    model.fit(data, verbose=0, shuffle=False)
    assert model.seen == reference


def test_read_image_reads_what_the_folder_loader_reads(tmp_path):
    pixels = np.arange(12, dtype="uint8").reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        datasets.read_image(tmp_path / "a.png"), pixels
    )


@pytest.mark.parametrize("content", [None, b"no image"])
def test_read_image_names_a_file_that_is_no_image(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="a.png"):
        datasets.read_image(path)
