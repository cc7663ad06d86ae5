"""The method a second time, in float64, without Keras and without the package.

Written from the description of the method alone, so that a mistake would have
to be made twice, in two ways, to go unnoticed:

- the losses, one image at a time, in NumPy;
- the pixels' way to the network, and the networks' forward passes, in NumPy;
- a whole alternating training step in PyTorch, with its own Adam.

A network is a list of rows `(filters, kernel_size, strides, padding)` and a
list of blocks, one dict of arrays per convolution (the discriminator's last is
the dense layer): `kernel`, `bias` and, where batch normalisation follows,
`gamma`, `beta`, `moving_mean` and `moving_variance`. Kernels have Keras'
layout.
"""

import numpy as np
import torch
from torch.nn import functional

LEAKY_SLOPE = 0.2
BATCH_NORM_EPSILON = 1e-3
PARAMETERS = ("kernel", "bias", "gamma", "beta")


# === Losses ===


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def sigmoid_cross_entropy(logits, target):
    logits = np.asarray(logits, "float64")
    log_probability = -np.logaddexp(0, -logits)
    log_complement = -np.logaddexp(0, logits)
    return -(target * log_probability + (1 - target) * log_complement)


def supervised_loss(logits, labels, mask):
    total = 0.0
    for row, label, weight in zip(logits, labels, mask, strict=True):
        if weight == 0:
            continue
        target = np.zeros(len(row))
        target[1 + label] = 1.0
        total -= weight * target @ log_softmax(np.asarray(row, "float64"))
    return total / np.sum(mask) if np.any(mask) else 0.0


def real_loss(logits):
    return sigmoid_cross_entropy(logits[:, 0], 0).mean()


def fake_loss(logits):
    return sigmoid_cross_entropy(logits[:, 0], 1).mean()


def adversarial_loss(logits):
    return sigmoid_cross_entropy(logits[:, 0], 0).mean()


def feature_matching_loss(real_features, fake_features, power=2):
    real_mean = np.mean(real_features, axis=0, dtype="float64")
    fake_mean = np.mean(fake_features, axis=0, dtype="float64")
    return np.mean(np.abs(real_mean - fake_mean) ** power)


# === Forward passes ===


def interpolation_matrix(size, new_size):
    """Linear interpolation between pixel centres, clamped at the edges."""
    matrix = np.zeros((new_size, size))
    for i in range(new_size):
        centre = (i + 0.5) * size / new_size - 0.5
        low = int(np.floor(centre))
        share = centre - low
        matrix[i, np.clip(low, 0, size - 1)] += 1 - share
        matrix[i, np.clip(low + 1, 0, size - 1)] += share
    return matrix


def preprocess(pixels, size):
    """Pixels `(batch, h, w)` to `(batch, size, size, 1)` in `[-1, 1]`."""
    scaled = (np.asarray(pixels, "float64") / 255 - 0.5) / 0.5
    rows = interpolation_matrix(scaled.shape[1], size)
    columns = interpolation_matrix(scaled.shape[2], size)
    return (rows @ scaled @ columns.T)[..., np.newaxis]


def padding_before_and_after(size, kernel_size, strides, padding):
    """TensorFlow's padding of one axis; the odd pixel comes after."""
    if padding == "valid":
        return 0, 0
    new_size = -(-size // strides)
    total = max((new_size - 1) * strides + kernel_size - size, 0)
    return total // 2, total - total // 2


def convolve(images, kernel, bias, strides, padding):
    kernel_size = kernel.shape[0]
    before, after = padding_before_and_after(
        images.shape[1], kernel_size, strides, padding
    )
    pad = (before, after)
    padded = np.pad(images, ((0, 0), pad, pad, (0, 0)))
    size = (padded.shape[1] - kernel_size) // strides + 1
    result = 0.0
    for i in range(kernel_size):
        for j in range(kernel_size):
            rows = slice(i, i + strides * size, strides)
            columns = slice(j, j + strides * size, strides)
            seen = padded[:, rows, columns].reshape(-1, kernel.shape[2])
            result = result + seen @ kernel[i, j]
    return result.reshape(-1, size, size, kernel.shape[3]) + bias


def convolve_transposed(images, kernel, bias, strides, padding):
    """What `convolve` does to a gradient: each pixel stamps the kernel."""
    batch, size = images.shape[:2]
    kernel_size, _, filters, _ = kernel.shape
    new_size = size * strides
    if padding == "valid":
        new_size += max(kernel_size - strides, 0)
    before, after = padding_before_and_after(
        new_size, kernel_size, strides, padding
    )
    padded_size = new_size + before + after
    stamped = np.zeros((batch, padded_size, padded_size, filters))
    for i in range(size):
        for j in range(size):
            rows = slice(i * strides, i * strides + kernel_size)
            columns = slice(j * strides, j * strides + kernel_size)
            stamped[:, rows, columns] += np.einsum(
                "bi,rcoi->brco", images[:, i, j], kernel
            )
    inside = slice(before, before + new_size)
    return stamped[:, inside, inside] + bias


def batch_normalize(x, block, training):
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    else:
        mean, variance = block["moving_mean"], block["moving_variance"]
    normalized = (x - mean) / np.sqrt(variance + BATCH_NORM_EPSILON)
    return block["gamma"] * normalized + block["beta"]


def discriminate(blocks, rows, images, training, tied_logit=False):
    """Features and logits, without dropout, of images `(batch, h, w, c)`.

    With a tied logit the probability of "real" is Z / (Z + 1), where Z is the
    sum of the exponentials of the class logits.
    """
    *convolutions, dense = float64(blocks)
    x = np.asarray(images, "float64")
    for block, (_, _, strides, padding) in zip(convolutions, rows, strict=True):
        x = convolve(x, block["kernel"], block["bias"], strides, padding)
        x = np.where(x > 0, x, LEAKY_SLOPE * x)
        if "gamma" in block:
            x = batch_normalize(x, block, training)
    features = x.mean((1, 2))
    logits = features @ dense["kernel"] + dense["bias"]
    if tied_logit:
        z = np.exp(logits).sum(axis=1, keepdims=True)
        real = z / (z + 1)
        logits = np.concatenate([np.log((1 - real) / real), logits], axis=1)
    return features, logits


def generate(blocks, rows, latents, training):
    """Images, without dropout, of latents `(batch, 1, 1, latent_dim)`."""
    x = np.asarray(latents, "float64")
    for block, (_, _, strides, padding) in zip(
        float64(blocks), rows, strict=True
    ):
        x = convolve_transposed(
            x, block["kernel"], block["bias"], strides, padding
        )
        if "gamma" in block:
            x = batch_normalize(np.maximum(x, 0), block, training)
    return np.tanh(x)


def blocks_of(model):
    """Copies the weights of a Keras model, whose layers are in order."""
    blocks = []
    for weight in (w for layer in model.layers for w in layer.weights):
        name = weight.path.rsplit("/", 1)[-1]
        if name == "kernel":
            blocks.append({})
        blocks[-1][name] = weight.numpy()
    return blocks


def randomize(model):
    """Gives a Keras model weights that are the same on every backend."""
    # Of the first 24 seeds the one that keeps activations, in the step's tests,
    # farthest from the kink of (Leaky)ReLU: on its other side, where rounding
    # could put them, the gradient is another.
    rng = np.random.default_rng(12)
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            *window, fan_in, fan_out = weight.shape
            limit = np.sqrt(6 / (np.prod(window) * (fan_in + fan_out)))
            weight.assign(rng.uniform(-limit, limit, weight.shape))
        else:
            # These start at 0 or 1, where mistakes could hide.
            noise = rng.uniform(-0.3, 0.3, weight.shape)
            weight.assign(weight.numpy() + noise)


def float64(blocks):
    return [
        {name: np.asarray(value, "float64") for name, value in block.items()}
        for block in blocks
    ]


# === Training step ===


class Adam:
    """Kingma & Ba 2015, algorithm 1 in the form at the end of section 2.

    There and in Keras, epsilon is added to the root of the second moment
    before the bias correction.
    """

    def __init__(self, parameters, learning_rate=2e-4, beta_1=0.5):
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = 0.999
        self.epsilon = 1e-7
        self.iterations = 0
        self.parameters = parameters
        self.first_moments = [torch.zeros_like(p) for p in parameters]
        self.second_moments = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, loss):
        """Computes the gradients of a loss and descends once."""
        gradients = torch.autograd.grad(loss, self.parameters)
        self.iterations += 1
        rate = (
            self.learning_rate
            * (1 - self.beta_2**self.iterations) ** 0.5
            / (1 - self.beta_1**self.iterations)
        )
        for parameter, gradient, first, second in zip(
            self.parameters,
            gradients,
            self.first_moments,
            self.second_moments,
            strict=True,
        ):
            first.mul_(self.beta_1).add_((1 - self.beta_1) * gradient)
            second.mul_(self.beta_2).add_((1 - self.beta_2) * gradient**2)
            parameter -= rate * first / (second.sqrt() + self.epsilon)


class Network:
    """Weights, moving statistics and Adam of one network, channels first."""

    def __init__(self, blocks, rows, momentum, **adam):
        self.rows = rows
        self.momentum = momentum
        self.blocks = [
            {name: torch.from_numpy(value) for name, value in block.items()}
            for block in float64(blocks)
        ]
        self.parameters = [
            block[name].requires_grad_()
            for block in self.blocks
            for name in PARAMETERS
            if name in block
        ]
        self.adam = Adam(self.parameters, **adam)

    def _batch_normalize(self, x, block, update):
        """With the statistics of the batch; Keras' momentum is for the old."""
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        if update:
            for name, new in (
                ("moving_mean", mean),
                ("moving_variance", variance),
            ):
                old = block[name]
                block[name] = (
                    self.momentum * old + (1 - self.momentum) * new.detach()
                )
        x = (x - mean[:, None, None]) / torch.sqrt(
            variance + BATCH_NORM_EPSILON
        )[:, None, None]
        return block["gamma"][:, None, None] * x + block["beta"][:, None, None]


class Discriminator(Network):
    def __init__(self, *args, tied_logit=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.tied_logit = tied_logit

    def __call__(self, images, update_statistics):
        x = images
        *convolutions, dense = self.blocks
        for block, (_, kernel_size, strides, padding) in zip(
            convolutions, self.rows, strict=True
        ):
            pad = padding_before_and_after(
                x.shape[2], kernel_size, strides, padding
            )
            x = functional.conv2d(
                functional.pad(x, (*pad, *pad)),
                block["kernel"].permute(3, 2, 0, 1),
                block["bias"],
                strides,
            )
            x = functional.leaky_relu(x, LEAKY_SLOPE)
            if "gamma" in block:
                x = self._batch_normalize(x, block, update_statistics)
        features = x.mean((2, 3))
        logits = features @ dense["kernel"] + dense["bias"]
        if self.tied_logit:
            z = logits.exp().sum(1, keepdim=True)
            logits = torch.cat([-z.log(), logits], 1)
        return features, logits


class Generator(Network):
    def __call__(self, latents):
        x = latents
        for block, (_, kernel_size, strides, padding) in zip(
            self.blocks, self.rows, strict=True
        ):
            new_size = x.shape[2] * strides
            if padding == "valid":
                new_size += max(kernel_size - strides, 0)
            before, _ = padding_before_and_after(
                new_size, kernel_size, strides, padding
            )
            x = functional.conv_transpose2d(
                x, block["kernel"].permute(3, 2, 0, 1), None, strides
            )
            inside = slice(before, before + new_size)
            x = x[:, :, inside, inside] + block["bias"][:, None, None]
            if "gamma" in block:
                x = self._batch_normalize(functional.relu(x), block, True)
        return torch.tanh(x)


def train_step(
    discriminator,
    generator,
    images,
    labels,
    mask,
    latents,
    feature_matching_power=2,
    real_fake=1.0,
    consistency=0.0,
):
    """One update of the discriminator, then one of the generator.

    Args:
        discriminator: `Discriminator`, updated in place.
        generator: `Generator`, updated in place.
        images: Array `(batch, height, width, channels)` in `[-1, 1]`.
        labels: Integers `(batch,)`.
        mask: Weights `(batch,)` of the labels.
        latents: Array `(batch, 1, 1, latent_dim)`.
        feature_matching_power: 2 for squares, 1 for absolute values.
        real_fake: Weight of the losses on real and generated images.
        consistency: Weight of the disagreement on the images and the same
            ones seen in a mirror.

    Returns:
        Dict from the name in the training's logs to the value.
    """
    images = channels_first(images)
    fakes = generator(channels_first(latents))

    # Discriminator: the real batch first, then the generated one.
    _, logits = discriminator(images, update_statistics=True)
    parts = {}
    if consistency:
        _, other_logits = discriminator(images.flip(-1), update_statistics=True)
        gaps = [
            (torch.softmax(row, 0) - torch.softmax(other, 0)).square().sum()
            for row, other in zip(
                logits[:, 1:], other_logits[:, 1:], strict=True
            )
        ]
        parts["consistency"] = sum(gaps) / len(gaps)
    _, fake_logits = discriminator(fakes.detach(), update_statistics=False)
    supervised = torch.zeros((), dtype=torch.float64)
    for row, label, weight in zip(logits, labels, mask, strict=True):
        if weight > 0:
            share = weight / np.sum(mask)
            supervised = (
                supervised - share * torch.log_softmax(row, 0)[1 + int(label)]
            )
    real = -functional.logsigmoid(-logits[:, 0]).mean()
    fake = -functional.logsigmoid(fake_logits[:, 0]).mean()
    parts.update(supervised=supervised, real=real, fake=fake)
    d_loss = supervised + real_fake * (real + fake)
    if consistency:
        d_loss = d_loss + consistency * parts["consistency"]
    discriminator.adam.step(d_loss)

    # Generator: against the discriminator as it is now.
    features, _ = discriminator(images, update_statistics=False)
    fake_features, fake_logits = discriminator(fakes, update_statistics=False)
    adversarial = -functional.logsigmoid(-fake_logits[:, 0]).mean()
    gap = features.detach().mean(0) - fake_features.mean(0)
    feature_matching = (gap.abs() ** feature_matching_power).mean()
    g_loss = real_fake * adversarial + feature_matching
    generator.adam.step(g_loss)

    return {
        "d_loss": d_loss.item(),
        **{f"d_loss_{name}": part.item() for name, part in parts.items()},
        "g_loss": g_loss.item(),
        "g_loss_adversarial": adversarial.item(),
        "g_loss_feature_matching": feature_matching.item(),
        **classification(logits.detach().numpy()[:, 1:], labels, mask),
    }


def classification(logits, labels, mask):
    """Cross-entropy and accuracy of the labelled images over K classes."""
    if not np.any(mask):
        return {"loss": 0.0, "accuracy": 0.0}
    cross_entropy = [
        -log_softmax(row)[label]
        for row, label in zip(logits, labels, strict=True)
    ]
    right = logits.argmax(1) == labels
    return {
        "loss": np.average(cross_entropy, weights=mask),
        "accuracy": np.average(right, weights=mask),
    }


def channels_first(array):
    array = np.moveaxis(np.asarray(array, "float64"), -1, 1)
    return torch.from_numpy(np.ascontiguousarray(array))
