"""The settings of a training run, and their file in its folder."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

import keras

from keras_ssgan import checks
from keras_ssgan import limits
from keras_ssgan import text_files
from keras_ssgan.errors import InputError
from keras_ssgan.settings import get_preset
from keras_ssgan.types import PathLike


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
        if self.epochs > limits.MAX_EPOCHS:
            raise InputError(
                f"epochs is {self.epochs}; give at most {limits.MAX_EPOCHS}"
            )
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


def read_config(folder: PathLike, **changes: Any) -> Config:
    """The settings of a run.

    Args:
        folder: Path of a run's folder.
        **changes: Settings to be other than they were.

    Returns:
        A `Config`.

    Raises:
        InputError: If the folder holds no run, or one whose settings are
            damaged or cannot be read.
    """
    path = Path(folder) / "config.json"
    try:
        with text_files.trouble_is_input_error(path):
            settings = text_files.read_json_object(path)
            _check_settings(settings)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no run, as it has no {path.name}; give a folder "
            "that train has written"
        ) from None
    dataset = str(settings.get("dataset"))
    # Whose run it is may be a stranger's, to whom Windows would log in there.
    if dataset.startswith(("//", "\\\\")) and "dataset" not in changes:
        raise InputError(
            f"the dataset of {folder} is on another machine; if you trust it, "
            f"give --dataset {dataset}"
        )
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


def check_same_run(config: Config, earlier: Config) -> None:
    """Checks that a run may go on with other settings than it began with.

    Args:
        config: The settings to go on with.
        earlier: Those that it began with.

    Raises:
        InputError: If a setting differs that has to be the same.
    """
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
