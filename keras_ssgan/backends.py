"""The backends of Keras that the package runs on."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

from keras_ssgan.errors import InputError

# Where Linux says what its processors have.
_PROCESSORS = Path("/proc/cpuinfo")

BACKENDS = ("tensorflow", "jax", "torch")

# On a CPU XLA has YNNPACK compute convolutions, which is slow at the gradients
# of kernels (docs/performance.md).
_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"
_NO_YNNPACK = f"{_YNNPACK}=-individual_convolution"
# XLA ends a process that names a flag which it does not know. These do.
_JAX_WITH_YNNPACK = ("0.10.", "0.11.")

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def installed() -> list[str]:
    """Names of those that are installed."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def check_known(name: str) -> None:
    """Refuses a name that is none of a backend.

    Args:
        name: str.

    Raises:
        InputError: If there is no such backend.
    """
    if name not in BACKENDS:
        raise InputError(
            f"backend {name!r} is unknown; use {', '.join(BACKENDS)}"
        )


def set_environment(name: str | None) -> None:
    """Sets what backends read from the environment, and malloc for PyTorch.

    TensorFlow reads it when it is imported, so it is to be called before
    anything imports Keras; JAX and PyTorch go by it later, too. Of the
    backends' own settings, those that are there already stay.

    Args:
        name: One of `BACKENDS`; `None` for `KERAS_BACKEND`'s, or, without it,
            for Keras' own setting.
    """
    if name is not None:
        os.environ["KERAS_BACKEND"] = name
    # TensorFlow's own chatter: device listings, graph rewrites, retracing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes oneDNN's convolutions by itself only on processors with
    # AVX-512; they are quicker with AVX2 alone, too (docs/performance.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = os.environ.get("KERAS_BACKEND")
    if backend == "jax":
        _leave_convolutions_to_xla()
    elif backend == "torch":
        _keep_freed_memory()


def _leave_convolutions_to_xla():
    flags = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = flags and not flags.startswith("--")
    if _YNNPACK in flags or names_a_file:
        return
    # Whether JAX is installed is said where Keras is imported.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("jaxlib")
        if version.startswith(_JAX_WITH_YNNPACK):
            os.environ["XLA_FLAGS"] = f"{flags} {_NO_YNNPACK}".strip()


def _keep_freed_memory():
    # PyTorch calls malloc for every tensor. By itself glibc returns free memory
    # to the system, and asks for it again, page by page, in every step.
    settings = [name for name in os.environ if name.startswith("MALLOC_")]
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or settings:
        return
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def emulates_bfloat16() -> bool:
    """Whether the processor is known to have no instructions for bfloat16.

    Returns:
        bool; `False` where the system does not tell.
    """
    # avx512_bf16 and amx_bf16, or bf16 on ARM.
    return _PROCESSORS.exists() and "bf16" not in _PROCESSORS.read_text()


def not_installed(name: str) -> InputError:
    """What to raise where a backend is missing.

    Args:
        name: One of `BACKENDS`.

    Returns:
        An `InputError`.
    """
    choice = f", or use {' or '.join(installed())}" if installed() else ""
    return InputError(
        f"backend {name} is not installed; run pip install {name}{choice}"
    )
