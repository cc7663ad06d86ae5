"""One training run, from its settings to a folder of results."""

import contextlib
import dataclasses
import errno
import importlib.util
import logging
import math
import os
import signal
import time
import typing
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_ssgan
from keras_ssgan import animation
from keras_ssgan import backends
from keras_ssgan import calibration
from keras_ssgan import callbacks
from keras_ssgan import checks
from keras_ssgan import datasets
from keras_ssgan import distribution
from keras_ssgan import evaluation
from keras_ssgan import files
from keras_ssgan import losses
from keras_ssgan import plotting
from keras_ssgan import runs
from keras_ssgan import text_files
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.checkpoints import Progress
from keras_ssgan.datasets import streams
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.interruption import Interruption
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.propagation import PseudoLabels
from keras_ssgan.settings import get_preset
from keras_ssgan.types import PathLike

# Disk full or over quota, file too large, no right to write, disk broken, a
# file where a folder should be, or the other way round.
_WRITE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)
_logger = logging.getLogger(__name__)

# Threads that read batches ahead, where images are streamed.
_READERS = 4
# Images in an epoch of the baseline, whose labelled ones are repeated for it:
# one of a few takes longer to begin than to train.
_BASELINE_EPOCH = 10_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of a run; those that are `None` are the preset's.

    Attributes:
        dataset: `"digits"`, `"mnist"`, or a path (see `datasets.load`).
        preset: Name of the preset.
        labels: Labels that are kept, as a share (float) or a count (int). The
            default is the preset's share, or all of them where the dataset
            has unlabelled images of its own.
        validation: Share of the kept labels that is held out.
        epochs: Passes over the unlabelled images.
        batch_size: Images per step.
        labeled_per_batch: Labelled ones among them, where there are others.
        seed: Seed of everything that is random.
        dtype: Dtype policy, such as `"mixed_bfloat16"`.
        baseline: Whether the same network is also trained on the labelled
            images alone, to compare.
        stream: Whether the training images stay on disk (see
            `datasets.load`).
        devices: Devices of this process, which share each batch; `None` for
            one, or with `distribute` for all that there are.
        distribute: Whether this is one of several processes, which a launcher
            started (see `distribution.scope`).
    """

    dataset: str = "mnist"
    preset: str = "article"
    labels: float | int | None = None
    validation: float = 0.1
    epochs: int | None = None
    batch_size: int | None = None
    labeled_per_batch: int | None = None
    seed: int = 0
    dtype: str = "float32"
    baseline: bool = False
    stream: bool | None = None
    devices: int | None = None
    distribute: bool = False

    def __post_init__(self):
        preset = get_preset(self.preset)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(preset, name))
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1")
        # `from_preset` counts on from it, and PyTorch takes no larger ones.
        if not 0 <= self.seed < 2**31 - 3:
            raise InputError(
                f"seed is {self.seed}; give one from 0 to {2**31 - 4}"
            )
        try:
            policy = keras.dtype_policies.get(self.dtype)
            is_float = keras.backend.is_float_dtype(policy.compute_dtype)
            # A quantised model is made of a trained one.
            if policy.quantization_mode or not is_float:
                raise ValueError
        except (ValueError, TypeError):
            raise InputError(
                f"dtype {self.dtype!r} cannot be trained in; use float32, "
                "mixed_bfloat16 or mixed_float16"
            ) from None
        checks.check_weights_dtype(policy.variable_dtype)


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a run.

    Attributes:
        train: `(images, labels)`; -1 where there is no label.
        validation: `(images, labels)`, possibly of length 0.
        test: `(images, labels)`.
        class_names: One name per class.
        fingerprint: That of the dataset (`datasets.Dataset.fingerprint`).
        pseudo_labels: `PseudoLabels` of the training images, which training
            fills; `None` where the preset does without, or has no use for
            them.
    """

    train: tuple
    validation: tuple
    test: tuple
    class_names: list
    fingerprint: str
    pseudo_labels: PseudoLabels | None

    @property
    def labeled(self) -> tuple[np.ndarray, np.ndarray]:
        """The labelled training images, `(images, labels)`."""
        images, labels = self.train
        return images[labels >= 0], labels[labels >= 0]

    def counts(self) -> dict[str, int]:
        """Dict of the number of images in each part."""
        return {
            "train_images": len(self.train[1]),
            "train_labels": int(np.sum(self.train[1] >= 0)),
            "validation_labels": len(self.validation[1]),
            "test_images": len(self.test[1]),
        }


def load_split(config: Config) -> Split:
    """Loads a dataset and hides all labels but those that the run may see.

    Args:
        config: A `Config`.

    Returns:
        A `Split`.

    Raises:
        InputError: If the dataset or the labels asked for are not there.
    """
    size = get_preset(config.preset).image_size
    dataset = datasets.load(config.dataset, config.stream, largest=size)
    if dataset.channels != 1:
        raise InputError(
            f"{config.dataset} holds images of {dataset.channels} channels, "
            "and the presets are for grey ones; convert them, or build "
            "networks of your own"
        )
    _check_pixels(dataset, config)
    labels = _hide_labels(dataset, config)
    train, validation = datasets.split_validation(
        dataset.x_train,
        labels,
        config.validation,
        seed=config.seed,
        overwrite=True,
    )
    images, labels = train
    unlabeled = np.any(labels < 0)
    return Split(
        train=(streams.keep_labeled(images, labels), labels),
        validation=validation,
        test=(dataset.x_test, dataset.y_test),
        class_names=dataset.class_names,
        fingerprint=dataset.fingerprint(),
        pseudo_labels=(
            PseudoLabels.none(len(labels))
            if unlabeled and get_preset(config.preset).propagation
            else None
        ),
    )


def _check_pixels(dataset, config):
    """Refuses images that are scaled to 0 and 1, and warns of large ones."""
    if streams.some(dataset.x_train, 100).max() <= 1:
        raise InputError(
            f"no pixel of the training images in {config.dataset} is above 1 "
            "of 255; multiply them by 255, scaling is part of the model"
        )
    height, width = dataset.x_train.shape[1:3]
    size = get_preset(config.preset).image_size
    if max(height, width) >= 2 * size:
        _logger.warning(
            "Of images of %dx%d the networks of %s see no more than the pixels "
            "at %dx%d points, so thin lines get lost; store them that small",
            height,
            width,
            config.preset,
            size,
            size,
        )


def _hide_labels(dataset, config):
    """The labels that the run may see, -1 for the others."""
    keep = config.labels
    if keep is None:
        complete = np.all(dataset.y_train >= 0)
        keep = get_preset(config.preset).labels if complete else 1.0
    labels = datasets.hide_labels(dataset.y_train, keep, seed=config.seed)
    checks.check_labeled_set(labels, dataset.num_classes)
    hidden = np.sum(dataset.y_train >= 0) - np.sum(labels >= 0)
    if config.labels is None and hidden:
        _logger.info(
            "%d of %d labels are hidden, to compare; --labels 1.0 keeps them",
            hidden,
            len(labels),
        )
    without = np.setdiff1d(np.arange(dataset.num_classes), labels)
    if len(without):
        _logger.warning(
            "%d of the %d classes, such as %s, have no labelled image in "
            "training, and no image will be taken for one of them; classes "
            "are numbered from 0, without gaps",
            len(without),
            dataset.num_classes,
            text_files.one_line(dataset.class_names[without[0]]),
        )
    return labels


def train(
    config: Config,
    folder: PathLike,
    resume: bool = False,
    verbose: str | int = "auto",
    checkpoint_every: float = 120.0,
    tensorboard: bool = False,
) -> dict[str, Any] | None:
    """Trains a GAN and writes everything that is known of it.

    The folder gets `config.json`, `history.csv`, `metrics.json`,
    `samples/epoch_*.png`, `training.gif`, `curves.png`, `confusion.png`,
    `gan.keras`, `classifier.keras`, and for resuming `checkpoints/`. The
    classifier is calibrated on the validation images, where there are some.
    The test images are looked at once, at the end.

    A run that was broken off at any moment and is resumed, on the same backend
    and machine, ends with the very weights of one that was not. SIGINT and
    SIGTERM are answered after the running step, with a checkpoint.

    Args:
        config: A `Config`.
        folder: Path of the run's folder. It must not exist, or be empty,
            unless to resume.
        resume: Whether to go on from the last checkpoint of the run in
            `folder`, which must have the same settings; `epochs` may differ,
            unless the preset's learning rate decays over them, and the dataset
            may lie elsewhere.
        verbose: As in `keras.Model.fit`.
        checkpoint_every: float, seconds between two checkpoints of an epoch;
            one after each epoch comes on top.
        tensorboard: Whether TensorBoard's events go to `tensorboard/` in the
            folder; needs the packages `tensorflow` and `tensorboard`, on any
            backend.

    Returns:
        Dict of the results, as in `metrics.json`; `None` in all processes but
        the one that writes, if there are several.

    Raises:
        InputError: If a setting, the dataset or the folder is not usable;
            nothing is written then. Also if a disk is full: what was saved is
            intact then.
        RunStopped: If the run was interrupted, or if training has failed
            (see `callbacks.StopOnFailure`).
    """
    folder = Path(folder)
    boards = [_tensorboard(folder / "tensorboard")] if tensorboard else []
    if resume:
        _check_same_run(config, read_config(folder))
    elif folder.exists() and not files.is_empty(folder):
        raise InputError(
            f"{folder} exists already; choose another output folder, or "
            "continue its run with --resume"
        )
    else:
        _check_outside(folder, config.dataset)
    split = load_split(config)
    counts = split.counts()
    _logger.info(
        "%d training images, %d of them with a label; %d labelled images held "
        "out for validation; %d test images",
        *counts.values(),
    )
    # JAX has to compute nothing before the processes know of each other.
    with distribution.scope(config.devices, config.distribute):
        _warn_of_slow_dtype(config.dtype)
        keras.utils.set_random_seed(config.seed)
        data = mix(config, split)
        steps_per_epoch = len(data)
        steps = config.epochs * steps_per_epoch  # type: ignore[operator]
        gan = _build_gan(config, len(split.class_names), steps)
        # What `fit` would refuse, before anything is written.
        distribution.deal(gan, data)
        with _resumable(folder):
            start = time.perf_counter()
            checkpoints = Checkpoints(
                folder / "checkpoints", _arrays(split.pseudo_labels)
            )
            progress = _start(
                config,
                folder,
                gan,
                Progress(
                    steps_per_epoch,
                    dataset=split.fingerprint,
                    preset=get_preset(config.preset).fingerprint(),
                ),
                checkpoints,
            )
            waiting_share = _fit(
                config,
                folder,
                gan,
                split,
                checkpoints,
                progress,
                verbose,
                checkpoint_every,
                boards,
            )
            some_images = streams.some(split.train[0])
            gan.update_statistics(some_images)
            seconds = progress.seconds + time.perf_counter() - start
        if not distribution.is_main():
            return None

    with _resumable(folder):
        if not len(split.validation[1]):
            _logger.info(
                "No labelled image was held out: probabilities are not "
                "calibrated"
            )
        classifier = _calibrated_classifier(gan, split)
        metrics = {
            "class_names": split.class_names,
            "dataset_fingerprint": split.fingerprint,
            "images": counts,
            **runs.describe_images(some_images),
            "test": score(classifier, split.test, verbose),
            "seconds": round(seconds, 1),
            "waiting_share": waiting_share,
            "backend": keras.backend.backend(),
            "versions": {
                "keras": keras.version(),
                "keras_ssgan": keras_ssgan.__version__,
            },
        }
        if config.baseline:
            _logger.info(
                "Now the same network on the labelled images alone, quietly"
            )
            baseline = train_baseline(config, split)
            metrics["baseline"] = score(baseline, split.test, verbose)
        _write_results(folder, gan, classifier, metrics)
    return metrics


@contextlib.contextmanager
def _resumable(folder):
    """Says how to go on where the run is ended from outside."""
    command = runs.resume_command(folder)
    try:
        yield
    except KeyboardInterrupt:
        raise RunStopped(
            f"stopped; go on with: {command}", 128 + signal.SIGINT
        ) from None
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        message = f"could not write to {folder}: {os.strerror(error.errno)}"
        if runs.is_run(folder):
            message += (
                "; what was saved before is intact; once that is mended, go "
                f"on with: {command}"
            )
        raise InputError(message) from None


def _start(config, folder, gan, beginning, checkpoints):
    """Puts the folder and the model in the state of the last checkpoint.

    Args:
        config: A `Config`.
        folder: `pathlib.Path` of the run.
        gan: A compiled `SemiSupervisedGAN`.
        beginning: `Progress` of the run before its first step.
        checkpoints: `Checkpoints` of the run.

    Returns:
        The `Progress` of that checkpoint, or that of the beginning.
    """
    # After the rest of an epoch `_fit` reads back what was saved, and only the
    # main process knows when that is.
    progress = checkpoints.restore(gan, within_epoch=not config.distribute)
    if progress is None:
        progress = beginning
    elif (
        progress.steps_per_epoch != beginning.steps_per_epoch
        # Earlier versions did not know it.
        or progress.dataset not in ("", beginning.dataset)
    ):
        raise InputError(
            "the dataset has changed: the number of its images, its labels or "
            "its test set; resume with what the run was started with"
        )
    elif progress.preset not in ("", beginning.preset):
        raise InputError(
            f"another version of keras_ssgan started the run, whose preset "
            f"{config.preset} has other settings; resume it with that version, "
            "or start another"
        )
    elif progress.epoch > config.epochs:
        raise InputError(
            f"the run has {progress.epoch} epochs behind it; give --epochs "
            f"{progress.epoch} or more"
        )
    if not distribution.is_main():
        return progress
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(folder)
    files.write_json(folder / "config.json", dataclasses.asdict(config))
    # Rows of epochs whose end was not saved are dropped.
    with files.replacing(folder / "history.csv") as temporary:
        temporary.write_bytes(progress.history.encode())
    return progress


def _fit(
    config,
    folder,
    gan,
    split,
    checkpoints,
    progress,
    verbose,
    checkpoint_every,
    boards,
):
    """Trains from the given progress to the last epoch.

    Returns:
        The share of the time that was waited for data, or `None` where images
        are not streamed.
    """
    with Interruption() as interruption:

        def fit(progress, epochs):
            data = mix(config, split, progress.epoch, progress.step)
            propagation = (
                [callbacks.PropagateLabels(data)] if split.pseudo_labels else []
            )
            # It has Keras fetch the logs of every step.
            waiting = [callbacks.WaitingShare(data)] * _is_streamed(split)
            writers = [
                callbacks.TimeLeft(),
                *[callbacks.ProgressBar()] * bool(verbose),
                *boards,
                keras.callbacks.CSVLogger(folder / "history.csv", append=True),
                # Last: with it, the epoch is finished.
                callbacks.Checkpoint(
                    checkpoints,
                    progress,
                    folder,
                    interruption,
                    checkpoint_every,
                ),
            ] * distribution.is_main()
            try:
                gan.fit(
                    data,
                    epochs=epochs,
                    initial_epoch=progress.epoch,
                    # The dataset shuffles by itself, reproducibly.
                    shuffle=False,
                    validation_data=(
                        split.validation if len(split.validation[1]) else None
                    ),
                    callbacks=[
                        # First: it is no waiting for data.
                        *propagation,
                        *waiting,
                        callbacks.StopOnFailure(checkpoints, folder),
                        callbacks.SampleGrid(folder / "samples"),
                        *writers,
                    ],
                    verbose=verbose if distribution.is_main() else 0,
                )
            except Exception:
                if data.failure is not None:
                    # TensorFlow has raised an error that hides it.
                    raise data.failure from None
                stopped = interruption.signal
                if stopped is None or distribution.is_main():
                    raise
                # The main process has saved and is gone, which breaks off
                # what this one computes with it.
                raise RunStopped(
                    f"stopped by {stopped.name}", 128 + stopped
                ) from None
            return waiting[0].share if waiting else None

        if progress.step and progress.epoch < config.epochs:
            # Keras counts the batches of an epoch once per `fit`, and ends it
            # with averaged weights: the others are read back.
            fit(progress, progress.epoch + 1)
            progress = checkpoints.restore(gan)
        return fit(progress, config.epochs)


def mix(
    config: Config, split: Split, initial_epoch: int = 0, initial_batch: int = 0
) -> datasets.MixedDataset:
    """The training images in batches of labelled and unlabelled ones.

    Args:
        config: A `Config`.
        split: A `Split`.
        initial_epoch: int, epoch that comes first.
        initial_batch: int, batch of it that comes first.

    Returns:
        A `datasets.MixedDataset`.
    """
    images, labels = split.train
    labeled_per_batch = config.labeled_per_batch
    if labeled_per_batch is None and np.any(labels < 0):
        preset = get_preset(config.preset)
        labeled_per_batch = preset.labeled_per_batch(config.batch_size)  # type: ignore[arg-type]
    return datasets.MixedDataset(
        images,
        labels,
        batch_size=config.batch_size,
        labeled_per_batch=labeled_per_batch,
        seed=config.seed,
        initial_epoch=initial_epoch,
        initial_batch=initial_batch,
        pseudo_labels=split.pseudo_labels,
        workers=_READERS if _is_streamed(split) else 1,
    )


def _arrays(pseudo_labels):
    """What a checkpoint has to hold of them."""
    if pseudo_labels is None:
        return []
    return [pseudo_labels.labels, pseudo_labels.weights]


def _is_streamed(split):
    return isinstance(split.train[0], datasets.StreamedImages)


def train_baseline(config: Config, split: Split) -> keras.Model:
    """Trains the preset's discriminator on the labelled images alone.

    The same network from the same weights, the same optimizer and number of
    images, each labelled one many times; no unlabelled one and no generator.
    The number is rounded up to whole epochs of at most 10,000 images, or of all
    labelled ones if they are more.

    Args:
        config: A `Config`.
        split: A `Split`.

    Returns:
        A classifier, as `SemiSupervisedGAN.classifier` gives it, calibrated
        on the validation images.
    """
    keras.utils.set_random_seed(config.seed)
    steps = config.epochs * len(mix(config, split))  # type: ignore[operator]
    gan = _build_gan(config, len(split.class_names), steps)
    images, labels = split.labeled
    if images.ndim == 3:
        images = images[..., np.newaxis]

    inputs = keras.Input(images.shape[1:], dtype="uint8")
    x = gan.preprocessor(inputs)
    if gan.augmentation is not None:
        x = gan.augmentation(x)
    _, logits = gan.discriminator(x)
    model = keras.Model(inputs, losses.class_logits(logits))
    model.compile(
        gan.discriminator_optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    num_images = steps * config.batch_size  # type: ignore[operator]
    copies = max(1, min(num_images, _BASELINE_EPOCH) // len(labels))
    model.fit(
        np.concatenate([images] * copies),
        np.tile(labels, copies),
        batch_size=config.batch_size,
        epochs=math.ceil(num_images / (copies * len(labels))),
        verbose=0,
    )
    gan.update_statistics(streams.some(images))
    return _calibrated_classifier(gan, split)


def _build_gan(config, num_classes, steps):
    preset = get_preset(config.preset)
    learning_rate = preset.learning_rate
    if preset.decay:
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate, steps
        )
    gan = SemiSupervisedGAN.from_preset(
        config.preset,
        num_classes,
        dtype=config.dtype,
        seed=config.seed,
        learning_rate=learning_rate,
    )
    gan.compile()
    return gan


def _calibrated_classifier(gan, split):
    """The classifier at the temperature that the validation images ask for."""
    images, labels = split.validation
    if not len(labels):
        return gan.classifier()
    probabilities = gan.predict(images, batch_size=256, verbose=0)
    return gan.classifier(
        temperature=calibration.fit_temperature(labels, probabilities)
    )


def _warn_of_slow_dtype(dtype):
    is_bfloat16 = keras.dtype_policies.get(dtype).compute_dtype == "bfloat16"
    on_cpu = "cpu" in str(keras.ops.zeros(()).device).lower()
    if is_bfloat16 and on_cpu and backends.emulates_bfloat16():
        _logger.warning(
            "This processor has no instructions for bfloat16: a step can take "
            "several times as long as in float32, which `keras-ssgan "
            "benchmark --preset ... --dtypes float32,%s` tells",
            dtype,
        )


def _tensorboard(folder):
    """Keras' callback, which needs two packages that Keras does not."""
    for name in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"TensorBoard's events need {name}, which is not installed; "
                "run pip install tensorflow tensorboard"
            )
    for writers in (folder, folder / "train", folder / "validation"):
        files.check_no_link(writers)
    # TensorFlow would take all of a GPU's memory, which another backend needs.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Without the graph, which only one backend has.
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def score(
    classifier: keras.Model,
    test: tuple[np.ndarray, np.ndarray],
    verbose: int | str = 0,
) -> dict[str, Any]:
    """What a classifier makes of test images.

    Args:
        classifier: As `SemiSupervisedGAN.classifier` gives it.
        test: Images and their labels, as in `Split`.
        verbose: As in `keras.Model.predict`.

    Returns:
        Dict as from `evaluation.classification_report`.
    """
    images, labels = test
    probabilities = classifier.predict(images, batch_size=256, verbose=verbose)
    return evaluation.classification_report(
        labels, probabilities, runs.temperature_of(classifier)
    )


def read_config(folder: PathLike, **changes: Any) -> Config:
    """The settings of a run.

    Args:
        folder: Path of a run's folder.
        **changes: Settings to be other than they were.

    Returns:
        A `Config`.

    Raises:
        InputError: If the folder holds no run, or a damaged one.
    """
    path = Path(folder) / "config.json"
    try:
        settings = text_files.read_json_object(path)
        _check_settings(settings)
    except OSError:
        raise InputError(
            f"{folder} holds no run to resume; it has no {path.name}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return Config(**{**settings, **changes})


def _check_settings(settings):
    """Raises a ValueError on what `Config` does not take."""
    types = typing.get_type_hints(Config)
    for name, value in settings.items():
        if name not in types:
            raise ValueError("it holds other things than settings")
        # JSON has one kind of number, and to Python a bool is one as well.
        kinds = types[name] | int if types[name] is float else types[name]
        if not isinstance(value, kinds) or (
            isinstance(value, bool)
            and bool not in (kinds, *typing.get_args(kinds))
        ):
            raise ValueError(f"{name} is {value!r:.80}")
        if isinstance(value, int | float) and not abs(value) < 2**63:
            raise ValueError(f"{name} is out of range")
    if str(settings.get("dataset")).startswith(("//", "\\\\")):
        raise ValueError("the dataset is on another machine; pass --dataset")


def _check_outside(folder, dataset):
    """Refuses a run that would be taken for images of its own dataset."""
    path = Path(dataset)
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise InputError(
            f"{folder} lies within the dataset, {path}; choose an --output "
            "outside of it"
        )


def _check_same_run(config, earlier):
    # Where a dataset lies is no matter; what it holds is checked later.
    free = {"dataset", "epochs", "baseline", "devices", "distribute"}
    if get_preset(earlier.preset).decay:
        free.remove("epochs")
    for field in dataclasses.fields(Config):
        old, new = getattr(earlier, field.name), getattr(config, field.name)
        if old != new and field.name not in free:
            raise InputError(
                f"the run was started with {field.name}={old!r}, not {new!r}; "
                "resume it as it was, or start another"
            )


def _write_results(folder, gan, classifier, metrics):
    def write(name, save):
        with files.replacing(folder / name) as temporary:
            save(temporary)

    # First: no picture that fails should cost the models. Unlike the
    # checkpoint, `gan` has the moving average for weights by now.
    write("gan.keras", gan.save)
    write("classifier.keras", classifier.save)
    animation.training(folder / "samples", folder / "training.gif")
    write("curves.png", plotting.curves(runs.read_history(folder)).save)
    confusion = plotting.confusion_matrix(
        np.array(metrics["test"]["confusion"]), metrics["class_names"]
    )
    write("confusion.png", confusion.save)
    # Last: where it stands, the run is complete.
    files.write_json(folder / "metrics.json", metrics)
