"""The tutorial's own loop: TensorFlow 1, a graph and a session.

It runs the graph again for each number that it prints, and adds an operation
to the graph for each batch that it resizes.
"""

import tensorflow as tf

from benchmarks.peers import LOSSES
from benchmarks.peers import Loop
from benchmarks.peers import Unavailable
from benchmarks.peers.tensorflow_loop import create_variables
from benchmarks.peers.tensorflow_loop import discriminate
from benchmarks.peers.tensorflow_loop import discriminator_losses
from benchmarks.peers.tensorflow_loop import generate
from benchmarks.peers.tensorflow_loop import generator_losses
from benchmarks.peers.tensorflow_loop import trainable

tf1 = tf.compat.v1


class Peer(Loop):
    def __init__(self, settings, weights, dtype):
        if dtype != "float32":
            raise Unavailable("the tutorial knows float32 alone")
        self.size = (settings.image_size, settings.image_size)
        self.session = tf1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self._build_graph(settings, weights)
            self.session.run(tf1.global_variables_initializer())

    def _build_graph(self, settings, weights):
        discriminator, generator = map(create_variables, weights)
        self.images = tf1.placeholder(tf.float32, (None, *self.size, 1))
        self.labels = tf1.placeholder(tf.int32, (None,))
        self.latents = tf1.placeholder(
            tf.float32, (None, 1, 1, settings.latent_dim)
        )
        fakes, g_updates = generate(
            generator, settings, self.latents, "float32"
        )
        features, logits, real_updates = discriminate(
            discriminator, settings, self.images, "float32"
        )
        fake_features, fake_logits, fake_updates = discriminate(
            discriminator, settings, fakes, "float32"
        )
        self.d_losses = discriminator_losses(logits, fake_logits, self.labels)
        self.g_losses = generator_losses(features, fake_features, fake_logits)
        self.d_loss, self.g_loss = sum(self.d_losses), sum(self.g_losses)
        mask = tf.cast(self.labels >= 0, tf.float32)
        predicted = tf.argmax(logits[:, 1:], -1, output_type=tf.int32)
        correct = tf.cast(predicted == self.labels, tf.float32)
        self.accuracy = tf.reduce_sum(mask * correct) / tf.reduce_sum(mask)

        for name, loss, network, updates in (
            ("d_step", self.d_loss, discriminator, real_updates + fake_updates),
            ("g_step", self.g_loss, generator, g_updates),
        ):
            adam = tf1.train.AdamOptimizer(
                settings.learning_rate, beta1=0.5, epsilon=1e-7
            )
            update = adam.minimize(loss, var_list=trainable(network))
            assignments = [v.assign(value).op for v, value in updates]
            setattr(self, name, tf.group(update, *assignments))

    def step(self, images, labels, latents):
        run = self.session.run
        with self.session.graph.as_default():
            images = run(tf.image.resize(images[..., None] / 255, self.size))
        feed = {
            self.images: (images - 0.5) / 0.5,
            self.labels: labels,
            self.latents: latents,
        }
        _, d_losses = run([self.d_step, self.d_losses], feed)
        _, g_losses = run([self.g_step, self.g_losses], feed)
        for number in (self.d_loss, self.g_loss, self.accuracy):
            run(number, feed)
        return dict(zip(LOSSES, d_losses + g_losses, strict=True))

    def sync(self):
        """Nothing: `Session.run` waits."""
