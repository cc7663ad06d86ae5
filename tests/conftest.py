"""What all tests share. The backend is chosen outside, by KERAS_BACKEND."""

import contextlib
import importlib.util
import os
import shutil
import tempfile
import tracemalloc
from unittest import mock

from keras_ssgan import backends

# Many tests compile the same step: JAX compiles it once for the session.
_CACHE = tempfile.TemporaryDirectory(prefix="keras_ssgan_jax_cache_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Compiling is what tests of small networks wait for: this halves it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# So does another way to write its kernels.
if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

# Threads wait for each other longer than they compute on networks this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As the command line does, so that what runs here and there is the same.
backends.set_environment(None)

# PyTorch after TensorFlow in one process can crash on start-up.
import torch  # noqa: F401  isort: skip

import keras
import numpy as np
import pytest
from PIL import ImageDraw
from tiny import TINY

import keras_ssgan as ks
from keras_ssgan import conversion
from keras_ssgan import export
from keras_ssgan import settings
from keras_ssgan.augmentation import RandomAffine
from keras_ssgan.scheduling import schedule_as_batch

schedule_as_batch()


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state and the default policy."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def mnist_path():
    """Path of MNIST as one .npz file, named by the environment."""
    path = os.environ.get("KERAS_SSGAN_MNIST", "")
    if not os.path.isfile(path):
        pytest.skip("KERAS_SSGAN_MNIST names no file with MNIST")
    return path


@pytest.fixture(autouse=True, scope="session")
def tiny_preset():
    """A preset `tiny`: `compact` with a tenth of its weights, and labels
    from a graph."""
    settings.PRESETS["tiny"] = TINY
    yield
    del settings.PRESETS["tiny"]


def build_tiny_gan(image_size=8, num_classes=10, dropout=0.3, **kwargs):
    """A GAN of a few hundred weights, with the same kinds of layers."""
    discriminator = ks.networks.build_discriminator(
        (image_size, image_size, 1),
        [(4, 4, 2, "same"), (6, 3, 1, "same"), (8, 3, 1, "valid")],
        num_classes=num_classes,
        dropout=dropout,
    )
    generator = ks.networks.build_generator(
        5,
        [(6, image_size // 2, 1, "valid"), (1, 4, 2, "same")],
        dropout=dropout,
    )
    return ks.SemiSupervisedGAN(discriminator, generator, seed=0, **kwargs)


def new_gan(seed=0, **compile_arguments):
    """A tiny GAN with all that is random, compiled; all from the seed.

    Eager on TensorFlow, which would trace for a second what is run twice.
    """
    keras.utils.set_random_seed(seed)
    augmentation = RandomAffine(elastic=0.05, seed=seed)
    gan = build_tiny_gan(consistency=1.0, augmentation=augmentation)
    compile_arguments.setdefault(
        "run_eagerly", keras.backend.backend() == "tensorflow"
    )
    gan.compile(**compile_arguments)
    return gan


def optimizers(gan):
    return gan.discriminator_optimizer, gan.generator_optimizer


def state(gan):
    """Every variable that training reads or writes, metrics aside."""
    return [
        keras.ops.convert_to_numpy(variable.value)
        for variable in gan.trainable_variables
        + gan.non_trainable_variables
        + gan.optimizer.variables
    ]


def assert_same_state(gan, expected):
    """Compares with what `state` gave, bit for bit."""
    for value, other in zip(state(gan), expected, strict=True):
        np.testing.assert_array_equal(value, other)


def hide_packages(monkeypatch, *packages):
    """Lets the package look in vain for some that are installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in packages else find_spec(name),
    )


def peak_memory(function, *arguments):
    """Bytes that Python has allocated at most in a call."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def save_noise(path, num_train, num_test, image_shape=(8, 8), num_classes=10):
    """An `.npz` of small images, the same every time."""
    rng = np.random.default_rng(0)
    np.savez(
        path,
        x_train=rng.integers(0, 256, (num_train, *image_shape), dtype="uint8"),
        y_train=np.arange(num_train) % num_classes,
        x_test=rng.integers(0, 256, (num_test, *image_shape), dtype="uint8"),
        y_test=np.arange(num_test) % num_classes,
    )


def save_shards(folder, arrays):
    """The arrays of such an `.npz`, a shard for each part."""
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        np.savez(folder / f"{part}-0.npz", x=x, y=y)


def copy_with_another_byte(model, folder):
    """A shipped model and its card; the model is a byte longer."""
    for suffix in (".keras", ".json"):
        shutil.copy(model.with_suffix(suffix), folder)
    path = folder / model.name
    with path.open("ab") as file:
        file.write(b"!")
    return path


@contextlib.contextmanager
def converted_here():
    """Exports are converted in this process, where its backend can.

    One of their own, which is what users get and test_export.py has, takes
    seconds to start.
    """
    run = export._run

    def run_here(arguments, backend):
        if arguments[0] == "-m" and backend == keras.backend.backend():
            conversion._main(arguments[-1])
        else:
            run(arguments, backend)

    with mock.patch.object(export, "_run", run_here):
        yield


@pytest.fixture
def convert_here():
    """All of a test as `converted_here`."""
    with converted_here():
        yield


@pytest.fixture
def texts(monkeypatch):
    """Collects every text that Pillow is told to draw."""
    drawn = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, xy, text, *args, **kwargs):
        drawn.append(text)
        return draw_text(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return drawn


@pytest.fixture
def tiny_gan():
    """A compiled tiny GAN for 8x8 images and ten classes."""
    gan = build_tiny_gan()
    gan.compile()
    return gan


@pytest.fixture(scope="session")
def tiny_data():
    """40 raw 8x8 images, and labels of which half are -1."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), dtype="uint8")
    labels = (np.arange(40) % 10).astype("int32")
    labels[20:] = -1
    return images, labels
