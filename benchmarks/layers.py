"""Times each layer that is not Keras' own against the stock one.

Forward and the gradients of weights and inputs, compiled as the backend does.

Example:

    KERAS_BACKEND=jax python -m benchmarks.layers --preset article
"""

import argparse
import statistics
import time

import keras
import numpy as np
from keras import ops

from keras_ssgan import layers
from keras_ssgan.autodiff import BACKEND
from keras_ssgan.autodiff import trainer_step
from keras_ssgan.autodiff import vjp
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.settings import PRESETS

KINDS = (
    layers.BatchNormalization,
    layers.Conv2D,
    layers.Conv2DTranspose,
    layers.Dropout,
)
IN_TRAINING = (keras.layers.BatchNormalization, keras.layers.Dropout)


class Probe(keras.Model):
    """A model of one layer, whose training step only takes gradients."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True
        optimizer = keras.optimizers.SGD()
        optimizer.build(self.trainable_variables)
        self.compile(optimizer=optimizer)

    def _call(self, images):
        if isinstance(self.layer, IN_TRAINING):
            return self.layer(images, training=True)
        return self.layer(images)

    @trainer_step
    def train_step(self, data):
        images, *_ = keras.utils.unpack_x_y_sample_weight(data)
        images = ops.convert_to_tensor(images)
        outputs, pullback, _ = vjp(
            lambda images: (self._call(images), None),
            self.layer.trainable_variables,
            images,
        )
        weights, inputs = pullback(ops.ones_like(outputs))
        # All of it has to be computed.
        return {"sum": sum(ops.sum(x) for x in [outputs, *weights, *inputs])}


def main():
    args = _parse_args()
    gan = SemiSupervisedGAN.from_preset(args.preset)
    for network in (gan.discriminator, gan.generator):
        for layer in network.layers:
            if isinstance(layer, KINDS):
                _compare(layer, args)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.layers", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", choices=PRESETS, default="article")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _compare(layer, args):
    shape = (args.batch_size, *layer.input.shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    stock = layers.stock(layer)
    stock.build(shape)
    probes = [Probe(stock), Probe(layer)]
    seconds = [[], []]
    for i in range(args.rounds + 1):
        for probe, times in zip(probes, seconds, strict=True):
            start = time.perf_counter()
            probe.train_on_batch(images)
            if i > 0:  # The first compiles.
                times.append(time.perf_counter() - start)
    before, after = (1e3 * statistics.median(times) for times in seconds)
    print(
        f"{BACKEND} {layer.name} {shape[1:]}: {before:.1f} ms stock, "
        f"{after:.1f} ms ours",
        flush=True,
    )


if __name__ == "__main__":
    main()
