"""A loop in plain PyTorch, with channels first unless told otherwise."""

import torch
from torch.nn import functional

from benchmarks.inputs import generator_rows
from benchmarks.peers import LOSSES
from benchmarks.peers import Loop
from benchmarks.peers import Unavailable

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BETA_2 = 0.999


class Peer(Loop):
    def __init__(
        self, settings, weights, dtype, channels_last=False, compiled=False
    ):
        self.settings = settings
        self.autocast = dtype == "bfloat16"
        layout = (
            torch.channels_last if channels_last else torch.contiguous_format
        )
        self.layout = layout
        self.discriminator, self.generator = (
            [create_tensors(block, layout) for block in blocks]
            for blocks in weights
        )
        self.d_parameters, self.g_parameters = map(
            trainable, (self.discriminator, self.generator)
        )
        self.d_adam, self.g_adam = (
            torch.optim.Adam(
                parameters,
                settings.learning_rate,
                betas=(0.5, BETA_2),
                fused=True,
            )
            for parameters in (self.d_parameters, self.g_parameters)
        )
        self.iterations = 0
        self.discriminate, self.generate = discriminate, generate
        if compiled:
            check_compiler()
            self.discriminate = torch.compile(discriminate)
            self.generate = torch.compile(generate)

    def step(self, images, labels, latents):
        images, labels, latents = (
            torch.from_numpy(x).to(DEVICE) for x in (images, labels, latents)
        )
        self._set_epsilon()
        size = (self.settings.image_size, self.settings.image_size)
        images = functional.interpolate(
            images[:, None].float() / 127.5 - 1.0, size, mode="bilinear"
        )
        latents = latents.permute(0, 3, 1, 2)
        images, latents = (
            x.contiguous(memory_format=self.layout) for x in (images, latents)
        )
        fakes = self.generate(
            self.generator, self.settings, latents, self.autocast
        )
        d_losses = self._update_discriminator(images, labels, fakes.detach())
        g_losses = self._update_generator(images, fakes)
        return dict(zip(LOSSES, d_losses + g_losses, strict=True))

    def sync(self):
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    def _set_epsilon(self):
        # TensorFlow and Keras add epsilon before the bias correction.
        self.iterations += 1
        epsilon = 1e-7 / (1 - BETA_2**self.iterations) ** 0.5
        for adam in (self.d_adam, self.g_adam):
            adam.param_groups[0]["eps"] = epsilon

    def _update_discriminator(self, images, labels, fakes):
        _, logits = self._discriminate(self.discriminator, images)
        _, fake_logits = self._discriminate(self.discriminator, fakes)
        losses = discriminator_losses(logits, fake_logits, labels)
        self.d_adam.zero_grad()
        sum(losses).backward()
        self.d_adam.step()
        return [loss.detach() for loss in losses]

    def _update_generator(self, images, fakes):
        # Neither gradients of the weights nor new moving statistics.
        frozen = [
            {
                name: x.clone() if name.startswith("moving") else x.detach()
                for name, x in block.items()
            }
            for block in self.discriminator
        ]
        with torch.no_grad():
            features, _ = self._discriminate(frozen, images)
        fake_features, fake_logits = self._discriminate(frozen, fakes)
        losses = generator_losses(features, fake_features, fake_logits)
        self.g_adam.zero_grad()
        sum(losses).backward()
        self.g_adam.step()
        return [loss.detach() for loss in losses]

    def _discriminate(self, blocks, images):
        return self.discriminate(blocks, self.settings, images, self.autocast)


def check_compiler():
    try:
        torch.compile(lambda x: x + 1)(torch.ones(1, device=DEVICE))
    # Whatever `torch.compile` lacks, its errors are not public classes.
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise Unavailable(f"torch.compile: {reason}") from error


# === Networks ===


def create_tensors(block, layout):
    tensors = {
        name: torch.tensor(x, device=DEVICE) for name, x in block.items()
    }
    kernel = tensors["kernel"]
    if kernel.ndim == 4:
        kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        tensors["kernel"] = kernel
    for name, tensor in tensors.items():
        tensor.requires_grad_(not name.startswith("moving"))
    return tensors


def trainable(blocks):
    return [x for block in blocks for x in block.values() if x.requires_grad]


def same_padding(size, kernel_size, strides):
    """TensorFlow's padding of one axis; the odd pixel comes after."""
    total = max((-(-size // strides) - 1) * strides + kernel_size - size, 0)
    return total // 2, total - total // 2


def normalize(x, block, momentum):
    return functional.batch_norm(
        x,
        block["moving_mean"],
        block["moving_variance"],
        block["gamma"],
        block["beta"],
        training=True,
        momentum=1 - momentum,
        eps=1e-3,
    )


def discriminate(blocks, settings, images, autocast):
    """Features and logits."""
    *convolutions, dense = blocks
    last = len(convolutions) - 1
    x = images
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        for i, (block, (_, kernel_size, strides, padding)) in enumerate(
            zip(convolutions, settings.discriminator, strict=True)
        ):
            before = after = 0
            if padding == "same":
                before, after = same_padding(x.shape[2], kernel_size, strides)
            if before != after:
                x = functional.pad(x, (before, after, before, after))
                before = 0
            x = functional.conv2d(
                x, block["kernel"], block["bias"], strides, before
            )
            x = functional.leaky_relu(x, 0.2)
            if "gamma" in block:
                x = normalize(x, block, settings.momentum)
            if i < last:
                x = functional.dropout(x, settings.discriminator_dropout)
    features = x.float().mean((2, 3))
    logits = features @ dense["kernel"] + dense["bias"]
    if settings.tied_logit:
        fake = -torch.logsumexp(logits, -1, keepdim=True)
        logits = torch.cat([fake, logits], -1)
    return features, logits


def generate(blocks, settings, latents, autocast):
    """Images."""
    x = latents
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        for block, (_, kernel_size, strides, padding) in zip(
            blocks, generator_rows(settings), strict=True
        ):
            size, crop = x.shape[2] * strides, 0
            if padding == "same":
                crop = (kernel_size - strides) // 2
            else:
                size += max(kernel_size - strides, 0)
            x = functional.conv_transpose2d(
                x, block["kernel"], block["bias"], strides, crop
            )[:, :, :size, :size]
            if "gamma" in block:
                x = normalize(functional.relu(x), block, settings.momentum)
                x = functional.dropout(x, settings.generator_dropout)
    return torch.tanh(x.float())


# === Losses ===


def discriminator_losses(logits, fake_logits, labels):
    """Supervised, real and fake."""
    labeled = (labels >= 0).sum().clamp(min=1)
    # No image is labelled "fake", so that class 0 can mean "no label".
    cross_entropy = functional.cross_entropy(
        logits, labels.long() + 1, ignore_index=0, reduction="sum"
    )
    return [
        cross_entropy / labeled,
        functional.softplus(logits[:, 0]).mean(),
        functional.softplus(-fake_logits[:, 0]).mean(),
    ]


def generator_losses(features, fake_features, fake_logits):
    """Adversarial and feature matching."""
    gap = features.mean(0) - fake_features.mean(0)
    return [functional.softplus(fake_logits[:, 0]).mean(), (gap**2).mean()]
