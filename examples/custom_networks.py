"""A GAN of networks of your own, on scikit-learn's digits, 20 % labelled.

    python examples/custom_networks.py

About a minute on a CPU. Any two functional models will do: a discriminator
from images in [-1, 1] to [features, K + 1 logits], where logit 0 is high for
fake images, and a generator from latents (1, 1, any) to such images.
"""

import argparse

import keras
from keras import layers

import keras_ssgan as ks


def build_discriminator(num_classes):
    images = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, padding="same", activation="gelu")(images)
    y = layers.LayerNormalization()(x)
    x += layers.SeparableConv2D(32, 3, padding="same", activation="gelu")(y)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="gelu")(x)
    features = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(num_classes + 1)(features)
    return keras.Model(images, [features, logits])


def build_generator():
    latents = keras.Input((1, 1, 16))
    x = layers.Flatten()(latents)
    x = layers.Dense(4 * 4 * 32, activation="gelu")(x)
    x = layers.Reshape((4, 4, 32))(x)
    x = layers.UpSampling2D()(x)
    x = layers.Conv2D(32, 3, padding="same", activation="gelu")(x)
    x = layers.Conv2D(1, 3, padding="same", activation="tanh")(x)
    return keras.Model(latents, x)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args(argv).epochs

    (x_train, y_train), (x_test, y_test) = ks.datasets.load_digits()
    y_train = ks.datasets.hide_labels(y_train, labels=0.2, seed=0)
    data = ks.datasets.MixedDataset(x_train, y_train, 64, 32, seed=0)

    keras.utils.set_random_seed(0)
    networks = build_discriminator(num_classes=10), build_generator()
    gan = ks.SemiSupervisedGAN(*networks, learning_rate=1e-3, seed=0)
    gan.compile()
    gan.fit(data, epochs=epochs, shuffle=False)
    scores = gan.evaluate(x_test, y_test, return_dict=True)
    print(f"Test accuracy: {scores['accuracy']:.2%}")
    return scores


if __name__ == "__main__":
    main()
