"""Figures of a classifier on labelled images."""

from typing import Any

import keras
import numpy as np
from scipy.stats import binomtest
from sklearn import metrics

from keras_ssgan import calibration
from keras_ssgan.classifier import temperature_of


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a share (E. B. Wilson 1927).

    Unlike the textbook's `p ± z * sqrt(p * (1 - p) / n)` it stays in `[0, 1]`,
    and is of use where all or none succeed.

    Args:
        successes: int.
        trials: int, at least 1.

    Returns:
        `(low, high)`, two floats.
    """
    test = binomtest(successes, trials)
    low, high = test.proportion_ci(confidence_level=0.95, method="wilson")
    return float(low), float(high)


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
    confusion = metrics.confusion_matrix(
        labels, predictions, labels=range(num_classes)
    )
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


def score(
    classifier: keras.Model,
    test: tuple[np.ndarray, np.ndarray],
    verbose: int | str = 0,
) -> tuple[dict[str, Any], np.ndarray]:
    """What a classifier makes of labelled images.

    Args:
        classifier: As `SemiSupervisedGAN.classifier` gives it.
        test: Raw images, uint8 of shape `(n, height, width)`, and their
            labels, integers of shape `(n,)` in `[0, K)`.
        verbose: As in `keras.Model.predict`.

    Returns:
        Dict as from `classification_report`, and the probabilities, a float32
        array of shape `(n, K)`.
    """
    images, labels = test
    probabilities = classifier.predict(images, batch_size=256, verbose=verbose)
    report = classification_report(
        labels, probabilities, temperature_of(classifier)
    )
    return report, probabilities


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
