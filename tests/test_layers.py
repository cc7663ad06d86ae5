"""The layers compute what Keras' own compute: outputs and gradients."""

import keras
import numpy as np
import pytest
from keras import ops
from probe import Probe
from probe import run

from keras_ssgan import layers
from keras_ssgan.autodiff import vjp

# Kind, height, width, kernel size, strides, padding, channels of the inputs and
# of the outputs: what is phrased otherwise, what is next to it, and what is
# left to Keras.
CONVOLUTIONS = [
    ("Conv2D", 8, 12, 4, 4, "same", 2, 3),
    ("Conv2D", 8, 4, 4, 4, "valid", 2, 3),
    ("Conv2D", 10, 8, 4, 4, "same", 2, 3),
    ("Conv2D", 4, 4, 3, 1, "valid", 2, 3),
    ("Conv2D", 4, 3, 3, 1, "valid", 2, 3),
    ("Conv2D", 5, 5, 3, 1, "valid", 2, 3),
    ("Conv2D", 6, 6, 4, 2, "same", 2, 3),
    ("Conv2D", 5, 6, 4, 2, "same", 2, 3),
    ("Conv2D", 5, 7, 2, 1, "same", 2, 3),
    ("Conv2D", 5, 6, 1, 2, "same", 2, 3),
    ("Conv2D", 5, 6, 1, 2, "valid", 2, 3),
    ("Conv2D", 6, 4, 4, 2, "same", 1, 16),
    ("Conv2D", 9, 6, 3, 1, "same", 1, 9),
    ("Conv2D", 6, 9, 6, 3, "same", 1, 36),
    ("Conv2DTranspose", 1, 1, 4, 1, "valid", 2, 3),
    ("Conv2DTranspose", 1, 1, 4, 1, "same", 2, 3),
    ("Conv2DTranspose", 1, 1, 2, 3, "valid", 2, 3),
    ("Conv2DTranspose", 2, 3, 3, 3, "same", 2, 3),
    ("Conv2DTranspose", 2, 3, 3, 3, "valid", 2, 3),
    ("Conv2DTranspose", 4, 3, 4, 2, "same", 2, 3),
    ("Conv2DTranspose", 4, 3, 5, 2, "same", 2, 3),
    ("Conv2DTranspose", 4, 3, 3, 1, "valid", 2, 3),
    ("Conv2DTranspose", 4, 3, 2, 3, "same", 2, 3),
    ("Conv2DTranspose", 4, 3, 4, 2, "same", 64, 1),
    ("Conv2DTranspose", 4, 3, 3, 1, "same", 36, 1),
    ("Conv2DTranspose", 4, 3, 2, 1, "same", 16, 1),
]


def draw_images(shape):
    _, height, width, _, _, _, inputs, _ = shape
    rng = np.random.default_rng(1)
    return rng.normal(size=(5, height, width, inputs)).astype("float32")


def build(module, shape, **kwargs):
    """A layer whose weights are those of the others of this shape."""
    kind, height, width, size, strides, padding, inputs, outputs = shape
    layer = getattr(module, kind)(outputs, size, strides, padding, **kwargs)
    layer.build((None, height, width, inputs))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def outputs_and_gradients(layer, images):
    """For a cotangent that is the outputs themselves."""

    def body(probe, images):
        outputs, pullback, _ = vjp(
            lambda images: (probe.layer(images), None),
            probe.layer.trainable_variables,
            images,
        )
        gradients, (image_gradient,) = pullback(outputs)
        kernel_gradient, bias_gradient = gradients
        return {
            "outputs": outputs,
            "kernel": kernel_gradient,
            "bias": bias_gradient,
            "images": image_gradient,
        }

    return run(Probe(body, layer=layer), images)


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_a_convolution_agrees_with_the_stock_layer(shape):
    images = draw_images(shape)
    ours, expected = (
        outputs_and_gradients(build(module, shape, activation="tanh"), images)
        for module in (layers, keras.layers)
    )
    for name, value in expected.items():
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )


CASES = [
    (kind, arguments)
    for kind in ("Conv2D", "Conv2DTranspose")
    for arguments in (
        {"groups": 2},
        {"dilation_rate": 2},
        {"use_bias": False},
        {"data_format": "channels_first"},
    )
]
if keras.backend.backend() == "tensorflow":
    # It has no such convolutions on a CPU, or only with oneDNN, which it takes
    # by itself on some processors alone.
    CASES.remove(("Conv2D", {"data_format": "channels_first"}))
    CASES.remove(("Conv2DTranspose", {"data_format": "channels_first"}))
    CASES.remove(("Conv2DTranspose", {"dilation_rate": 2}))


@pytest.mark.parametrize("kind, arguments", CASES, ids=str)
def test_other_arguments_mean_what_they_mean_in_keras(kind, arguments):
    if kind == "Conv2DTranspose" and "groups" in arguments:
        arguments = {"output_padding": 0, "strides": 2}
    shape = (2, 2, 5, 5) if "data_format" in arguments else (2, 5, 5, 2)
    images = np.random.default_rng(1).normal(size=shape).astype("float32")
    results = []
    for module in (layers, keras.layers):
        keras.utils.set_random_seed(0)
        layer = getattr(module, kind)(4, 3, **arguments)
        results.append(ops.convert_to_numpy(layer(images)))
    np.testing.assert_allclose(*results, atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        ("Conv2D", 5, 6, 4, 2, "same", 2, 3),
        ("Conv2D", 4, 4, 3, 1, "valid", 2, 3),
        ("Conv2D", 6, 4, 4, 2, "same", 1, 16),
        ("Conv2DTranspose", 4, 3, 4, 2, "same", 2, 3),
        ("Conv2DTranspose", 4, 3, 4, 2, "same", 64, 1),
        ("Conv2DTranspose", 1, 1, 4, 1, "valid", 2, 3),
    ],
    ids=str,
)
def test_a_convolution_in_mixed_precision_agrees_with_the_stock_layer(shape):
    images = draw_images(shape)
    ours, expected = (
        outputs_and_gradients(
            build(module, shape, dtype="mixed_bfloat16"), images
        )
        for module in (layers, keras.layers)
    )
    assert ours["outputs"].dtype == expected["outputs"].dtype
    for name, value in expected.items():
        assert_close_in_bfloat16(ours[name], value, name)


def assert_close_in_bfloat16(actual, expected, name):
    """Up to some roundings of 0.4 % each of the largest number."""
    actual, expected = (x.astype("float32") for x in (actual, expected))
    np.testing.assert_allclose(
        actual, expected, atol=0.04 * np.abs(expected).max(), err_msg=name
    )


# === Batch normalisation ===


def train_normalization(module, dtype, shape=(5, 4, 3, 2), **kwargs):
    """Outputs, gradients and moving statistics after one step of training."""
    layer = module.BatchNormalization(
        momentum=0.8, epsilon=0.01, dtype=dtype, **kwargs
    )
    layer.build(shape)
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(1, 2, size=w.shape) for w in layer.weights])
    images = rng.normal(3.0, 2.0, size=shape).astype("float32")
    cotangent = rng.normal(size=shape)

    def body(probe, images):
        outputs, pullback, _ = vjp(
            lambda images: (probe.layer(images, training=True), None),
            probe.layer.trainable_variables,
            images,
        )
        gradients, (image_gradient,) = pullback(
            ops.convert_to_tensor(cotangent, outputs.dtype)
        )
        names = [variable.name for variable in probe.layer.trainable_variables]
        return {
            "outputs": outputs,
            "images": image_gradient,
            **dict(zip(names, gradients, strict=True)),
        }

    results = run(Probe(body, layer=layer), images)
    statistics = {
        variable.name: ops.convert_to_numpy(variable.value)
        for variable in layer.non_trainable_variables
    }
    return results, statistics


def assert_normalizes_as_keras(**kwargs):
    """Returns the outputs and gradients of Keras' layer."""
    (ours, our_statistics), (expected, statistics) = (
        train_normalization(module, "float32", **kwargs)
        for module in (layers, keras.layers)
    )
    for name, value in (expected | statistics).items():
        np.testing.assert_allclose(
            (ours | our_statistics)[name],
            value,
            rtol=1e-4,
            atol=1e-5,
            err_msg=name,
        )
    return expected


def test_batch_normalization_agrees_with_the_stock_layer():
    expected = assert_normalizes_as_keras()
    assert set(expected) == {"outputs", "images", "gamma", "beta"}


def test_batch_normalization_in_mixed_precision_has_float32_statistics():
    (ours, our_statistics), (expected, statistics) = (
        train_normalization(module, "mixed_bfloat16")
        for module in (layers, keras.layers)
    )
    for name, value in expected.items():
        assert ours[name].dtype == value.dtype, name
        assert_close_in_bfloat16(ours[name], value, name)
    for name, value in statistics.items():
        np.testing.assert_allclose(
            our_statistics[name], value, rtol=1e-4, err_msg=name
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"axis": 1},
        {"scale": False},
        {"center": False},
        {"renorm": True},
        {"shape": (6, 2)},
        {"shape": (6, 1, 1, 2)},
        {"shape": (1, 1, 1, 2)},
        {"trainable": False},
    ],
    ids=str,
)
def test_other_batch_normalization_is_that_of_keras(arguments):
    assert_normalizes_as_keras(**arguments)


def test_batch_normalization_infers_from_the_moving_statistics():
    layer = layers.BatchNormalization(epsilon=0.0)
    layer.build((None, 4, 4, 2))
    layer.set_weights(np.array([[2, 1], [0, 5], [1, 3], [4, 1]], "float32"))
    outputs = ops.convert_to_numpy(layer(np.ones((3, 4, 4, 2), "float32")))
    np.testing.assert_allclose(outputs[..., 0], 0.0, atol=1e-6)
    np.testing.assert_allclose(outputs[..., 1], 3.0, rtol=1e-6)


# === Dropout ===


def drop(rate, shape=(100, 41), seed=0):
    layer = layers.Dropout(rate, seed=seed)
    return ops.convert_to_numpy(layer(np.ones(shape, "float32"), training=True))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.75])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    outputs = drop(rate, (1000, 1000))
    kept = outputs != 0
    # Five standard deviations of a million draws.
    tolerance = 5 * np.sqrt(rate * (1 - rate) / kept.size)
    np.testing.assert_allclose(kept.mean(), 1 - rate, atol=tolerance + 2**-13)
    np.testing.assert_allclose(outputs[kept], 1 / (1 - rate), rtol=1e-3)
    np.testing.assert_allclose(outputs.mean(), 1.0, atol=tolerance / (1 - rate))


def test_units_that_share_a_random_number_are_dropped_independently():
    # Up to four neighbours do.
    kept = drop(0.5, (1000, 1000)).reshape(-1, 4) != 0
    correlations = np.corrcoef(kept.T)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(kept))


@pytest.mark.parametrize("rate", [1e-6, 1.0])
def test_dropout_takes_rates_at_both_ends(rate):
    expected = np.full((100, 41), 1.0 - round(rate))
    np.testing.assert_array_equal(drop(rate), expected)


def test_dropout_differs_from_call_to_call_and_not_from_seed_to_seed():
    layer = layers.Dropout(0.5, seed=0)
    ones = np.ones((100, 41), "float32")
    first, second = (
        ops.convert_to_numpy(layer(ones, training=True)) for _ in range(2)
    )
    assert (first != second).any()
    np.testing.assert_array_equal(first, drop(0.5))


def test_dropout_leaves_inference_alone():
    ones = np.ones((3, 4), "float32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layers.Dropout(0.5)(ones)), ones
    )
