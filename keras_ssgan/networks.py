"""Discriminator and generator as plain functions to functional models.

Both networks are described by rows `(filters, kernel_size, strides, padding)`,
one per convolution, so that a preset is a table (see `settings.py`).
"""

import random
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src.backend import AutocastScope

from keras_ssgan import autodiff
from keras_ssgan import layers
from keras_ssgan.types import Tensor

# Whatever `keras.config.set_image_data_format` says of other models.
_CHANNELS_LAST = "channels_last"


def build_preprocessor(image_shape: tuple[int, int, int]) -> keras.Model:
    """Raw pixels to what the discriminator sees.

    Scales pixels from `[0, 255]` to `[-1, 1]` and resizes bilinearly. It runs
    in float32 whatever the dtype policy, and on the device, so that a dataset
    can stay uint8 at its own size until then.

    Args:
        image_shape: `(height, width, channels)` of the result.

    Returns:
        `keras.Model` `"preprocessor"` from `(batch, any_height, any_width,
        channels)`, any real dtype, to float32 `(batch, height, width,
        channels)`.
    """
    height, width, channels = image_shape
    # === Layers ===
    scale = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")
    resize = keras.layers.Resizing(
        height, width, data_format=_CHANNELS_LAST, dtype="float32"
    )

    # === Functional model ===
    # Of integers, too, which a functional model converts to this.
    inputs = keras.Input((None, None, channels), dtype="float32", name="pixels")
    # `Resizing` would tell all layers after it that they are in training.
    images = resize(scale(inputs), training=False)
    return keras.Model(inputs, images, name="preprocessor")


def build_discriminator(
    image_shape: tuple[int, int, int],
    convolutions: Sequence[tuple],
    num_classes: int = 10,
    dropout: float = 0.3,
    momentum: float = 0.99,
    tied_logit: bool = False,
    dtype: Any = None,
    seed: int | None = None,
    name: str = "discriminator",
) -> keras.Model:
    """Strided convolutions, global pooling, and K + 1 logits.

    Every convolution is followed by LeakyReLU (slope 0.2). Batch normalisation
    comes after the activation, on all but the first and the last convolution;
    dropout on all but the last, whose pooled output are the features that the
    generator has to match (DCGAN, Radford et al. 2016, and Salimans et al.
    2016, section 3.1).

    Args:
        image_shape: `(height, width, channels)` of the images.
        convolutions: List of `(filters, kernel_size, strides, padding)`.
        num_classes: int, K.
        dropout: Share of the units that are *dropped*, in `[0, 1)`.
        momentum: Momentum of the batch normalisation's moving statistics.
        tied_logit: Whether logit 0 follows from the class logits, as minus
            their log-sum-exp, instead of having weights of its own. The
            classes then share the work of telling real from fake: an image is
            real as far as it is of any class (Salimans et al. 2016, section
            5, where `D(x) = Z / (Z + 1)`).
        dtype: Dtype policy of the layers, or `None` for the global one. The
            two outputs are float32 under every policy.
        seed: int, seed of the dropout. Defaults to a random one.
        name: Name of the model.

    Returns:
        `keras.Model` from images `(batch, height, width, channels)` in
        `[-1, 1]` to `[features, logits]`, of shapes `(batch, filters)` and
        `(batch, K + 1)`. Logit 0 is high for fake images.
    """
    seeds = _seeds(seed)
    inputs = keras.Input(image_shape, name="images")
    x = inputs
    last = len(convolutions) - 1
    for i, (filters, kernel_size, strides, padding) in enumerate(convolutions):
        x = layers.Conv2D(
            filters, kernel_size, strides, padding, _CHANNELS_LAST, dtype=dtype
        )(x)
        x = keras.layers.LeakyReLU(0.2, dtype=dtype)(x)
        if 0 < i < last:
            x = layers.BatchNormalization(momentum=momentum, dtype=dtype)(x)
        if i < last:
            x = layers.Dropout(dropout, seed=next(seeds), dtype=dtype)(x)
    features = keras.layers.GlobalAveragePooling2D(
        _CHANNELS_LAST, dtype="float32", name="features"
    )(x)
    num_logits = num_classes if tied_logit else num_classes + 1
    logits = keras.layers.Dense(num_logits, dtype="float32", name="logits")(
        features
    )
    if tied_logit:
        fake = -ops.logsumexp(logits, axis=-1, keepdims=True)
        logits = keras.layers.Concatenate(dtype="float32")([fake, logits])
    return keras.Model(inputs, [features, logits], name=name)


def build_generator(
    latent_dim: int,
    convolutions: Sequence[tuple],
    dropout: float = 0.3,
    momentum: float = 0.99,
    dtype: Any = None,
    seed: int | None = None,
    name: str = "generator",
) -> keras.Model:
    """Transposed convolutions from a latent vector to an image.

    Every transposed convolution but the last is followed by ReLU, then batch
    normalisation, then dropout; the last by tanh.

    Args:
        latent_dim: int, length of the latent vector.
        convolutions: List of `(filters, kernel_size, strides, padding)`; the
            filters of the last row are the image's channels.
        dropout: Share of the units that are *dropped*, in `[0, 1)`.
        momentum: Momentum of the batch normalisation's moving statistics.
        dtype: Dtype policy of the layers, or `None` for the global one. The
            image is float32 under every policy.
        seed: int, seed of the dropout. Defaults to a random one.
        name: Name of the model.

    Returns:
        `keras.Model` from latents `(batch, 1, 1, latent_dim)` to images
        `(batch, height, width, channels)` in `[-1, 1]`.
    """
    seeds = _seeds(seed)
    inputs = keras.Input((1, 1, latent_dim), name="latents")
    x = inputs
    *hidden, (channels, kernel_size, strides, padding) = convolutions
    for filters, *geometry in hidden:
        x = layers.Conv2DTranspose(
            filters, *geometry, data_format=_CHANNELS_LAST, dtype=dtype
        )(x)
        x = keras.layers.ReLU(dtype=dtype)(x)
        x = layers.BatchNormalization(momentum=momentum, dtype=dtype)(x)
        x = layers.Dropout(dropout, seed=next(seeds), dtype=dtype)(x)
    x = layers.Conv2DTranspose(
        channels,
        kernel_size,
        strides,
        padding,
        data_format=_CHANNELS_LAST,
        dtype=dtype,
    )(x)
    images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
    return keras.Model(inputs, images, name=name)


# Layers of which a call is no more than their `call`, and a change of dtypes:
# they have no layers within, and make no masks.
_PLAIN_LAYERS = {
    keras.layers.InputLayer,
    keras.layers.Activation,
    keras.layers.Concatenate,
    keras.layers.Dense,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    layers.BatchNormalization,
    layers.Conv2D,
    layers.Conv2DTranspose,
    layers.Dropout,
}


def run_in_training(network: keras.Model, inputs: Tensor) -> Any:
    """What `network(inputs, training=True)` computes.

    Keras prepares each call of a layer: it converts the arguments, binds them
    to the signature, looks for masks, opens scopes. Where that is done again in
    every step, it takes longer than what small layers compute, and networks of
    plain layers go without.

    Args:
        network: Functional `keras.Model`.
        inputs: Float32 tensor.

    Returns:
        The outputs of the network.
    """
    is_plain = (
        all(type(layer) in _PLAIN_LAYERS for layer in network.layers)
        # A Sequential has its graph within.
        and not isinstance(network, keras.Sequential)
    )
    if not (is_plain and autodiff.RUNS_IN_PYTHON):
        return network(inputs, training=True)
    outputs = network._run_through_graph(inputs, operation_fn=_unprepared)
    outputs = keras.tree.flatten(outputs)
    return outputs if len(outputs) > 1 else outputs[0]


def _unprepared(operation):
    """The call of an operation in training, as Keras goes on with it."""
    if not isinstance(operation, keras.Layer):
        return operation

    def convert(x):
        if isinstance(x, list):
            return [convert(part) for part in x]
        return ops.cast(x, operation.compute_dtype)

    def call(x, **kwargs):
        if "training" in operation.call_signature_parameters:
            kwargs["training"] = True
        if operation.compute_dtype == operation.variable_dtype:
            return operation.call(convert(x), **kwargs)
        with AutocastScope(operation.compute_dtype):
            return operation.call(convert(x), **kwargs)

    return call


def _seeds(seed):
    """Yields one seed per layer.

    A dropout layer without a seed of its own draws, under PyTorch, from a
    global state that is not saved with the model.
    """
    # Without a seed, from the state that `keras.utils.set_random_seed` sets.
    generator = random if seed is None else random.Random(seed)
    while True:
        yield generator.randrange(2**31)
