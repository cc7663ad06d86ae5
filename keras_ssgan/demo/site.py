"""What the demo's page is made of."""

import json
import tempfile
from pathlib import Path

from keras_ssgan import export
from keras_ssgan import image_formats
from keras_ssgan import limits
from keras_ssgan import runs
from keras_ssgan import shipped
from keras_ssgan.demo import vendor
from keras_ssgan.errors import InputError
from keras_ssgan.files import bare_name
from keras_ssgan.types import PathLike

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}


def read_page() -> dict[str, tuple[str, bytes]]:
    """Reads the page and what runs models in it.

    Returns:
        Dict from the path on the server to a pair of content type and bytes.

    Raises:
        InputError: If what runs the models was not fetched yet.
    """
    runtime = vendor.find()
    # Desktops leave files of their own in folders that they show.
    pages = [file for file in _STATIC.iterdir() if file.suffix in _TYPES]
    files = {f"/{file.name}": _read(file) for file in pages}
    files["/"] = files.pop("/index.html")
    return files | {f"/vendor/{file.name}": _read(file) for file in runtime}


def read_models(
    path: PathLike | None = None,
) -> dict[str, tuple[str, bytes]]:
    """Reads the models of the page, exporting them where they are not yet.

    Args:
        path: Folder of a run or a `.keras` file of a GAN, which is exported to
            ONNX first; or a classifier as `keras-ssgan export` wrote it,
            `NAME.onnx`, with the generator if `NAME_generator.onnx` is beside.
            `None` for the models of MNIST's digits that come with the package.

    Returns:
        Dict as from `read_page`.

    Raises:
        InputError: If there is no such model, the page cannot draw for it, or a
            package is missing.
    """
    if path is None:
        # One that classifies well, and one that draws well.
        source, drawing = shipped.CLASSIFIER, shipped.GENERATOR
        for model in (source, drawing):
            shipped.verify(model)
    else:
        source = drawing = Path(path)
    if source.suffix == ".onnx":
        return _read_onnx(source, source)
    with tempfile.TemporaryDirectory(prefix="keras-ssgan-") as folder:
        return _read_onnx(_export(source, drawing, Path(folder)), source)


def _export(source, drawing, folder):
    """Writes a classifier, and the generator of the same or another model.

    Returns:
        Path of the classifier.
    """
    gan = runs.load_gan(drawing)
    classifier = runs.load_classifier(source)
    names = runs.load_class_names(source, classifier.output_shape[-1])
    export.export_generator(gan, folder / "model")
    return export.export_classifier(
        classifier,
        folder / "model",
        formats="onnx",
        class_names=names,
        metadata=image_formats.load(source),
    )["onnx"]["path"]


def _read_onnx(classifier, source):
    """The models, and what the page has to know about them."""
    names, images = _describe(classifier)
    files = {"/classifier.onnx": _read(classifier)}
    generator = export.generator_file(classifier.with_suffix(""))
    if generator.is_file():
        files["/generator.onnx"] = _read(generator)
    about = {
        "title": bare_name(source),
        "classNames": names,
        "imageSize": images["image_size"],
        "inkSize": images["ink_size"],
        "inkByMass": images["ink_by_mass"],
        "lightPaper": images["light_paper"],
        "hasGenerator": generator.is_file(),
    }
    files["/model.json"] = (_TYPES[".json"], json.dumps(about).encode())
    return files


def _describe(path):
    """What a model says of itself, if the page can draw for it.

    Returns:
        The names of its classes, and the format of the images that it learnt
        from.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a run's folder")
    try:
        import onnx
    except ModuleNotFoundError:
        raise InputError(
            "the demo takes the package onnx; run pip install "
            "'keras-ssgan[export]'"
        ) from None
    limits.check_memory(path.stat().st_size, path, "export it again")
    try:
        model = onnx.load(path, load_external_data=False)
        metadata = {prop.key: prop.value for prop in model.metadata_props}
        names = json.loads(metadata["labels"])
        known = {
            name: json.loads(metadata[name])
            for name in image_formats.NAMES
            if name in metadata
        }
        (pixels,) = model.graph.input
        (probabilities,) = model.graph.output
        *_, classes = probabilities.type.tensor_type.shape.dim
    except Exception:
        raise InputError(
            f"{path} is no classifier; give one that keras-ssgan export wrote"
        ) from None
    if len(pixels.type.tensor_type.shape.dim) != 3:
        raise InputError(
            f"{path} takes images of several channels; the demo draws in one"
        )
    names = runs.check_class_names(names, classes.dim_value, path)
    return names, image_formats.complete(known, path)


def _read(path):
    return _TYPES[path.suffix], path.read_bytes()
