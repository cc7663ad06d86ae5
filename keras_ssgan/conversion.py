"""Converts a model to other formats, in a process of its own.

`python -m keras_ssgan.conversion` is what `export.py` starts, under a backend
that can convert. Its one argument is JSON: where the model is, which formats to
write, and where to. What could not be written, and why, goes to a file of JSON.

| formats                                | converted under   |
| -------------------------------------- | ----------------- |
| `onnx`, `openvino`                     | TensorFlow, torch |
| `saved_model`, `litert`, `litert_int8` | TensorFlow        |
| `torch`                                | torch             |

Under JAX nothing is converted: for ONNX Keras wants one more package there, and
OpenVINO and LiteRT do not read the SavedModel that JAX gives.
"""

import json
import sys
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np

from keras_ssgan import facts
from keras_ssgan import saving
from keras_ssgan import text_files

# What the names of a format's files end in, after PATH.
SUFFIXES = {
    "keras": [".keras"],
    "onnx": [".onnx"],
    "saved_model": ["_saved_model"],
    "litert": [".tflite"],
    "litert_int8": ["_int8.tflite"],
    "openvino": [".xml", ".bin"],
    "torch": [".pt2"],
}

# Backends that convert to a format, and packages that it takes beside them.
CONVERTERS = {
    "onnx": (["tensorflow", "torch"], ["onnx", "tf2onnx", "onnxruntime"]),
    "saved_model": (["tensorflow"], []),
    "litert": (["tensorflow"], ["ai_edge_litert"]),
    "litert_int8": (["tensorflow"], ["ai_edge_litert"]),
    "openvino": (["tensorflow", "torch"], ["onnx", "tf2onnx", "openvino"]),
    "torch": (["torch"], []),
}


def _main(path):
    job = json.loads(Path(path).read_text())
    model = saving.load_model(job["source"])
    inputs = keras.Input(
        model.input_shape[1:], dtype=model.inputs[0].dtype, name=job["input"]
    )
    # With a name for the output, and in inference mode for whoever calls it.
    model = keras.Model(inputs, {job["output"]: model(inputs, training=False)})
    failures = {}
    for name in job["formats"]:
        try:
            _WRITERS[name](model, job["path"] + SUFFIXES[name][0], job)
        except Exception as error:
            reason = f"{type(error).__name__}: {text_files.one_line(error)}"
            failures[name] = textwrap.shorten(reason, 300, placeholder=" ...")
    Path(job["failures"]).write_text(json.dumps(failures))


def _keras_export(model, path, name, image_size=None, **kwargs):
    shape = list(model.inputs[0].shape)
    if image_size:
        shape[1:3] = image_size
    signature = keras.InputSpec(
        model.inputs[0].dtype, shape, name=model.inputs[0].name
    )
    model.export(path, name, False, input_signature=[signature], **kwargs)


def _axes(tensor):
    """Names for the dynamic axes, sizes for the others."""
    names = ("batch", "height", "width")
    return [size or names[axis] for axis, size in enumerate(tensor.shape)]


def _convert_erfc(graph, node, **_):
    """TensorFlow's gelu has an `Erfc`, which tf2onnx does not know."""
    from tf2onnx import utils

    (x,), (output,) = node.input, node.output
    one = utils.map_onnx_to_numpy_type(graph.get_dtype(x))(1)
    one = graph.make_const(utils.make_name(node.name), np.array(one))
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [x])
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output])


def _write_onnx(model, path, job):
    import onnx
    from onnx.tools import update_model_dims

    if keras.backend.backend() == "tensorflow":
        from tf2onnx.handler import tf_op

        # From the first version of ONNX that has `Erf`.
        tf_op("Erfc").register_compat_handler(_convert_erfc, 9)
    _keras_export(model, path, "onnx")
    written = onnx.load(path)
    output = written.graph.output[0]
    # PyTorch's exporter numbers it.
    for node in written.graph.node:
        if output.name in node.output:
            node.output[:] = [job["output"]]
    output.name = job["output"]
    written = update_model_dims.update_inputs_outputs_dims(
        written,
        {job["input"]: _axes(model.inputs[0])},
        {job["output"]: _axes(model.outputs[0])},
    )
    metadata = dict(job["metadata"])
    if job["labels"]:  # A generator has none.
        metadata["labels"] = job["labels"]
    onnx.helper.set_model_props(
        written, {key: json.dumps(value) for key, value in metadata.items()}
    )
    onnx.save(written, path)


def _write_openvino(model, path, job):
    # It would report the import and the conversion to its maker.
    sys.modules["openvino_telemetry"] = None
    import openvino

    # Read from a SavedModel it would have outputs that no one asked for.
    with tempfile.TemporaryDirectory() as folder:
        _write_onnx(model, f"{folder}/model.onnx", job)
        written = openvino.convert_model(f"{folder}/model.onnx")
        # OpenVINO's tools part the names at spaces.
        labels = " ".join(name.replace(" ", "_") for name in job["labels"])
        written.set_rt_info(labels, ["model_info", "labels"])
        openvino.save_model(written, path, compress_to_fp16=False)


def _write_saved_model(model, path, job):
    _keras_export(model, path, "tf_saved_model")
    (Path(path) / "assets.extra").mkdir()
    (Path(path) / "assets.extra" / "labels.txt").write_text(
        facts.format_labels(job["labels"]), encoding="utf-8"
    )


def _write_litert(model, path, job, **kwargs):
    _keras_export(model, path, "litert", job["image_size"], **kwargs)
    facts.append(path, job["labels"], {})


def _write_litert_int8(model, path, job):
    import tensorflow as tf

    _write_litert(model, path, job, optimizations=[tf.lite.Optimize.DEFAULT])


def _write_torch(model, path, job):
    import torch

    axes = enumerate(_axes(model.inputs[0]))
    dynamic = {i: torch.export.Dim(a) for i, a in axes if isinstance(a, str)}
    _keras_export(model, path, "torch", dynamic_shapes=dynamic)
    program = torch.export.load(path)
    for node in program.graph.nodes:
        # It tells the paths of the machine that exports.
        node.meta.pop("stack_trace", None)
    torch.export.save(
        program,
        path,
        extra_files={"labels.txt": facts.format_labels(job["labels"])},
    )


_WRITERS = {
    "onnx": _write_onnx,
    "saved_model": _write_saved_model,
    "litert": _write_litert,
    "litert_int8": _write_litert_int8,
    "openvino": _write_openvino,
    "torch": _write_torch,
}


if __name__ == "__main__":
    _main(sys.argv[1])
