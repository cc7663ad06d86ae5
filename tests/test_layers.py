"""The layers compute what Keras' own compute: outputs and gradients."""

import keras
import numpy as np
import pytest
from keras import ops
from probe import Probe
from probe import run

from keras_ssgan import layers
from keras_ssgan.autodiff import vjp

# Kind, height, width, kernel size, strides, padding: what is phrased otherwise,
# what is next to it, and what is left to Keras.
CONVOLUTIONS = [
    ("Conv2D", 8, 12, 4, 4, "same"),
    ("Conv2D", 8, 4, 4, 4, "valid"),
    ("Conv2D", 10, 8, 4, 4, "same"),
    ("Conv2D", 4, 4, 3, 1, "valid"),
    ("Conv2D", 4, 3, 3, 1, "valid"),
    ("Conv2D", 5, 5, 3, 1, "valid"),
    ("Conv2D", 6, 6, 4, 2, "same"),
    ("Conv2DTranspose", 1, 1, 4, 1, "valid"),
    ("Conv2DTranspose", 1, 1, 4, 1, "same"),
    ("Conv2DTranspose", 1, 1, 2, 3, "valid"),
    ("Conv2DTranspose", 2, 3, 3, 3, "same"),
    ("Conv2DTranspose", 2, 3, 3, 3, "valid"),
    ("Conv2DTranspose", 4, 3, 4, 2, "same"),
    ("Conv2DTranspose", 4, 3, 5, 2, "same"),
    ("Conv2DTranspose", 4, 3, 3, 1, "valid"),
]


def build(kind, height, width, size, strides, padding, module, **kwargs):
    """A layer whose weights are those of the others of this shape."""
    layer = getattr(module, kind)(3, size, strides, padding, **kwargs)
    layer.build((None, height, width, 2))
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
    _, height, width, *_ = shape
    rng = np.random.default_rng(1)
    images = rng.normal(size=(5, height, width, 2)).astype("float32")
    ours, expected = (
        outputs_and_gradients(build(*shape, module, activation="tanh"), images)
        for module in (layers, keras.layers)
    )
    for name, value in expected.items():
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )


ARGUMENTS = [{"groups": 2}, {"dilation_rate": 2}, {"use_bias": False}]
if keras.backend.backend() != "tensorflow":
    # TensorFlow has no such convolution on a CPU.
    ARGUMENTS.append({"data_format": "channels_first"})


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose"])
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


def test_mixed_precision_computes_in_bfloat16():
    shape = ("Conv2DTranspose", 4, 4, 4, 2, "same")
    images = np.ones((2, 4, 4, 2), "float32")
    layer = build(*shape, layers, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(images).dtype) == "bfloat16"


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
    kept = drop(0.5, (1000, 1000)).reshape(2, -1) != 0
    correlation = np.corrcoef(kept[0], kept[1])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(kept.shape[1])


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
