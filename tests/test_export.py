"""Exported models give what the GAN gives, in runtimes that know no Keras."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import hide_packages
from numpy.testing import assert_allclose

import keras_ssgan as ks
from keras_ssgan import conversion
from keras_ssgan import export

# What each backend converts by itself. JAX, which converts nothing, shows that
# another one is asked, and the blocks of docs/export.md that all are.
FILES = {
    "keras": ["tiny.keras"],
    "onnx": ["tiny.onnx"],
    **{
        "tensorflow": {
            "saved_model": ["tiny_saved_model"],
            "litert": ["tiny.tflite"],
            "litert_int8": ["tiny_int8.tflite"],
            "openvino": ["tiny.xml", "tiny.bin"],
        },
        "torch": {
            "openvino": ["tiny.xml", "tiny.bin"],
            "torch": ["tiny.pt2"],
        },
        "jax": {},
    }[keras.backend.backend()],
}


def converts(name):
    """Marks a test of a format that the running backend does not convert to."""
    return pytest.mark.skipif(
        name not in FILES, reason="another backend converts to it"
    )


NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
NAMES += ["eight", "number nine"]


def _randomize(network):
    """Weights of which no two images get the same probabilities."""
    rng = np.random.default_rng(0)
    network.set_weights(
        [
            rng.normal(0, 0.3, weight.shape)
            if weight.ndim > 1
            else rng.uniform(0.5, 1.5, weight.shape)
            for weight in network.get_weights()
        ]
    )


@pytest.fixture(scope="module")
def gan(tiny_preset):
    gan = ks.SemiSupervisedGAN.from_preset("tiny", seed=0)
    _randomize(gan.discriminator)
    _randomize(gan.generator)
    return gan


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype="uint8")


@pytest.fixture(scope="module")
def labels():
    return np.arange(40) % 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of the user who exports, where tools keep what they know."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def report(gan, images, labels, folder, home):
    """The report of one export to all formats, over what was there."""
    (folder / "tiny.keras").write_text("stale")
    if "saved_model" in FILES:
        (folder / "tiny_saved_model").mkdir()
        (folder / "tiny_saved_model" / "stale").touch()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("HOME", str(home))
        return ks.export.export_classifier(
            gan,
            folder / "tiny",
            formats=FILES,
            class_names=NAMES,
            samples=images,
            labels=labels,
            overwrite=True,
            metadata={"image_size": [8, 6], "light_paper": True},
        )


@pytest.fixture(scope="module")
def expected(gan, images):
    """Pairs of images and probabilities: one, many, and of another size."""
    batches = (images[:1], images[:7], np.tile(images[:3], (1, 2, 3)))
    pairs = [(batch, gan.predict(batch, verbose=0)) for batch in batches]
    assert np.ptp(pairs[1][1], axis=0).max() > 0.1
    return pairs


def _assert_same_probabilities(run, expected, atol=1e-5):
    for batch, probabilities in expected:
        outputs = np.asarray(run(batch))
        assert outputs.dtype == np.float32
        assert_allclose(outputs, probabilities, atol=atol)


def _read_labels(path):
    return zipfile.ZipFile(path).read("labels.txt").decode().splitlines()


def _left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# === Every format, in its own runtime ===


def test_onnxruntime_gives_the_same_probabilities(expected, report):
    import onnxruntime

    session = onnxruntime.InferenceSession(report["onnx"]["path"])
    (pixels,), (output,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type) == ("pixels", "tensor(uint8)")
    assert pixels.shape == ["batch", "height", "width"]
    assert (output.name, output.shape) == ("probabilities", ["batch", 10])
    metadata = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in metadata.items()} == {
        "labels": NAMES,
        "image_size": [8, 6],
        "light_paper": True,
    }
    _assert_same_probabilities(
        lambda batch: session.run(["probabilities"], {"pixels": batch})[0],
        expected,
    )


@converts("saved_model")
def test_tensorflow_serves_the_same_probabilities(expected, report):
    import tensorflow as tf

    path = report["saved_model"]["path"]
    serve = tf.saved_model.load(path).signatures["serving_default"]
    (pixels,) = serve.structured_input_signature[1].values()
    assert pixels.dtype == tf.uint8
    assert pixels.shape.as_list() == [None, None, None]
    _assert_same_probabilities(
        lambda batch: serve(pixels=tf.constant(batch))["probabilities"],
        expected,
    )
    text = (path / "assets.extra" / "labels.txt").read_text()
    assert text.splitlines() == NAMES


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path))


@converts("litert")
def test_litert_gives_the_same_probabilities(expected, report):
    path = report["litert"]["path"]
    (pixels,) = _litert(path).get_input_details()
    assert pixels["dtype"] == np.uint8
    assert pixels["shape"].tolist() == [1, 8, 8]
    serve = _litert(path).get_signature_runner("serving_default")
    _assert_same_probabilities(
        lambda batch: serve(pixels=batch)["probabilities"], expected
    )
    assert _read_labels(path) == NAMES


@converts("litert_int8")
def test_int8_weights_give_nearly_the_same_probabilities(expected, report):
    path = report["litert_int8"]["path"]
    serve = _litert(path).get_signature_runner("serving_default")
    _assert_same_probabilities(
        lambda batch: serve(pixels=batch)["probabilities"],
        expected,
        atol=0.1,
    )
    assert _read_labels(path) == NAMES


@converts("litert")
@pytest.mark.parametrize("name", ["litert", "litert_int8"])
def test_only_the_int8_model_holds_int8(name, report):
    details = _litert(report[name]["path"]).get_tensor_details()
    has_int8 = any(tensor["dtype"] == np.int8 for tensor in details)
    assert has_int8 == (name == "litert_int8")


@converts("openvino")
def test_openvino_gives_the_same_probabilities(expected, report, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    import openvino

    core = openvino.Core()
    model = core.read_model(report["openvino"]["path"])
    assert len(model.inputs) == len(model.outputs) == 1
    labels = model.get_rt_info(["model_info", "labels"]).astype(str)
    assert labels.split() == [name.replace(" ", "_") for name in NAMES]
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    _assert_same_probabilities(
        lambda batch: compiled({"pixels": batch})["probabilities"], expected
    )


@converts("torch")
def test_pytorch_gives_the_same_probabilities(expected, report):
    import torch

    extra = {"labels.txt": ""}
    program = torch.export.load(report["torch"]["path"], extra_files=extra)
    assert extra["labels.txt"].splitlines() == NAMES
    module = program.module()
    _assert_same_probabilities(
        lambda batch: module(torch.tensor(batch))["probabilities"], expected
    )


LOAD = """
import sys

import keras
import numpy as np

sys.modules["keras_ssgan"] = None
path, folder = sys.argv[1:]
model = keras.saving.load_model(path)
images = np.load(folder + "/images.npy")
np.save(folder + "/probabilities.npy", model.predict(images, verbose=0))
"""


def test_keras_alone_gives_the_same_probabilities_on_another_backend(
    gan, images, report, tmp_path
):
    other = "torch" if keras.backend.backend() != "torch" else "tensorflow"
    path = report["keras"]["path"]
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", LOAD, str(path), str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": other},
        check=True,
    )
    assert_allclose(
        np.load(tmp_path / "probabilities.npy"),
        gan.predict(images, verbose=0),
        atol=1e-5,
    )
    assert _read_labels(path) == NAMES


# === The report ===


def test_images_without_a_label_are_neither_right_nor_wrong(gan, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), "uint8")
    labels = gan.predict(images, verbose=0).argmax(axis=-1)
    labels[:30] = -1
    report = ks.export_classifier(
        gan, tmp_path / "tiny", "keras", samples=images, labels=labels
    )
    assert report["keras"]["accuracy"] == 1


def test_the_report_tells_the_difference_and_the_accuracy(
    gan, images, labels, report
):
    assert list(report) == list(FILES)
    classes = gan.predict(images, verbose=0).argmax(axis=-1)
    for name, entry in report.items():
        assert 0 <= entry["max_difference"] <= entry["tolerance"]
        if name != "litert_int8":
            assert entry["tolerance"] <= 1e-4
            assert entry["agreement"] == 1
            assert_allclose(entry["accuracy"], np.mean(classes == labels))


@converts("litert_int8")
def test_the_report_of_int8_is_what_litert_gives(gan, images, report):
    entry = report["litert_int8"]
    serve = _litert(entry["path"]).get_signature_runner("serving_default")
    outputs = serve(pixels=images)["probabilities"]
    expected = gan.predict(images, verbose=0)
    assert_allclose(
        entry["max_difference"], np.abs(outputs - expected).max(), atol=1e-3
    )
    agrees = outputs.argmax(axis=-1) == expected.argmax(axis=-1)
    assert_allclose(entry["agreement"], agrees.mean(), atol=1 / 40)


def test_nothing_but_the_formats_is_written(report, folder):
    assert _left_in(folder) == sorted(sum(FILES.values(), []))


def test_no_file_tells_where_it_was_written(report, folder):
    secrets = (str(folder).encode(), b"site-packages")
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                archive = zipfile.ZipFile(path)
                parts = [archive.read(name) for name in archive.namelist()]
                content += b"".join(parts)
            assert not any(secret in content for secret in secrets), path


@converts("openvino")
def test_openvino_does_not_report_to_its_maker(report, home):
    # Where its telemetry keeps the identity of the user.
    assert not (home / "intel").exists()


# === The generator ===


@pytest.mark.usefixtures("convert_here")
def test_onnxruntime_draws_what_the_generator_draws(gan, tmp_path):
    import onnxruntime

    report = ks.export.export_generator(gan, tmp_path / "tiny")
    assert report["onnx"]["max_difference"] <= report["onnx"]["tolerance"] == 1
    assert _left_in(tmp_path) == ["tiny_generator.onnx"]
    session = onnxruntime.InferenceSession(report["onnx"]["path"])
    assert "labels" not in session.get_modelmeta().custom_metadata_map
    for count in (1, 6):
        latents = np.random.default_rng(3).standard_normal(
            (count, gan.latent_dim), dtype="float32"
        )
        (drawn,) = session.run(["images"], {"latents": latents})
        expected = gan.generate(count, seed=3)
        assert np.ptp(expected) > 50
        assert drawn.dtype == np.uint8
        assert_allclose(drawn.astype("int32"), expected.astype("int32"), atol=1)


# === Networks of one's own ===


def _custom_gan(operation):
    """A GAN with an operation of the caller's before its features."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="gelu")(images)
    features = keras.layers.Flatten()(operation(x))
    logits = keras.layers.Dense(3)(features)
    discriminator = keras.Model(images, [features, logits])
    _randomize(discriminator)
    return ks.SemiSupervisedGAN(
        discriminator,
        ks.networks.build_generator(5, [(6, 4, 1, "valid"), (1, 4, 2, "same")]),
    )


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="others convert for it"
)
@pytest.mark.usefixtures("convert_here")
def test_gelu_and_layer_normalization_go_into_onnx(images, tmp_path):
    import onnxruntime

    gan = _custom_gan(keras.layers.LayerNormalization())
    report = ks.export_classifier(gan, tmp_path / "own", "onnx")
    session = onnxruntime.InferenceSession(report["onnx"]["path"])
    (probabilities,) = session.run(None, {"pixels": images})
    expected = gan.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.1
    assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.any_backend
@pytest.mark.parametrize("hidden", [[], ["torch"]])
def test_an_operation_that_no_converter_knows_is_named(
    hidden, tmp_path, monkeypatch
):
    gan = _custom_gan(lambda x: keras.ops.erfinv(keras.ops.tanh(x) / 2))
    hide_packages(monkeypatch, *hidden)
    with pytest.raises(ks.InputError) as error:
        ks.export_classifier(gan, tmp_path / "own", ["keras", "onnx"])
    message = str(error.value)
    assert "own cannot be written as onnx; choose other formats" in message
    assert "under tensorflow, ValidationError: No Op registered for Erfinv" in (
        message
    )
    assert ("'aten::erfinv' to ONNX" in message) == (not hidden)
    assert ("or run pip install torch: " in message) == bool(hidden)
    assert "\n" not in message
    assert _left_in(tmp_path) == []


@pytest.mark.any_backend
def test_an_operation_that_a_runtime_lacks_is_named(tmp_path):
    gan = _custom_gan(keras.ops.sinh)
    with pytest.raises(ks.InputError) as error:
        ks.export_classifier(gan, tmp_path / "own", "litert")
    message = str(error.value)
    assert "own.tflite, written as litert, does not run; choose" in message
    assert "FlexSinh" in message
    assert "\n" not in message
    assert _left_in(tmp_path) == []


# === What it is given ===


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A GAN of colour images in mixed precision, and the path of its export."""
    path = tmp_path_factory.mktemp("colour") / "colour"
    convolutions = [(4, 4, 2, "same"), (8, 3, 1, "valid")]
    discriminator = ks.networks.build_discriminator(
        (8, 8, 3), convolutions, num_classes=2, dtype="mixed_bfloat16"
    )
    generator = ks.networks.build_generator(
        5, [(6, 4, 1, "valid"), (3, 4, 2, "same")]
    )
    gan = ks.SemiSupervisedGAN(discriminator, generator)
    _randomize(gan.discriminator)
    report = ks.export.export_classifier(
        gan, path, formats="keras", class_names=np.array(["cat", "dog"])
    )
    return gan, report["keras"]["path"]


@pytest.mark.any_backend
def test_files_of_the_current_folder_are_not_run(tmp_path, monkeypatch):
    # It may be a stranger's, with a model in it.
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    export._run(["-c", "import json"], keras.backend.backend())


@pytest.mark.any_backend
def test_names_of_thousands_of_classes_are_no_argument(tmp_path, monkeypatch):
    written = {}

    def run(arguments, backend):
        # What Linux takes for one.
        assert max(map(len, arguments)) < 2**17
        job = json.loads(Path(arguments[-1]).read_text())
        written.update(job)
        Path(job["failures"]).write_text("{}")

    monkeypatch.setattr(export, "_run", run)
    job = {"labels": ["a name of thirty-two characters " * 2] * 5000}
    export._convert(job, {"onnx": ["tensorflow"]}, tmp_path)
    assert written["labels"] == job["labels"]
    assert written["formats"] == ["onnx"]


def test_colour_images_go_in_with_their_channels(colour):
    gan, path = colour
    images = np.random.default_rng(0).integers(
        0, 256, (5, 8, 8, 3), dtype="uint8"
    )
    assert_allclose(
        keras.saving.load_model(path).predict(images, verbose=0),
        gan.predict(images, verbose=0),
        atol=0.05,
    )


@pytest.mark.any_backend
def test_images_of_any_channels_are_compared_on(tmp_path):
    image = keras.Input((8, 8, 5))
    features = keras.layers.Flatten()(image)
    discriminator = keras.Model(
        image, [features, keras.layers.Dense(4)(features)]
    )
    generator = ks.networks.build_generator(3, [(5, 8, 1, "valid")])
    gan = ks.SemiSupervisedGAN(discriminator, generator)
    samples = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 5))
    report = ks.export.export_classifier(
        gan, tmp_path / "five", "keras", samples=samples
    )
    assert report["keras"]["max_difference"] < 1e-4


def test_names_may_be_an_array(colour):
    assert _read_labels(colour[1]) == ["cat", "dog"]


def test_mixed_precision_is_exported_in_float32(colour):
    gan, path = colour
    assert gan.discriminator.layers[1].compute_dtype == "bfloat16"
    network = keras.saving.load_model(path).get_layer("discriminator")
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_samples_need_the_channels_of_the_model(colour, tmp_path):
    samples = np.zeros((2, 8, 8), "uint8")
    with pytest.raises(ks.InputError, match="as many channels"):
        ks.export.export_classifier(
            colour[0], tmp_path / "gray", "keras", samples=samples
        )


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"formats": ["keras", "coreml"]}, "format 'coreml' is unknown"),
        ({"class_names": ["a", "b"]}, "2 class_names for 10 classes"),
        ({"class_names": ["a\nb", *"cdefghijk"]}, "'a.nb' cannot be written"),
        ({"class_names": ["", *"bcdefghij"]}, "'' cannot be written"),
        ({"class_names": ["a\udc80", *"bcdefghij"]}, "cannot be written"),
        ({"labels": np.full(32, -1)}, "label"),
        ({"samples": np.zeros((2, 8, 8)) + 0.5}, "look scaled"),
        ({"labels": np.arange(3)}, "32 images and 3 labels"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments, message, gan, tmp_path):
    with pytest.raises(ks.InputError, match=message):
        ks.export.export_classifier(gan, tmp_path / "model", **arguments)
    assert _left_in(tmp_path) == []


@pytest.mark.any_backend
def test_a_network_is_not_taken_for_a_classifier(gan, tmp_path):
    with pytest.raises(ks.InputError, match="neither a GAN nor the classifier"):
        ks.export.export_classifier(gan.discriminator, tmp_path / "model")


@pytest.mark.any_backend
@pytest.mark.parametrize("path", [".", ".."])
def test_a_folder_is_no_beginning_of_a_name(path, gan, tmp_path, monkeypatch):
    (tmp_path / "within").mkdir()
    monkeypatch.chdir(tmp_path / "within")
    with pytest.raises(ks.InputError, match="is a folder; give what"):
        ks.export.export_classifier(gan, path, "keras")
    assert _left_in(tmp_path) == ["within"]


@pytest.mark.any_backend
def test_a_folder_that_is_not_there_is_named(gan, tmp_path):
    with pytest.raises(ks.InputError, match="there is no folder .*nowhere"):
        ks.export.export_classifier(gan, tmp_path / "nowhere" / "model")


@pytest.mark.any_backend
@pytest.mark.parametrize("name", export.FORMATS)
def test_what_is_there_already_is_not_overwritten(name, gan, tmp_path):
    path = tmp_path / f"model{conversion.SUFFIXES[name][-1]}"
    path.write_text("mine")
    with pytest.raises(ks.InputError, match="exists already"):
        ks.export.export_classifier(gan, tmp_path / "model", ["torch", name])
    assert path.read_text() == "mine"
    assert _left_in(tmp_path) == [path.name]


@converts("saved_model")
def test_overwrite_replaces_what_is_there(report):
    assert zipfile.is_zipfile(report["keras"]["path"])
    assert _left_in(report["saved_model"]["path"]) == [
        "assets",
        "assets.extra",
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    ]


# === What goes wrong ===


@pytest.mark.parametrize(
    "runtime, message",
    [
        (
            "run = lambda b: np.full((len(b), 10), 0.1, 'f4')",
            r"by 0\.\d+, more",
        ),
        ("run = lambda b: np.full((len(b), 10), np.nan, 'f4')", "by nan, more"),
        ("run = lambda b: np.full((len(b), 9), 0.1, 'f4')", "by inf, more"),
    ],
)
def test_what_fails_its_check_is_not_left_behind(
    runtime, message, gan, tmp_path, monkeypatch
):
    monkeypatch.setitem(export._CHECKERS, "keras", runtime)
    (tmp_path / "model.keras").write_text("mine")
    with pytest.raises(RuntimeError, match=message):
        ks.export.export_classifier(
            gan, tmp_path / "model", "keras", overwrite=True
        )
    assert (tmp_path / "model.keras").read_text() == "mine"
    assert _left_in(tmp_path) == ["model.keras"]


def test_the_model_itself_is_what_all_is_compared_with(
    gan, tmp_path, monkeypatch
):
    copy = export._float32_copy

    def copy_without_weights(model):
        copied = copy(model)
        copied.set_weights([0 * weight for weight in model.get_weights()])
        return copied

    monkeypatch.setattr(export, "_float32_copy", copy_without_weights)
    with pytest.raises(RuntimeError, match="float32 differs from the model"):
        ks.export.export_classifier(gan, tmp_path / "model", "keras")
    assert _left_in(tmp_path) == []


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "name, package",
    [
        ("onnx", "onnxruntime"),
        ("onnx", "tf2onnx"),
        ("litert", "ai_edge_litert"),
        ("openvino", "openvino"),
    ],
)
def test_a_missing_package_is_named(name, package, gan, tmp_path, monkeypatch):
    hide_packages(monkeypatch, package)
    with pytest.raises(ks.InputError) as error:
        ks.export.export_classifier(gan, tmp_path / "model", name)
    assert package in str(error.value)
    assert "pip install 'keras-ssgan[export]'" in str(error.value)
    assert "\n" not in str(error.value)
    assert _left_in(tmp_path) == []


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "name, backend",
    [("saved_model", "tensorflow"), ("torch", "torch")],
)
def test_a_missing_backend_is_named(name, backend, gan, tmp_path, monkeypatch):
    hide_packages(monkeypatch, backend)
    with pytest.raises(ks.InputError, match=f"run pip install {backend}"):
        ks.export.export_classifier(gan, tmp_path / "model", name)
    assert _left_in(tmp_path) == []
