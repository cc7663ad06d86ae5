"""The backends of Keras that the package runs on."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_ssgan.errors import InputError

# Where Linux says what its processors have.
_PROCESSORS = Path("/proc/cpuinfo")

BACKENDS = ("tensorflow", "jax", "torch")

# The level of TensorFlow's log at which it says nothing.
_SILENT = "3"
# The file descriptor of standard error.
_STDERR = 2

# On a CPU XLA has YNNPACK compute convolutions, which is slow at the gradients
# of kernels (docs/performance.md).
_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"
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
    """Sets what backends read from the environment when they are imported.

    To be called before anything imports Keras. Of the backends' own settings,
    those that are there already stay.

    Args:
        name: One of `BACKENDS`; `None` for `KERAS_BACKEND`'s, or, without it,
            for Keras' own setting.
    """
    if name is not None:
        os.environ["KERAS_BACKEND"] = name
    # TensorFlow's own chatter: device listings, graph rewrites, retracing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT)
    # TensorFlow takes oneDNN's convolutions by itself only on processors with
    # AVX-512; they are quicker with AVX2 alone, too (docs/performance.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = os.environ.get("KERAS_BACKEND")
    if backend == "jax":
        _leave_convolutions_to_xla()
    elif backend == "torch":
        _keep_freed_memory()


def _leave_convolutions_to_xla():
    flags = os.environ.get("XLA_FLAGS", "")
    if _YNNPACK in flags:
        return
    # Whether JAX is installed is said where Keras is imported.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("jaxlib")
        if version.startswith(_JAX_WITH_YNNPACK):
            os.environ["XLA_FLAGS"] = (
                f"{flags} {_YNNPACK}=-individual_convolution".strip()
            )


def _keep_freed_memory():
    # PyTorch calls malloc for every tensor. By itself glibc returns free memory
    # to the system, and asks for it again, page by page, in every step.
    if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 2**25)
            mallopt(_M_TRIM_THRESHOLD, 2**30)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Holds back what is written to standard error while Keras is imported.

    TensorFlow (2.21) tells of oneDNN and of GPUs that are not there, whatever
    the level of its log, which is not set up yet. That comes from C++, past
    `sys.stderr`. After an exception all of it is shown, and at another level
    than the one of `set_environment` nothing is held back.
    """
    loud = os.environ.get("TF_CPP_MIN_LOG_LEVEL") != _SILENT
    # Where it was closed by the one who started the process.
    if loud or sys.stderr is None:
        yield
        return
    with tempfile.TemporaryFile() as held_back:
        stderr = os.dup(_STDERR)
        os.dup2(held_back.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)


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
