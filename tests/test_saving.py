"""What is saved is all there is: training goes on as if nothing had happened.

Keras finds the class of a saved GAN once `keras_ssgan` has been imported after
`keras`, or once `keras_ssgan.SemiSupervisedGAN` has been touched.
"""

import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from conftest import assert_same_state
from conftest import build_tiny_gan
from conftest import new_gan
from conftest import optimizers
from conftest import state
from numpy.testing import assert_allclose
from numpy.testing import assert_array_equal

import keras_ssgan as ks
from keras_ssgan.augmentation import RandomAffine

BACKEND = keras.backend.backend()
OTHERS = sorted({"tensorflow", "jax", "torch"} - {BACKEND})


def train(gan, data, epochs=1):
    """Two steps an epoch, in order."""
    gan.fit(*data, batch_size=20, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def interrupted(folder, tiny_data):
    """Paths of a GAN saved after two steps, and its state then and later.

    Returns:
        Dict of the two paths, and of the states after two steps and after four
        more without a save in between.
    """
    gan = new_gan()
    train(gan, tiny_data)
    gan.discriminator_optimizer.learning_rate = 0.01
    gan.save(folder / "gan.keras")
    gan.save_weights(folder / "gan.weights.h5")
    gan.classifier().save(folder / "classifier.keras")
    np.savez(
        folder / "expected.npz",
        images=tiny_data[0],
        predictions=gan.predict(tiny_data[0], verbose=0),
        pictures=gan.generate(3, seed=0),
    )
    before = state(gan)
    train(gan, tiny_data, epochs=2)
    return {
        "model": folder / "gan.keras",
        "weights": folder / "gan.weights.h5",
        "before": before,
        "after": state(gan),
    }


# Prints nothing; fails by its exit status.
LOAD_CLASSIFIER = """
import sys
import keras
import numpy as np

folder = sys.argv[1]
expected = np.load(folder + "/expected.npz")
classifier = keras.saving.load_model(folder + "/classifier.keras")
np.testing.assert_allclose(
    classifier.predict(expected["images"], verbose=0),
    expected["predictions"],
    atol=1e-5,
)
assert "keras_ssgan" not in sys.modules
"""

LOAD_GAN = """
import keras_ssgan

gan = keras.saving.load_model(folder + "/gan.keras")
np.testing.assert_allclose(
    gan.predict(expected["images"], verbose=0),
    expected["predictions"],
    atol=1e-5,
)
np.testing.assert_allclose(
    gan.generate(3, seed=0).astype("int32"), expected["pictures"], atol=1
)

# The optimizers are this backend's own, and go on from where they were.
for network, optimizer in (
    (gan.discriminator, gan.discriminator_optimizer),
    (gan.generator, gan.generator_optimizer),
):
    assert int(keras.ops.convert_to_numpy(optimizer.iterations)) == 2
    variables = network.trainable_variables
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    for variable, old in zip(variables, before):
        assert np.all(keras.ops.convert_to_numpy(variable) != old)
"""

LOAD_GAN_THAT_WAS_TOUCHED_FIRST = """
import sys
import keras_ssgan

assert "keras" not in sys.modules
keras_ssgan.SemiSupervisedGAN
import keras

keras.saving.load_model(sys.argv[1] + "/gan.keras")
"""


def start(backend, script, folder):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module", autouse=True)
def processes(interrupted, folder):
    """Other Python processes, loading while the tests here run."""
    running = {
        backend: start(backend, LOAD_CLASSIFIER + LOAD_GAN, folder)
        for backend in OTHERS
    }
    if BACKEND == "torch":
        running["touched"] = start(
            BACKEND, LOAD_GAN_THAT_WAS_TOUCHED_FIRST, folder
        )
    yield running
    for process in running.values():
        process.kill()
        process.wait()


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


# === The whole model ===


def test_load_model_gives_back_every_variable(interrupted):
    gan = keras.saving.load_model(interrupted["model"])
    assert type(gan) is ks.SemiSupervisedGAN
    assert_same_state(gan, interrupted["before"])


def test_load_model_predicts_bit_for_bit(interrupted, folder, tiny_data):
    gan = keras.saving.load_model(interrupted["model"])
    expected = np.load(folder / "expected.npz")
    predictions = gan.predict(tiny_data[0], verbose=0)
    assert_array_equal(predictions, expected["predictions"])
    assert_array_equal(gan.generate(3, seed=0), expected["pictures"])


def test_training_goes_on_bit_for_bit_after_load_model(interrupted, tiny_data):
    gan = keras.saving.load_model(interrupted["model"])
    train(gan, tiny_data, epochs=2)
    assert_same_state(gan, interrupted["after"])
    assert np.any(gan.get_weights()[0] != interrupted["before"][0])


def test_step_counts_and_learning_rates_are_restored(interrupted):
    gan = keras.saving.load_model(interrupted["model"])
    for optimizer in optimizers(gan):
        assert int(optimizer.iterations.numpy()) == 2
    rates = [float(rate.learning_rate.numpy()) for rate in optimizers(gan)]
    assert_allclose(rates, [0.01, 2e-4], rtol=1e-6)


def test_the_arguments_of_compile_are_restored(folder, tiny_data):
    gan = new_gan(
        discriminator_optimizer=keras.optimizers.SGD(0.5, momentum=0.25),
        generator_optimizer="rmsprop",
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3")],
        run_eagerly=True,
    )
    gan.save(folder / "compiled.keras")
    loaded = keras.saving.load_model(folder / "compiled.keras")
    discriminator_optimizer, generator_optimizer = optimizers(loaded)
    assert isinstance(discriminator_optimizer, keras.optimizers.SGD)
    assert discriminator_optimizer.momentum == 0.25
    assert isinstance(generator_optimizer, keras.optimizers.RMSprop)
    assert loaded.run_eagerly
    assert loaded.get_compile_config() == gan.get_compile_config()
    # JAX compiles each operation that runs eagerly, for ten seconds.
    gan.run_eagerly = loaded.run_eagerly = False
    assert loaded.evaluate(
        *tiny_data, verbose=0, return_dict=True
    ) == gan.evaluate(*tiny_data, verbose=0, return_dict=True)


def test_the_arguments_of_the_model_are_restored(folder):
    keras.utils.set_random_seed(0)
    networks = build_tiny_gan()
    gan = ks.SemiSupervisedGAN(
        networks.discriminator,
        networks.generator,
        feature_matching="absolute",
        learning_rate=0.125,
        ema_momentum=0.25,
        seed=5,
        name="digits",
    )
    gan.save(folder / "arguments.keras")
    loaded = keras.saving.load_model(folder / "arguments.keras")
    assert loaded.feature_matching == "absolute"
    assert loaded.learning_rate == 0.125
    assert loaded.ema_momentum == 0.25
    assert loaded.seed == 5
    assert loaded.name == "digits"


def test_a_gan_that_was_not_compiled_is_saved_too(folder, tiny_data):
    gan = build_tiny_gan()
    gan.save(folder / "plain.keras")
    loaded = keras.saving.load_model(folder / "plain.keras")
    assert not loaded.compiled
    assert_array_equal(
        loaded.predict(tiny_data[0], verbose=0),
        gan.predict(tiny_data[0], verbose=0),
    )


# === The weights alone ===


def test_training_goes_on_bit_for_bit_after_load_weights(
    interrupted, tiny_data
):
    gan = new_gan(seed=1)
    gan.load_weights(interrupted["weights"])
    assert_same_state(gan, interrupted["before"])
    train(gan, tiny_data, epochs=2)
    assert_same_state(gan, interrupted["after"])


def test_weights_are_loaded_where_an_augmentation_is_new(folder):
    keras.utils.set_random_seed(0)
    gan = build_tiny_gan()
    gan.compile()
    gan.save_weights(folder / "plain.weights.h5")
    other = build_tiny_gan(augmentation=RandomAffine(elastic=0.05, seed=5))
    other.compile()
    other.load_weights(folder / "plain.weights.h5")
    for value, expected in zip(
        other.get_weights(), gan.get_weights(), strict=True
    ):
        assert_array_equal(value, expected)


def test_nothing_is_stored_twice(interrupted):
    stored = []
    with h5py.File(interrupted["weights"]) as file:
        file.visititems(
            lambda _, item: (
                stored.append(item.size)
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    assert sum(stored) == sum(value.size for value in interrupted["before"])


# === Mixed precision ===


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_restored(policy, folder, tiny_data):
    keras.config.set_dtype_policy(policy)
    gan = new_gan(run_eagerly=True)
    optimizer = gan.discriminator_optimizer
    if policy == "mixed_float16":
        optimizer.dynamic_scale.assign(64.0)
    gan.save(folder / f"{policy}.keras")
    keras.config.set_dtype_policy("float32")

    loaded = keras.saving.load_model(folder / f"{policy}.keras")
    assert loaded.dtype_policy.name == policy
    for network in (loaded.discriminator, loaded.generator):
        assert network.layers[1].dtype_policy.name == policy
    assert_array_equal(
        loaded.predict(tiny_data[0], verbose=0),
        gan.predict(tiny_data[0], verbose=0),
    )
    assert_same_state(loaded, state(gan))
    if policy == "mixed_float16":
        for optimizer in optimizers(loaded):
            assert isinstance(optimizer.inner_optimizer, keras.optimizers.Adam)
        scale = loaded.discriminator_optimizer.dynamic_scale
        assert float(scale.numpy()) == 64.0


# === Other processes and other backends ===


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_saved_optimizers_are_not_bound_to_a_backend(policy):
    keras.config.set_dtype_policy(policy)
    config = new_gan().get_compile_config()
    for name in ("discriminator_optimizer", "generator_optimizer"):
        optimizer = config[name]
        assert optimizer["module"] == "keras.optimizers"
        if policy == "mixed_float16":
            optimizer = optimizer["config"]["inner_optimizer"]
            assert optimizer["module"] == "keras.optimizers"
        assert optimizer["class_name"] == "Adam"


@pytest.mark.parametrize("backend", OTHERS)
def test_other_backends_load_the_model_and_keras_alone_the_classifier(
    backend, processes
):
    finish(processes[backend])


@pytest.mark.skipif(BACKEND != "torch", reason="one backend will do")
def test_the_class_is_found_once_it_has_been_touched(processes):
    finish(processes["touched"])
