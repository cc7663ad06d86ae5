"""Ways to draw with a generator: along a path, and class by class."""

import keras
import numpy as np

from keras_ssgan.model import SemiSupervisedGAN

_BATCH = 256

# === Paths between latents ===


def slerp(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Spherical linear interpolation between two latents.

    White 2016, "Sampling Generative Networks": normal latents of many
    dimensions all have about the same length, and points on the straight line
    between two are shorter than any that the generator was trained on; points
    on the arc are not.

    Args:
        start: Float array of any shape.
        end: Float array of the same shape.
        share: float in `[0, 1]`, how far it is from `start` to `end`.

    Returns:
        float64 array of the same shape.

    Example:
        >>> slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.5)
        array([0.70710678, 0.70710678])
    """
    start, end = np.float64(start), np.float64(end)  # type: ignore[assignment]
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    angle = np.arccos(np.clip(np.sum(start * end) / lengths, -1, 1))
    if np.sin(angle) < 1e-6:
        # There is no arc to tell from the straight line, or no single one.
        return (1 - share) * start + share * end
    return (
        np.sin((1 - share) * angle) * start + np.sin(share * angle) * end
    ) / np.sin(angle)


def closed_path(stops: np.ndarray, steps: int) -> np.ndarray:
    """Goes from each latent to the next, and from the last to the first.

    Args:
        stops: Float array of shape `(n, 1, 1, latent_dim)`.
        steps: int, points from one stop up to, but without, the next.

    Returns:
        float32 array of shape `(n * steps, 1, 1, latent_dim)`; its rows 0,
        `steps`, `2 * steps`, … are the stops.
    """
    return np.array(
        [
            slerp(start, end, step / steps)
            for start, end in zip(
                stops, np.roll(stops, -1, axis=0), strict=True
            )
            for step in range(steps)
        ],
        "float32",
    )


# === Classes ===


def generate_by_class(
    gan: SemiSupervisedGAN,
    num_images: int,
    seed: int | np.random.Generator | None = None,
    confidence: float = 0.9,
    most_draws: int = 10_000,
    classifier: keras.Model | None = None,
) -> tuple[list[np.ndarray], int]:
    """Draws until there are enough images of each class.

    The class is what the classifier says. Nothing is chosen beyond
    that: the first images of a class that it is sure of are taken.

    Args:
        gan: A `SemiSupervisedGAN`.
        num_images: int, images of each class.
        seed: As in `SemiSupervisedGAN.sample_latents`.
        confidence: float, probability of its class from which on an image
            counts.
        most_draws: int, images after which to give up, rounded up to whole
            batches.
        classifier: Model as from `SemiSupervisedGAN.classifier`, which may be
            calibrated; the GAN's own otherwise.

    Returns:
        Images and draws. The images are a list of K uint8 arrays of shape `(n,
        *image_shape)`, with `n` at most `num_images`, and 0 for a class that
        the generator does not draw. The draws are an int.
    """
    classifier = classifier or gan
    rng = np.random.default_rng(seed)
    found = [np.empty((0, *gan.image_shape), "uint8")] * gan.num_classes
    draws = 0
    while draws < most_draws and min(map(len, found)) < num_images:
        images = gan.generate(_BATCH, seed=rng, batch_size=_BATCH)
        draws += len(images)
        probabilities = classifier.predict(images, batch_size=_BATCH, verbose=0)
        classes = np.where(
            probabilities.max(axis=1) >= confidence,
            probabilities.argmax(axis=1),
            -1,
        )
        found = [
            np.concatenate([some, images[classes == label]])[:num_images]
            for label, some in enumerate(found)
        ]
    return found, draws
