"""Temperature and calibration error, against SciPy and plain loops."""

import keras
import numpy as np
import pytest
from conftest import build_tiny_gan
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax

from keras_ssgan import calibration
from keras_ssgan import export
from keras_ssgan import runs
from keras_ssgan.classifier import temperature_of
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend


def labels_drawn_from(logits, seed=0):
    """One label per row, each as probable as the softmax says."""
    rng = np.random.default_rng(seed)
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=-1)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 2, (3000, 10))


# === Temperature ===


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_temperature_that_was_put_in_is_found(temperature, logits):
    labels = labels_drawn_from(logits)
    probabilities = softmax(logits * temperature, axis=-1)
    fitted = calibration.fit_temperature(labels, probabilities)
    assert_allclose(fitted, temperature, rtol=0.05)


@pytest.mark.parametrize("count", [5, 40, 3000])
def test_the_temperature_is_where_scipy_finds_the_minimum(count, logits):
    logits = 3 * logits[:count]
    labels = labels_drawn_from(logits / 3)

    def objective(log_b):
        logs = log_softmax(np.exp(log_b) * logits, axis=-1)
        nll = -logs[np.arange(count), labels].sum()
        return nll + np.exp(log_b) - log_b

    best = minimize_scalar(objective, (-2, 2), tol=1e-12)
    assert_allclose(
        calibration.fit_temperature(labels, softmax(logits, axis=-1)),
        np.exp(-best.x),
        rtol=1e-5,
    )


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_images_without_a_mistake_leave_the_temperature_near_1(count):
    labels = np.arange(count) % 10
    probabilities = np.full((count, 10), 1e-4 / 9)
    probabilities[np.arange(count), labels] = 1 - 1e-4
    temperature = calibration.fit_temperature(labels, probabilities)
    assert 0.6 < temperature < 1.0


def test_certain_mistakes_give_a_finite_temperature_above_1():
    labels = np.zeros(10, int)
    probabilities = np.eye(10, dtype="float32")[np.ones(10, int)]
    assert 10 < calibration.fit_temperature(labels, probabilities) <= 100.01


@pytest.mark.parametrize(
    "probabilities",
    [np.empty((0, 10)), np.full((3, 10), np.nan), np.full((3, 10), 0.1)],
)
def test_where_nothing_can_be_learnt_the_temperature_is_1(probabilities):
    labels = np.zeros(len(probabilities), int)
    temperature = calibration.fit_temperature(labels, probabilities)
    assert_allclose(temperature, 1.0, rtol=1e-12)


def test_the_fit_lowers_the_calibration_error_of_other_images(logits):
    labels = labels_drawn_from(logits)
    probabilities = softmax(4 * logits, axis=-1)
    temperature = calibration.fit_temperature(
        labels[:1000], probabilities[:1000]
    )
    calibrated = calibration.rescale(probabilities[1000:], 1 / temperature)
    before, after = (
        calibration.calibration_error(labels[1000:], p)
        for p in (probabilities[1000:], calibrated)
    )
    assert before > 0.2 and after < 0.05


def test_rescaling_is_what_the_logits_would_give(logits):
    assert_allclose(
        calibration.rescale(softmax(logits, axis=-1), 0.4),
        softmax(0.4 * logits, axis=-1),
    )


# === Calibration error ===


def calibration_error_by_loop(labels, probabilities, bins):
    """Guo et al. 2017, equations 2 and 3, bin by bin in float64."""
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    error = 0.0
    for m in range(1, bins + 1):
        inside = ((m - 1) / bins < confidence) & (confidence <= m / bins)
        if inside.any():
            gap = correct[inside].mean() - confidence[inside].mean()
            error += inside.sum() / len(labels) * abs(gap)
    return error


@pytest.mark.parametrize("bins", [1, 15])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_calibration_error_is_that_of_a_loop(bins, sharpness, logits):
    labels = labels_drawn_from(logits)
    probabilities = softmax(sharpness * logits, axis=-1)
    assert_allclose(
        calibration.calibration_error(labels, probabilities, bins),
        calibration_error_by_loop(labels, probabilities, bins),
        atol=1e-12,
    )


def test_calibration_error_by_hand():
    # Half of those at 0.9 are right, and all of those at 0.6.
    probabilities = np.array([[0.9, 0.1]] * 2 + [[0.4, 0.6]] * 2)
    error = calibration.calibration_error(np.array([0, 1, 1, 1]), probabilities)
    assert_allclose(error, 0.5 * 0.4 + 0.5 * 0.4)


def test_every_image_is_in_one_bin():
    # At the edges: 1/10 is the lowest possible maximum, and 1 the highest.
    edges = np.linspace(0, 1, 16)[2:]
    probabilities = np.column_stack([edges, 1 - edges])
    bins = calibration.reliability(np.zeros(14, int), probabilities)
    assert sum(entry["images"] for entry in bins) == 14
    assert bins[-1]["images"] >= 1 and bins[0]["images"] == 0
    assert bins[0]["confidence"] is None


# === In the classifier ===


def test_the_classifier_divides_its_logits_by_the_temperature(tiny_data):
    gan = build_tiny_gan()
    images, _ = tiny_data
    plain = gan.predict(images, verbose=0)
    classifier = gan.classifier(temperature=0.05)
    calibrated = classifier.predict(images, verbose=0)
    logits = np.log(plain.astype("float64"))
    assert_allclose(calibrated, softmax(logits / 0.05, axis=-1), rtol=1e-3)
    assert np.abs(calibrated - plain).max() > 0.01
    np.testing.assert_array_equal(calibrated.argmax(-1), plain.argmax(-1))


def test_a_saved_classifier_has_its_temperature(tmp_path):
    classifier = build_tiny_gan().classifier(temperature=3.0)
    classifier.save(tmp_path / "classifier.keras")
    loaded = runs.load_classifier(tmp_path / "classifier.keras")
    assert_allclose(temperature_of(loaded), 3.0)


def test_a_model_without_such_a_layer_has_temperature_1():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])
    assert temperature_of(model) == 1.0


@pytest.mark.usefixtures("convert_here")
def test_an_exported_classifier_has_its_temperature(tmp_path, tiny_data):
    import onnxruntime

    gan = build_tiny_gan()
    images, _ = tiny_data
    export.export_classifier(
        gan.classifier(temperature=0.05), tmp_path / "tiny", formats="onnx"
    )
    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx")
    (outputs,) = session.run(None, {"pixels": images})
    plain = gan.predict(images, verbose=0).astype("float64")
    assert_allclose(outputs, softmax(np.log(plain) / 0.05, axis=-1), rtol=1e-3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(InputError, match="has to be above 0"):
        build_tiny_gan().classifier(temperature=temperature)
