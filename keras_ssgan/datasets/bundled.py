"""Datasets that come with other packages: MNIST and scikit-learn's digits."""

import numpy as np

from keras_ssgan.errors import InputError
from keras_ssgan.types import Parts


def load_mnist() -> Parts:
    """Loads MNIST through `keras.datasets.mnist`, which caches the download.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: 60,000 and 10,000 images, uint8
        of shape `(n, 28, 28)`, and labels, int32 of shape `(n,)`.

    Raises:
        InputError: If MNIST is not cached and cannot be downloaded.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_mnist()
    """
    import keras

    try:
        train, test = keras.datasets.mnist.load_data()
    # A failed download is a bare Exception in Keras.
    except Exception as error:
        raise InputError(
            "MNIST is not in Keras' cache and could not be downloaded; pass "
            "an .npz file or a folder of IDX files instead"
        ) from error
    (x_train, y_train), (x_test, y_test) = train, test
    return (
        (x_train, y_train.astype("int32")),
        (x_test, y_test.astype("int32")),
    )


def load_digits() -> Parts:
    """Loads the 1,797 handwritten digits that scikit-learn brings along.

    The split into 1,297 training and 500 test images is stratified and always
    the same.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 of shape `(n, 8,
        8)`, scaled from the original 0..16 to 0..255, and labels, int32 of
        shape `(n,)`.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = load_digits()
    """
    # Here, since it takes a second to import.
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    x = np.round(digits.images * 255 / 16).astype("uint8")
    y = digits.target.astype("int32")
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=500, stratify=y, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)
