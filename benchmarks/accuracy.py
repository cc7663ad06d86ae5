"""Test errors over label counts, seeds and presets.

Every run is one of `keras-ssgan train --baseline`, in a folder of its own, and
is scored once on the test images. Called again, it goes on where it stopped.

`--without generator` shows what the generator adds: in the same runs the
discriminator's loss lacks its two terms on real and generated images, so that
nothing of the generator reaches it. `--without baseline` leaves out the network
that learns from the labels alone, and `--without gan` all else.

Example:

    python -m benchmarks.accuracy --dataset mnist --labels 100,1000 \\
        --presets compact --seeds 0,1,2 --output runs/accuracy
    python -m benchmarks.accuracy --dataset mnist --labels 100 \\
        --presets compact --seeds 0,1,2 --without generator,baseline \\
        --output runs/without_generator
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import statistics
from unittest import mock

from benchmarks import report
from keras_ssgan.scheduling import schedule_as_batch
from keras_ssgan.settings import PRESETS

PARTS = ("gan", "generator", "baseline")
COLUMNS = ("preset", "labels", "runs", "error", "labels alone", "minutes")


def main():
    args = _parse_args()
    schedule_as_batch()
    settings = [
        {"preset": preset, "labels": labels, "seed": seed}
        for preset, labels, seed in itertools.product(
            args.presets, args.labels, args.seeds
        )
    ]
    for run in settings:
        _train(run, args)
    rows = summarize([_read(run, args) for run in settings])
    print(table(rows))
    report.write(args.output / "table.json", rows)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.accuracy", description=__doc__.split("\n")[0]
    )

    parser.add_argument("--dataset", default="mnist", help="as for train")
    parser.add_argument("--presets", type=report.names, default=[*PRESETS])
    parser.add_argument("--labels", type=report.counts, default=[100])
    parser.add_argument("--seeds", type=report.counts, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, help="default: the preset's")
    parser.add_argument("--labeled-per-batch", type=int, help="as for train")
    parser.add_argument("--dtype", default="float32", help="as for train")
    parser.add_argument(
        "--validation",
        type=float,
        default=0.0,
        help="share of the labels that is held out (default: 0)",
    )
    parser.add_argument(
        "--without",
        type=_parts,
        default=[],
        help=f"what the runs lack: {', '.join(PARTS)}",
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    return parser.parse_args()


def _parts(text):
    parts = report.names(text)
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no {' or '.join(unknown)} to lack")
    return parts


def _folder(run, args):
    lacks = [f"without-{part}" for part in args.without]
    name = "{preset}-{labels}-{seed}".format(**run)
    return args.output / "-".join([name, *lacks])


def _train(run, args):
    """Trains what is not there yet."""
    from keras_ssgan import training
    from keras_ssgan.config import Config

    folder = _folder(run, args)
    if (folder / "metrics.json").exists():
        return
    print(f"{folder.name} ...", flush=True)
    config = Config(
        dataset=args.dataset,
        epochs=args.epochs,
        labeled_per_batch=args.labeled_per_batch,
        validation=args.validation,
        dtype=args.dtype,
        baseline="baseline" not in args.without,
        **run,
    )
    if "gan" in args.without:
        _train_on_labels_alone(config, folder)
        return
    lacking = contextlib.nullcontext()
    if "generator" in args.without:
        lacking = without_generator()
    with lacking:
        training.train(config, folder, resume=folder.exists(), verbose=0)


def _train_on_labels_alone(config, folder):
    from keras_ssgan import evaluation
    from keras_ssgan.baseline import train_baseline
    from keras_ssgan.split import load_split

    split = load_split(config)
    classifier, seconds = train_baseline(config, folder, split)
    scored, _ = evaluation.score(classifier, split.test)
    metrics = {"baseline": scored, "seconds": seconds}
    report.write(folder / "metrics.json", metrics)


def without_generator():
    """Context of models whose discriminator learns nothing from the generator.

    Its loss lacks the terms on real and on generated images.

    Returns:
        A context manager.
    """
    from keras import ops

    from keras_ssgan import losses

    def constant(logits):
        # 0 would be a discriminator that has collapsed.
        return ops.ones(())

    return mock.patch.multiple(losses, real_loss=constant, fake_loss=constant)


def _read(run, args):
    metrics = json.loads((_folder(run, args) / "metrics.json").read_text())
    return {**run, **metrics}


def summarize(runs):
    """Mean and standard deviation over the seeds.

    Args:
        runs: List of dicts, each a run's `preset`, `labels`, `seed`, and its
            `metrics.json`.

    Returns:
        List of dicts, one per preset and number of labels, with errors in per
        cent of the test images.
    """
    groups = {}
    for run in runs:
        groups.setdefault((run["preset"], run["labels"]), []).append(run)
    return [
        {
            "preset": preset,
            "labels": labels,
            "runs": len(group),
            "error": _spread_of_errors(group, "test"),
            "labels alone": _spread_of_errors(group, "baseline"),
            "minutes": statistics.mean(run["seconds"] / 60 for run in group),
        }
        for (preset, labels), group in groups.items()
    ]


def _spread_of_errors(group, part):
    """In per cent, of the runs that have this part."""
    reports = [run[part] for run in group if part in run]
    if not reports:
        return {"mean": None, "std": None}
    values = [100 * one["errors"] / one["images"] for one in reports]
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": deviation}


def table(rows):
    """Markdown of one line per row.

    Args:
        rows: List of dicts, from `summarize`.

    Returns:
        str.
    """
    return report.markdown(
        COLUMNS, [[_cell(row[name]) for name in COLUMNS] for row in rows]
    )


def _cell(value):
    if isinstance(value, dict):
        if value["mean"] is None:
            return "–"
        spread = "" if value["std"] is None else f" ± {value['std']:.2f}"
        return f"{value['mean']:.2f}{spread} %"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
