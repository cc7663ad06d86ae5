"""Figures of samples, against SciPy and examples worked out by hand."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from benchmarks import sample_metrics
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# === Fréchet distance ===


def frechet_by_scipy(a, b):
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    root = sqrtm(s @ t).real
    return gap @ gap + np.trace(s + t - 2 * root)


@pytest.mark.parametrize("count", [50, 400])
def test_frechet_distance_is_that_of_scipys_matrix_root(count, rng):
    a = rng.normal(size=(count, 20)) @ rng.normal(size=(20, 20))
    b = 1 + rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20))
    assert_allclose(
        sample_metrics.frechet_distance(a, b), frechet_by_scipy(a, b), rtol=1e-7
    )


def test_frechet_distance_by_hand():
    # Variances 1 and 9 and means 0 and 2: 2^2 + (3 - 1)^2.
    a = np.array([[-1.0], [1.0]]) / np.sqrt(2)
    b = 3 * a + 2
    assert_allclose(sample_metrics.frechet_distance(a, b), 8.0)


def test_frechet_distance_to_itself_is_0_where_features_are_constant(rng):
    # Rank-deficient, as ReLU features that never fire make it.
    a = rng.normal(size=(10, 30)).astype("float32")
    a[:, 5:] = 0
    assert_allclose(sample_metrics.frechet_distance(a, a), 0, atol=1e-6)


# === Precision and recall ===


def covered_by_loop(points, centres, k):
    radii = [sorted(row)[k] for row in cdist(centres, centres)]
    distances = cdist(points, centres)
    inside = [
        any(d <= r for d, r in zip(row, radii, strict=True))
        for row in distances
    ]
    return np.mean(inside)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_a_loop(k, rng):
    real = rng.normal(size=(120, 3))
    fake = rng.normal(1.0, 0.8, size=(100, 3))
    # In MiB: about 32 rows of distances at a time.
    with sklearn.config_context(working_memory=0.03):
        precision, recall = sample_metrics.precision_recall(real, fake, k)
    assert precision == covered_by_loop(fake, real, k)
    assert recall == covered_by_loop(real, fake, k)
    assert 0 < recall < 1 and 0 < precision < 1


def test_precision_and_recall_by_hand():
    # Balls of radius 1 around 0, 1, 2 and of radius 8 around 10; of radius 0.5
    # around the fakes 0 and 0.5, and of 99.5 around 100.
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    fake = np.array([[0.0], [0.5], [100.0]])
    precision, recall = sample_metrics.precision_recall(real, fake, k=1)
    # 0 and 0.5 lie among the real; 0, 1, 2 and 10 among the fakes: 0 and 1
    # near them, 2 and 10 within 99.5 of 100.
    assert (precision, recall) == (2 / 3, 1.0)


def test_one_image_over_and_over_has_precision_and_no_recall(rng):
    real = rng.normal(size=(50, 4))
    fake = np.repeat(real[:1], 50, axis=0)
    precision, recall = sample_metrics.precision_recall(real, fake)
    assert precision == 1.0
    assert recall == pytest.approx(1 / 50)


def test_equal_distributions_have_equal_precision_and_recall(rng):
    precision, recall = sample_metrics.precision_recall(
        rng.normal(size=(400, 4)), rng.normal(size=(400, 4))
    )
    assert precision == pytest.approx(recall, abs=0.05) and recall > 0.8


@pytest.mark.parametrize(
    "shapes, message",
    [
        (((5, 2), (5, 3)), "pass"),
        (((5,), (5,)), "pass"),
        (((3, 2), (9, 2)), "at least 4"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(shapes, message):
    with pytest.raises(InputError, match=message):
        sample_metrics.precision_recall(*map(np.zeros, shapes))


# === Classes ===


def test_confident_share_counts_from_the_threshold_on():
    probabilities = np.array([[0.95, 0.05], [0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    assert sample_metrics.confident_share(probabilities) == 0.5
    assert sample_metrics.confident_share(probabilities, 0.6) == 0.75


def test_histogram_has_a_share_for_each_class():
    probabilities = np.eye(4)[[0, 2, 2, 3]]
    histogram = sample_metrics.class_histogram(probabilities)
    assert histogram == [0.25, 0.0, 0.5, 0.25]
