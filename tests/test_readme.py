"""What the README says works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from keras_ssgan import cli

_ROOT = Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", _README, re.DOTALL)


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(_blocks("python"))
    assert code.count("epochs=60") == 1
    names = {}
    exec(code.replace("epochs=60", "epochs=1"), names)
    assert names["classifier"].output_shape == (None, 10)
    assert (tmp_path / "digits.png").exists()


_COMMANDS = [
    line
    for block in _blocks("sh")
    for line in block.splitlines()
    if line.startswith("keras-ssgan")
]


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_are_ones_that_the_command_line_knows(command):
    arguments = shlex.split(command, comments=True)[1:]
    assert callable(cli.parse(arguments).run)


def test_pictures_are_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", _README)
    assert pictures
    for picture in pictures:
        assert (_ROOT / picture).is_file()
