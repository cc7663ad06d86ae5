"""A short training in a process of its own, on one or many devices.

`scaling.py` times it, and the tests compare its weights. Devices of a CPU are
simulated, which has to be settled before a backend starts.
"""

import argparse
import json
import os
import pathlib
import time


def main():
    args = _parse_args()
    # Read once, by JAX's first computation.
    os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={args.devices or 1}"
    )
    import keras

    from keras_ssgan import distribution

    if keras.backend.backend() == "tensorflow" and args.devices:
        _split_tensorflow_cpu(args.devices)
    with distribution.scope(args.devices, args.distribute):
        report = _train(args)
        main_process = distribution.is_main()
    if main_process:
        args.output.with_suffix(".json").write_text(json.dumps(report))


def _parse_args():
    parser = argparse.ArgumentParser("python -m benchmarks.replica")
    add = parser.add_argument
    add("--devices", type=int)
    add("--distribute", action="store_true")
    add("--preset", help="default: a GAN of a few hundred weights")
    add("--dropout", type=float, default=0.0, help="of the tiny GAN")
    add("--batch-size", type=int, default=16)
    add("--dealt-to", type=int, help="order of the rows, as for so many")
    add("--steps", type=int, default=3)
    add("--epochs", type=int, default=1)
    add("--output", type=pathlib.Path, required=True)
    return parser.parse_args()


def _split_tensorflow_cpu(devices):
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )


def _train(args):
    import keras
    import numpy as np

    import keras_ssgan as ks
    from keras_ssgan import distribution

    keras.utils.set_random_seed(0)
    gan = _build(args)
    gan.compile()
    size = gan.image_shape[0]
    rng = np.random.default_rng(0)
    labeled = args.batch_size // 4
    images = args.steps * (args.batch_size - labeled) + 20
    labels = np.full(images, -1)
    labels[:20] = np.arange(20) % 10
    data = ks.datasets.MixedDataset(
        rng.integers(0, 256, (images, size, size), dtype="uint8"),
        labels,
        batch_size=args.batch_size,
        labeled_per_batch=labeled,
    )
    if args.dealt_to:
        data = distribution.Dealt(data, args.dealt_to)
    clock = _clock(keras)
    history = gan.fit(
        data,
        epochs=args.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
        validation_data=(
            rng.integers(0, 256, (21, size, size), dtype="uint8"),
            np.arange(21) % 10,
        ),
    )
    if distribution.is_main():
        state = gan.variables + gan.optimizer.variables
        np.savez(
            args.output.with_suffix(".npz"),
            *[variable.numpy() for variable in state],
        )
    return {"history": history.history, "seconds": clock.seconds}


def _build(args):
    import keras_ssgan as ks
    from keras_ssgan.augmentation import RandomAffine

    if args.preset:
        return ks.SemiSupervisedGAN.from_preset(args.preset, seed=0)
    discriminator = ks.networks.build_discriminator(
        (8, 8, 1),
        [(4, 4, 2, "same"), (6, 3, 1, "same"), (8, 3, 1, "valid")],
        dropout=args.dropout,
        seed=0,
    )
    generator = ks.networks.build_generator(
        5,
        [(6, 4, 1, "valid"), (1, 4, 2, "same")],
        dropout=args.dropout,
        seed=1,
    )
    return ks.SemiSupervisedGAN(
        discriminator,
        generator,
        consistency=1.0,
        augmentation=RandomAffine(seed=2),
        ema_momentum=0.9,
        seed=3,
    )


def _clock(keras):
    class Clock(keras.callbacks.Callback):
        """Seconds of each step, once its figures are there."""

        seconds = []

        def on_train_batch_begin(self, batch, logs=None):
            self.start = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            float(logs["d_loss"])
            self.seconds.append(time.perf_counter() - self.start)

    return Clock()


if __name__ == "__main__":
    main()
