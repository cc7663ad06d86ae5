"""The tutorial's run: MNIST, 20 % of the labels, the article preset.

    python examples/article_mnist.py

On a CPU five epochs take hours; `--epochs 1` shows how it goes. The backend is
KERAS_BACKEND's. Without network, give MNIST as a file: `--dataset mnist.npz`.
"""

import argparse

import keras

import keras_ssgan as ks


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", default="article_samples.png")
    arguments = parser.parse_args(argv)

    # === Data: every label but 20 % becomes -1 ===
    data = ks.datasets.load(arguments.dataset)
    y_train = ks.datasets.hide_labels(data.y_train, labels=0.2, seed=0)
    mixed = ks.datasets.MixedDataset(
        data.x_train, y_train, batch_size=arguments.batch_size, seed=0
    )

    # === Model ===
    keras.utils.set_random_seed(0)
    gan = ks.SemiSupervisedGAN.from_preset("article", seed=0)
    gan.compile()

    # === Training ===
    gan.fit(mixed, epochs=arguments.epochs, shuffle=False)

    # === Results: the test images are looked at once ===
    scores = gan.evaluate(data.x_test, data.y_test, return_dict=True)
    print(f"Test accuracy: {scores['accuracy']:.2%}")
    grid = ks.plotting.image_grid(gan.generate(25, seed=0))
    grid.save(arguments.samples)
    return scores


if __name__ == "__main__":
    main()
