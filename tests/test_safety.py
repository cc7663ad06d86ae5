"""Hostile files, one by one: refused in one line, before memory is taken."""

import functools
import gzip
import io
import json
import math
import os
import resource
import struct
import sys
import tracemalloc
import warnings
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from conftest import build_tiny_gan
from conftest import save_shards
from PIL import Image
from PIL import TiffImagePlugin
from PIL import TiffTags

from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import limits
from keras_ssgan import runs
from keras_ssgan import saving
from keras_ssgan import text_files
from keras_ssgan.config import read_config
from keras_ssgan.errors import InputError
from keras_ssgan.history import read_history

pytestmark = pytest.mark.any_backend

MEGABYTE = 1 << 20
OPENED = []


class Tripwire:
    """Writes down that its pickle was opened."""

    def __reduce__(self):
        return (trip, ())


def trip():
    OPENED.append("opened")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def assert_refused(function, *arguments, match, megabytes=64):
    """One line of `InputError`, and no more memory than is said.

    Resident memory is looked at, and what Python allocates, touched or not.
    """
    before = peak()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match) as error:
            function(*arguments)
        _, allocated = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(error.value).splitlines()) == 1
    assert allocated < megabytes * MEGABYTE
    assert peak() - before < megabytes * MEGABYTE


# === Datasets ===


def write_idx(folder, images):
    folder.mkdir(exist_ok=True)
    labels = struct.pack(">HBBI", 0, 8, 1, 1) + b"\0"
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def idx_header(*shape):
    return struct.pack(">HBBIII", 0, 8, 3, *shape)


def test_idx_that_declares_a_terabyte_is_refused(tmp_path):
    folder = write_idx(tmp_path, idx_header(1 << 20, 1 << 10, 1 << 10) + b"0")
    assert_refused(datasets.load_idx, folder, match="unpack to 1,099,511,627")


def test_gzip_bomb_is_refused_without_unpacking_it(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 96 * MEGABYTE)
    size = limits.EXPANSION_FLOOR + (1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = packer.compress(idx_header(size >> 10, 32, 32))
    for _ in range(size >> 20):
        content += packer.compress(bytes(1 << 20))
    content += packer.flush()
    folder = write_idx(tmp_path, content)
    assert_refused(datasets.load_idx, folder, match="bytes unpack to")


def test_a_small_idx_header_before_a_large_payload_is_refused(tmp_path):
    content = gzip.compress(idx_header(1, 2, 2) + bytes(100 * MEGABYTE))
    folder = write_idx(tmp_path, content)
    assert_refused(datasets.load_idx, folder, match="more than", megabytes=16)


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path):
    folder = write_idx(tmp_path, b"")
    path = folder / "train-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(path)
    os.mkfifo(tmp_path / "config.json")
    os.mkfifo(tmp_path / "pipe.keras")
    assert_refused(datasets.load_idx, folder, match="lacks train-images")
    assert_refused(datasets.read_image, path, match="no regular file")
    assert_refused(read_config, tmp_path, match="no regular file")
    assert_refused(
        saving.load_model, tmp_path / "pipe.keras", match="no regular file"
    )


def test_a_pipe_in_place_of_a_shard_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "train-0.npz")
    assert_refused(datasets.load_shards, tmp_path, match="no regular file")


def npz_arrays():
    return {
        "x_train": np.zeros((2, 4, 4), "uint8"),
        "y_train": np.arange(2),
        "x_test": np.zeros((2, 4, 4), "uint8"),
        "y_test": np.arange(2),
    }


def npy(header_shape, payload, descr="'|u1'"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': "
    header = f"{header}{header_shape}, }}\n".encode()
    length = struct.pack("<H", len(header))
    return b"\x93NUMPY\x01\x00" + length + header + payload


def write_npz(path, **members):
    np.savez(
        path, **{n: a for n, a in npz_arrays().items() if n not in members}
    )
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_a_pickle_in_an_npz_is_not_opened(tmp_path):
    arrays = npz_arrays()
    arrays["x_train"] = np.array([Tripwire()], dtype=object)
    np.savez(tmp_path / "data.npz", **arrays)
    # The wire trips where pickles are let in.
    with np.load(tmp_path / "data.npz", allow_pickle=True) as archive:
        archive["x_train"]
    assert OPENED == ["opened"]
    OPENED.clear()
    assert_refused(
        datasets.load, tmp_path / "data.npz", match="no readable .npz"
    )
    assert OPENED == []


def test_an_npz_header_that_declares_a_terabyte_is_refused(tmp_path):
    content = npy((1 << 20, 1 << 10, 1 << 10), b"\0" * 16)
    path = write_npz(tmp_path / "data.npz", x_train=content)
    assert_refused(datasets.load_npz, path, match="no readable .npz")


def test_zip_bomb_in_an_npz_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 96 * MEGABYTE)
    size = limits.EXPANSION_FLOOR + (1 << 20)
    path = write_npz(tmp_path / "data.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in npz_arrays().items():
            with archive.open(f"{name}.npy", "w") as member:
                if name != "x_test":
                    np.save(member, array)
                    continue
                member.write(npy((size >> 10, 32, 32), b""))
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
    assert path.stat().st_size < 8 * MEGABYTE
    assert_refused(datasets.load_npz, path, match="no readable .npz")


def test_arrays_beyond_the_memory_of_the_machine_are_refused(
    tmp_path, monkeypatch
):
    np.savez(tmp_path / "data.npz", **npz_arrays())
    datasets.load_npz(tmp_path / "data.npz")
    monkeypatch.setattr(limits, "machine_memory", lambda: 1000)
    assert_refused(
        datasets.load_npz, tmp_path / "data.npz", match="bytes of memory"
    )


def add_members(path, count=25_000):
    """Fills the list of an archive's members, which is read as it opens."""
    with zipfile.ZipFile(path, "a") as archive:
        for index in range(count):
            archive.writestr(f"{index} of {count}", b"")


def test_an_npz_of_endless_members_is_refused(tmp_path):
    path = write_npz(tmp_path / "data.npz")
    add_members(path, count=10)
    datasets.load_npz(path)
    add_members(path)
    assert_refused(datasets.load_npz, path, match="no readable .npz")


def test_a_shard_of_endless_members_is_refused(tmp_path):
    save_shards(tmp_path, npz_arrays())
    datasets.load_shards(tmp_path)
    add_members(tmp_path / "test-0.npz")
    assert_refused(datasets.load_shards, tmp_path, match="too many files")


@pytest.mark.parametrize(
    "memory, stream, match",
    [
        # 20 labels of 4 bytes, 10 test and 20 training images of 16.
        (2 * 79, True, "y takes 80 bytes of memory"),
        (2 * 159, True, "takes 160 bytes of memory"),
        (2 * 160, True, None),
        (2 * 479, False, "takes 480 bytes of memory"),
        (2 * 480, False, None),
    ],
)
def test_shards_beyond_the_memory_of_the_machine_are_refused(
    tmp_path, monkeypatch, memory, stream, match
):
    images, labels = np.zeros((10, 4, 4), "uint8"), np.arange(10) % 2
    for name in ("train-0", "train-1", "test-0"):
        np.savez(tmp_path / f"{name}.npz", x=images, y=labels)
    monkeypatch.setattr(limits, "machine_memory", lambda: memory)
    if match is None:
        assert len(datasets.load(tmp_path, stream=stream).x_train) == 20
    else:
        assert_refused(datasets.load, tmp_path, stream, match=match)


@pytest.mark.parametrize("name", ["x", "y"])
def test_zip_bomb_in_a_shard_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 1000)
    save_shards(tmp_path, npz_arrays())
    arrays = {"x": np.arange(1 << 16) % 256, "y": np.arange(1 << 16) % 7}
    arrays[name][:] = 0
    np.savez_compressed(
        tmp_path / "train-0.npz",
        x=arrays["x"].astype("uint8").reshape(-1, 1, 1),
        y=arrays["y"],
    )
    assert_refused(datasets.load_shards, tmp_path, match="bytes unpack to")


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    "method, match",
    [
        (zipfile.ZIP_DEFLATED, "train-0.npz .*CRC"),
        # Of these zipfile unpacks whatever follows from the bytes read.
        (zipfile.ZIP_BZIP2, "does not compress so"),
        (zipfile.ZIP_LZMA, "does not compress so"),
    ],
)
def test_no_more_of_a_shard_is_unpacked_than_it_says(
    tmp_path, name, method, match
):
    save_shards(tmp_path, npz_arrays())
    members = {
        "x": npy((4096, 4, 4), bytes(4096 * 16)),
        "y": npy((4096,), bytes(4096 * 8), "'<i8'"),
    }
    said = len(members[name])
    members[name] += bytes(128 * MEGABYTE)
    sizes = struct.pack("<I", len(members[name])), struct.pack("<I", said)
    path = tmp_path / "train-0.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    del members, content
    assert path.read_bytes().count(sizes[0]) == 2
    path.write_bytes(path.read_bytes().replace(*sizes))

    def read():
        (images, _), _ = datasets.load_shards(tmp_path)
        images[:]

    assert_refused(read, match=match)


# === Images ===


def png(width, height, rows=b""):
    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("read", [datasets.read_image, datasets.read_digit])
@pytest.mark.parametrize("size", [(100_000, 100_000), (1 << 26, 2)])
def test_png_of_too_many_pixels_is_refused(tmp_path, read, size):
    (tmp_path / "big.png").write_bytes(png(*size))
    assert_refused(read, tmp_path / "big.png", match="pixels")


def test_a_tile_of_too_many_pixels_is_refused(tmp_path):
    """It would be read whole, for an image of 16x16."""
    tags = {
        TiffImagePlugin.IMAGEWIDTH: 16,
        TiffImagePlugin.IMAGELENGTH: 16,
        TiffImagePlugin.BITSPERSAMPLE: 8,
        TiffImagePlugin.COMPRESSION: 8,
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 1,
        TiffImagePlugin.SAMPLESPERPIXEL: 1,
        TiffImagePlugin.TILEWIDTH: 41_600,
        TiffImagePlugin.TILELENGTH: 41_600,
        TiffImagePlugin.TILEOFFSETS: 8,
        TiffImagePlugin.TILEBYTECOUNTS: 8,
    }
    directory = b"".join(
        struct.pack("<HHII", tag, TiffTags.LONG, 1, value)
        for tag, value in sorted(tags.items())
    )
    path = tmp_path / "tile.tif"
    path.write_bytes(
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + bytes(4)
    )
    with Image.open(path) as image:
        assert image.size == (16, 16)
    assert_refused(datasets.read_image, path, match="41600x41600 pixels")


def test_a_huge_image_in_a_folder_is_skipped(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(2):
            path = tmp_path / name / f"{index}.png"
            Image.new("L", (4, 4)).save(path)
    (tmp_path / "cat" / "big.png").write_bytes(png(100_000, 100_000))
    with pytest.warns(UserWarning, match="big.png"):
        (x_train, _), _ = datasets.load_image_folder(tmp_path)
    assert x_train.shape[1:] == (4, 4)


def test_postscript_is_not_given_to_ghostscript(tmp_path):
    (tmp_path / "image.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
        b"showpage\n"
    )
    with Image.open(tmp_path / "image.png") as image:
        assert image.format == "EPS"
    assert_refused(
        datasets.read_image, tmp_path / "image.png", match="format is unknown"
    )


def test_of_many_frames_one_is_read(tmp_path):
    frames = [Image.new("L", (500, 500), level) for level in range(200)]
    frames[0].save(
        tmp_path / "many.gif", save_all=True, append_images=frames[1:]
    )
    del frames
    before = peak()
    assert datasets.read_image(tmp_path / "many.gif").shape == (500, 500)
    assert peak() - before < 16 * MEGABYTE


def test_links_in_an_image_folder_are_followed_to_files_alone(tmp_path):
    good = tmp_path / "elsewhere.png"
    Image.new("L", (4, 4)).save(good)
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(3):
            (folder / f"{index}.png").symlink_to(good)
        (folder / "zero.png").symlink_to("/dev/zero")
        (folder / "loop").symlink_to(folder)
    (x_train, _), (x_test, _) = datasets.load_image_folder(tmp_path / "images")
    assert len(x_train) + len(x_test) == 6


# === Folders of runs ===


@pytest.mark.parametrize(
    "content",
    [
        "[" * 10_000,
        "[" * 10_000 + "]" * 10_000,
        '{"seed": ' * 150 + "0" + "}" * 150,
        '{"seed": NaN}',
        '{"seed": 1e400}',
        '{"seed": true}',
        '{"seed": ' + "9" * 5000 + "}",
        '{"dataset": ["digits"]}',
        # As a dict it would be built by Keras.
        '{"dtype": {"class_name": "Lambda", "config": {}, "module": null}}',
        '{"preset": {}}',
        '"digits"',
    ],
    ids=range(11),
)
def test_a_hostile_config_is_damaged(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert_refused(read_config, tmp_path, match="config.json is damaged")


def test_a_dataset_on_another_machine_has_to_be_named_by_the_user(tmp_path):
    settings = {"dataset": "//server/share/data.npz", "preset": "compact"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    match = "if you trust it, give --dataset //server/share/data.npz"
    assert_refused(read_config, tmp_path, match=match)
    config = read_config(tmp_path, dataset="digits")
    assert (config.dataset, config.preset) == ("digits", "compact")


def test_json_of_endless_objects_is_not_parsed():
    with pytest.raises(ValueError, match="too many objects and lists"):
        text_files.parse_json("[" + "[]," * limits.MAX_JSON_CONTAINERS + "0]")


def test_a_batch_size_does_not_get_to_fill_the_memory():
    images, labels = np.zeros((30, 2, 2), "uint8"), np.arange(30) % 10
    labels[10:] = -1
    # Each of 20 batches would repeat the labelled images to fill itself.
    mix = functools.partial(
        datasets.MixedDataset,
        batch_size=10**12,
        labeled_per_batch=10**12 - 1,
    )
    assert_refused(mix, images, labels, match="lower labeled_per_batch")


@pytest.mark.parametrize("line", ["0\n", "\n", "0,0,0\n", "," * 100 + "\n"])
def test_csv_of_endless_cells_is_not_read_to_its_end(line):
    with pytest.raises(ValueError, match="too many cells"):
        text_files.parse_csv_rows(line * (limits.MAX_CSV_CELLS + 1))


def test_huge_json_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_JSON_BYTES", 1000)
    (tmp_path / "config.json").write_text(" " * 1000 + "{}")
    assert_refused(read_config, tmp_path, match="more than 1,000 byt")
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        text_files.parse_json(" " * 1001)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"class_names": "ab"}',
        '{"class_names": ["cat"]}',
        '{"class_names": ["cat", 3]}',
        '{"class_names": ["cat", "\\u001b[2J"]}',
        '{"class_names": ["cat", "\\udc80"]}',
        "{",
    ],
)
def test_hostile_metrics_are_damaged(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    assert_refused(runs.load_class_names, tmp_path, 2, match="damaged")


@pytest.mark.parametrize(
    "members",
    [
        {"labels.txt": b"cat"},
        {"labels.txt": b"cat\n\xff\n"},
        {"labels.txt": b"cat\n\x1b[2J\n"},
        {"labels.txt": b"cat\n" * 6 * MEGABYTE},
        {"labels.txt": b"cat\ndog\n", "images.json": b"[]"},
        {"labels.txt": b"cat\ndog\n", "images.json": b"{"},
        None,
    ],
)
def test_hostile_facts_of_a_model_are_damaged(tmp_path, members):
    path = tmp_path / "model.keras"
    path.write_bytes(b"none")
    if members is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    assert_refused(runs.load_class_names, path, 2, match="damaged")


def test_a_zip_bomb_of_class_names_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("labels.txt", bytes(200 * MEGABYTE))
    assert_refused(runs.load_class_names, path, 2, match="is compressed")


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1\n", b"a\nx\n", b"\xff\xfe", b'"' + b"a" * 200_000 + b"\n1\n"],
    ids=["short", "word", "bytes", "field"],
)
def test_a_hostile_history_is_damaged(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    assert_refused(read_history, tmp_path, match="damaged")


# === Models ===


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A good classifier, and the members of its archive."""
    path = tmp_path_factory.mktemp("model") / "good.keras"
    build_tiny_gan().classifier().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return path, members


@pytest.fixture
def write_model(model_file, tmp_path):
    """Writes the good model with other members, or another layer in it."""

    def write(members=(), layer=None, compression=zipfile.ZIP_STORED):
        content = {**model_file[1], **dict(members)}
        if layer is not None:
            config = json.loads(content["config.json"])
            layers = config["config"]["layers"]
            # In place of the last one, with its name and its inputs.
            layers[-1] = {**layers[-1], **layer}
            for node in layers[-1]["inbound_nodes"]:
                node["kwargs"] = {}
            content["config.json"] = json.dumps(config)
        path = tmp_path / "hostile.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return path

    return write


def layer_config(module, name, registered_name=None, /, **config):
    return {
        "module": module,
        "class_name": name,
        "config": {"name": "probabilities", **config},
        "registered_name": registered_name,
    }


def function(module, name):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def test_a_good_model_loads_as_keras_loads_it(model_file):
    path, _ = model_file
    ours, theirs = saving.load_model(path), keras.saving.load_model(path)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_compiled_with_an_optimizer_of_keras_loads(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.save(tmp_path / "plain.keras")
    loaded = saving.load_model(tmp_path / "plain.keras")
    assert type(loaded.optimizer) is type(model.optimizer)


def test_a_lambda_layer_is_refused_whatever_is_set_globally(tmp_path):
    marker = tmp_path / "executed"
    inputs = keras.Input((2,))
    command = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    outputs = keras.layers.Lambda(
        eval(f"lambda x: (x, {command})[0]"), output_shape=(2,)
    )(inputs)
    path = tmp_path / "lambda.keras"
    keras.Model(inputs, outputs).save(path)
    marker.unlink(missing_ok=True)
    keras.config.enable_unsafe_deserialization()
    try:
        assert_refused(
            saving.load_model, path, match="Lambda is not among what"
        )
        assert not marker.exists()
        # The payload is a live one.
        keras.saving.load_model(path).predict(np.ones((1, 2)), verbose=0)
        assert marker.exists()
    finally:
        # There is no public way back.
        keras.src.backend.common.global_state.set_global_attribute(
            "safe_mode_saving", None
        )


@pytest.mark.parametrize(
    "layer",
    [
        layer_config("keras.layers", "TFSMLayer", filepath="/nowhere"),
        layer_config("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
        layer_config("keras.layers", "TorchModuleWrapper", lazy="x"),
        layer_config("os", "system"),
        layer_config("stranger.module", "Layer"),
        layer_config("keras.src.utils.file_utils", "get_file"),
        layer_config("keras.layers", "Activation") | {"class_name": "function"},
        layer_config(
            "keras.layers",
            "Activation",
            activation=function("keras.utils", "get_file"),
        ),
        layer_config(
            "keras.layers",
            "Activation",
            activation=function("builtins", "eval"),
        ),
        layer_config(
            "keras.layers",
            "Activation",
            activation=function("keras.saving", "load_model"),
        ),
        layer_config(
            "keras.layers",
            "Activation",
            activation={"class_name": "__lambda__", "config": {"value": ""}},
        ),
        # Checked under one name, it would be looked up under another.
        layer_config("keras.layers", "Softmax", "keras_ssgan>RandomAffine"),
        {"class_name": "Lambda", "config": {"function": ["", None, None]}},
    ],
    ids=range(13),
)
def test_what_is_not_of_a_known_class_is_refused(write_model, layer):
    imported = set(sys.modules)
    path = write_model(layer=layer)
    assert_refused(saving.load_model, path, match="among what|is no |no name")
    assert set(sys.modules) - imported == set()


def test_a_class_that_the_user_registered_is_his_decision(tmp_path):
    @keras.saving.register_keras_serializable("test_safety")
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = keras.Input((2,))
    keras.Model(inputs, Doubled()(inputs)).save(tmp_path / "own.keras")
    outputs = saving.load_model(tmp_path / "own.keras")(np.ones((1, 2)))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), [[2, 2]])
    del keras.saving.get_custom_objects()["test_safety>Doubled"]
    assert_refused(
        saving.load_model, tmp_path / "own.keras", match="registered first"
    )


def test_weights_that_are_declared_and_not_there_take_no_memory(write_model):
    huge = layer_config("keras.layers", "Dense", units=10**10)
    path = write_model(layer=huge)
    assert_refused(saving.load_model, path, match="declares 1[0-9,]* weights")
    # Nothing of it is left to be made later.
    with keras.StatelessScope():
        pass


def test_a_layer_that_gives_too_much_is_refused(write_model):
    huge = layer_config("keras.layers", "RepeatVector", n=10**12)
    path = write_model(layer=huge)
    assert_refused(saving.load_model, path, match="gives [0-9,]* values")


def test_models_that_call_each_other_endlessly_are_refused(write_model):
    model = layer_config("keras.layers", "ReLU")
    for _ in range(30):
        model = layer_config(
            "keras.src.models.functional",
            "Functional",
            layers=[{**model, "inbound_nodes": [{}, {}]}],
        )
    path = write_model(layer=model)
    assert_refused(saving.load_model, path, match="call each other")


def test_arrays_in_a_config_have_a_dtype_of_numbers(write_model):
    array = {"value": ["a"] * 100, "dtype": "S1000000000"}
    layer = layer_config(
        "keras.layers",
        "Rescaling",
        scale={"class_name": "__numpy__", "config": array},
    )
    path = write_model(layer=layer)
    assert_refused(saving.load_model, path, match="dtype of numbers")


@pytest.mark.parametrize(
    "metrics",
    [
        [layer_config("keras.metrics", "AUC", num_thresholds=10**9)],
        [layer_config("keras.metrics", "AUC", num_thresholds=math.nan)],
        # Each of them a matrix of 2000 x 2000.
        [layer_config("keras.metrics", "MeanIoU", num_classes=2000)] * 5,
    ],
)
def test_metrics_do_not_get_to_make_huge_arrays(
    write_model, model_file, metrics
):
    config = json.loads(model_file[1]["config.json"])
    config["compile_config"] = {"metrics": metrics}
    path = write_model({"config.json": json.dumps(config)})
    assert_refused(saving.load_model, path, match="metrics are too large")


def test_a_mean_that_would_be_repeated_is_refused(write_model):
    layer = layer_config(
        "keras.layers", "Normalization", mean=0.5, variance=1.0
    )
    path = write_model(layer=layer)
    assert_refused(saving.load_model, path, match="Normalization has a mean")


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "assets/../../evil", "a\\..\\..\\evil"]
)
def test_a_member_outside_of_the_archive_is_refused(
    write_model, tmp_path, name
):
    path = write_model({name: "x"})
    assert_refused(saving.load_model, path, match="a model has no file")
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.keras"]


def test_zip_bomb_in_a_model_is_refused(write_model):
    path = write_model(
        {"model.weights.h5": bytes(200 * MEGABYTE)},
        compression=zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < MEGABYTE
    assert_refused(saving.load_model, path, match="is compressed")


def test_a_model_beyond_the_memory_of_the_machine_is_not_read(
    write_model, monkeypatch
):
    path = write_model()
    # Zeros before an archive are no part of it, and no blocks of the disk.
    with path.open("r+b") as file:
        content = file.read()
        file.seek(1 << 32)
        file.write(content)
    monkeypatch.setattr(limits, "machine_memory", lambda: 1 << 32)
    assert_refused(saving.load_model, path, match="larger machine")


def test_a_model_of_endless_members_is_refused(write_model):
    path = write_model()
    add_members(path)
    assert_refused(saving.load_model, path, match="too many files")


def weights_with(model_file, change):
    content = io.BytesIO(model_file[1]["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    return {"model.weights.h5": content.getvalue()}


def external_link(file):
    file["stranger"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file):
    file["stranger"] = h5py.SoftLink("/layers")


def cycle(file):
    file["layers/again"] = file["layers"]


def external_data(file):
    file.create_dataset(
        "stranger", (9,), "u1", external=[("/etc/hostname", 0, 9)]
    )


def virtual_data(file):
    layout = h5py.VirtualLayout((9,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "data", (9,))
    file.create_virtual_dataset("stranger", layout)


def huge_chunks(file):
    file.create_dataset("stranger", (1 << 40,), "f4", chunks=(1 << 20,))


def huge_unwritten(file):
    file.create_dataset("stranger", (1 << 40,), "f4")


def compressed(file):
    file.create_dataset("stranger", data=np.zeros(100_000), compression="gzip")


def words(file):
    file.create_dataset("stranger", data=["a", "b"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    "change",
    [
        *(external_link, soft_link, cycle, external_data, virtual_data),
        *(huge_chunks, huge_unwritten, compressed, words),
    ],
)
def test_weights_that_are_no_plain_arrays_are_refused(
    write_model, model_file, change
):
    path = write_model(weights_with(model_file, change))
    assert_refused(saving.load_model, path, match="its weights")


def test_loading_does_not_move_the_random_state(model_file):
    import random

    path, _ = model_file
    random.seed(3)
    keras.saving.load_model(path)
    expected = random.random()
    random.seed(3)
    saving.load_model(path)
    assert random.random() == expected


def test_legacy_and_other_files_are_no_models(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert_refused(
        saving.load_model, tmp_path / "model.h5", match="end in .keras"
    )
    assert_refused(saving.load_model, "hf://a/b", match="does not exist")


# === The command line ===


def test_the_command_line_answers_in_one_printable_line(
    write_model, tmp_path, capsys
):
    path = write_model(layer=layer_config("os", "sys\x1b[2J\ntem"))
    assert cli.main(["evaluate", str(path), "--dataset", "digits"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "\x1b" not in output.err
    assert "no model to load" in output.err


def test_warnings_and_tables_are_printable_lines(capsys):
    cli.main(["evaluate", "none.keras"])
    warning = UserWarning("skipped \x1b[2J\n\udc80.png")
    shown = warnings.formatwarning(warning, UserWarning, "file.py", 1)
    assert shown == "keras-ssgan: skipped \ufffd[2J \ufffd.png\n"
    cli._print_columns([["\x1b[2J", "a\nb"], ["dog", "\udc80"]], str.ljust)
    output = capsys.readouterr().out
    assert output == "\ufffd[2J  a b\ndog   \ufffd\n"


def test_a_hostile_run_is_not_resumed(tmp_path, capsys):
    (tmp_path / "config.json").write_text("[" * 10_000)
    assert cli.main(["train", "--resume", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
