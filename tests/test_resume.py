"""A run that ends at any moment and is resumed is the run that did not end."""

import dataclasses
import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
from conftest import save_noise
from conftest import save_shards

from benchmarks import faults
from keras_ssgan import baseline
from keras_ssgan import callbacks
from keras_ssgan import cli
from keras_ssgan import plotting
from keras_ssgan import settings
from keras_ssgan import trainer
from keras_ssgan import training
from keras_ssgan.config import Config
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped

BUILD_GAN = trainer.build_gan


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Settings of a run on 120 training images; epochs of four steps."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    save_noise(path, 120, 30)
    return Config(
        dataset=str(path),
        preset="tiny",
        labels=0.5,
        validation=0.2,
        epochs=3,
        batch_size=30,
        seed=3,
    )


@pytest.fixture(autouse=True, scope="module")
def eager():
    """TensorFlow would trace for seconds what runs for less."""

    def build_eager_gan(*args):
        gan = BUILD_GAN(*args)
        gan.compile(run_eagerly=keras.backend.backend() == "tensorflow")
        return gan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "build_gan", build_eager_gan)
        yield


@pytest.fixture(scope="module")
def unbroken(config, eager, tmp_path_factory):
    """Folder of the run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    training.train(config, folder, verbose=0)
    return folder


def assert_same_results(folder, expected):
    """Compares the histories, and every variable of the models, bit for bit."""
    ours, theirs = (
        faults.Run(run, [], None).results() for run in (folder, expected)
    )
    assert ours == theirs


def command(config, folder, *more):
    arguments = ["train", "--dataset", config.dataset, "--preset", "tiny"]
    arguments += ["--labels", "0.5", "--validation", "0.2", "--epochs", "3"]
    arguments += ["--batch-size", "30", "--seed", "3", "--quiet"]
    return [*arguments, "--output", str(folder), *more]


class At(callbacks.SampleGrid):
    """Does something before the n-th step of a run, counted from 0."""

    def __init__(self, step, do, folder):
        super().__init__(folder)
        self.step = step
        self.do = do

    def on_train_batch_begin(self, batch, logs=None):
        if self.step == 0:
            self.do(self.model)
        self.step -= 1


@pytest.fixture(autouse=True)
def heard_signals():
    """SIGINT ends a process here, also where it was started in the background.

    A shell has those ignore it, and so does a run then.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def at(monkeypatch):
    """`at(step, do)`: `do(model)` will be called before that step."""

    def arrange(step, do):
        monkeypatch.setattr(
            training.callbacks, "SampleGrid", partial(At, step, do)
        )

    yield arrange
    # What an exception has left of a pipeline of TensorFlow's: the later it is
    # collected, the longer may that take, up to a minute (docs/performance.md).
    gc.collect()


# === Killed ===

# The n-th time that the process is about to have a file, or its name, on the
# disk it kills itself. Else the command line as it is.
KILLED = """
import json, os, signal, sys

preset, call, count, *arguments = sys.argv[1:]
left = int(count)

def die_in(name):
    genuine = getattr(os, name)
    def counting(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return genuine(*args)
    setattr(os, name, counting)

die_in(call)
from keras_ssgan import cli, settings
settings.PRESETS["tiny"] = settings.Preset(**json.loads(preset))
sys.exit(cli.main(arguments))
"""


def kill(call, count, *arguments):
    preset = json.dumps(dataclasses.asdict(settings.PRESETS["tiny"]))
    process = subprocess.run(
        [sys.executable, "-c", KILLED, preset, call, str(count), *arguments],
        capture_output=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_run_killed_while_it_wrote_checkpoints_ends_as_if_it_had_not_been(
    config, unbroken, tmp_path, monkeypatch
):
    if keras.backend.backend() == "tensorflow":
        # It compiles in the other processes, and so it has to here.
        monkeypatch.setattr(trainer, "build_gan", BUILD_GAN)
        unbroken = tmp_path / "unbroken"
        training.train(config, unbroken, verbose=0)
    folder = tmp_path / "run"
    rng = np.random.default_rng(0)
    # There are two calls of fsync, and one of replace, for each file.
    kill_at = [
        ("fsync", 6 + rng.integers(8)),
        ("replace", 4 + rng.integers(4)),
    ]
    if keras.backend.backend() != "torch":
        # No backend has a part in which call it is.
        kill_at = kill_at[1:]
    seen = []
    for call, count in kill_at:
        resume = ["--resume"] if seen else []
        arguments = command(config, folder, "--checkpoint-every", "0", *resume)
        kill(call, count, *arguments)
        seen.append(sorted((folder / "checkpoints").glob("*.ckpt"))[-1].name)
    # Each came further than the one before, and none to the end.
    assert seen == sorted(set(seen))
    assert not (folder / "gan.keras").exists()
    training.train(config, folder, resume=True, verbose=0)
    assert_same_results(folder, unbroken)
    assert not list(folder.rglob(".writing-*"))


# === Resumed ===


class PowerCut(Exception):
    pass


# Before a step, the state that it starts from is still to be saved; after an
# epoch it is at once.
@pytest.mark.parametrize("step, saved", [(4, 4), (11, 10)])
def test_a_run_cut_between_two_steps_goes_on_from_the_last_one_saved(
    step, saved, config, unbroken, tmp_path, at
):
    def cut(model):
        raise PowerCut

    at(step, cut)
    with pytest.raises(PowerCut):
        training.train(config, tmp_path, verbose=0, checkpoint_every=0)
    trained = []
    at(0, lambda model: trained.append(int(model.optimizer.iterations.numpy())))
    training.train(config, tmp_path, resume=True, verbose=0)
    assert trained[0] == saved
    assert_same_results(tmp_path, unbroken)


@pytest.mark.any_backend
def test_a_run_goes_on_where_only_the_last_step_of_an_epoch_is_left(
    config, unbroken, tmp_path
):
    training.train(config, tmp_path, verbose=0, checkpoint_every=0)
    (tmp_path / "checkpoints" / "000003-00000000.ckpt").unlink()
    (tmp_path / "gan.keras").unlink()
    training.train(config, tmp_path, resume=True, verbose=0)
    assert_same_results(tmp_path, unbroken)


@pytest.mark.any_backend
def test_the_seconds_of_a_run_are_those_of_all_its_parts(
    config, tmp_path, at, monkeypatch
):
    def cut(model):
        raise PowerCut

    with monkeypatch.context() as patch:
        # As if it had taken that long to begin.
        begin = partial(trainer.Progress, seconds=1000.0)
        patch.setattr(trainer, "Progress", begin)
        at(9, cut)
        with pytest.raises(PowerCut):
            training.train(config, tmp_path, verbose=0)
    at(-1, cut)
    metrics = training.train(config, tmp_path, resume=True, verbose=0)
    assert 1000 < metrics["seconds"] < 1600


@pytest.mark.any_backend
def test_one_process_goes_on_where_several_were_cut_within_an_epoch(
    config, tmp_path, at
):
    def cut(model):
        raise PowerCut

    at(6, cut)
    folder = tmp_path / "run"
    with pytest.raises(PowerCut):
        training.train(config, folder, verbose=0, checkpoint_every=0)
    path = folder / "config.json"
    several = {**json.loads(path.read_text()), "distribute": True}
    path.write_text(json.dumps(several))
    at(-1, cut)
    resume = ["train", "--resume", "--output", str(folder), "--quiet"]
    assert cli.main(resume) == 0


@pytest.mark.any_backend
def test_a_damaged_checkpoint_costs_no_more_than_its_steps(
    config, unbroken, tmp_path, at, caplog
):
    def cut(model):
        raise PowerCut

    at(7, cut)
    with pytest.raises(PowerCut):
        training.train(config, tmp_path, verbose=0, checkpoint_every=0)
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    (tmp_path / "history.csv").write_text("torn")
    at(-1, cut)
    training.train(config, tmp_path, resume=True, verbose=0)
    assert f"Skipped the checkpoint {newest}" in caplog.text
    assert_same_results(tmp_path, unbroken)


def test_a_run_killed_after_its_last_epoch_has_its_results_written(
    config, unbroken, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    for name in ("gan.keras", "metrics.json"):
        (folder / name).unlink()
    training.train(config, folder, resume=True, verbose=0)
    assert (folder / "metrics.json").exists()
    assert_same_results(folder, unbroken)


@pytest.mark.any_backend
def test_pipes_among_checkpoints_and_samples_do_not_block_a_run(
    config, unbroken, tmp_path, caplog
):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    (folder / "metrics.json").unlink()
    checkpoint = folder / "checkpoints" / "000009-00000000.ckpt"
    sample = folder / "samples" / "epoch_002.png"
    sample.unlink()
    for pipe in (checkpoint, sample):
        os.mkfifo(pipe)
    training.train(config, folder, resume=True, verbose=0)
    assert (folder / "metrics.json").exists()
    assert str(checkpoint) in caplog.text
    assert str(sample) in caplog.text


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["checkpoints", "samples"])
def test_a_run_with_a_link_for_a_folder_is_not_resumed(
    name, config, unbroken, tmp_path, capsys
):
    folder, precious = tmp_path / "run", tmp_path / "precious"
    shutil.copytree(unbroken, folder)
    shutil.move(folder / name, precious)
    (precious / ".writing-precious").write_text("precious")
    before = sorted(precious.iterdir())
    (folder / name).symlink_to(precious, target_is_directory=True)
    resume = ["train", "--resume", "--output", str(folder), "--quiet"]
    assert cli.main(resume) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{folder / name} is a link" in error
    assert sorted(precious.iterdir()) == before


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "module, name",
    [
        (plotting, "curves"),
        (plotting, "confusion_matrix"),
        (baseline, "train_baseline"),
    ],
)
def test_what_fails_after_the_training_costs_no_model(
    module, name, config, unbroken, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    results = ("gan.keras", "classifier.keras", "metrics.json")
    for result in results:
        (folder / result).unlink()

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(module, name, fail)
    config = dataclasses.replace(config, baseline=True)
    with pytest.raises(MemoryError):
        training.train(config, folder, resume=True, verbose=0)
    assert [(folder / result).exists() for result in results] == [
        True,
        True,
        False,
    ]


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "name, value, goes_on",
    [("real_fake", 0.3, False), ("labels", 0.9, True), ("epochs", 9, True)],
)
def test_a_run_whose_preset_has_changed_since_does_not_go_on_unsaid(
    name, value, goes_on, config, unbroken, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    changed = dataclasses.replace(settings.PRESETS["tiny"], **{name: value})
    monkeypatch.setitem(settings.PRESETS, "tiny", changed)
    if goes_on:
        assert training.train(config, folder, resume=True, verbose=0)
        return
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    with pytest.raises(InputError, match="preset tiny has other settings"):
        training.train(config, folder, resume=True, verbose=0)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("propagation", "num_images", "message"),
    [
        (True, 70, "or of other images"),
        (False, 70, "the dataset has changed"),
        # As many, which are others.
        (False, 120, "the dataset has changed"),
    ],
)
@pytest.mark.parametrize("part", ["x_train", "x_test"])
def test_a_run_of_other_images_is_not_resumed(
    propagation, num_images, message, part, config, tmp_path, monkeypatch
):
    preset = dataclasses.replace(
        settings.PRESETS["tiny"], propagation=propagation
    )
    monkeypatch.setitem(settings.PRESETS, "tiny", preset)
    folder = tmp_path / "run"
    short = dataclasses.replace(config, epochs=1)
    training.train(short, folder, verbose=0)
    with np.load(config.dataset) as arrays:
        arrays = dict(arrays)
    path = tmp_path / "other.npz"
    arrays["x_train"] = arrays["x_train"][:num_images]
    arrays["y_train"] = arrays["y_train"][:num_images]
    arrays[part] = arrays[part][::-1]
    np.savez(path, **arrays)
    other = dataclasses.replace(short, dataset=str(path))
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(other)))
    with pytest.raises(InputError, match=message):
        training.train(other, folder, resume=True, verbose=0)


# === Interrupted ===


def send(number):
    return lambda model: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.any_backend),
    ],
)
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(
    number, config, tmp_path, at, capsys
):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    at(5, send(number))
    folder = tmp_path / "a run"
    assert cli.main(command(config, folder)) == 128 + number
    error = capsys.readouterr().err
    backend = keras.backend.backend()
    assert error == (
        f"keras-ssgan: stopped by {number.name} after 1 epochs and 1 steps; go "
        f"on with: keras-ssgan train --resume --backend {backend} "
        f"--output='{folder}'\n"
    )
    names = [path.name for path in (folder / "checkpoints").iterdir()]
    assert "000001-00000001.ckpt" in names
    assert handlers == [
        signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)
    ]


@pytest.mark.any_backend
def test_a_second_signal_does_not_wait_for_the_step(config, tmp_path, at):
    def twice(model):
        send(signal.SIGINT)(model)
        send(signal.SIGINT)(model)

    at(5, twice)
    with pytest.raises(RunStopped, match="^stopped; go on with") as stop:
        training.train(config, tmp_path, verbose=0)
    assert stop.value.exit_code == 130


@pytest.mark.any_backend
def test_a_process_that_the_main_one_has_left_ends_with_one_line(
    config, tmp_path, at, monkeypatch, capsys
):
    monkeypatch.setattr(training.distribution, "is_main", lambda: False)

    def leave(model):
        send(signal.SIGINT)(model)
        raise RuntimeError("Connection closed by peer")

    at(5, leave)
    assert cli.main(command(config, tmp_path / "run")) == 130
    assert capsys.readouterr().err == "keras-ssgan: stopped by SIGINT\n"

    def fail(model):
        raise RuntimeError("Connection closed by peer")

    at(5, fail)
    assert cli.main(command(config, tmp_path / "run")) == 1
    assert capsys.readouterr().err == (
        "keras-ssgan: the main process has ended, and says why\n"
    )


@pytest.mark.any_backend
def test_a_streamed_run_stopped_within_an_epoch_ends_as_one_from_memory(
    config, unbroken, tmp_path, at
):
    shards = tmp_path / "shards"
    shards.mkdir()
    with np.load(config.dataset) as arrays:
        save_shards(shards, arrays)
    streamed = dataclasses.replace(config, dataset=str(shards), stream=True)
    at(6, send(signal.SIGINT))
    with pytest.raises(RunStopped, match="after 1 epochs and 2 steps"):
        training.train(streamed, tmp_path / "run", verbose=0)
    at(-1, send(signal.SIGINT))
    training.train(streamed, tmp_path / "run", resume=True, verbose=0)
    assert_same_results(tmp_path / "run", unbroken)


@pytest.mark.any_backend
def test_a_signal_after_the_last_epoch_is_heard_too(
    config, tmp_path, monkeypatch, capsys
):
    class Logger(keras.callbacks.CSVLogger):
        def on_train_end(self, logs=None):
            super().on_train_end(logs)
            send(signal.SIGINT)(self.model)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "CSVLogger", Logger)
        assert cli.main(command(config, folder)) == 130
    assert "stopped by SIGINT; go on with" in capsys.readouterr().err
    assert not (folder / "metrics.json").exists()
    training.train(config, folder, resume=True, verbose=0)
    assert (folder / "metrics.json").exists()


@pytest.mark.any_backend
def test_no_other_process_trains_in_a_folder_meanwhile(
    config, tmp_path, at, capsys
):
    folder = tmp_path / "run"
    resume = ["train", "--resume", "--output", str(folder), "--quiet"]
    exit_codes = []
    # The system tells two openings of the folder apart, in one process too.
    at(6, lambda model: exit_codes.append(cli.main(resume)))
    assert cli.main(command(config, folder)) == 0
    assert exit_codes == [2]
    assert f"another process is training in {folder};" in (
        capsys.readouterr().err
    )
    assert len((folder / "history.csv").read_text().splitlines()) == 4
    at(-1, None)
    assert cli.main(resume) == 0


# === The labels alone ===


@pytest.fixture
def at_of_baseline(monkeypatch):
    """As `at`, of the baseline: before the second step of its second epoch."""

    class Checkpoint(baseline.BaselineCheckpoint):
        def on_train_batch_begin(self, batch, logs=None):
            if (self._epoch, self._first_step + batch) == (1, 1):
                if Checkpoint.todo is not None:
                    do, Checkpoint.todo = Checkpoint.todo, None
                    do(self.model)
            super().on_train_batch_begin(batch, logs)

    def arrange(do):
        Checkpoint.todo = staticmethod(do)

    monkeypatch.setattr(baseline._Trainer, "checkpoint", Checkpoint)
    return arrange


def without_seconds(metrics):
    return {k: v for k, v in metrics["baseline"].items() if k != "seconds"}


def test_a_baseline_that_was_stopped_ends_as_if_it_had_not_been(
    config, unbroken, tmp_path, at_of_baseline, capsys
):
    folder, expected = tmp_path / "run", tmp_path / "expected"
    for copy in folder, expected:
        shutil.copytree(unbroken, copy)
        (copy / "metrics.json").unlink()
    config = dataclasses.replace(config, baseline=True)
    at_of_baseline(lambda model: None)
    metrics = training.train(config, expected, resume=True, verbose=0)
    resume = ["train", "--resume", "--output", str(folder), "--quiet"]
    at_of_baseline(send(signal.SIGTERM))
    assert cli.main([*resume, "--baseline"]) == 128 + signal.SIGTERM
    error = capsys.readouterr().err
    assert error.startswith(
        "keras-ssgan: stopped by SIGTERM after 1 epochs and 1 steps; go on with"
    )
    assert not (folder / "metrics.json").exists()
    assert cli.main(resume) == 0
    ours = json.loads((folder / "metrics.json").read_text())
    assert without_seconds(ours) == without_seconds(metrics)
    assert_same_results(folder, expected)


@pytest.mark.any_backend
def test_a_baseline_that_fails_costs_not_the_run(
    config, unbroken, tmp_path, at_of_baseline, capsys
):
    def poison(model):
        weight = model.trainable_variables[0]
        weight.assign(np.full(weight.shape, np.nan))

    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    (folder / "metrics.json").unlink()
    resume = ["train", "--resume", "--output", str(folder), "--quiet"]
    at_of_baseline(poison)
    assert cli.main([*resume, "--baseline"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "NaN or infinite after 2 epochs and 0 steps of the labels" in error
    assert f"--output={folder} --no-baseline writes its results" in error
    assert cli.main([*resume, "--no-baseline"]) == 0
    assert "baseline" not in json.loads((folder / "metrics.json").read_text())
    shutil.rmtree(folder / "checkpoints" / "baseline")
    assert_same_results(folder, unbroken)


# === Failed ===


def poison(model):
    weight = model.discriminator.trainable_variables[0]
    weight.assign(np.full(weight.shape, np.nan))


@pytest.mark.parametrize(
    "checkpoint_every",
    ["0", pytest.param("120", marks=pytest.mark.any_backend)],
)
def test_a_loss_that_is_nan_ends_the_run_and_keeps_the_last_good_state(
    checkpoint_every, config, tmp_path, at, capsys
):
    at(6, poison)
    folder = tmp_path / "run"
    given = command(config, folder, "--checkpoint-every", checkpoint_every)
    assert cli.main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("keras-ssgan: ")
    assert "NaN" in error and "--seed" in error and "--epochs 1" in error
    newest = sorted((folder / "checkpoints").iterdir())[-1].name
    saved = "000001-00000001" if checkpoint_every == "0" else "000001-00000000"
    assert newest == f"{saved}.ckpt"


@pytest.mark.any_backend
def test_a_collapse_ends_the_run_and_nothing_of_it_is_saved(
    config, tmp_path, monkeypatch, capsys
):
    def find_collapse(logs, history, num_classes):
        second_epoch = len(history.get("loss", [])) == 1
        return "all is the same" if second_epoch else None

    monkeypatch.setattr(callbacks.health, "find_collapse", find_collapse)
    given = command(config, tmp_path, "--checkpoint-every", "0")
    assert cli.main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "all is the same in epoch 2" in error
    assert "the state after 1 epochs and 0 steps is kept" in error
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    assert newest.name == "000001-00000000.ckpt"


@pytest.mark.any_backend
def test_a_run_that_diverges_in_its_first_epoch_ends_there(
    config, tmp_path, monkeypatch, capsys
):
    preset = dataclasses.replace(settings.PRESETS["tiny"], learning_rate=10.0)
    monkeypatch.setitem(settings.PRESETS, "tiny", preset)
    assert cli.main(command(config, tmp_path)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "has diverged" in error and "in epoch 1" in error


# === Nowhere to write to ===


@pytest.mark.any_backend
def test_a_disk_that_takes_no_more_ends_the_run_with_one_line(
    config, unbroken, tmp_path, at, capsys, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    genuine = os.fsync
    at(6, lambda model: monkeypatch.setattr(os, "fsync", refuse))
    folder = tmp_path / "run"
    assert cli.main(command(config, folder, "--checkpoint-every", "0")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"could not write to {folder}: No space left on device" in error
    assert "--resume" in error
    monkeypatch.setattr(os, "fsync", genuine)
    at(-1, refuse)
    training.train(config, folder, resume=True, verbose=0)
    assert_same_results(folder, unbroken)


@pytest.mark.any_backend
def test_a_folder_that_cannot_be_made_is_named_in_one_line(
    config, tmp_path, capsys, monkeypatch
):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    folder = tmp_path / "run"
    monkeypatch.setattr(os, "mkdir", refuse)
    assert cli.main(command(config, folder)) == 2
    assert capsys.readouterr().err == (
        f"keras-ssgan: could not write to {folder}: Permission denied\n"
    )
