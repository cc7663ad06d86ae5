"""The preset that tests train, where it is known to them as `tiny`."""

import dataclasses

from keras_ssgan import settings

TINY = dataclasses.replace(
    settings.PRESETS["compact"],
    image_size=8,
    latent_dim=5,
    discriminator=(
        (8, 4, 2, "same"),
        (12, 3, 1, "same"),
        (16, 3, 1, "valid"),
    ),
    generator=((12, 4, 1, "valid"), (4, 2, "same")),
    propagation=True,
)
