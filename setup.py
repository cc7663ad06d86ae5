"""The build of a wheel also fetches what runs the models in the browser."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithVendored(build_py):
    def run(self):
        if not self.editable_mode:
            # Without npm there is a wheel all the same, whose demo says what
            # it lacks; so the exit status does not matter.
            subprocess.run(
                [sys.executable, "-m", "keras_ssgan.demo.vendor"],
                cwd=Path(__file__).parent,
            )
        super().run()


setup(cmdclass={"build_py": BuildWithVendored})
