"""Measures the training against loops that are written by hand.

`python -m benchmarks.training --help` says how. Not part of the package.
"""

from keras_ssgan import backends

# As `keras-ssgan` does, before anything imports Keras.
backends.set_environment(None)
