"""Figures of generated images, from what a fixed classifier makes of them.

Pure functions of features and probabilities, in float64. Which classifier it
is, and how many images, is part of every figure: compare only those of one
classifier and one number of images, and with the figure of real images that
were held out.
"""

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from keras_ssgan.errors import InputError


def frechet_distance(features, other_features):
    """Squared Fréchet distance of two Gaussians fitted to features.

    `|m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2))` of the means and covariances
    (Dowson & Landau 1982; of Inception's features it is the FID, M. Heusel et
    al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", 2017). It shrinks with the number of images: take as many of
    each.

    Args:
        features: Float array of shape `(n, d)`, `n >= 2`.
        other_features: Float array of shape `(m, d)`, `m >= 2`.

    Returns:
        float, 0 for equal means and covariances.

    Raises:
        InputError: If the arrays do not fit, or one has a single row.
    """
    a, b = _check_features(features, other_features, least=2)
    covariance, other_covariance = (
        np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)
    )
    # sqrt(S1 S2) has the trace of the root of the symmetric product, whose
    # eigenvalues are real and not negative but for rounding.
    root = _symmetric_root(covariance)
    eigenvalues = np.linalg.eigvalsh(root @ other_covariance @ root)
    trace = np.trace(covariance) + np.trace(other_covariance)
    trace -= 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + max(trace, 0.0))


def precision_recall(real_features, fake_features, k=3):
    """How many generated images look real, and how much of the real they show.

    Improved precision and recall (T. Kynkäänniemi et al., "Improved Precision
    and Recall Metric for Assessing Generative Models", 2019). A set's manifold
    is the union of balls around its features, each as large as the distance to
    the `k`-th nearest neighbour within the set. Precision is the share of fake
    features on the manifold of the real ones, recall the share of real
    features on that of the fake ones.

    Args:
        real_features: Float array of shape `(n, d)`, `n > k`.
        fake_features: Float array of shape `(m, d)`, `m > k`; best as many.
        k: int, at least 1.

    Returns:
        Pair of floats, `(precision, recall)`, each from 0 to 1.

    Raises:
        InputError: If the arrays do not fit, or have too few rows.
    """
    real, fake = _check_features(real_features, fake_features, least=k + 1)
    return _covered_share(fake, real, k), _covered_share(real, fake, k)


def confident_share(probabilities, threshold=0.9):
    """Share of the images that a classifier is sure to know.

    It says nothing alone: a classifier can be sure of what is no digit at all.
    Read it beside precision.

    Args:
        probabilities: Float array of shape `(n, K)`.
        threshold: Probability from which on a class counts as sure.

    Returns:
        float, from 0 to 1.
    """
    return float(np.mean(np.max(probabilities, axis=-1) >= threshold))


def class_histogram(probabilities):
    """Share of the images that is taken for each class.

    Args:
        probabilities: Float array of shape `(n, K)`.

    Returns:
        List of K floats of sum 1.
    """
    classes = np.argmax(probabilities, axis=-1)
    counts = np.bincount(classes, minlength=probabilities.shape[-1])
    return (counts / len(classes)).tolist()


def _check_features(features, other_features, least):
    features, other_features = (
        np.asarray(x, "float64") for x in (features, other_features)
    )
    shapes = features.shape, other_features.shape
    if [len(shape) for shape in shapes] != [2, 2] or (
        features.shape[1] != other_features.shape[1]
    ):
        raise InputError(
            f"features have shapes {shapes[0]} and {shapes[1]}; pass (n, d) "
            "and (m, d)"
        )
    if min(len(features), len(other_features)) < least:
        raise InputError(
            f"there are {len(features)} and {len(other_features)} images; "
            f"pass at least {least} of each"
        )
    return features, other_features


def _symmetric_root(matrix):
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T


def _covered_share(points, centres, k):
    """Share of `points` within the ball of at least one of `centres`."""
    # Not by `NearestNeighbors`: it rounds otherwise, and an image that is
    # drawn over and over could be outside of its own ball, of radius 0.
    radii = pairwise_distances_chunked(
        centres,
        # Each centre is its own nearest neighbour, at distance 0. A view would
        # keep the whole chunk in memory.
        reduce_func=lambda chunk, _: np.partition(chunk, k)[:, k].copy(),
    )
    radii = np.concatenate(list(radii))
    covered = pairwise_distances_chunked(
        points,
        centres,
        reduce_func=lambda chunk, _: (chunk <= radii).any(axis=1),
    )
    return float(np.concatenate(list(covered)).mean())
