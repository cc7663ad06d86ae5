"""A short training in a process of its own, on one or many devices.

`scaling.py` times it; `devices.py` and the tests compare its weights. Devices
of a CPU are simulated, which has to be settled before a backend starts.
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np


def main():
    args = _parse_args()
    # Read once, by JAX's first computation.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + f" --xla_force_host_platform_device_count={args.devices or 1}"
    )
    import keras

    from keras_ssgan import distribution

    if keras.backend.backend() == "tensorflow" and args.devices:
        _split_tensorflow_cpu(args.devices)
    with distribution.scope(args.devices, args.distribute):
        state, report = train(
            args.preset, args.batch_size, args.steps, args.dealt_to
        )
        if distribution.is_main():
            args.output.with_suffix(".json").write_text(json.dumps(report))
            np.savez(args.output.with_suffix(".npz"), *state)


def _parse_args():
    parser = argparse.ArgumentParser("python -m benchmarks.replica")
    add = parser.add_argument
    add("--devices", type=int)
    add("--distribute", action="store_true")
    add("--preset", help="default: a GAN of a few hundred weights")
    add("--batch-size", type=int, default=16)
    add("--steps", type=int, default=3)
    add("--dealt-to", type=int, metavar="N", help="see `train`")
    add("--output", type=pathlib.Path, required=True)
    return parser.parse_args()


def _split_tensorflow_cpu(devices):
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )


def train(preset=None, batch_size=16, steps=3, dealt_to=None):
    """Trains for one epoch of noise, a quarter of each batch labelled.

    Args:
        preset: Name of a preset. Defaults to a tiny GAN without dropout, whose
            every other number is the same on one device and on many.
        batch_size: int.
        steps: int, batches.
        dealt_to: int; the rows of each batch are in the order in which so many
            devices get them.

    Returns:
        A list of arrays, all variables but those of metrics; and a dict of the
        history and of the seconds that each step took.
    """
    import keras

    from keras_ssgan import datasets
    from keras_ssgan import distribution

    keras.utils.set_random_seed(0)
    gan = _build(preset)
    gan.compile()
    size = gan.image_shape[0]
    rng = np.random.default_rng(0)
    labeled = batch_size // 4
    labels = np.full(20 + steps * (batch_size - labeled), -1)
    labels[:20] = np.arange(20) % 10
    data = datasets.MixedDataset(
        rng.integers(0, 256, (len(labels), size, size), dtype="uint8"),
        labels,
        batch_size=batch_size,
        labeled_per_batch=labeled,
    )
    if dealt_to:
        data = distribution.Dealt(data, dealt_to)
    clock = _clock(keras)
    history = gan.fit(
        data,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
        # Not to be divided by any number of devices.
        validation_data=(
            rng.integers(0, 256, (21, size, size), dtype="uint8"),
            np.arange(21) % 10,
        ),
    )
    report = {"history": history.history, "seconds": clock.seconds}
    variables = gan.variables + gan.optimizer.variables
    return [variable.numpy() for variable in variables], report


def _build(preset):
    import keras_ssgan as ks
    from keras_ssgan.augmentation import RandomAffine

    if preset:
        return ks.SemiSupervisedGAN.from_preset(preset, seed=0)
    discriminator = ks.networks.build_discriminator(
        (8, 8, 1),
        [(4, 4, 2, "same"), (6, 3, 1, "same"), (8, 3, 1, "valid")],
        dropout=0.0,
        seed=0,
    )
    generator = ks.networks.build_generator(
        5, [(6, 4, 1, "valid"), (1, 4, 2, "same")], dropout=0.0, seed=1
    )
    return ks.SemiSupervisedGAN(
        discriminator,
        generator,
        consistency=1.0,
        augmentation=RandomAffine(elastic=0.02, seed=2),
        ema_momentum=0.9,
        seed=3,
    )


def _clock(keras):
    class Clock(keras.callbacks.Callback):
        """Seconds of each step, once its figures are there."""

        def __init__(self):
            super().__init__()
            self.seconds = []

        def on_train_batch_begin(self, batch, logs=None):
            self.start = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            float(logs["d_loss"])
            self.seconds.append(time.perf_counter() - self.start)

    return Clock()


if __name__ == "__main__":
    main()
