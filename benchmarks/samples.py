"""How good generated digits are, by number, for one run or several.

The judge (`benchmarks.judge`) knows the digits of MNIST, and no other images.
Real training images are what is compared with; the same figures of the test
images are what a perfect generator would get. The judge works at 28x28 pixels:
of a run at 64x64, the resizing is part of the figures (test images that went
through 64x64 had a Fréchet distance of 0.53 in place of 0.05, and a recall of
0.76 in place of 0.87). The judge is sure of noise, too, so that "sure" means
something only where precision is high.

Example:

    python -m benchmarks.samples runs/mnist-article runs/mnist-compact \\
        --dataset mnist --output samples.json
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import judge as judges
from benchmarks import report
from benchmarks import sample_metrics
from keras_ssgan import datasets
from keras_ssgan import runs
from keras_ssgan import shipped

COLUMNS = ("images of", "Fréchet", "precision", "recall", "sure")


def main():
    args = _parse_args()
    judge = judges.load(args.judge)
    dataset = datasets.load(args.dataset)
    count = min(args.samples, len(dataset.x_test), len(dataset.x_train))
    rng = np.random.default_rng(args.seed)
    real = rng.permutation(len(dataset.x_train))[:count]
    features, _ = _judge(judge, dataset.x_train[real])

    def figures(name, images):
        return {
            "images_of": name,
            **judged(features, *_judge(judge, images), args.threshold),
        }

    rows = [figures("held-out test images", dataset.x_test[:count])]
    for path in args.runs:
        images = runs.load_gan(path).generate(count, seed=args.seed)
        rows.append(figures(str(path), images))
    print(table(rows))
    if args.output:
        content = {
            "samples": count,
            "seed": args.seed,
            "threshold": args.threshold,
            "judge": shipped.verify(args.judge)["sha256"],
            "figures": rows,
        }
        report.write(args.output, content)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.samples", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, help="folders of runs, or gan.keras")
    add("--dataset", default="mnist", help="as for train")
    add("--samples", type=int, default=10_000, help="default: 10000")
    add("--seed", type=int, default=0, help="of the latents and real images")
    add("--threshold", type=float, default=0.9, help="sure from there on")
    add("--judge", type=Path, default=judges.JUDGE, help="a .keras file")
    add("--output", type=Path, metavar="FILE", help="also write JSON there")
    return parser.parse_args()


def _judge(judge, images):
    # Always with the last axis: TensorFlow compiles for one rank.
    images = images.reshape(*images.shape[:3], 1)
    return judge.predict(images, batch_size=256, verbose=0)


def judged(real_features, features, probabilities, threshold=0.9):
    """All figures of a set of images.

    Args:
        real_features: Float array of shape `(n, d)`, of real images.
        features: Float array of shape `(m, d)`.
        probabilities: Float array of shape `(m, K)`, of the same images.
        threshold: As in `sample_metrics.confident_share`.

    Returns:
        Dict of `frechet`, `precision`, `recall`, `confident` and `histogram`.
    """
    precision, recall = sample_metrics.precision_recall(real_features, features)
    return {
        "frechet": sample_metrics.frechet_distance(real_features, features),
        "precision": precision,
        "recall": recall,
        "confident": sample_metrics.confident_share(probabilities, threshold),
        "histogram": sample_metrics.class_histogram(probabilities),
    }


def table(rows):
    """Markdown of one line per set of images, with its share of each class.

    Args:
        rows: List of dicts, from `judged`, with `images_of`, a name.

    Returns:
        str.
    """
    classes = [str(label) for label in range(len(rows[0]["histogram"]))]
    cells = [
        [
            row["images_of"],
            f"{row['frechet']:.3f}",
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}",
            f"{row['confident']:.1%}",
            *(f"{share:.1%}" for share in row["histogram"]),
        ]
        for row in rows
    ]
    return report.markdown([*COLUMNS, *classes], cells)


if __name__ == "__main__":
    main()
