"""Types that signatures share."""

import os
from typing import Any
from typing import TypeAlias

import numpy as np

# Of whichever backend runs; also a NumPy array, or symbolic. None of them has
# a type in common.
Tensor: TypeAlias = Any

PathLike: TypeAlias = str | os.PathLike[str]

# `(x_train, y_train), (x_test, y_test)`
Parts: TypeAlias = tuple[
    tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]
