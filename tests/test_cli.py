"""The command line, as a user types it."""

import csv
import importlib
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssgan import cli
from keras_ssgan import datasets


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """40 training and 20 test images of ten classes, 8x8, as a file."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(
        path,
        x_train=rng.integers(0, 256, (40, 8, 8), dtype="uint8"),
        y_train=np.arange(40) % 10,
        x_test=rng.integers(0, 256, (20, 8, 8), dtype="uint8"),
        y_test=np.arange(20) % 10,
    )
    return str(path)


@pytest.fixture(scope="module")
def run(npz, tmp_path_factory):
    """The folder of a run that the command line trained."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", "--dataset", npz, "--preset", "tiny"]
    arguments += ["--labels", "20", "--validation", "0", "--epochs", "1"]
    arguments += ["--batch-size", "20", "--output", str(folder), "--quiet"]
    assert cli.main(arguments) == 0
    return folder


def _fails_with_one_line(arguments, capsys):
    """Runs the command line, which should refuse; returns what it said."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("keras-ssgan: ")
    assert captured.err.count("\n") == 1
    return captured.err


def _python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_help_does_not_import_keras():
    code = (
        "import sys\n"
        "from keras_ssgan import cli\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'keras' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    result = _python(code)
    assert result.returncode == 0, result.stderr
    assert "--labels" in result.stdout


def test_package_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "keras_ssgan", "--version"],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "0.1.0")


def test_backend_option_wins_over_the_environment(run, tmp_path):
    other = "jax" if keras.backend.backend() != "jax" else "torch"
    arguments = ["generate", str(run), "--output", str(tmp_path / "a.png")]
    code = (
        "from keras_ssgan import cli\n"
        f"assert cli.main({[*arguments, '--backend', other]}) == 0\n"
        "import keras\n"
        "print(keras.backend.backend())\n"
    )
    result = _python(code, KERAS_BACKEND="tensorflow")
    assert result.stdout.splitlines()[-1] == other, result.stderr


@pytest.mark.parametrize("where", ["option", "environment"])
def test_an_unknown_backend_is_refused(where, run, capsys, monkeypatch):
    arguments = ["generate", run]
    if where == "option":
        arguments += ["--backend", "theano"]
    else:
        monkeypatch.setenv("KERAS_BACKEND", "theano")
    message = _fails_with_one_line(arguments, capsys)
    assert "'theano' is unknown; use tensorflow, jax, torch" in message


def test_a_backend_that_is_not_installed_is_named(run, capsys, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(importlib, "import_module", import_module)
    message = _fails_with_one_line(["generate", run], capsys)
    assert "jax is not installed; run pip install jax" in message


def test_train_prints_both_accuracies_and_counts(npz, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["train", "--dataset", npz, "--preset", "tiny"]
    arguments += ["--labels", "0.5", "--validation", "0.5", "--epochs", "1"]
    arguments += ["--batch-size", "20", "--output", str(folder), "--baseline"]
    assert cli.main(arguments) == 0
    output = capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    for part, title in (
        ("test", "semi-supervised, 10 labelled and 20 unlabelled images"),
        ("baseline", "the same network on the 10 labelled images alone"),
    ):
        share = f"{metrics[part]['accuracy']:.2%}"
        errors = f"({metrics[part]['errors']} errors in 20)"
        assert f"{share} correct {errors}: {title}" in output
    assert "d_loss_supervised:" in output


def test_train_does_not_touch_an_existing_folder(run, npz, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    arguments = ["train", "--dataset", npz, "--output", run]
    assert "exists already" in _fails_with_one_line(arguments, capsys)
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert after == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset", "nowhere"], "there is no dataset 'nowhere'"),
        (["--preset", "huge"], "preset 'huge' is unknown"),
        (["--labels", "5"], "too few for 10 classes"),
        (["--labels", "1.5"], "a share lies in"),
        (["--labels", "4000"], "there are 40"),
        (["--labels", "0.5", "--labeled-per-batch", "64"], "is 64 of a batch"),
        (["--resume"], "no run to resume"),
    ],
)
def test_train_refuses_what_cannot_be(
    arguments, message, npz, tmp_path, capsys
):
    folder = tmp_path / "run"
    given = ["train", "--preset", "tiny", "--output", folder]
    if "--dataset" not in arguments:
        given += ["--dataset", npz]
    assert message in _fails_with_one_line([*given, *arguments], capsys)
    assert not folder.exists()


def test_resume_needs_a_folder(capsys):
    message = _fails_with_one_line(["train", "--resume"], capsys)
    assert "--resume needs --output" in message


def test_resume_needs_no_more_than_the_folder(run, capsys):
    assert cli.main(["train", "--resume", "--output", str(run)]) == 0
    assert "correct" in capsys.readouterr().out


def test_evaluate_agrees_with_the_run(run, npz, capsys):
    arguments = ["evaluate", str(run), "--dataset", npz, "--json", "--quiet"]
    assert cli.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((run / "metrics.json").read_text())["test"]


def test_evaluate_prints_each_class(run, npz, capsys):
    assert cli.main(["evaluate", str(run), "--dataset", npz, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "errors in 20" in lines[0]
    assert len(lines) == 11


@pytest.mark.parametrize("name", ["classifier.keras", "gan.keras", ""])
def test_predict_says_what_the_classifier_says(
    name, run, npz, tmp_path, capsys
):
    with np.load(npz) as arrays:
        image = arrays["x_test"][0]
    path = tmp_path / "digit.png"
    Image.fromarray(image).save(path)
    arguments = ["predict", str(run / name), str(path), "--as-is", "--json"]
    assert cli.main(arguments) == 0
    row = json.loads(capsys.readouterr().out)
    classifier = keras.saving.load_model(run / "classifier.keras")
    expected = classifier.predict(image[None], verbose=0)[0]
    np.testing.assert_allclose(row["probabilities"], expected, atol=1e-5)
    assert row["class"] == str(expected.argmax())


@pytest.fixture
def drawings(tmp_path):
    """A folder of three pictures with ink in other places, of two sizes."""
    folder = tmp_path / "drawings"
    folder.mkdir()
    for index, size in enumerate([(30, 40), (20, 20), (30, 40)]):
        image = Image.new("L", size, "white")
        image.paste(0, (4 + index, 3, 9 + 2 * index, 12 + 3 * index))
        image.save(folder / f"{index}.png")
    return folder


def _predict(run, *arguments):
    """Runs `predict`, which should succeed."""
    arguments = ["predict", run, *arguments]
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize(
    "model, option, read",
    [
        # The images of the run were of 8x8 pixels, and no digits as MNIST's.
        ("", [], datasets.read_image),
        ("classifier.keras", [], datasets.read_digit),
        ("classifier.keras", ["--as-is"], datasets.read_image),
    ],
)
def test_predict_normalises_for_mnist_unless_told_not_to(
    model, option, read, run, drawings, capsys
):
    _predict(run / model, drawings, "--json", *option)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = sorted(drawings.iterdir())
    assert [row["file"] for row in rows] == [str(file) for file in files]
    classifier = keras.saving.load_model(run / "classifier.keras")
    for row, file in zip(rows, files, strict=True):
        expected = classifier.predict(read(file)[None], verbose=0)[0]
        np.testing.assert_allclose(row["probabilities"], expected, atol=1e-5)


def test_predict_prints_the_best_class_and_the_next(run, drawings, capsys):
    _predict(run, drawings / "*.png", "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    _predict(run, drawings / "*.png")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "file",
        "class",
        "probability",
        "runner-up",
        "probability",
    ]
    for row, line in zip(rows, lines, strict=True):
        shares = row["probabilities"]
        second, best = sorted(range(10), key=shares.__getitem__)[-2:]
        file, *cells = line.split()
        assert file == row["file"]
        assert (cells[0], cells[2]) == (str(best), str(second))
        for cell, label in ((cells[1], best), (cells[3], second)):
            assert float(cell.rstrip("%")) == pytest.approx(
                100 * shares[label], abs=0.051
            )


def test_predict_prints_csv_with_a_column_per_class(run, drawings, capsys):
    _predict(run, drawings, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    _predict(run, drawings, "--csv")
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    names = [str(label) for label in range(10)]
    assert list(table[0]) == ["file", "class", "probability", *names]
    for row, cells in zip(rows, table, strict=True):
        assert (cells["file"], cells["class"]) == (row["file"], row["class"])
        assert cells["probability"] == cells[row["class"]]
        shares = [float(cells[name]) for name in names]
        np.testing.assert_allclose(shares, row["probabilities"], atol=1e-6)


def test_csv_quotes_a_file_name_with_a_comma(run, drawings, capsys):
    path = (drawings / "0.png").rename(drawings / 'a,"b".png')
    _predict(run, path, "--csv")
    _, row = csv.reader(capsys.readouterr().out.splitlines())
    assert row[0] == str(path) and len(row) == 13


def test_predict_prints_json_or_csv_not_both(run, drawings, capsys):
    with pytest.raises(SystemExit) as info:
        cli.main(["predict", str(run), str(drawings), "--json", "--csv"])
    assert info.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--as-is"]])
def test_one_unreadable_image_leaves_no_half_answer(
    option, run, drawings, capsys
):
    (drawings / "broken.png").write_bytes(b"\x89PNG")
    arguments = ["predict", run, drawings, *option]
    assert cli.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert "broken.png" in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


def test_predict_names_what_matches_nothing(run, drawings, capsys):
    pattern = drawings / "*.jpg"
    arguments = ["predict", run, drawings / "0.png", pattern]
    assert str(pattern) in _fails_with_one_line(arguments, capsys)


def test_generate_writes_a_grid_that_the_seed_decides(run, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        path = str(tmp_path / f"{name}.png")
        arguments = ["generate", str(run), "--count", "4", "--columns", "2"]
        arguments += ["--seed", seed, "--output", path]
        assert cli.main(arguments) == 0
    first, second, third = (
        np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abc"
    )
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_generate_does_not_overwrite(run, tmp_path, capsys):
    path = tmp_path / "a.png"
    path.write_text("mine")
    arguments = ["generate", run, "--output", path]
    assert "exists already" in _fails_with_one_line(arguments, capsys)
    assert path.read_text() == "mine"


def test_a_classifier_cannot_generate(run, tmp_path, capsys):
    model = run / "classifier.keras"
    arguments = ["generate", model, "--output", tmp_path / "a.png"]
    assert "is no GAN" in _fails_with_one_line(arguments, capsys)


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_model_that_cannot_be_loaded_is_named(content, tmp_path, capsys):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    message = _fails_with_one_line(["evaluate", path], capsys)
    assert "model.keras" in message


def test_quiet_prints_results_alone(run, npz, capsys):
    arguments = ["evaluate", str(run), "--dataset", npz, "--json", "--quiet"]
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1


def test_export_writes_what_predicts_as_the_run_does(
    run, npz, tmp_path, capsys
):
    arguments = ["export", run, "--formats", "keras"]
    arguments += ["--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    accuracy = json.loads((run / "metrics.json").read_text())["test"][
        "accuracy"
    ]
    printed = capsys.readouterr().out
    assert f"{accuracy:.2%} correct: {tmp_path / 'digits.keras'}" in printed
    images = np.load(npz)["x_test"]
    exported, original = (
        keras.saving.load_model(path).predict(images, verbose=0)
        for path in (tmp_path / "digits.keras", run / "classifier.keras")
    )
    np.testing.assert_allclose(exported, original, atol=1e-5)


@pytest.mark.parametrize(
    "formats, message",
    [("keras,floppy", "'floppy' is unknown"), ("keras", "exists already")],
)
def test_export_refuses_what_it_cannot_write(
    formats, message, run, tmp_path, capsys
):
    (tmp_path / "digits.keras").write_text("precious")
    arguments = ["export", run, "--formats", formats]
    arguments += ["--output", tmp_path / "digits"]
    assert message in _fails_with_one_line(arguments, capsys)
    assert (tmp_path / "digits.keras").read_text() == "precious"


def test_a_generator_that_is_not_there_leaves_nothing(run, tmp_path, capsys):
    arguments = ["export", run / "classifier.keras", "--formats", "keras"]
    arguments += ["--generator", "--output", tmp_path / "digits"]
    assert "is no GAN" in _fails_with_one_line(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_gan_is_exported_too(run, tmp_path):
    arguments = ["export", run / "gan.keras", "--formats", "keras"]
    arguments += ["--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert (tmp_path / "digits.keras").exists()
