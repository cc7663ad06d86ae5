"""Checkpoints are whole or skipped, and hold everything."""

import errno
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
        checkpoints.save(trained, Progress(9, 0, step, "a,b\r\n1,2\r\n"))
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
    assert progress == Progress(9, 0, 2, "a,b\r\n1,2\r\n")
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


# === Writing ===


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def test_a_folder_in_place_of_a_checkpoint_stays(saved, trained):
    folder = saved / "000000-00000009.ckpt"
    folder.mkdir()
    checkpoints = Checkpoints(saved)
    checkpoints.restore(trained)
    checkpoints.save(trained, Progress(9, 0, 3))
    assert folder.is_dir()


def test_leftovers_of_killed_writers_are_removed(saved, fresh):
    before = names(saved)
    (saved / ".writing-12-000000-00000003.ckpt").write_bytes(b"half")
    Checkpoints(saved).restore(fresh)
    assert names(saved) == before


def test_a_folder_named_like_a_leftover_stays(tmp_path):
    (tmp_path / ".writing-12-folder").mkdir()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".writing-12-folder"]


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
