"""Fetches what runs the models in the browser, as its makers publish it.

`python -m keras_ssgan.demo.vendor` asks npm, as it is set up on the machine,
for one version of onnxruntime-web, checks that it is byte for byte the one that
this package was tested with, and keeps the two files of it that are needed.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from keras_ssgan.errors import InputError

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}"
# As `npm view onnxruntime-web@VERSION dist.integrity` gives it.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7Q"
    "mRMDs1SigqR4CXAfKYQ=="
)
# In the order in which they import each other; the build for one thread or
# several, without WebGPU.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
FOLDER = Path(__file__).parent / "static" / "vendor"
# `-P`: for the package that is installed, in a checkout of it too.
COMMAND = f"{sys.executable} -P -m keras_ssgan.demo.vendor"


def find(folder: Path = FOLDER) -> list[Path]:
    """Lists the files that run models in the browser.

    Returns:
        List of `pathlib.Path`, in the order of `FILES`.

    Raises:
        InputError: If they were not fetched yet.
    """
    paths = [folder / PACKAGE / name for name in FILES]
    if not all(path.is_file() for path in paths):
        raise InputError(f"{PACKAGE} is not here; run {COMMAND}")
    return paths


def fetch(folder: Path = FOLDER) -> None:
    """Fetches them, in place of any other version.

    Raises:
        InputError: If npm is missing or fails, the package is not the one that
            was tested, or the folder cannot be written to.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"npm, which fetches {PACKAGE}, is not installed; install Node.js"
        )
    with tempfile.TemporaryDirectory() as download:
        result = subprocess.run(
            [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent"],
            cwd=download,
            capture_output=True,
            text=True,
        )
        archive = Path(download) / f"{PACKAGE}.tgz"
        if result.returncode or not archive.is_file():
            reason = (result.stderr.strip().splitlines() or ["no reason"])[0]
            raise InputError(f"npm could not fetch {PACKAGE}: {reason}")
        try:
            _unpack(archive, folder)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written to: {error.strerror}"
            ) from None


def _unpack(archive, folder):
    content = archive.read_bytes()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise InputError(
            f"{PACKAGE} is not the package that was tested (sha512-{digest}); "
            "nothing was kept"
        )
    folder.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    with tarfile.open(archive) as tar:
        for name in FILES:
            (new / name).write_bytes(
                tar.extractfile(f"package/dist/{name}").read()
            )
    new.chmod(0o755)
    for old in folder.glob("onnxruntime-web-*"):
        shutil.rmtree(old)
    new.rename(folder / PACKAGE)


def main() -> None:
    """Fetches the files unless they are there."""
    try:
        find()
    except InputError:
        fetch()
    print(f"{PACKAGE} is in {FOLDER}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"keras-ssgan: {error}")
