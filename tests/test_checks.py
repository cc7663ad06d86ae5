import subprocess
import sys

import numpy as np
import pytest

from keras_ssgan.checks import check_images
from keras_ssgan.checks import check_labeled_set
from keras_ssgan.checks import check_labels
from keras_ssgan.errors import InputError

# No backend has a part in it.
pytestmark = pytest.mark.any_backend


def _refusal(function, *args):
    """Returns the message of the refusal, which has to be one line."""
    with pytest.raises(InputError) as info:
        function(*args)
    message = str(info.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64"])
def test_raw_images_of_any_real_dtype_are_accepted(shape, dtype):
    images = np.zeros(shape, dtype)
    images[0, 0, 0] = 255
    check_images(images)


def test_black_and_white_floats_of_0_and_1_are_accepted():
    check_images(np.eye(4, dtype="float32")[None])


def test_uint8_images_are_not_looked_through():
    class Unreadable(np.ndarray):
        __array_ufunc__ = None  # NumPy refuses any arithmetic with it.

    images = np.zeros((2, 3, 4), "uint8").view(Unreadable)
    with pytest.raises(TypeError):
        images.min()
    check_images(images)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4, 1, 1)])
def test_images_of_a_wrong_shape_are_refused_with_their_shape(shape):
    assert str(shape) in _refusal(check_images, np.zeros(shape, "uint8"))


@pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 28), (5, 28, 0, 1)])
def test_empty_images_are_refused(shape):
    assert "no pixels" in _refusal(check_images, np.zeros(shape, "uint8"))


@pytest.mark.parametrize("dtype", ["bool", "object", "complex64", "U1"])
def test_images_of_a_dtype_without_an_order_are_refused(dtype):
    images = np.zeros((2, 3, 4), dtype)
    assert str(images.dtype) in _refusal(check_images, images)


def test_a_list_is_refused_as_images():
    assert "np.asarray" in _refusal(check_images, [[[0, 255]]])


def test_nan_is_named_with_its_image():
    images = np.full((5, 3, 4), 9.0)
    images[3, 2, 1] = np.nan
    images[4, 0, 0] = np.inf
    message = _refusal(check_images, images)
    assert "image 3" in message
    assert "NaN" in message


@pytest.mark.parametrize("value", [-1.0, 255.5, np.inf, -np.inf])
def test_a_pixel_out_of_range_is_named_with_its_image(value):
    images = np.full((5, 3, 4), 9.0)
    images[2, 2, 3] = value
    message = _refusal(check_images, images)
    assert "image 2" in message
    assert str(value) in message


def test_an_integer_out_of_range_is_refused():
    assert "256" in _refusal(check_images, np.full((1, 2, 2), 256, "uint16"))


def test_images_scaled_to_0_to_1_are_refused():
    images = np.full((2, 3, 4), 0.5, "float32")
    assert _refusal(check_images, images) == (
        "pixels look scaled to [0, 1]; pass raw 0..255 values, scaling is "
        "part of the model"
    )


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_integer_labels_with_minus_one_are_accepted(dtype):
    check_labels(np.array([0, -1, 9], dtype), 10, 3)
    check_labels(np.array([[0], [-1], [9]], dtype), 10, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_unsigned_labels_are_accepted_and_checked(dtype):
    check_labels(np.array([0, 4, 9], dtype), 10)
    assert "label 9" in _refusal(check_labels, np.array([9], dtype), 9)


@pytest.mark.parametrize("value", [-2, 10])
def test_a_wrong_label_is_named_with_its_index_and_the_range(value):
    message = _refusal(check_labels, np.array([0, 1, value, -5]), 10)
    assert f"label {value} at index 2" in message
    assert "0..9" in message


def test_without_a_number_of_classes_ids_must_fit_int32():
    check_labels(np.array([2**31 - 1]), None)
    message = _refusal(check_labels, np.array([0, 2**31]), None)
    assert f"label {2**31} at index 1" in message


@pytest.mark.parametrize(
    ("labels", "mend"),
    [
        (np.eye(3, dtype="int32"), "argmax"),
        (np.eye(3, dtype="float32"), "argmax"),
        (np.array([0.0, 1.0]), "astype"),
        (np.array([True, False]), "astype"),
        (np.array(["cat", "dog"]), "np.unique"),
        (np.array(["cat", None], object), "np.unique"),
        (np.array(3), "shape (n,)"),
        (np.zeros((2, 1, 1), int), "shape (n,)"),
        ([0, 1], "np.asarray"),
        (None, "pass y, with -1"),
    ],
)
def test_labels_of_a_wrong_kind_are_refused_with_a_mend(labels, mend):
    assert mend in _refusal(check_labels, labels, 3)


def test_labels_of_another_number_than_the_images_are_refused():
    message = _refusal(check_labels, np.array([0, 1]), 10, 3)
    assert "3 images and 2 labels" in message


def test_one_label_of_each_of_two_classes_is_enough():
    check_labeled_set(np.array([-1, 3, -1, 5]), 10)


def test_a_set_without_labels_is_refused():
    message = _refusal(check_labeled_set, np.array([-1, -1]), 10)
    assert "no image has a label" in message
    _refusal(check_labeled_set, np.array([], int), 10)


def test_a_set_with_labels_of_one_class_is_refused():
    message = _refusal(check_labeled_set, np.array([7, -1, 7]), 10)
    assert "class 7" in message


def test_a_labeled_set_is_checked_as_labels_too():
    assert "label 12" in _refusal(check_labeled_set, np.array([1, 12]), 10)


def test_checks_and_loaders_do_without_keras():
    code = (
        "import sys, keras_ssgan.checks, keras_ssgan.datasets;"
        "assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
