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
    """`keras.layers.Conv2D`, as a matrix product where that is quicker.

    That is where windows lie side by side, and where a valid convolution has
    an output smaller than its window: there XLA's gradients on a CPU take up to
    100 times as long, and PyTorch copies the weights to transpose them. With
    XLA also where a window has no more numbers than there are filters, as one
    of a grey image. Windows of one pixel leave out what lies between them, at
    which PyTorch 2.13 makes wrong gradients or crashes on a CPU. Elsewhere it
    is `autodiff.conv`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        if self.groups > 1 or not _is_plain(self, inputs):
            return super().call(inputs)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        stride = self.strides[0]
        if self.kernel_size == (1, 1):
            pixels = inputs[:, ::stride, ::stride]
            outputs = _convolve(pixels, kernel, 1, self.padding)
        elif self._is_product(inputs):
            outputs = _convolve(inputs, kernel, stride, self.padding)
        else:
            outputs = autodiff.conv(inputs, kernel, self.strides, self.padding)
        return _finish(self, outputs)

    def _is_product(self, inputs):
        size, stride = self.kernel_size[0], self.strides[0]
        _, height, width, channels = inputs.shape
        if size % stride or height % stride or width % stride:
            return False
        few_outputs = (
            self.padding == "valid"
            and stride == 1
            and size <= min(height, width)
            and max(height, width) < 2 * size - 1
        )
        small_windows = (
            autodiff.SMALL_WINDOWS_AS_PRODUCTS
            and self.padding == "same"
            and size**2 * channels <= self.filters
        )
        return size == stride or few_outputs or small_windows


@keras.saving.register_keras_serializable("keras_ssgan")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, as a matrix product where it is quicker.

    That is where the windows lie side by side, where there is one pixel, and
    with XLA where a window has far fewer numbers than a pixel has channels, as
    one of a grey image. Elsewhere it is `autodiff.conv_transpose`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        if self.output_padding is not None or not _is_plain(self, inputs):
            return super().call(inputs)
        size, stride = self.kernel_size[0], self.strides[0]
        kernel = ops.cast(self.kernel, self.compute_dtype)
        one_pixel = inputs.shape[1:3] == (1, 1) and self.padding == "valid"
        small_windows = (
            autodiff.SMALL_WINDOWS_AS_PRODUCTS
            and self.padding == "same"
            and size % stride == 0
            and 4 * size**2 * self.filters <= inputs.shape[-1]
        )
        if one_pixel and size > stride:
            outputs = _spread(inputs, kernel, size)
        elif size == stride or small_windows:
            outputs = _spread(inputs, kernel, stride)
        else:
            outputs = autodiff.conv_transpose(
                inputs, kernel, self.strides, self.padding
            )
        return _finish(self, outputs)


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


def _finish(layer, outputs):
    """Adds the bias and activates, as the stock layers do."""
    if layer.use_bias:
        # Not in place: on a view PyTorch copies the gradients of that.
        outputs = outputs + layer.bias
    return layer.activation(outputs)


def _convolve(x, kernel, stride, padding):
    """Convolution whose windows are `tiles` x `tiles` tiles of the stride."""
    size, _, channels, filters = kernel.shape
    tiles = size // stride
    # === Windows ===
    if padding == "same" and size > stride:
        before = (size - stride) // 2
        border = (before, size - stride - before)
        x = ops.pad(x, ((0, 0), border, border, (0, 0)))
    rows, columns = x.shape[1] // stride, x.shape[2] // stride
    x = ops.reshape(x, (-1, rows, stride, columns, stride, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, rows, columns, stride**2 * channels))
    rows, columns = rows - tiles + 1, columns - tiles + 1
    if tiles > 1:
        windows = [
            x[:, i : i + rows, j : j + columns]
            for i in range(tiles)
            for j in range(tiles)
        ]
        x = ops.concatenate(windows, axis=-1)

    # === Product ===
    shape = (tiles, stride, tiles, stride, channels, filters)
    matrix = ops.transpose(ops.reshape(kernel, shape), (0, 2, 1, 3, 4, 5))
    matrix = ops.reshape(matrix, (-1, filters))
    y = ops.matmul(ops.reshape(x, (-1, matrix.shape[0])), matrix)
    return ops.reshape(y, (-1, rows, columns, filters))


def _spread(x, kernel, stride):
    """Transposed convolution whose windows are tiles, as in `_convolve`.

    Where windows overlap, the padding is `"same"`.
    """
    _, height, width, channels = x.shape
    size, _, filters, _ = kernel.shape
    tiles = size // stride
    # === Product ===
    shape = (tiles, stride, tiles, stride, filters, channels)
    matrix = ops.transpose(ops.reshape(kernel, shape), (5, 0, 2, 1, 3, 4))
    matrix = ops.reshape(matrix, (channels, -1))
    y = ops.matmul(ops.reshape(x, (-1, channels)), matrix)
    y = ops.reshape(y, (-1, height, width, tiles**2, stride**2 * filters))

    # === Sum of the windows ===
    last = tiles - 1
    if last:
        y = sum(
            ops.pad(
                y[:, :, :, i * tiles + j],
                ((0, 0), (i, last - i), (j, last - j), (0, 0)),
            )
            for i in range(tiles)
            for j in range(tiles)
        )
    rows, columns = height + last, width + last
    y = ops.reshape(y, (-1, rows, columns, stride, stride, filters))
    y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, rows * stride, columns * stride, filters))
    top = (size - stride) // 2
    return y[:, top : top + height * stride, top : top + width * stride]
