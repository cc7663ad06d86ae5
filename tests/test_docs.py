"""What the README and the pages in docs/ say works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest

from keras_ssgan import cli
from keras_ssgan import settings

pytestmark = pytest.mark.any_backend

_ROOT = Path(__file__).parents[1]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_NOTEBOOK = _ROOT / "examples" / "notebook.ipynb"
# The one place where a block is made other than the page has it: long runs,
# large networks, and more devices than a test has.
_SMALLER = {
    r"epochs=\d+": "epochs=1",
    r"preset\(\s*\"(article|accurate|drawing)\"": 'preset("tiny"',
    r"devices=\d": "devices=1",
}


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
    """Command lines of `keras-ssgan` in the blocks for the shell."""
    text = "".join(_blocks(page, "sh")).replace("\\\n", " ")
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if "keras-ssgan" in words:
            yield words[words.index("keras-ssgan") + 1 :]
        elif "keras_ssgan" in words:
            yield words[words.index("keras_ssgan") + 1 :]


_COMMANDS = [(page.name, c) for page in _PAGES for c in _commands(page)]


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
    page, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    _run(_blocks(page, "python"), capsys)


@pytest.mark.parametrize(
    "command", [c for _, c in _COMMANDS], ids=[str(c) for c in _COMMANDS]
)
def test_commands_are_ones_that_the_command_line_knows(command):
    assert callable(cli.parse(command).run)


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


def test_the_notebook_runs_cell_by_cell(tmp_path, monkeypatch, capsys):
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
