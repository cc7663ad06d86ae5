"""What backends are told before they are imported."""

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys

import keras
import pytest

from keras_ssgan import backends

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


@pytest.fixture
def environment(monkeypatch):
    """As of a user who has set nothing; what is set is undone."""
    for name in ("KERAS_BACKEND", "XLA_FLAGS"):
        # What a test adds to it is undone only where it had been there.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def _jaxlib(environment, version):
    environment.setattr(importlib.metadata, "version", lambda _: version)


def _printed(code, without, **variables):
    """What Python prints that starts without some variables, and with others.

    Args:
        code: str, what it runs.
        without: Tuple of beginnings of names.
        **variables: Those that it gets.
    """
    rest = {k: v for k, v in os.environ.items() if not k.startswith(without)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**rest, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.mark.any_backend
def test_xla_keeps_convolutions_beside_the_users_own_flags(environment):
    _jaxlib(environment, "0.10.2")
    environment.setenv("XLA_FLAGS", "--xla_dump_to=there")
    backends.set_environment("jax")
    assert os.environ["XLA_FLAGS"] == (
        f"--xla_dump_to=there {FLAG}=-individual_convolution"
    )


@pytest.mark.any_backend
def test_users_own_choice_of_who_convolves_stays(environment):
    _jaxlib(environment, "0.10.2")
    environment.setenv("XLA_FLAGS", f"{FLAG}=dot")
    backends.set_environment("jax")
    assert os.environ["XLA_FLAGS"] == f"{FLAG}=dot"


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("backend", "version"),
    [("jax", "0.9.2"), ("jax", "0.12.0"), ("tensorflow", "0.10.2")],
)
def test_xla_is_told_nothing_that_it_might_not_know(
    environment, backend, version
):
    _jaxlib(environment, version)
    backends.set_environment(backend)
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.any_backend
def test_flags_in_a_file_stay_the_only_ones(environment):
    _jaxlib(environment, "0.10.2")
    environment.setenv("XLA_FLAGS", "/home/me/flags")
    backends.set_environment("jax")
    assert os.environ["XLA_FLAGS"] == "/home/me/flags"


@pytest.mark.any_backend
def test_a_jax_without_metadata_is_told_nothing(environment):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    environment.setattr(importlib.metadata, "version", version)
    backends.set_environment("jax")
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.any_backend
def test_keras_own_setting_counts_where_no_backend_is_named(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = (
        "import os; from keras_ssgan import cli; cli.main(['generate', 'no']);"
        "print(os.environ['XLA_FLAGS'])"
    )
    names = ("KERAS_BACKEND", "XLA_FLAGS")
    assert FLAG in _printed(code, names, KERAS_HOME=str(tmp_path))


_GRADIENT = """
from keras_ssgan import backends
backends.set_environment("jax")
import jax
def loss(kernel, x):
    return jax.lax.conv(x, kernel, (1, 1), "SAME").sum()
compiled = jax.jit(jax.grad(loss)).lower(
    jax.ShapeDtypeStruct((32, 32, 3, 3), "float32"),
    jax.ShapeDtypeStruct((8, 32, 28, 28), "float32"),
).compile()
print("ynn_fusion" in compiled.as_text())
"""


@pytest.mark.skipif(
    keras.backend.backend() != "jax"
    or not importlib.metadata.version("jaxlib").startswith("0.10."),
    reason="XLA's own choice, as JAX 0.10 has it",
)
@pytest.mark.parametrize(
    ("flags", "by_ynnpack"),
    [({}, "False"), ({"XLA_FLAGS": f"{FLAG}=+individual_convolution"}, "True")],
)
def test_gradient_of_a_kernel_is_computed_by_xla_itself(flags, by_ynnpack):
    # Those of the tests.
    names = ("XLA_", "JAX_")
    printed = _printed(_GRADIENT, names, JAX_PLATFORMS="cpu", **flags)
    assert printed == by_ynnpack


class _Libc:
    """Notes what it is told of malloc."""

    def __init__(self):
        self.options = {}

    def mallopt(self, option, value):
        self.options[option] = value


@pytest.mark.any_backend
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize(
    ("backend", "variables", "is_kept"),
    [
        ("torch", {}, True),
        ("jax", {}, False),
        ("torch", {"MALLOC_MMAP_THRESHOLD_": "65536"}, False),
        ("torch", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, False),
    ],
)
def test_memory_that_pytorch_frees_is_kept_unless_the_user_has_set_something(
    environment, backend, variables, is_kept
):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        environment.delenv(name, raising=False)
    for name, value in variables.items():
        environment.setenv(name, value)
    libc = _Libc()
    environment.setattr(ctypes, "CDLL", lambda _: libc)
    backends.set_environment(backend)
    # The numbers of M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h.
    assert libc.options == ({-1: 2**30, -3: 2**25} if is_kept else {})


_FREED = """
import ctypes
import resource
from keras_ssgan import backends
backends.set_environment("torch")
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype = ctypes.c_void_p
free.argtypes = [ctypes.c_void_p]
size = 2**24
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [malloc(size) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        free(block)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults * resource.getpagesize() < size)
"""


@pytest.mark.any_backend
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone"
)
def test_memory_that_is_kept_is_not_asked_for_again():
    names = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    assert _printed(_FREED, names) == "True"
