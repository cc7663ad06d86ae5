"""The networks: their tables, and their numbers against plain NumPy."""

import keras
import numpy as np
import pytest
import reference
from keras import layers
from keras import ops
from probe import Probe
from probe import run

import keras_ssgan as ks
from keras_ssgan import networks
from keras_ssgan.autodiff import vjp
from keras_ssgan.layers import stock

# The article's tables, and the compact preset's.
ROWS = {
    "article": (
        [
            (128, 4, 2, "same"),
            (256, 4, 2, "same"),
            (512, 4, 4, "same"),
            (1024, 3, 1, "valid"),
        ],
        [
            (512, 4, 1, "valid"),
            (256, 4, 4, "same"),
            (128, 4, 2, "same"),
            (1, 4, 2, "same"),
        ],
    ),
    "compact": (
        [(32, 4, 2, "same"), (64, 4, 2, "same"), (128, 3, 1, "valid")],
        [(64, 7, 1, "valid"), (32, 4, 2, "same"), (1, 4, 2, "same")],
    ),
    # Odd kernels, sizes that strides do not divide, kernels smaller than their
    # stride: where "same" padding is easily got wrong.
    "odd": (
        [(4, 3, 2, "same"), (6, 2, 3, "same")],
        [(6, 3, 1, "valid"), (5, 5, 3, "same"), (1, 2, 3, "same")],
    ),
}

TIED_LOGIT = ["compact"]
LATENT_DIM = {"article": 100, "compact": 64, "odd": 5}


@pytest.fixture(scope="module")
def gans():
    """An untrained GAN of each preset."""
    return {
        name: ks.SemiSupervisedGAN.from_preset(name) for name in ks.presets()
    }


def layers_of(gan, kind):
    both = gan.discriminator.layers + gan.generator.layers
    return [layer for layer in both if isinstance(layer, kind)]


def kinds(model):
    """Class of each layer, in order, without the input."""
    return [type(stock(layer)) for layer in model.layers[1:]]


def shapes(model, kind):
    return [x.output.shape[1:] for x in model.layers if isinstance(x, kind)]


def geometry(model, kind):
    rows = [layer for layer in model.layers if isinstance(layer, kind)]
    for layer in rows:
        assert layer.kernel_size[0] == layer.kernel_size[1]
        assert layer.strides[0] == layer.strides[1]
        assert layer.activation is keras.activations.linear
    return [
        (x.filters, x.kernel_size[0], x.strides[0], x.padding) for x in rows
    ]


# === Tables ===


@pytest.mark.any_backend
def test_article_discriminator_has_the_articles_layers(gans):
    model = gans["article"].discriminator

    assert geometry(model, layers.Conv2D) == ROWS["article"][0]
    assert shapes(model, layers.Conv2D) == [
        (32, 32, 128),
        (16, 16, 256),
        (4, 4, 512),
        (2, 2, 1024),
    ]
    assert kinds(model) == [
        *(layers.Conv2D, layers.LeakyReLU, layers.Dropout),
        *(layers.Conv2D, layers.LeakyReLU),
        *(layers.BatchNormalization, layers.Dropout),
        *(layers.Conv2D, layers.LeakyReLU),
        *(layers.BatchNormalization, layers.Dropout),
        *(layers.Conv2D, layers.LeakyReLU),
        *(layers.GlobalAveragePooling2D, layers.Dense),
    ]
    assert model.input_shape == (None, 64, 64, 1)
    assert model.output_shape == [(None, 1024), (None, 11)]


@pytest.mark.any_backend
def test_article_generator_has_the_articles_layers(gans):
    model = gans["article"].generator

    assert geometry(model, layers.Conv2DTranspose) == ROWS["article"][1]
    assert shapes(model, layers.Conv2DTranspose) == [
        (4, 4, 512),
        (16, 16, 256),
        (32, 32, 128),
        (64, 64, 1),
    ]
    hidden = [
        layers.Conv2DTranspose,
        layers.ReLU,
        layers.BatchNormalization,
        layers.Dropout,
    ]
    assert kinds(model) == [
        *(3 * hidden),
        *(layers.Conv2DTranspose, layers.Activation),
    ]
    assert model.layers[-1].activation is keras.activations.tanh
    assert model.input_shape == (None, 1, 1, 100)
    assert model.output_shape == (None, 64, 64, 1)


@pytest.mark.any_backend
def test_article_drops_three_tenths(gans):
    assert {
        layer.rate for layer in layers_of(gans["article"], layers.Dropout)
    } == {0.3}


@pytest.mark.any_backend
@pytest.mark.parametrize("preset", ["article", "compact"])
def test_leaks_and_epsilons_are_tensorflows_defaults(gans, preset):
    leaks = layers_of(gans[preset], layers.LeakyReLU)
    norms = layers_of(gans[preset], layers.BatchNormalization)
    assert {layer.negative_slope for layer in leaks} == {0.2}
    assert {layer.epsilon for layer in norms} == {1e-3}


@pytest.mark.any_backend
def test_article_has_the_weights_that_its_table_asks_for(gans):
    gan = gans["article"]
    discriminator = (
        (4 * 4 * 1 * 128 + 128)
        + (4 * 4 * 128 * 256 + 256 + 4 * 256)
        + (4 * 4 * 256 * 512 + 512 + 4 * 512)
        + (3 * 3 * 512 * 1024 + 1024)
        + (1024 * 11 + 11)
    )
    generator = (
        (4 * 4 * 100 * 512 + 512 + 4 * 512)
        + (4 * 4 * 512 * 256 + 256 + 4 * 256)
        + (4 * 4 * 256 * 128 + 128 + 4 * 128)
        + (4 * 4 * 128 * 1 + 1)
    )
    assert gan.discriminator.count_params() == discriminator == 7_358_347
    assert gan.generator.count_params() == generator == 3_447_169


@pytest.mark.any_backend
def test_compact_preset_is_small_and_fits_28_pixels(gans):
    discriminator = gans["compact"].discriminator
    generator = gans["compact"].generator
    assert geometry(discriminator, layers.Conv2D) == ROWS["compact"][0]
    assert shapes(discriminator, layers.Conv2D) == [
        (14, 14, 32),
        (7, 7, 64),
        (5, 5, 128),
    ]
    assert geometry(generator, layers.Conv2DTranspose) == ROWS["compact"][1]
    assert shapes(generator, layers.Conv2DTranspose) == [
        (7, 7, 64),
        (14, 14, 32),
        (28, 28, 1),
    ]
    weights = discriminator.count_params() + generator.count_params()
    assert 200_000 < weights < 500_000


@pytest.mark.any_backend
def test_number_of_classes_sets_the_number_of_logits():
    gan = ks.SemiSupervisedGAN.from_preset("compact", num_classes=3)
    assert gan.discriminator.output_shape == [(None, 128), (None, 4)]


@pytest.mark.any_backend
def test_tied_logit_has_no_weights_of_its_own():
    free, tied = (
        networks.build_discriminator(
            (28, 28, 1), ROWS["compact"][0], tied_logit=tied_logit
        )
        for tied_logit in (False, True)
    )
    assert tied.output_shape == free.output_shape == [(None, 128), (None, 11)]
    assert free.count_params() - tied.count_params() == 128 + 1


# === Numbers ===


def build(name, dropout=0.0):
    """Both networks of a table, with weights that are the same everywhere."""
    discriminator_rows, generator_rows = ROWS[name]
    generator = networks.build_generator(
        LATENT_DIM[name], generator_rows, dropout=dropout
    )
    discriminator = networks.build_discriminator(
        generator.output_shape[1:],
        discriminator_rows,
        dropout=dropout,
        tied_logit=name in TIED_LOGIT,
    )
    reference.randomize(discriminator)
    reference.randomize(generator)
    return discriminator, generator


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_discriminator_matches_plain_numpy(name, training):
    discriminator, _ = build(name)
    images = np.random.default_rng(2).uniform(
        -1, 1, (2, *discriminator.input_shape[1:])
    )
    blocks = reference.blocks_of(discriminator)
    expected = reference.discriminate(
        blocks,
        ROWS[name][0],
        images,
        training,
        tied_logit=name in TIED_LOGIT,
    )

    outputs = discriminator(images.astype("float32"), training=training)

    for output, value in zip(outputs, expected, strict=True):
        assert_close(output, value)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_generator_matches_plain_numpy(name, training):
    _, generator = build(name)
    latents = np.random.default_rng(3).normal(size=(3, 1, 1, LATENT_DIM[name]))
    blocks = reference.blocks_of(generator)
    expected = reference.generate(blocks, ROWS[name][1], latents, training)

    images = generator(latents.astype("float32"), training=training)

    assert images.shape == expected.shape
    assert_close(images, expected)


def assert_close(output, expected):
    """To float32's accuracy, relative to the largest number of the output."""
    np.testing.assert_allclose(
        ops.convert_to_numpy(output),
        expected,
        rtol=1e-4,
        # On one core oneDNN takes an algorithm that rounds by 2e-5.
        atol=5e-5 * np.abs(expected).max(),
    )


def test_dropout_acts_in_training_alone():
    discriminator, generator = build("compact", dropout=0.3)
    inputs = {
        generator: np.ones((2, 1, 1, 64), "float32"),
        discriminator: np.ones((2, 28, 28, 1), "float32"),
    }
    for model, x in inputs.items():
        first, second = (
            ops.convert_to_numpy(keras.tree.flatten(model(x))[0])
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, second)
        first, second = (
            ops.convert_to_numpy(keras.tree.flatten(model(x, training=True))[0])
            for _ in range(2)
        )
        assert np.abs(first - second).max() > 1e-3


# === In training ===


def train(call, network, inputs):
    """Outputs, moving statistics, states of the dropout, and gradients."""

    def body(probe, x):
        output, pullback, aux = vjp(
            lambda x: weigh(call(probe.network, x)),
            probe.network.trainable_variables,
            x,
        )
        gradients, (gradient,) = pullback(ops.ones(()))
        values = [*aux, output, *gradients, gradient]
        return {str(i): value for i, value in enumerate(values)}

    probe = Probe(body, network=network)
    results = run(probe, *inputs)
    states = [ops.convert_to_numpy(v) for v in network.non_trainable_variables]
    return [*results.values(), *states]


def weigh(outputs):
    outputs = keras.tree.flatten(outputs)
    return sum(
        ops.sum(ops.sin(ops.cast(x, "float32"))) for x in outputs
    ), outputs


def assert_trains_as_keras(build_network, policy="float32"):
    results = []
    for call in (
        networks.run_in_training,
        lambda network, x: network(x, training=True),
    ):
        keras.utils.set_random_seed(0)
        network = build_network(policy)
        shape = (2, 3, *network.input_shape[1:])
        inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
        inputs[:, :, 0, 0] = 0.0
        results.append(train(call, network, inputs))
    for value, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["discriminator", "generator"])
@pytest.mark.parametrize("preset", ["compact", "drawing"])
def test_networks_run_in_training_as_keras_calls_them(preset, name, policy):
    def build_network(policy):
        gan = ks.SemiSupervisedGAN.from_preset(preset, dtype=policy, seed=0)
        return getattr(gan, name)

    assert_trains_as_keras(build_network, policy)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_networks_of_keras_own_layers_run_in_training_in_their_dtypes(policy):
    def build_network(policy):
        inputs = keras.Input((6, 6, 2))
        # A dilated convolution is Keras' own within ours.
        x = ks.layers.Conv2D(4, 3, dilation_rate=2, dtype=policy)(inputs)
        x = ks.layers.BatchNormalization(dtype=policy)(x)
        x = keras.layers.GlobalAveragePooling2D(dtype=policy)(x)
        logits = keras.layers.Dense(3, dtype=policy)(x)
        return keras.Model(inputs, [x, logits])

    assert_trains_as_keras(build_network, policy)


class Nested(keras.Layer):
    """Tells a layer within that it is in training by Keras' ways alone."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5, seed=0)
        self.built = True

    def call(self, x):
        return self.dropout(x)


@pytest.mark.parametrize(
    "build_layer",
    [
        Nested,
        lambda: keras.layers.Masking(),
        lambda: keras.Sequential([keras.layers.Dropout(0.5, seed=0)]),
    ],
    ids=["nested", "masks", "model"],
)
def test_networks_of_other_layers_run_in_training_as_keras_calls_them(
    build_layer,
):
    def build_network(policy):
        inputs = keras.Input((4, 4, 2))
        x = build_layer()(inputs)
        x = ks.layers.BatchNormalization()(x)
        return keras.Model(inputs, [x])

    assert_trains_as_keras(build_network)


def test_outputs_are_float32_under_mixed_precision():
    gan = ks.SemiSupervisedGAN.from_preset("compact", dtype="mixed_bfloat16")
    convolutions = layers_of(gan, (layers.Conv2D, layers.Conv2DTranspose))
    assert {x.compute_dtype for x in convolutions} == {"bfloat16"}
    assert {x.variable_dtype for x in convolutions} == {"float32"}

    pixels = np.zeros((2, 28, 28, 1), "uint8")
    images = gan.generator(np.ones((2, 1, 1, 64), "float32"))
    outputs = [
        gan.preprocessor(pixels),
        images,
        *gan.discriminator(images),
        gan(pixels),
    ]
    assert {keras.backend.standardize_dtype(x.dtype) for x in outputs} == {
        "float32"
    }


# === Pixels ===


@pytest.mark.parametrize(
    "size,new_size", [(28, 64), (8, 28), (28, 28), (64, 28)]
)
def test_preprocessor_resizes_between_pixel_centres(size, new_size):
    pixels = np.random.default_rng(4).integers(
        0, 256, (2, size, size, 1), dtype="uint8"
    )
    images = networks.build_preprocessor((new_size, new_size, 1))(pixels)
    expected = reference.preprocess(pixels[..., 0], new_size)

    assert images.shape == (2, new_size, new_size, 1)
    np.testing.assert_allclose(
        ops.convert_to_numpy(images), expected, atol=1e-5
    )


def test_preprocessor_takes_images_that_are_not_square():
    pixels = np.random.default_rng(5).integers(0, 256, (2, 7, 12, 1))
    images = networks.build_preprocessor((16, 16, 1))(pixels.astype("uint8"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(images),
        reference.preprocess(pixels[..., 0], 16),
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_preprocessor_scales_pixels_to_plus_minus_one(dtype):
    pixels = np.array([0, 51, 255], dtype).repeat(16).reshape(3, 4, 4, 1)
    images = networks.build_preprocessor((4, 4, 1))(pixels)
    np.testing.assert_allclose(
        ops.convert_to_numpy(images)[:, 0, 0, 0], [-1, -0.6, 1], atol=1e-6
    )


def test_preprocessor_keeps_fractions_of_pixels():
    pixels = np.full((1, 4, 4, 1), 127.75, "float32")
    images = networks.build_preprocessor((4, 4, 1))(pixels)
    np.testing.assert_allclose(
        ops.convert_to_numpy(images), 127.75 / 127.5 - 1, atol=1e-6
    )


def test_preprocessor_keeps_channels_apart():
    pixels = np.zeros((1, 4, 4, 3), "uint8")
    pixels[..., 1] = 255
    images = networks.build_preprocessor((8, 8, 3))(pixels)
    np.testing.assert_allclose(
        ops.convert_to_numpy(images)[0, 3, 5], [-1, 1, -1], atol=1e-6
    )
