"""Inputs that try to break the parsers: `python -m fuzz.run --help`."""
