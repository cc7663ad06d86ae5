"""The table of test errors: what it says, and that it goes on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import new_gan
from conftest import save_noise

from benchmarks import accuracy

pytestmark = pytest.mark.any_backend

ROOT = Path(__file__).parents[1]


def run(labels, seed, errors, baseline_errors):
    return {
        "preset": "compact",
        "labels": labels,
        "seed": seed,
        "test": {"errors": errors, "images": 200},
        "baseline": {"errors": baseline_errors, "images": 200},
        "seconds": 90.0,
    }


def test_the_table_has_mean_and_sample_deviation_in_per_cent():
    rows = accuracy.summarize([run(100, 0, 2, 8), run(100, 1, 4, 8)])
    (row,) = rows
    errors = [1.0, 2.0]
    assert row["error"]["mean"] == pytest.approx(np.mean(errors))
    assert row["error"]["std"] == pytest.approx(np.std(errors, ddof=1))
    assert accuracy.table(rows).splitlines()[-1] == (
        "| compact | 100 | 2 | 1.50 ± 0.71 % | 4.00 ± 0.00 % | 1.5 |"
    )


def test_label_counts_have_a_row_each_and_one_run_no_deviation():
    rows = accuracy.summarize([run(100, 0, 2, 8), run(1000, 0, 1, 4)])
    assert [row["labels"] for row in rows] == [100, 1000]
    assert "| 1.00 % | 4.00 % |" in accuracy.table(rows)


def test_runs_without_a_baseline_leave_its_cell_empty():
    runs = [run(100, 0, 2, 8), run(100, 1, 4, 8)]
    for one in runs:
        del one["baseline"]
    rows = accuracy.summarize(runs)
    assert "| 1.50 ± 0.71 % | – | 1.5 |" in accuracy.table(rows)


def test_without_the_generator_the_discriminator_knows_nothing_of_it():
    """What the generator draws makes no difference to the discriminator."""

    def train(scale):
        gan = new_gan()
        variables = gan.generator.trainable_variables
        for variable in variables:
            variable.assign(variable * scale)
        gan.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
        return gan.discriminator.get_weights()

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 8, 8), dtype="uint8")
    labels = np.arange(16) % 10

    def differ():
        pairs = zip(train(1.0), train(3.0), strict=True)
        return any((one != other).any() for one, other in pairs)

    assert differ()
    with accuracy.without_generator():
        assert not differ()
    assert differ()


def test_what_no_run_has_cannot_be_left_out():
    command = ["-m", "benchmarks.accuracy", "--without=labels", "--output=x"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no labels to lack" in done.stderr


@pytest.fixture
def dataset(tmp_path):
    """Path of 40 images for training, and as many for tests."""
    save_noise(tmp_path / "data.npz", 40, 40)
    return tmp_path / "data.npz"


@pytest.fixture
def make_table(dataset, tmp_path, monkeypatch):
    """Function of further arguments that gives the folder and its rows."""
    output = tmp_path / "table"

    def make(*arguments):
        command = ["accuracy", "--presets=tiny", f"--dataset={dataset}"]
        command += ["--labels=20", "--epochs=1", f"--output={output}"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        accuracy.main()
        return output, json.loads((output / "table.json").read_text())

    return make


def test_runs_without_the_generator_are_runs_of_their_own(make_table):
    output, (row,) = make_table("--seeds=0", "--without=generator,baseline")
    assert row["labels alone"]["mean"] is None
    (run,) = output.glob("*/metrics.json")
    assert run.parent.name == "tiny-20-0-without-generator-without-baseline"


def test_the_labels_alone_are_scored_as_beside_a_gan(make_table):
    _, (beside,) = make_table("--seeds=0")
    output, (alone,) = make_table("--seeds=0", "--without=gan")
    assert alone["error"]["mean"] is None
    assert alone["labels alone"] == beside["labels alone"]
    assert (output / "tiny-20-0-without-gan" / "metrics.json").exists()


def test_a_table_that_was_cut_short_is_finished(make_table, tmp_path):
    """Runs that are there are not trained again."""
    done = tmp_path / "table" / "tiny-20-0"
    done.mkdir(parents=True)
    finished = run(20, 0, 2, 8) | {"preset": "tiny"}
    (done / "metrics.json").write_text(json.dumps(finished))
    _, (row,) = make_table("--seeds=0,1")
    assert row["runs"] == 2
    assert json.loads((done / "metrics.json").read_text()) == finished
