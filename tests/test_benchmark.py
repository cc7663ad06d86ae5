"""The command that times training on the user's machine."""

import json

import numpy as np
import pytest
from pair import Pair
from tiny import TINY

import keras_ssgan as ks
from keras_ssgan import backends
from keras_ssgan import benchmark
from keras_ssgan import cli
from keras_ssgan import settings
from keras_ssgan.errors import InputError
from keras_ssgan.workers import Worker

# Backends run in processes of their own.
pytestmark = pytest.mark.any_backend


def test_a_worker_answers_under_its_own_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with Worker("jax", Pair, 1, 2) as one, Worker("torch", Pair, 3, 4) as other:
        assert other.ask("backend_and_pair") == ("torch", (3, 4))
        assert one.ask("backend_and_pair") == ("jax", (1, 2))


def test_what_a_worker_raises_arrives():
    with Worker("jax", Pair, 1, 2) as worker:
        with pytest.raises(RuntimeError, match=r"(?s)^jax:\n.*in fail.*gone"):
            worker.ask("fail")
        with pytest.raises(InputError, match="two of a kind"):
            worker.ask("refuse")
        assert worker.ask("backend_and_pair")[1] == (1, 2)
        for _ in range(2):
            with pytest.raises(InputError, match=r"jax .*\(exit code 9\)"):
                worker.ask("die")


def test_backends_and_dtypes_are_timed_in_turns(capsys):
    assert "tiny" in settings.PRESETS
    arguments = ["benchmark", "--preset", "tiny", "--backends", "torch,jax"]
    arguments += ["--batch-size", "8", "--steps", "2", "--rounds", "2"]
    assert cli.main([*arguments, "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["backend"] for row in rows} == {"torch", "jax"}
    speeds = [row["images_per_second"] for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    for row in rows:
        assert row["dtype"] == "float32" and row["batch_size"] == 8
        assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0


def test_the_table_names_the_fastest(capsys, monkeypatch):
    rows = [
        benchmark.summarize(
            {
                "backend": name,
                "dtype": "float32",
                "batch_size": 64,
                "first_step_seconds": 3.0,
                "seconds": [seconds],
            },
            settings.get_preset("compact"),
            steps=10,
        )
        for name, seconds in (("jax", 1.0), ("torch", 2.0))
    ]
    monkeypatch.setattr(benchmark, "compare", lambda *_: rows)
    assert cli.main(["benchmark"]) == 0
    heads, first, second, advice = capsys.readouterr().out.splitlines()
    assert "images/s" in heads
    assert first.split()[:3] == ["jax", "float32", "640.0"]
    assert second.split()[:3] == ["torch", "float32", "320.0"]
    assert advice.endswith(
        "keras-ssgan train --preset compact --backend jax --dtype float32"
    )


def test_a_step_is_the_median_of_the_turns():
    timing = {"batch_size": 8, "seconds": [4.0, 1.0, 2.0]}
    row = benchmark.summarize(timing, TINY, steps=10)
    assert row["milliseconds"] == pytest.approx(200)
    assert row["images_per_second"] == pytest.approx(40)
    assert row["spread"] == 0.25


@pytest.mark.parametrize("batch_size", [64, 100])
@pytest.mark.parametrize("name", settings.PRESETS)
def test_a_run_is_as_long_as_that_of_train(name, batch_size):
    preset = settings.get_preset(name)
    timing = {"batch_size": batch_size, "seconds": [60.0]}
    row = benchmark.summarize(timing, preset, steps=1)
    # As train has them, of MNIST's 60,000 images.
    labels = ks.datasets.hide_labels(np.arange(60_000) % 10, preset.labels)
    data = ks.datasets.MixedDataset(
        np.zeros((60_000, 1, 1), "uint8"),
        labels,
        batch_size=batch_size,
        labeled_per_batch=preset.labeled_per_batch(batch_size),
    )
    assert row["run_minutes"] == pytest.approx(preset.epochs * len(data))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--preset", "huge"], "preset 'huge' is unknown"),
        (["--backends", "jax,theano"], "backend 'theano' is unknown"),
        (["--backends", "torch", "--dtypes", "int8"], "dtype 'int8' cannot"),
        (["--batch-size", "1"], "room for labelled and unlabelled images"),
    ],
)
def test_what_cannot_be_timed_is_refused(words, message, capsys):
    assert cli.main(["benchmark", "--quiet", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-ssgan: ") and message in error


def test_a_backend_that_is_missing_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(backends, "installed", lambda: ["jax"])
    assert cli.main(["benchmark", "--backends", "torch"]) == 2
    assert "pip install torch, or use jax" in capsys.readouterr().err


def test_without_any_backend_one_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(backends, "installed", list)
    assert cli.main(["benchmark"]) == 2
    assert "pip install tensorflow" in capsys.readouterr().err
