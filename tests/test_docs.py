"""What the README and the pages in docs/ say works as it stands there."""

import argparse
import dataclasses
import functools
import importlib
import json
import re
import shlex
import sys
import webbrowser
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import save_shards
from PIL import Image
from PIL import ImageDraw
from tiny import TINY

from keras_ssgan import arguments
from keras_ssgan import cli
from keras_ssgan import sampling
from keras_ssgan import settings
from keras_ssgan.autodiff import BACKEND
from keras_ssgan.demo.server import Server

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.usefixtures("convert_here"),
]

_ROOT = Path(__file__).parents[1]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_NOTEBOOK = _ROOT / "examples" / "notebook.ipynb"
# The one place where a block is made other than the page has it (see also
# `smaller`): long runs, and more devices than a test has.
_SMALLER = {r"epochs=\d+": "epochs=1", r"devices=\d": "devices=1"}
# What a command for the shell may be besides one of ours. Setting up is what
# comes before any test; several processes are test_distribution.py's.
_SETS_UP = (
    "make demo",
    "make test",
    "pip install ",
    "python -P -m keras_ssgan.demo.vendor",
)
_SEVERAL_DEVICES = ("--distribute", "--devices")


def _blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)


def _run(blocks, capsys):
    """Runs blocks in one namespace; what they say they print, they have to."""
    names = {}
    for block in blocks:
        for pattern, smaller in _SMALLER.items():
            block = re.sub(pattern, smaller, block)
        exec(block, names)
        printed = capsys.readouterr().out
        for expected in re.findall(r"# Prints (.*)", block):
            assert expected in printed
    return names


def _commands(page):
    """Command lines in the blocks for the shell, each a list of words."""
    text = "".join(_blocks(page, "sh")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    # What is in the environment is not a word of the command.
    return [
        [word for word in line if not re.match(r"[A-Z_]+=", word)]
        for line in lines
        if line[0] != "export"
    ]


def _is_ours(command):
    """Whether it is `keras-ssgan ...`, for one process on one device."""
    return command[0] == "keras-ssgan" and not any(
        word in _SEVERAL_DEVICES for word in command
    )


def _benchmark(command):
    """Name of the module outside the package that a command runs, or None."""
    if command[:2] == ["python", "-m"] and "keras_ssgan" not in command[2]:
        return command[2]
    return None


def _links(page):
    text = page.read_text(encoding="utf-8")
    # Code is no link, though `a[0](x)` looks like one.
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.M)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def _anchors(page):
    """The fragments that GitHub gives the headings of a page."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize(
    "page",
    [page for page in _PAGES if _blocks(page, "python")],
    ids=lambda page: page.name,
)
def test_python_blocks_run_one_after_the_other(
    page, tmp_path, monkeypatch, capsys, smaller
):
    monkeypatch.chdir(tmp_path)
    _run(_blocks(page, "python"), capsys)


@pytest.fixture
def smaller(monkeypatch):
    """Presets of the names in the pages that take no time; 28x28 as there."""
    tiny = dataclasses.replace(
        TINY,
        image_size=28,
        discriminator=((4, 4, 2, "same"), (6, 3, 2, "same")),
        generator=((6, 7, 1, "valid"), (4, 4, 2, "same"), (4, 2, "same")),
        epochs=1,
    )
    for name in ("article", "compact", "accurate", "drawing"):
        monkeypatch.setitem(settings.PRESETS, name, tiny)


@pytest.fixture
def user(tmp_path, monkeypatch, smaller):
    """A folder with what the commands in the pages take for granted."""
    rng = np.random.default_rng(0)

    def draw(number):
        images = rng.integers(256, size=(number, 28, 28), dtype="uint8")
        return images, np.arange(number) % 10

    mnist = draw(1100), draw(30)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: mnist)
    monkeypatch.chdir(tmp_path)
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = (*mnist[0], *mnist[1])
    (tmp_path / "shards").mkdir()
    save_shards(tmp_path / "shards", dict(zip(names, arrays, strict=True)))
    for number, image in enumerate(mnist[0][0][:60]):
        path = tmp_path / "FOLDER" / str(number % 3) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    photo = Image.new("L", (40, 40), "white")
    ImageDraw.Draw(photo).line([(12, 6), (28, 6), (16, 34)], "black", 4)
    for name in ("digit.png", "photo.jpg", "scans/1.png", "more/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.save(tmp_path / name)
    # Models that were trained so little are sure of nothing.
    unsure = functools.partial(sampling.generate_by_class, confidence=0.1)
    monkeypatch.setattr(sampling, "generate_by_class", unsure)
    # The demo ends as soon as it would serve.
    monkeypatch.setattr(Server, "serve_forever", lambda self: None)
    monkeypatch.setattr(webbrowser, "open", lambda url: None)


@pytest.mark.parametrize(
    "page",
    [page for page in _PAGES if any(map(_is_ours, _commands(page)))],
    ids=lambda page: page.name,
)
@pytest.mark.usefixtures("user")
def test_commands_run_one_after_the_other(page):
    """In this process, and under the backend that it has.

    But for benchmarks, which start others: test_benchmark.py runs such.
    """
    commands = list(filter(_is_ours, _commands(page)))
    # A page that trains no such model takes it for granted.
    for data, preset in (("digits", "compact"), ("mnist", "drawing")):
        train = ["keras-ssgan", "train", "--dataset", data, "--preset", preset]
        if not any(set(train) <= set(command) for command in commands):
            commands.insert(0, train)
    for command in commands:
        if "--backend" in command:
            command[command.index("--backend") + 1] = BACKEND
        if command[1] == "benchmark":
            settings.get_preset(arguments.parse(command[1:]).preset)
            continue
        assert cli.main(command[1:]) == 0, command


@pytest.mark.parametrize(
    "command",
    [c for page in _PAGES for c in _commands(page) if _benchmark(c)],
    ids=" ".join,
)
def test_benchmarks_know_the_arguments_of_the_pages(command, monkeypatch):
    """What they do with smaller ones is for the tests of each."""

    class Parsed(Exception):
        pass

    def parse(parser, *arguments):
        real(parser, *arguments)
        raise Parsed

    real = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", command[2:])
    with pytest.raises(Parsed):
        importlib.import_module(_benchmark(command)).main()


def test_every_command_is_of_a_kind_that_some_test_runs():
    for page in _PAGES:
        for command in _commands(page):
            several = set(_SEVERAL_DEVICES) & set(command)
            if several:
                # `torchrun ... -m keras_ssgan` and `keras-ssgan` alike.
                words = command[command.index("train") :]
                assert arguments.parse(words).command == "train"
            else:
                assert (
                    _is_ours(command)
                    or _benchmark(command)
                    or " ".join(command).startswith(_SETS_UP)
                ), command


def test_commands_are_found_in_fences_alone():
    """An indented block would not be looked at."""
    for page in _PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"^    .*keras[-_]ssgan train", text, re.M), page


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_relative_links_and_pictures_lead_somewhere(page):
    for link in _links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_preset_is_in_the_table_of_presets():
    text = (_ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    (header,) = re.findall(r"^\| \| (`article` .*) \|$", text, re.M)
    named = {name.strip("` ") for name in header.split("|")}
    # The tests have two of their own.
    own = {"tiny", "benchmarked"}
    assert settings.PRESETS.keys() - own <= named


def test_the_notebook_runs_cell_by_cell(tmp_path, monkeypatch, capsys, smaller):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(_NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    names = _run(cells, capsys)
    assert names["classifier"].output_shape == (None, 10)
