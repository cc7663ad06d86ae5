"""`SemiSupervisedGAN.fit`, on the running backend."""

from unittest import mock

import keras
import numpy as np
from keras import ops

from benchmarks.inputs import plain
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.settings import PRESETS

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Peer:
    """The model of a preset, compiled as by default."""

    def __init__(self, settings, weights, dtype):
        PRESETS["benchmarked"] = plain(settings)
        self.gan = SemiSupervisedGAN.from_preset(
            "benchmarked", dtype=POLICIES[dtype], seed=0
        )
        for network, blocks in zip(
            (self.gan.discriminator, self.gan.generator), weights, strict=True
        ):
            network.set_weights(
                [array for block in blocks for array in block.values()]
            )
        self.gan.compile()

    def train(self, batches):
        """One call of `fit`: an epoch over the batches, as arrays."""
        images, labels, _ = map(np.concatenate, zip(*batches, strict=True))
        self.gan.fit(images, labels, batch_size=len(batches[0][0]), verbose=0)

    def train_bare(self, batches):
        """The compiled step of `fit` alone, on data that is in place."""
        self.gan.make_train_function()
        _BARE_LOOPS[keras.backend.backend()](
            self.gan, [(images, labels) for images, labels, _ in batches]
        )

    def losses(self, batches):
        """Losses of one step per batch, with the latents of the batch."""
        table = np.stack([latents for *_, latents in batches])

        def normal(shape, seed):
            # A compiled step cannot be handed them otherwise.
            return ops.take(table, self.gan.optimizer.iterations, axis=0)

        with mock.patch("keras.random.normal", normal):
            return [
                self.gan.train_on_batch(images, labels, return_dict=True)
                for images, labels, _ in batches
            ]


def _tensorflow_loop(gan, batches):
    import tensorflow as tf

    # One batch again and again: to feed different ones takes time.
    iterator = iter(tf.data.Dataset.from_tensors(batches[0]).repeat())
    for _ in batches:
        logs = gan.train_function(iterator)
    logs["d_loss"].numpy()


def _jax_loop(gan, batches):
    import jax

    iterator = iter(jax.device_put(batches))
    groups = (
        gan.trainable_variables,
        gan.non_trainable_variables,
        gan.optimizer.variables,
        gan.metrics_variables,
    )
    state = tuple([variable.value for variable in group] for group in groups)
    for _ in batches:
        _, state = gan.train_function(state, iterator)
    jax.block_until_ready(state)
    # The values that the variables had are donated.
    for group, values in zip(groups, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)


def _torch_loop(gan, batches):
    batches = [tuple(map(ops.convert_to_tensor, batch)) for batch in batches]
    for batch in batches:
        logs = gan.train_function([batch])
    float(logs["d_loss"])


_BARE_LOOPS = {
    "tensorflow": _tensorflow_loop,
    "jax": _jax_loop,
    "torch": _torch_loop,
}
