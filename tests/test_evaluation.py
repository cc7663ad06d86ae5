"""Figures of a classifier, against scikit-learn and SciPy."""

import numpy as np
import pytest
from sklearn import metrics

from keras_ssgan import calibration
from keras_ssgan import evaluation

pytestmark = pytest.mark.any_backend


def _random_case(num_classes=4, count=200):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, count).astype("uint8")
    probabilities = rng.dirichlet(np.ones(num_classes), count)
    return labels, probabilities


def test_report_has_the_figures_of_scikit_learn():
    labels, probabilities = _random_case()
    predictions = probabilities.argmax(-1)
    report = evaluation.classification_report(labels, probabilities)
    assert report["images"] == 200
    assert report["errors"] == np.sum(labels != predictions)
    assert report["accuracy"] == metrics.accuracy_score(labels, predictions)
    precision, recall, _, _ = metrics.precision_recall_fscore_support(
        labels, predictions
    )
    np.testing.assert_allclose(report["precision"], precision)
    np.testing.assert_allclose(report["recall"], recall)
    np.testing.assert_allclose(
        report["log_loss"], metrics.log_loss(labels, probabilities)
    )


def test_what_has_no_images_has_no_share():
    report = evaluation.classification_report(
        np.array([0, 2]), np.eye(3)[[0, 1]]
    )
    assert report["recall"] == [1.0, None, 0.0]
    assert report["precision"] == [1.0, 0.0, None]


def test_a_certain_mistake_costs_a_finite_log_loss():
    probabilities = np.eye(2, dtype="float32")[[0, 0]]
    assert evaluation.log_loss(np.array([0, 1]), probabilities) == (
        pytest.approx(87.3365 / 2, abs=1e-4)
    )


def test_calibration_is_taken_back_in_the_uncalibrated_figures():
    labels, plain = _random_case()
    report = evaluation.classification_report(
        labels, calibration.rescale(plain, 1 / 2.5), temperature=2.5
    )
    before = evaluation.classification_report(labels, plain)
    for name in ("log_loss", "calibration_error"):
        assert report["uncalibrated"][name] == pytest.approx(before[name])
        assert report[name] != pytest.approx(before[name], rel=0.1)
    assert report["confusion"] == before["confusion"]


def test_wilson_interval_of_a_published_example():
    # R. G. Newcombe 1998, "Two-sided confidence intervals for the single
    # proportion: comparison of seven methods", table I, method 3.
    low, high = evaluation.wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
