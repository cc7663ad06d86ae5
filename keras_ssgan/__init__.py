"""Semi-supervised GANs for Keras 3, on TensorFlow, JAX and PyTorch.

Names are imported when they are first used: Keras settles its backend when it
is imported, and `keras-ssgan --backend` has to come before that.
"""

import importlib
import sys

__version__ = "0.1.0"

_HOMES = {
    "SemiSupervisedGAN": "model",
    "InputError": "errors",
    "export_classifier": "export",
    "export_generator": "export",
    "presets": "settings",
}
_MODULES = (
    "augmentation",
    "calibration",
    "callbacks",
    "datasets",
    "evaluation",
    "layers",
    "losses",
    "networks",
    "plotting",
    "propagation",
)

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name):
    if name in _HOMES:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        value = getattr(module, name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])


# With Keras there already, nothing is left to wait for, and
# `keras.saving.load_model` can find the model's class.
if "keras" in sys.modules:
    importlib.import_module(f"{__name__}.model")
