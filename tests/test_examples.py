"""The examples run as they stand, on little data."""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from keras_ssgan import settings

_EXAMPLES = Path(__file__).parents[1] / "examples"


def _main_of(name):
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.any_backend
def test_article_mnist(tmp_path):
    rng = np.random.default_rng(0)
    dataset = tmp_path / "small.npz"
    np.savez(
        dataset,
        x_train=rng.integers(0, 256, (50, 28, 28), dtype="uint8"),
        y_train=np.arange(50) % 10,
        x_test=rng.integers(0, 256, (10, 28, 28), dtype="uint8"),
        y_test=np.arange(10),
    )
    samples = tmp_path / "samples.png"
    arguments = ["--dataset", str(dataset), "--samples", str(samples)]
    arguments += ["--epochs", "1", "--batch-size", "25"]
    scores = _main_of("article_mnist.py")(arguments)
    assert 0 <= scores["accuracy"] <= 1
    with Image.open(samples) as grid:
        assert grid.width > 5 * 64


@pytest.mark.any_backend
def test_your_own_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder, level in (("dark", 40), ("light", 200), ("unlabeled", 120)):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(level, level + 40, (12, 12), dtype="uint8")
            path = tmp_path / "images" / folder / f"{i}.png"
            Image.fromarray(pixels).save(path)
    output = tmp_path / "classifier.keras"
    arguments = [str(tmp_path / "images"), str(output)]
    arguments += ["--epochs", "2", "--batch-size", "8"]
    scores = _main_of("your_own_images.py")(arguments)
    assert f"Test accuracy: {scores['accuracy']:.2%}" in capsys.readouterr().out
    classifier = keras.saving.load_model(output)
    assert classifier.output_shape == (None, 2)


@pytest.mark.any_backend
def test_custom_networks(capsys):
    scores = _main_of("custom_networks.py")(["--epochs", "3"])
    assert f"Test accuracy: {scores['accuracy']:.2%}" in capsys.readouterr().out
    # Three epochs are few, and a guess would be right one time in ten.
    assert scores["accuracy"] > 0.15


@pytest.mark.any_backend
def test_swap_backend(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(settings.PRESETS, "compact", TINY)
    other = "jax" if keras.backend.backend() == "torch" else "torch"
    arguments = ["--to", other, "--file", str(tmp_path / "swap.keras")]
    _main_of("swap_backend.py")([*arguments, "--epochs", "1"])
    printed = capfd.readouterr().out
    assert re.search(rf"^{other}: .* correct$", printed, re.M)
    difference = re.search(r"Probabilities differ by (\S+) at most", printed)
    assert float(difference[1]) < 1e-4


@pytest.mark.any_backend
@pytest.mark.usefixtures("convert_here")
def test_export_and_serve(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--epochs", "1", "--port", "0"]
    answer, expected = _main_of("export_and_serve.py")(arguments)
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    assert "of the test images are right" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(_EXAMPLES.glob("*.py")))
def test_every_example_is_run_by_a_test_here(path):
    assert f"test_{path.stem}" in globals()
