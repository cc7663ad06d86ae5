"""The command line with the preset `tiny`, in a process of its own."""

import sys

from tiny import TINY

from keras_ssgan import cli
from keras_ssgan import settings

settings.PRESETS["tiny"] = TINY
sys.exit(cli.main())
