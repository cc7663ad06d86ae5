"""Loading images, hiding labels, and batches with a fixed share of labels.

Every `load_*` function returns `(x_train, y_train), (x_test, y_test)`: images
as uint8 and labels as int32, where -1 stands for "no label".
"""

import importlib

from keras_ssgan.datasets.bundled import load_digits
from keras_ssgan.datasets.bundled import load_mnist
from keras_ssgan.datasets.dataset import Dataset
from keras_ssgan.datasets.dataset import load
from keras_ssgan.datasets.idx import load_idx
from keras_ssgan.datasets.image_files import find_images
from keras_ssgan.datasets.image_files import read_image
from keras_ssgan.datasets.image_folder import class_names
from keras_ssgan.datasets.image_folder import load_image_folder
from keras_ssgan.datasets.labels import hide_labels
from keras_ssgan.datasets.labels import split_validation
from keras_ssgan.datasets.npz import load_npz
from keras_ssgan.datasets.photos import DigitFormat
from keras_ssgan.datasets.photos import find_digit_format
from keras_ssgan.datasets.photos import on_light_paper
from keras_ssgan.datasets.photos import read_digit
from keras_ssgan.datasets.shards import load_shards
from keras_ssgan.datasets.streams import StreamedImages

__all__ = [
    "Dataset",
    "DigitFormat",
    "MixedDataset",
    "StreamedImages",
    "class_names",
    "find_digit_format",
    "find_images",
    "hide_labels",
    "load",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_mnist",
    "load_npz",
    "load_shards",
    "on_light_paper",
    "read_digit",
    "read_image",
    "split_validation",
]


def __getattr__(name):
    # The only name here that imports Keras, and with it a backend.
    if name == "MixedDataset":
        module = importlib.import_module("keras_ssgan.datasets.mixed")
        return module.MixedDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
