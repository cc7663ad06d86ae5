"""One training run, from its settings to a folder of results."""

import csv
import dataclasses
import importlib.util
import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_ssgan
from keras_ssgan import animation
from keras_ssgan import callbacks
from keras_ssgan import checks
from keras_ssgan import datasets
from keras_ssgan import evaluation
from keras_ssgan import losses
from keras_ssgan import plotting
from keras_ssgan.errors import InputError
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.settings import get_preset
from keras_ssgan.types import PathLike

_logger = logging.getLogger(__name__)


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
    """

    dataset: str = "mnist"
    preset: str = "article"
    labels: float | int | None = None
    validation: float = 0.1
    epochs: int = None  # type: ignore[assignment]
    batch_size: int = None  # type: ignore[assignment]
    labeled_per_batch: int | None = None
    seed: int = 0
    dtype: str = "float32"
    baseline: bool = False

    def __post_init__(self):
        preset = get_preset(self.preset)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(preset, name))
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1")
        try:
            keras.dtype_policies.get(self.dtype)
        except (ValueError, TypeError):
            raise InputError(
                f"dtype {self.dtype!r} is unknown; use float32, "
                "mixed_bfloat16 or mixed_float16"
            ) from None


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a run.

    Attributes:
        train: `(images, labels)`; -1 where there is no label.
        validation: `(images, labels)`, possibly of length 0.
        test: `(images, labels)`.
        class_names: One name per class.
    """

    train: tuple
    validation: tuple
    test: tuple
    class_names: list

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
    dataset = datasets.load(config.dataset)
    keep = config.labels
    if keep is None:
        complete = np.all(dataset.y_train >= 0)
        keep = get_preset(config.preset).labels if complete else 1.0
    labels = datasets.hide_labels(dataset.y_train, keep, seed=config.seed)
    checks.check_labeled_set(labels, dataset.num_classes)
    train, validation = datasets.split_validation(
        dataset.x_train, labels, config.validation, seed=config.seed
    )
    return Split(
        train=train,
        validation=validation,
        test=(dataset.x_test, dataset.y_test),
        class_names=dataset.class_names,
    )


def train(
    config: Config,
    folder: PathLike,
    resume: bool = False,
    verbose: str | int = "auto",
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains a GAN and writes everything that is known of it.

    The folder gets `config.json`, `history.csv`, `metrics.json`,
    `samples/epoch_*.png`, `training.gif`, `curves.png`, `confusion.png`,
    `gan.keras`, `classifier.keras`, and for resuming `checkpoint.keras`. The
    test images are looked at once, at the end.

    Args:
        config: A `Config`.
        folder: Path of the run's folder. It must not exist, unless to resume.
        resume: Whether to go on after the last finished epoch of the run in
            `folder`, which must have the same settings; `epochs` may differ.
        verbose: As in `keras.Model.fit`.
        tensorboard: Whether TensorBoard's events go to `tensorboard/` in the
            folder; needs the packages `tensorflow` and `tensorboard`, on any
            backend.

    Returns:
        Dict of the results, as in `metrics.json`.

    Raises:
        InputError: If a setting, the dataset or the folder is not usable;
            nothing is written then.
    """
    folder = Path(folder)
    boards = [_tensorboard(folder / "tensorboard")] if tensorboard else []
    if resume:
        _check_same_run(config, read_config(folder))
    elif folder.exists():
        raise InputError(
            f"{folder} exists already; choose another output folder, or "
            "continue its run with --resume"
        )
    split = load_split(config)
    counts = split.counts()
    _logger.info(
        "%d training images, %d of them with a label; %d labelled images held "
        "out for validation; %d test images",
        *counts.values(),
    )
    keras.utils.set_random_seed(config.seed)
    gan = _build_gan(config, len(split.class_names))
    steps_per_epoch = len(mix(config, split))
    if (folder / "checkpoint.keras").exists():
        gan = keras.saving.load_model(folder / "checkpoint.keras")
    # The model itself tells, since it is replaced as a whole after an epoch.
    finished = int(gan.optimizer.iterations.numpy()) // steps_per_epoch

    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", dataclasses.asdict(config))
    _truncate_history(folder, finished)
    start = time.perf_counter()
    gan.fit(
        mix(config, split, initial_epoch=finished),
        epochs=config.epochs,
        initial_epoch=finished,
        # The dataset shuffles by itself, reproducibly.
        shuffle=False,
        validation_data=split.validation if len(split.validation[1]) else None,
        callbacks=[
            callbacks.TimeLeft(),
            callbacks.SampleGrid(folder / "samples"),
            *boards,
            keras.callbacks.CSVLogger(folder / "history.csv", append=resume),
            # Last: with it, the epoch is finished.
            callbacks.LatestModel(folder / "checkpoint.keras"),
        ],
        verbose=verbose,
    )
    seconds = time.perf_counter() - start

    metrics = {
        "class_names": split.class_names,
        "images": counts,
        "image_size": list(split.test[0].shape[1:3]),
        "test": _test(gan.classifier(), split.test, verbose),
        "seconds": round(seconds, 1),
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
        baseline = train_baseline(
            config, split, config.epochs * steps_per_epoch
        )
        metrics["baseline"] = _test(baseline, split.test, verbose)
    _write_results(folder, gan, metrics)
    return metrics


def mix(
    config: Config, split: Split, initial_epoch: int = 0
) -> datasets.MixedDataset:
    """The training images in batches of labelled and unlabelled ones.

    Args:
        config: A `Config`.
        split: A `Split`.
        initial_epoch: int, epoch that comes first.

    Returns:
        A `datasets.MixedDataset`.
    """
    images, labels = split.train
    labeled_per_batch = config.labeled_per_batch
    share = get_preset(config.preset).labeled_share
    if labeled_per_batch is None and share and np.any(labels < 0):
        labeled_per_batch = max(1, round(share * config.batch_size))
    return datasets.MixedDataset(
        images,
        labels,
        batch_size=config.batch_size,
        labeled_per_batch=labeled_per_batch,
        seed=config.seed,
        initial_epoch=initial_epoch,
    )


def train_baseline(config: Config, split: Split, steps: int) -> keras.Model:
    """Trains the preset's discriminator on the labelled images alone.

    The same network from the same weights, the same optimizer and number of
    steps; no unlabelled image and no generator.

    Args:
        config: A `Config`.
        split: A `Split`.
        steps: int, steps that the GAN was trained for; rounded up to whole
            epochs.

    Returns:
        A classifier, as `SemiSupervisedGAN.classifier` gives it.
    """
    keras.utils.set_random_seed(config.seed)
    gan = _build_gan(config, len(split.class_names))
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
    batch_size = min(config.batch_size, len(labels))
    model.fit(
        images,
        labels,
        batch_size=batch_size,
        epochs=math.ceil(steps * batch_size / len(labels)),
        verbose=0,
    )
    return gan.classifier()


def _build_gan(config, num_classes):
    gan = SemiSupervisedGAN.from_preset(
        config.preset, num_classes, dtype=config.dtype, seed=config.seed
    )
    gan.compile()
    return gan


def _tensorboard(folder):
    """Keras' callback, which needs two packages that Keras does not."""
    for name in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"TensorBoard's events need {name}, which is not installed; "
                "run pip install tensorflow tensorboard"
            )
    # TensorFlow would take all of a GPU's memory, which another backend needs.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Without the graph, which only one backend has.
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def _test(classifier, test, verbose):
    images, labels = test
    probabilities = classifier.predict(images, batch_size=256, verbose=verbose)
    return evaluation.classification_report(labels, probabilities)


def read_history(folder: PathLike) -> dict[str, list[float]]:
    """The logs of a run's finished epochs.

    Args:
        folder: Path of a run's folder.

    Returns:
        Dict from the name of a figure to its values, one per epoch; NaN where
        there is none.
    """
    path = Path(folder) / "history.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    history = {}
    for name in rows[0] if rows else []:
        cells = [row[name] for row in rows]
        # Keras makes a column for each validation figure there could be.
        if set(cells) != {"NA"}:
            history[name] = [
                float("nan") if cell == "NA" else float(cell) for cell in cells
            ]
    return history


def read_config(folder: PathLike, **changes: Any) -> Config:
    """The settings of a run.

    Args:
        folder: Path of a run's folder.
        **changes: Settings to be other than they were.

    Returns:
        A `Config`.

    Raises:
        InputError: If the folder holds no run.
    """
    path = Path(folder) / "config.json"
    try:
        settings = json.loads(path.read_text())
        names = {field.name for field in dataclasses.fields(Config)}
        if not isinstance(settings, dict) or settings.keys() - names:
            raise ValueError("it holds other things than settings")
    except OSError:
        raise InputError(
            f"{folder} holds no run to resume; it has no {path.name}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return Config(**{**settings, **changes})


def _check_same_run(config, earlier):
    for field in dataclasses.fields(Config):
        old, new = getattr(earlier, field.name), getattr(config, field.name)
        if old != new and field.name not in ("epochs", "baseline"):
            raise InputError(
                f"the run was started with {field.name}={old!r}, not {new!r}; "
                "resume it as it was, or start another"
            )


def _truncate_history(folder, num_epochs):
    """Drops the rows of epochs whose model was not saved any more."""
    path = folder / "history.csv"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: num_epochs + 1]))


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n")


def _write_results(folder, gan, metrics):
    # Unlike the checkpoint, `gan` has the moving average for weights by now.
    gan.save(folder / "gan.keras")
    gan.classifier().save(folder / "classifier.keras")
    animation.training(folder / "samples", folder / "training.gif")
    plotting.curves(read_history(folder)).save(folder / "curves.png")
    plotting.confusion_matrix(
        np.array(metrics["test"]["confusion"]), metrics["class_names"]
    ).save(folder / "confusion.png")
    # Last: where it stands, the run is complete.
    _write_json(folder / "metrics.json", metrics)
