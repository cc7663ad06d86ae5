"""Images that stay on disk, from their files to a run."""

import dataclasses
import io
import json
import pickle
import struct
import time
import warnings
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssgan import callbacks
from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import limits
from keras_ssgan import training
from keras_ssgan.config import Config
from keras_ssgan.datasets import dataset
from keras_ssgan.datasets import image_folder
from keras_ssgan.datasets import shards
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.streams import in_groups
from keras_ssgan.errors import InputError
from keras_ssgan.split import load_split


def _images(n=400, size=8):
    """Images that differ, and class ids."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, size, size), dtype="uint8")
    return x, (np.arange(n) % 10).astype("int32")


def _write_shards(folder, x, y, save=np.savez, count=5):
    folder.mkdir()
    parts = zip(np.array_split(x, count), np.array_split(y, count), strict=True)
    for i, (images, labels) in enumerate(parts):
        save(folder / f"train-{i:05d}.npz", x=images, y=labels)
    save(folder / "test.npz", x=x[:30], y=abs(y[:30]))
    return folder


@pytest.fixture
def shard_folder(tmp_path):
    return _write_shards(tmp_path / "shards", *_images())


@pytest.fixture
def image_folder_path(tmp_path):
    """Two classes of 12 images and 30 without a class, of two sizes."""
    folder = tmp_path / "images"
    x, _ = _images(54)
    for name, images in (
        ("cat", x[:12]),
        ("dog", x[12:24]),
        ("unlabeled", x[24:]),
    ):
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(images):
            picture = Image.fromarray(image)
            if i == 3:
                picture = picture.resize((5, 11))
            picture.save(folder / name / f"{i}.png")
    return folder


def _assert_same_batches(one, other):
    assert len(one) == len(other)
    for batch, expected in zip(one, other, strict=True):
        for array, wanted in zip(batch, expected, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)


# === Shards ===


@pytest.mark.any_backend
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shards_hold_what_was_saved(tmp_path, save):
    x, y = _images(103)
    folder = _write_shards(tmp_path / "shards", x, y, save)
    (images, labels), (x_test, y_test) = datasets.load_shards(folder)
    assert (images.shape, images.dtype) == (x.shape, x.dtype)
    assert len(images) == 103 and images.nbytes == x.nbytes
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(images[:], x)
    rows = [100, 3, -1, 3, 60]
    np.testing.assert_array_equal(images[rows], x[rows])
    np.testing.assert_array_equal(images[y == 3], x[y == 3])
    np.testing.assert_array_equal(x_test, x[:30])
    np.testing.assert_array_equal(y_test, y[:30])
    assert images[[]].shape == (0, 8, 8)
    for row in (103, -104):
        with pytest.raises(IndexError):
            images[[row]]


@pytest.mark.any_backend
def test_colour_images_stream_and_one_channel_is_left_out(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), dtype="uint8")
    y = np.arange(20) % 2
    colour = datasets.load_shards(_write_shards(tmp_path / "3", x, y))
    np.testing.assert_array_equal(colour[0][0][:], x)
    gray = datasets.load_shards(_write_shards(tmp_path / "1", x[..., :1], y))
    np.testing.assert_array_equal(gray[0][0][:], x[..., 0])


@pytest.mark.any_backend
def test_a_shard_without_labels_is_unlabeled(shard_folder):
    x, y = _images()
    np.savez(shard_folder / "train-00001.npz", x=x[80:160])
    (_, labels), _ = datasets.load_shards(shard_folder)
    y[80:160] = -1
    np.testing.assert_array_equal(labels, y)


@pytest.mark.any_backend
@pytest.mark.parametrize("epoch", [0, 3])
def test_batches_from_shards_are_those_from_memory(shard_folder, epoch):
    x, y = _images()
    kept = datasets.hide_labels(y, 40)
    (images, _), _ = datasets.load_shards(shard_folder)
    options = {"batch_size": 16, "labeled_per_batch": 5, "seed": 3}
    options["initial_epoch"] = epoch
    _assert_same_batches(
        datasets.MixedDataset(images, kept, **options),
        datasets.MixedDataset(x, kept, **options),
    )


@pytest.mark.any_backend
def test_batches_are_the_same_without_a_validation_part(shard_folder):
    x, y = _images()
    kept = datasets.hide_labels(y, 100)
    (images, _), _ = datasets.load_shards(shard_folder)
    train, validation = datasets.split_validation(images, kept, 0.2)
    expected, expected_validation = datasets.split_validation(x, kept, 0.2)
    assert isinstance(train[0], datasets.StreamedImages)
    np.testing.assert_array_equal(validation[0], expected_validation[0])
    _assert_same_batches(
        datasets.MixedDataset(*train, batch_size=16),
        datasets.MixedDataset(*expected, batch_size=16),
    )


@pytest.mark.any_backend
def test_a_pickled_stream_gives_the_same_batches(tmp_path):
    x, y = _images()
    kept = datasets.hide_labels(y, 40)
    folder = _write_shards(tmp_path / "shards", x, y, np.savez_compressed)
    (images, _), _ = datasets.load_shards(folder)
    data = datasets.MixedDataset(images, kept, batch_size=16)
    _assert_same_batches(pickle.loads(pickle.dumps(data)), data)


@pytest.mark.any_backend
def test_labeled_images_that_memory_has_no_room_for_are_refused(
    shard_folder, monkeypatch
):
    (x, y), _ = datasets.load_shards(shard_folder)
    y[100:] = -1
    kept = 100 * 64
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * kept - 1)
    with pytest.raises(InputError, match=f"labelled images takes {kept:,}"):
        datasets.MixedDataset(x, y, batch_size=20)
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * kept)
    datasets.MixedDataset(x, y, batch_size=20)
    # Half of them, of which a half would have room.
    monkeypatch.setattr(limits, "machine_memory", lambda: kept - 1)
    with pytest.raises(InputError, match="validation images takes"):
        datasets.split_validation(x, y, 0.5)


@pytest.mark.any_backend
def test_a_baseline_that_memory_has_no_room_for_is_refused_at_once(
    shard_folder, monkeypatch
):
    (x, _), _ = datasets.load_shards(shard_folder)
    settings = Config(str(shard_folder), "compact", labels=1.0, stream=True)
    needed = 2 * len(x) * 64
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * needed - 1)
    load_split(dataclasses.replace(settings, validation=0.0))
    settings = dataclasses.replace(settings, validation=0.0, baseline=True)
    with pytest.raises(InputError, match=f"--baseline takes {needed:,}"):
        load_split(settings)
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * needed)
    load_split(settings)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "shape, taken",
    [
        # Fewer than twice 100.
        ((199, 8, 8), 199),
        ((200, 8, 8), 100),
        ((1000, 8, 8), 100),
        # 64 MiB have room for 64 of a mebibyte.
        ((1000, 1024, 1024), 67),
        ((1000, 1024, 1024, 3), 22),
        # One, where that is larger.
        ((9, 9000, 9000), 1),
    ],
)
def test_statistics_are_taken_of_a_bounded_number_of_images(shape, taken):
    # An array without memory of its own.
    images = np.broadcast_to(np.uint8(0), shape)
    assert len(streams.some(images, 100)) == taken


@pytest.mark.any_backend
def test_labeled_images_are_read_once(shard_folder):
    _, y = _images()
    kept = datasets.hide_labels(y, 40)
    (images, _), _ = datasets.load_shards(shard_folder)
    data = datasets.MixedDataset(images, kept, batch_size=16)
    asked = []
    read = images._read
    images._read = lambda rows: asked.extend(rows.tolist()) or read(rows)
    list(data)
    assert sorted(asked) == np.flatnonzero(kept < 0).tolist()


# === The order of compressed shards ===


@pytest.fixture
def compressed(tmp_path, monkeypatch):
    """Images of 20 compressed shards, shuffled by four shards at a time."""
    x, y = _images()
    monkeypatch.setattr(shards, "GROUP_BYTES", 4 * 20 * 64 + 1)
    folder = _write_shards(
        tmp_path / "shards", x, y, np.savez_compressed, count=20
    )
    return datasets.load_shards(folder)[0][0]


@pytest.mark.any_backend
@pytest.mark.parametrize("labels", [40, 400])
def test_compressed_shards_give_every_image_once_an_epoch(compressed, labels):
    x, y = _images()
    kept = datasets.hide_labels(y, labels)
    once = kept < 0 if labels < 400 else kept >= 0
    data = datasets.MixedDataset(compressed, kept, 16, seed=1)
    drawn = []
    for images, batch_labels in data:
        drawn += _bytes(images[(batch_labels < 0) | (labels == 400)])
    assert sorted(drawn) == sorted(_bytes(x[once]))


def _bytes(images):
    return [image.tobytes() for image in images]


@pytest.mark.any_backend
def test_compressed_shards_are_shuffled_in_groups(compressed):
    rng = np.random.default_rng(0)
    rows = in_groups(compressed, rng.permutation(400), rng)
    groups = rows.reshape(5, 80) // 20
    assert all(len(set(group)) == 4 for group in groups.tolist())
    # The shards of a group are drawn, and mixed with each other.
    assert sorted(map(sorted, map(set, groups.tolist()))) != [
        list(range(i, i + 4)) for i in range(0, 20, 4)
    ]
    assert all((np.diff(group) != 0).mean() > 0.5 for group in groups)


@pytest.mark.any_backend
def test_a_compressed_shard_is_read_once_an_epoch(compressed, monkeypatch):
    _, y = _images()
    data = datasets.MixedDataset(
        compressed, datasets.hide_labels(y, 40), batch_size=16
    )
    compressed._kept._things.clear()
    read = []
    decompress = shards._decompress
    monkeypatch.setattr(
        shards,
        "_decompress",
        lambda shard: read.append(shard.path.name) or decompress(shard),
    )
    list(data)
    assert len(read) == len(set(read)) == 20
    assert len(compressed._kept._things) == 8


@pytest.mark.any_backend
def test_a_small_compressed_set_is_one_group(tmp_path):
    x, y = _images()
    folder = _write_shards(tmp_path / "shards", x, y, np.savez_compressed)
    (images, _), _ = datasets.load_shards(folder)
    kept = datasets.hide_labels(y, 40)
    _assert_same_batches(
        datasets.MixedDataset(images, kept, 16),
        datasets.MixedDataset(x, kept, 16),
    )


# === Shards that are refused ===


def _refusal(folder):
    with pytest.raises(InputError) as caught:
        datasets.load_shards(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(4, int)}, "uint8"),
        ({"x": np.zeros((4, 8, 9), "uint8")}, "store one size"),
        ({"x": np.zeros((4, 64), "uint8")}, "shape"),
        ({"x": np.zeros((0, 8, 8), "uint8")}, "no pixels"),
        ({"x": np.zeros((4, 8, 8), "uint8"), "y": np.zeros(5, int)}, "4 im"),
        ({"x": np.zeros((4, 8, 8), "uint8"), "y": np.zeros(4)}, "integer"),
        ({"x": np.zeros((4, 8, 8), "uint8"), "y": np.full(4, -2)}, "-2"),
        ({"y": np.zeros(4, int)}, "x.npy"),
        ({"x": np.asfortranarray(np.zeros((4, 8, 8), "uint8"))}, "C order"),
        ({"x": np.array([None, 1])}, "no plain array"),
    ],
)
def test_unfit_arrays_in_a_shard_are_refused(shard_folder, arrays, reason):
    np.savez(shard_folder / "train-00001.npz", **arrays)
    message = _refusal(shard_folder)
    assert reason in message and "train-00001.npz" in message


def _npy(shape, dtype="|u1"):
    """The head of an .npy file that says it holds so much."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "shape", [(5, 8, 8), (10**12, 8, 8), (-4, -8, 8), (4, 8, 7), (2**70, 8, 8)]
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_shape_that_its_bytes_belie_is_refused(shard_folder, shape, method):
    path = shard_folder / "train-00001.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", _npy(shape) + bytes(4 * 64))
    assert "train-00001.npz" in _refusal(shard_folder)


@pytest.mark.any_backend
def test_labels_of_a_false_size_are_not_read(shard_folder):
    path = shard_folder / "train-00001.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", _npy((4, 8, 8)) + bytes(4 * 64))
        archive.writestr("y.npy", _npy((10**12,), "<i8") + bytes(32))
    assert "y" in _refusal(shard_folder)


@pytest.mark.any_backend
def test_a_member_that_unpacks_to_too_much_is_refused(
    shard_folder, monkeypatch
):
    monkeypatch.setattr(limits, "MAX_COMPRESSED", 1000)
    x, y = _images(80)
    np.savez_compressed(shard_folder / "train-00001.npz", x=x, y=y)
    assert "unpacks" in _refusal(shard_folder)


@pytest.mark.any_backend
def test_a_damaged_shard_is_read_or_refused_whatever_is_wrong(tmp_path):
    x, y = _images(8, size=2)
    folder = _write_shards(tmp_path / "shards", x, y, count=1)
    path = folder / "train-00000.npz"
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place])
        assert "train-00000.npz" in _refusal(folder)
        flipped = bytes([whole[place] ^ (1 << place % 8)])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        try:
            (images, labels), _ = datasets.load_shards(folder)
        except InputError:
            continue
        assert images[:].shape == (*labels.shape, 2, 2)


@pytest.mark.any_backend
def test_a_member_said_to_begin_elsewhere_is_refused(shard_folder):
    path = shard_folder / "train-00001.npz"
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = struct.pack("<I", 7)
    path.write_bytes(content)
    assert "train-00001.npz" in _refusal(shard_folder)


@pytest.mark.any_backend
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_shard_that_changes_during_a_run_is_noticed(tmp_path, save):
    x, y = _images()
    folder = _write_shards(tmp_path / "shards", x, y, save)
    (images, _), _ = datasets.load_shards(folder)
    path = folder / "train-00002.npz"
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(InputError, match="train-00002.npz cannot be read"):
        images[[200]]
    path.unlink()
    with pytest.raises(InputError, match="train-00002.npz cannot be read"):
        images[[200]]


@pytest.mark.any_backend
def test_shards_need_labeled_test_images_of_their_size(shard_folder):
    x, y = _images(10)
    np.savez(shard_folder / "test.npz", x=x, y=-np.ones(10, int))
    assert "test" in _refusal(shard_folder)
    np.savez(shard_folder / "test.npz", x=x[:, :5], y=y)
    assert "store one size" in _refusal(shard_folder)
    (shard_folder / "test.npz").unlink()
    assert "test*.npz" in _refusal(shard_folder)


# === Folders of images ===


@pytest.mark.any_backend
def test_a_streamed_folder_is_what_it_is_in_memory(image_folder_path):
    (x, y), (x_test, y_test) = datasets.load_image_folder(image_folder_path)
    (images, labels), test = datasets.load_image_folder(
        image_folder_path, stream=True
    )
    assert isinstance(images, datasets.StreamedImages)
    np.testing.assert_array_equal(images[:], x)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(test[0], x_test)
    np.testing.assert_array_equal(test[1], y_test)
    options = {"batch_size": 8, "labeled_per_batch": 3, "seed": 1}
    _assert_same_batches(
        datasets.MixedDataset(images, labels, **options),
        datasets.MixedDataset(x, y, **options),
    )


@pytest.mark.any_backend
def test_a_streamed_folder_resizes(image_folder_path):
    options = {"image_size": (6, 7), "seed": 2, "test_fraction": 0.4}
    (x, _), _ = datasets.load_image_folder(image_folder_path, **options)
    (images, _), _ = datasets.load_image_folder(
        image_folder_path, stream=True, **options
    )
    np.testing.assert_array_equal(images[:], x)


@pytest.mark.any_backend
def test_a_streamed_folder_turns_photos_as_in_memory(tmp_path):
    x, _ = _images(4)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            exif = Image.Exif()
            exif[0x0112] = 6  # Lies on its side.
            Image.fromarray(x[i][:5]).save(
                tmp_path / name / f"{i}.jpg", exif=exif
            )
    (x, _), _ = datasets.load_image_folder(tmp_path)
    (images, _), _ = datasets.load_image_folder(tmp_path, stream=True)
    assert images.shape == x.shape == (4, 8, 5)
    np.testing.assert_array_equal(images[:], x)


@pytest.mark.any_backend
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp"])
def test_listing_a_folder_decodes_nothing(tmp_path, monkeypatch, suffix):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (8, 5)).save(tmp_path / name / f"{i}.{suffix}")

    def load(image):
        raise AssertionError("an image was decoded")

    kind = type(Image.open(tmp_path / "a" / f"0.{suffix}"))
    monkeypatch.setattr(kind, "load", load)
    images, labels, _ = image_folder._list_classes(
        tmp_path, image_size=None, largest=None, least=2
    )
    assert images.shape == (6, 5, 8) and labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert image_folder.estimate_bytes(tmp_path) == 6 * 40


@pytest.mark.any_backend
def test_what_is_no_image_is_skipped_by_a_streamed_folder(image_folder_path):
    (image_folder_path / "cat" / "0.txt").write_text("no image")
    (image_folder_path / "unlabeled" / "2.png").write_bytes(b"neither")
    # Pillow reads it, and it is none of the formats that are let in.
    Image.new("L", (8, 8)).save(image_folder_path / "cat" / "9.sgi")
    with pytest.warns(UserWarning, match="3 unreadable files skipped"):
        (images, labels), _ = datasets.load_image_folder(
            image_folder_path, stream=True
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x, y), _ = datasets.load_image_folder(image_folder_path)
    np.testing.assert_array_equal(images[:], x)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.any_backend
def test_the_next_image_stands_in_for_one_that_breaks_off(image_folder_path):
    (images, labels), _ = datasets.load_image_folder(
        image_folder_path, stream=True
    )
    whole = images[:]
    last = len(images) - 1
    for row, neighbour in ((last, last - 1), (last - 5, last - 4)):
        files = sorted((image_folder_path / "unlabeled").iterdir())
        path = files[row - last - 1]
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
            np.testing.assert_array_equal(images[[row]][0], whole[neighbour])
    for file in files:
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError), pytest.warns(UserWarning):
        images[[last]]


@pytest.mark.any_backend
def test_the_test_set_of_a_streamed_folder_is_bounded(
    image_folder_path, monkeypatch
):
    monkeypatch.setattr(image_folder, "_TEST_BYTES", 2 * 64)
    _, (x_test, y_test) = datasets.load_image_folder(
        image_folder_path, test_fraction=0.5, stream=True
    )
    assert y_test.tolist() == [0, 1] and len(x_test) == 2


def _break_off(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.fixture
def bounded_folder(image_folder_path, monkeypatch):
    """A folder whose test set is bounded, with images that break off."""
    monkeypatch.setattr(image_folder, "_TEST_BYTES", 6 * 64)
    for name in ("cat/1", "dog/5", "unlabeled/2"):
        _break_off(image_folder_path / f"{name}.png")
    return image_folder_path


@pytest.mark.any_backend
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(8))
def test_a_test_set_does_not_depend_on_how_images_are_read(
    bounded_folder, seed
):
    options = {"test_fraction": 0.5, "seed": seed}
    (x, y), test = datasets.load_image_folder(bounded_folder, **options)
    (images, _), streamed_test = datasets.load_image_folder(
        bounded_folder, stream=True, **options
    )
    np.testing.assert_array_equal(streamed_test[0], test[0])
    np.testing.assert_array_equal(streamed_test[1], test[1])
    assert 2 <= len(test[1]) <= 6
    whole = len(y) + len(test[1])
    assert whole == 54 - 3
    # Not even in place of a damaged one is a test image trained on.
    tested = set(_bytes(test[0]))
    assert tested.isdisjoint(_bytes(x))
    assert tested.isdisjoint(_bytes(images[:]))


@pytest.mark.any_backend
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("damaged", [1, 9, 12])
def test_a_damaged_test_image_is_drawn_again(
    image_folder_path, stream, damaged
):
    names = [f"{i}.png" for i in range(12)]
    for name in names[:damaged]:
        _break_off(image_folder_path / "dog" / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if damaged == 12:
            with pytest.raises(InputError, match="dog has (no|1) readable"):
                datasets.load_image_folder(image_folder_path, stream=stream)
            return
        (_, y), (x_test, y_test) = datasets.load_image_folder(
            image_folder_path, stream=stream
        )
    assert len(x_test) == len(y_test) and set(y_test.tolist()) == {0, 1}
    assert (y == 1).any()
    skipped = [str(w.message) for w in caught if "skipped " in str(w.message)]
    assert len(set(skipped)) == len(skipped)
    if not stream:
        assert len(skipped) == damaged
        assert len(y) + len(y_test) == 54 - damaged


@pytest.mark.any_backend
def test_a_streamed_test_set_has_to_fit_into_memory(
    image_folder_path, monkeypatch
):
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * 4 * 64 - 1)
    with pytest.raises(InputError, match="bytes of memory"):
        datasets.load_image_folder(image_folder_path, stream=True)
    monkeypatch.setattr(limits, "machine_memory", lambda: 2 * 4 * 64)
    datasets.load_image_folder(image_folder_path, stream=True)
    with pytest.raises(InputError, match="bytes of memory"):
        datasets.load_image_folder(image_folder_path)


# === What streams ===


@pytest.mark.any_backend
def test_large_sets_stream_by_themselves(
    shard_folder, image_folder_path, monkeypatch
):
    for folder, size in ((shard_folder, 400 * 64), (image_folder_path, 3456)):
        monkeypatch.setattr(dataset, "STREAM_BYTES", size)
        assert isinstance(datasets.load(folder).x_train, np.ndarray)
        streamed = datasets.load(folder, stream=True)
        assert isinstance(streamed.x_train, datasets.StreamedImages)
        monkeypatch.setattr(dataset, "STREAM_BYTES", size - 1)
        assert isinstance(
            datasets.load(folder).x_train, datasets.StreamedImages
        )
        loaded = datasets.load(folder, stream=False)
        assert isinstance(loaded.x_train, np.ndarray)
        assert loaded.class_names == streamed.class_names
        np.testing.assert_array_equal(loaded.x_train, streamed.x_train[:])


@pytest.mark.any_backend
def test_what_cannot_stream_says_so():
    with pytest.raises(InputError, match="digits cannot be streamed"):
        datasets.load("digits", stream=True)


# === Training ===


class Recorder(keras.Model):
    """A classifier that notes the batches that it is trained on."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(10)
        self.batches = []

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        return self.dense(keras.ops.reshape(x, (-1, 64)))

    def train_step(self, *args):
        images, labels = args[-1]
        self.batches.append(
            tuple(keras.ops.convert_to_numpy(a) for a in (images, labels))
        )
        return super().train_step(*args)


def _recorder():
    """A `Recorder`, built, so that Keras does not draw a batch to build it."""
    model = Recorder()
    # Without jit, for a traced step would note its one tracing.
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=-1
        ),
        run_eagerly=True,
    )
    x, y = _images(10)
    model.fit(x, y, verbose=0)
    model.batches.clear()
    return model


def test_fit_with_readers_sees_what_it_sees_in_memory(shard_folder):
    x, y = _images()
    kept = datasets.hide_labels(y, 40)
    (images, _), _ = datasets.load_shards(shard_folder)
    model = _recorder()
    data = datasets.MixedDataset(images, kept, 32, seed=1, workers=4)
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    expected = []
    for epoch in range(3):
        expected += datasets.MixedDataset(
            x, kept, 32, seed=1, initial_epoch=epoch
        )
    _assert_same_batches(model.batches, expected)


@pytest.mark.any_backend
def test_the_waiting_share_is_counted_from_step_to_batch(monkeypatch):
    class Data:
        made_at = {0: 13.0, 1: 14.0, 2: 30.0}

    times = iter([10.0, 20.0, 25.0, 35.0])
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(times))
    waiting = callbacks.WaitingShare(Data())
    assert waiting.share is None
    waiting.on_epoch_begin(0)
    for batch in range(3):
        waiting.on_train_batch_end(batch)
    # 3 s for the first batch, none for the second, 5 s for the third.
    assert waiting.share == (3 + 5) / 25


@pytest.mark.any_backend
def test_batches_are_timed_under_the_steps_of_a_fit_that_resumes():
    x, y = _images(40)
    y[20:] = -1
    data = datasets.MixedDataset(x, y, batch_size=8, initial_batch=2)
    data[0]
    assert data.made_at.keys() == {0}


def test_a_slow_dataset_is_seen_to_be_waited_for():
    class Slow(datasets.MixedDataset):
        def __getitem__(self, index):
            if self._epoch_begun:
                time.sleep(0.2)
            return super().__getitem__(index)

    x, y = _images(40)
    y[20:] = -1
    model = _recorder()
    shares = []
    for kind in (datasets.MixedDataset, datasets.MixedDataset, Slow):
        data = kind(x, y, batch_size=8)
        waiting = callbacks.WaitingShare(data)
        model.fit(data, callbacks=[waiting], shuffle=False, verbose=0)
        shares.append(waiting.share)
    # The first compiles.
    assert 0 <= shares[1] < shares[2] < 1


@pytest.mark.any_backend
def test_a_shard_that_is_gone_ends_a_run_with_one_line(
    shard_folder, tmp_path, capsys, monkeypatch
):
    path = shard_folder / "train-00002.npz"

    class Unlinking(callbacks.SampleGrid):
        def on_epoch_begin(self, epoch, logs=None):
            path.unlink()

    monkeypatch.setattr(training.callbacks, "SampleGrid", Unlinking)
    arguments = ["train", "--dataset", str(shard_folder), "--preset", "tiny"]
    arguments += ["--labels", "60", "--epochs", "1", "--batch-size", "8"]
    arguments += ["--stream", "--quiet", "--output", str(tmp_path / "run")]
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"keras-ssgan: {path} cannot be read any more")
    assert message.count("\n") == 1


@pytest.mark.any_backend
def test_a_run_from_shards_is_the_run_from_memory(shard_folder, tmp_path):
    arguments = ["train", "--dataset", str(shard_folder), "--preset", "tiny"]
    arguments += ["--labels", "60", "--epochs", "2", "--batch-size", "40"]
    arguments += ["--baseline", "--quiet", "--output"]
    runs = {}
    for flag in ("--stream", "--no-stream"):
        folder = tmp_path / flag
        assert cli.main([*arguments, str(folder), flag]) == 0
        runs[flag] = json.loads((folder / "metrics.json").read_text())
        del runs[flag]["baseline"]["seconds"]
    assert 0 <= runs["--stream"]["waiting_share"] < 1
    assert runs["--no-stream"]["waiting_share"] is None
    for name in ("test", "baseline", "images"):
        assert runs["--stream"][name] == runs["--no-stream"][name]
    histories = [(tmp_path / flag / "history.csv").read_text() for flag in runs]
    assert histories[0] == histories[1]


@pytest.mark.any_backend
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_streamed_run_is_evaluated_on_its_own_test_images(
    bounded_folder, tmp_path, capsys
):
    run = str(tmp_path / "run")
    arguments = ["train", "--dataset", str(bounded_folder), "--preset", "tiny"]
    arguments += ["--epochs", "1", "--batch-size", "30", "--stream", "--quiet"]
    assert cli.main([*arguments, "--output", run]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", run, "--json", "--quiet"]) == 0
    tested = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    figures = json.loads(capsys.readouterr().out)
    # Which `confusion.png` of the run shows.
    del figures["confusion"]
    assert figures == tested
