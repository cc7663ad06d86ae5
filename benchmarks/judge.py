"""The fixed classifier of MNIST that judges generated digits.

It learns from all 60,000 training labels, so that no run that it judges has a
part in it. The file that is kept is the one that figures are comparable under:
training again gives weights much like it, but no judge to mix figures with.

Example:

    KERAS_BACKEND=tensorflow python -m benchmarks.judge --dataset mnist \\
        --output saved_models/mnist_judge
"""

import argparse
import math
from pathlib import Path

import keras
import numpy as np

from benchmarks import cards
from keras_ssgan import datasets
from keras_ssgan import evaluation
from keras_ssgan import shipped
from keras_ssgan.networks import build_preprocessor

JUDGE = shipped.FOLDER / "mnist_judge.keras"
FEATURES = "features"
IMAGE_SHAPE = (28, 28, 1)


def main():
    args = _parse_args()
    path = args.output.with_suffix(".keras")
    if path.exists():
        raise SystemExit(f"{path} exists already; choose another --output")
    dataset = datasets.load(args.dataset)
    model = train(
        dataset.x_train,
        dataset.y_train,
        dataset.num_classes,
        args.epochs,
        args.seed,
    )
    probabilities = model.predict(dataset.x_test, batch_size=256, verbose=0)
    report = evaluation.classification_report(dataset.y_test, probabilities)

    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    name = Path(args.dataset).name
    card = {
        "command": f"python -m benchmarks.judge --dataset {name} "
        f"--epochs {args.epochs} --seed {args.seed}",
        "seed": args.seed,
        "data": f"{name}: {len(dataset.y_train)} training images, all labels",
        "test_images": report["images"],
        "test_errors": report["errors"],
        "test_error": report["errors"] / report["images"],
        "weights": model.count_params(),
        "feature_layer": FEATURES,
        "backend": keras.backend.backend(),
        "keras": keras.version(),
    }
    cards.write(path, card)
    print(f"{card['test_error']:.2%} test error; written to {path}")


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.judge", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--dataset", default="mnist", help="as for train")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=JUDGE)
    return parser.parse_args()


def build(num_classes=10):
    """A small convnet of stock Keras layers, with fresh weights.

    Args:
        num_classes: int, K.

    Returns:
        `keras.Model` from raw images `(batch, any_height, any_width, 1)`, 0 to
        255, to float32 probabilities `(batch, K)`; its layer `FEATURES` gives
        128 features.
    """
    inputs = keras.Input((None, None, 1), dtype="uint8", name="pixels")
    x = build_preprocessor(IMAGE_SHAPE)(inputs)
    for filters, size, strides, padding in (
        (32, 5, 2, "same"),
        (64, 3, 2, "same"),
        (64, 3, 1, "same"),
        (128, 3, 1, "valid"),
    ):
        # Batch normalisation has the bias.
        x = keras.layers.Conv2D(
            filters, size, strides, padding, use_bias=False
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D(name=FEATURES)(x)
    outputs = keras.layers.Dense(
        num_classes, activation="softmax", name="probabilities"
    )(x)
    return keras.Model(inputs, outputs, name="judge")


def train(images, labels, num_classes=10, epochs=6, seed=0, batch_size=128):
    """Trains a judge, the same every time on one machine and backend.

    Args:
        images: uint8 array of shape `(n, height, width)`.
        labels: Integer array of shape `(n,)`.
        num_classes: int, K.
        epochs: int.
        seed: int, seed of the weights and of the order of the images.
        batch_size: int.

    Returns:
        `keras.Model`, as `build` gives it.
    """
    keras.utils.set_random_seed(seed)
    model = build(num_classes)
    steps = epochs * math.ceil(len(labels) / batch_size)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(2e-3, steps)
        ),
        "sparse_categorical_crossentropy",
    )
    model.fit(
        images[..., np.newaxis],
        labels,
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
    )
    # The same layers without the optimizer, two thirds of the file.
    return keras.Model(model.input, model.output, name="judge")


def load(path=JUDGE):
    """Loads a judge, if its file is the one that its card describes.

    Args:
        path: `Path` of the `.keras` file; its card is the `.json` beside it.

    Returns:
        `keras.Model` from raw images `(batch, any_height, any_width, 1)` to a
        list of float32 features `(batch, 128)` and probabilities `(batch,
        K)`.

    Raises:
        InputError: If the file or its card is missing, or the file's checksum
            is not that of the card.
    """
    card = shipped.verify(path)
    model = keras.saving.load_model(path, compile=False)
    features = model.get_layer(card["feature_layer"]).output
    return keras.Model(model.input, [features, model.output])


if __name__ == "__main__":
    main()
