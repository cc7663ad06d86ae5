"""The losses against their formulas, hand-computed numbers and extremes."""

import numpy as np
import pytest
import reference
from keras import ops
from probe import Probe
from probe import run

from keras_ssgan import losses
from keras_ssgan.autodiff import vjp

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3.0, size=(16, 11)).astype("float32")
LABELS = RNG.integers(0, 10, 16).astype("int32")
MASK = (np.arange(16) % 3 == 0).astype("float32")
REAL_FEATURES = RNG.normal(size=(16, 7)).astype("float32")
FAKE_FEATURES = RNG.normal(loc=0.5, size=(12, 7)).astype("float32")


def value(loss, *arguments):
    result = ops.convert_to_numpy(loss(*map(ops.convert_to_tensor, arguments)))
    assert result.shape == ()
    assert result.dtype == "float32"
    return result


def logit_gradient(logits, labels, mask):
    """Gradient of the supervised loss with respect to the logits."""

    def body(probe, logits):
        _, pullback, _ = vjp(
            lambda logits: (losses.supervised_loss(logits, labels, mask), None),
            [],
            logits,
        )
        _, (gradient,) = pullback(ops.ones(()))
        return {"gradient": gradient}

    return run(Probe(body), logits)["gradient"]


# === Against the formulas ===


def test_consistency_matches_numpy():
    """The real/fake logit takes no part."""
    other = RNG.normal(scale=3.0, size=(16, 11)).astype("float32")
    first, second = (
        np.exp([reference.log_softmax(row) for row in x[:, 1:].astype(float)])
        for x in (LOGITS, other)
    )
    np.testing.assert_allclose(
        value(losses.consistency_loss, LOGITS, other),
        np.mean(np.sum((first - second) ** 2, axis=1)),
        rtol=1e-5,
    )


def test_consistency_is_two_where_sure_classes_differ_and_zero_where_not():
    sure = 1e4 * np.eye(11, dtype="float32")[1:]
    assert value(losses.consistency_loss, sure, sure) == 0.0
    # TensorFlow's softmax is 1 to the last digit with oneDNN alone.
    np.testing.assert_allclose(
        value(losses.consistency_loss, sure, sure[::-1].copy()), 2.0, rtol=3e-7
    )


@pytest.mark.parametrize("name", ["real_loss", "fake_loss", "adversarial_loss"])
def test_real_fake_losses_match_the_reference(name):
    np.testing.assert_allclose(
        value(getattr(losses, name), LOGITS),
        getattr(reference, name)(LOGITS),
        rtol=1e-5,
    )


def test_supervised_loss_matches_the_reference():
    np.testing.assert_allclose(
        value(losses.supervised_loss, LOGITS, LABELS, MASK),
        reference.supervised_loss(LOGITS, LABELS, MASK),
        rtol=1e-5,
    )


def test_mask_may_hold_weights():
    weights = MASK * RNG.uniform(0.1, 5.0, 16).astype("float32")
    np.testing.assert_allclose(
        value(losses.supervised_loss, LOGITS, LABELS, weights),
        reference.supervised_loss(LOGITS, LABELS, weights),
        rtol=1e-5,
    )


@pytest.mark.parametrize("distance,power", [("squared", 2), ("absolute", 1)])
def test_feature_matching_matches_the_reference(distance, power):
    np.testing.assert_allclose(
        value(losses.FEATURE_MATCHING[distance], REAL_FEATURES, FAKE_FEATURES),
        reference.feature_matching_loss(REAL_FEATURES, FAKE_FEATURES, power),
        rtol=1e-5,
    )


def test_gradient_of_supervised_loss_is_softmax_minus_target():
    target = np.zeros((16, 11))
    target[np.arange(16), 1 + LABELS] = 1
    softmax = np.exp([reference.log_softmax(row) for row in LOGITS])
    expected = MASK[:, np.newaxis] * (softmax - target) / MASK.sum()

    np.testing.assert_allclose(
        logit_gradient(LOGITS, LABELS, MASK), expected, rtol=1e-4, atol=1e-7
    )


# === Hand-computed numbers ===


def test_supervised_loss_of_known_logits():
    logits = np.log([[1.0, 2.0, 1.0], [5.0, 1.0, 2.0]]).astype("float32")
    # Class 0 is the second of three logits: -log(2/4) and -log(1/8).
    labels = np.zeros(2, "int32")
    np.testing.assert_allclose(
        value(losses.supervised_loss, logits, labels, np.ones(2, "float32")),
        (np.log(2) + np.log(8)) / 2,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        value(
            losses.supervised_loss,
            logits,
            labels,
            np.array([3, 1], "float32"),
        ),
        (3 * np.log(2) + np.log(8)) / 4,
        rtol=1e-6,
    )


def test_real_fake_losses_of_known_logits():
    # sigmoid(log 3) = 3/4 is the probability of "fake".
    logits = np.array([[np.log(3), 9.0], [0.0, -9.0]], "float32")
    real = (np.log(4) + np.log(2)) / 2
    fake = (np.log(4 / 3) + np.log(2)) / 2

    np.testing.assert_allclose(value(losses.real_loss, logits), real, rtol=1e-6)
    np.testing.assert_allclose(value(losses.fake_loss, logits), fake, rtol=1e-6)
    np.testing.assert_allclose(
        value(losses.adversarial_loss, logits), real, rtol=1e-6
    )


def test_feature_matching_of_known_features():
    real = np.array([[1.0, 2.0], [3.0, 0.0]], "float32")
    fake = np.array([[0.0, 4.0]], "float32")
    # The means are [2, 1] and [0, 4].
    assert value(losses.feature_matching_loss, real, fake) == (4 + 9) / 2
    assert (
        value(losses.absolute_feature_matching_loss, real, fake) == (2 + 3) / 2
    )


def test_class_logits_leave_out_the_first():
    np.testing.assert_array_equal(
        ops.convert_to_numpy(losses.class_logits(LOGITS)), LOGITS[:, 1:]
    )


# === Unlabelled images ===


def test_no_labels_give_zero_loss_and_zero_gradient():
    labels = np.full(16, -1, "int32")
    mask = np.zeros(16, "float32")
    assert value(losses.supervised_loss, LOGITS, labels, mask) == 0
    np.testing.assert_array_equal(logit_gradient(LOGITS, labels, mask), 0)


@pytest.mark.parametrize("label", [-1, 3, 9, 10, 1000, -1000])
def test_unlabeled_rows_do_not_change_supervised_loss(label):
    labels = np.where(MASK > 0, LABELS, label).astype("int32")
    np.testing.assert_array_equal(
        value(losses.supervised_loss, LOGITS, labels, MASK),
        value(losses.supervised_loss, LOGITS, LABELS, MASK),
    )


@pytest.mark.parametrize("logit", [0.0, 1e4, -1e4])
def test_logits_of_unlabeled_rows_do_not_change_supervised_loss(logit):
    logits = np.where(MASK[:, np.newaxis] > 0, LOGITS, logit)
    np.testing.assert_array_equal(
        value(losses.supervised_loss, logits.astype("float32"), LABELS, MASK),
        value(losses.supervised_loss, LOGITS, LABELS, MASK),
    )


def test_unlabeled_rows_get_no_gradient_of_supervised_loss():
    labels = np.where(MASK > 0, LABELS, -1).astype("int32")
    gradient = logit_gradient(LOGITS, labels, MASK)
    np.testing.assert_array_equal(gradient[MASK == 0], 0)
    np.testing.assert_array_equal(
        gradient, logit_gradient(LOGITS, LABELS, MASK)
    )


# === Extremes ===


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_real_fake_logits_are_finite_and_exact(sign):
    logits = np.full((4, 3), sign * 1e4, "float32")
    wrong, right = 1e4, 0.0
    assert value(losses.real_loss, logits) == (wrong if sign > 0 else right)
    assert value(losses.fake_loss, logits) == (right if sign > 0 else wrong)


def test_extreme_class_logits_have_finite_loss_and_gradient():
    logits = np.array([[-1e4, 1e4, 1e4], [1e4, -1e4, 0.0]], "float32")
    labels = np.array([0, 0], "int32")
    mask = np.ones(2, "float32")
    np.testing.assert_allclose(
        value(losses.supervised_loss, logits, labels, mask),
        reference.supervised_loss(logits, labels, mask),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        logit_gradient(logits, labels, mask),
        [[0, -0.25, 0.25], [0.5, -0.5, 0]],
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_of_half_precision_are_computed_in_float32(dtype):
    half = ops.cast(LOGITS, dtype)
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    np.testing.assert_allclose(
        value(losses.supervised_loss, half, LABELS, MASK),
        reference.supervised_loss(rounded, LABELS, MASK),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        value(losses.real_loss, half), reference.real_loss(rounded), rtol=1e-5
    )
    np.testing.assert_allclose(
        value(losses.feature_matching_loss, half, half[:3]),
        reference.feature_matching_loss(rounded, rounded[:3]),
        rtol=1e-5,
    )
