"""Classes of unlabelled images, from the labelled ones they look like.

A graph joins each image to those that are most like it, and the labels spread
along it (Zhou et al. 2003, "Learning with Local and Global Consistency"). In
turn with training, each helps the other: the graph is made of the features
that were learnt, and what it says is learnt (Iscen et al. 2019, "Label
Propagation for Deep Semi-supervised Learning"). Unlike there, what spreads is
also what the classifier says of the unlabelled images: a group of images
without any label of its own keeps the class that it was learnt with, instead
of taking that of the nearest label.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_ssgan.augmentation import sample_affine
from keras_ssgan.types import Tensor

# Images that each is joined to.
NEIGHBORS = 8
# The power of the cosine that is an edge's weight.
SHARPNESS = 60.0
# Directions in which an image may grow lighter, for what is alike in pixels.
DIRECTIONS = 8


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
    features: np.ndarray, known: np.ndarray, alpha: float
) -> np.ndarray:
    """Spreads what is known of some images along a graph of neighbours.

    Each image is joined to the 8 that are most like it; an edge weighs the
    60th power of the cosine between the two. In the end each class has the
    share of all images that it has of what is known (class mass normalisation:
    Zhu et al. 2003, "Semi-Supervised Learning Using Gaussian Fields and
    Harmonic Functions", section 4); otherwise the class whose few labels
    happen to have the most neighbours would take the others' images.

    Args:
        features: Float array of shape `(n, d)`. Compared are directions, by
            the cosine between them.
        known: Float array of shape `(n, K)`, probabilities of the classes, or
            zeros where nothing is known.
        alpha: float in (0, 1), share of what an image is told by its
            neighbours; the rest is what is known of it.

    Returns:
        float32 array of shape `(n, K)`, probabilities. Uniform for an image
        that nothing reaches.
    """
    # Here, since they take a second to import.
    from scipy import sparse
    from scipy.sparse import csgraph
    from scipy.sparse.linalg import cg

    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    graph = _graph(features / np.maximum(lengths, 1e-12))
    # I - alpha S, since the Laplacian is I - S.
    system = (1 - alpha) * sparse.eye_array(len(features)) + (
        alpha * csgraph.laplacian(graph, normed=True)
    )
    spread = [cg(system, column, rtol=1e-8)[0] for column in known.T]
    # The last digits may be below 0.
    probabilities = np.maximum(np.stack(spread, axis=1), 0)
    mass = np.maximum(probabilities.sum(axis=0), 1e-12)
    probabilities *= known.sum(axis=0) / mass
    probabilities[~probabilities.any(axis=1)] = 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype("float32")


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
    """What images have in common before anything is learnt: their strokes.

    Histograms of oriented gradients (Dalal & Triggs 2005) of the upright
    images: how much lighter the pixels of a window grow, by 8 directions. A
    window is two sevenths of the image high and wide, and the next begins in
    its middle.

    Args:
        images: As in `upright`.

    Returns:
        Float tensor of shape `(batch, any)`, at least 0.
    """
    images = upright(images)
    down = images[:, 2:, 1:-1] - images[:, :-2, 1:-1]
    right = images[:, 1:-1, 2:] - images[:, 1:-1, :-2]
    strength = ops.sqrt(ops.square(down) + ops.square(right))
    strength = ops.maximum(strength, keras.config.epsilon())
    angles = [2 * math.pi * i / DIRECTIONS for i in range(DIRECTIONS)]
    gradients = ops.concatenate(
        [
            # One direction fades into the next.
            strength
            * ops.relu((math.cos(a) * right + math.sin(a) * down) / strength)
            ** 4
            for a in angles
        ],
        axis=-1,
    )
    steps = [max(1, length // 7) for length in images.shape[1:3]]
    windows = ops.average_pool(
        gradients,
        tuple(2 * step for step in steps),
        strides=tuple(steps),
        data_format="channels_last",
    )
    return ops.reshape(windows, (ops.shape(windows)[0], -1))
