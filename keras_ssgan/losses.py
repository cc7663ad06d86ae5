"""Losses of the semi-supervised GAN: pure functions of logits and features.

The discriminator has K + 1 logits. Logit 0 says real or fake (a high value
means *fake*), logits 1..K are the classes. Every loss is computed in float32,
and is a scalar.
"""

from keras import ops

from keras_ssgan import distribution
from keras_ssgan.types import Tensor


def class_logits(logits: Tensor) -> Tensor:
    """The K class logits, without the real/fake logit.

    Args:
        logits: Tensor of shape `(batch, K + 1)`.

    Returns:
        Tensor of shape `(batch, K)`.
    """
    return logits[:, 1:]


def class_probabilities(logits: Tensor) -> Tensor:
    """Probabilities of the K classes, whatever is real or fake.

    Args:
        logits: Tensor of shape `(batch, K + 1)`.

    Returns:
        Float32 tensor of shape `(batch, K)`.
    """
    return ops.softmax(ops.cast(class_logits(logits), "float32"))


def supervised_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the labelled images over all K + 1 logits.

    `sum(mask * cross_entropy) / sum(mask)`, and 0 where the mask is all 0. The
    target is the one-hot class with a 0 for "fake" in front, that is class
    `labels + 1` of the K + 1 (Salimans et al. 2016, "Improved Techniques for
    Training GANs", section 5).

    Args:
        logits: Tensor of shape `(batch, K + 1)`.
        labels: Integer tensor of shape `(batch,)` in `[0, K)`; where the mask
            is 0 any value is allowed and none reaches the result.
        mask: Float tensor of shape `(batch,)`, 0 for an unlabelled image, and
            1, or the weight of the image, for a labelled one.

    Returns:
        Scalar tensor, at least 0.
    """
    logits = ops.cast(logits, "float32")
    mask = ops.cast(mask, "float32")
    # Out-of-range labels are replaced before the cross-entropy sees them: a
    # NaN that is multiplied by 0 afterwards would stay a NaN.
    targets = ops.where(mask > 0, ops.cast(labels, "int32") + 1, 0)
    cross_entropy = ops.sparse_categorical_crossentropy(
        targets, logits, from_logits=True
    )
    # Over the labels of all replicas, on average.
    weight = distribution.all_mean(ops.sum(mask))
    return ops.divide_no_nan(ops.sum(mask * cross_entropy), weight)


def real_loss(logits: Tensor) -> Tensor:
    """Binary cross-entropy that takes real images for real.

    Args:
        logits: Tensor of shape `(batch, K + 1)`, logits of real images.

    Returns:
        Scalar tensor, `mean(-log(1 - sigmoid(logits[:, 0])))`.
    """
    return ops.mean(ops.softplus(ops.cast(logits[:, 0], "float32")))


def fake_loss(logits: Tensor) -> Tensor:
    """Binary cross-entropy that takes generated images for fake.

    Args:
        logits: Tensor of shape `(batch, K + 1)`, logits of generated images.

    Returns:
        Scalar tensor, `mean(-log(sigmoid(logits[:, 0])))`.
    """
    return ops.mean(ops.softplus(-ops.cast(logits[:, 0], "float32")))


def consistency_loss(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Disagreement on the classes of the same images, changed twice.

    The squared distance of the two distributions over the K classes (the
    Π-model of Laine & Aila 2017, "Temporal Ensembling for Semi-Supervised
    Learning", section 2.1, with the sum over classes in place of the mean). No
    label is needed.

    Args:
        logits: Tensor of shape `(batch, K + 1)`.
        other_logits: Tensor of shape `(batch, K + 1)`, of the same images.

    Returns:
        Scalar tensor, from 0 to 2.
    """
    gap = class_probabilities(logits) - class_probabilities(other_logits)
    return ops.mean(ops.sum(ops.square(gap), axis=-1))


def adversarial_loss(logits: Tensor) -> Tensor:
    """The generator's loss: its images should be taken for real.

    The non-saturating form (Goodfellow et al. 2014, section 3): what
    `real_loss` asks of real images, asked of generated ones.

    Args:
        logits: Tensor of shape `(batch, K + 1)`, logits of generated images.

    Returns:
        Scalar tensor.
    """
    return real_loss(logits)


def feature_matching_loss(
    real_features: Tensor, fake_features: Tensor
) -> Tensor:
    """Mean squared distance of the mean features of two batches.

    Salimans et al. 2016, section 3.1, with the mean over features in place of
    the sum.

    Args:
        real_features: Tensor of shape `(batch, features)`.
        fake_features: Tensor of shape `(any_batch, features)`.

    Returns:
        Scalar tensor.
    """
    return ops.mean(ops.square(_mean_gap(real_features, fake_features)))


def absolute_feature_matching_loss(
    real_features: Tensor, fake_features: Tensor
) -> Tensor:
    """Mean absolute distance of the mean features of two batches.

    Args:
        real_features: Tensor of shape `(batch, features)`.
        fake_features: Tensor of shape `(any_batch, features)`.

    Returns:
        Scalar tensor.
    """
    return ops.mean(ops.abs(_mean_gap(real_features, fake_features)))


def _mean_gap(real_features, fake_features):
    real_mean = ops.mean(ops.cast(real_features, "float32"), axis=0)
    fake_mean = ops.mean(ops.cast(fake_features, "float32"), axis=0)
    return distribution.all_mean(real_mean - fake_mean)


FEATURE_MATCHING = {
    "squared": feature_matching_loss,
    "absolute": absolute_feature_matching_loss,
}
