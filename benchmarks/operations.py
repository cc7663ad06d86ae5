"""Counts the arithmetic that one training step needs."""

from benchmarks.inputs import NUM_CLASSES
from benchmarks.inputs import generator_rows


def discriminator_multiply_adds(settings):
    """Multiply-adds per image and layer of the discriminator's forward pass.

    A convolution takes `k * k * channels` multiply-adds for every pixel and
    filter of its output, those that meet the padding included.

    Args:
        settings: A `Preset`.

    Returns:
        List of int, one per convolution and one for the dense layer.
    """
    counts, size, channels = [], settings.image_size, 1
    for filters, kernel_size, strides, padding in settings.discriminator:
        if padding == "valid":
            size -= kernel_size - 1
        size = -(-size // strides)
        counts.append(size**2 * kernel_size**2 * channels * filters)
        channels = filters
    units = NUM_CLASSES if settings.tied_logit else NUM_CLASSES + 1
    return [*counts, channels * units]


def generator_multiply_adds(settings):
    """Multiply-adds per image and layer of the generator's forward pass.

    A transposed convolution takes `k * k * filters` multiply-adds for every
    pixel and channel of its input.

    Args:
        settings: A `Preset`.

    Returns:
        List of int, one per transposed convolution.
    """
    counts, size, channels = [], 1, settings.latent_dim
    for filters, kernel_size, strides, padding in generator_rows(settings):
        counts.append(size**2 * kernel_size**2 * channels * filters)
        size *= strides
        if padding == "valid":
            size += max(kernel_size - strides, 0)
        channels = filters
    return counts


def step_multiply_adds(settings):
    """Multiply-adds per real image of a step that computes nothing in vain.

    With D and G the sums over all layers, and D1 and G1 the first layers, a
    backward pass costs once the forward pass for the gradients of the weights
    and once more for those of the layers' inputs, of which the networks' own
    inputs need none:

    - G update: `G` forward, `2 G - G1` backward;
    - D update, on a real and a generated image: `2 (3 D - D1)`;
    - D within the G update: forward on both, `2 D`, and the gradients of the
      generated image, without those of the weights, `D`.

    Losses, activations, normalisation, resizing and the optimizers, which
    grow with the pixels or the weights alone, are not counted.

    Args:
        settings: A `Preset`.

    Returns:
        int, `9 D - 2 D1 + 3 G - G1`; twice as many floating-point operations.
    """
    d = discriminator_multiply_adds(settings)
    g = generator_multiply_adds(settings)
    return 9 * sum(d) - 2 * d[0] + 3 * sum(g) - g[0]
