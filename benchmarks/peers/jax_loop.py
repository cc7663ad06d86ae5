"""A loop in plain JAX: pure functions, one `jax.jit`."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.inputs import generator_rows
from benchmarks.peers import LOSSES
from benchmarks.peers import Loop

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Peer(Loop):
    def __init__(self, settings, weights, dtype):
        networks = [split(blocks) for blocks in weights]
        self.state = jax.tree.map(
            # Copies, since the state is donated.
            lambda x: jnp.array(x, copy=True),
            {
                "parameters": [parameters for parameters, _ in networks],
                "statistics": [statistics for _, statistics in networks],
                "adams": [adam_state(parameters) for parameters, _ in networks],
                "key": jax.random.key(0),
            },
        )
        self.compiled = jax.jit(
            functools.partial(train_step, settings, dtype), donate_argnums=0
        )

    def step(self, images, labels, latents):
        self.state, losses = self.compiled(self.state, images, labels, latents)
        return losses

    def sync(self):
        jax.block_until_ready(self.state)


def train_step(settings, dtype, state, images, labels, latents):
    """The new state, and the losses by name."""
    key, *keys = jax.random.split(state["key"], 6)
    size = settings.image_size
    images = images[..., None].astype("float32") / 127.5 - 1.0
    images = jax.image.resize(
        images, (len(images), size, size, 1), "bilinear", antialias=False
    )
    d_parameters, g_parameters = state["parameters"]
    d_statistics, g_statistics = state["statistics"]
    d_adam, g_adam = state["adams"]
    discriminate_with = functools.partial(discriminate, settings, dtype)

    fakes, g_pullback, g_statistics = jax.vjp(
        lambda parameters: generate(
            settings, dtype, parameters, g_statistics, latents, keys[0]
        ),
        g_parameters,
        has_aux=True,
    )

    def discriminator_loss(parameters):
        _, logits, statistics = discriminate_with(
            parameters, d_statistics, images, keys[1]
        )
        _, fake_logits, statistics = discriminate_with(
            parameters, statistics, fakes, keys[2]
        )
        losses = discriminator_losses(logits, fake_logits, labels)
        return sum(losses), (losses, statistics)

    gradients, (d_losses, new_d_statistics) = jax.grad(
        discriminator_loss, has_aux=True
    )(d_parameters)
    d_parameters, d_adam = adam(
        d_parameters, gradients, d_adam, settings.learning_rate
    )
    features, _, _ = discriminate_with(
        d_parameters, d_statistics, images, keys[3]
    )

    def generator_loss(fakes):
        fake_features, fake_logits, _ = discriminate_with(
            d_parameters, d_statistics, fakes, keys[4]
        )
        losses = generator_losses(features, fake_features, fake_logits)
        return sum(losses), losses

    cotangent, g_losses = jax.grad(generator_loss, has_aux=True)(fakes)
    (gradients,) = g_pullback(cotangent)
    g_parameters, g_adam = adam(
        g_parameters, gradients, g_adam, settings.learning_rate
    )
    state = {
        "parameters": [d_parameters, g_parameters],
        "statistics": [new_d_statistics, g_statistics],
        "adams": [d_adam, g_adam],
        "key": key,
    }
    return state, dict(zip(LOSSES, d_losses + g_losses, strict=True))


# === Networks ===


def split(blocks):
    """Blocks to their parameters and their moving statistics."""
    parts = ({}, {})
    for i, block in enumerate(blocks):
        for name, array in block.items():
            part = parts[name.startswith("moving")]
            part.setdefault(i, {})[name] = array
    return parts


def normalize(x, block, statistics, momentum):
    """Batch normalisation, and the new moving statistics."""
    wide = x.astype("float32")
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    scale = block["gamma"] * lax.rsqrt(variance + 1e-3)
    y = (wide - mean) * scale + block["beta"]
    new = {"moving_mean": mean, "moving_variance": variance}
    new_statistics = {
        name: momentum * statistics[name] + (1 - momentum) * value
        for name, value in new.items()
    }
    return y.astype(x.dtype), new_statistics


def drop(x, rate, key):
    if rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def discriminate(settings, dtype, parameters, statistics, images, key):
    """Features, logits, and the new moving statistics."""
    last = len(settings.discriminator) - 1
    x, new_statistics = images, {}
    for i, (_, _, strides, padding) in enumerate(settings.discriminator):
        block = parameters[i]
        kernel = block["kernel"].astype(dtype)
        x = lax.conv_general_dilated(
            x.astype(dtype),
            kernel,
            (strides, strides),
            padding.upper(),
            dimension_numbers=LAYOUT,
        )
        x = jax.nn.leaky_relu(x + block["bias"].astype(dtype), 0.2)
        if i in statistics:
            x, new_statistics[i] = normalize(
                x, block, statistics[i], settings.momentum
            )
        if i < last:
            rate = settings.discriminator_dropout
            x = drop(x, rate, jax.random.fold_in(key, i))
    features = x.astype("float32").mean((1, 2))
    dense = parameters[last + 1]
    logits = features @ dense["kernel"] + dense["bias"]
    if settings.tied_logit:
        fake = -jax.nn.logsumexp(logits, -1, keepdims=True)
        logits = jnp.concatenate([fake, logits], -1)
    return features, logits, new_statistics


def generate(settings, dtype, parameters, statistics, latents, key):
    """Images, and the new moving statistics."""
    x, new_statistics = latents, {}
    for i, (_, _, strides, padding) in enumerate(generator_rows(settings)):
        block = parameters[i]
        x = lax.conv_transpose(
            x.astype(dtype),
            block["kernel"].astype(dtype),
            (strides, strides),
            padding.upper(),
            dimension_numbers=LAYOUT,
            transpose_kernel=True,
        )
        x = x + block["bias"].astype(dtype)
        if i in statistics:
            x, new_statistics[i] = normalize(
                jax.nn.relu(x), block, statistics[i], settings.momentum
            )
            rate = settings.generator_dropout
            x = drop(x, rate, jax.random.fold_in(key, i))
    return jnp.tanh(x.astype("float32")), new_statistics


# === Losses ===


def discriminator_losses(logits, fake_logits, labels):
    """Supervised, real and fake."""
    mask = labels >= 0
    probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(probabilities, labels[:, None] + 1, 1)[:, 0]
    return [
        -jnp.sum(mask * chosen) / jnp.maximum(jnp.sum(mask), 1),
        jax.nn.softplus(logits[:, 0]).mean(),
        jax.nn.softplus(-fake_logits[:, 0]).mean(),
    ]


def generator_losses(features, fake_features, fake_logits):
    """Adversarial and feature matching."""
    gap = features.mean(0) - fake_features.mean(0)
    return [jax.nn.softplus(fake_logits[:, 0]).mean(), (gap**2).mean()]


# === Adam ===


def adam_state(parameters):
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return {"step": jnp.zeros(()), "first": zeros, "second": zeros}


def adam(parameters, gradients, state, learning_rate):
    """The new parameters and the new state."""
    step = state["step"] + 1
    rate = learning_rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.5**step)
    first = jax.tree.map(
        lambda m, g: 0.5 * m + 0.5 * g, state["first"], gradients
    )
    second = jax.tree.map(
        lambda v, g: 0.999 * v + 0.001 * g**2, state["second"], gradients
    )
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7),
        parameters,
        first,
        second,
    )
    return parameters, {"step": step, "first": first, "second": second}
