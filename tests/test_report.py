"""The report folder of `evaluate`."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_ssgan import calibration
from keras_ssgan import evaluation
from keras_ssgan import report
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend

NAMES = ["ant", "bee", "cat"]


@pytest.fixture
def case():
    """Images, labels and probabilities; about a third are mistakes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    probabilities = rng.dirichlet(np.ones(3), 150)
    right = rng.uniform(size=150) < 0.5
    probabilities[right] = 0.1 + 0.7 * np.eye(3)[labels[right]]
    images = rng.integers(0, 256, (150, 8, 8), dtype="uint8")
    return images, labels, probabilities


def write(folder, case, temperature=1.0, title="Insects", names=NAMES):
    images, labels, probabilities = case
    figures = evaluation.classification_report(
        labels, probabilities, temperature
    )
    report.write_report(
        folder, title, figures, images, labels, probabilities, names
    )
    return figures


def test_worst_mistakes_are_all_mistakes_and_the_surest_come_first(case):
    _, labels, probabilities = case
    worst = report.worst_mistakes(labels, probabilities)
    predictions = probabilities.argmax(axis=-1)
    assert set(worst) == set(np.flatnonzero(predictions != labels))
    assert (np.diff(probabilities[worst].max(axis=-1)) <= 0).all()


def test_the_folder_has_figures_text_and_pictures(case, tmp_path):
    figures = write(tmp_path / "report", case)
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {name: content[name] for name in figures} == figures
    assert sum(entry["images"] for entry in content["reliability"]) == 150
    text = (tmp_path / "report" / "report.md").read_text()
    for name in ("confusion", "reliability", "mistakes"):
        assert f"({name}.png)" in text
        with Image.open(tmp_path / "report" / f"{name}.png") as picture:
            picture.verify()
    assert f"{figures['accuracy']:.2%} correct" in text
    bee = f"| bee | {sum(figures['confusion'][1])} | "
    bee += f"{figures['precision'][1]:.2%} | {figures['recall'][1]:.2%} |"
    assert bee in text


def test_the_listed_mistakes_are_the_worst_with_their_names(case, tmp_path):
    _, labels, probabilities = case
    write(tmp_path / "report", case)
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    worst = report.worst_mistakes(labels, probabilities)
    assert len(content["mistakes"]) == report.MOST_MISTAKES < len(worst)
    for mistake, index in zip(content["mistakes"], worst, strict=False):
        assert mistake["image"] == index
        assert mistake["class"] == NAMES[labels[index]]
        best = probabilities[index].argmax()
        assert mistake["predicted"] == NAMES[best] != mistake["class"]
        assert mistake["probability"] == probabilities[index, best]


def test_names_of_data_are_no_markdown(case, tmp_path):
    names = ["a|b", "<b>&amp;</b>", r"c\|*_`~[x](y)"]
    write(tmp_path / "report", case, title="Images of <i>, *", names=names)
    text = (tmp_path / "report" / "report.md").read_text()
    title, rows = text.splitlines()[0], re.findall(r"\n\| (.*?) \| \d", text)
    assert title == r"# Images of &lt;i&gt;, \*"
    assert rows == [
        r"a\|b",
        "&lt;b&gt;&amp;amp;&lt;/b&gt;",
        r"c\\\|\*\_\`\~\[x\](y)",
    ]
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["class_names"] == names


def test_without_a_mistake_there_is_no_picture_of_one(case, tmp_path):
    images, _, probabilities = case
    write(tmp_path / "r", (images, probabilities.argmax(-1), probabilities))
    assert not (tmp_path / "r" / "mistakes.png").exists()
    text = (tmp_path / "r" / "report.md").read_text()
    assert "There are none." in text and "mistakes.png" not in text


def test_a_folder_that_is_there_is_not_touched(case, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="cannot be made"):
        write(tmp_path, case)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_summary_compares_with_temperature_1_if_there_is_another(case):
    _, labels, probabilities = case
    plain = evaluation.classification_report(labels, probabilities)
    assert len(report.summary(plain)) == 2
    calibrated = evaluation.classification_report(
        labels, calibration.rescale(probabilities, 0.5), temperature=2.0
    )
    _, now, before = report.summary(calibrated)
    assert "at temperature 2.000" in now
    assert f"calibration error {plain['calibration_error']:.2%}" in before


def test_classes_that_are_never_predicted_have_no_precision():
    figures = evaluation.classification_report(
        np.array([0, 1]), np.eye(3)[[0, 0]]
    )
    table = report.class_table(figures, NAMES)
    assert table[2:] == [("bee", "1", "-", "0.00%"), ("cat", "0", "-", "-")]
