"""Labels that spread along a graph, against the formula and SciPy."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from conftest import build_tiny_gan
from keras import ops

import keras_ssgan as ks
from keras_ssgan import propagation
from keras_ssgan.callbacks import PropagateLabels
from keras_ssgan.propagation import PseudoLabels


@pytest.fixture
def clusters():
    """Directions around three axes, 20 each; one of each has a label."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 20)
    features = np.eye(3)[classes] + 0.1 * rng.standard_normal((60, 3))
    labels = np.full(60, -1)
    labels[[3, 25, 41]] = [0, 1, 2]
    # Longer ones are not more alike.
    return features * rng.uniform(1, 5, (60, 1)), labels, classes


def _solved(features, known, alpha, neighbors=8, power=60):
    """`(I - alpha S)^-1 Y` of Zhou et al., each class as heavy as in Y."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.clip(unit @ unit.T, 0, None) ** power
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :neighbors]
    weights = np.zeros_like(cosines)
    np.put_along_axis(
        weights, nearest, np.take_along_axis(cosines, nearest, 1), 1
    )
    weights = weights + weights.T
    degrees = weights.sum(axis=1)
    similarity = weights / np.sqrt(np.outer(degrees, degrees))
    spread = np.linalg.solve(np.eye(len(features)) - alpha * similarity, known)
    spread *= known.sum(axis=0) / spread.sum(axis=0)
    return spread / spread.sum(axis=1, keepdims=True)


def _one_hot(labels, num_classes):
    """Rows of zeros where there is no label."""
    return np.where(
        labels[:, None] >= 0, np.eye(num_classes)[labels], np.zeros(num_classes)
    )


@pytest.mark.any_backend
@pytest.mark.parametrize("alpha", [0.999, 0.9, 0.5])
@pytest.mark.parametrize("soft", [False, True])
def test_labels_and_probabilities_spread_as_the_formula_says(soft, alpha):
    """On a graph without gaps."""
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (100, 3))
    labels = np.where(np.arange(100) < 6, np.arange(100) % 3, -1)
    known = _one_hot(labels, 3)
    if soft:
        known[6:] = rng.dirichlet([1, 1, 1], 94)
    ours = propagation.propagate(features, known, alpha)
    assert ours.shape == (100, 3) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, _solved(features, known, alpha), atol=1e-4)


@pytest.mark.any_backend
def test_each_cluster_gets_the_class_of_its_label(clusters):
    features, labels, classes = clusters
    known = _one_hot(labels, 3)
    probabilities = propagation.propagate(features, known, 0.999)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), classes)


@pytest.mark.any_backend
def test_what_nothing_reaches_stays_open(clusters):
    features, labels, classes = clusters
    labels[classes == 2] = -1
    known = _one_hot(labels, 4)
    probabilities = propagation.propagate(features, known, 0.999)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities[classes < 2].argmax(1) == classes[classes < 2]).all()
    # No image of class 3 has a label either, and it gets no share.
    assert (probabilities[classes < 2, 2:] == 0).all()
    np.testing.assert_array_equal(probabilities[classes == 2], 0.25)


@pytest.mark.any_backend
def test_a_group_without_a_label_keeps_what_the_classifier_says_of_it(clusters):
    """Most of it: one that is taken for another is corrected."""
    features, labels, classes = clusters
    labels[classes == 2] = -1
    known = np.where(
        labels[:, None] >= 0,
        _one_hot(labels, 3),
        0.1 + 0.7 * np.eye(3)[classes],
    )
    group = np.flatnonzero(classes == 2)
    known[group[:2]] = [0.6, 0.2, 0.2]
    probabilities = propagation.propagate(features, known, 0.9)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), classes)


@pytest.mark.any_backend
def test_a_weight_is_how_little_is_left_open():
    pseudo_labels = PseudoLabels.none(5)
    rows = np.array([4, 0, 2])
    probabilities = np.array(
        [[0, 0, 1, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]]
    )
    pseudo_labels.update(rows, probabilities)
    np.testing.assert_array_equal(pseudo_labels.labels[[4, 2]], [2, 0])
    np.testing.assert_allclose(
        pseudo_labels.weights, [0, 0, 0.5, 0, 1], atol=1e-6
    )


# === What is alike before anything is learnt ===


def _digit(slant=0.0, shift=(0, 0)):
    """A smooth stroke, sheared and moved; float64 `(28, 28)` in [0, 1]."""
    y, x = np.mgrid[:28, :28].astype("float64")
    x = x - slant * (y - 13.5) - shift[1]
    y = y - shift[0]
    stroke = np.exp(-((x - 13.5) ** 2) / 8) * (np.abs(y - 13.5) < 8)
    return scipy.ndimage.gaussian_filter(stroke, 1)


def _tensor(digits):
    """Digits as the networks take them."""
    return ops.convert_to_tensor(
        (2 * np.stack(digits)[..., None] - 1).astype("float32")
    )


def _upright(digits):
    images = propagation.upright(_tensor(digits))
    return (ops.convert_to_numpy(images)[..., 0] + 1) / 2


def test_slanted_and_moved_digits_come_out_upright_in_the_middle():
    digits = [_digit(0.4), _digit(-0.3, (2, -3)), _digit(0, (1, 4))]
    y, x = np.mgrid[:28, :28]
    for image in _upright(digits).astype("float64"):
        mass = image / image.sum()
        center = (mass * y).sum(), (mass * x).sum()
        np.testing.assert_allclose(center, 13.5, atol=0.05)
        assert abs((mass * (y - 13.5) * (x - 13.5)).sum()) < 0.05
        np.testing.assert_allclose(image, _digit(), atol=0.1)


def test_an_image_without_ink_stays_as_it_is():
    np.testing.assert_allclose(_upright([np.zeros((28, 28))]), 0, atol=1e-6)


def test_windows_of_images_are_as_many_along_each_axis():
    images = np.random.default_rng(0).normal(size=(3, 64, 16))
    features = propagation.image_features(_tensor(images))
    turned = propagation.image_features(_tensor(images.swapaxes(1, 2)))
    assert 0 not in features.shape
    assert tuple(features.shape) == tuple(turned.shape)


def test_image_features_are_the_same_whatever_keras_is_told():
    digits = _tensor([_digit(0.2), _digit(0.1, (2, 2))])
    expected = ops.convert_to_numpy(propagation.image_features(digits))
    keras.config.set_image_data_format("channels_first")
    try:
        found = ops.convert_to_numpy(propagation.image_features(digits))
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(found, expected)


def test_image_features_are_histograms_of_gradients_in_windows():
    digits = [_digit(0.2), _digit(0.1, (2, 2))]
    features = ops.convert_to_numpy(propagation.image_features(_tensor(digits)))
    # Of pixels that go from -1 to 1, and over two of them.
    down, right = np.gradient(4 * _upright(digits), axis=(1, 2))
    strength, direction = np.hypot(right, down), np.arctan2(down, right)
    apart = direction[..., None] - np.arange(8) * np.pi / 4
    gradients = strength[..., None] * np.maximum(np.cos(apart), 0) ** 4
    # Without the border, where the difference is over one pixel.
    windows = np.lib.stride_tricks.sliding_window_view(
        gradients[:, 1:-1, 1:-1], (8, 8), axis=(1, 2)
    )[:, ::4, ::4]
    expected = windows.mean(axis=(4, 5)).reshape(2, -1)
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_an_image_without_strokes_has_no_features():
    blank = _tensor([np.zeros((28, 28))])
    features = ops.convert_to_numpy(propagation.image_features(blank))
    np.testing.assert_allclose(features, 0, atol=1e-4)


# === In training ===


@pytest.fixture
def data():
    """60 images, light bars at three places, three of them labelled."""
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 3
    x = rng.integers(0, 40, (60, 8, 8), dtype="uint8")
    # Of three slants, since where they lie makes no difference.
    for image, label in zip(x, classes, strict=True):
        if label == 0:
            image[1:7, 3:5] = 255
        elif label == 1:
            image[3:5, 1:7] = 255
        else:
            image[1:3, 1:3] = image[5:7, 5:7] = 255
            image[1:3, 5:7] = image[5:7, 1:3] = 255
    y = np.where(np.arange(60) < 3, classes, -1)
    pseudo_labels = PseudoLabels.none(60)
    mixed = ks.datasets.MixedDataset(
        x, y, 20, 2, seed=0, pseudo_labels=pseudo_labels
    )
    return mixed, classes


@pytest.fixture
def gan():
    gan = build_tiny_gan(num_classes=3, learning_rate=1e-3, ema_momentum=0.9)
    # Eager on TensorFlow, which would trace for longer than it computes.
    gan.compile(run_eagerly=keras.backend.backend() == "tensorflow")
    return gan


class _Spy(keras.callbacks.Callback):
    """Keeps what a model is at the end of each epoch, and at its begin."""

    def __init__(self, data):
        super().__init__()
        self.data = data
        self.begins, self.ends, self.labels = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begins.append(self.model.discriminator.get_weights())
        self.labels.append(self.data.pseudo_labels.labels.copy())

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.model.discriminator.get_weights())


def test_unlabelled_images_get_the_classes_of_those_like_them(gan, data):
    mixed, classes = data
    spy = _Spy(mixed)
    gan.fit(
        mixed,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[PropagateLabels(mixed), spy],
    )
    # By their strokes, all are right.
    np.testing.assert_array_equal(spy.labels[0], classes)
    assert (mixed.pseudo_labels.weights > 0).all()
    # Looking at the averaged weights leaves those in training alone.
    for end, begin in zip(spy.ends[:-1], spy.begins[1:], strict=True):
        for one, other in zip(end, begin, strict=True):
            np.testing.assert_array_equal(one, other)


def test_later_labels_are_those_of_the_averaged_weights(gan, data, monkeypatch):
    mixed, classes = data
    seen, averages = [], []

    def propagate(features, known, alpha):
        seen.append((features, known, alpha))
        optimizer = gan.discriminator_optimizer
        averages.append(
            [a.numpy() for a in optimizer._model_variables_moving_average]
        )
        return np.full((60, 3), 1 / 3, "float32")

    monkeypatch.setattr(propagation, "propagate", propagate)
    gan.fit(
        mixed,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[PropagateLabels(mixed)],
    )
    features, known, alpha = seen[0]
    assert features.shape == (60, 200)  # 8 directions in 5x5 windows.
    np.testing.assert_array_equal(known, _one_hot(mixed.y, 3))
    assert alpha == 57 / 60  # The share of the images without a label.
    labeled = mixed.y >= 0
    variables = gan.discriminator.trainable_variables
    for (features, known, alpha), weights in zip(
        seen[1:], averages[1:], strict=True
    ):
        for variable, average in zip(variables, weights, strict=True):
            variable.assign(average)
        gan.update_statistics(mixed.x)
        expected, logits = gan.discriminator(gan.preprocess(mixed.x))
        np.testing.assert_allclose(
            features, ops.convert_to_numpy(expected), atol=1e-5
        )
        np.testing.assert_allclose(
            known[~labeled],
            scipy.special.softmax(ops.convert_to_numpy(logits)[:, 1:], axis=1)[
                ~labeled
            ],
            atol=1e-5,
        )
        np.testing.assert_array_equal(
            known[labeled], np.eye(3)[mixed.y[labeled]]
        )
        assert alpha == 0.9


@pytest.mark.any_backend
def test_who_interrupts_it_keeps_the_weights_in_training(
    gan, data, monkeypatch
):
    mixed, _ = data
    callback = PropagateLabels(mixed)
    gan.fit(mixed, shuffle=False, verbose=0, callbacks=[callback])
    # No averages, as in the middle of a training.
    weights = [1.1 * w for w in gan.discriminator.get_weights()]
    gan.discriminator.set_weights(weights)

    def interrupt(images):
        raise KeyboardInterrupt

    monkeypatch.setattr(gan, "features_and_probabilities", interrupt)
    with pytest.raises(KeyboardInterrupt):
        callback.on_epoch_begin(1)
    for kept, weight in zip(
        gan.discriminator.get_weights(), weights, strict=True
    ):
        np.testing.assert_array_equal(kept, weight)


def test_an_epoch_that_was_broken_off_keeps_its_labels(gan, data):
    mixed, _ = data
    later = ks.datasets.MixedDataset(
        mixed.x,
        mixed.y,
        20,
        2,
        initial_batch=1,
        pseudo_labels=PseudoLabels.none(60),
    )
    gan.fit(
        later,
        shuffle=False,
        verbose=0,
        callbacks=[PropagateLabels(later)],
    )
    assert not later.pseudo_labels.weights.any()


def test_of_too_many_images_the_labelled_ones_and_some_others_are_taken(
    gan, data
):
    mixed, _ = data
    gan.fit(
        mixed,
        shuffle=False,
        verbose=0,
        callbacks=[PropagateLabels(mixed, max_images=30)],
    )
    assert np.count_nonzero(mixed.pseudo_labels.weights) == 30
    assert mixed.pseudo_labels.weights[mixed.y >= 0].all()


@pytest.mark.any_backend
def test_half_of_the_graph_is_left_to_those_without_a_label(data):
    mixed, classes = data
    y = np.where(np.arange(60) < 50, classes, -1)
    many = ks.datasets.MixedDataset(
        mixed.x, y, 20, 2, pseudo_labels=PseudoLabels.none(60)
    )
    rows = PropagateLabels(many, max_images=16)._rows
    assert (len(rows), np.sum(y[rows] < 0)) == (16, 8)


@pytest.mark.any_backend
def test_pseudo_labels_of_other_images_are_refused(data):
    mixed, _ = data
    with pytest.raises(ks.InputError, match="60 images and 59"):
        ks.datasets.MixedDataset(
            mixed.x, mixed.y, pseudo_labels=PseudoLabels.none(59)
        )


@pytest.mark.any_backend
def test_a_dataset_without_pseudo_labels_is_refused(data):
    plain = ks.datasets.MixedDataset(data[0].x, data[0].y, 20, 2)
    with pytest.raises(ks.InputError, match="PseudoLabels.none"):
        PropagateLabels(plain)


@pytest.mark.any_backend
def test_batches_have_labels_where_there_are_some_and_guesses_elsewhere(data):
    mixed, _ = data
    mixed.pseudo_labels.labels[:] = 2
    mixed.pseudo_labels.weights[:] = 0.25
    _, labels, weights = mixed[0]
    # The labelled ones come first.
    assert set(labels[:2]) <= {0, 1, 2} and (weights[:2] == 1).all()
    assert (labels[2:] == 2).all() and (weights[2:] == 0.25).all()
    assert (labels.dtype, weights.dtype) == (np.int32, np.float32)


def test_features_and_probabilities_are_the_discriminators_in_batches(
    gan, data
):
    images = data[0].x
    features, probabilities = gan.features_and_probabilities(images, 7)
    expected, _ = gan.discriminator(gan.preprocess(images), training=False)
    np.testing.assert_allclose(
        features, ops.convert_to_numpy(expected), atol=1e-5
    )
    np.testing.assert_allclose(
        probabilities, gan.predict(images, verbose=0), atol=1e-5
    )
