"""Keras' layers, phrased so that no backend is slow on a CPU.

They compute what the stock layers compute, from weights of the same shapes.
`stock` gives the stock layer of each, for models that leave this package.
"""

import math

import keras
from keras import ops

from keras_ssgan import autodiff
from keras_ssgan import distribution
from keras_ssgan.types import Tensor


@keras.saving.register_keras_serializable("keras_ssgan")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, as a matrix product where pixels are few.

    That is where windows lie side by side, and where a valid convolution has
    an output smaller than its window. There XLA's gradients on a CPU take up to
    100 times as long, and PyTorch copies the weights to transpose them.
    Elsewhere it is `autodiff.conv`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        if self.groups > 1 or not _is_plain(self, inputs):
            return super().call(inputs)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        outputs = self._convolve(inputs, kernel)
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)

    def _convolve(self, inputs, kernel):
        size, strides = kernel.shape[0], self.strides[0]
        height, width = inputs.shape[1:3]
        if size == strides and not (height % size or width % size):
            return _convolve_tiles(inputs, kernel)
        if (
            self.padding == "valid"
            and strides == 1
            and size <= min(height, width)
            and max(height, width) < 2 * size - 1
        ):
            return _convolve_windows(inputs, kernel)
        return autodiff.conv(inputs, kernel, self.strides, self.padding)


@keras.saving.register_keras_serializable("keras_ssgan")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, as a matrix product without overlap.

    That is where the windows lie side by side, and where there is one pixel.
    Elsewhere it is `autodiff.conv_transpose`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        size, strides = self.kernel_size[0], self.strides[0]
        if self.output_padding is not None or not _is_plain(self, inputs):
            return super().call(inputs)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        one_pixel = inputs.shape[1:3] == (1, 1) and self.padding == "valid"
        if size == strides or (one_pixel and size > strides):
            outputs = _spread_tiles(inputs, kernel)
        else:
            outputs = autodiff.conv_transpose(
                inputs, kernel, self.strides, self.padding
            )
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)


@keras.saving.register_keras_serializable("keras_ssgan")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, quicker, and of the global batch.

    In training it is one operation where the backend has one: Keras computes
    the moments, and what follows from them, in a pass over the images each.
    Where replicas run the step apart, the moments are those of all;
    `synchronized` of Keras does so on TensorFlow alone, and cannot be saved for
    another backend.
    """

    def call(
        self, inputs: Tensor, training: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        if training and self.trainable:
            if distribution.num_replicas() > 1:
                return self._normalize_global_batch(inputs)
            if autodiff.HAS_FUSED_BATCH_NORM and self._is_plain(inputs, mask):
                return self._normalize_batch(inputs)
        return super().call(inputs, training=training, mask=mask)

    def _normalize_batch(self, inputs):
        statistics = (self.moving_mean, self.moving_variance)
        weights = [v.value for v in (self.gamma, self.beta, *statistics)]
        outputs, *new_statistics = autodiff.fused_batch_norm(
            inputs, *weights, self.momentum, self.epsilon
        )
        for variable, value in zip(statistics, new_statistics, strict=True):
            variable.assign(value)
        return outputs

    def _normalize_global_batch(self, inputs):
        x = ops.cast(inputs, "float32")
        axes = [i for i in range(len(x.shape)) if i != self.axis % len(x.shape)]
        mean, variance = distribution.moments(x, axes)
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(
                moving * self.momentum + value * (1.0 - self.momentum)
            )
        outputs = ops.batch_normalization(
            x, mean, variance, self.axis, self.beta, self.gamma, self.epsilon
        )
        return ops.cast(outputs, self.compute_dtype)

    def _is_plain(self, inputs, mask):
        """Whether the inputs are images, each channel normalised for itself."""
        pixels = tuple(inputs.shape[1:-1])
        return (
            mask is None
            and len(pixels) == 2
            and self.axis in (-1, 3)
            and None not in pixels
            and math.prod(pixels) > 1
            and self.scale
            and self.center
            and not (self.renorm or self.synchronized)
            and self.variable_dtype == "float32"
        )


@keras.saving.register_keras_serializable("keras_ssgan")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` from 16 random bits for each unit.

    Random numbers are what it costs on a CPU. The rate is rounded to a multiple
    of 1/65536, and the scale follows it, so that the mean stays.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        kept = round((1.0 - self.rate) * 2**16)
        if (
            kept == 0
            or self.noise_shape is not None
            or None in inputs.shape[1:]
        ):
            return super().call(inputs, training=training)
        scales = autodiff.random_bits(
            ops.shape(inputs),
            kept,
            distribution.replica_seed(self.seed_generator),
        )
        scales *= 2**16 / kept
        return inputs * ops.cast(scales, inputs.dtype)


_STOCK = {
    BatchNormalization: keras.layers.BatchNormalization,
    Conv2D: keras.layers.Conv2D,
    Conv2DTranspose: keras.layers.Conv2DTranspose,
    Dropout: keras.layers.Dropout,
}


def stock(layer: keras.Layer) -> keras.Layer:
    """A fresh layer like this one, of Keras' own class.

    Args:
        layer: `keras.Layer`, of this module or any other.

    Returns:
        `keras.Layer` without weights yet.
    """
    return _STOCK.get(type(layer), type(layer)).from_config(layer.get_config())


# === Convolutions as matrix products ===


def _is_plain(layer, inputs):
    """Whether windows are square and solid, and the images' size is known."""
    return (
        layer.data_format == "channels_last"
        and layer.dilation_rate == (1, 1)
        and len(set(layer.kernel_size)) == len(set(layer.strides)) == 1
        and None not in inputs.shape[1:3]
    )


def _convolve_tiles(x, kernel):
    """Convolution whose stride is its window's size."""
    _, height, width, channels = x.shape
    size, _, _, filters = kernel.shape
    rows, columns = height // size, width // size
    x = ops.reshape(x, (-1, rows, size, columns, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return _multiply(x, kernel, (rows, columns, filters))


def _convolve_windows(x, kernel):
    """Valid convolution with stride 1."""
    size = kernel.shape[0]
    rows, columns = x.shape[1] - size + 1, x.shape[2] - size + 1
    windows = [
        x[:, i : i + rows, j : j + columns]
        for i in range(size)
        for j in range(size)
    ]
    windows = ops.concatenate(windows, axis=-1)
    return _multiply(windows, kernel, (rows, columns, kernel.shape[-1]))


def _multiply(windows, kernel, shape):
    matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
    windows = ops.reshape(windows, (-1, matrix.shape[0]))
    return ops.reshape(ops.matmul(windows, matrix), (-1, *shape))


def _spread_tiles(x, kernel):
    """Transposed convolution whose windows do not overlap."""
    _, height, width, channels = x.shape
    size, _, filters, _ = kernel.shape
    matrix = ops.transpose(ops.reshape(kernel, (-1, channels)))
    y = ops.matmul(ops.reshape(x, (-1, channels)), matrix)
    y = ops.reshape(y, (-1, height, width, size, size, filters))
    y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
    return ops.reshape(y, (-1, height * size, width * size, filters))
