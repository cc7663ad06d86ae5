"""What a discriminator becomes on its own: a classifier of raw images."""

import math
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_ssgan import limits
from keras_ssgan import losses
from keras_ssgan.errors import InputError
from keras_ssgan.layers import stock
from keras_ssgan.networks import build_preprocessor


def build_classifier(
    discriminator: keras.Model, temperature: float
) -> keras.Model:
    """Builds a classifier of stock Keras layers, with copies of the weights.

    Args:
        discriminator: Functional `keras.Model`, as `SemiSupervisedGAN` takes
            it.
        temperature: float above 0, as in `SemiSupervisedGAN.classifier`.

    Returns:
        Functional `keras.Model`, as `SemiSupervisedGAN.classifier` gives it.

    Raises:
        InputError: If the temperature is not above 0.
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature} has to be above 0")
    copy = keras.models.clone_model(
        discriminator, clone_function=stock, recursive=True
    )
    copy.set_weights(discriminator.get_weights())
    image_shape = discriminator.input_shape[1:]
    channels = image_shape[-1]
    shape = (None, None) if channels == 1 else (None, None, channels)

    inputs = keras.Input(shape, dtype="uint8", name="pixels")
    x = ops.expand_dims(inputs, axis=-1) if channels == 1 else inputs
    x = build_preprocessor(image_shape)(x)
    _, logits = copy(x)
    x = keras.layers.Rescaling(
        1 / temperature, dtype="float32", name="temperature"
    )(losses.class_logits(logits))
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="classifier")


def temperature_of(classifier: keras.Model) -> float:
    """The temperature that a classifier's probabilities are calibrated by.

    Args:
        classifier: As `is_classifier` accepts it.

    Returns:
        float; 1 for a model of an earlier version, without such a layer.
    """
    return 1 / _scale(classifier)


def _scale(model):
    layers = {layer.name: layer for layer in model.layers}
    return getattr(layers.get("temperature"), "scale", 1)


def is_classifier(model: keras.Model) -> bool:
    """Whether a model is one as `SemiSupervisedGAN.classifier` gives it.

    Args:
        model: `keras.Model`, of whoever's making.

    Returns:
        bool; `True` where it takes raw images of any size, prepares them by
        itself, and gives one number for each class.
    """
    names = {layer.name for layer in model.layers}
    inputs = getattr(model, "inputs", None) or []
    if "preprocessor" not in names or len(inputs) != 1:
        return False
    _, *size_and_channels = inputs[0].shape
    scale = _scale(model)
    return (
        size_and_channels[:2] == [None, None]
        and len(size_and_channels) in (2, 3)
        and len(model.outputs) == 1
        and len(model.outputs[0].shape) == 2
        and isinstance(scale, int | float)
        and 0 < scale < math.inf
    )


def classify(model: keras.Model, images: Iterable[np.ndarray]) -> np.ndarray:
    """Predicts images of any sizes, those of one size in one pass.

    Args:
        model: As `is_classifier` accepts it.
        images: uint8 arrays of shape `(height, width)`. Of an iterator only as
            many are kept at a time as have the pixels of two images of the
            largest size.

    Returns:
        float32 array of shape `(n, K)`, in the order of `images`.
    """
    parts = [np.empty((0, model.output_shape[-1]), "float32")]
    waiting: list[np.ndarray] = []
    pixels = 0
    for image in images:
        waiting.append(image)
        pixels += image.size
        if pixels >= limits.MAX_IMAGE_PIXELS:
            parts.append(_classify_at_once(model, waiting))
            waiting, pixels = [], 0
    parts.append(_classify_at_once(model, waiting))
    return np.concatenate(parts)


def _classify_at_once(model, images):
    """`classify` of a list of images."""
    probabilities = np.empty((len(images), model.output_shape[-1]), "float32")
    shapes = [image.shape for image in images]
    for shape in set(shapes):
        # As many at a time as have the pixels of one image of the largest size.
        fit = max(1, limits.MAX_IMAGE_PIXELS // math.prod(shape))
        alike = [index for index, s in enumerate(shapes) if s == shape]
        probabilities[alike] = model.predict(
            np.stack([images[index] for index in alike]),
            batch_size=min(256, fit),
            verbose=0,
        )
    return probabilities
