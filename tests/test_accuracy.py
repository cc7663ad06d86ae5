"""The table of test errors: what it says, and that it goes on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def test_a_table_that_was_cut_short_is_finished(tmp_path):
    """Runs that are there are not trained again."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 10
    images = rng.integers(0, 256, (40, 8, 8), dtype="uint8")
    np.savez(
        tmp_path / "data.npz",
        x_train=images,
        y_train=labels,
        x_test=images,
        y_test=labels,
    )
    done = tmp_path / "table" / "compact-20-0"
    done.mkdir(parents=True)
    (done / "metrics.json").write_text(json.dumps(run(20, 0, 2, 8)))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", "--presets=compact"]
        + [f"--dataset={tmp_path / 'data.npz'}", "--labels=20", "--seeds=0,1"]
        + ["--epochs=1", f"--output={tmp_path / 'table'}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (row,) = json.loads((tmp_path / "table" / "table.json").read_text())
    assert row["runs"] == 2
    assert json.loads((done / "metrics.json").read_text()) == run(20, 0, 2, 8)
