"""Measures the training against loops that are written by hand.

`python -m benchmarks.training --help` says how. Not part of the package.
"""
