"""The optimizer that carries the state of two."""

import keras
import numpy as np
import pytest
from conftest import build_tiny_gan
from keras import ops

from keras_ssgan.optimizer import AlternatingOptimizer


def build_variables():
    return [
        [keras.Variable(np.ones(2), name="a")],
        [keras.Variable(np.ones(3), name="b"), keras.Variable(0.0, name="c")],
    ]


def build_optimizer(**kwargs):
    return AlternatingOptimizer(
        keras.optimizers.Adam(0.1, name="first", **kwargs),
        keras.optimizers.SGD(0.2, momentum=0.9, name="second", **kwargs),
    )


def value(variable):
    return np.array(variable.numpy())


# === State ===


def test_variables_are_those_of_both():
    optimizer = build_optimizer()
    optimizer.build(*build_variables())
    first, second = optimizer.optimizers

    variables = optimizer.variables
    assert [id(v) for v in variables] == [
        id(v) for v in first.variables + second.variables
    ]
    # Two moments of `a`, one of `b` and of `c`, and what counts and sets the
    # steps of each.
    assert sorted(tuple(v.shape) for v in variables) == sorted(
        4 * [()] + 2 * [(2,)] + [(3,), ()]
    )


def test_each_optimizer_is_built_with_its_own_variables():
    optimizer = build_optimizer()
    discriminator_variables, generator_variables = build_variables()
    assert not optimizer.built
    optimizer.build(discriminator_variables, generator_variables)
    first, second = optimizer.optimizers

    assert optimizer.built and first.built and second.built
    first.apply([ops.ones(2)], discriminator_variables)
    second.apply([ops.ones(3), ops.ones(())], generator_variables)
    with pytest.raises(ValueError, match="Unknown variable"):
        first.apply([ops.ones(3), ops.ones(())], generator_variables)


def test_iterations_count_the_discriminators_updates():
    optimizer = build_optimizer()
    variables, _ = build_variables()
    optimizer.build(variables, [])
    first, _ = optimizer.optimizers
    for _ in range(3):
        first.apply([ops.ones(2)], variables)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 3


def test_the_same_instance_twice_is_refused():
    optimizer = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="an optimizer each"):
        AlternatingOptimizer(optimizer, optimizer)


def test_there_is_no_single_learning_rate():
    optimizer = build_optimizer()
    with pytest.raises(AttributeError, match="two learning rates"):
        optimizer.learning_rate  # noqa: B018
    with pytest.raises(AttributeError, match="two learning rates"):
        optimizer.learning_rate = 0.1
    # Callbacks that look for one find none.
    assert not hasattr(optimizer, "learning_rate")


# === Config ===


def test_config_restores_both():
    optimizer = AlternatingOptimizer(
        keras.optimizers.Adam(3e-4, beta_1=0.25, name="first"),
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.2, 100), momentum=0.75
            )
        ),
        name="both",
    )
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(optimizer)
    )

    assert isinstance(copy, AlternatingOptimizer)
    assert copy.name == "both"
    first, second = copy.optimizers
    assert isinstance(first, keras.optimizers.Adam)
    assert isinstance(second, keras.optimizers.LossScaleOptimizer)
    assert (first.name, first.beta_1) == ("first", 0.25)
    np.testing.assert_allclose(float(first.learning_rate), 3e-4, rtol=1e-6)
    assert second.inner_optimizer.momentum == 0.75
    assert copy.get_config() == optimizer.get_config()


# === Moving averages ===


def test_finalizing_gives_each_network_its_own_average():
    optimizer = build_optimizer(use_ema=True, ema_momentum=0.5)
    groups = build_variables()
    optimizer.build(*groups)
    trails = [[] for _ in groups]
    for _ in range(3):
        for own, variables, trail in zip(
            optimizer.optimizers, groups, trails, strict=True
        ):
            own.apply([ops.ones(v.shape) for v in variables], variables)
            trail.append([value(v) for v in variables])
    optimizer.finalize_variable_values(groups[0] + groups[1])

    for variables, (one, two, three) in zip(groups, trails, strict=True):
        for i, variable in enumerate(variables):
            average = 0.25 * one[i] + 0.25 * two[i] + 0.5 * three[i]
            np.testing.assert_allclose(value(variable), average, rtol=1e-5)


def test_a_network_without_average_keeps_its_weights():
    optimizer = AlternatingOptimizer(
        keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
        keras.optimizers.SGD(0.1),
    )
    groups = build_variables()
    optimizer.build(*groups)
    for _ in range(2):
        for own, variables in zip(optimizer.optimizers, groups, strict=True):
            own.apply([ops.ones(v.shape) for v in variables], variables)
    optimizer.finalize_variable_values(groups[0] + groups[1])

    # From 1 to 0.9 to 0.8, whose average is 0.85.
    np.testing.assert_allclose(value(groups[0][0]), 0.85, rtol=1e-5)
    np.testing.assert_allclose(value(groups[1][0]), 0.8, rtol=1e-5)


def test_fit_advances_both_and_ends_with_the_averages():
    gan = build_tiny_gan()
    gan.compile(
        discriminator_optimizer=keras.optimizers.SGD(
            0.1, use_ema=True, ema_momentum=0.5
        ),
        generator_optimizer=keras.optimizers.SGD(0.1),
    )
    averaged = gan.discriminator.layers[-1].bias
    plain = gan.generator.layers[1].bias
    trail = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: trail.append(
            (value(averaged), value(plain))
        )
    )
    # One step per epoch.
    gan.fit(
        np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype="uint8"),
        np.arange(8),
        epochs=2,
        callbacks=[record],
        verbose=0,
    )

    (averaged_1, plain_1), (averaged_2, plain_2) = trail
    assert np.any(averaged_1 != averaged_2) and np.any(plain_1 != plain_2)
    np.testing.assert_allclose(
        value(averaged), (averaged_1 + averaged_2) / 2, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(value(plain), plain_2)
    for optimizer in (gan.optimizer, *gan.optimizer.optimizers):
        assert int(ops.convert_to_numpy(optimizer.iterations)) == 2
