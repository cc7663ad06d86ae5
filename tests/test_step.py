"""The alternating step against the reference, and what it must not touch.

The reference is the same on every backend, and so are weights, images and
latents: that each backend agrees with it is also the comparison of the
backends with each other.
"""

import keras
import numpy as np
import pytest
import reference
from keras import layers
from keras import ops

import keras_ssgan as ks
from keras_ssgan.autodiff import BACKEND
from keras_ssgan.settings import get_preset

IMAGE_SIZE = 16
LATENT_DIM = 5
NUM_CLASSES = 10
MOMENTUM = 0.8
DISCRIMINATOR = [(4, 4, 2, "same"), (6, 3, 1, "same"), (8, 3, 1, "valid")]
GENERATOR = [(6, 4, 1, "valid"), (6, 4, 2, "same"), (1, 4, 2, "same")]
BATCH = 12

# All ways in which a step can be compiled on the running backend.
COMPILE_OPTIONS = {
    "tensorflow": [
        {"jit_compile": False},
        {"jit_compile": True},
        {"run_eagerly": True},
    ],
    "jax": [{"jit_compile": True}, {"run_eagerly": True}],
    "torch": [{"jit_compile": False}, {"run_eagerly": True}],
}[BACKEND]

# The default takes seconds to compile, which is spent where it tells.
CHEAPEST = {} if BACKEND == "torch" else {"run_eagerly": True}


# === Set-up ===


def build_gan(**kwargs):
    """Without dropout, whose draws differ from backend to backend."""
    common = {"dropout": 0.0, "momentum": MOMENTUM}
    gan = ks.SemiSupervisedGAN(
        ks.networks.build_discriminator(
            (IMAGE_SIZE, IMAGE_SIZE, 1), DISCRIMINATOR, NUM_CLASSES, **common
        ),
        ks.networks.build_generator(LATENT_DIM, GENERATOR, **common),
        seed=0,
        **kwargs,
    )
    for network in (gan.discriminator, gan.generator):
        reference.randomize(network)
    return gan


def build_batches(steps, size=12):
    """Batches `(images, labels, mask)`; no image of the second has a label."""
    rng = np.random.default_rng(2)
    batches = []
    for step in range(steps):
        images = rng.integers(0, 256, (BATCH, size, size), dtype="uint8")
        labels = rng.integers(0, NUM_CLASSES, BATCH).astype("int32")
        mask = rng.choice([0.0, 0.5, 1.0, 2.0], BATCH).astype("float32")
        labels[rng.permutation(BATCH)[: BATCH // 3]] = -1
        if step == 1:
            labels[:] = -1
        batches.append((images, labels, mask))
    return batches


@pytest.fixture
def fix_latents(monkeypatch):
    """Makes step i of a GAN draw row i of a table."""

    def fix(gan, table):
        def normal(shape, seed):
            assert tuple(shape[1:]) == table.shape[2:]
            latents = ops.take(table, gan.optimizer.iterations, axis=0)
            return latents[: shape[0]]

        monkeypatch.setattr(keras.random, "normal", normal)

    return fix


def draw_latents(steps, latent_dim=LATENT_DIM):
    rng = np.random.default_rng(3)
    shape = (steps, BATCH, 1, 1, latent_dim)
    return rng.normal(size=shape).astype("float32")


class Reference:
    """A GAN in the reference's hands, from the weights of one in Keras'."""

    def __init__(
        self,
        gan,
        rows=(DISCRIMINATOR, GENERATOR),
        momentum=MOMENTUM,
        tied_logit=False,
        learning_rate=2e-4,
        **losses,
    ):
        discriminator_rows, generator_rows = rows
        self.image_size = gan.image_shape[0]
        self.losses = losses
        self.discriminator = reference.Discriminator(
            reference.blocks_of(gan.discriminator),
            discriminator_rows,
            momentum,
            tied_logit=tied_logit,
            learning_rate=learning_rate,
        )
        self.generator = reference.Generator(
            reference.blocks_of(gan.generator),
            generator_rows,
            momentum,
            learning_rate=learning_rate,
        )

    def step(self, images, labels, mask, latents):
        return reference.train_step(
            self.discriminator,
            self.generator,
            reference.preprocess(images, self.image_size),
            labels,
            np.where(labels >= 0, mask, 0.0),
            latents,
            **self.losses,
        )

    def assert_matches(self, gan, weight_atol=1e-6, moment_rtol=1e-4):
        for network, optimizer, expected in (
            (
                gan.discriminator,
                gan.discriminator_optimizer,
                self.discriminator,
            ),
            (gan.generator, gan.generator_optimizer, self.generator),
        ):
            assert_weights_match(network, expected, weight_atol)
            assert_optimizer_matches(optimizer, expected.adam, moment_rtol)


def assert_weights_match(network, expected, atol):
    """Weights and moving statistics, to the accuracy of float32.

    Weights are of order 0.1 and a step moves each by about 2e-4, so that an
    `atol` of 1e-6 lets through half a percent of a step.
    """
    for block, expected_block in zip(
        reference.blocks_of(network), expected.blocks, strict=True
    ):
        assert block.keys() == expected_block.keys()
        for name, value in block.items():
            np.testing.assert_allclose(
                value,
                expected_block[name].detach().numpy(),
                rtol=1e-5,
                atol=atol,
                err_msg=f"{network.name}: {name} {value.shape}",
            )


def assert_optimizer_matches(optimizer, expected, rtol):
    """Moments, which hold the gradients themselves.

    Float32 sums lose what cancels: a bias in front of batch normalisation has
    a small gradient from many large terms. So the smallest gradients of a
    tensor are compared at the scale of its largest.
    """
    assert int(ops.convert_to_numpy(optimizer.iterations)) == (
        expected.iterations
    )
    for suffix, moments in (
        ("momentum", expected.first_moments),
        ("velocity", expected.second_moments),
    ):
        variables = [v for v in optimizer.variables if v.path.endswith(suffix)]
        for variable, moment in zip(variables, moments, strict=True):
            np.testing.assert_allclose(
                variable.numpy(),
                moment.numpy(),
                rtol=rtol,
                atol=rtol * moment.abs().max().item(),
                err_msg=variable.path,
            )


def assert_logs_match(logs, expected):
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            logs[name], value, rtol=2e-5, atol=1e-7, err_msg=name
        )


def snapshot(variables):
    # A copy: on PyTorch the array may share the variable's memory.
    return [np.array(variable.numpy()) for variable in variables]


def assert_identical(variables, values):
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(variable.value), value, err_msg=variable.path
        )


# === Against the reference ===


def assert_steps_match(gan, expected, steps, fix_latents):
    """Takes steps with both, and compares logs and variables after each."""
    latents = draw_latents(steps)
    fix_latents(gan, latents)
    for batch, row in zip(build_batches(steps), latents, strict=True):
        logs = gan.train_on_batch(*batch, return_dict=True)
        assert_logs_match(logs, expected.step(*batch, row))
        expected.assert_matches(gan)


@pytest.mark.parametrize("options", COMPILE_OPTIONS, ids=str)
def test_three_steps_match_the_reference(options, fix_latents):
    gan = build_gan()
    gan.compile(**options)
    expected = Reference(gan)
    assert_steps_match(gan, expected, 3, fix_latents)


def test_a_step_of_the_compact_preset_matches_the_reference(fix_latents):
    settings = get_preset("compact")
    # The plain method; consistency has a test of its own.
    gan = ks.SemiSupervisedGAN.from_preset(
        "compact", seed=0, consistency=0.0, augmentation=None
    )
    for layer in gan.discriminator.layers + gan.generator.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    for network in (gan.discriminator, gan.generator):
        reference.randomize(network)
    gan.compile()
    *hidden, output = settings.generator
    expected = Reference(
        gan,
        rows=(settings.discriminator, [*hidden, (1, *output)]),
        momentum=settings.momentum,
        tied_logit=settings.tied_logit,
        learning_rate=settings.learning_rate,
    )
    latents = draw_latents(1, latent_dim=settings.latent_dim)
    fix_latents(gan, latents)
    images, labels, _ = build_batches(1, size=28)[0]

    # Without weights: the labels of -1 are all that marks the unlabelled.
    logs = gan.train_on_batch(images, labels, return_dict=True)

    assert_logs_match(
        logs, expected.step(images, labels, np.ones(BATCH), latents[0])
    )
    # Sums over this many pixels and units cancel to gradients that are almost
    # 0, and Adam divides by their size: rounding becomes a part of a step. The
    # small GAN above is there to be exact.
    expected.assert_matches(
        gan, weight_atol=0.2 * settings.learning_rate, moment_rtol=5e-3
    )


def test_absolute_feature_matching_step_matches_the_reference(fix_latents):
    gan = build_gan(feature_matching="absolute")
    gan.compile(**CHEAPEST)
    expected = Reference(gan, feature_matching_power=1)
    assert_steps_match(gan, expected, 1, fix_latents)


class EveryOtherMirrored(layers.Layer):
    """An augmentation without chance: its second call of two mirrors."""

    calls = 0

    def call(self, images, training=False):
        assert training
        self.calls += 1
        return images if self.calls % 2 else ops.flip(images, axis=2)


def test_steps_with_consistency_match_the_reference(fix_latents):
    gan = build_gan(consistency=3.0, augmentation=EveryOtherMirrored())
    gan.compile(**CHEAPEST)
    expected = Reference(gan, consistency=3.0)
    assert_steps_match(gan, expected, 2, fix_latents)


def test_steps_with_less_of_real_and_fake_match_the_reference(fix_latents):
    gan = build_gan(real_fake=0.1)
    gan.compile(**CHEAPEST)
    expected = Reference(gan, real_fake=0.1)
    assert_steps_match(gan, expected, 2, fix_latents)


def test_loss_scaling_changes_nothing(fix_latents):
    gan = build_gan()
    gan.compile(
        discriminator_optimizer=scaled_adam(),
        generator_optimizer=scaled_adam(),
        **CHEAPEST,
    )
    expected = Reference(gan)
    assert_steps_match(gan, expected, 1, fix_latents)


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(2e-4, beta_1=0.5), initial_scale=1024.0
    )


def test_epoch_logs_are_means_over_images(fix_latents):
    """Also of a last batch that is smaller than the others."""
    gan = build_gan()
    gan.compile()
    expected = Reference(gan)
    latents = draw_latents(2)
    fix_latents(gan, latents)
    (images, labels, _), _, (more_images, more_labels, _) = build_batches(3)
    images = np.concatenate([images, more_images[:5]])
    labels = np.concatenate([labels, more_labels[:5]])

    history = gan.fit(
        images, labels, batch_size=BATCH, shuffle=False, verbose=0
    ).history

    ones = np.ones(len(images))
    parts = slice(BATCH), slice(BATCH, None)
    logs = [
        expected.step(images[part], labels[part], ones[part], row[:size])
        for part, row, size in zip(parts, latents, (BATCH, 5), strict=True)
    ]
    labeled = [np.sum(labels[part] >= 0) for part in parts]
    for name in logs[0]:
        weights = labeled if name in ("loss", "accuracy") else (BATCH, 5)
        np.testing.assert_allclose(
            history[name],
            [np.average([log[name] for log in logs], weights=weights)],
            rtol=1e-4,
            err_msg=name,
        )
    expected.assert_matches(gan)


# === What each update leaves alone ===


def test_discriminator_update_leaves_the_generator_alone(monkeypatch):
    monkeypatch.setattr(
        ks.SemiSupervisedGAN,
        "_update_generator",
        lambda self, *_: [ops.zeros(())] * 3,
    )
    gan = build_gan()
    gan.compile(**CHEAPEST)
    own = gan.discriminator.trainable_weights
    others = gan.generator.trainable_weights + gan.generator_optimizer.variables
    own_before, before = snapshot(own), snapshot(others)

    gan.train_on_batch(*build_batches(1)[0])

    assert_identical(others, before)
    for variable, value in zip(own, own_before, strict=True):
        assert np.any(variable.numpy() != value), variable.path


def test_generator_update_leaves_the_discriminator_alone(monkeypatch):
    """Its moving statistics too: the classifier's are those of its update."""
    monkeypatch.setattr(
        ks.SemiSupervisedGAN,
        "_update_discriminator",
        lambda self, views, *_: (
            [ops.zeros(())] * 4,
            ops.zeros((ops.shape(views[0])[0], NUM_CLASSES + 1)),
        ),
    )
    gan = build_gan()
    gan.compile(**CHEAPEST)
    own = gan.generator.trainable_weights
    others = gan.discriminator.weights + gan.discriminator_optimizer.variables
    own_before, before = snapshot(own), snapshot(others)

    gan.train_on_batch(*build_batches(1)[0])

    assert_identical(others, before)
    for variable, value in zip(own, own_before, strict=True):
        assert np.any(variable.numpy() != value), variable.path


# === What the labels must not tell ===


def learn(names, **options):
    """All that three steps leave, by what the labels of the batches were.

    One GAN, put back to its start for each run.
    """
    gan = build_gan()
    gan.compile(**options)
    state = gan.variables + gan.optimizer.variables
    start = snapshot(state)
    results = {}
    for name in names:
        change = LABEL_CHANGES[name]
        for images, labels, mask in build_batches(3):
            hidden = (labels < 0) | (mask == 0)
            gan.train_on_batch(images, *change(labels, hidden))
        results[name] = snapshot(state)
        for variable, value in zip(state, start, strict=True):
            variable.assign(value)
    return results


# From labels, and which are hidden, to what the training gets to see of them.
LABEL_CHANGES = {
    "true labels, masked": lambda labels, hidden: (
        labels,
        (~hidden).astype("float32"),
    ),
    "false labels, masked": lambda labels, hidden: (
        np.where(hidden, (labels + 2) % NUM_CLASSES, labels).astype("int32"),
        (~hidden).astype("float32"),
    ),
    "minus one, no mask": lambda labels, hidden: (
        np.where(hidden, -1, labels).astype("int32"),
    ),
    "not a number, no mask": lambda labels, hidden: (
        np.where(hidden, np.nan, labels).astype("float32"),
    ),
    "other labels in sight": lambda labels, hidden: (
        np.where(hidden, labels, (labels + 2) % NUM_CLASSES).astype("int32"),
        (~hidden).astype("float32"),
    ),
}


@pytest.fixture(scope="module")
def learned():
    names = [name for name in LABEL_CHANGES if "no mask" not in name]
    return learn(names)


def test_hidden_labels_change_nothing(learned):
    for a, b in zip(
        learned["true labels, masked"],
        learned["false labels, masked"],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", ["minus one", "not a number"])
def test_what_is_no_label_and_a_mask_of_zero_are_the_same(value):
    # XLA may round programs of two inputs and of three apart.
    names = ["true labels, masked", f"{value}, no mask"]
    learned = learn(names, **CHEAPEST)
    for a, b in zip(*learned.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_labels_that_are_not_hidden_change_the_result(learned):
    assert any(
        np.any(a != b)
        for a, b in zip(
            learned["true labels, masked"],
            learned["other labels in sight"],
            strict=True,
        )
    )


# === Latents ===


def test_every_step_draws_new_standard_normal_latents(monkeypatch):
    draws = []
    normal = keras.random.normal

    def spy(shape, **kwargs):
        latents = normal(shape, **kwargs)
        draws.append(ops.convert_to_numpy(latents))
        return latents

    monkeypatch.setattr(keras.random, "normal", spy)
    gan = build_gan()
    gan.compile(run_eagerly=True)
    for batch in build_batches(3):
        gan.train_on_batch(*batch)

    assert [latents.shape for latents in draws] == 3 * [
        (BATCH, 1, 1, LATENT_DIM)
    ]
    draws = np.array(draws)
    assert len(np.unique(draws)) == draws.size
    # Four standard errors of 180 draws.
    np.testing.assert_allclose(draws.mean(), 0, atol=0.3)
    np.testing.assert_allclose(draws.std(), 1, atol=0.21)
