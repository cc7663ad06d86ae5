"""Reading back what a run has logged."""

from pathlib import Path

import numpy as np

from keras_ssgan import limits
from keras_ssgan import text_files
from keras_ssgan.types import PathLike


def read_history(folder: PathLike) -> dict[str, list[float]]:
    """The logs of a run's finished epochs.

    Args:
        folder: Path of a run's folder.

    Returns:
        Dict from the name of a figure to its values, one per epoch; NaN where
        there is none.

    Raises:
        InputError: If the logs are damaged.
    """
    path = Path(folder) / "history.csv"
    if not path.exists():
        return {}
    with text_files.trouble_is_input_error(path):
        return parse_history(text_files.read_text(path, limits.MAX_CSV_BYTES))


def parse_history(text: str) -> dict[str, list[float]]:
    """The logs that a text holds, as `read_history` gives those of a run.

    Args:
        text: Text of a `history.csv`.

    Returns:
        Dict as from `read_history`.

    Raises:
        ValueError: If the text is none of one.
    """
    rows = text_files.parse_csv_rows(text)
    history = {}
    for name in rows[0] if rows else []:
        cells = [row[name] for row in rows]
        # Keras makes a column for each validation figure there could be.
        if set(cells) != {"NA"}:
            history[name] = [
                float("nan") if cell == "NA" else float(cell) for cell in cells
            ]
            if (np.abs(history[name]) > limits.MAX_LOGGED).any():
                raise ValueError(f"a figure in it is above {limits.MAX_LOGGED}")
    return history
