"""Trains under one backend, and loads and trains on under another.

    KERAS_BACKEND=jax python examples/swap_backend.py --to torch

About a minute on a CPU. A process has one backend, so the other one is a
fresh process: this script again, with `--load`.
"""

import argparse
import os
import subprocess
import sys

import keras
import numpy as np

import keras_ssgan as ks


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", default="torch", help="the other backend")
    parser.add_argument("--file", default="swap.keras")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--load", action="store_true")
    arguments = parser.parse_args(argv)
    (x_train, y_train), (x_test, y_test) = ks.datasets.load_digits()
    y_train = ks.datasets.hide_labels(y_train, labels=0.2, seed=0)
    data = ks.datasets.MixedDataset(x_train, y_train, 64, 32, seed=0)
    probabilities = arguments.file + ".npy"

    if arguments.load:
        gan = keras.saving.load_model(arguments.file)
        difference = gan.predict(x_test, verbose=0) - np.load(probabilities)
        print(f"Probabilities differ by {np.abs(difference).max():.1e} at most")
    else:
        gan = ks.SemiSupervisedGAN.from_preset("compact", seed=0)
        gan.compile()
    gan.fit(data, epochs=arguments.epochs, shuffle=False, verbose=2)
    # Those of batch normalisation, for the averaged weights.
    gan.update_statistics(x_train)
    scores = gan.evaluate(x_test, y_test, verbose=0, return_dict=True)
    print(f"{keras.backend.backend()}: {scores['accuracy']:.2%} correct")
    if arguments.load:
        return

    # === The other backend: optimizers and random state come along ===
    gan.save(arguments.file)
    np.save(probabilities, gan.predict(x_test, verbose=0))
    command = [sys.executable, __file__, "--load", "--file", arguments.file]
    subprocess.run(
        [*command, "--epochs", str(arguments.epochs)],
        env={**os.environ, "KERAS_BACKEND": arguments.to},
        check=True,
    )


if __name__ == "__main__":
    main()
