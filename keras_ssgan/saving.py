"""The one place where the package loads a model, whoever made the file.

Keras' safe mode refuses code in a file. Beyond it, what a file says is checked
before anything is built of it: what its config names, and how large a model it
declares next to the weights that it holds.
"""

import contextlib
import io
import math
import random
import zipfile
from pathlib import Path

import h5py
import keras

# Keras has no public way to say "safe mode, whatever is set globally", nor to
# forget the variables of a model that was only measured.
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope
from keras.src.saving.serialization_lib import SafeModeScope

from keras_ssgan import allowed
from keras_ssgan import facts
from keras_ssgan import limits
from keras_ssgan import model  # noqa: F401 Its classes have to be registered.
from keras_ssgan import text_files
from keras_ssgan.errors import InputError
from keras_ssgan.types import PathLike

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_FILES = (_CONFIG, _WEIGHTS, "metadata.json", *facts.MEMBERS)
# Those of Keras' own values in a config that hold numbers.
_ARRAYS = ("__numpy__", "__tensor__")
_VALUES = ("__bytes__", "__ellipsis__", "__keras_tensor__", "__slice__")
# Those of the numbers that a model is made of.
DTYPES = ("bool", "bfloat16", *(f"float{bits}" for bits in (16, 32, 64)))
DTYPES += tuple(
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
)


def load_model(path: PathLike) -> keras.Model:
    """Loads a model from a `.keras` file that need not be trusted.

    A model may be made of the classes in `allowed.py` and of those that this
    process has registered with `keras.saving.register_keras_serializable`.
    Safe mode is on, also after `keras.config.enable_unsafe_deserialization`.

    Args:
        path: The file.

    Returns:
        `keras.Model`, compiled if it was saved so.

    Raises:
        InputError: If there is no such file, or its content is refused.

    Example:

    >>> load_model("runs/digits-compact/classifier.keras")
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run's folder")
    try:
        _check(path)
        with SafeModeScope(True):
            return keras.saving.load_model(path, safe_mode=True)
    # Keras raises many types on what makes no sense to it.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} is no model to load: {reason[:300]}"
        ) from error


def _check(path):
    """Raises an exception on a file that is not to be loaded."""
    if path.suffix != ".keras":
        raise ValueError("its name has to end in .keras")
    size = path.stat().st_size
    # Its members are read whole, and none is larger.
    limits.check_memory(size, "it", "load it on a larger machine")
    with limits.open_zip(path) as archive:
        _check_members(archive, size)
        config = text_files.parse_json(archive.read(_CONFIG))
        _check_config(config)
        num_values = count_stored_values(archive.read(_WEIGHTS))
    with _unloaded(config) as (loaded, variables):
        declared = sum(math.prod(variable.shape) for variable in variables)
        if declared > num_values + limits.MAX_UNSAVED_VALUES:
            raise ValueError(
                f"it declares {declared:,} weights and holds {num_values:,}"
            )
        _check_outputs(loaded)


# === The archive ===


def _check_members(archive, size):
    """Each file stored once, as it is, under a name that Keras gives."""
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(members) > limits.MAX_MODEL_MEMBERS or len(names) < len(members):
        raise ValueError("it holds too many files, or one twice")
    for member in members:
        name = member.filename
        parts = name.removesuffix("/").split("/")
        inside = parts[0] == "assets" and not {"", ".", ".."} & {*parts}
        if "\\" in name or not (name in _FILES or inside):
            raise ValueError(f"a model has no file {name!r}")
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.compress_size != member.file_size
        ):
            raise ValueError(f"{name} is compressed, which Keras does not do")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its files claim to be larger than it is")
    if not {_CONFIG, _WEIGHTS} <= names:
        raise ValueError(f"it lacks {_CONFIG} or {_WEIGHTS}")


# === The config ===


def _check_config(config):
    """Every object of a known class, and no more of them than can be."""
    num_objects = num_optimizers = num_metric_values = 0
    rest = [(config, False)]
    while rest:
        value, in_metric = rest.pop()
        if isinstance(value, dict):
            num_optimizers += bool(value.get("compile_config"))
            if "class_name" in value:
                num_objects += 1
                _check_object(value)
                in_metric = value.get("module") == "keras.metrics"
            rest += [(child, in_metric) for child in value.values()]
        elif isinstance(value, list):
            rest += [(child, in_metric) for child in value]
        elif in_metric and isinstance(value, int | float):
            num_metric_values += value * value
    if num_objects > limits.MAX_MODEL_OBJECTS:
        raise ValueError(f"it is made of {num_objects:,} objects")
    # Not ">", since NaN is a number to JSON.
    if not num_metric_values <= limits.MAX_METRIC_VALUES:
        raise ValueError("its metrics are too large")
    if num_optimizers > limits.MAX_MODEL_OPTIMIZERS:
        raise ValueError(f"{num_optimizers:,} of its models are compiled")
    if _count_calls(config) > limits.MAX_MODEL_CALLS:
        raise ValueError("its models call each other too often")


def _check_object(config):
    """Raises an exception on an object that a model is not made of.

    It follows the order in which Keras looks a name up.
    """
    name, module = config["class_name"], config.get("module")
    if name in _VALUES:
        return
    inner = config.get("config")
    if name in _ARRAYS:
        if not isinstance(inner, dict) or inner.get("dtype") not in DTYPES:
            raise ValueError("an array has no dtype of numbers")
        return
    if name == "Normalization" and inner.get("mean") is not None:
        # Keras repeats it as often as the input is long, before any check.
        raise ValueError(
            "a Normalization has a mean that it was given; adapt it to data, "
            "or use Rescaling"
        )
    key = inner if name == "function" else config.get("registered_name", name)
    if not isinstance(key, str | None) or not isinstance(name, str):
        raise ValueError("an object has no name")
    registered = keras.saving.get_registered_object(key)
    if registered is not None:
        # Else one name is checked here, and another one looked up there.
        if name not in ("function", registered.__name__):
            raise ValueError(f"{key} is no {name}")
    elif name == "function":
        if not allowed.is_function(module, inner):
            raise ValueError(_not_allowed(module, inner))
    elif not allowed.is_class(module, name):
        raise ValueError(_not_allowed(module, name))


def _not_allowed(module, name):
    return (
        f"{module}.{name} is not among what a model may be made of; a class of "
        "your own has to be registered first "
        "(keras.saving.register_keras_serializable)"
    )


def _count_calls(value):
    """Objects that are run when an object is, each time that it is called.

    A model that calls a model twice, which calls another one twice, and so on,
    is short to write and endless to build.
    """
    if isinstance(value, list):
        return sum(map(_count_calls, value))
    if not isinstance(value, dict):
        return 0
    count = "class_name" in value
    count += sum(_count_calls(v) for k, v in value.items() if k != _NODES)
    nodes = value.get(_NODES)
    return count * max(1, len(nodes) if isinstance(nodes, list) else 1)


_NODES = "inbound_nodes"


# === The weights ===


def count_stored_values(content: bytes) -> int:
    """The number of values in an HDF5 file of plain, complete arrays.

    Args:
        content: Bytes of the file.

    Returns:
        int.

    Raises:
        Exception: Of many types, if there is anything else in it than Keras
            writes: links, arrays that lie in other files, are compressed or
            only declared.
    """
    num_values = num_bytes = 0
    seen: set[int] = set()
    with h5py.File(io.BytesIO(content)) as file:
        groups = [file["/"]]
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise ValueError("its weights link elsewhere")
                child = group[name]
                address = h5py.h5o.get_info(child.id).addr
                if address in seen or len(seen) > limits.MAX_HDF5_OBJECTS:
                    raise ValueError("its weights are one in another")
                seen.add(address)
                if isinstance(child, h5py.Group):
                    groups.append(child)
                    continue
                _check_array(child)
                num_values += child.size
                num_bytes += child.nbytes
    if num_bytes > len(content):
        raise ValueError("its weights overlap")
    return num_values


def _check_array(dataset):
    numbers = dataset.dtype.kind in "biuf" or dataset.dtype == "V2"
    if not isinstance(dataset, h5py.Dataset) or not numbers:
        raise ValueError("its weights are no numbers")
    layout = dataset.id.get_create_plist()
    if (
        dataset.chunks is not None
        or dataset.external
        or dataset.is_virtual
        or layout.get_nfilters()
        or dataset.id.get_storage_size() != dataset.nbytes
    ):
        raise ValueError("its weights are not stored as they are")
    if "dtype" in dataset.attrs:
        if h5py.h5a.open(dataset.id, b"dtype").shape != ():
            raise ValueError("its weights have no dtype")


# === The model, without its weights ===


@contextlib.contextmanager
def _unloaded(config):
    """Builds a model whose variables take no memory.

    Yields:
        The model, and all variables that it would make.
    """
    state = random.getstate()
    pending = global_state.get_global_attribute(_PENDING, [])
    global_state.set_global_attribute(_PENDING, [])
    try:
        with (
            SafeModeScope(True),
            ObjectSharingScope(),
            keras.StatelessScope(initialize_variables=False),
        ):
            loaded = keras.saving.deserialize_keras_object(
                _without_optimizers(config), safe_mode=True
            )
        yield loaded, global_state.get_global_attribute(_PENDING, [])
    finally:
        global_state.set_global_attribute(_PENDING, pending)
        # What is drawn for a seed is drawn again.
        random.setstate(state)


_PENDING = "uninitialized_variables"


def _without_optimizers(config):
    if isinstance(config, list):
        return [_without_optimizers(value) for value in config]
    if isinstance(config, dict):
        return {
            key: _without_optimizers(value)
            for key, value in config.items()
            if key != "compile_config"
        }
    return config


def _check_outputs(loaded):
    """Refuses layers that give more than fits, where their size is known."""
    rest = [loaded]
    while rest:
        operation = rest.pop()
        rest += getattr(operation, "layers", [])
        if isinstance(operation, keras.Model):
            rest += getattr(operation, "operations", [])
        for node in operation._inbound_nodes:
            for tensor in node.output_tensors:
                size = math.prod(axis or 1 for axis in tensor.shape)
                if size > limits.MAX_LAYER_OUTPUT:
                    raise ValueError(
                        f"{operation.name} gives {size:,} values for an image"
                    )
