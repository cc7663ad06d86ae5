"""One training run, from its settings to a folder of results."""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_ssgan
from keras_ssgan import animation
from keras_ssgan import backends
from keras_ssgan import baseline
from keras_ssgan import calibration
from keras_ssgan import callbacks
from keras_ssgan import distribution
from keras_ssgan import evaluation
from keras_ssgan import facts
from keras_ssgan import files
from keras_ssgan import image_formats
from keras_ssgan import plotting
from keras_ssgan import runs
from keras_ssgan import trainer
from keras_ssgan.checkpoints import Checkpoints
from keras_ssgan.config import Config
from keras_ssgan.config import check_same_run
from keras_ssgan.config import read_config
from keras_ssgan.datasets import streams
from keras_ssgan.datasets.dataset import NAMES
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.history import read_history
from keras_ssgan.split import load_split
from keras_ssgan.split import mix
from keras_ssgan.types import PathLike

_logger = logging.getLogger(__name__)


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
        check_same_run(config, read_config(folder, dataset=config.dataset))
    else:
        _check_new_folder(folder, config.dataset)
    split = load_split(config)
    _logger.info(
        "%d training images, %d of them with a label; %d labelled images held "
        "out for validation; %d test images",
        *split.counts().values(),
    )
    with contextlib.ExitStack() as stack:
        # JAX has to compute nothing before the processes know of each other.
        with distribution.scope(config.devices, config.distribute):
            _warn_of_slow_dtype(config.dtype)
            gan = trainer.build_gan(config, split)
            # What `fit` would refuse, before anything is written.
            distribution.check_dealable(gan, mix(config, split))
            gan_trainer = _GANTrainer(
                config=config,
                folder=folder,
                model=gan,
                split=split,
                checkpoints=Checkpoints(
                    folder / "checkpoints", _arrays(split.pseudo_labels)
                ),
                checkpoint_every=checkpoint_every,
                verbose=verbose,
                boards=boards,
            )
            with _resumable(folder):
                is_main = distribution.is_main()
                if is_main:
                    stack.enter_context(files.locked(folder))
                progress = gan_trainer.restore()
                if is_main:
                    _write_start(config, folder, progress)
                gan_trainer.train(progress)
                some_images = streams.some(split.train[0])
                gan.update_statistics(some_images)
        if not is_main:
            return None
        with _resumable(folder):
            return _conclude(gan_trainer, some_images)


def _conclude(gan_trainer, some_images):
    """Writes the models and the results of a run whose training is done.

    Args:
        gan_trainer: A `_GANTrainer`.
        some_images: Array of some of its training images.

    Returns:
        Dict of the results.
    """
    config, folder, split = (
        gan_trainer.config,
        gan_trainer.folder,
        gan_trainer.split,
    )
    gan, verbose = gan_trainer.model, gan_trainer.verbose
    if not len(split.validation[1]):
        _logger.info(
            "No labelled image was held out: probabilities are not calibrated"
        )
    classifier = calibration.calibrated_classifier(gan, split.validation)
    image_format = image_formats.describe(some_images)
    figures = evaluation.score(classifier, split.test, verbose)[0]
    # A picture in the folder shows it; of thousands of classes it is millions
    # of numbers.
    confusion = figures.pop("confusion")
    waiting = gan_trainer.waiting
    metrics = {
        "class_names": split.class_names,
        "dataset_fingerprint": split.fingerprint,
        "images": split.counts(),
        **image_format,
        "test": figures,
        "seconds": round(gan_trainer.checkpoints.progress.seconds, 1),
        "waiting_share": waiting[-1].share if waiting else None,
        "backend": keras.backend.backend(),
        "versions": {
            "keras": keras.version(),
            "keras_ssgan": keras_ssgan.__version__,
        },
    }
    # Of a run that had ended with fewer epochs: its models are replaced now.
    (folder / runs.RESULTS).unlink(missing_ok=True)
    # First: nothing that fails later should cost the models. Unlike the
    # checkpoint, `gan` has the moving average for weights by now.
    for name, model in ("gan", gan), ("classifier", classifier):
        with files.replacing(folder / f"{name}.keras") as temporary:
            model.save(temporary)
            facts.append(temporary, split.class_names, image_format)
    if config.baseline:
        _logger.info("Now the same network on the labelled images alone")
        alone, seconds = baseline.train_baseline(
            config, folder, split, verbose, gan_trainer.checkpoint_every
        )
        of_alone = evaluation.score(alone, split.test, verbose)[0]
        del of_alone["confusion"]
        metrics["baseline"] = {**of_alone, "seconds": round(seconds, 1)}
    _write_results(folder, metrics, confusion)
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
class _GANTrainer(trainer.Trainer):
    """Trains the GAN of a run.

    Attributes:
        boards: List of further callbacks, for the process that writes.
        waiting: List of the `callbacks.WaitingShare` so far.
    """

    boards: list = dataclasses.field(default_factory=list)
    waiting: list = dataclasses.field(default_factory=list)

    checkpoint = callbacks.Checkpoint

    def mix(self, epoch, step):
        return mix(self.config, self.split, epoch, step)

    def validation(self):
        return self.split.validation if len(self.split.validation[1]) else None

    def watchers(self, data):
        watchers = []
        if self.split.pseudo_labels:
            # First: it is no waiting for data.
            watchers.append(callbacks.PropagateLabels(data))
        if self.split.is_streamed:
            # It has Keras fetch the logs of every step.
            self.waiting.append(callbacks.WaitingShare(data))
            watchers.append(self.waiting[-1])
        return [
            *watchers,
            callbacks.StopOnFailure(self.checkpoints, self.folder),
            callbacks.SampleGrid(self.folder / "samples"),
        ]

    def loggers(self):
        return [
            *self.boards,
            keras.callbacks.CSVLogger(self.folder / "history.csv", append=True),
        ]


def _write_start(config, folder, progress):
    """Puts the folder of a run in the state of a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(folder)
    files.write_json(folder / "config.json", dataclasses.asdict(config))
    # Rows of epochs whose end was not saved are dropped.
    with files.replacing(folder / "history.csv") as temporary:
        temporary.write_bytes(progress.history.encode())


def _arrays(pseudo_labels):
    """What a checkpoint has to hold of them."""
    if pseudo_labels is None:
        return []
    return [pseudo_labels.labels, pseudo_labels.weights]


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


def _check_new_folder(folder, dataset):
    """Refuses a folder that is in use, or is part of a folder of images."""
    if folder.exists() and not files.is_empty(folder):
        raise InputError(
            f"{folder} exists already; choose another output folder, or "
            "continue its run with --resume"
        )
    path = Path(dataset)
    is_folder = dataset not in NAMES and path.is_dir()
    if is_folder and folder.resolve().is_relative_to(path.resolve()):
        raise InputError(
            f"{folder} lies within the dataset, {path}; choose an --output "
            "outside of it"
        )


def _write(path, save):
    with files.replacing(path) as temporary:
        save(temporary)


def _write_results(folder, metrics, confusion):
    animation.training(folder / "samples", folder / "training.gif")
    curves = plotting.curves(read_history(folder))
    _write(folder / "curves.png", curves.save)
    matrix = plotting.confusion_matrix(
        np.array(confusion), metrics["class_names"]
    )
    _write(folder / "confusion.png", matrix.save)
    # Last: where it stands, the run is complete.
    files.write_json(folder / runs.RESULTS, metrics)
