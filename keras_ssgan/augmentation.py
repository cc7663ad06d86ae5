"""Random small changes of images that leave their class as it is."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssgan import distribution
from keras_ssgan.types import Tensor

# Elastic changes are made of so many random numbers along each axis, and each
# reaches as far as a Gaussian of this standard deviation, in their distances.
_KNOTS = 7
_REACH = 0.5


def sample_affine(
    images: Tensor,
    transforms: Tensor,
    displacements: Sequence[Tensor] | None = None,
) -> Tensor:
    """Images under affine maps, with bilinear interpolation.

    Where a map leaves the image, the nearest pixel on its edge is taken: what
    `keras.ops.image.affine_transform` computes with `fill_mode="nearest"`. That
    one loops over the images in Python under PyTorch.

    Args:
        images: Float tensor of shape `(batch, height, width, channels)`, of at
            least 2x2 pixels.
        transforms: Float tensor of shape `(6, batch)`, for each image `a0, a1,
            a2, b0, b1, b2`: the output pixel `(x, y)` is taken from `(a0 x +
            a1 y + a2, b0 x + b1 y + b2)` of the input.
        displacements: Two float tensors of shape `(batch, height, width)`, what
            is added to `x` and to `y` before, in pixels. `None` for none.

    Returns:
        Tensor like `images`.
    """
    batch_size, height, width, channels = ops.shape(images)
    x = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1))
    y = ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1))
    if displacements is not None:
        x, y = x + displacements[0], y + displacements[1]
    a0, a1, a2, b0, b1, b2 = ops.unstack(ops.reshape(transforms, (6, -1, 1, 1)))
    from_x = ops.clip(a0 * x + a1 * y + a2, 0.0, width - 1.0)
    from_y = ops.clip(b0 * x + b1 * y + b2, 0.0, height - 1.0)

    # === The pixel above and left of each place, in a list of all pixels ===
    # No further than the last but one, which has neighbours.
    left = ops.minimum(ops.floor(from_x), width - 2.0)
    top = ops.minimum(ops.floor(from_y), height - 2.0)
    first = ops.reshape(ops.arange(batch_size), (-1, 1, 1)) * (height * width)
    corner = first + ops.cast(top, "int32") * width + ops.cast(left, "int32")
    pixels = ops.reshape(images, (-1, channels))

    # === Interpolation ===
    x_share = ops.expand_dims(from_x - left, axis=-1)
    y_share = ops.expand_dims(from_y - top, axis=-1)

    def between_left_and_right(corner):
        at_left = ops.take(pixels, corner, axis=0)
        at_right = ops.take(pixels, corner + 1, axis=0)
        return at_left + x_share * (at_right - at_left)

    above = between_left_and_right(corner)
    below = between_left_and_right(corner + width)
    return above + y_share * (below - above)


@keras.saving.register_keras_serializable("keras_ssgan")
class RandomAffine(keras.layers.Layer):
    """Rotates, scales, shears and moves each image a little, at random.

    The four are composed into one map, so that each image is interpolated
    once; a chain of `keras.layers.RandomRotation` and its like would blur it
    (and cost) once a layer. Each amount is drawn uniformly from `[-amount,
    amount]`, anew for every image. What comes in at the border repeats the
    image's edge.

    Elastic changes come on top: before the map each pixel is moved by random
    numbers that a Gaussian makes smooth (Simard et al. 2003, "Best Practices
    for Convolutional Neural Networks Applied to Visual Document Analysis",
    section 2).

    Args:
        rotation: float, degrees.
        scale: float, share of the size; 0.1 is from 90 % to 110 %.
        shear: float, share of the height by which the rows move apart.
        translation: float, share of the size, along both axes.
        elastic: float, standard deviation of the elastic changes along either
            axis, as a share of the size.
        seed: int. Defaults to a random one.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`.
        training: bool; the images are returned as they are if it is `False`.

    Returns:
        Tensor like `images`.
    """

    def __init__(
        self,
        rotation: float = 8.0,
        scale: float = 0.06,
        shear: float = 0.06,
        translation: float = 0.04,
        elastic: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Images come and go in float32, as the networks' input, whatever these
        # compute in.
        super().__init__(autocast=False, **kwargs)
        self.rotation = rotation
        self.scale = scale
        self.shear = shear
        self.translation = translation
        self.elastic = elastic
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training:
            return images
        batch_size, height, width, _ = ops.shape(images)
        transforms = self._draw_transforms(batch_size, height, width)
        displacements = None
        if self.elastic:
            displacements = self._draw_displacements(batch_size, height, width)
        return sample_affine(images, transforms, displacements)

    def _draw_transforms(self, batch_size, height, width):
        """Maps from output to input pixels, `(6, batch)`."""
        # One draw for all, since each has a price on a CPU.
        amounts = distribution.draw(
            keras.random.uniform,
            (6, batch_size),
            axis=1,
            minval=-1.0,
            maxval=1.0,
            seed=self.seed_generator,
        )
        angle = amounts[0] * math.radians(self.rotation)
        scale_x = 1.0 + amounts[1] * self.scale
        scale_y = 1.0 + amounts[2] * self.scale
        shear = amounts[3] * self.shear

        # === Rotation times shear times scale ===
        cos, sin = ops.cos(angle), ops.sin(angle)
        a0 = scale_x * cos
        a1 = scale_y * (shear * cos - sin)
        b0 = scale_x * sin
        b1 = scale_y * (shear * sin + cos)

        # === The centre stays where it is, but for the translation ===
        center_x, center_y = (width - 1) / 2.0, (height - 1) / 2.0
        move_x = amounts[4] * (self.translation * width)
        move_y = amounts[5] * (self.translation * height)
        a2 = center_x + move_x - a0 * center_x - a1 * center_y
        b2 = center_y + move_y - b0 * center_x - b1 * center_y
        return ops.stack([a0, a1, a2, b0, b1, b2])

    def _draw_displacements(self, batch_size, height, width):
        """Of each pixel along x and y, `(batch, height, width)` each."""
        numbers = distribution.draw(
            keras.random.normal,
            (2, batch_size, _KNOTS, _KNOTS),
            axis=1,
            seed=self.seed_generator,
        )
        along_y = ops.matmul(_smoothing(height), numbers)
        smooth = ops.matmul(along_y, _smoothing(width).T)
        x, y = ops.unstack(smooth)
        return self.elastic * width * x, self.elastic * height * y

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "rotation": self.rotation,
            "scale": self.scale,
            "shear": self.shear,
            "translation": self.translation,
            "elastic": self.elastic,
            "seed": self.seed,
        }


@functools.cache
def _smoothing(size):
    """Float32 array `(size, _KNOTS)` from random numbers to smooth ones.

    Of numbers of variance 1 it makes such ones.
    """
    distance = size / _KNOTS
    knots = (np.arange(_KNOTS) + 0.5) * distance - 0.5
    gaps = (np.arange(size)[:, np.newaxis] - knots) / (_REACH * distance)
    weights = np.exp(-np.square(gaps) / 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return weights.astype("float32")
