"""A classifier from a folder of images, most of them without a label.

    python examples/your_own_images.py FOLDER classifier.keras

FOLDER has one sub-folder of images per class, and `unlabeled/` with all the
others; or `train/` of this kind, and `test/` with the same classes. The
classifier that comes out is plain Keras: it needs nothing of this package, and
takes raw grey uint8 images. Of large ones it sees the pixels at 28x28 points:
reduce them first, as `ks.datasets.read_image(file, (28, 28))` does.
"""

import argparse

import keras

import keras_ssgan as ks


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args(argv)

    # === Data: without test/, a fifth of the labelled images are the test ===
    names = ks.datasets.class_names(arguments.folder)
    (x_train, y_train), (x_test, y_test) = ks.datasets.load_image_folder(
        arguments.folder,
        seed=0,
        # That of the preset's networks: larger images are reduced to it.
        largest=28,
    )
    mixed = ks.datasets.MixedDataset(
        x_train,
        y_train,
        batch_size=arguments.batch_size,
        # Few labels go a longer way where every batch has many of them.
        labeled_per_batch=(
            arguments.batch_size // 2 if (y_train < 0).any() else None
        ),
        seed=0,
    )

    # === Model: as many classes as there are folders ===
    keras.utils.set_random_seed(0)
    gan = ks.SemiSupervisedGAN.from_preset(
        "compact", num_classes=len(names), seed=0
    )
    gan.compile()

    # === Training ===
    gan.fit(mixed, epochs=arguments.epochs, shuffle=False)
    # Those of batch normalisation, for the averaged weights.
    gan.update_statistics(x_train)
    scores = gan.evaluate(x_test, y_test, return_dict=True)
    print(f"Test accuracy: {scores['accuracy']:.2%}")

    # === The classifier, on its own ===
    gan.classifier().save(arguments.output)
    classifier = keras.saving.load_model(arguments.output)
    probabilities = classifier.predict(x_test[:1])[0]
    print(f"The first test image: {names[probabilities.argmax()]}")
    return scores


if __name__ == "__main__":
    main()
