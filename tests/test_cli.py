"""The command line, as a user types it."""

import csv
import functools
import importlib
import io
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import hide_packages
from conftest import save_noise
from PIL import Image

from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import export
from keras_ssgan import plotting
from keras_ssgan import sampling
from keras_ssgan import training

# Training and going on with it, from the command line too, is what
# test_training.py, test_resume.py and test_distribution.py have on each.
pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """40 training and 20 test images of ten classes, 8x8, as a file."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    save_noise(path, 40, 20)
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


def _is_refused(words, capsys):
    """Runs words that the command line has no use for; returns what it said."""
    with pytest.raises(SystemExit) as info:
        cli.main(words)
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-ssgan: ")
    assert error.endswith(
        f"; see {' '.join(['keras-ssgan', *words[:1]])} --help\n"
    )
    assert error.count("\n") == 1
    return error


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
    other = "torch" if keras.backend.backend() != "torch" else "jax"
    arguments = ["generate", str(run), "--output", str(tmp_path / "a.png")]
    code = (
        "from keras_ssgan import cli\n"
        f"assert cli.main({[*arguments, '--backend', other]}) == 0\n"
        "import keras\n"
        "print(keras.backend.backend())\n"
    )
    result = _python(code, KERAS_BACKEND="tensorflow")
    assert result.stdout.splitlines()[-1] == other, result.stderr


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="has no oneDNN"
)
@pytest.mark.parametrize("given", [None, "0"])
def test_tensorflow_computes_with_onednn_unless_it_is_told_otherwise(
    given, monkeypatch
):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    code = (
        "from keras_ssgan import cli\n"
        "cli.main(['evaluate', 'nowhere', '--backend', 'tensorflow'])\n"
        "from tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())\n"
    )
    environment = {} if given is None else {"TF_ENABLE_ONEDNN_OPTS": given}
    result = _python(code, **environment)
    assert result.stdout.splitlines()[-1] == str(given is None), result.stderr


@pytest.mark.parametrize("where", ["option", "environment"])
def test_an_unknown_backend_is_refused(where, run, capsys, monkeypatch):
    arguments = ["generate", run]
    if where == "option":
        arguments += ["--backend", "theano"]
    else:
        monkeypatch.setenv("KERAS_BACKEND", "theano")
    message = _fails_with_one_line(arguments, capsys)
    assert "'theano' is unknown; use tensorflow, jax, torch" in message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_backend_is_imported_ends_with_one_line(
    number, monkeypatch, capsys
):
    def import_module(name):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            # What TensorFlow's extension modules make of it.
            raise ImportError("initialization failed") from None

    # Where the tests run in the background it is ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(importlib, "import_module", import_module)
    try:
        assert cli.main(["evaluate", "nothing"]) == 128 + number
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr().err == "keras-ssgan: stopped\n"


def test_a_backend_that_is_not_installed_is_named(run, capsys, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(importlib, "import_module", import_module)
    message = _fails_with_one_line(["generate", run], capsys)
    assert "jax is not installed; run pip install jax" in message


def test_a_path_that_the_system_does_not_take_is_named(run, capsys):
    path = 300 * "a" + ".png"
    message = _fails_with_one_line(["predict", run, path], capsys)
    assert f"{path}: File name too long" in message


def test_an_error_of_ours_is_no_error_of_the_user(monkeypatch):
    def fail(arguments):
        raise OSError("no file is to blame")

    monkeypatch.setitem(cli._COMMANDS, "generate", fail)
    with pytest.raises(OSError, match="no file is to blame"):
        cli.main(["generate"])


@pytest.fixture
def no_room():
    """A disk on which files end after some bytes, as they do on a full one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (size, limits[1])
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    "command, output",
    [
        ("generate", "samples.png"),
        ("generate --interpolate 9", "loop.gif"),
        ("evaluate", "report"),
        ("export --formats keras", "digits"),
    ],
)
def test_a_full_disk_leaves_nothing_half_written(
    command, output, run, tmp_path, capsys, no_room
):
    command, *options = command.split()
    arguments = [command, run, *options, "--output", tmp_path / output]
    no_room(2000)
    error = _fails_with_one_line(arguments, capsys)
    no_room(resource.RLIM_INFINITY)
    assert "File too large" in error
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_enough_is_no_error(run, tmp_path):
    Image.fromarray(np.eye(8, dtype="uint8") * 255).save(tmp_path / "a.png")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "keras_ssgan", "predict", str(run)]
    result = subprocess.run(
        [*command, str(tmp_path), "--json", "--as-is"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert result.returncode == 141
    assert "Error" not in result.stderr


def test_train_prints_both_accuracies_and_counts(npz, tmp_path, capsys, caplog):
    folder = tmp_path / "run"
    arguments = ["train", "--dataset", npz, "--preset", "tiny"]
    arguments += ["--labels", "0.5", "--validation", "0.5", "--epochs", "2"]
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
    assert "accuracy:" in output
    # After the first of two epochs of each.
    assert caplog.text.count("of training left") == 2


def test_quiet_training_prints_results_alone(npz, tmp_path, capfd, caplog):
    arguments = ["train", "--dataset", npz, "--preset", "tiny"]
    arguments += ["--labels", "20", "--validation", "0", "--epochs", "2"]
    arguments += ["--batch-size", "20", "--output", str(tmp_path / "run")]
    assert cli.main([*arguments, "--quiet"]) == 0
    score, written = capfd.readouterr().out.splitlines()
    assert "correct" in score and written.startswith("Written to")
    assert not caplog.records


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
        (["--resume"], "holds no run"),
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


@pytest.mark.parametrize(
    "dataset, folder",
    [
        ("digits", "digits-tiny"),
        ("a.b.npz", "a.b-tiny"),
        ("pets.v1", "pets.v1-tiny"),
        ("pets.v1/", "pets.v1-tiny"),
        (".", "my.pets-tiny"),
        ("pets.v1/..", "my.pets-tiny"),
    ],
)
def test_the_default_folder_has_the_name_of_the_dataset(
    dataset, folder, tmp_path, monkeypatch
):
    given = []
    monkeypatch.setattr(
        training, "train", lambda config, folder, *_, **__: given.append(folder)
    )
    (tmp_path / "my.pets" / "pets.v1").mkdir(parents=True)
    (tmp_path / "my.pets" / "a.b.npz").touch()
    monkeypatch.chdir(tmp_path / "my.pets")
    arguments = ["train", "--dataset", dataset, "--preset", "tiny"]
    assert cli.main(arguments) == 0
    assert given == [pathlib.Path("runs", folder)]


def test_resume_needs_a_folder(capsys):
    message = _fails_with_one_line(["train", "--resume"], capsys)
    assert "--resume needs --output" in message


def test_resume_needs_no_more_than_the_folder(run, capsys):
    assert cli.main(["train", "--resume", "--output", str(run)]) == 0
    assert "correct" in capsys.readouterr().out


def test_a_run_without_held_out_labels_says_it_is_not_calibrated(run, caplog):
    assert cli.main(["train", "--resume", "--output", str(run)]) == 0
    assert "probabilities are not calibrated" in caplog.text
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["temperature"] == 1.0


def test_evaluate_agrees_with_the_run(run, npz, capsys):
    arguments = ["evaluate", str(run), "--dataset", npz, "--json", "--quiet"]
    assert cli.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    # K times K numbers, which `confusion.png` of the run shows.
    assert np.sum(report.pop("confusion")) == 20
    assert report == json.loads((run / "metrics.json").read_text())["test"]


def test_a_dataset_that_lies_elsewhere_now_is_asked_for(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    config["dataset"] = "pictures"
    (folder / "config.json").write_text(json.dumps(config))
    message = _fails_with_one_line(["evaluate", folder], capsys)
    assert "no dataset 'pictures'" in message
    assert f"{folder} was trained with it" in message and "--dataset" in message


def test_evaluate_prints_each_class(run, npz, capsys):
    assert cli.main(["evaluate", str(run), "--dataset", npz, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "errors in 20), 95% interval" in lines[1]
    assert "calibration error" in lines[2]
    assert lines[3].split() == ["class", "images", "precision", "recall"]
    assert [line.split()[:2] for line in lines[4:]] == [
        [str(label), "2"] for label in range(10)
    ]


def test_evaluate_writes_a_report(run, npz, tmp_path, capsys):
    folder = tmp_path / "report"
    arguments = ["evaluate", str(run), "--dataset", npz, "--json"]
    assert cli.main([*arguments, "--output", str(folder)]) == 0
    figures = json.loads(capsys.readouterr().out)
    content = json.loads((folder / "report.json").read_text())
    assert {name: content[name] for name in figures} == figures
    assert str(run) in content["title"]


def test_evaluate_does_not_overwrite(run, npz, tmp_path, capsys):
    arguments = ["evaluate", run, "--dataset", npz, "--output", tmp_path]
    assert "exists already" in _fails_with_one_line(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


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
    shares = row["probabilities"]
    assert list(shares) == [str(label) for label in range(10)]
    np.testing.assert_allclose(list(shares.values()), expected, atol=1e-5)
    assert row["class"] == str(expected.argmax())
    assert row["probability"] == max(shares.values())


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


@pytest.fixture
def unknown(run, tmp_path):
    """A classifier as Keras saves it, without a word about its images."""
    path = tmp_path / "unknown.keras"
    keras.saving.load_model(run / "classifier.keras").save(path)
    return path


def _predict(run, *arguments):
    """Runs `predict`, which should succeed."""
    arguments = ["predict", run, *arguments]
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize(
    "model, option, read",
    [
        # The images of the run were of 8x8 pixels, and no digits as MNIST's.
        ("run", [], functools.partial(datasets.read_image, image_size=(8, 8))),
        (
            "run/classifier.keras",
            [],
            functools.partial(datasets.read_image, image_size=(8, 8)),
        ),
        # So do its files, wherever they are.
        (
            "moved.keras",
            [],
            functools.partial(datasets.read_image, image_size=(8, 8)),
        ),
        # What Keras has saved does not say.
        ("unknown.keras", [], datasets.read_digit),
        ("unknown.keras", ["--as-is"], datasets.read_image),
        # As earlier versions wrote it.
        (
            "run/unknown.keras",
            [],
            functools.partial(datasets.read_image, image_size=(8, 8)),
        ),
    ],
)
def test_predict_normalises_as_the_run_or_for_mnist_unless_told_not_to(
    model, option, read, run, unknown, drawings, tmp_path, capsys
):
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(run / "classifier.keras", tmp_path / "moved.keras")
    shutil.copy(unknown, tmp_path / "run")
    _predict(tmp_path / model, drawings, "--json", *option)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = sorted(drawings.iterdir())
    assert [row["file"] for row in rows] == [str(file) for file in files]
    classifier = keras.saving.load_model(run / "classifier.keras")
    for row, file in zip(rows, files, strict=True):
        expected = classifier.predict(read(file)[None], verbose=0)[0]
        shares = list(row["probabilities"].values())
        np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_a_model_that_does_not_say_what_images_it_is_for_is_named(
    run, unknown, drawings, tmp_path, caplog
):
    known = shutil.copy(run / "classifier.keras", tmp_path)
    _predict(known, drawings)
    assert "does not say" not in caplog.text
    _predict(unknown, drawings)
    assert f"{unknown} does not say what images it is for" in caplog.text


@pytest.mark.parametrize("name", ["classifier.keras", ""])
def test_predict_wants_the_model_before_the_images(name, run, drawings, capsys):
    message = _fails_with_one_line(["predict", drawings, run / name], capsys)
    assert f"{run / name} is a model; name one model, before" in message


def test_predict_normalises_as_the_digits_of_the_run(
    run, drawings, tmp_path, capsys
):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics |= {"ink_size": [7, 5], "ink_by_mass": False, "light_paper": True}
    path.write_text(json.dumps(metrics))
    _predict(tmp_path / "run", drawings, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    classifier = keras.saving.load_model(run / "classifier.keras")
    digit_format = datasets.DigitFormat((8, 8), (7, 5), False, True)
    for row, file in zip(rows, sorted(drawings.iterdir()), strict=True):
        digit = datasets.read_digit(file, digit_format)
        expected = classifier.predict(digit[None], verbose=0)[0]
        shares = list(row["probabilities"].values())
        np.testing.assert_allclose(shares, expected, atol=1e-5)


@pytest.mark.parametrize("option", ["--json", "--csv", "--quiet"])
def test_predict_answers_what_is_readable_and_names_the_rest(
    option, unknown, drawings, tmp_path, capsys
):
    Image.new("L", (9, 9), "white").save(drawings / "blank.png")
    (drawings / "2.5.png").write_bytes(b"no image")
    arguments = ["predict", str(unknown), str(drawings), option]
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    for name in ("0.png", "1.png", "2.png"):
        assert str(drawings / name) in captured.out
    assert "2.5" not in captured.out and "blank" not in captured.out
    first, second = captured.err.splitlines()
    assert f"{drawings / '2.5.png'} is no readable image" in first
    assert f"{drawings / 'blank.png'} is blank" in second


def test_predict_prints_the_errors_alone_where_none_is_readable(
    unknown, tmp_path, capsys
):
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for path in paths:
        Image.new("L", (9, 9), "white").save(path)
    assert cli.main(["predict", str(unknown), *paths, "--csv"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for path, line in zip(paths, captured.err.splitlines(), strict=True):
        assert f"{path} is blank" in line


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
        shares = list(row["probabilities"].values())
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
        expected = list(row["probabilities"].values())
        np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_csv_keeps_the_bytes_of_a_file_name(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    name = os.fsdecode(b"scan\xff.png")
    cli._print_csv([name], ["a", "b"], np.array([[0.25, 0.75]]))
    stdout.flush()
    line = stdout.buffer.getvalue().splitlines()[1]
    assert line == b"scan\xff.png,b,0.750000,0.250000,0.750000"


def test_csv_is_utf_8_whatever_the_terminal_has(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    cli._print_csv(["1.png"], ["猫", "犬"], np.array([[0.25, 0.75]]))
    stdout.flush()
    head, line = stdout.buffer.getvalue().decode("utf-8").splitlines()
    assert head == "file,class,probability,猫,犬"
    assert line.startswith("1.png,犬,")


@pytest.mark.parametrize("outputs", ["scores", "two"])
@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_a_model_of_another_kind_is_no_classifier(
    command, outputs, drawings, tmp_path, capsys
):
    images = keras.Input((8, 8))
    scores = keras.layers.Dense(10)(keras.layers.Flatten()(images))
    path = tmp_path / "other.keras"
    outputs = scores if outputs == "scores" else [scores, scores]
    keras.Model(images, outputs).save(path)
    arguments = [command, path]
    if command == "predict":
        arguments.append(drawings)
    if command == "export":
        arguments += ["--output", tmp_path / "exported"]
    message = _fails_with_one_line(arguments, capsys)
    assert "neither a GAN nor the classifier of one" in message


def test_csv_quotes_a_file_name_with_a_comma(run, drawings, capsys):
    path = (drawings / "0.png").rename(drawings / 'a,"b".png')
    _predict(run, path, "--csv")
    _, row = csv.reader(capsys.readouterr().out.splitlines())
    assert row[0] == str(path) and len(row) == 13


def test_predict_prints_json_or_csv_not_both(run, drawings, capsys):
    error = _is_refused(
        ["predict", str(run), str(drawings), "--json", "--csv"], capsys
    )
    assert "not allowed with" in error


@pytest.mark.parametrize(
    "classes, shape, message",
    [
        (12, (8, 8), "for 10 classes and .* has 12"),
        (3, (8, 8), "for 10 classes and .* has 3"),
        (10, (8, 8, 3), "for 1 channels and .* has 3"),
    ],
)
def test_a_model_is_not_evaluated_on_what_it_is_not_for(
    classes, shape, message, run, tmp_path, capsys
):
    other = tmp_path / "other.npz"
    save_noise(other, 40, 40, shape, classes)
    arguments = ["evaluate", run, "--dataset", other]
    assert re.search(message, _fails_with_one_line(arguments, capsys))


def test_a_run_is_not_evaluated_on_classes_of_other_names(
    run, tmp_path, capsys
):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps({**metrics, "class_names": [*"ABCDEFGHIJ"]}))
    pictures = tmp_path / "pictures"
    for name in "abcdefghij":
        for number in range(2):
            (pictures / name).mkdir(parents=True, exist_ok=True)
            image = Image.new("L", (8, 8), number)
            image.save(pictures / name / f"{number}.png")
    for command in (
        ["evaluate", tmp_path / "run"],
        ["export", tmp_path / "run", "--output", tmp_path / "exported"],
    ):
        error = _fails_with_one_line([*command, "--dataset", pictures], capsys)
        assert "is A where that of" in error and "is a;" in error
    assert not (tmp_path / "exported").exists()


def test_a_run_is_not_evaluated_on_its_dataset_once_that_has_changed(
    run, npz, tmp_path, capsys
):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    with np.load(npz) as arrays:
        arrays = dict(arrays)
    arrays["x_test"] = arrays["x_test"][::-1]
    arrays["y_test"] = arrays["y_test"][::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    other = str(tmp_path / "other.npz")
    path.write_text(json.dumps({**config, "dataset": other}))
    for command in (
        ["evaluate", tmp_path / "run"],
        ["export", tmp_path / "run", "--output", tmp_path / "exported"],
    ):
        error = _fails_with_one_line(command, capsys)
        assert "has changed since" in error and f"--dataset {other}" in error
    arguments = ["evaluate", str(tmp_path / "run"), "--dataset", other]
    assert cli.main([*arguments, "--quiet"]) == 0


def test_a_run_is_evaluated_on_its_own_dataset(run, npz, capsys):
    assert cli.main(["evaluate", str(run), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 20
    assert cli.main(["evaluate", str(run), "--quiet"]) == 0
    assert f"Test images of {npz}, by {run}" in capsys.readouterr().out


def test_the_dataset_that_a_run_names_is_shown_on_one_printable_line(
    run, npz, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    name = os.fsdecode(b"\x1b[2J\xc3\xa9\xff.npz")
    shutil.copy(npz, tmp_path / name)
    config = json.loads((folder / "config.json").read_text())
    config["dataset"] = str(tmp_path / name)
    (folder / "config.json").write_text(json.dumps(config))
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    report = tmp_path / "report"
    arguments = ["evaluate", folder, "--quiet", "--output", report]
    assert cli.main([str(argument) for argument in arguments]) == 0
    stdout.flush()
    title = stdout.buffer.getvalue().splitlines()[0].decode()
    shown = f"Test images of {tmp_path}/\ufffd[2J\xe9\ufffd.npz, by {folder}"
    assert title == shown.encode("ascii", "backslashreplace").decode()
    text = (report / "report.md").read_text()
    # Markdown has its marks escaped.
    assert shown in text.replace("\\", "")


@pytest.mark.parametrize("name", ["classifier.keras", "gan.keras"])
def test_a_run_that_has_not_ended_is_to_be_finished(
    name, run, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / name).unlink()
    command = "evaluate" if name == "classifier.keras" else "generate"
    message = _fails_with_one_line([command, folder], capsys)
    assert "not ended" in message and "train --resume" in message


@pytest.mark.parametrize(
    "words, remedy",
    [
        (["train", "--labels", "few"], "a share such as 0.2 nor a count"),
        (["generate", "--columns", "few"], "is no whole number"),
        (["train", "--checkpoint-every", "often"], "'often' is no number"),
        (["train", "--checkpoint-every", "nan"], "has to be at least 0"),
        (["train", "--checkpoint-every", "-1"], "has to be at least 0"),
        (["train", "--lables", "9"], "unrecognized arguments: --lables 9"),
    ],
)
def test_what_the_command_line_does_not_take_is_named(words, remedy, capsys):
    error = _is_refused(words, capsys)
    assert remedy in error


def test_a_report_is_not_written_into_a_file(run, npz, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["evaluate", run, "--dataset", npz]
    arguments += ["--output", tmp_path / "file" / "report"]
    assert "cannot be made" in _fails_with_one_line(arguments, capsys)


def test_colour_is_refused_before_anything_is_written(tmp_path, capsys):
    colour = tmp_path / "colour.npz"
    save_noise(colour, 40, 40, (8, 8, 3))
    arguments = ["train", "--dataset", colour, "--preset", "tiny"]
    arguments += ["--output", tmp_path / "run"]
    assert "3 channels" in _fails_with_one_line(arguments, capsys)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_put_into_a_file(npz, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["train", "--dataset", npz, "--preset", "tiny"]
    arguments += ["--labels", "20", "--output", tmp_path / "file" / "run"]
    message = _fails_with_one_line(arguments, capsys)
    assert "Not a directory" in message


@pytest.mark.parametrize(
    "option, value", [("--seed", str(2**31)), ("--dtype", "int32")]
)
def test_settings_that_no_backend_takes_are_refused(
    option, value, npz, tmp_path, capsys
):
    arguments = ["train", "--dataset", npz, "--output", tmp_path / "run"]
    assert value in _fails_with_one_line([*arguments, option, value], capsys)


def test_a_run_is_not_resumed_to_fewer_epochs_than_it_has(
    run, npz, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    arguments = ["train", "--resume", "--output", folder]
    assert cli.main([str(a) for a in [*arguments, "--epochs", "2"]]) == 0
    config = (folder / "config.json").read_text()
    capsys.readouterr()
    message = _fails_with_one_line([*arguments, "--epochs", "1"], capsys)
    assert "give --epochs 2 or more" in message
    assert (folder / "config.json").read_text() == config


def test_a_count_of_images_does_not_go_with_classes(run, tmp_path, capsys):
    arguments = ["generate", run, "--by-class", "--count", "5"]
    arguments += ["--output", tmp_path / "digits.png"]
    assert "leave --count out" in _fails_with_one_line(arguments, capsys)


@pytest.mark.parametrize(
    "words",
    [["--count", "1000000000"], ["--interpolate", "1000000000"]],
    ids=["images", "steps"],
)
def test_more_images_than_memory_has_room_for_are_refused(
    words, run, tmp_path, capsys
):
    arguments = ["generate", run, *words, "--output", tmp_path / "digits.png"]
    assert "ask for fewer" in _fails_with_one_line(arguments, capsys)


def test_columns_do_not_go_with_an_interpolation(run, tmp_path, capsys):
    arguments = ["generate", run, "--interpolate", "3", "--columns", "2"]
    arguments += ["--output", tmp_path / "path.png"]
    assert "leave --columns out" in _fails_with_one_line(arguments, capsys)


def test_pictures_are_png_or_gif(run, tmp_path, capsys):
    arguments = ["generate", run, "--output", tmp_path / "digits.txt"]
    assert ".png or .gif" in _fails_with_one_line(arguments, capsys)


@pytest.mark.parametrize(
    "words, missing",
    [
        ([], "COMMAND"),
        (["predict"], "PATH"),
        (["evaluate"], "model"),
        (["export"], "model, --output"),
    ],
    ids=str,
)
def test_a_command_without_what_it_needs_is_told_what_that_is(
    words, missing, capsys
):
    error = _is_refused(words, capsys)
    assert f"are required: {missing}" in error


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


def _generate(run, output, *arguments):
    """Runs `generate`, which should succeed."""
    arguments = ["generate", run, "--output", output, "--seed", 1, *arguments]
    assert cli.main([str(argument) for argument in arguments]) == 0


def test_interpolation_fills_rows_that_begin_with_the_seeds_images(
    run, tmp_path
):
    path = tmp_path / "a.png"
    _generate(run, path, "--interpolate", 4, "--count", 3)
    grid = np.asarray(Image.open(path)).astype(int)
    # Images of 8x8 pixels, enlarged to 64, with lines of 2 between.
    assert grid.shape == (2 + 3 * 66, 2 + 4 * 66)
    images = grid[2:, 2:].reshape(3, 66, 4, 66)[:, :64:8, :, :64:8]
    images = images.transpose(0, 2, 1, 3)
    gan = keras.saving.load_model(run / "gan.keras")
    stops = gan.generate(3, seed=1)[..., 0].astype(int)
    np.testing.assert_allclose(images[:, 0], stops, atol=1)
    # Every step is a small one, that from a row to the next too.
    path = images.reshape(12, -1)
    steps = np.abs(path - np.roll(path, 1, axis=0)).sum(axis=1)
    far = np.abs(images[0, 0] - images[1, 0]).sum()
    assert (0 < steps).all() and steps.max() < 0.7 * far


def test_an_interpolation_that_is_a_gif_is_animated(run, tmp_path):
    _generate(run, tmp_path / "a.gif", "--interpolate", 3, "--count", 2)
    gan = keras.saving.load_model(run / "gan.keras")
    first, second = gan.generate(2, seed=1)[..., 0]
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.info["loop"]) == (6, 0)
        for index, image in ((0, first), (3, second)):
            picture.seek(index)
            np.testing.assert_allclose(
                np.asarray(picture.convert("L"))[::32, ::32].astype(int),
                image.astype(int),
                atol=1,
            )


def test_a_gif_of_stills_is_refused(run, tmp_path, capsys):
    arguments = ["generate", run, "--output", tmp_path / "a.gif"]
    assert "give --interpolate" in _fails_with_one_line(arguments, capsys)


def test_by_class_says_which_classes_are_not_drawn(
    run, tmp_path, capsys, monkeypatch
):
    images = np.full((3, 8, 8, 1), 255, "uint8")
    rows = [images[:2], *[images] * 6, images[:0], images, images]

    def generate_by_class(gan, num_images, seed, classifier):
        assert (gan.num_classes, num_images, seed) == (10, 3, 1)
        # The run's, which is calibrated.
        assert "temperature" in {layer.name for layer in classifier.layers}
        return rows, 10_240

    monkeypatch.setattr(sampling, "generate_by_class", generate_by_class)
    _generate(run, tmp_path / "a.png", "--by-class", "--columns", 3)
    assert capsys.readouterr().out.splitlines() == [
        "0: 2 in 10240 images drawn",
        "7: none in 10240 images drawn",
        f"26 of 10240 images drawn written to {tmp_path / 'a.png'}",
    ]
    names = [str(label) for label in range(10)]
    expected = plotting.class_grid(rows, names, 3)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_by_class_writes_no_grid_of_nothing(run, tmp_path, capsys, monkeypatch):
    rows = [np.zeros((0, 8, 8, 1), "uint8")] * 10
    monkeypatch.setattr(
        sampling, "generate_by_class", lambda *args, **kwargs: (rows, 10_240)
    )
    arguments = ["generate", run, "--by-class", "--output", tmp_path / "a.png"]
    assert "sure of none" in _fails_with_one_line(arguments, capsys)
    assert not (tmp_path / "a.png").exists()


def test_by_class_runs_on_a_trained_gan(run, tmp_path, capsys, monkeypatch):
    # It was trained too little to be sure.
    unsure = functools.partial(sampling.generate_by_class, confidence=0.1)
    monkeypatch.setattr(sampling, "generate_by_class", unsure)
    _generate(run, tmp_path / "a.png", "--by-class", "--columns", 2)
    assert "images drawn written to" in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.height == 10 * 66 + 2 + 24


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


@pytest.fixture
def given_to_export(monkeypatch):
    """Dict of what the command line has exported, which it does not."""
    given = {}

    def export_classifier(model, path, **arguments):
        given.update(arguments)
        return {}

    monkeypatch.setattr(export, "export_classifier", export_classifier)
    return given


@pytest.mark.parametrize("moved", [False, True])
def test_an_export_knows_the_images_of_its_run(
    moved, run, tmp_path, given_to_export
):
    model = run
    if moved:
        model = shutil.copy(run / "gan.keras", tmp_path)
    arguments = ["export", model, "--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert given_to_export["metadata"] == {
        "image_size": [8, 8],
        "ink_size": None,
        "ink_by_mass": None,
        "light_paper": json.loads((run / "metrics.json").read_text())[
            "light_paper"
        ],
    }


def test_an_export_knows_no_images_of_a_model_that_keras_saved(
    run, tmp_path, given_to_export
):
    keras.saving.load_model(run / "gan.keras").save(tmp_path / "gan.keras")
    arguments = ["export", tmp_path / "gan.keras"]
    arguments += ["--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert given_to_export["metadata"] == {}


def test_an_export_is_compared_on_test_images_of_all_classes(
    run, npz, tmp_path, monkeypatch, given_to_export
):
    arrays = dict(np.load(npz))
    order = arrays["y_test"].argsort(kind="stable")
    arrays |= {name: arrays[name][order] for name in ("x_test", "y_test")}
    np.savez(tmp_path / "sorted.npz", **arrays)
    monkeypatch.setattr(cli, "EXPORT_SAMPLES", 10)
    arguments = ["export", run, "--dataset", tmp_path / "sorted.npz"]
    arguments += ["--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert given_to_export["labels"].tolist() == list(range(10))
    np.testing.assert_array_equal(
        given_to_export["samples"], arrays["x_test"][::2]
    )


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


def test_a_generator_that_cannot_be_converted_leaves_nothing(
    run, tmp_path, capsys, monkeypatch
):
    hide_packages(monkeypatch, "onnx")
    arguments = ["export", run, "--formats", "keras", "--generator"]
    arguments += ["--output", tmp_path / "digits"]
    message = _fails_with_one_line(arguments, capsys)
    assert "pip install 'keras-ssgan[export]'" in message
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_is_there_already_is_kept(run, tmp_path, capsys):
    path = tmp_path / "digits_generator.onnx"
    path.write_bytes(b"mine")
    arguments = ["export", run, "--formats", "keras", "--generator"]
    arguments += ["--output", tmp_path / "digits"]
    assert f"{path} exists already" in _fails_with_one_line(arguments, capsys)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"mine"


def test_a_gan_is_exported_too(run, tmp_path):
    arguments = ["export", run / "gan.keras", "--formats", "keras"]
    arguments += ["--output", tmp_path / "digits"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert (tmp_path / "digits.keras").exists()
