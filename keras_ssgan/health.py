"""Signs that a run has failed and will not recover."""

import math
from collections.abc import Mapping
from collections.abc import Sequence

# The gradient of a cross-entropy is no larger than the cross-entropy.
_VANISHED = 1e-6
# Cross-entropy, in units of ln K. Labels that are pure noise, learnt at five
# times the presets' learning rate, came to 3.5; what diverges, to hundreds.
_DIVERGED = 10.0


def find_collapse(
    logs: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
    num_classes: int,
) -> str | None:
    """Whether the discriminator has collapsed, by the means of an epoch.

    Three states count, and all are extreme, since a run that is stopped for
    nothing is worse than one that is stopped late:

    - It knows nothing any more. It does no better than one that gives every
      image the same answer, in both of its tasks: telling real from fake
      (`d_loss_real + d_loss_fake` of 2 ln 2 and more) and the classes (`loss`
      of ln K and more). Only in a run that did know the classes: in an earlier
      epoch `loss` was below half of ln K. Each alone is not enough: 2 ln 2 is
      also the balance that the two networks strive for.
    - It has diverged: about the very images whose labels it is shown, it is far
      more wrong (`loss` of more than 10 ln K) than one that knows nothing. This
      holds from the first epoch on.
    - It is so sure of real and fake (`d_loss_real` and `d_loss_fake` both below
      1e-6) that neither has a gradient left, so that unlabelled images teach it
      nothing. A discriminator that merely wins, with losses of 0.01, is well.

    Args:
        logs: Dict of the epoch's means, as in `SemiSupervisedGAN.fit`.
        history: Dict from the name of a figure to its values in the epochs so
            far, as from `history.read_history`.
        num_classes: int, K.

    Returns:
        str, what has happened; `None` if nothing has.
    """
    real, fake = logs["d_loss_real"], logs["d_loss_fake"]
    if max(real, fake) < _VANISHED:
        return (
            "the discriminator tells real from fake with certainty, and learns "
            "no more from unlabelled images"
        )
    guessing = math.log(num_classes)
    if logs["loss"] > _DIVERGED * guessing:
        return (
            "the discriminator has diverged, and gives labelled images wrong "
            "classes with certainty"
        )
    best = min(history.get("loss", []), default=math.inf)
    knows_nothing = real + fake >= 2 * math.log(2) and logs["loss"] >= guessing
    if knows_nothing and best < guessing / 2:
        return "the discriminator gives all images the same answer"
    return None
