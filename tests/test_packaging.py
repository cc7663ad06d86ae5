"""The wheel: built once, and run where nothing of the source tree is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_backend

_ROOT = Path(__file__).parents[1]


def _run(*command, **kwargs):
    result = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of a wheel, built from the source distribution as `build` does."""
    # A copy: builds write into the tree that they are made from.
    source = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(
        _ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".*", "__pycache__", "build", "dist", "runs", "*.egg-info"
        ),
    )
    dist = tmp_path_factory.mktemp("dist")
    _run(
        sys.executable,
        *("-m", "build", "--no-isolation", "--outdir", dist, source),
        cwd=source,
    )
    (path,) = dist.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    package = _ROOT / "keras_ssgan"
    modules = {str(p.relative_to(_ROOT)) for p in package.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = {
            name for name in archive.namelist() if ".dist-info/" not in name
        }
    assert modules | {"keras_ssgan/py.typed"} <= names
    assert {name.split("/")[0] for name in names} == {"keras_ssgan"}


def test_the_installed_wheel_runs_without_the_source(wheel, tmp_path):
    target = tmp_path / "site"
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index"),
        *("--no-deps", "--target", target, wheel),
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    script = target / "bin" / "keras-ssgan"
    output = _run(script, "--help", cwd=tmp_path, env=environment)
    assert "generate" in output and "train" in output
    code = (
        "import keras_ssgan as ks\n"
        "print(ks.__file__)\n"
        "(x, y), _ = ks.datasets.load_digits()\n"
        "gan = ks.SemiSupervisedGAN.from_preset('compact')\n"
        "print(gan(x[:2]).shape)\n"
    )
    output = _run(sys.executable, "-c", code, cwd=tmp_path, env=environment)
    file, shape = output.splitlines()
    assert Path(file) == target / "keras_ssgan" / "__init__.py"
    assert "2" in shape and "10" in shape
