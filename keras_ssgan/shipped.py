"""The trained models that come with the package, each with a card.

A card is the `.json` beside a model: the command, the seed and the data that
made it, how many labels it saw, what it scores, and the checksum of the file.
"""

import hashlib
import json
from pathlib import Path

from keras_ssgan.errors import InputError

# In a wheel they are inside of the package, in a checkout beside it.
_PACKAGE = Path(__file__).parent
_INSIDE = _PACKAGE / "saved_models"
FOLDER = _INSIDE if _INSIDE.is_dir() else _PACKAGE.with_name("saved_models")
# What `predict`, `generate` and `demo` take where no model is named.
CLASSIFIER = FOLDER / "mnist_100_labels.keras"
GENERATOR = FOLDER / "mnist_drawing.keras"


def verify(path: Path) -> dict:
    """Checks that a model is the one that its card describes.

    Args:
        path: The `.keras` file; its card is the `.json` beside it.

    Returns:
        Dict, the content of the card.

    Raises:
        InputError: If one of the two is missing, or the file's checksum is not
            that of the card.
    """
    card_path = path.with_suffix(".json")
    for file in (path, card_path):
        if not file.exists():
            raise InputError(
                f"there is no {file}; install keras_ssgan again, or name a "
                "model of your own"
            )
    card = json.loads(card_path.read_text())
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != card["sha256"]:
        raise InputError(
            f"{path} is not the file that its card describes (sha256 "
            f"{checksum[:12]}..., not {card['sha256'][:12]}...); get both again"
        )
    return card
