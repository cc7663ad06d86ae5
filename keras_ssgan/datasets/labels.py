"""Draws on the labels: which to keep, which to validate on."""

import bisect
import numbers

import numpy as np

from keras_ssgan.checks import check_labels
from keras_ssgan.checks import check_some_labels
from keras_ssgan.datasets.streams import Images
from keras_ssgan.datasets.streams import check_room
from keras_ssgan.datasets.streams import select
from keras_ssgan.errors import InputError


def hide_labels(
    y: np.ndarray, labels: float | int = 0.2, seed: int = 0
) -> np.ndarray:
    """Keeps some labels, balanced over the classes, and hides the others.

    Every class keeps equally many labels, as far as it has them; what is left
    over goes, one each, to classes that are drawn.

    Args:
        y: Class ids, -1 for no label, integers of shape `(n,)` or `(n, 1)`.
        labels: How many labels to keep: a float in (0, 1] is the share of the
            labels that there are, an integer their number.
        seed: Seed of the draw.

    Returns:
        A new array, int32 of shape `(n,)`, with -1 for the hidden labels.

    Raises:
        InputError: If `labels` is neither a share nor a number, asks for more
            labels than there are, or for fewer than there are classes; or if
            there are none.

    Example:

    >>> hide_labels(np.array([0, 0, 0, 1, 1, 1]), labels=2, seed=0)
    array([ 0, -1, -1, -1,  1, -1], dtype=int32)
    """
    check_labels(y, None)
    check_some_labels(y)
    y = y.reshape(-1).astype("int32")
    classes, counts = np.unique(y[y >= 0], return_counts=True)
    budget = _count_to_keep(labels, counts)
    rng = np.random.default_rng(seed)
    kept = np.full_like(y, -1)
    for label, quota in zip(classes, _quotas(counts, budget, rng), strict=True):
        members = np.flatnonzero(y == label)
        kept[rng.choice(members, quota, replace=False)] = label
    return kept


def split_validation(
    x: Images,
    y: np.ndarray,
    fraction: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[tuple[Images, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Takes a stratified part of the labelled images out for validation.

    Args:
        x: Images, shape `(n, ...)`. Streamed ones stay so, but for those that
            are taken out.
        y: Class ids, -1 for no label, integers of shape `(n,)` or `(n, 1)`.
        fraction: Share of each class, in [0, 1), that is taken out, rounded
            down.
        seed: Seed of the draw.
        overwrite: Whether an array `x` may be overwritten, which saves a second
            copy of the training images.

    Returns:
        `(x_train, y_train), (x_val, y_val)`. The order is kept, and labels are
        int32 of shape `(n,)`. Where the labels are too few for the fraction,
        the validation arrays are empty.

    Raises:
        InputError: If `y` are no labels for `x`, if `fraction` is out of its
            range, or if the machine has no room for what is taken out of
            streamed images.

    Example:

    >>> train, (x_val, y_val) = split_validation(x, y, fraction=0.1, seed=0)
    """
    check_labels(y, None, num_images=len(x))
    if not 0 <= fraction < 1:
        raise InputError(
            f"the validation fraction is {fraction}; choose it from 0 up to, "
            "but not including, 1"
        )
    y = y.reshape(-1).astype("int32")
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(y), bool)
    for label in np.unique(y[y >= 0]):
        members = np.flatnonzero(y == label)
        # 0.29 * 100 is a hair below 29.
        count = int(fraction * len(members) + 1e-9)
        held_out[rng.choice(members, count, replace=False)] = True
    count = int(held_out.sum())
    check_room(x, count, "keeping the validation images")
    validation = x[held_out], y[held_out]
    return (select(x, ~held_out, overwrite), y[~held_out]), validation


def _count_to_keep(labels, counts):
    """Turns a share or a number of labels into a number, and checks it."""
    available = int(counts.sum())
    is_number = isinstance(labels, numbers.Real)
    if isinstance(labels, bool) or not is_number:
        raise InputError(
            f"labels is {labels!r}; give a share such as 0.2 or a number of "
            "labels such as 100"
        )
    if isinstance(labels, numbers.Integral):
        budget = int(labels)
    elif 0 < labels <= 1:
        budget = round(float(labels) * available)
    else:
        raise InputError(
            f"labels is {labels}; a share lies in (0, 1], and a number of "
            "labels is an integer"
        )
    if budget > available:
        raise InputError(
            f"{budget} labels are asked for and there are {available}; ask "
            f"for at most {available}"
        )
    if budget < len(counts):
        raise InputError(
            f"{budget} labels are too few for {len(counts)} classes; keep at "
            "least one label of each class"
        )
    return budget


def _quotas(counts, budget, rng):
    """Shares `budget` out evenly over classes that have `counts` labels."""
    # The highest level that every class can be filled to, as far as it goes.
    levels = range(counts.max() + 1)
    level = -1 + bisect.bisect_right(
        levels, budget, key=lambda level: np.minimum(counts, level).sum()
    )
    quotas = np.minimum(counts, level)
    unfilled = np.flatnonzero(counts > level)
    spare = budget - quotas.sum()
    quotas[rng.choice(unfilled, spare, replace=False)] += 1
    return quotas
