"""Figures of a classifier on labelled images."""

import math
from typing import Any

import numpy as np

from keras_ssgan import calibration


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """Counts of each pair of true and predicted class.

    Args:
        labels: Integer array of shape `(n,)` in `[0, num_classes)`.
        predictions: Integer array of shape `(n,)` in `[0, num_classes)`.
        num_classes: int, K.

    Returns:
        int64 array of shape `(K, K)`, true classes in rows.
    """
    pairs = np.asarray(labels).astype("int64") * num_classes + predictions
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def wilson_interval(
    successes: int, trials: int, z: float = 1.959964
) -> tuple[float, float]:
    """Confidence interval of a share (E. B. Wilson 1927).

    Unlike the textbook's `p ± z * sqrt(p * (1 - p) / n)` it stays in `[0, 1]`,
    and is of use where all or none succeed.

    Args:
        successes: int.
        trials: int, at least 1.
        z: Quantile of the normal distribution; the default is for 95 %.

    Returns:
        `(low, high)`, two floats.
    """
    share, spread = successes / trials, z**2 / trials
    middle = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return (
        max(0.0, (middle - half) / (1 + spread)),
        min(1.0, (middle + half) / (1 + spread)),
    )


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, in nats.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`. A 0 counts as 1.2e-38,
            which costs 87.

    Returns:
        float, at least 0.
    """
    rows = np.arange(len(labels))
    logs = calibration.log_probabilities(probabilities[rows, labels])
    return float(-logs.mean())


def classification_report(
    labels: np.ndarray, probabilities: np.ndarray, temperature: float = 1.0
) -> dict[str, Any]:
    """What is known of a classifier from its probabilities.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.
        temperature: The one that the probabilities are calibrated by.

    Returns:
        Dict of plain Python values: `images`, `errors`, `accuracy`,
        `accuracy_interval` (95 %, `[low, high]`), `precision` and `recall`
        (lists of K; `None` for the precision of a class that was never
        predicted, and the recall of one without images), `log_loss`,
        `calibration_error`, `temperature`, `uncalibrated` (`log_loss` and
        `calibration_error` at temperature 1) and `confusion` (K lists of K
        counts).
    """
    num_classes = probabilities.shape[-1]
    predictions = np.argmax(probabilities, axis=-1)
    confusion = confusion_matrix(labels, predictions, num_classes)
    correct = np.diagonal(confusion)
    images, hits = int(confusion.sum()), int(correct.sum())
    uncalibrated = calibration.rescale(probabilities, temperature)
    return {
        "images": images,
        "errors": images - hits,
        "accuracy": hits / images,
        "accuracy_interval": [*wilson_interval(hits, images)],
        "precision": _shares(correct, confusion.sum(axis=0)),
        "recall": _shares(correct, confusion.sum(axis=1)),
        **_sureness(labels, probabilities),
        "temperature": temperature,
        "uncalibrated": _sureness(labels, uncalibrated),
        "confusion": confusion.tolist(),
    }


def _sureness(labels, probabilities):
    return {
        "log_loss": log_loss(labels, probabilities),
        "calibration_error": calibration.calibration_error(
            labels, probabilities
        ),
    }


def _shares(counts, totals):
    return [
        float(c / n) if n else None for c, n in zip(counts, totals, strict=True)
    ]
