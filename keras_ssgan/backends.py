"""The backends of Keras that the package runs on."""

import importlib.util

from keras_ssgan.errors import InputError

BACKENDS = ("tensorflow", "jax", "torch")


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
