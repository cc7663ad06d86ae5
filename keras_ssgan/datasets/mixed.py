"""Batches with a fixed share of labelled images."""

import math
import numbers
import time
from typing import Any

import keras
import numpy as np

from keras_ssgan import limits
from keras_ssgan.checks import check_images
from keras_ssgan.checks import check_labels
from keras_ssgan.checks import check_some_labels
from keras_ssgan.datasets import streams
from keras_ssgan.errors import InputError
from keras_ssgan.propagation import PseudoLabels


class MixedDataset(keras.utils.PyDataset):
    """Batches that each have the same number of labelled images.

    An epoch is one pass over the unlabelled images, each of them once. The
    labelled images are cycled meanwhile, so that within an epoch each is seen
    equally often, up to one. The last batch may be smaller and keeps the
    share of labels, with one label at least. Without unlabelled images an
    epoch is one pass over the labelled ones.

    What a batch holds depends on `seed`, the epoch and the batch's index, and
    on nothing else. A run that is resumed at epoch `n` with `initial_epoch=n`
    therefore sees what it would have seen without the break. Where a callback
    resumes it, such as `keras.callbacks.BackupAndRestore`, the dataset is given
    to `SemiSupervisedGAN.fit` as it was at first, and moves on to that epoch.

    `fit` moves from epoch to epoch by itself, and so does `evaluate`. It takes
    the batches of an epoch in random order unless told `shuffle=False`, which
    an exact repetition needs. A loop of one's own calls `on_epoch_begin()`
    before the batches of an epoch and `on_epoch_end()` after them.

    Args:
        x: Images, uint8, or numbers in `[0, 255]`, of shape `(n, height,
            width)` or `(n, height, width, channels)`. Not copied. Or
            `StreamedImages`, of which the labelled ones are kept in memory
            where there are others.
        y: Class ids, integers of shape `(n,)` or `(n, 1)`, -1 for no label.
        batch_size: Images in a batch.
        labeled_per_batch: Labelled images among them. `None` stands for the
            share of labelled images in the data, one at least.
        seed: Seed of the order of the images, a non-negative integer.
        initial_epoch: The epoch to begin with, counted from 0.
        initial_batch: The batch to begin that epoch with, counted from 0.
        pseudo_labels: `propagation.PseudoLabels` of the images, for those
            without a label; what is in it when a batch is made counts.
            Batches then have weights.
        images_per_epoch: Images in an epoch, others in each, where all have a
            label. `None` stands for all of them.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`. Streamed images gain from workers.
            Indexing an array gains nothing from them, and with workers Keras
            mixes neighbouring epochs if `fit` has to build the model first.

    Attributes:
        x: The images.
        y: Their labels, int32 of shape `(n,)`.
        epoch: The epoch that batches are drawn from.
        first_batch: The batch of it that comes first.
        made_at: Dict from the index of a batch to when it was last made, in
            `time.perf_counter`'s seconds.
        failure: The `InputError` of a batch that could not be read, in place
            of which a backend may raise an error of its own; `None` so far.

    Raises:
        InputError: If `x` or `y` are no images or labels, if no image has a
            label, or if a number is out of its range.

    Example:

    ```python
    data = ks.datasets.MixedDataset(
        x_train, y_train, batch_size=64, labeled_per_batch=16, seed=0
    )
    gan.fit(data, epochs=2, shuffle=False)
    ```
    """

    def __init__(
        self,
        x: streams.Images,
        y: np.ndarray,
        batch_size: int = 128,
        labeled_per_batch: int | None = None,
        seed: int = 0,
        initial_epoch: int = 0,
        initial_batch: int = 0,
        pseudo_labels: PseudoLabels | None = None,
        images_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(x, streams.StreamedImages):
            check_images(x)
        check_labels(y, None, num_images=len(x))
        if pseudo_labels is not None and len(pseudo_labels.labels) != len(x):
            raise InputError(
                f"there are {len(x)} images and {len(pseudo_labels.labels)} "
                "pseudo_labels; give PseudoLabels.none(len(x))"
            )
        _check_integer("seed", seed, at_least=0)
        _check_integer("initial_epoch", initial_epoch, at_least=0)
        super().__init__(**kwargs)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = initial_epoch
        self.pseudo_labels = pseudo_labels
        self.y = y.reshape(-1).astype("int32", copy=False)
        self._labeled = streams.compact(np.flatnonzero(self.y >= 0), len(x))
        self._unlabeled = streams.compact(np.flatnonzero(self.y < 0), len(x))
        self.labeled_per_batch = self._resolve_share(labeled_per_batch)
        if images_per_epoch is not None:
            _check_integer("images_per_epoch", images_per_epoch, at_least=1)
            if images_per_epoch > len(self._labeled) or len(self._unlabeled):
                raise InputError(
                    f"images_per_epoch is {images_per_epoch}; it is for data "
                    "in which as many images or more, and all, have a label"
                )
        self.images_per_epoch = images_per_epoch
        # They are repeated, and then put in order.
        limits.check_memory(
            2 * self._count_labeled_slots() * self._labeled.itemsize,
            "the order of an epoch's labelled images",
            "lower labeled_per_batch",
        )
        _check_integer("initial_batch", initial_batch, at_least=0)
        if initial_batch >= self._count_batches():
            raise InputError(
                f"initial_batch is {initial_batch} and an epoch has "
                f"{self._count_batches()} batches; give a smaller one"
            )
        self.first_batch = initial_batch
        self.x = streams.keep_labeled(x, self.y)
        self.made_at: dict[int, float] = {}
        self.failure: InputError | None = None
        self._cached_order = None
        self._epoch_begun = False
        self._drawn: set[int] = set()  # Indices of the epoch's batches so far.

    def __len__(self) -> int:
        """Returns the number of batches in the current epoch."""
        return self._count_batches() - self.first_batch

    def _count_batches(self):
        """Counts the batches of a whole epoch."""
        if len(self._unlabeled) == 0:
            return math.ceil(self._count_labeled_slots() / self.batch_size)
        per_batch = self.batch_size - self.labeled_per_batch
        return math.ceil(len(self._unlabeled) / per_batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Returns batch `index` of the current epoch.

        Args:
            index: An integer in `[0, len(self))`.

        Returns:
            `(images, labels)`: images as in `x`, and labels, int32 of shape
            `(batch_size,)`. The labelled ones come first. With pseudo-labels
            `(images, labels, weights)`: float32 weights of shape
            `(batch_size,)`, 1 for a label.
        """
        position = range(len(self))[index]
        index = position + self.first_batch
        labeled, unlabeled = self._order()
        start = index * self.labeled_per_batch
        labeled = labeled[start : start + self.labeled_per_batch]
        per_batch = self.batch_size - self.labeled_per_batch
        start = index * per_batch
        unlabeled = unlabeled[start : start + per_batch]
        rows = np.concatenate([labeled, unlabeled])
        if self._epoch_begun:
            self._drawn.add(index)
        try:
            batch = self.x[rows], *self._targets(rows)
        except InputError as error:
            self.failure = error
            raise
        self.made_at[position] = time.perf_counter()
        return batch

    def _targets(self, rows):
        labels = self.y[rows]
        if self.pseudo_labels is None:
            return (labels,)
        given = labels >= 0
        return (
            np.where(given, labels, self.pseudo_labels.labels[rows]),
            np.where(given, np.float32(1), self.pseudo_labels.weights[rows]),
        )

    # Before the first epoch of every `fit` and `evaluate` Keras calls
    # `on_epoch_end` once, and if it has to build the model it begins an epoch
    # before that, for the sake of one batch. Neither is an epoch.

    def on_epoch_begin(self) -> None:
        """Begins an epoch."""
        self._epoch_begun = True

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch, if this one was begun and is complete.

        An epoch that was broken off is seen again, all of it; but not with
        `workers`, whose batches are not counted.
        """
        # Keras' workers may draw before `on_epoch_begin`, or in processes of
        # their own, so that their batches cannot be counted here.
        uncounted = self.workers > 1 or self.use_multiprocessing
        complete = uncounted or len(self._drawn) == len(self)
        if self._epoch_begun and complete:
            self.first_batch = 0
            self.move_to(self.epoch + 1)
        self._epoch_begun = False
        # Here, so that the threads of the next epoch do not each do it.
        self._order()

    def move_to(self, epoch: int) -> None:
        """Moves to an epoch that is to begin next.

        Args:
            epoch: int, counted from 0.
        """
        if epoch != self.epoch:
            self.epoch = epoch
            self._drawn = set()
            self._order()

    def _resolve_share(self, labeled_per_batch):
        """Checks, or chooses, the number of labelled images in a batch."""
        check_some_labels(self.y)
        if len(self._unlabeled) == 0:
            _check_integer("batch_size", self.batch_size, at_least=1)
            if labeled_per_batch not in (None, self.batch_size):
                raise InputError(
                    f"labeled_per_batch is {labeled_per_batch} and every "
                    "image is labelled; leave it out"
                )
            return self.batch_size
        _check_integer("batch_size", self.batch_size, at_least=2)
        if labeled_per_batch is None:
            share = len(self._labeled) / len(self.y)
            labeled_per_batch = max(1, round(self.batch_size * share))
            return min(labeled_per_batch, self.batch_size - 1)
        _check_integer("labeled_per_batch", labeled_per_batch, at_least=1)
        if labeled_per_batch >= self.batch_size:
            raise InputError(
                f"labeled_per_batch is {labeled_per_batch} of a batch of "
                f"{self.batch_size}; leave room for an unlabelled image"
            )
        return labeled_per_batch

    def _order(self):
        """Returns the epoch's `(labelled, unlabelled)` rows, in order."""
        # Read and written as one tuple: threads of Keras may come in here.
        cached, epoch = self._cached_order, self.epoch
        if cached is not None and cached[0] == epoch:
            return cached[1:]
        rng = np.random.default_rng([self.seed, epoch])
        unlabeled = rng.permutation(self._unlabeled)
        unlabeled = streams.in_groups(self.x, unlabeled, rng)
        slots = self._count_labeled_slots()
        cycles = math.ceil(slots / len(self._labeled))
        labeled = np.tile(self._labeled, (cycles, 1))
        labeled = rng.permuted(labeled, axis=1).reshape(-1)[:slots]
        if len(self._unlabeled) == 0:
            labeled = streams.in_groups(self.x, labeled, rng)
        self._cached_order = (epoch, labeled, unlabeled)
        return labeled, unlabeled

    def _count_labeled_slots(self):
        """Counts the labelled images, repeats included, of an epoch."""
        if len(self._unlabeled) == 0:
            return self.images_per_epoch or len(self._labeled)
        full_batches = self._count_batches() - 1
        per_batch = self.batch_size - self.labeled_per_batch
        rest = len(self._unlabeled) - full_batches * per_batch
        in_last = max(1, round(self.labeled_per_batch * rest / per_batch))
        return full_batches * self.labeled_per_batch + in_last


class FirstEpoch(keras.callbacks.Callback):
    """Has a dataset begin with the epoch that `fit` begins with.

    That is a later one than `fit` was told where another callback, such as
    `keras.callbacks.BackupAndRestore`, goes on with a run. Goes first of all
    callbacks: others look at the dataset's epoch.

    Args:
        data: A `MixedDataset`, at the epoch that goes with `initial_epoch`.
        initial_epoch: int, as `fit` was told.
    """

    def __init__(self, data: MixedDataset, initial_epoch: int) -> None:
        super().__init__()
        self.data = data
        self._ahead = data.epoch - initial_epoch
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # From then on the dataset counts by itself.
        if not self._begun:
            self._begun = True
            self.data.move_to(max(0, epoch + self._ahead))


def _check_integer(name, value, at_least):
    is_integer = isinstance(value, numbers.Integral)
    if isinstance(value, bool) or not is_integer or value < at_least:
        raise InputError(
            f"{name} is {value!r}; give an integer of at least {at_least}"
        )
