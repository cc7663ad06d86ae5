"""Data-parallel training on the engines that the backends bring.

- JAX: `keras.distribution.DataParallel`. The step sees the global batch, and
  XLA splits it: nothing below is needed inside of the step.
- TensorFlow: `tf.distribute.MirroredStrategy`. Each replica runs the step on
  its shard.
- PyTorch: `torch.distributed`, one process per device. Each process runs the
  step on its shard. `DistributedDataParallel` itself does not apply: its hooks
  wait for `backward()`, and "this module doesn't work with
  `torch.autograd.grad()`" (its documentation), which the step needs in order
  not to compute gradients in vain. What it adds is done by the same
  collectives here: equal weights at the start, averaged gradients.

Where replicas run the step apart, the convention is that of
`DistributedDataParallel`: the mean over the replicas of the losses is the loss
of the global batch, and the mean of the gradients its gradient. Shards are of
one size, so a mean over the batch needs no care; what else reaches across the
batch (the sum of the mask, mean features, batch statistics) goes through
`all_mean`.
"""

import atexit
import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssgan import text_files
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.types import Tensor

BACKEND = keras.backend.backend()
# What a launcher sets.
_LAUNCHERS = {
    "jax": ("KERAS_DISTRIBUTION_NUM_PROCESSES", "see docs/distribution.md"),
    "torch": ("WORLD_SIZE", "start the processes with torchrun"),
}


# === Starting ===


@contextlib.contextmanager
def scope(
    devices: int | None = None, distribute: bool = False
) -> Iterator[None]:
    """Within it, models are built for and trained on many devices.

    Nothing may have been computed before by the process if `distribute`, and
    on JAX a process can do so once.

    Args:
        devices: int, devices of this process. Defaults to one, or with
            `distribute` to all that the process sees.
        distribute: bool, whether this is one of several processes. How many
            there are and which one this is stands in the environment:
            `KERAS_DISTRIBUTION_*` on JAX, what `torchrun` sets on PyTorch.

    Raises:
        InputError: If the backend or the machine cannot do this.
    """
    if devices is not None and devices < 1:
        raise InputError(f"devices is {devices}; give at least 1")
    if distribute:
        _check_launcher()
    elif devices in (None, 1):
        yield
        return
    with _SCOPES[BACKEND](devices, distribute):
        yield


def _check_launcher():
    if BACKEND == "tensorflow":
        raise InputError(
            f"fit of Keras {keras.version()} fails under TensorFlow's "
            "MultiWorkerMirroredStrategy (Keras issue 20585); take devices of "
            "one process, or several processes on JAX or PyTorch"
        )
    variable, remedy = _LAUNCHERS[BACKEND]
    if variable not in os.environ:
        raise InputError(
            f"distribute on {BACKEND} reads {variable} and its like, which "
            f"are not set; {remedy}"
        )


@contextlib.contextmanager
def _launched():
    """Has it said that the environment is none of a launcher's."""
    try:
        yield
    # A variable that is missing, or is no number.
    except (KeyError, ValueError) as error:
        _, remedy = _LAUNCHERS[BACKEND]
        raise InputError(
            f"distribute on {BACKEND} cannot make use of what is set "
            f"({text_files.one_line(error)}); {remedy}"
        ) from None


@contextlib.contextmanager
def _jax_scope(devices, distribute):
    import jax

    if distribute:
        with _launched():
            keras.distribution.initialize()
    _check_devices(devices, jax.local_device_count(), exactly=distribute)
    names = keras.distribution.list_devices()
    distribution = keras.distribution.DataParallel(
        devices=names if distribute else names[:devices],
        # `Dealt` does.
        auto_shard_dataset=False,
    )
    try:
        with distribution.scope():
            yield
    except RunStopped as stopped:
        if distribute:
            atexit.register(_leave, stopped.exit_code)
        raise
    if distribute:
        # At the end of the process it would be too late: whoever is done first
        # waits there a few minutes for the others, and then ends them all.
        jax.distributed.shutdown()


def _leave(exit_code):
    """Ends the process before JAX does.

    JAX would wait for the others, and they wait in their step for this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


@contextlib.contextmanager
def _tensorflow_scope(devices, distribute):
    import tensorflow as tf

    there_are = tf.config.list_logical_devices("GPU")
    there_are = there_are or tf.config.list_logical_devices("CPU")
    _check_devices(devices, len(there_are))
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in there_are[:devices]]
    )
    with strategy.scope():
        yield


@contextlib.contextmanager
def _torch_scope(devices, distribute):
    import torch

    if devices not in (None, 1):
        raise InputError(
            f"Keras {keras.version()} on PyTorch trains on one device per "
            f"process; start {devices} processes with torchrun, and pass "
            "distribute instead of devices"
        )
    started = torch.distributed.is_initialized()
    if not started:
        on_gpu = torch.cuda.is_available()
        with _launched():
            if on_gpu:
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        if not started:
            torch.distributed.destroy_process_group()


_SCOPES = {
    "jax": _jax_scope,
    "tensorflow": _tensorflow_scope,
    "torch": _torch_scope,
}


def _check_devices(devices, there_are, exactly=False):
    if devices is None:
        return
    if devices > there_are or (exactly and devices != there_are):
        raise InputError(
            f"devices is {devices}, and {BACKEND} sees {there_are} in this "
            "process; docs/distribution.md says how to show or simulate more"
        )


@contextlib.contextmanager
def undistributed() -> Iterator[None]:
    """Within it, JAX takes batches of any size, and does not split them."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    if BACKEND == "jax":
        import jax

        return jax.process_index() == 0
    return BACKEND == "tensorflow" or _torch_rank() == 0


def _torch_world_size():
    import torch

    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def _torch_rank():
    import torch

    return torch.distributed.get_rank() if _torch_world_size() > 1 else 0


# === Inside of the step ===


def num_replicas() -> int:
    """Replicas that run this step apart, this one included."""
    if BACKEND == "torch":
        return _torch_world_size()
    if BACKEND == "tensorflow":
        import tensorflow as tf

        if tf.distribute.in_cross_replica_context():
            return 1
        return tf.distribute.get_strategy().num_replicas_in_sync
    return 1


def _replica():
    """The number of this replica, from 0."""
    if BACKEND == "torch":
        return _torch_rank()
    import tensorflow as tf

    return tf.distribute.get_replica_context().replica_id_in_sync_group


def all_mean(x: Tensor) -> Tensor:
    """Mean over the replicas, differentiable.

    Args:
        x: Float tensor, of the same shape on each replica.

    Returns:
        Tensor like `x`, the same on each replica.
    """
    if num_replicas() == 1:
        return x
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.MEAN, x
        )
    return _torch_all_mean()(x)


@functools.cache
def _torch_all_mean():
    import torch

    class AllMean(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x = x.clone(memory_format=torch.contiguous_format)
            torch.distributed.all_reduce(x)
            return x / num_replicas()

        @staticmethod
        def backward(ctx, gradient):
            return AllMean.apply(gradient)

    return AllMean.apply


def moments(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance over the global batch.

    One collective for both, so that the variance is the mean square less the
    squared mean, as in Keras' own `synchronized=True`.

    Args:
        x: Float32 tensor, of the same shape on each replica.
        axes: List of int, the axes to reduce, that of the batch among them.

    Returns:
        Two tensors of the shape that is left.
    """
    means = ops.stack([ops.mean(x, axes), ops.mean(ops.square(x), axes)])
    mean, mean_square = ops.unstack(all_mean(means), num=2)
    return mean, ops.maximum(mean_square - ops.square(mean), 0.0)


def mean_gradients(gradients: list[Tensor]) -> list[Tensor]:
    """Gradients to hand to an optimizer, from those of this replica.

    Args:
        gradients: List of float tensors.

    Returns:
        List like `gradients`. On PyTorch their means over the replicas, from
        one collective; on TensorFlow shares of them, since Keras' optimizers
        add the replicas' up.
    """
    replicas = num_replicas()
    if replicas == 1:
        return gradients
    if BACKEND == "tensorflow":
        return [gradient / replicas for gradient in gradients]
    import torch

    bucket = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(bucket)
    parts = (bucket / replicas).split([g.numel() for g in gradients])
    return [p.view_as(g) for p, g in zip(parts, gradients, strict=True)]


def draw(
    sample: Callable[..., Tensor], shape: tuple, axis: int = 0, **kwargs: Any
) -> Tensor:
    """This replica's part of numbers that are drawn for the global batch.

    Each replica draws them all, from the same seed: one device draws the same.

    Args:
        sample: Function like `keras.random.normal`.
        shape: Tuple, the shape of this replica's part.
        axis: int, the axis of the batch.
        **kwargs: Further arguments of `sample`, such as `seed`.

    Returns:
        Tensor of the given shape.
    """
    replicas = num_replicas()
    if replicas == 1:
        return sample(shape, **kwargs)
    own = shape[axis]
    shape = (*shape[:axis], own * replicas, *shape[axis + 1 :])
    numbers = sample(shape, **kwargs)
    first = _replica() * own
    return numbers[(slice(None),) * axis + (slice(first, first + own),)]


class _ReplicaSeed(keras.random.SeedGenerator):
    """Moves on a seed generator, and gives each replica other seeds."""

    def __init__(self, generator):
        self.generator = generator

    def next(self, ordered=True):
        seed = self.generator.next(ordered)
        # Far from the seeds that come next, of which PyTorch sees the sum.
        offset = ops.cast(_replica(), seed.dtype) * 0x3C6EF35F
        return seed + ops.stack([offset, ops.zeros_like(offset)])


def replica_seed(
    generator: keras.random.SeedGenerator,
) -> keras.random.SeedGenerator:
    """Seed for numbers that no other replica may draw, such as dropout's.

    Args:
        generator: `keras.random.SeedGenerator`.

    Returns:
        What functions such as `keras.random.uniform` take for a `seed`.
    """
    return generator if num_replicas() == 1 else _ReplicaSeed(generator)


def pool_for_metrics(losses: list[Tensor], *rows: Tensor) -> tuple:
    """What metrics have to see for figures of the global batch.

    Keras sums up the replicas' metrics on TensorFlow. On PyTorch it does not;
    there each process updates its metrics with the global batch, so that
    callbacks which act on them act alike in all processes.

    Args:
        losses: List of scalar tensors of this replica.
        *rows: Tensors whose first axis is the batch.

    Returns:
        Tuple of the same, of the global batch on PyTorch.
    """
    if BACKEND != "torch" or num_replicas() == 1:
        return losses, *rows
    losses = list(ops.unstack(all_mean(ops.stack(losses))))
    return losses, *[_torch_gather(x) for x in rows]


def _torch_gather(x):
    import torch

    parts = [torch.empty_like(x) for _ in range(num_replicas())]
    torch.distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


# === Data ===


class Dealt(keras.utils.PyDataset):
    """The batches of a dataset, dealt out to devices.

    Device `r` of `n` gets rows `r`, `r + n`, `r + 2 n`, ... of a batch. Where
    the labelled images come first, as in `MixedDataset`, each device so gets
    its share of the labelled and of the others, up to one. A batch that does
    not divide by `n` loses up to `n - 1` of its last rows; one of fewer than
    `n` rows repeats some.

    The rows of one device stand together, in the order of the devices, as the
    engines want them.

    Args:
        dataset: `keras.utils.PyDataset` of tuples of arrays; the same in every
            process.
        devices: int, `n`.
        process: int, the process whose rows these are.
        processes: int; each has as many devices. 1 for the rows of all.
        skipped_epochs: int, times that `fit` begins an epoch only to look at a
            batch; the dataset is not told.
    """

    def __init__(
        self,
        dataset: keras.utils.PyDataset,
        devices: int,
        process: int = 0,
        processes: int = 1,
        skipped_epochs: int = 0,
    ) -> None:
        super().__init__(
            # With several, batches that were made ready for a look at one
            # would be those of the epoch that follows.
            workers=1 if skipped_epochs else dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self.dataset = dataset
        self.devices = devices
        self.process = process
        self.processes = processes
        self._skipped_epochs = skipped_epochs

    @property
    def num_batches(self) -> int | None:
        return self.dataset.num_batches

    def __getitem__(self, index):
        batch = self.dataset[index]
        size = len(batch[0])
        size = max(size - size % self.devices, self.devices)
        rows = np.resize(np.arange(len(batch[0])), size)
        rows = rows.reshape(-1, self.devices).T
        rows = np.split(rows, self.processes)[self.process].reshape(-1)
        return tuple(array[rows] for array in batch)

    def on_epoch_begin(self) -> None:
        self._skipped_epochs -= 1
        if self._skipped_epochs < 0:
            self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.dataset.on_epoch_end()


def check_dealable(model: keras.Model, x: Any) -> None:
    """Checks that `deal` can deal data out to the devices of a model.

    Args:
        model: `keras.Model`, compiled.
        x: Data of `keras.Model.fit`.

    Raises:
        InputError: If there are several devices, and `x` cannot be dealt out
            or an optimizer would not do there what it does on one.
    """
    devices, _, _ = _cluster(model)
    if devices == 1:
        return
    if not isinstance(x, keras.utils.PyDataset):
        raise InputError(
            f"on {devices} devices fit takes a PyDataset, such as "
            f"datasets.MixedDataset; received {type(x).__name__}"
        )
    if getattr(x, "batch_size", 0) % devices:
        raise InputError(
            f"the batch size, {x.batch_size}, does not divide by {devices} "
            "devices"
        )
    if BACKEND == "tensorflow":
        _check_optimizers(model.optimizer.optimizers)


def deal(model: keras.Model, x: Any) -> Any:
    """Data of `fit` for the devices that the model is trained on.

    Args:
        model: `keras.Model`, compiled.
        x: Data of `keras.Model.fit`, that `check_dealable` accepts.

    Returns:
        `x` on one device, else the `Dealt` that this process has to train on.
    """
    check_dealable(model, x)
    devices, process, processes = _cluster(model)
    if devices == 1:
        return x
    if BACKEND == "torch":
        _send_from_main(model)
    # On TensorFlow `fit` takes a batch to build the model, built or not.
    return Dealt(
        x,
        devices,
        process,
        processes,
        skipped_epochs=1 if BACKEND == "tensorflow" else 0,
    )


def _cluster(model):
    """Devices of all processes, this process, and how many are dealt to.

    TensorFlow takes the batch of all in each process, and splits it itself.
    """
    if BACKEND == "tensorflow":
        return model.distribute_strategy.num_replicas_in_sync, 0, 1
    if BACKEND == "torch":
        return _torch_world_size(), _torch_rank(), _torch_world_size()
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1, 0, 1
    devices = distribution.num_model_replicas
    return devices, distribution.data_shard_id, distribution.num_processes


def _check_optimizers(optimizers):
    """Refuses what Keras does before it adds up the replicas' gradients."""
    for optimizer in optimizers:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise InputError(
                "on several devices TensorFlow scales the loss of each by "
                "itself; take mixed_bfloat16, or auto_scale_loss=False"
            )
        clips = (
            optimizer.clipnorm,
            optimizer.clipvalue,
            optimizer.global_clipnorm,
        )
        if any(clips):
            raise InputError(
                "on several devices TensorFlow clips the gradients of each by "
                f"itself; give {optimizer.name} no clipnorm, clipvalue or "
                "global_clipnorm"
            )


def _send_from_main(model):
    """Makes the state of all processes that of the main one."""
    import torch

    for variable in model.variables + model.optimizer.variables:
        torch.distributed.broadcast(variable.value.detach(), src=0)


def deal_validation(
    model: keras.Model,
    validation_data: tuple,
    validation_batch_size: int | None = None,
) -> dict[str, Any]:
    """Arrays of `fit` to evaluate on, for the model's devices.

    On JAX every batch has to divide by the devices, and on TensorFlow what
    `fit` evaluates on has to (Keras 3.15 adds up the first batch's shards).
    Images without a label are added, which do not count. On PyTorch each
    process evaluates all images.

    Args:
        model: `keras.Model`, compiled.
        validation_data: Tuple of arrays: images, labels, and perhaps weights.
        validation_batch_size: int, or `None` for Keras' default.

    Returns:
        Dict of both arguments, as this process has to hand them to `fit`.

    Raises:
        InputError: If there are several devices, and it is no tuple.
    """
    devices, process, processes = _cluster(model)
    if BACKEND == "torch" or devices == 1:
        return {
            "validation_data": validation_data,
            "validation_batch_size": validation_batch_size,
        }
    if not isinstance(validation_data, (tuple, list)):
        raise InputError(
            f"on {devices} devices fit takes validation_data of arrays, "
            f"(images, labels); received {type(validation_data).__name__}"
        )
    images, labels, *weights = (x for x in validation_data if x is not None)
    # An unsigned integer is never -1.
    labels = labels.astype("int32")
    missing = -len(images) % devices
    # Of any image and weight, since these labels hide them.
    data = [
        np.concatenate([array, np.resize(array, (missing, *array.shape[1:]))])
        for array in (images, labels, *weights)
    ]
    data[1][len(labels) :] = -1
    batch_size = math.ceil((validation_batch_size or 32) / devices) * devices
    return {
        "validation_data": tuple(array[process::processes] for array in data),
        "validation_batch_size": batch_size // processes,
    }
