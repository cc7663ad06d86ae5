"""Keras' layers, phrased so that no backend is slow on a CPU.

They compute what the stock layers compute, from weights of the same shapes.
`stock` gives the stock layer of each, for models that leave this package.
"""

import math

import keras
from keras import ops

from keras_ssgan import autodiff
from keras_ssgan.types import Tensor


@keras.saving.register_keras_serializable("keras_ssgan")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, as a matrix product where pixels are few.

    That is where windows lie side by side, and where a valid convolution has
    an output smaller than its window. There XLA's gradients on a CPU take up to
    100 times as long, and PyTorch copies the weights to transpose them.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        size, strides = kernel.shape[0], self.strides[0]
        height, width = inputs.shape[1:3]
        plain = self.groups == 1 and _is_plain(self, inputs)
        if plain and size == strides and not (height % size or width % size):
            return _convolve_tiles(inputs, kernel)
        if (
            plain
            and self.padding == "valid"
            and strides == 1
            and size <= min(height, width)
            and max(height, width) < 2 * size - 1
        ):
            return _convolve_windows(inputs, kernel)
        return super().convolution_op(inputs, kernel)


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
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` from half as many random numbers.

    They are what it costs on a CPU. Each uniform number has 24 bits: the upper
    12 decide on one unit, the lower 12 on another. The rate is rounded to a
    multiple of 1/4096, and the scale follows it, so that the mean stays.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        if self.noise_shape is not None or None in inputs.shape[1:]:
            return super().call(inputs, training=training)
        kept = round((1.0 - self.rate) * 4096)
        batch_size, *shape = ops.shape(inputs)
        size = batch_size * math.prod(shape)
        uniform = 4096.0 * keras.random.uniform(
            ((size + 1) // 2,), dtype="float32", seed=self.seed_generator
        )
        upper = ops.floor(uniform)
        lower = ops.floor(4096.0 * (uniform - upper))
        numbers = ops.concatenate([upper, lower])[:size]
        scales = ops.cast(numbers < kept, inputs.dtype) * (4096.0 / kept)
        return inputs * ops.reshape(scales, (batch_size, *shape))


_STOCK = {
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
