"""Counts what devices tell each other in a step, and projects from it.

Example:

    python -m benchmarks.projection --preset article --devices 64
"""

import argparse
import math

from benchmarks.inputs import NUM_CLASSES
from benchmarks.inputs import generator_rows
from benchmarks.operations import step_multiply_adds
from keras_ssgan.settings import PRESETS
from keras_ssgan.settings import get_preset


def gradient_bytes(settings):
    """Bytes of the float32 gradients of both networks.

    Args:
        settings: A `Preset`.

    Returns:
        Two int, the discriminator's and the generator's.
    """
    units = NUM_CLASSES if settings.tied_logit else NUM_CLASSES + 1
    features = settings.discriminator[-1][0]
    discriminator = _weights(settings.discriminator, 1)
    normalized = _normalized(settings)
    discriminator += 2 * sum(normalized[0])
    discriminator += (features + 1) * units
    generator = _weights(generator_rows(settings), settings.latent_dim)
    generator += 2 * sum(normalized[1])
    return 4 * discriminator, 4 * generator


def _weights(rows, channels):
    count = 0
    for filters, kernel_size, *_ in rows:
        count += (kernel_size**2 * channels + 1) * filters
        channels = filters
    return count


def _normalized(settings):
    """Filters of the layers with batch normalisation, of both networks."""
    rows = settings.discriminator[1:-1], generator_rows(settings)[:-1]
    return [[filters for filters, *_ in part] for part in rows]


def small_messages(settings):
    """The collectives of a step other than those of the gradients.

    Each has a mean and a mean square per filter for batch normalisation, once
    forward and once backward; and those of the mask's sum, and of the mean
    features, forward and backward. The discriminator normalises every view of
    the real images and the generated ones in its own update, and in the
    generator's both again, of which the real ones have no backward pass.

    Args:
        settings: A `Preset`.

    Returns:
        Two int: how many there are, and their bytes.
    """
    discriminator, generator = _normalized(settings)
    views = 2 if settings.consistency else 1
    passes = 2 * (views + 1) + 1 + 2
    count = passes * len(discriminator) + 2 * len(generator) + 3
    floats = passes * 2 * sum(discriminator) + 2 * 2 * sum(generator)
    floats += 1 + 2 * settings.discriminator[-1][0]
    return count, 4 * floats


def project(settings, devices, batch_size, flops, bandwidth, latency):
    """Seconds of a step on paper; nothing is overlapped.

    With `F` operations per image, `G` bytes of gradients, and `m` small
    messages of `S` bytes together, `b` images per device, on `n` devices:

        t(n) = b F / flops + 2 (n - 1) / n (G + S) / bandwidth
               + (m + 2) latency log2(n)

    Args:
        settings: A `Preset`.
        devices: int, `n`.
        batch_size: int, images per device.
        flops: float, operations per second that a device reaches.
        bandwidth: float, bytes per second between devices.
        latency: float, seconds of a collective per doubling of the devices.

    Returns:
        Dict of the seconds: `compute`, `bandwidth`, `latency`; and of the
        `efficiency`, the share of computing in their sum.
    """
    count, small = small_messages(settings)
    sent = sum(gradient_bytes(settings)) + small
    seconds = {
        "compute": batch_size * 2 * step_multiply_adds(settings) / flops,
        "bandwidth": 2 * (devices - 1) / devices * sent / bandwidth,
        "latency": (count + 2) * latency * math.log2(devices),
    }
    return seconds | {"efficiency": seconds["compute"] / sum(seconds.values())}


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.projection")
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="article")
    add("--devices", type=int, default=64)
    add("--batch-size", type=int, help="per device (default: the preset's)")
    add("--tflops", type=float, default=20.0, help="that a device reaches")
    add("--gigabytes", type=float, default=40.0, help="per second, in between")
    add("--microseconds", type=float, default=8.0, help="per doubling")
    args = parser.parse_args()
    settings = get_preset(args.preset)
    count, small = small_messages(settings)
    d, g = gradient_bytes(settings)
    print(f"gradients: {d:,} + {g:,} bytes; {count} messages: {small:,} bytes")
    print(f"operations per image: {2 * step_multiply_adds(settings):,}")
    projected = project(
        settings,
        args.devices,
        args.batch_size or settings.batch_size,
        1e12 * args.tflops,
        1e9 * args.gigabytes,
        1e-6 * args.microseconds,
    )
    for name, value in projected.items():
        print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
