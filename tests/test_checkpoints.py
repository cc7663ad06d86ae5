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


def test_leftovers_of_killed_writers_are_removed(saved, fresh):
    before = names(saved)
    (saved / ".writing-12-000000-00000003.ckpt").write_bytes(b"half")
    Checkpoints(saved).restore(fresh)
    assert names(saved) == before


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
