"""Named settings of the networks and of their training, as data."""

import dataclasses
import hashlib
import json

from keras_ssgan.errors import InputError


@dataclasses.dataclass(frozen=True)
class Preset:
    """Everything that a name stands for.

    Attributes:
        description: One line for people.
        image_size: Height and width, in pixels, that the networks work at.
        latent_dim: Length of the generator's input.
        discriminator: One row per convolution, `(filters, kernel_size,
            strides, padding)`.
        generator: The same for the transposed convolutions; the last one,
            which has a filter per channel of the image, is without `filters`.
        discriminator_dropout: Share of the units that are dropped.
        generator_dropout: The same in the generator.
        momentum: Momentum of the batch normalisation's moving statistics.
        tied_logit: See `networks.build_discriminator`.
        real_fake: See `SemiSupervisedGAN`.
        consistency: See `SemiSupervisedGAN`.
        augmentation: Arguments of `augmentation.RandomAffine`; `None` for
            images as they are.
        learning_rate: That of both Adams.
        decay: Whether it falls to 0 in the course of a run, along a cosine
            (Loshchilov & Hutter 2017, "SGDR"); where there is a run
            (`training.train`), not in `from_preset`.
        ema_momentum: See `SemiSupervisedGAN`.
        batch_size: Images per step.
        labeled_share: Share of labelled images in a batch; `None` for their
            share of the data.
        propagation: Whether unlabelled images get labels from a graph, anew
            before each epoch; where there is a run (`training.train`). See
            `callbacks.PropagateLabels`.
        epochs: Passes over the unlabelled images.
        labels: Training labels that are kept, their share (float) or count
            (int).
    """

    description: str
    image_size: int
    latent_dim: int
    discriminator: tuple
    generator: tuple
    discriminator_dropout: float
    generator_dropout: float
    momentum: float
    tied_logit: bool
    real_fake: float
    consistency: float
    augmentation: dict | None
    learning_rate: float
    decay: bool
    ema_momentum: float | None
    batch_size: int
    labeled_share: float | None
    propagation: bool
    epochs: int
    labels: float | int

    def labeled_per_batch(self, batch_size: int) -> int | None:
        """Labelled images in a batch, where there are others.

        Args:
            batch_size: int, images in it.

        Returns:
            int, one at least; `None` for their share of the data.
        """
        if not self.labeled_share:
            return None
        return max(1, round(self.labeled_share * batch_size))

    def fingerprint(self) -> str:
        """Tells a preset from what another version has under its name.

        Returns:
            SHA-256 of all but the description and what a run can choose
            otherwise, 64 hexadecimal digits.
        """
        settings = dataclasses.asdict(self)
        for name in ("description", "batch_size", "epochs", "labels"):
            del settings[name]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


_SMALL_CHANGES = {
    "rotation": 8.0,
    "scale": 0.06,
    "shear": 0.06,
    "translation": 0.04,
}

PRESETS = {
    "article": Preset(
        description="The tutorial's DCGAN: 64x64, up to 1024 filters.",
        image_size=64,
        latent_dim=100,
        discriminator=(
            (128, 4, 2, "same"),
            (256, 4, 2, "same"),
            (512, 4, 4, "same"),
            (1024, 3, 1, "valid"),
        ),
        generator=(
            (512, 4, 1, "valid"),
            (256, 4, 4, "same"),
            (128, 4, 2, "same"),
            (4, 2, "same"),
        ),
        discriminator_dropout=0.3,
        generator_dropout=0.3,
        momentum=0.99,
        tied_logit=False,
        real_fake=1.0,
        consistency=0.0,
        augmentation=None,
        learning_rate=2e-4,
        decay=False,
        ema_momentum=None,
        batch_size=128,
        labeled_share=None,
        propagation=False,
        epochs=5,
        labels=0.2,
    ),
    "compact": Preset(
        description="28x28 and few weights, for CPUs and small datasets.",
        image_size=28,
        latent_dim=64,
        discriminator=(
            (32, 4, 2, "same"),
            (64, 4, 2, "same"),
            (128, 3, 1, "valid"),
        ),
        generator=(
            (64, 7, 1, "valid"),
            (32, 4, 2, "same"),
            (4, 2, "same"),
        ),
        discriminator_dropout=0.3,
        generator_dropout=0.0,
        # A short run has too few steps for the default 0.99 to catch up.
        momentum=0.9,
        tied_logit=True,
        real_fake=1.0,
        consistency=5.0,
        augmentation=_SMALL_CHANGES,
        learning_rate=1e-3,
        decay=False,
        ema_momentum=0.99,
        batch_size=64,
        labeled_share=0.5,
        propagation=False,
        epochs=36,
        labels=0.2,
    ),
    "accurate": Preset(
        description="28x28, for MNIST: the fewest errors of its classifier.",
        image_size=28,
        latent_dim=64,
        discriminator=(
            (32, 4, 2, "same"),
            (64, 3, 1, "same"),
            (64, 3, 2, "same"),
            (128, 3, 1, "valid"),
            (128, 3, 1, "valid"),
        ),
        generator=(
            (64, 7, 1, "valid"),
            (32, 4, 2, "same"),
            (4, 2, "same"),
        ),
        # Random changes and consistency do what dropout would, and do not
        # slow the first epochs down.
        discriminator_dropout=0.0,
        generator_dropout=0.0,
        momentum=0.99,
        tied_logit=True,
        # At full weight this stands in the way of the classes.
        real_fake=0.1,
        consistency=10.0,
        # Larger ones make sevens with a crossbar into twos, early on.
        augmentation={**_SMALL_CHANGES, "elastic": 0.012},
        learning_rate=1e-3,
        decay=True,
        ema_momentum=0.995,
        batch_size=64,
        labeled_share=0.25,
        propagation=True,
        epochs=6,
        labels=100,
    ),
    "drawing": Preset(
        description="28x28, for MNIST: digits drawn well by its generator.",
        image_size=28,
        latent_dim=64,
        discriminator=(
            (64, 4, 2, "same"),
            (128, 4, 2, "same"),
            (256, 3, 1, "valid"),
        ),
        generator=(
            (128, 7, 1, "valid"),
            (64, 4, 2, "same"),
            (4, 2, "same"),
        ),
        # So that it does not run away from the generator.
        discriminator_dropout=0.3,
        generator_dropout=0.0,
        momentum=0.99,
        tied_logit=False,
        real_fake=1.0,
        consistency=0.0,
        # The generator would draw changed images.
        augmentation=None,
        learning_rate=5e-4,
        decay=True,
        ema_momentum=0.995,
        batch_size=64,
        labeled_share=None,
        propagation=False,
        epochs=5,
        labels=0.2,
    ),
}


def presets() -> dict[str, str]:
    """Names of the presets, each with one line that describes it.

    Returns:
        Dict from name to description.
    """
    return {name: preset.description for name, preset in PRESETS.items()}


def get_preset(name: str) -> Preset:
    """Looks up a preset.

    Args:
        name: One of the names in `presets()`.

    Returns:
        A `Preset`.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(
            f"preset {name!r} is unknown; use one of {', '.join(PRESETS)}"
        )
    return PRESETS[name]
