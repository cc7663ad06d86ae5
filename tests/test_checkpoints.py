"""Checkpoints are whole or skipped, and hold everything."""

import errno
import functools
import hashlib
import json
import logging
import os
import resource

import numpy as np
import pytest
from conftest import assert_same_state
from conftest import new_gan
from conftest import state
from numpy.testing import assert_array_equal

from keras_ssgan import files
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.checkpoints import Progress
from keras_ssgan.errors import InputError


@pytest.fixture(scope="module")
def trained(tiny_data):
    """A GAN after two steps, metrics included."""
    gan = new_gan()
    gan.fit(*tiny_data, batch_size=20, shuffle=False, verbose=0)
    return gan


@pytest.fixture(scope="module")
def fresh():
    return new_gan(seed=1)


@pytest.fixture
def saved(trained, tmp_path):
    """Folder with checkpoints of the steps 1 and 2; only the last counts."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(trained, Progress(9, 0, step, "loss,b\r\n1,2\r\n"))
    return checkpoints.folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def newest(folder):
    return sorted(folder.iterdir())[-1]


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_what_is_restored_is_what_was_saved(saved, trained, fresh):
    progress = Checkpoints(saved).restore(fresh)
    assert progress == Progress(9, 0, 2, "loss,b\r\n1,2\r\n")
    assert_same_state(fresh, state(trained))
    for ours, theirs in zip(
        fresh.metrics_variables, trained.metrics_variables, strict=True
    ):
        assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_folder_without_checkpoints_has_no_progress(fresh, tmp_path):
    assert Checkpoints(tmp_path / "none").restore(fresh) is None


def test_the_last_two_are_kept(saved, trained):
    assert names(saved) == ["000000-00000001.ckpt", "000000-00000002.ckpt"]
    checkpoints = Checkpoints(saved)
    checkpoints.restore(trained)
    for progress in (Progress(9, 0, 10), Progress(9, 1, 0)):
        checkpoints.save(trained, progress)
    assert names(saved) == ["000000-00000010.ckpt", "000001-00000000.ckpt"]


def test_the_last_of_an_epochs_end_is_kept_beside_them(saved, trained):
    checkpoints = Checkpoints(saved)
    for epoch, step in ((1, 0), (2, 0), (2, 1), (2, 2), (2, 3)):
        checkpoints.save(trained, Progress(9, epoch, step))
    assert names(saved) == [
        "000002-00000000.ckpt",
        "000002-00000002.ckpt",
        "000002-00000003.ckpt",
    ]


def test_several_processes_go_on_from_the_end_of_an_epoch(
    saved, trained, fresh, caplog
):
    checkpoints = Checkpoints(saved)
    progress = Progress(9, 1, 0)
    for other in (progress, Progress(9, 1, 1), Progress(9, 1, 2)):
        checkpoints.save(trained, other)
    again = Checkpoints(saved)
    assert again.restore(fresh, within_epoch=False) == progress
    assert caplog.text.count("stopped within an epoch") == 1
    # Those of the epoch that begins again go once there is a newer one.
    again.save(fresh, Progress(9, 1, 1))
    assert names(saved) == ["000001-00000000.ckpt", "000001-00000001.ckpt"]


def test_several_processes_begin_a_first_epoch_again(saved, fresh, caplog):
    assert Checkpoints(saved).restore(fresh, within_epoch=False) is None
    assert caplog.text.count("stopped within an epoch") == 1


def test_what_was_restored_is_not_saved_again(saved, trained):
    checkpoints = Checkpoints(saved)
    progress = checkpoints.restore(trained)
    before = newest(saved).stat().st_ino
    checkpoints.save(trained, progress)
    assert len(names(saved)) == 2
    assert newest(saved).stat().st_ino == before


def test_a_broken_one_does_not_count_as_one_of_two(saved, trained):
    flip(newest(saved), -1)
    checkpoints = Checkpoints(saved)
    checkpoints.restore(trained)
    checkpoints.save(trained, Progress(9, 0, 3))
    assert names(saved) == ["000000-00000001.ckpt", "000000-00000003.ckpt"]


@pytest.mark.parametrize("position", [0, 70, 120, 5000, -1])
def test_a_flipped_bit_is_noticed_and_said(position, saved, fresh, caplog):
    broken = newest(saved)
    flip(broken, position)
    with caplog.at_level(logging.WARNING, "keras_ssgan"):
        assert Checkpoints(saved).restore(fresh).step == 1
    (record,) = caplog.records
    assert str(broken) in record.getMessage()
    assert "checksum" in record.getMessage()


@pytest.mark.parametrize("length", [0, 10, 64, 65, 66, 200, -1])
def test_a_truncated_one_is_skipped(length, saved, fresh, caplog):
    broken = newest(saved)
    broken.write_bytes(broken.read_bytes()[:length])
    assert Checkpoints(saved).restore(fresh).step == 1
    assert "checksum" in caplog.text


def test_one_that_cannot_be_read_is_skipped(saved, fresh, caplog):
    broken = newest(saved)
    broken.unlink()
    broken.mkdir()
    assert Checkpoints(saved).restore(fresh).step == 1
    assert "Is a directory" in caplog.text


def test_without_a_good_one_the_model_is_left_alone(saved, fresh):
    for path in saved.iterdir():
        flip(path, 1000)
    before = state(fresh)
    with pytest.raises(InputError, match="none of the 2 checkpoints"):
        Checkpoints(saved).restore(fresh)
    assert_same_state(fresh, before)


def test_one_of_another_network_is_not_taken(saved, caplog):
    other = new_gan(discriminator_optimizer="sgd")
    with pytest.raises(InputError, match="none of the 2"):
        Checkpoints(saved).restore(other)
    assert "another network" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("group", ["weights", "metrics_variables"])
def test_what_is_not_finite_is_never_saved(group, value, saved, trained):
    variable = getattr(trained, group)[0]
    before, files_before = variable.numpy(), names(saved)
    variable.assign(np.full(variable.shape, value))
    with pytest.raises(FloatingPointError):
        Checkpoints(saved).save(trained, Progress(9, 0, 3))
    variable.assign(before)
    assert names(saved) == files_before


# === Whole, by its checksum, and hostile ===


def rewrite(path, change):
    """Writes a checkpoint anew, with a checksum that is right.

    Args:
        path: The checkpoint.
        change: Function of its header, a dict to change in place, and of the
            bytes of its values; it may return others.
    """
    _, header, values = path.read_bytes().split(b"\n", 2)
    header = json.loads(header)
    values = change(header, values) or values
    body = json.dumps(header).encode() + b"\n" + values
    digest = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(digest + b"\n" + body)


def assert_skipped(path, checkpoints, gan, caplog):
    """Its model is not touched, and the one before it is used."""
    with caplog.at_level(logging.WARNING, "keras_ssgan"):
        assert checkpoints.restore(gan).step == 1
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"Skipped the checkpoint {path}: ")
    assert "\n" not in message
    return message


@pytest.mark.any_backend
def test_one_that_is_rewritten_as_it_was_is_good(saved, fresh):
    rewrite(newest(saved), lambda header, values: None)
    assert Checkpoints(saved).restore(fresh).step == 2


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "progress",
    [
        {"epoch": "0"},
        {"epoch": 0.0},
        {"epoch": False},
        {"epoch": -1},
        {"epoch": 1},
        {"epoch": 10**30},
        {"step": -2},
        {"step": 2.0},
        {"steps_per_epoch": 2},
        {"steps_per_epoch": None},
        {"history": 5},
        {"history": "loss,b\n1\n"},
        {"history": "loss\nword\n"},
        {"history": "loss\n1e308\n"},
        {"history": "accuracy\n1\n"},
        {"history": "\ud800"},
        {"seconds": "x"},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": 5},
        {"unknown": 1},
    ],
    ids=str,
)
def test_one_whose_progress_is_none_of_a_run_is_skipped(
    progress, saved, fresh, caplog
):
    rewrite(
        newest(saved),
        lambda header, values: header["progress"].update(progress),
    )
    assert_skipped(newest(saved), Checkpoints(saved), fresh, caplog)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "header",
    [
        {"format": 2},
        {"progress": [1]},
        {"dtypes": 5},
        {"dtypes": [["float32"]]},
        {"dtypes": ["object"]},
        {"more": functools.reduce(lambda inner, _: [inner], range(200), [])},
    ],
    ids=range(6),
)
def test_one_whose_header_is_none_of_ours_is_skipped(
    header, saved, fresh, caplog
):
    rewrite(newest(saved), lambda ours, values: ours.update(header))
    message = assert_skipped(newest(saved), Checkpoints(saved), fresh, caplog)
    assert "another version of keras_ssgan" in message


@pytest.mark.any_backend
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_one_whose_weights_are_not_finite_is_skipped(
    value, saved, fresh, caplog
):
    rewrite(
        newest(saved),
        lambda header, values: np.float32(value).tobytes() + values[4:],
    )
    message = assert_skipped(newest(saved), Checkpoints(saved), fresh, caplog)
    assert "NaN" in message


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "kept, array",
    [
        # Infinite once it is a float32.
        ("float32", np.array([1e300])),
        ("float32", np.array([1])),
        ("float32", np.array([1], "complex64")),
        ("int32", np.array([1.0])),
        # 0 once it is an int32.
        ("int32", np.array([2**32])),
    ],
    ids=repr,
)
def test_one_with_a_number_of_another_kind_is_skipped(
    kept, array, trained, fresh, tmp_path, caplog
):
    def change(header, values):
        header["dtypes"][-1] = array.dtype.name
        return values[:-4] + array.tobytes()

    checkpoints = Checkpoints(tmp_path / "checkpoints", [np.zeros(1, kept)])
    for step in (1, 2):
        checkpoints.save(trained, Progress(9, 0, step))
    rewrite(newest(checkpoints.folder), change)
    assert_skipped(newest(checkpoints.folder), checkpoints, fresh, caplog)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "labels, weights",
    [([99], [0.5]), ([-1], [0.5]), ([10], [0.5]), ([9], [1.5]), ([9], [-0.1])],
)
def test_one_with_a_label_or_a_weight_that_there_is_not_is_skipped(
    labels, weights, trained, fresh, tmp_path, caplog
):
    def checkpoints(labels, weights):
        arrays = [np.array(labels, "int32"), np.array(weights, "float32")]
        return Checkpoints(tmp_path / "checkpoints", arrays)

    writer = checkpoints([9], [1.0])
    writer.save(trained, Progress(9, 0, 1))
    for array, values in zip(writer.arrays, (labels, weights), strict=True):
        array[...] = values
    writer.save(trained, Progress(9, 0, 2))
    reader = checkpoints([0], [0.0])
    message = assert_skipped(newest(writer.folder), reader, fresh, caplog)
    assert "out of range" in message
    assert [array.item() for array in reader.arrays] == [9, 1.0]


@pytest.mark.any_backend
def test_a_pipe_in_place_of_one_does_not_block(saved, fresh, caplog):
    pipe = saved / "000000-00000009.ckpt"
    os.mkfifo(pipe)
    rewrite(saved / "000000-00000002.ckpt", lambda header, values: None)
    with caplog.at_level(logging.WARNING, "keras_ssgan"):
        assert Checkpoints(saved).restore(fresh).step == 2
    assert f"Skipped the checkpoint {pipe}: it is no regular" in caplog.text


@pytest.mark.any_backend
def test_one_larger_than_any_of_the_network_is_not_read(saved, fresh, caplog):
    with newest(saved).open("r+b") as file:
        file.truncate(1 << 40)
    message = assert_skipped(newest(saved), Checkpoints(saved), fresh, caplog)
    assert "too large" in message


# === Writing ===


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.any_backend
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_last_two(call, saved, trained, monkeypatch):
    before = names(saved)
    checkpoints = Checkpoints(saved)
    checkpoints.restore(trained)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, full_disk)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(trained, Progress(9, 0, 3))
    assert names(saved) == before
    assert Checkpoints(saved).restore(trained).step == 2


@pytest.mark.any_backend
def test_a_file_that_outgrows_its_limit_leaves_the_last_two(saved, trained):
    before = names(saved)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Checkpoints(saved).save(trained, Progress(9, 0, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(saved) == before


@pytest.mark.any_backend
def test_a_folder_in_place_of_a_checkpoint_stays(saved, trained):
    folder = saved / "000000-00000009.ckpt"
    folder.mkdir()
    checkpoints = Checkpoints(saved)
    checkpoints.restore(trained)
    checkpoints.save(trained, Progress(9, 0, 3))
    assert folder.is_dir()


@pytest.mark.any_backend
def test_leftovers_of_killed_writers_are_removed(saved, fresh):
    before = names(saved)
    (saved / ".writing-12-000000-00000003.ckpt").write_bytes(b"half")
    Checkpoints(saved).restore(fresh)
    assert names(saved) == before


@pytest.mark.any_backend
def test_a_folder_named_like_a_leftover_stays(tmp_path):
    (tmp_path / ".writing-12-folder").mkdir()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".writing-12-folder"]


@pytest.mark.any_backend
def test_a_folder_that_is_a_link_is_neither_read_nor_written(
    saved, trained, tmp_path
):
    (saved / ".writing-precious").write_bytes(b"precious")
    before = names(saved)
    link = tmp_path / "link"
    link.symlink_to(saved, target_is_directory=True)
    checkpoints = Checkpoints(link)
    for call in (
        lambda: checkpoints.restore(trained),
        lambda: checkpoints.save(trained, Progress(9, 0, 3)),
    ):
        with pytest.raises(InputError, match="link is a link"):
            call()
    assert names(saved) == before


@pytest.mark.any_backend
def test_a_file_replaces_a_link_and_is_not_written_through_one(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    path = tmp_path / "a.txt"
    path.symlink_to(precious)
    # A writer's temporary file is named by its process.
    (tmp_path / f".writing-{os.getpid()}-a.txt").symlink_to(precious)
    with files.replacing(path) as temporary:
        temporary.write_text("new")
    assert precious.read_text() == "precious"
    assert path.read_text() == "new"
    assert not path.is_symlink()


@pytest.mark.any_backend
def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def note_replace(source, target):
        calls.append(("replace", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    path = tmp_path / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("fsync", file), ("replace", file), ("fsync", folder)]
