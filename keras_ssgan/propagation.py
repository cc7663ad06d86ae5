"""Classes of unlabelled images, from the labelled ones they look like.

A graph joins each image to those that are most like it, and the labels spread
along it (Zhou et al. 2003, "Learning with Local and Global Consistency"). In
turn with training, each helps the other: the graph is made of the features
that were learnt, and what it says is learnt (Iscen et al. 2019, "Label
Propagation for Deep Semi-supervised Learning"). A graph of the pixels goes
along, since a mistake that was learnt is in the features, too.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_ssgan.augmentation import sample_affine
from keras_ssgan.types import Tensor

# Images that each is joined to.
NEIGHBORS = 8
# The power of the cosine that is an edge's weight.
SHARPNESS = 20.0
# Share of what an image is told by its neighbours, at most; the rest is its own
# label.
ALPHA = 0.99
# From epoch to epoch, what is left of the weight of what the pixels say.
FADING = 0.5


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Labels of unlabelled images that may be wrong, with a weight each.

    Attributes:
        labels: int32 array of shape `(n,)`, class ids.
        weights: float32 array of shape `(n,)`, from 0, for no label, to 1.
    """

    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def none(cls, num_images: int) -> "PseudoLabels":
        """Those of images that nothing is known of yet.

        Args:
            num_images: int, n.

        Returns:
            `PseudoLabels` of weight 0.
        """
        return cls(np.zeros(num_images, "int32"), np.zeros(num_images, "f4"))

    def update(self, rows: np.ndarray, probabilities: np.ndarray) -> None:
        """Sets those of some images, in place.

        An image's weight is how far its probabilities are from saying nothing:
        1 less their entropy, as a share of the largest there can be (Iscen et
        al. 2019, equation 11).

        Args:
            rows: Integers of shape `(m,)`, which images.
            probabilities: Float array of shape `(m, K)`.
        """
        entropy = -np.sum(
            probabilities * np.log(np.maximum(probabilities, 1e-12)), axis=1
        )
        self.labels[rows] = probabilities.argmax(axis=1)
        weights = 1 - entropy / np.log(probabilities.shape[1])
        self.weights[rows] = np.clip(weights, 0, 1)


def propagate(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Spreads labels along a graph of nearest neighbours.

    Each image is joined to the 8 that are most like it; an edge weighs the
    20th power of the cosine between the two. A label goes 99 % of the way from
    an image to the next, or less where labels are many: as much less as half
    their share of the images, since others are near then, and ways that lead
    far lead astray.

    Args:
        features: Float array of shape `(n, d)`. Compared are directions, by
            the cosine between them.
        labels: Integers of shape `(n,)`, class ids or -1 for no label.
        num_classes: int, K.

    Returns:
        float32 array of shape `(n, K)`, probabilities. Uniform for an image
        that no label reaches.
    """
    # Here, since it takes a second to import.
    from sklearn.semi_supervised import LabelSpreading

    spreading = LabelSpreading(
        kernel=lambda features, _: _graph(features),
        alpha=min(ALPHA, 1 - np.mean(labels >= 0) / 2),
        # Changes fall by alpha each time: more than it takes.
        max_iter=3000,
    )
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    spreading.fit(features / np.maximum(lengths, 1e-12), labels)
    probabilities = np.zeros((len(features), num_classes), "float32")
    probabilities[:, spreading.classes_] = spreading.label_distributions_
    probabilities[~probabilities.any(axis=1)] = 1 / num_classes
    return probabilities


def _graph(features):
    """Symmetric weights of the edges, a sparse matrix `(n, n)`."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(
        n_neighbors=min(NEIGHBORS, len(features) - 1), algorithm="brute"
    )
    graph = search.fit(features).kneighbors_graph(mode="distance")
    # Of vectors of length 1.
    cosines = 1 - np.square(graph.data) / 2
    graph.data = np.maximum(cosines, 0) ** SHARPNESS
    return graph + graph.T


def combine(learnt: np.ndarray, seen: np.ndarray, epoch: int) -> np.ndarray:
    """Joins what the graph of features says with what that of pixels does.

    The product, as of two that judge for themselves. What was learnt wrong is
    in the features, and the pixels correct it; but less and less, since they
    are wrong more often once the features are good.

    Args:
        learnt: Float array of shape `(n, K)`, probabilities by features.
        seen: Float array of shape `(n, K)`, those by pixels, that are taken to
            the power `0.5 ** epoch`.
        epoch: int, from 0.

    Returns:
        Float array of shape `(n, K)`, probabilities.
    """
    # A class that the pixels rule out does not stay so: 0 would not fade.
    product = learnt * np.maximum(seen, 1e-6) ** (FADING**epoch)
    return product / product.sum(axis=1, keepdims=True)


def upright(images: Tensor) -> Tensor:
    """Shears and moves each image so that what is light stands upright.

    Digits are written at different slants, and are much more alike without
    (LeCun et al. 1998, "Gradient-based Learning Applied to Document
    Recognition", section III.C: deslanting). The centre of mass comes to the
    centre, and the principal direction, from row to row, upright.

    Args:
        images: Float tensor of shape `(batch, height, width, channels)` in
            `[-1, 1]`, light on black.

    Returns:
        Tensor like `images`.
    """
    _, height, width, _ = images.shape
    mass = ops.mean(images, axis=-1) + 1 + keras.config.epsilon()
    mass = mass / ops.sum(mass, axis=(1, 2), keepdims=True)
    y = ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1))
    x = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1))

    def mean(values):
        return ops.sum(mass * values, axis=(1, 2), keepdims=True)

    center_y, center_x = mean(y), mean(x)
    variance = mean(ops.square(y - center_y))
    slant = mean((y - center_y) * (x - center_x)) / variance
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    zeros = ops.zeros_like(slant)
    transforms = ops.concatenate(
        [
            ops.reshape(amount, (1, -1))
            for amount in (
                zeros + 1,
                slant,
                center_x - middle_x - slant * middle_y,
                zeros,
                zeros + 1,
                center_y - middle_y,
            )
        ]
    )
    return sample_affine(images, transforms)


def image_features(images: Tensor) -> Tensor:
    """What images have in common before anything is learnt: their pixels.

    Args:
        images: As in `upright`.

    Returns:
        Float tensor of shape `(batch, any)`: the upright images at half their
        size, in `[0, 1]`.
    """
    half = ops.average_pool(upright(images), 2, strides=2, padding="same")
    return ops.reshape((half + 1) / 2, (ops.shape(half)[0], -1))
