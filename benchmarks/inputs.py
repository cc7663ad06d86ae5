"""What every contestant is given: the plain method, weights, and batches."""

import dataclasses

import numpy as np

NUM_CLASSES = 10
RAW_SIZE = 28


def plain(settings, **changes):
    """A preset without what the loops do not do.

    Args:
        settings: `keras_ssgan.settings.Preset`.
        **changes: More fields to replace.

    Returns:
        A `Preset`.
    """
    extras = {"consistency": 0.0, "augmentation": None, "ema_momentum": None}
    return dataclasses.replace(settings, **extras, **changes)


def generator_rows(settings):
    """Rows of the generator's table, the image's one channel included."""
    *hidden, output = settings.generator
    return [*hidden, (1, *output)]


def initial_weights(settings, seed=0):
    """Glorot-uniform weights, in the shapes of stock Keras layers.

    Args:
        settings: A `Preset`.
        seed: int.

    Returns:
        Two lists, discriminator and generator, of one dict of float32 arrays
        per convolution (the discriminator's last is the dense layer), in
        Keras' order.
    """
    rng = np.random.default_rng(seed)
    last = len(settings.discriminator) - 1
    discriminator, channels = [], 1
    for i, (filters, size, *_) in enumerate(settings.discriminator):
        kernel = _glorot(rng, (size, size, channels, filters))
        discriminator.append(_block(kernel, filters, 0 < i < last))
        channels = filters
    units = NUM_CLASSES if settings.tied_logit else NUM_CLASSES + 1
    discriminator.append(_block(_glorot(rng, (channels, units)), units, False))

    generator, channels = [], settings.latent_dim
    rows = generator_rows(settings)
    for i, (filters, size, *_) in enumerate(rows):
        kernel = _glorot(rng, (size, size, filters, channels))
        generator.append(_block(kernel, filters, i < len(rows) - 1))
        channels = filters
    return discriminator, generator


def _glorot(rng, shape):
    *window, a, b = shape
    limit = np.sqrt(6 / (np.prod(window) * (a + b)))
    return rng.uniform(-limit, limit, shape).astype("float32")


def _block(kernel, filters, normalized):
    zeros, ones = np.zeros(filters, "float32"), np.ones(filters, "float32")
    block = {"kernel": kernel, "bias": zeros}
    if normalized:
        block |= {"gamma": ones, "beta": zeros}
        block |= {"moving_mean": zeros, "moving_variance": ones}
    return block


def draw_batches(settings, batch_size, count, seed=0):
    """Random batches; what the pixels show costs no time.

    Args:
        settings: A `Preset`.
        batch_size: int.
        count: int, number of batches.
        seed: int.

    Returns:
        List of `(images, labels, latents)`: uint8 `(batch, 28, 28)`; int32
        `(batch,)`, four fifths of it -1 for "no label"; and float32 `(batch,
        1, 1, latent_dim)`.
    """
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(count):
        images = rng.integers(
            0, 256, (batch_size, RAW_SIZE, RAW_SIZE), dtype="uint8"
        )
        labels = rng.integers(0, NUM_CLASSES, batch_size).astype("int32")
        labels[-(-batch_size // 5) :] = -1
        latents = rng.standard_normal(
            (batch_size, 1, 1, settings.latent_dim), dtype="float32"
        )
        batches.append((images, labels, latents))
    return batches
