"""`python -m keras_ssgan`, the same as `keras-ssgan`."""

import sys

from keras_ssgan.cli import main

sys.exit(main())
