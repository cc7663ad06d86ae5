"""Who takes part: our `fit`, and loops of the same method written by hand.

A contestant is a module here with a class `Peer(settings, weights, dtype,
**options)`; see `inputs.py` for settings and weights.
"""

import dataclasses
import importlib

from keras_ssgan.errors import InputError

LOSSES = (
    "d_loss_supervised",
    "d_loss_real",
    "d_loss_fake",
    "g_loss_adversarial",
    "g_loss_feature_matching",
)

# From backend and name to the module and the options of its `Peer`.
CONTESTANTS = {
    "tensorflow": {
        "ours": ("ours", {}),
        "tutorial": ("tutorial", {}),
        "loop": ("tensorflow_loop", {"jit_compile": False}),
        "loop_xla": ("tensorflow_loop", {"jit_compile": True}),
    },
    "jax": {
        "ours": ("ours", {}),
        "loop": ("jax_loop", {}),
    },
    "torch": {
        "ours": ("ours", {}),
        "loop": ("torch_loop", {}),
        "loop_channels_last": ("torch_loop", {"channels_last": True}),
        "loop_compiled": ("torch_loop", {"compiled": True}),
    },
}


class Unavailable(InputError):
    """The contestant cannot run here; the message says why, in one line."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One row of the table.

    Attributes:
        backend: Key of `CONTESTANTS`.
        name: Key of `CONTESTANTS[backend]`.
        dtype: `"float32"`, or `"bfloat16"` for mixed precision.
    """

    backend: str
    name: str
    dtype: str

    def __str__(self):
        return f"{self.backend} {self.name} {self.dtype}"


class Loop:
    """What the loops have in common.

    Subclasses define `step(images, labels, latents)`, which takes arrays as
    `inputs.draw_batches` gives them, updates both networks, and returns the
    losses by name without waiting for them; and `sync()`, which waits.
    """

    def train(self, batches):
        """Takes one step per batch, and waits for the last."""
        for batch in batches:
            self.step(*batch)
        self.sync()

    def losses(self, batches):
        """Losses by name of one step per batch."""
        return [self.step(*batch) for batch in batches]


def build(contestant, settings, weights):
    """Makes a contestant ready for its first step.

    Args:
        contestant: A `Contestant` of the running backend.
        settings: A `Preset`.
        weights: As from `inputs.initial_weights`.

    Returns:
        A `Peer`.

    Raises:
        Unavailable: If it cannot run here.
    """
    module, options = CONTESTANTS[contestant.backend][contestant.name]
    module = importlib.import_module(f"benchmarks.peers.{module}")
    return module.Peer(settings, weights, contestant.dtype, **options)
