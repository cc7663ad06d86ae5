"""A loop in plain TensorFlow: one `tf.function`, with or without XLA."""

import tensorflow as tf

from benchmarks.inputs import generator_rows
from benchmarks.peers import LOSSES
from benchmarks.peers import Loop


class Peer(Loop):
    def __init__(self, settings, weights, dtype, jit_compile):
        self.settings = settings
        self.dtype = dtype
        self.discriminator, self.generator = map(create_variables, weights)
        self.d_adam, self.g_adam = (
            Adam(trainable(blocks), settings.learning_rate)
            for blocks in (self.discriminator, self.generator)
        )
        self.compiled = tf.function(self._step, jit_compile=jit_compile)

    def step(self, images, labels, latents):
        self.losses = self.compiled(
            tf.constant(images), tf.constant(labels), tf.constant(latents)
        )
        return self.losses

    def sync(self):
        self.losses[LOSSES[0]].numpy()

    def _step(self, images, labels, latents):
        size = self.settings.image_size
        images = tf.cast(images[..., tf.newaxis], tf.float32) / 127.5 - 1.0
        images = tf.image.resize(images, (size, size))
        d_variables = trainable(self.discriminator)
        g_variables = trainable(self.generator)

        with tf.GradientTape(watch_accessed_variables=False) as g_tape:
            g_tape.watch(g_variables)
            fakes, statistics = generate(
                self.generator, self.settings, latents, self.dtype
            )
        detached = tf.stop_gradient(fakes)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(d_variables)
            _, logits, real_statistics = self._discriminate(images)
            # The moving statistics follow the two batches one by one.
            assign(real_statistics)
            _, fake_logits, fake_statistics = self._discriminate(detached)
            d_losses = discriminator_losses(logits, fake_logits, labels)
            d_loss = sum(d_losses)
        self.d_adam.apply(tape.gradient(d_loss, d_variables))
        assign(fake_statistics + statistics)

        features, _, _ = self._discriminate(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(detached)
            fake_features, fake_logits, _ = self._discriminate(detached)
            g_losses = generator_losses(features, fake_features, fake_logits)
            g_loss = sum(g_losses)
        cotangent = tape.gradient(g_loss, detached)
        self.g_adam.apply(
            g_tape.gradient(fakes, g_variables, output_gradients=cotangent)
        )
        return dict(zip(LOSSES, d_losses + g_losses, strict=True))

    def _discriminate(self, images):
        return discriminate(
            self.discriminator, self.settings, images, self.dtype
        )


# === Networks ===


def create_variables(blocks):
    return [
        {
            name: tf.Variable(array, trainable=not name.startswith("moving"))
            for name, array in block.items()
        }
        for block in blocks
    ]


def trainable(blocks):
    return [v for block in blocks for v in block.values() if v.trainable]


def assign(updates):
    for variable, value in updates:
        variable.assign(value)


def normalize(x, block, momentum):
    """Batch normalisation, and what its moving statistics become."""
    x, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, block["gamma"], block["beta"], epsilon=1e-3, is_training=True
    )
    updates = [
        (old, momentum * old + (1 - momentum) * new)
        for old, new in (
            (block["moving_mean"], mean),
            (block["moving_variance"], variance),
        )
    ]
    return x, updates


def discriminate(blocks, settings, images, dtype):
    """Features, logits, and the updates of the moving statistics."""
    *convolutions, dense = blocks
    last = len(convolutions) - 1
    x, updates = images, []
    for i, (block, (_, _, strides, padding)) in enumerate(
        zip(convolutions, settings.discriminator, strict=True)
    ):
        kernel, bias = (
            tf.cast(block[key], dtype) for key in ("kernel", "bias")
        )
        x = tf.nn.conv2d(tf.cast(x, dtype), kernel, strides, padding.upper())
        x = tf.nn.leaky_relu(tf.nn.bias_add(x, bias), 0.2)
        if "gamma" in block:
            x, more = normalize(x, block, settings.momentum)
            updates += more
        if i < last:
            x = tf.nn.dropout(x, settings.discriminator_dropout)
    features = tf.reduce_mean(tf.cast(x, tf.float32), (1, 2))
    logits = features @ dense["kernel"] + dense["bias"]
    if settings.tied_logit:
        fake = -tf.reduce_logsumexp(logits, -1, keepdims=True)
        logits = tf.concat([fake, logits], -1)
    return features, logits, updates


def generate(blocks, settings, latents, dtype):
    """Images, and the updates of the moving statistics."""
    x, updates, size = latents, [], 1
    for block, (filters, kernel_size, strides, padding) in zip(
        blocks, generator_rows(settings), strict=True
    ):
        size *= strides
        if padding == "valid":
            size += max(kernel_size - strides, 0)
        kernel, bias = (
            tf.cast(block[key], dtype) for key in ("kernel", "bias")
        )
        shape = (tf.shape(latents)[0], size, size, filters)
        x = tf.nn.conv2d_transpose(
            tf.cast(x, dtype), kernel, shape, strides, padding.upper()
        )
        x = tf.nn.bias_add(x, bias)
        if "gamma" in block:
            x, more = normalize(tf.nn.relu(x), block, settings.momentum)
            updates += more
            x = tf.nn.dropout(x, settings.generator_dropout)
    return tf.tanh(tf.cast(x, tf.float32)), updates


# === Losses ===


def discriminator_losses(logits, fake_logits, labels):
    """Supervised, real and fake."""
    mask = tf.cast(labels >= 0, tf.float32)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels + 1, logits
    )
    return [
        tf.math.divide_no_nan(
            tf.reduce_sum(mask * cross_entropy), tf.reduce_sum(mask)
        ),
        tf.reduce_mean(tf.nn.softplus(logits[:, 0])),
        tf.reduce_mean(tf.nn.softplus(-fake_logits[:, 0])),
    ]


def generator_losses(features, fake_features, fake_logits):
    """Adversarial and feature matching."""
    gap = tf.reduce_mean(features, 0) - tf.reduce_mean(fake_features, 0)
    return [
        tf.reduce_mean(tf.nn.softplus(fake_logits[:, 0])),
        tf.reduce_mean(tf.square(gap)),
    ]


class Adam:
    """TensorFlow's own kernel, as its optimizers called it until Keras 3."""

    def __init__(self, variables, learning_rate):
        self.learning_rate = learning_rate
        self.iterations = tf.Variable(0.0)
        self.slots = [
            (v, tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v)))
            for v in variables
        ]

    def apply(self, gradients):
        step = self.iterations.assign_add(1.0)
        for (variable, first, second), gradient in zip(
            self.slots, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=0.5**step,
                beta2_power=0.999**step,
                lr=self.learning_rate,
                beta1=0.5,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
