"""The models that come with the package."""

import json

import numpy as np
import pytest
from conftest import copy_with_another_byte
from PIL import Image

from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import runs
from keras_ssgan import shipped
from keras_ssgan.errors import InputError

MODELS = [
    shipped.CLASSIFIER,
    shipped.FOLDER / "mnist_12000_labels.keras",
    shipped.GENERATOR,
]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_shipped_model_is_small_and_the_one_of_its_card(path):
    card = shipped.verify(path)
    assert path.stat().st_size < 4_500_000
    assert card["test_error"] == card["test_errors"] / card["test_images"]
    assert "keras-ssgan train" in card["command"]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_shipped_model_has_the_test_error_of_its_card(path, mnist_path):
    dataset = datasets.load(mnist_path)
    probabilities = runs.load_classifier(path).predict(
        dataset.x_test, batch_size=256, verbose=0
    )
    errors = np.sum(probabilities.argmax(axis=-1) != dataset.y_test)
    # Rounding differs between backends; few images lie on an edge.
    assert abs(errors - shipped.verify(path)["test_errors"]) <= 2


def test_another_file_than_that_of_the_card_is_refused(tmp_path):
    path = copy_with_another_byte(shipped.CLASSIFIER, tmp_path)
    with pytest.raises(InputError, match="not the file that its card"):
        shipped.verify(path)


def test_predict_reads_a_digit_without_a_model_of_ones_own(
    tmp_path, capsys, caplog
):
    (images, labels), _ = datasets.load_digits()
    rows = np.flatnonzero(labels == 0)[:3]
    for row in rows:
        # Enlarged, since MNIST's strokes are smooth.
        image = Image.fromarray(images[row]).resize((64, 64), Image.BICUBIC)
        image.save(tmp_path / f"{row}.png")
    assert cli.main(["predict", "--json", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["class"] for line in lines] == ["0"] * 3
    assert "MNIST's digits that is shipped" in caplog.text


def test_predict_with_a_model_alone_asks_for_images(capsys):
    assert cli.main(["predict", str(shipped.CLASSIFIER)]) == 2
    assert "name the images" in capsys.readouterr().err


def test_generate_draws_digits_without_a_model_of_ones_own(tmp_path):
    path = tmp_path / "samples.png"
    arguments = ["generate", "--count", "100", "--seed", "0"]
    arguments += ["--columns", "10", "--output", str(path)]
    assert cli.main(arguments) == 0
    # The classifier that learnt from other runs knows all ten among them.
    gan = runs.load_gan(shipped.GENERATOR)
    classifier = runs.load_classifier(shipped.CLASSIFIER)
    images = gan.generate(100, seed=0)[..., 0]
    classes = classifier.predict(images, verbose=0).argmax(axis=-1)
    assert set(classes) == set(range(10))
