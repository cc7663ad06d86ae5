"""What counts as a collapsed discriminator, and what does not."""

import math

import pytest

from keras_ssgan.health import find_collapse

pytestmark = pytest.mark.any_backend

LN2, LN10 = math.log(2), math.log(10)
LEARNT = {"loss": [2.1, 0.9, 0.4]}


def logs(real, fake, loss):
    return {"d_loss_real": real, "d_loss_fake": fake, "loss": loss}


@pytest.mark.parametrize(
    "means, history, word",
    [
        (logs(LN2, LN2, LN10), LEARNT, "same answer"),
        (logs(40.0, 3.0, 20.0), LEARNT, "same answer"),
        (logs(1e-7, 1e-9, 0.2), LEARNT, "certainty"),
        (logs(1e-7, 1e-9, 0.2), {}, "certainty"),
        # Learning rates of 1, in the first epoch and the fourth, and of 1000.
        (logs(2.2, 709.2, 895.3), {}, "diverged"),
        (logs(3.2, 25.9, 62.1), {"loss": [895.3, 1368.5, 207.3]}, "diverged"),
        (logs(1.1e7, 2.4e7, 3.6e7), {}, "diverged"),
        # The balance of a GAN, and still.
        (logs(LN2, LN2, 900.0), LEARNT, "diverged"),
    ],
)
def test_a_collapsed_discriminator_is_told(means, history, word):
    assert word in find_collapse(means, history, num_classes=10)


@pytest.mark.parametrize(
    "means, history",
    [
        # Untrained; the balance of a GAN; one that wins; one that loses;
        # overfitted; classes lost for now, but not the difference to fakes.
        (logs(0.8, 0.9, 2.5), {}),
        (logs(0.8, 0.9, 2.5), {"loss": [2.4, 2.2]}),
        (logs(LN2, LN2, 0.3), LEARNT),
        (logs(1e-4, 1e-4, 0.3), LEARNT),
        (logs(1e-9, 0.1, 0.3), LEARNT),
        (logs(2.0, 2.0, 1.0), LEARNT),
        (logs(0.1, 0.1, 1e-9), LEARNT),
        (logs(0.3, 0.3, 2.6), LEARNT),
        # Pure noise for labels, at too high a learning rate.
        (logs(0.8, 0.9, 3.5 * LN10), {}),
    ],
)
def test_a_discriminator_that_struggles_is_left_alone(means, history):
    assert find_collapse(means, history, num_classes=10) is None
