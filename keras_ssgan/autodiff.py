"""Gradients, and what a backend is slow at, on whichever backend Keras runs.

Of training, it is here and in `distribution.py` alone that the package knows
which that is. Keras has
no backend-neutral way to differentiate. Three functions are enough for a
training step that is written once:

- `vjp`: the value of a function, and a pullback for its gradients;
- `apply_gradients`: one step of an optimizer;
- `trainer_step`: gives `step(self, data)` the signature that Keras' trainer
  calls on the running backend.

The training state on JAX is a `keras.StatelessScope` that `trainer_step` opens:
reading a variable inside it gives its value in the step, assigning to one is
recorded, and the scope's end hands everything back to the trainer.
`keeps_state` guards what the trainer holds meanwhile.

`conv`, `conv_transpose`, `fused_batch_norm` and `random_bits` compute what
Keras' own operations do, by what is quick on the backend.
"""

import functools
import itertools
import math

import keras
from keras import ops

from keras_ssgan.distribution import BACKEND
from keras_ssgan.distribution import mean_gradients

# The others run the Python of a step once, to compile it.
RUNS_IN_PYTHON = BACKEND == "torch"


def _tensorflow_vjp(fn, variables, *inputs):
    import tensorflow as tf

    sources = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        tape.watch(inputs)
        output, aux = fn(*inputs)

    def pullback(cotangent):
        gradients = tape.gradient(
            output,
            [*sources, *inputs],
            output_gradients=cotangent,
            unconnected_gradients="zero",
        )
        return gradients[: len(sources)], gradients[len(sources) :]

    return output, pullback, aux


def _torch_vjp(fn, variables, *inputs):
    import torch

    sources = [variable.value for variable in variables]
    inputs = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        output, aux = fn(*inputs)

    def pullback(cotangent):
        # PyTorch does not take none, as of a frozen network.
        if not sources and not inputs:
            return [], []
        gradients = list(
            torch.autograd.grad(
                output,
                [*sources, *inputs],
                grad_outputs=cotangent,
                allow_unused=True,
                materialize_grads=True,
            )
        )
        return gradients[: len(sources)], gradients[len(sources) :]

    return output.detach(), pullback, aux


def _jax_vjp(fn, variables, *inputs):
    import jax

    with keras.StatelessScope() as probe:
        outer = probe.original_scope
    if outer is None:
        raise RuntimeError(
            "On JAX `vjp` runs inside a `keras.StatelessScope` over all state "
            "that `fn` reads; `trainer_step` opens one."
        )

    def stateless_fn(values, inputs):
        with keras.StatelessScope() as scope:
            # Without this, variables that `fn` reads and is not differentiated
            # by would have their value from before the step.
            scope.state_mapping.update(outer.state_mapping)
            for variable, value in zip(variables, values, strict=True):
                scope.add_update((variable, value))
            before = dict(scope.state_mapping)
            output, aux = fn(*inputs)
        updates = {
            key: value
            for key, value in scope.state_mapping.items()
            if value is not before.get(key)
        }
        return output, (aux, updates)

    values = [variable.value for variable in variables]
    output, jax_pullback, (aux, updates) = jax.vjp(
        stateless_fn, values, list(inputs), has_aux=True
    )
    outer.state_mapping.update(updates)
    return output, jax_pullback, aux


_VJPS = {
    "tensorflow": _tensorflow_vjp,
    "torch": _torch_vjp,
    "jax": _jax_vjp,
}


def vjp(fn, variables, *inputs):
    """Value of a function and the pullback to its gradients.

    Gradients are computed with respect to exactly the given variables and
    inputs, and to nothing else that `fn` uses. What `fn` assigns (moving
    statistics, random seeds) stays assigned.

    Args:
        fn: Callable `fn(*inputs) -> (output, aux)`; `output` is a tensor,
            `aux` any structure of tensors, passed through undifferentiated.
        variables: List of trainable `keras.Variable`s; the gradient of one
            that `output` does not depend on is 0.
        inputs: Float tensors.

    Returns:
        `(output, pullback, aux)`. `pullback(cotangent)`, to be called at most
        once with a tensor like `output`, returns two lists: the gradients with
        respect to the variables, and those with respect to the inputs.

    Example:

    ```python
    loss, pullback, _ = vjp(
        lambda x: (keras.ops.sum(layer(x)), None), layer.trainable_variables, x
    )
    variable_gradients, (input_gradient,) = pullback(keras.ops.ones(()))
    ```
    """
    return _VJPS[BACKEND](fn, variables, *inputs)


def apply_gradients(optimizer, gradients, variables):
    """Updates the variables by one step of the optimizer.

    Args:
        optimizer: A built `keras.optimizers.Optimizer`.
        gradients: List of tensors; those of this replica, where there are
            several.
        variables: The trainable `keras.Variable`s it was built with.
    """
    if BACKEND != "jax":
        optimizer.apply(mean_gradients(gradients), variables)
        return
    # `LossScaleOptimizer.apply` assigns inside of a `cond`, which on JAX would
    # let tracers escape; its stateless form does not.
    new_values, new_optimizer_values = optimizer.stateless_apply(
        [variable.value for variable in optimizer.variables],
        list(gradients),
        [variable.value for variable in variables],
    )
    for variable, value in zip(variables, new_values, strict=True):
        variable.assign(value)
    for variable, value in zip(
        optimizer.variables, new_optimizer_values, strict=True
    ):
        variable.assign(value)


# Whatever Keras is told of other models.
_conv = functools.partial(ops.conv, data_format="channels_last")
_conv_transpose = functools.partial(
    ops.conv_transpose, data_format="channels_last"
)


@functools.cache
def _jax_conv_transpose(strides, padding):
    """Transposed convolution with gradients that XLA is quick at on a CPU."""
    import jax

    def forward(x, kernel):
        return _conv_transpose(x, kernel, strides, padding), (x, kernel)

    def backward(residuals, cotangent):
        x, kernel = residuals
        # The transpose of a convolution, so its gradients are those of the
        # convolution: XLA's own for the kernel takes 20 times as long.
        x_gradient, pullback = jax.vjp(
            lambda kernel: _conv(cotangent, kernel, strides, padding), kernel
        )
        return x_gradient, *pullback(x)

    transposed = jax.custom_vjp(lambda x, kernel: forward(x, kernel)[0])
    transposed.defvjp(forward, backward)
    return transposed


# XLA is slow at convolutions of one channel, on CPUs and GPUs. Elsewhere the
# gradients of images gain by it what forward passes lose.
SMALL_WINDOWS_AS_PRODUCTS = BACKEND == "jax"


def conv(x, kernel, strides, padding):
    """Convolution, channels last.

    What `keras.ops.conv` computes.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(size, size, channels, filters)`.
        strides: Tuple of two int.
        padding: `"same"` or `"valid"`.

    Returns:
        Tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if BACKEND == "torch":
        return _torch_conv(x, kernel, strides, padding)
    return _conv(x, kernel, strides, padding)


def conv_transpose(x, kernel, strides, padding):
    """Transposed convolution, channels last.

    What `keras.ops.conv_transpose` computes.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(size, size, filters, channels)`.
        strides: Tuple of two int.
        padding: `"same"` or `"valid"`.

    Returns:
        Tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if BACKEND == "jax":
        return _jax_conv_transpose(strides, padding)(x, kernel)
    if BACKEND == "torch" and kernel.shape[0] >= strides[0]:
        return _torch_conv_transpose(x, kernel, strides, padding)
    return _conv_transpose(x, kernel, strides, padding)


def _torch_conv(x, kernel, strides, padding):
    """Without Keras' copies of images to channels first."""
    from torch.nn import functional

    size = kernel.shape[0]
    before = after = (0, 0)
    if padding == "same":
        totals = [
            max((-(-length // stride) - 1) * stride + size - length, 0)
            for length, stride in zip(x.shape[1:3], strides, strict=True)
        ]
        before = tuple(total // 2 for total in totals)
        after = tuple(total - total // 2 for total in totals)
    x = x.permute(0, 3, 1, 2)
    if before != after:
        (top, left), (bottom, right) = before, after
        x = functional.pad(x, (left, right, top, bottom))
        before = (0, 0)
    return functional.conv2d(
        x, _torch_kernel(kernel), stride=strides, padding=before
    ).permute(0, 2, 3, 1)


def _torch_conv_transpose(x, kernel, strides, padding):
    """For a kernel that is not smaller than its strides."""
    from torch.nn import functional

    size, stride = kernel.shape[0], strides[0]
    _, height, width, _ = x.shape
    outputs = functional.conv_transpose2d(
        x.permute(0, 3, 1, 2),
        _torch_kernel(kernel),
        stride=strides,
        padding=(size - stride) // 2 if padding == "same" else 0,
    ).permute(0, 2, 3, 1)
    if padding == "same":
        # There is one pixel more where size and stride differ by an odd number.
        return outputs[:, : height * stride, : width * stride]
    return outputs


def _torch_kernel(kernel):
    # The numbers of a kernel are few. Those of an image, channels last, make a
    # view in an order that PyTorch computes in.
    return kernel.permute(3, 2, 0, 1).contiguous()


# XLA makes one operation of several.
HAS_FUSED_BATCH_NORM = BACKEND != "jax"


def fused_batch_norm(x, gamma, beta, mean, variance, momentum, epsilon):
    """Batch normalisation with the statistics of the batch, in one operation.

    What `keras.layers.BatchNormalization` computes in training. Only where
    `HAS_FUSED_BATCH_NORM`.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`, of at least two
            pixels, and of any float dtype.
        gamma: Float32 tensor of shape `(channels,)`.
        beta: The same.
        mean: The same, the moving mean.
        variance: The same, the moving variance.
        momentum: float, share of the moving statistics that stays.
        epsilon: float.

    Returns:
        Tensor like `x`, and what the moving mean and variance become.
    """
    normalize = _FUSED_BATCH_NORMS[BACKEND]
    return normalize(x, gamma, beta, mean, variance, momentum, epsilon)


def _tensorflow_batch_norm(x, gamma, beta, mean, variance, momentum, epsilon):
    import tensorflow as tf

    bias = _variance_bias(x)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance / bias,
        exponential_avg_factor=1 - momentum,
        epsilon=epsilon,
    )
    return outputs, mean, variance * bias


def _torch_batch_norm(x, gamma, beta, mean, variance, momentum, epsilon):
    import torch

    outputs, batch_mean, batch_variance = _torch_normalizer().apply(
        x.float(), gamma, beta, epsilon
    )
    return (
        outputs.to(x.dtype),
        torch.lerp(mean, batch_mean, 1 - momentum),
        torch.lerp(variance, batch_variance, 1 - momentum),
    )


@functools.cache
def _torch_normalizer():
    """With gradients by formula, in a few passes over the images.

    PyTorch's own, channels last, sums up one number after the other and is off
    by 1e-3 in large batches.
    """
    import torch

    axes = (0, 1, 2)

    class Normalizer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, gamma, beta, epsilon):
            mean = x.mean(axes)
            centred = x - mean
            variance = centred.square().mean(axes)
            inverse = (variance + epsilon).rsqrt()
            ctx.save_for_backward(centred, inverse, gamma)
            ctx.mark_non_differentiable(mean, variance)
            outputs = torch.addcmul(beta, centred, gamma * inverse)
            return outputs, mean, variance

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, cotangent, *_):
            centred, inverse, gamma = ctx.saved_tensors
            count = centred[..., 0].numel()
            beta_gradient = cotangent.sum(axes)
            gamma_gradient = (cotangent * centred).sum(axes) * inverse
            gradient = cotangent - beta_gradient / count
            gradient.addcmul_(
                centred, gamma_gradient * inverse / count, value=-1
            ).mul_(gamma * inverse)
            return gradient, gamma_gradient, beta_gradient, None

    return Normalizer


def _variance_bias(x):
    """The variance as Keras has it over that by Bessel's formula."""
    batch_size, height, width, _ = ops.shape(x)
    count = ops.cast(batch_size * height * width, "float32")
    return (count - 1) / count


_FUSED_BATCH_NORMS = {
    "tensorflow": _tensorflow_batch_norm,
    "torch": _torch_batch_norm,
}


def random_bits(shape, ones, seed_generator):
    """Draws bits, each of which is 1 as often as `ones` says.

    From 16 bits of the backend's generator each: its numbers, which have
    several times as many, are what this costs on a CPU.

    Args:
        shape: Tuple of int, or of scalar tensors on TensorFlow.
        ones: int from 1 to 2**16, how many of 2**16 bits are 1 on average.
        seed_generator: `keras.random.SeedGenerator`.

    Returns:
        Float32 tensor of that shape, of 0 and 1.
    """
    last = ones - 2**15 - 1
    return _RANDOM_BITS[BACKEND](shape, last, seed_generator.next())


def _tensorflow_random_bits(shape, last, seed):
    import tensorflow as tf

    count = math.prod(shape)
    words = tf.random.stateless_uniform(
        [(count + 1) // 2],
        seed=tf.cast(seed, tf.int32),
        minval=None,
        maxval=None,
        dtype=tf.int32,
    )
    numbers = tf.reshape(tf.bitcast(words, tf.int16), [-1])[:count]
    return tf.reshape(tf.cast(numbers <= last, tf.float32), shape)


def _torch_random_bits(shape, last, seed):
    import torch

    count = math.prod(shape)
    generator = torch.Generator(seed.device)
    # The two numbers of a seed as one, as Keras does it.
    generator.manual_seed(int(seed.sum()) & 0xFFFFFFFF)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=seed.device)
    words.random_(-(2**63), None, generator=generator)
    # In place, and without truth values, which are slow to make and convert.
    return words.view(torch.int16)[:count].view(shape).float().le_(last)


def _jax_random_bits(shape, last, seed):
    import jax

    # In pairs: one of 16 bits would cost as much as one of 32.
    *rest, channels = shape
    words = jax.random.bits(seed, (*rest, (channels + 1) // 2), "uint32")
    numbers = jax.lax.bitcast_convert_type(words, "int16")
    numbers = numbers.reshape(*rest, -1)[..., :channels]
    return (numbers <= last).astype("float32")


_RANDOM_BITS = {
    "tensorflow": _tensorflow_random_bits,
    "torch": _torch_random_bits,
    "jax": _jax_random_bits,
}


def _torch_step(step):
    import torch

    # Only `vjp` needs a graph; recorded outside of it, one would only cost
    # memory.
    return torch.no_grad()(step)


def _jax_step(step):
    @functools.wraps(step)
    def stateless_step(self, state, data):
        groups = _state_groups(self, len(state))
        mapping = [
            (variable, value)
            for variables, values in zip(groups, state, strict=True)
            for variable, value in zip(variables, values, strict=True)
        ]
        with keras.StatelessScope(mapping) as scope:
            logs = step(self, data)
        new_state = tuple(
            [scope.get_current_value(variable) for variable in variables]
            for variables in groups
        )
        return logs, new_state

    return stateless_step


def _state_groups(model, count):
    """The variables in each part of the state that Keras' JAX trainer holds.

    To train it has four parts; to evaluate no optimizer, and to predict no
    metrics either.
    """
    groups = [model.trainable_variables, model.non_trainable_variables]
    if count == 4:
        groups.append(model.optimizer.variables)
    if count > 2:
        groups.append(model.metrics_variables)
    return groups


def trainer_step(step):
    """Decorates a `train_step` or `test_step` that is written once.

    Args:
        step: Method `step(self, data) -> logs` of a `keras.Model` that reads
            and assigns variables directly.

    Returns:
        The method as the running backend's trainer calls it: unchanged on
        TensorFlow, without gradient recording on PyTorch, and as
        `(self, state, data) -> (logs, state)` on JAX.
    """
    adapters = {"torch": _torch_step, "jax": _jax_step}
    return adapters[BACKEND](step) if BACKEND in adapters else step


def keeps_state(model, function):
    """The function of a trainer's step, that loses nothing if it fails.

    On JAX, Keras' trainer takes all values out of their variables, and puts
    them back after a step: one that fails, since a loader could not read a
    file or the user stopped it, would leave a model without weights.

    Args:
        model: The `keras.Model` whose state it is.
        function: What `make_train_function` and its like have made.

    Returns:
        On JAX a function of the same arguments, on the others `function`.
    """
    if BACKEND != "jax":
        return function

    def step(state, iterator):
        try:
            # All that it takes: what has computed has used the state up.
            batches = list(
                itertools.islice(iterator, model.steps_per_execution)
            )
            if not batches:
                raise StopIteration
            return function(state, iter(batches))
        except BaseException:
            _put_back(model, state)
            raise

    return step


def _put_back(model, state):
    groups = _state_groups(model, len(state))
    for group, values in zip(groups, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            # A step that had begun to compute has used it up.
            if not value.is_deleted():
                variable.assign(value)
    # Or the trainer would put back what it had after the step before.
    model._jax_state_synced = True
