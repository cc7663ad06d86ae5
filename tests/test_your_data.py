"""What docs/your_data.md says works as it stands there."""

import re
import shlex
from pathlib import Path

from keras_ssgan import cli

_PAGE = (Path(__file__).parents[1] / "docs" / "your_data.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", _PAGE, re.DOTALL)


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(_blocks("python")), names)
    assert "64 16" in capsys.readouterr().out
    assert int(names["gan"].optimizer.iterations.numpy()) > 20
    assert len(list(tmp_path.glob("shards/*.npz"))) == 7


def test_commands_are_ones_that_the_command_line_knows():
    commands = "".join(_blocks("sh")).replace("\\\n", " ").splitlines()
    mine = [c for c in commands if c.startswith("keras-ssgan")]
    assert mine
    for command in mine:
        arguments = shlex.split(command, comments=True)[1:]
        assert callable(cli.parse(arguments).run)
