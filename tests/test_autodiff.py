"""`vjp`, `apply_gradients` and `trainer_step`, in a trainer on each backend."""

import keras
import numpy as np
import pytest
from keras import ops
from probe import Probe
from probe import run

from keras_ssgan.autodiff import BACKEND
from keras_ssgan.autodiff import apply_gradients
from keras_ssgan.autodiff import vjp

X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]], "float32")
COTANGENT = np.array([[1.0, 0.0, 2.0], [3.0, -1.0, 0.5]], "float32")
SLOPE = np.array([2.0, -3.0, 0.5])


def squares(probe):
    """slope * x**2 + offset, whose gradients are known."""
    return lambda x: (probe.slope * ops.square(x) + probe.offset, None)


# === Gradients ===


def test_gradients_match_the_closed_form():
    def body(probe, x):
        output, pullback, _ = vjp(squares(probe), [probe.slope], x)
        (slope_gradient,), (x_gradient,) = pullback(
            ops.convert_to_tensor(COTANGENT)
        )
        return {"output": output, "slope": slope_gradient, "x": x_gradient}

    result = run(Probe(body), X)

    np.testing.assert_allclose(result["output"], SLOPE * X**2 + 1, rtol=1e-6)
    np.testing.assert_allclose(
        result["slope"], (COTANGENT * X**2).sum(0), rtol=1e-6
    )
    np.testing.assert_allclose(
        result["x"], COTANGENT * 2 * SLOPE * X, rtol=1e-6
    )


def test_gradients_match_finite_differences():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5)).astype("float32")
    kernel = rng.normal(size=(5, 3)).astype("float32")
    bias = rng.normal(size=3).astype("float32")

    def body(probe, x):
        def fn(x):
            return ops.mean(ops.tanh(probe.dense(x)) ** 3), None

        _, pullback, _ = vjp(fn, probe.dense.trainable_variables, x)
        (kernel, bias), (x,) = pullback(ops.ones(()))
        return {"kernel": kernel, "bias": bias, "x": x}

    def reference(x, kernel, bias):
        return np.mean(np.tanh(x @ kernel + bias) ** 3)

    dense = keras.layers.Dense(3)
    dense.build((None, 5))
    dense.set_weights([kernel, bias])
    result = run(Probe(body, dense=dense), x)

    arguments = {"x": x, "kernel": kernel, "bias": bias}
    for name in arguments:
        np.testing.assert_allclose(
            result[name],
            central_differences(reference, arguments, name),
            rtol=1e-4,
            atol=1e-7,
        )


def central_differences(fn, arguments, name, step=1e-5):
    arguments = {k: v.astype("float64") for k, v in arguments.items()}
    gradient = np.empty_like(arguments[name])
    for index in np.ndindex(gradient.shape):
        values = []
        for sign in (1, -1):
            moved = arguments[name].copy()
            moved[index] += sign * step
            values.append(fn(**{**arguments, name: moved}))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


def test_gradients_of_exactly_the_given_variables_in_their_order():
    def body(probe, x):
        _, both, _ = vjp(squares(probe), [probe.offset, probe.slope], x)
        _, inputs_only, _ = vjp(squares(probe), [], x)
        _, variables_only, _ = vjp(
            lambda: squares(probe)(x), [probe.slope, probe.offset]
        )
        ones = ops.ones_like(x)
        (offset, slope), inputs = both(ones)
        assert len(inputs) == 1
        no_variables, inputs = inputs_only(ones)
        assert (len(no_variables), len(inputs)) == (0, 1)
        (slope_again, offset_again), no_inputs = variables_only(ones)
        assert len(no_inputs) == 0
        return {
            "offset": offset - 2,
            "offset_again": offset_again - 2,
            "slope": slope - ops.sum(x**2, axis=0),
            "slope_again": slope_again - ops.sum(x**2, axis=0),
            "inputs": inputs[0] - 2 * probe.slope * x,
        }

    for difference in run(Probe(body), X).values():
        np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_the_gradient_of_what_does_not_matter_is_zero():
    def body(probe, x):
        _, pullback, _ = vjp(
            lambda x, other: (probe.slope * x, None),
            [probe.offset, probe.slope],
            x,
            ops.ones((2,)),
        )
        (offset, slope), (_, other) = pullback(ops.convert_to_tensor(COTANGENT))
        return {"offset": offset, "slope": slope, "other": other}

    result = run(Probe(body), X)

    np.testing.assert_array_equal(result["offset"], 0)
    np.testing.assert_array_equal(result["other"], [0, 0])
    np.testing.assert_allclose(
        result["slope"], (COTANGENT * X).sum(0), rtol=1e-6
    )


def test_pullback_is_linear_in_the_cotangent():
    def gradients(probe, x, scale):
        _, pullback, _ = vjp(squares(probe), [probe.slope], x)
        (slope,), (x,) = pullback(scale * ops.convert_to_tensor(COTANGENT))
        return slope, x

    def body(probe, x):
        slope, x_gradient = gradients(probe, x, 1.0)
        slope_4, x_gradient_4 = gradients(probe, x, 4.0)
        return {
            "slope": slope,
            "slope_4": slope_4,
            "x": x_gradient,
            "x_4": x_gradient_4,
        }

    result = run(Probe(body), X)

    # A power of two scales without rounding.
    np.testing.assert_array_equal(result["slope_4"], 4 * result["slope"])
    np.testing.assert_array_equal(result["x_4"], 4 * result["x"])
    assert np.all(result["x"][0, 0] != 0)


def test_two_pullbacks_chain_like_one():
    """As the generator's update does: through the images, one network each."""

    def body(probe, x):
        images, outer, _ = vjp(squares(probe), [probe.slope], x)
        _, inner, _ = vjp(
            lambda images: (ops.sum(ops.sin(images)), None), [], images
        )
        _, (cotangent,) = inner(ops.ones(()))
        (chained,), _ = outer(cotangent)

        _, pullback, _ = vjp(
            lambda: (ops.sum(ops.sin(squares(probe)(x)[0])), None),
            [probe.slope],
        )
        (at_once,), _ = pullback(ops.ones(()))
        return {"chained": chained, "at_once": at_once}

    result = run(Probe(body), X)

    expected = (np.cos(SLOPE * X**2 + 1) * X**2).sum(0)
    np.testing.assert_allclose(result["chained"], expected, rtol=1e-4)
    np.testing.assert_allclose(result["at_once"], expected, rtol=1e-4)


def test_stopped_output_gives_no_gradient():
    def body(probe, x):
        _, pullback, _ = vjp(
            lambda x: (ops.sum(x * ops.stop_gradient(x)), None), [], x
        )
        _, (gradient,) = pullback(ops.ones(()))
        return {"gradient": gradient}

    np.testing.assert_array_equal(run(Probe(body), X)["gradient"], X)


def test_aux_is_passed_through():
    def body(probe, x):
        _, _, aux = vjp(
            lambda x: (ops.sum(x), {"twice": 2 * x, "row": [x[0]]}), [], x
        )
        return {"twice": aux["twice"], "row": aux["row"][0]}

    result = run(Probe(body), X)

    np.testing.assert_array_equal(result["twice"], 2 * X)
    np.testing.assert_array_equal(result["row"], X[0])


# === Assignments ===


def count(probe):
    """Sum of x, counting its calls."""

    def fn(x):
        probe.counter.assign_add(1.0)
        return ops.sum(x), None

    return fn


def counted(probe):
    return float(ops.convert_to_numpy(probe.counter.value))


def test_assignments_persist_exactly_once():
    def body(probe, x):
        _, pullback, _ = vjp(count(probe), [], x)
        pullback(ops.ones(()))
        return {}

    probe = Probe(body)
    run(probe, X)
    assert counted(probe) == 1
    run(probe, X, X)
    assert counted(probe) == 3


def test_assignments_persist_without_a_pullback():
    probe = Probe(lambda probe, x: {"sum": vjp(count(probe), [], x)[0]})
    run(probe, X)
    assert counted(probe) == 1


def test_batch_norm_statistics_move_once():
    def body(probe, x):
        _, pullback, _ = vjp(
            lambda: (ops.sum(probe.norm(x, training=True)), None),
            probe.norm.trainable_variables,
        )
        (gamma, beta), _ = pullback(ops.ones(()))
        return {"gamma": gamma, "beta": beta}

    norm = keras.layers.BatchNormalization(momentum=0.75)
    norm.build(X.shape)
    run(Probe(body, norm=norm), X)

    np.testing.assert_allclose(
        ops.convert_to_numpy(norm.moving_mean.value),
        0.25 * X.mean(0),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(norm.moving_variance.value),
        0.75 + 0.25 * X.var(0),
        rtol=1e-6,
    )


def test_random_state_moves_once_per_draw():
    def body(probe, x):
        def fn(x):
            noise = keras.random.uniform((2, 3), seed=probe.seed)
            return ops.sum(noise * x), noise

        _, _, first = vjp(fn, [], x)
        _, _, second = vjp(fn, [], x)
        return {"first": first, "second": second}

    probe = Probe(body, seed=keras.random.SeedGenerator(3))
    result = run(probe, X)
    twin = keras.random.SeedGenerator(3)
    for _ in range(2):
        keras.random.uniform((2, 3), seed=twin)

    assert not np.array_equal(result["first"], result["second"])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(probe.seed.state.value),
        ops.convert_to_numpy(twin.state.value),
    )


def test_a_later_vjp_sees_earlier_assignments():
    """Also those outside of a vjp, and to what it is not differentiated by."""

    def body(probe, x):
        probe.counter.assign(10.0)
        _, _, first = vjp(lambda x: (ops.sum(x), probe.counter + 0.0), [], x)
        vjp(count(probe), [], x)
        probe.slope.assign(ops.ones(3))
        _, pullback, second = vjp(
            lambda x: (
                ops.sum(probe.slope * x * probe.counter),
                probe.counter + 0.0,
            ),
            [],
            x,
        )
        _, (gradient,) = pullback(ops.ones(()))
        return {"first": first, "second": second, "gradient": gradient}

    probe = Probe(body)
    result = run(probe, X)

    assert result["first"] == 10
    assert result["second"] == 11
    np.testing.assert_array_equal(result["gradient"], np.full((2, 3), 11.0))
    assert counted(probe) == 11


def test_reads_inside_see_assignments_inside():
    def body(probe, x):
        def fn(x):
            probe.counter.assign(7.0)
            return ops.sum(x) * probe.counter, probe.counter + 0.0

        output, _, aux = vjp(fn, [], x)
        return {"output": output, "aux": aux}

    result = run(Probe(body), X)
    assert result["aux"] == 7
    np.testing.assert_allclose(result["output"], 7 * X.sum(), rtol=1e-6)


def test_assignments_of_a_nested_vjp_persist_exactly_once():
    def body(probe, x):
        def fn(x):
            vjp(count(probe), [], ops.stop_gradient(x))
            return ops.sum(probe.slope * x), probe.counter + 0.0

        _, pullback, seen = vjp(fn, [probe.slope], x)
        (slope,), _ = pullback(ops.ones(()))
        return {"slope": slope, "seen": seen}

    probe = Probe(body)
    result = run(probe, X, X)

    assert result["seen"] == 2
    assert counted(probe) == 2
    np.testing.assert_allclose(result["slope"], X.sum(0), rtol=1e-6)


# === Optimizer and trainer ===


def descend(probe, x):
    _, pullback, _ = vjp(squares(probe), [probe.slope, probe.offset], x)
    gradients, _ = pullback(ops.ones_like(x))
    apply_gradients(probe.optimizer, gradients, [probe.slope, probe.offset])
    return {}


def test_apply_gradients_descends():
    probe = Probe(descend)
    run(probe, X, X)

    np.testing.assert_allclose(
        ops.convert_to_numpy(probe.slope.value),
        SLOPE - 2 * 0.1 * (X**2).sum(0),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(probe.offset.value), 1 - 2 * 0.1 * 2, rtol=1e-5
    )
    assert int(ops.convert_to_numpy(probe.optimizer.iterations)) == 2


def test_two_updates_in_one_step_follow_each_other():
    def body(probe, x):
        descend(probe, x)
        return descend(probe, x)

    probe = Probe(body)
    run(probe, X)

    np.testing.assert_allclose(
        ops.convert_to_numpy(probe.slope.value),
        SLOPE - 2 * 0.1 * (X**2).sum(0),
        rtol=1e-5,
    )
    assert int(ops.convert_to_numpy(probe.optimizer.iterations)) == 2


def test_loss_scaling_skips_a_step_whose_gradients_are_not_finite():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=8.0
    )

    def body(probe, x):
        _, pullback, _ = vjp(squares(probe), [probe.slope, probe.offset], x)
        gradients, _ = pullback(
            optimizer.scale_loss(ops.ones(())) * ops.ones_like(x)
        )
        apply_gradients(optimizer, gradients, [probe.slope, probe.offset])
        return {}

    probe = Probe(body)
    optimizer.build(probe.trainable_variables)
    probe.compile(optimizer=optimizer)
    run(probe, X * np.float32(np.inf))

    np.testing.assert_array_equal(
        ops.convert_to_numpy(probe.slope.value), SLOPE
    )
    assert float(ops.convert_to_numpy(optimizer.dynamic_scale)) == 4
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 0

    run(probe, X)
    np.testing.assert_allclose(
        ops.convert_to_numpy(probe.slope.value),
        SLOPE - 0.1 * (X**2).sum(0),
        rtol=1e-5,
    )
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 1


def test_test_step_is_driven_without_an_optimizer():
    def body(probe, x):
        return {"sum": vjp(count(probe), [], x)[0]}

    probe = Probe(body)
    probe.compile()
    logs = probe.test_on_batch(X, return_dict=True)

    np.testing.assert_allclose(logs["sum"], X.sum(), rtol=1e-6)
    assert counted(probe) == 1


@pytest.mark.skipif(BACKEND != "jax", reason="the scope is JAX's alone")
def test_vjp_outside_of_a_step_says_what_is_missing():
    with pytest.raises(RuntimeError, match="`trainer_step` opens one"):
        vjp(lambda x: (ops.sum(x), None), [], ops.ones(3))
