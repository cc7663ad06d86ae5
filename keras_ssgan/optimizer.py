"""The two optimizers of a GAN as the one that Keras' trainer knows."""

import keras
from keras import ops

from keras_ssgan.errors import InputError


def serialize_optimizer(optimizer):
    """Serialises an optimizer for all backends.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        Dict, as `keras.saving.serialize_keras_object` gives it.
    """
    return _without_backend(keras.saving.serialize_keras_object(optimizer))


def _without_backend(serialized):
    """Names the public class where Keras names the running backend's.

    Under PyTorch, Keras serialises its optimizers as subclasses that work on
    PyTorch's tensors alone.
    """
    config = dict(serialized["config"])
    if "inner_optimizer" in config:
        config["inner_optimizer"] = _without_backend(config["inner_optimizer"])
    serialized = {**serialized, "config": config}
    if serialized["module"].startswith("keras.src.backend."):
        serialized.update(module="keras.optimizers", registered_name=None)
    return serialized


def put_averages(optimizer, variables):
    """Gives variables the values of their moving averages, if there are any.

    Args:
        optimizer: `keras.optimizers.Optimizer` that trains them.
        variables: List of its trainable variables.
    """
    optimizer.finalize_variable_values(variables)
    if getattr(optimizer, "inner_optimizer", optimizer).use_ema:
        # On JAX a weight now shares its buffer with its average, and neither a
        # step nor `predict` could donate the one buffer twice.
        for variable in variables:
            variable.assign(ops.copy(variable.value))


@keras.saving.register_keras_serializable("keras_ssgan")
class AlternatingOptimizer(keras.optimizers.Optimizer):
    """Carries the state of the discriminator's and the generator's optimizer.

    Keras' trainers, callbacks and savers look at `model.optimizer` alone: this
    one hands them the variables of both. It never steps itself; the training
    step applies each of `optimizers` once. Callbacks that change the learning
    rate or swap averaged weights find `optimizers`, as they do in
    `keras.optimizers.MultiOptimizer`, which was not used because it steps all
    its optimizers at once and refuses loss scaling (mixed_float16).

    Args:
        discriminator_optimizer: `keras.optimizers.Optimizer`.
        generator_optimizer: Another one; not the same instance.
        name: Name of the optimizer.
    """

    def __init__(
        self,
        discriminator_optimizer,
        generator_optimizer,
        name="alternating_optimizer",
    ):
        if discriminator_optimizer is generator_optimizer:
            raise InputError(
                "the discriminator and the generator need an optimizer each; "
                "received the same instance twice"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.optimizers = [discriminator_optimizer, generator_optimizer]

    def build(self, discriminator_variables, generator_variables):
        """Creates the variables of both optimizers.

        Args:
            discriminator_variables: List of trainable variables.
            generator_variables: List of trainable variables.
        """
        self.variable_groups = [discriminator_variables, generator_variables]
        for optimizer, variables in self._pairs():
            optimizer.build(variables)
        super().build(discriminator_variables + generator_variables)

    def _pairs(self):
        return zip(self.optimizers, self.variable_groups, strict=True)

    @property
    def variables(self):
        return [
            variable
            for optimizer in self.optimizers
            for variable in optimizer.variables
        ]

    @property
    def iterations(self):
        return self.optimizers[0].iterations

    @property
    def learning_rate(self):
        raise AttributeError(
            "There are two learning rates: read or set those of "
            "`discriminator_optimizer` and `generator_optimizer`."
        )

    @learning_rate.setter
    def learning_rate(self, value):
        raise AttributeError(
            "There are two learning rates: read or set those of "
            "`discriminator_optimizer` and `generator_optimizer`."
        )

    def finalize_variable_values(self, var_list):
        for optimizer, variables in self._pairs():
            put_averages(optimizer, variables)

    def save_own_variables(self, store):
        """Nothing: Keras saves each of `optimizers` on its own."""

    def load_own_variables(self, store):
        """Nothing: Keras loads each of `optimizers` on its own."""

    def get_config(self):
        discriminator_optimizer, generator_optimizer = self.optimizers
        return {
            "name": self.name,
            "discriminator_optimizer": serialize_optimizer(
                discriminator_optimizer
            ),
            "generator_optimizer": serialize_optimizer(generator_optimizer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        for key in ("discriminator_optimizer", "generator_optimizer"):
            config[key] = deserialize(config[key], custom_objects)
        return cls(**config)
