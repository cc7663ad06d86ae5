"""Figures of a classifier on labelled images."""

from typing import Any

import numpy as np


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


def classification_report(
    labels: np.ndarray, probabilities: np.ndarray
) -> dict[str, Any]:
    """Accuracy, overall and by class, and the confusion matrix.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.

    Returns:
        Dict of plain Python values: `images`, `errors`, `accuracy`,
        `class_accuracy` (list of K, `None` for a class without images) and
        `confusion` (K lists of K counts).
    """
    num_classes = probabilities.shape[-1]
    predictions = np.argmax(probabilities, axis=-1)
    confusion = confusion_matrix(labels, predictions, num_classes)
    correct = np.diagonal(confusion)
    totals = confusion.sum(axis=1)
    return {
        "images": int(totals.sum()),
        "errors": int(totals.sum() - correct.sum()),
        "accuracy": float(correct.sum() / totals.sum()),
        "class_accuracy": [
            float(c / n) if n else None
            for c, n in zip(correct, totals, strict=True)
        ],
        "confusion": confusion.tolist(),
    }
