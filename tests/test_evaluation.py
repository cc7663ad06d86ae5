"""Figures of a classifier, against scikit-learn."""

import numpy as np
from sklearn import metrics

from keras_ssgan import evaluation


def _random_case(num_classes=4, count=200):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, count).astype("uint8")
    probabilities = rng.dirichlet(np.ones(num_classes), count)
    return labels, probabilities


def test_confusion_matrix_is_that_of_scikit_learn():
    labels, probabilities = _random_case()
    predictions = probabilities.argmax(-1)
    np.testing.assert_array_equal(
        evaluation.confusion_matrix(labels, predictions, 4),
        metrics.confusion_matrix(labels, predictions),
    )


def test_report_has_the_accuracies_of_scikit_learn():
    labels, probabilities = _random_case()
    predictions = probabilities.argmax(-1)
    report = evaluation.classification_report(labels, probabilities)
    assert report["images"] == 200
    assert report["errors"] == np.sum(labels != predictions)
    assert report["accuracy"] == metrics.accuracy_score(labels, predictions)
    np.testing.assert_allclose(
        report["class_accuracy"],
        metrics.recall_score(labels, predictions, average=None),
    )


def test_a_class_without_images_has_no_accuracy():
    report = evaluation.classification_report(
        np.array([0, 2]), np.eye(3)[[0, 1]]
    )
    assert report["class_accuracy"] == [1.0, None, 0.0]
