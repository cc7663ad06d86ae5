"""A few mutated inputs per parser, and those that fuzzing has kept.

`python -m fuzz.run` runs many more.
"""

import random
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from fuzz import targets
from fuzz.mutate import mutate
from fuzz.run import check
from fuzz.run import run_target

pytestmark = pytest.mark.any_backend

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
QUICK = [name for name in targets.TARGETS if not name.startswith("model")]
MODELS = [name for name in targets.TARGETS if name.startswith("model")]


def try_inputs(name, folder, max_examples):
    """Runs a target on what hypothesis chooses of mutations and of bytes."""
    seeds = targets.TARGETS[name].seeds()
    mutated = st.randoms(use_true_random=False, note_method_calls=False).map(
        lambda rng: mutate(seeds, rng)
    )

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(mutated, st.binary(max_size=200)))
    def run(content):
        check(name, content, folder)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()


@pytest.mark.parametrize("name", QUICK)
def test_a_parser_answers_or_refuses_whatever_it_is_given(name, tmp_path):
    try_inputs(name, tmp_path, max_examples=50)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_is_loaded_or_refused_whatever_it_is(name, tmp_path):
    try_inputs(name, tmp_path, max_examples=10)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_mutation_starts_from_files_that_are_accepted(name, tmp_path):
    results = [
        check(name, content, tmp_path)
        for content in targets.TARGETS[name].seeds()
    ]
    assert results.count("accepted") >= len(results) / 2


@pytest.mark.parametrize(
    "path", sorted(CORPUS.iterdir()), ids=lambda path: path.name
)
def test_what_fuzzing_kept_is_answered_or_refused(path, tmp_path):
    files = sorted(path.iterdir())
    assert files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            check(path.name, file.read_bytes(), tmp_path)


def test_a_changed_checkpoint_gets_past_its_checksum(tmp_path):
    (seed,) = targets.TARGETS["checkpoint"].seeds()
    # The last number of all is 0.5, and then a little more.
    changed = seed[:-4] + b"\1" + seed[-3:]
    assert check("checkpoint", changed, tmp_path) == "accepted"


def test_mutations_follow_from_the_seed():
    seeds = targets.TARGETS["npz"].seeds()
    first, second = random.Random(0), random.Random(0)
    for _ in range(20):
        assert mutate(seeds, first) == mutate(seeds, second)


def test_a_crash_and_a_hang_are_findings(monkeypatch):
    def parse(content, folder):
        if content != b"good":
            raise KeyError("defect")

    target = targets.Target(lambda: [b"good"], parse)
    monkeypatch.setitem(targets.TARGETS, "broken", target)
    monkeypatch.setattr("fuzz.run._SECONDS", -1)
    monkeypatch.setattr("fuzz.run.signal.setitimer", lambda *_: None)
    report = run_target("broken", 20, seed=0)
    assert report["crashed"] + report["accepted"] == 20
    assert report["crashed"] > 10
    assert report["hung"] == 20
    assert "KeyError at test_fuzz.py" in report["findings"][0]["error"]
