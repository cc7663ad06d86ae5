"""A model with any training step, to look at what runs inside of one."""

import keras
import numpy as np
from keras import ops

from keras_ssgan.autodiff import trainer_step


class Probe(keras.Model):
    """A model whose training step is `body(probe, x)`, a dict of tensors."""

    def __init__(self, body, **layers):
        super().__init__()
        self.body = body
        self.slope = self._variable([2.0, -3.0, 0.5], trainable=True)
        self.offset = self._variable([1.0, 1.0, 1.0], trainable=True)
        self.counter = self._variable(0.0, trainable=False)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.built = True

    def _variable(self, value, trainable):
        return self.add_weight(
            shape=np.shape(value),
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                value, dtype
            ),
            trainable=trainable,
        )

    @trainer_step
    def train_step(self, data):
        return self.body(self, _input_of(data))

    @trainer_step
    def test_step(self, data):
        return self.body(self, _input_of(data))


def _input_of(data):
    x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    return ops.convert_to_tensor(x)


def run(probe, *batches):
    """Trains on the batches; returns what the last step did as arrays."""
    if not probe.compiled:
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(probe.trainable_variables)
        probe.compile(optimizer=optimizer)
    for batch in batches:
        logs = probe.train_on_batch(batch, return_dict=True)
    return {name: ops.convert_to_numpy(value) for name, value in logs.items()}
