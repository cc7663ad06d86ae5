"""How sure a classifier says it is, and how sure it should be.

C. Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

import keras
import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from keras_ssgan.model import SemiSupervisedGAN

# Probabilities below this are taken for it: softmax in float32 can round to 0.
_LEAST = np.finfo("float32").tiny


def calibrated_classifier(
    gan: SemiSupervisedGAN, validation: tuple[np.ndarray, np.ndarray]
) -> keras.Model:
    """The classifier at the temperature that held-out images ask for.

    Args:
        gan: A `SemiSupervisedGAN`.
        validation: Images and their labels, possibly none.

    Returns:
        A classifier, as `SemiSupervisedGAN.classifier` gives it.
    """
    images, labels = validation
    if not len(labels):
        return gan.classifier()
    probabilities = gan.predict(images, batch_size=256, verbose=0)
    return gan.classifier(temperature=fit_temperature(labels, probabilities))


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The number that logits are best divided by before the softmax.

    Temperature scaling (Guo et al. 2017, section 4.2): minimises the negative
    log-likelihood of held-out labelled images. One number for all classes
    changes no decision. With `b = 1 / temperature` the objective

        sum over images of -log softmax(b * logits)[label] + (b - log(b))

    is convex. Its last term is a prior, Gamma(2, 1) on `b`, whose mode is
    temperature 1 and which weighs about as much as one image. Without it,
    images that are all classified correctly would ask for temperature 0, that
    is for complete certainty. With it they leave the temperature near 1, as
    they should: they say that the classifier is right, not how often it is
    wrong.

    Ten labels or so usually are of that kind, and one mistake among them moves
    the temperature a lot. Some hundred are needed to rely on it.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`, at temperature 1. Their
            logarithms are the logits, up to a constant per image.

    Returns:
        Temperature, from 0.01 to 100; above 1 where the classifier is too
        sure. 1 where there is no image or a probability is NaN.
    """
    if not len(labels) or np.isnan(probabilities).any():
        return 1.0
    logits = log_probabilities(probabilities)
    gaps = logits - logits[np.arange(len(labels)), labels][:, np.newaxis]

    def slope(b):
        return np.sum(softmax(b * gaps, axis=-1) * gaps) + 1 - 1 / b

    # The derivative's only zero, if it lies between them.
    low, high = 0.01, 100.0
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return 1 / float(brentq(slope, low, high))


def rescale(probabilities: np.ndarray, factor: float) -> np.ndarray:
    """Class probabilities, had the logits been multiplied by a factor.

    Args:
        probabilities: Float array of shape `(n, K)`.
        factor: Above 0. The temperature takes its own effect back.

    Returns:
        float64 array of shape `(n, K)`.
    """
    return softmax(factor * log_probabilities(probabilities), axis=-1)


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, of 1.2e-38 where a probability is smaller than that.

    Args:
        probabilities: Float array of any shape.

    Returns:
        float64 array of the same shape.
    """
    return np.log(np.maximum(np.asarray(probabilities, "float64"), _LEAST))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 15
) -> list[dict]:
    """How often a classifier is right, by how sure it says it is.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.
        bins: Number of intervals of equal width that `(0, 1]` is cut into;
            the lower end of each belongs to the one before.

    Returns:
        List of a dict per bin, in order: `images` and `correct`, counts, and
        `confidence`, the mean probability of the predicted class, `None` for a
        bin without images.
    """
    confidence = np.asarray(probabilities, "float64").max(axis=-1)
    correct = np.argmax(probabilities, axis=-1) == labels
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    images = np.bincount(index, minlength=bins)
    hits = np.bincount(index, weights=correct, minlength=bins)
    sums = np.bincount(index, weights=confidence, minlength=bins)
    return [
        {
            "images": int(n),
            "correct": int(hit),
            "confidence": float(total / n) if n else None,
        }
        for n, hit, total in zip(images, hits, sums, strict=True)
    ]


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 15
) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3).

    The mean, over the images, of the gap between accuracy and confidence in
    the bin that an image is in.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.
        bins: As in `reliability`.

    Returns:
        From 0, which is best, to 1.
    """
    gaps = [
        abs(entry["correct"] - entry["images"] * entry["confidence"])
        for entry in reliability(labels, probabilities, bins)
        if entry["images"]
    ]
    return float(sum(gaps) / len(labels))
