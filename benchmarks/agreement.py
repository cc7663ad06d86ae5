"""Whether two contestants compute the same method."""

import numpy as np

from benchmarks.inputs import draw_batches
from benchmarks.inputs import initial_weights
from benchmarks.inputs import plain
from benchmarks.peers import LOSSES
from benchmarks.peers import build

# The second step's losses see the first updates, and those of its generator
# the discriminator's second, of which alone Adam's betas have a say. After
# that, rounding takes over: where a gradient is almost 0, Adam divides it by
# its size and steps by what rounding left of it.
STEPS = 2
BATCH_SIZE = 16

# A bfloat16 has 8 bits, so that each layer rounds by up to 0.4 %, and the
# contestants round in different places: some add the bias before, some after.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}


def losses_of(contestant, settings):
    """Losses of the first steps, without dropout, from given weights.

    Args:
        contestant: A `Contestant` of the running backend.
        settings: A `Preset`.

    Returns:
        List of dicts of floats, one per step, with the keys `LOSSES`.
    """
    settings = plain(settings, discriminator_dropout=0.0, generator_dropout=0.0)
    peer = build(contestant, settings, initial_weights(settings))
    batches = draw_batches(settings, BATCH_SIZE, STEPS)
    return [
        {name: float(losses[name]) for name in LOSSES}
        for losses in peer.losses(batches)
    ]


def disagreements(losses, expected, dtype):
    """Describes where losses differ by more than rounding.

    Args:
        losses: As from `losses_of`.
        expected: The same of the contestant that is to be believed.
        dtype: Key of `TOLERANCES`.

    Returns:
        List of str, empty if they agree.
    """
    rtol = TOLERANCES[dtype]
    return [
        f"step {step}: {name} is {own[name]:.6g}, not {theirs[name]:.6g}"
        for step, (own, theirs) in enumerate(zip(losses, expected, strict=True))
        for name in LOSSES
        if not np.isclose(own[name], theirs[name], rtol=rtol, atol=rtol**2)
    ]
