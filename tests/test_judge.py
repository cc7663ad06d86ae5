"""The judge of generated digits, and the table that it makes."""

import hashlib
import json
import shutil
import sys

import keras
import numpy as np
import pytest
from conftest import build_tiny_gan
from conftest import copy_with_another_byte

from benchmarks import judge
from benchmarks import sample_metrics
from benchmarks import samples
from keras_ssgan import datasets
from keras_ssgan import shipped
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def digits():
    """A hundred real digits and their labels."""
    (images, labels), _ = datasets.load_digits()
    return images[:100], labels[:100]


def test_the_shipped_judge_is_small_and_the_one_of_its_card():
    card = shipped.verify(judge.JUDGE)
    content = judge.JUDGE.read_bytes()
    assert len(content) < 1_000_000
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert card["test_error"] < 0.01


def test_the_judge_gives_features_and_probabilities(digits):
    images, labels = digits
    # With as much of a border as MNIST's have.
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    features, probabilities = judge.load().predict(images, verbose=0)
    assert features.shape == (100, 128)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    # Digits of 8x8 pixels by other people: it knows half of them, not a tenth.
    assert np.mean(probabilities.argmax(axis=-1) == labels) > 0.4


def test_the_judge_is_made_of_stock_layers():
    for layer in judge.load()._flatten_layers():
        assert type(layer).__module__.startswith("keras.")


def test_the_judge_has_the_test_error_of_its_card(mnist_path):
    dataset = datasets.load(mnist_path)
    _, probabilities = judge.load().predict(
        dataset.x_test, batch_size=256, verbose=0
    )
    errors = np.sum(probabilities.argmax(axis=-1) != dataset.y_test)
    # Rounding differs between backends; one image may lie on the edge.
    assert abs(errors - shipped.verify(judge.JUDGE)["test_errors"]) <= 1


def test_another_file_than_that_of_the_card_is_not_loaded(tmp_path):
    path = copy_with_another_byte(judge.JUDGE, tmp_path)
    with pytest.raises(InputError, match="not the file that its card"):
        judge.load(path)


@pytest.mark.parametrize("missing", [".keras", ".json"])
def test_a_judge_that_is_not_there_is_named(missing, tmp_path):
    for suffix in {".keras", ".json"} - {missing}:
        shutil.copy(judge.JUDGE.with_suffix(suffix), tmp_path)
    with pytest.raises(InputError, match=f"mnist_judge{missing}; install"):
        judge.load(tmp_path / judge.JUDGE.name)


def test_training_a_judge_is_reproducible(digits):
    models = [judge.train(*digits, epochs=1, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (model.get_weights() for model in models)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first[0] - other[0]).max() > 0.01


def test_a_judge_comes_with_a_card_and_without_an_optimizer(
    digits, tmp_path, monkeypatch
):
    images, labels = digits
    np.savez(
        tmp_path / "digits.npz",
        x_train=images,
        y_train=labels,
        x_test=images,
        y_test=labels,
    )
    arguments = ["judge", "--epochs", "1"]
    arguments += ["--dataset", str(tmp_path / "digits.npz")]
    arguments += ["--output", str(tmp_path / "new" / "judge")]
    monkeypatch.setattr(sys, "argv", arguments)
    judge.main()
    card = shipped.verify(tmp_path / "new" / "judge.keras")
    assert str(tmp_path) not in json.dumps(card)
    loaded = keras.saving.load_model(tmp_path / "new" / "judge.keras")
    assert not loaded.compiled
    assert loaded.count_params() == card["weights"]
    judge.load(tmp_path / "new" / "judge.keras")


def test_the_table_has_a_line_per_run_beside_the_real_images(
    digits, tmp_path, monkeypatch, capsys
):
    images, labels = digits
    np.savez(
        tmp_path / "digits.npz",
        x_train=images,
        y_train=labels,
        x_test=images[::-1],
        y_test=labels[::-1],
    )
    gan = build_tiny_gan()
    gan.save(tmp_path / "gan.keras")
    arguments = ["samples", str(tmp_path / "gan.keras"), "--samples", "80"]
    arguments += ["--dataset", str(tmp_path / "digits.npz")]
    arguments += ["--output", str(tmp_path / "samples.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    samples.main()
    content = json.loads((tmp_path / "samples.json").read_text())
    real, fake = content["figures"]
    assert content["samples"] == 80
    assert content["judge"] == shipped.verify(judge.JUDGE)["sha256"]
    # Noise is no digit, however sure the judge may be of it.
    assert fake["frechet"] > 2 * real["frechet"]
    assert fake["recall"] < real["recall"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and f"| {fake['frechet']:.3f} |" in lines[3]

    _, probabilities = judge.load().predict(gan.generate(80, seed=0), verbose=0)
    np.testing.assert_allclose(
        fake["histogram"], sample_metrics.class_histogram(probabilities)
    )
