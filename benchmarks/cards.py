"""The cards beside the shipped models, which `keras_ssgan.shipped` reads."""

import hashlib

from keras_ssgan import files


def write(path, content):
    """Writes the card of a model.

    Args:
        path: `Path` of the `.keras` file; the card is the `.json` beside it.
        content: Dict of plain values; the checksum is added.
    """
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    files.write_json(path.with_suffix(".json"), {**content, "sha256": checksum})
