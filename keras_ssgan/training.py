"""One training run, from its settings to a folder of results."""

import contextlib
import dataclasses
import importlib.util
import logging
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_ssgan
from keras_ssgan import animation
from keras_ssgan import backends
from keras_ssgan import calibration
from keras_ssgan import callbacks
from keras_ssgan import datasets
from keras_ssgan import distribution
from keras_ssgan import evaluation
from keras_ssgan import facts
from keras_ssgan import files
from keras_ssgan import losses
from keras_ssgan import plotting
from keras_ssgan import runs
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.checkpoints import Progress
from keras_ssgan.config import Config
from keras_ssgan.config import check_same_run
from keras_ssgan.config import read_config
from keras_ssgan.datasets import streams
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.interruption import Interruption
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.settings import get_preset
from keras_ssgan.split import Split
from keras_ssgan.split import load_split
from keras_ssgan.types import PathLike

_logger = logging.getLogger(__name__)

# Threads that read batches ahead, where images are streamed.
_READERS = 4
# Images in an epoch of the baseline, whose labelled ones are repeated for it:
# one of a few takes longer to begin than to train.
_BASELINE_EPOCH = 10_000


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
        check_same_run(config, read_config(folder))
    else:
        _check_new_folder(folder, config.dataset)
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
        distribution.check_dealable(gan, data)
        with _resumable(folder):
            start = time.perf_counter()
            trainer = _Trainer(
                config=config,
                folder=folder,
                gan=gan,
                split=split,
                checkpoints=Checkpoints(
                    folder / "checkpoints", _arrays(split.pseudo_labels)
                ),
                checkpoint_every=checkpoint_every,
                boards=boards,
                verbose=verbose,
            )
            progress = trainer.start(
                Progress(
                    steps_per_epoch,
                    dataset=split.fingerprint,
                    preset=get_preset(config.preset).fingerprint(),
                )
            )
            waiting_share = trainer.train(progress)
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
        image_format = runs.describe_images(some_images)
        metrics = {
            "class_names": split.class_names,
            "dataset_fingerprint": split.fingerprint,
            "images": counts,
            **image_format,
            "test": score(classifier, split.test, verbose),
            "seconds": round(seconds, 1),
            "waiting_share": waiting_share,
            "backend": keras.backend.backend(),
            "versions": {
                "keras": keras.version(),
                "keras_ssgan": keras_ssgan.__version__,
            },
        }
        # First: nothing that fails later should cost the models. Unlike the
        # checkpoint, `gan` has the moving average for weights by now.
        for name, model in ("gan", gan), ("classifier", classifier):
            with files.replacing(folder / f"{name}.keras") as temporary:
                model.save(temporary)
                facts.append(temporary, split.class_names, image_format)
        if config.baseline:
            _logger.info(
                "Now the same network on the labelled images alone, quietly"
            )
            baseline = train_baseline(config, split)
            metrics["baseline"] = score(baseline, split.test, verbose)
        _write_results(folder, metrics)
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
        if error.errno not in files.WRITE_ERRORS:
            raise
        message = f"could not write to {folder}: {os.strerror(error.errno)}"
        if runs.is_run(folder):
            message += (
                "; what was saved before is intact; once that is mended, go "
                f"on with: {command}"
            )
        raise InputError(message) from None


@dataclasses.dataclass(frozen=True)
class _Trainer:
    """Trains a model from where its run stands to the last epoch.

    Attributes:
        config: A `Config`.
        folder: `pathlib.Path` of the run.
        gan: A compiled `SemiSupervisedGAN`.
        split: A `Split`.
        checkpoints: `Checkpoints` of the run.
        checkpoint_every: float, seconds between two of an epoch.
        boards: List of further callbacks, for the process that writes.
        verbose: As in `keras.Model.fit`.
        interruption: `Interruption`, which hears signals while it trains.
    """

    config: Config
    folder: Path
    gan: SemiSupervisedGAN
    split: Split
    checkpoints: Checkpoints
    checkpoint_every: float
    boards: list
    verbose: str | int
    interruption: Interruption = dataclasses.field(default_factory=Interruption)

    def start(self, beginning):
        """Puts folder and model in the state of the last checkpoint.

        Args:
            beginning: `Progress` of the run before its first step.

        Returns:
            The `Progress` of that checkpoint, or that of the beginning.
        """
        # `train` reads back what it saved at the end of a broken epoch, and
        # only the main process knows when that is.
        progress = self.checkpoints.restore(
            self.gan, within_epoch=not self.config.distribute
        )
        if progress is None:
            progress = beginning
        else:
            _check_same_start(self.config, progress, beginning)
        if distribution.is_main():
            self._write_start(progress)
        return progress

    def _write_start(self, progress):
        self.folder.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(self.folder)
        files.write_json(
            self.folder / "config.json", dataclasses.asdict(self.config)
        )
        # Rows of epochs whose end was not saved are dropped.
        with files.replacing(self.folder / "history.csv") as temporary:
            temporary.write_bytes(progress.history.encode())

    def train(self, progress):
        """Trains from the given progress to the last epoch.

        Returns:
            The share of the time that was waited for data, or `None` where
            images are not streamed.
        """
        epochs = self.config.epochs
        with self.interruption:
            if progress.step and progress.epoch < epochs:
                # Keras counts the batches of an epoch once per `fit`, and ends
                # it with averaged weights: the others are read back.
                self._fit(progress, progress.epoch + 1)
                progress = self.checkpoints.restore(self.gan)
            return self._fit(progress, epochs)

    def _fit(self, progress, epochs):
        data = mix(self.config, self.split, progress.epoch, progress.step)
        propagation = (
            [callbacks.PropagateLabels(data)]
            if self.split.pseudo_labels
            else []
        )
        # It has Keras fetch the logs of every step.
        waiting = [callbacks.WaitingShare(data)] * _is_streamed(self.split)
        has_validation = len(self.split.validation[1]) > 0
        try:
            self.gan.fit(
                data,
                epochs=epochs,
                initial_epoch=progress.epoch,
                # The dataset shuffles by itself, reproducibly.
                shuffle=False,
                validation_data=(
                    self.split.validation if has_validation else None
                ),
                callbacks=[
                    # First: it is no waiting for data.
                    *propagation,
                    *waiting,
                    callbacks.StopOnFailure(self.checkpoints, self.folder),
                    callbacks.SampleGrid(self.folder / "samples"),
                    *(
                        self._writers(progress)
                        if distribution.is_main()
                        else []
                    ),
                ],
                verbose=self.verbose if distribution.is_main() else 0,
            )
        except Exception:
            if data.failure is not None:
                # TensorFlow has raised an error that hides it.
                raise data.failure from None
            stopped = self.interruption.signal
            if stopped is None or distribution.is_main():
                raise
            # The main process has saved and is gone, which breaks off what
            # this one computes with it.
            raise RunStopped(
                f"stopped by {stopped.name}", 128 + stopped
            ) from None
        return waiting[0].share if waiting else None

    def _writers(self, progress):
        """Callbacks of the process that prints and writes."""
        return [
            callbacks.TimeLeft(),
            *[callbacks.ProgressBar()] * bool(self.verbose),
            *self.boards,
            keras.callbacks.CSVLogger(self.folder / "history.csv", append=True),
            # Last: with it, the epoch is finished.
            callbacks.Checkpoint(
                self.checkpoints,
                progress,
                self.folder,
                self.interruption,
                self.checkpoint_every,
            ),
        ]


def _check_same_start(config, progress, beginning):
    """Checks that a checkpoint is of the data and the preset of the run."""
    if (
        progress.steps_per_epoch != beginning.steps_per_epoch
        # Earlier versions did not know it.
        or progress.dataset not in ("", beginning.dataset)
    ):
        raise InputError(
            "the dataset has changed: the number of its images, its labels or "
            "its test set; resume with what the run was started with"
        )
    if progress.preset not in ("", beginning.preset):
        raise InputError(
            f"another version of keras_ssgan started the run, whose preset "
            f"{config.preset} has other settings; resume it with that version, "
            "or start another"
        )
    if progress.epoch > config.epochs:
        raise InputError(
            f"the run has {progress.epoch} epochs behind it; give --epochs "
            f"{progress.epoch} or more"
        )


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
    # Those that are many are in memory once.
    repeated = images if copies == 1 else np.concatenate([images] * copies)
    model.fit(
        repeated,
        np.tile(labels, copies),
        batch_size=config.batch_size,
        epochs=math.ceil(num_images / len(repeated)),
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


def _check_new_folder(folder, dataset):
    """Refuses a folder that is in use, or is part of a folder of images."""
    if folder.exists() and not files.is_empty(folder):
        raise InputError(
            f"{folder} exists already; choose another output folder, or "
            "continue its run with --resume"
        )
    path = Path(dataset)
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise InputError(
            f"{folder} lies within the dataset, {path}; choose an --output "
            "outside of it"
        )


def _write(path, save):
    with files.replacing(path) as temporary:
        save(temporary)


def _write_results(folder, metrics):
    animation.training(folder / "samples", folder / "training.gif")
    curves = plotting.curves(runs.read_history(folder))
    _write(folder / "curves.png", curves.save)
    confusion = plotting.confusion_matrix(
        np.array(metrics["test"]["confusion"]), metrics["class_names"]
    )
    _write(folder / "confusion.png", confusion.save)
    # Last: where it stands, the run is complete.
    files.write_json(folder / "metrics.json", metrics)
