"""Makes a shipped model, with its card, of a finished run.

Example:

    python -m benchmarks.ship runs/accuracy/accurate-100-0 mnist_100_labels
    python -m benchmarks.ship runs/mnist-drawing mnist_drawing --gan
"""

import argparse
import json
from pathlib import Path

from benchmarks import cards
from keras_ssgan import export
from keras_ssgan import runs
from keras_ssgan import shipped
from keras_ssgan.config import read_config


def main():
    args = _parse_args()
    path = shipped.FOLDER / f"{args.name}.keras"
    if args.gan:
        gan = runs.load_gan(args.run)
        # A fresh one of the same weights, without the optimizers' state.
        model = type(gan).from_config(gan.get_config())
        model.set_weights(gan.get_weights())
        model.save(path)
    else:
        model = runs.load_classifier(args.run)
        # In float32: not every processor has what a run was trained in.
        export.export_classifier(
            model, path.with_suffix(""), "keras", overwrite=True
        )
    cards.write(path, describe(args.run, model))
    print(f"Written to {path}")


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.ship", description=__doc__.split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name", help="of the shipped file, without .keras")
    parser.add_argument(
        "--gan", action="store_true", help="the whole GAN, not the classifier"
    )
    return parser.parse_args()


def describe(run, model):
    """What a card says of a run.

    Args:
        run: `Path` of the run's folder.
        model: `keras.Model` that is shipped.

    Returns:
        Dict of plain values.
    """
    config = read_config(run)
    metrics = json.loads((run / "metrics.json").read_text())
    counts, test = metrics["images"], metrics["test"]
    dataset = Path(config.dataset).name
    labels = counts["train_labels"] + counts["validation_labels"]
    command = (
        f"keras-ssgan train --dataset {dataset} --preset {config.preset} "
        f"--labels {labels} --validation {config.validation} "
        f"--epochs {config.epochs} --seed {config.seed} --dtype {config.dtype}"
    )
    if config.labeled_per_batch:
        command += f" --labeled-per-batch {config.labeled_per_batch}"
    return {
        "command": command,
        "seed": config.seed,
        "data": f"{dataset}: {counts['train_images']} training images",
        "labels": labels,
        "test_images": test["images"],
        "test_errors": test["errors"],
        "test_error": test["errors"] / test["images"],
        "weights": model.count_params(),
        "seconds": metrics["seconds"],
        "backend": metrics["backend"],
        "keras": metrics["versions"]["keras"],
    }


if __name__ == "__main__":
    main()
