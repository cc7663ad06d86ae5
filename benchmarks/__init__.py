"""Measures the training against loops that are written by hand.

`python -m benchmarks.training --help` says how. Not part of the package.
"""

import multiprocessing

from keras_ssgan import backends

# As `keras-ssgan` does, before anything imports Keras. A `Worker` has a backend
# of its own.
if multiprocessing.parent_process() is None:
    backends.set_environment(None)
