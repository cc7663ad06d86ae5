"""Trained models for other runtimes, each run and compared after writing.

A conversion is a process of its own, on the CPU (see `conversion.py`), under
the running backend if that can convert, else under another: every backend gives
the same formats. A model with an operation that no converter to a format knows
is refused, with what the converters say.

| format        | files               | run by         |
| ------------- | ------------------- | -------------- |
| `keras`       | `PATH.keras`        | Keras          |
| `onnx`        | `PATH.onnx`         | onnxruntime    |
| `saved_model` | `PATH_saved_model/` | TensorFlow     |
| `litert`      | `PATH.tflite`       | ai-edge-litert |
| `litert_int8` | `PATH_int8.tflite`  | ai-edge-litert |
| `openvino`    | `PATH.xml` + `.bin` | OpenVINO       |
| `torch`       | `PATH.pt2`          | PyTorch        |

Batch, height and width are dynamic. LiteRT's interpreter starts with one image
of the size of the samples, and is told of others by `resize_tensor_input`. All
compute in float32, whatever the dtype policy of the model. `litert_int8` has
int8 weights, and quantises activations while it runs (LiteRT's "dynamic
range"): as small as a full-integer model and much closer to the original.
OpenVINO rounds to bfloat16 on processors that have it, unless it is compiled
with `INFERENCE_PRECISION_HINT` `f32`.

The names of the classes are in a file `labels.txt`, one a line: within `.keras`
and `.tflite`, which open as zip files; in SavedModel's `assets.extra/`; in
`.pt2` as one of the `extra_files` of `torch.export.load`. ONNX has them as JSON
in its `metadata_props`, OpenVINO as `model_info/labels` in its `rt_info`.
Beside them, ONNX has what is given as `metadata`, and `.keras` as JSON in its
file `images.json`.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssgan import checks
from keras_ssgan import facts
from keras_ssgan import limits
from keras_ssgan import text_files
from keras_ssgan.classifier import is_classifier
from keras_ssgan.conversion import CONVERTERS
from keras_ssgan.conversion import SUFFIXES
from keras_ssgan.errors import InputError
from keras_ssgan.model import SemiSupervisedGAN
from keras_ssgan.types import PathLike

FORMATS = tuple(SUFFIXES)

# Largest difference of a probability; trained classifiers were seen to differ
# by 2e-6, and by 2e-2 with int8 weights or in mixed precision.
_TOLERANCES = dict.fromkeys(FORMATS, 1e-4) | {
    "litert_int8": 0.1,
    "float32": 0.1,
}


def export_classifier(
    model: keras.Model,
    path: PathLike,
    formats: str | Iterable[str] = ("keras", "onnx", "saved_model"),
    class_names: Sequence[str] | None = None,
    samples: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    overwrite: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Writes a classifier for other runtimes, and runs each to compare.

    Scaling and resizing are inside: uint8 images `pixels` go in, `(batch,
    any_height, any_width)` or with a last axis where there are several
    channels, and float32 `probabilities` `(batch, K)` come out. Where one
    format fails, none is left behind.

    Args:
        model: A `SemiSupervisedGAN` or its `classifier()`, of layers that
            Keras alone can load.
        path: What the names of the files begin with; the folder has to exist.
        formats: Some of `keras_ssgan.export.FORMATS`.
        class_names: K names. Defaults to `"0"`, `"1"`, and so on.
        samples: Images to compare on, `(n, height, width)` or `(n, height,
            width, channels)`, 0 to 255. Defaults to noise of the networks'
            size.
        labels: Integers `(n,)`, the classes of `samples`.
        overwrite: Whether files that are there already are replaced.
        metadata: Dict of what else `.keras` and ONNX's `metadata_props` say,
            as JSON. `keras-ssgan predict` and the demo prepare images by what
            it says of those that the model learnt from: `image_size`,
            `[height, width]`, `ink_size`, `ink_by_mass` and `light_paper` (see
            `datasets.find_digit_format`).

    Returns:
        Dict from format to a dict of `path`, `max_difference` of a
        probability, `tolerance` for it, `agreement`, which is the share of the
        samples that are given the same class, and with `labels` `accuracy`.

    Raises:
        InputError: If an argument is of no use, a file is there already, a
            backend or package is missing, or a format has no such layers.
        RuntimeError: If what was written differs, or a converter crashes.

    Example:

    ```python
    report = ks.export_classifier(
        gan, "digits", formats="onnx", samples=x_test, labels=y_test
    )
    print(report["onnx"]["max_difference"])
    ```
    """
    if isinstance(model, SemiSupervisedGAN):
        model = model.classifier()
    if not is_classifier(model):
        raise InputError(
            f"{model.name} is neither a GAN nor the classifier of one; pass "
            "gan.classifier()"
        )
    num_classes = model.output_shape[-1]
    names = [
        str(name)
        for name in (range(num_classes) if class_names is None else class_names)
    ]
    if len(names) != num_classes:
        raise InputError(
            f"there are {len(names)} class_names for {num_classes} classes; "
            "pass one for each"
        )
    for name in names:
        if not facts.is_class_name(name):
            raise InputError(
                f"the class name {ascii(name):.80} cannot be written; give it "
                f"1 to {limits.MAX_NAME_LENGTH} characters, without control "
                "characters"
            )
    samples = _check_samples(model, samples)
    if labels is not None:
        checks.check_labels(labels, num_classes, len(samples))
        checks.check_some_labels(labels)
    report, reference, outputs = _export(
        model,
        Path(path),
        # A set in the order given.
        dict.fromkeys([formats] if isinstance(formats, str) else formats),
        {
            "input": "pixels",
            "output": "probabilities",
            "labels": names,
            "metadata": metadata or {},
        },
        samples,
        _TOLERANCES,
        overwrite,
    )
    for name, entry in report.items():
        classes = outputs[name].argmax(axis=-1)
        agrees = classes == reference.argmax(axis=-1)
        entry["agreement"] = float(agrees.mean())
        if labels is not None:
            known = labels.reshape(-1) >= 0
            correct = classes[known] == labels.reshape(-1)[known]
            entry["accuracy"] = float(correct.mean())
    return report


def export_generator(
    gan: SemiSupervisedGAN, path: PathLike, overwrite: bool = False
) -> dict[str, dict[str, Any]]:
    """Writes a generator as ONNX, and runs it to compare.

    float32 `latents` `(batch, latent_dim)`, drawn from N(0, 1), go in, and
    uint8 `images` `(batch, height, width, channels)` come out.

    Args:
        gan: A `SemiSupervisedGAN`.
        path: The file is `PATH_generator.onnx`; the folder has to exist.
        overwrite: Whether a file that is there already is replaced.

    Returns:
        Dict with `"onnx"`, a dict of `path`, `max_difference` of a pixel, and
        `tolerance` for it.

    Raises:
        InputError: If the file is there already, a backend or package is
            missing, or ONNX has no such layers.
        RuntimeError: If what was written draws other images, or a converter
            crashes.
    """
    latents = keras.Input((gan.latent_dim,), name="latents")
    x = keras.layers.Reshape((1, 1, gan.latent_dim))(latents)
    x = ops.round((gan.generator(x) + 1) * 127.5)
    images = ops.cast(ops.clip(x, 0, 255), "uint8")
    report, _, _ = _export(
        keras.Model(latents, images),
        generator_file(path).with_suffix(""),
        ["onnx"],
        {"input": "latents", "output": "images", "labels": [], "metadata": {}},
        np.random.default_rng(0).standard_normal(
            (32, gan.latent_dim), dtype="float32"
        ),
        # A value on the edge between two may be rounded either way.
        {"onnx": 1, "float32": 25},
        overwrite,
    )
    return report


def generator_file(path: PathLike) -> Path:
    """Where `export_generator` writes.

    Args:
        path: As in `export_generator`.

    Returns:
        `pathlib.Path` of the file.
    """
    return Path(f"{path}_generator.onnx")


# === Writing, comparing, and only then moving into place ===


def _export(model, path, formats, names, samples, tolerances, overwrite):
    """Returns the report, what the model gives, and what each format gives."""
    backends = {name: find_backends(name) for name in formats}
    if not path.parent.is_dir():
        raise InputError(
            f"there is no folder {path.parent} to write to; make it first"
        )
    files = [path.name + suffix for f in formats for suffix in SUFFIXES[f]]
    if path.name in ("", ".."):
        raise InputError(
            f"{path} is a folder; give what the names of the files begin with, "
            f"such as {path / 'digits'}"
        )
    for target in (path.parent / name for name in files):
        if target.exists() and not overwrite:
            raise InputError(
                f"{target} exists already; choose another path, or overwrite it"
            )
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent
    ) as folder:
        folder = Path(folder)
        new, old = folder / "new", folder / "old"
        new.mkdir()
        old.mkdir()
        job = {
            **names,
            "source": str(folder / "source.keras"),
            "path": str(new / path.name),
            "image_size": samples.shape[1:3],
        }
        copy = _float32_copy(model)
        reference = _predict(copy, samples)
        _compare(
            "float32",
            reference[:128],
            model.predict(samples[:128], verbose=0),
            tolerances,
        )
        copy.save(job["source"])
        facts.append(job["source"], job["labels"], job["metadata"])
        if "keras" in formats:
            shutil.copy(job["source"], new / f"{path.name}.keras")
        _convert(job, backends, folder)
        report, outputs = {}, {}
        for name in formats:
            written = new / (path.name + SUFFIXES[name][0])
            outputs[name] = _run_elsewhere(name, written, samples, folder)
            report[name] = {
                "path": path.parent / written.name,
                "max_difference": _compare(
                    name, outputs[name], reference, tolerances
                ),
                "tolerance": tolerances[name],
            }
        for name in files:
            if (path.parent / name).exists():
                (path.parent / name).rename(old / name)
            (new / name).rename(path.parent / name)
    return report, reference, outputs


def find_backends(name: str) -> list[str]:
    """The backends that convert to a format, the running one first.

    Args:
        name: One of `FORMATS`.

    Returns:
        Names of those that are installed; none for `"keras"`.

    Raises:
        InputError: If there is no such format, or a backend or package that it
            takes is missing.
    """
    if name not in FORMATS:
        raise InputError(
            f"format {name!r} is unknown; use {', '.join(FORMATS)}"
        )
    if name == "keras":
        return []
    backends, packages = CONVERTERS[name]
    installed = [b for b in backends if importlib.util.find_spec(b)]
    if not installed:
        raise InputError(
            f"{name} is written by {' or '.join(backends)}, which is not "
            f"installed; run pip install {backends[0]}"
        )
    if not all(importlib.util.find_spec(package) for package in packages):
        raise InputError(
            f"{name} takes the packages {', '.join(packages)}; run pip install "
            "'keras-ssgan[export]'"
        )
    running = keras.backend.backend()
    return sorted(installed, key=lambda backend: backend != running)


def _convert(job, backends, folder):
    """Writes each format under the first of its backends that can."""
    job = {**job, "failures": str(folder / "failures.json")}
    # Too long for an argument, where there are thousands of classes.
    path = folder / "job.json"
    waiting = {name: list(those) for name, those in backends.items() if those}
    reasons = {name: [] for name in waiting}
    while waiting:
        backend = next(iter(waiting.values()))[0]
        job["formats"] = [f for f in waiting if waiting[f][0] == backend]
        path.write_text(json.dumps(job))
        _run(["-m", "keras_ssgan.conversion", str(path)], backend)
        failures = json.loads(Path(job["failures"]).read_text())
        for name in job["formats"]:
            if name not in failures:
                del waiting[name]
                continue
            reasons[name].append(f"under {backend}, {failures[name]}")
            waiting[name].remove(backend)
            if not waiting[name]:
                choices = "choose other formats or other layers"
                for other in {*CONVERTERS[name][0]} - {*backends[name]}:
                    choices += f", or run pip install {other}"
                raise InputError(
                    f"{Path(job['path']).name} cannot be written as {name}; "
                    f"{choices}: {'; '.join(reasons[name])}"
                )


def _check_samples(model, samples):
    """uint8 images as the model takes them."""
    if samples is None:
        size = model.get_layer("preprocessor").output_shape[1:3]
        shape = (32, *size, *model.input_shape[3:])
        return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    checks.check_images(samples)
    if samples.shape[3:] == (1,):
        samples = samples[..., 0]
    if samples.shape[3:] != model.input_shape[3:]:
        raise InputError(
            f"samples have shape {samples.shape} and the model takes "
            f"{model.input_shape}; pass images of as many channels"
        )
    return samples.astype("uint8")


def _float32_copy(model):
    """The model in float32 on the CPU, as all that is written computes."""

    def clone(operation):
        config = operation.get_config()
        if isinstance(operation, keras.layers.Layer):
            config["dtype"] = "float32"
        return type(operation).from_config(config)

    with keras.device("cpu"):
        copy = keras.models.clone_model(
            model, clone_function=clone, recursive=True
        )
        copy.set_weights(model.get_weights())
    return copy


def _batches(samples):
    """One alone, then 128 at a time: the batch has to be dynamic."""
    return np.split(samples, range(1, len(samples), 128))


def _predict(model, samples):
    with keras.device("cpu"):
        return np.concatenate(
            [
                ops.convert_to_numpy(model(batch, training=False))
                for batch in _batches(samples)
            ]
        )


def _compare(name, outputs, reference, tolerances):
    """Returns the largest difference, unless it is too large."""
    difference = np.inf
    if (outputs.shape, outputs.dtype) == (reference.shape, reference.dtype):
        difference = np.abs(outputs - reference.astype("float64")).max()
    # Not `>`, which lets NaN pass.
    if not difference <= tolerances[name]:
        raise RuntimeError(
            f"{name} differs from the model by {difference:.2g}, more than "
            f"{tolerances[name]:.2g}; nothing was written"
        )
    return float(difference)


def _run(arguments, backend):
    """Runs Python in a process of its own, on the CPU."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # JAX's. The XLA of TensorFlow may not know a flag, and ends the process.
    environment.pop("XLA_FLAGS", None)
    # -P: not what happens to lie in the current folder, which may be a
    # stranger's.
    command = [sys.executable, "-P", "-W", "ignore", *arguments]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(
            f"the export failed under {backend}; nothing was written:\n"
            f"{result.stderr[-2000:]}"
        )


# === Running what was written, without this package ===

# From `path` to `run`, a function of a batch.
_CHECKERS = {
    "keras": """
import keras
model = keras.saving.load_model(path, safe_mode=True)
run = lambda batch: keras.ops.convert_to_numpy(model(batch))
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path)
name = session.get_inputs()[0].name
run = lambda batch: session.run(None, {name: batch})[0]
""",
    "saved_model": """
import tensorflow as tf
serve = tf.saved_model.load(path).signatures["serving_default"]
run = lambda batch: serve(pixels=tf.constant(batch))["probabilities"].numpy()
""",
    "litert": """
from ai_edge_litert.interpreter import Interpreter
serve = Interpreter(path).get_signature_runner()
run = lambda batch: serve(pixels=batch)["probabilities"]
""",
    "openvino": """
sys.modules["openvino_telemetry"] = None  # It would report to its maker.
import openvino
model = openvino.Core().compile_model(
    path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
)
run = lambda batch: model(batch)["probabilities"]
""",
    "torch": """
import torch
model = torch.export.load(path).module()
run = lambda batch: model(torch.tensor(batch))["probabilities"].numpy()
""",
}
_CHECKERS["litert_int8"] = _CHECKERS["litert"]

_CHECK = """
import sys
import numpy as np
sys.modules["keras_ssgan"] = None  # As if it were not installed.
path, folder = sys.argv[1:]
{checker}
batches = np.load(folder + "/batches.npz", allow_pickle=False).values()
np.save(folder + "/outputs.npy", np.concatenate([run(b) for b in batches]))
"""


def _run_elsewhere(name, path, samples, folder):
    """What a written model gives for the samples."""
    np.savez(folder / "batches.npz", *_batches(samples))
    script = _CHECK.format(checker=_CHECKERS[name])
    try:
        _run(["-c", script, str(path), str(folder)], keras.backend.backend())
    except RuntimeError as error:
        # LiteRT lacks some operations that are written for it.
        reason = text_files.one_line(str(error).splitlines()[-1])
        raise InputError(
            f"{path.name}, written as {name}, does not run; choose other "
            f"formats or other layers: {reason}"
        ) from error
    return np.load(folder / "outputs.npy", allow_pickle=False)
