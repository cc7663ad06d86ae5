"""What backends are told before they are imported."""

import importlib.metadata
import os
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
    [("jax", "0.9.2"), ("jax", "0.12.0"), ("torch", "0.10.2")],
)
def test_xla_is_told_nothing_that_it_might_not_know(
    environment, backend, version
):
    _jaxlib(environment, version)
    backends.set_environment(backend)
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.any_backend
def test_keras_own_setting_counts_where_no_backend_is_named(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    names = ("KERAS_BACKEND", "XLA_FLAGS")
    rest = {k: v for k, v in os.environ.items() if k not in names}
    code = (
        "import os; from keras_ssgan import cli; cli.main(['generate', 'no']);"
        "print(os.environ['XLA_FLAGS'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**rest, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == f"{FLAG}=-individual_convolution"


def test_a_command_says_nothing_but_what_is_its_own():
    """TensorFlow announces itself while it is imported."""
    log_level = "TF_CPP_MIN_LOG_LEVEL"
    result = subprocess.run(
        [sys.executable, "-m", "keras_ssgan", "generate", "nowhere"],
        env={k: v for k, v in os.environ.items() if k != log_level},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("keras-ssgan: nowhere")


@pytest.mark.any_backend
def test_what_an_import_said_is_shown_where_it_fails(capfd, environment):
    environment.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with backends.quiet_import():
        os.write(2, b"unheard\n")
    with pytest.raises(ImportError), backends.quiet_import():
        os.write(2, b"heard\n")
        raise ImportError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "heard\nafter\n"


@pytest.mark.any_backend
def test_who_asks_for_tensorflows_log_gets_it(capfd, environment):
    environment.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with backends.quiet_import():
        os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


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


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="XLA's own choice")
@pytest.mark.parametrize(
    ("flags", "by_ynnpack"),
    [({}, "False"), ({"XLA_FLAGS": f"{FLAG}=+individual_convolution"}, "True")],
)
def test_gradient_of_a_kernel_is_computed_by_xla_itself(flags, by_ynnpack):
    tests = ("XLA_", "JAX_")
    rest = {k: v for k, v in os.environ.items() if not k.startswith(tests)}
    result = subprocess.run(
        [sys.executable, "-c", _GRADIENT],
        env={**rest, "JAX_PLATFORMS": "cpu", **flags},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == by_ynnpack


_FREED = """
import ctypes
import resource
from keras_ssgan import backends
backends.set_environment({backend!r})
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype = ctypes.c_void_p
free.argtypes = [ctypes.c_void_p]
size = 2**24
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [malloc(size) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1] * resource.getpagesize() > 4 * size)
"""


@pytest.mark.any_backend
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize(
    ("backend", "asked_for_again"), [("torch", "False"), ("jax", "True")]
)
def test_memory_that_pytorch_frees_is_kept(backend, asked_for_again):
    result = subprocess.run(
        [sys.executable, "-c", _FREED.format(backend=backend)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == asked_for_again
