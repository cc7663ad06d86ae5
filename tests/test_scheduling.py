"""How the processor is shared: threads that wake up wait their turn."""

import os

import pytest

from keras_ssgan import cli

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(
        not hasattr(os, "SCHED_BATCH"), reason="a policy of Linux alone"
    ),
]


@pytest.fixture
def as_usual():
    """Undone by the other tests' policy, which is what is tested here."""
    before = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    yield
    os.sched_setscheduler(0, before, os.sched_param(0))


def test_a_command_is_batch_work(as_usual, capsys):
    assert cli.main(["evaluate", "nowhere"]) == 2
    assert os.sched_getscheduler(0) == os.SCHED_BATCH


def test_where_it_is_forbidden_a_command_goes_on(as_usual, monkeypatch, capsys):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert cli.main(["evaluate", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    monkeypatch.undo()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
