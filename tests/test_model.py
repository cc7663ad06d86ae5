"""SemiSupervisedGAN behaves as a user of Keras expects."""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
import torch
from conftest import build_tiny_gan
from keras import ops
from numpy.testing import assert_allclose
from numpy.testing import assert_array_equal

import keras_ssgan as ks
from keras_ssgan import limits
from keras_ssgan.classifier import classify
from keras_ssgan.classifier import is_classifier
from keras_ssgan.datasets import streams
from keras_ssgan.errors import InputError

BACKEND = keras.backend.backend()
BATCH = 20

TRAINING_LOGS = {
    "d_loss",
    "d_loss_supervised",
    "d_loss_real",
    "d_loss_fake",
    "g_loss",
    "g_loss_adversarial",
    "g_loss_feature_matching",
    "loss",
    "accuracy",
}


def new_gan(seed=0, dropout=0.3, num_classes=10, **compile_arguments):
    """A tiny GAN from a seed, where equal runs stay close.

    With SGD: Adam divides by the size of the gradient, so that a rounding
    error of a tiny gradient moves a weight by a whole learning rate. Eager on
    TensorFlow, which would trace for a second what is run twice; tests that
    are about compiled steps say `run_eagerly=False`.
    """
    keras.utils.set_random_seed(seed)
    gan = build_tiny_gan(dropout=dropout, num_classes=num_classes)
    gan.compile(
        **{
            "discriminator_optimizer": keras.optimizers.SGD(0.1),
            "generator_optimizer": keras.optimizers.SGD(0.1),
            "run_eagerly": BACKEND == "tensorflow",
            **compile_arguments,
        }
    )
    return gan


def fit(gan, *data, **kwargs):
    """Trains in order, so that two runs see the same batches."""
    if isinstance(data[0], np.ndarray):
        kwargs = {"batch_size": BATCH, "shuffle": False, **kwargs}
    return gan.fit(*data, verbose=0, **kwargs).history


def assert_same_weights(gan, weights, atol=1e-6):
    for value, expected in zip(gan.get_weights(), weights, strict=True):
        assert_allclose(value, expected, atol=atol, rtol=0)


def assert_finite(gan, history):
    for weight in gan.get_weights():
        assert np.isfinite(weight).all()
    for name, values in history.items():
        assert np.isfinite(values).all(), name


def moved(weights, before):
    return [
        not np.array_equal(weight, old)
        for weight, old in zip(weights, before, strict=True)
    ]


@pytest.fixture(scope="module")
def data():
    """40 raw 8x8 images with all their labels, and which are labelled."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, 8, 8), dtype="uint8")
    labels = rng.permutation(np.arange(40) % 10).astype("int32")
    return images, labels, rng.permutation(np.arange(40) % 2 == 0)


@pytest.fixture(scope="module")
def partly_labeled(data):
    images, labels, labeled = data
    return images, np.where(labeled, labels, -1).astype("int32")


@pytest.fixture(scope="module")
def reference(partly_labeled):
    """Weights after an epoch on NumPy arrays with -1 labels."""
    gan = new_gan(run_eagerly=False)
    fit(gan, *partly_labeled)
    return gan.get_weights()


@pytest.fixture(scope="module")
def trained(partly_labeled):
    """A GAN whose predictions are not those of fresh weights."""
    gan = new_gan()
    fit(gan, *partly_labeled)
    for weight in gan.discriminator.trainable_weights:
        weight.assign(ops.multiply(weight, 2.0))
    return gan


# === Training: what goes in ===


def test_fit_trains_both_networks(partly_labeled):
    gan = build_tiny_gan()
    gan.compile()
    networks = (gan.discriminator, gan.generator)
    before = [network.get_weights() for network in networks]
    history = fit(gan, *partly_labeled)
    assert_finite(gan, history)
    for network, old in zip(networks, before, strict=True):
        assert all(moved(network.get_weights(), old))


def test_history_has_the_documented_names(partly_labeled):
    history = fit(new_gan(), *partly_labeled, epochs=2)
    assert set(history) == TRAINING_LOGS
    assert {len(values) for values in history.values()} == {2}
    for total, *parts in (
        ("d_loss", "supervised", "real", "fake"),
        ("g_loss", "adversarial", "feature_matching"),
    ):
        sums = np.sum([history[f"{total}_{part}"] for part in parts], axis=0)
        assert_allclose(history[total], sums, rtol=1e-5)


def test_one_labelled_image_is_trained_on_and_scored(data):
    images, labels, _ = data
    gan = new_gan()
    one = images[:1], np.abs(labels[:1])
    fit(gan, *one, validation_data=one)
    assert gan.evaluate(*one, verbose=0, return_dict=True)["accuracy"] in (0, 1)


def test_sample_weight_of_zero_hides_a_label(data, reference):
    images, labels, labeled = data
    gan = new_gan()
    fit(gan, images, labels, sample_weight=labeled.astype("float32"))
    assert_same_weights(gan, reference)


def test_what_the_mask_hides_may_be_anything(data, reference):
    images, labels, labeled = data
    anything = np.where(labeled, labels, [99, -7] * 20)[:, np.newaxis]
    mask = labeled.astype("float32")
    gan = new_gan(run_eagerly=False)
    validation_data = (images, anything, mask)
    history = fit(
        gan,
        images,
        anything,
        sample_weight=mask,
        validation_data=validation_data,
    )
    assert_same_weights(gan, reference)
    _, accuracy = gan.evaluate(images, anything, sample_weight=mask, verbose=0)
    assert history["val_accuracy"] == [accuracy]
    with pytest.raises(ks.InputError, match="label 99"):
        gan.evaluate(images, anything, sample_weight=1 - mask, verbose=0)


def test_class_weight_is_a_sample_weight(data):
    images, labels, _ = data
    class_weight = {i: 1.0 + i for i in range(10)}
    weighted, expected, plain = new_gan(), new_gan(), new_gan()
    fit(weighted, images, labels, class_weight=class_weight)
    fit(expected, images, labels, sample_weight=1.0 + labels.astype("float32"))
    fit(plain, images, labels)
    assert_same_weights(weighted, expected.get_weights())
    assert any(moved(weighted.get_weights(), plain.get_weights()))


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in order."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0]) // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return tuple(array[rows] for array in self.arrays)


def tf_data(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def data_loader(*arrays):
    tensors = [torch.from_numpy(array) for array in arrays]
    dataset = torch.utils.data.TensorDataset(*tensors)
    return torch.utils.data.DataLoader(dataset, batch_size=BATCH)


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
@pytest.mark.parametrize("source", [tf_data, Batches, data_loader])
def test_a_dataset_of_two_elements_trains_like_arrays(
    source, partly_labeled, reference
):
    images, labels = partly_labeled
    gan = new_gan(run_eagerly=False)
    fit(gan, source(images, labels.astype("int64").reshape(-1, 1)))
    assert_same_weights(gan, reference)


def test_tensors_train_like_arrays(partly_labeled, reference):
    images, labels = map(keras.ops.convert_to_tensor, partly_labeled)
    gan = new_gan(run_eagerly=False)
    gan.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
    assert_same_weights(gan, reference)
    scaled = keras.ops.cast(images, "float32") / 255
    for run in (
        lambda: gan.fit(scaled, labels),
        lambda: gan.fit(images, labels, validation_data=(scaled, labels)),
        lambda: gan.evaluate(scaled, labels),
        lambda: gan.predict(scaled),
    ):
        with pytest.raises(ks.InputError, match="scaled to"):
            run()


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
@pytest.mark.parametrize("source", [tf_data, Batches, data_loader])
def test_a_dataset_of_three_elements_trains_like_arrays(
    source, data, reference
):
    images, labels, labeled = data
    gan = new_gan(run_eagerly=False)
    # What stands for a hidden label does not matter where the mask is 0, and
    # uint8 has no -1.
    labels = np.where(labeled, labels, 255).astype("uint8")
    fit(gan, source(images, labels, labeled.astype("float32")))
    assert_same_weights(gan, reference)


def test_images_of_another_size_and_rank_train(partly_labeled, reference):
    images, labels = partly_labeled
    # Each pixel four times: the mean over 2x2 blocks gives the images back.
    images = images.repeat(2, axis=1).repeat(2, axis=2)[..., np.newaxis]
    gan = new_gan()
    fit(gan, images, labels)
    assert_same_weights(gan, reference, atol=1e-5)


# === Training: odd batches ===


def test_an_epoch_without_labels_trains_and_stays_finite(partly_labeled):
    images, _ = partly_labeled
    gan = new_gan()
    before = gan.generator.get_weights()
    history = fit(gan, images, np.full(40, -1, "int32"))
    assert_finite(gan, history)
    assert history["d_loss_supervised"] == [0.0]
    assert history["accuracy"] == [0.0]
    assert all(moved(gan.generator.get_weights(), before))


def test_an_epoch_of_labels_only_stays_finite(data):
    images, labels, _ = data
    gan = new_gan()
    history = fit(gan, images, labels)
    assert_finite(gan, history)
    assert history["d_loss_supervised"][0] > 0


def test_a_last_batch_of_one_image_counts_for_one_image(partly_labeled):
    images, labels = partly_labeled
    gan, stepped = new_gan(run_eagerly=False), new_gan()
    history = fit(gan, images[: BATCH + 1], labels[: BATCH + 1])
    assert_finite(gan, history)
    full, single = (
        stepped.train_on_batch(images[rows], labels[rows], return_dict=True)
        for rows in (slice(BATCH), slice(BATCH, BATCH + 1))
    )
    assert abs(full["d_loss_real"] - single["d_loss_real"]) > 1e-3
    of_labels = {"loss", "accuracy", "d_loss_supervised", "d_loss"}
    for name in TRAINING_LOGS - of_labels:
        mean = (BATCH * full[name] + single[name]) / (BATCH + 1)
        assert_allclose(history[name], [mean], rtol=1e-4, err_msg=name)


# === Validation and evaluation ===


def test_validation_data_is_logged_as_evaluate_gives_it(data, partly_labeled):
    images, labels = partly_labeled
    gan = new_gan(run_eagerly=False)
    validation_data = (images[:30], data[1][:30])
    history = fit(gan, images, labels, validation_data=validation_data)
    assert set(history) == TRAINING_LOGS | {"val_loss", "val_accuracy"}
    logs = gan.evaluate(*validation_data, batch_size=BATCH, verbose=0)
    assert_allclose(
        [history["val_loss"], history["val_accuracy"]],
        np.reshape(logs, (2, 1)),
        rtol=1e-6,
    )


def test_validation_split_holds_out_the_last_rows(partly_labeled):
    images, labels = partly_labeled
    gan, expected = new_gan(), new_gan()
    history = fit(gan, images, labels, validation_split=0.5)
    fit(expected, images[:20], labels[:20])
    assert_same_weights(gan, expected.get_weights())
    loss, accuracy = gan.evaluate(images[20:], labels[20:], verbose=0)
    assert_allclose(history["val_loss"], [loss], rtol=1e-6)
    assert_allclose(history["val_accuracy"], [accuracy], rtol=1e-6)


def test_evaluate_agrees_with_sklearn_on_the_labelled_rows(trained, data):
    images, labels, labeled = data
    probabilities = trained.predict(images, verbose=0)
    predicted = probabilities.argmax(axis=1)
    # Neither all wrong nor all right.
    labels = np.where(np.arange(40) % 3 == 0, predicted, labels)
    logs = trained.evaluate(
        images,
        np.where(labeled, labels, -1),
        batch_size=BATCH,
        verbose=0,
        return_dict=True,
    )
    assert set(logs) == {"loss", "accuracy"}
    accuracy = sklearn.metrics.accuracy_score(
        labels[labeled], predicted[labeled]
    )
    assert 0.2 < accuracy < 0.8
    assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)
    loss = sklearn.metrics.log_loss(
        labels[labeled], probabilities[labeled], labels=np.arange(10)
    )
    assert_allclose(logs["loss"], loss, rtol=1e-4)


def test_evaluate_weighs_rows_as_sklearn_does(trained, data):
    images, labels, _ = data
    weights = np.linspace(0.0, 2.0, 40, dtype="float32")
    probabilities = trained.predict(images, verbose=0)
    predicted = probabilities.argmax(axis=1)
    labels = np.where(np.arange(40) % 3 == 0, predicted, labels)
    loss, accuracy = trained.evaluate(
        images, labels, sample_weight=weights, batch_size=BATCH, verbose=0
    )
    assert_allclose(
        accuracy,
        sklearn.metrics.accuracy_score(
            labels, predicted, sample_weight=weights
        ),
        rtol=1e-5,
    )
    assert_allclose(
        loss,
        sklearn.metrics.log_loss(
            labels,
            probabilities,
            sample_weight=weights,
            labels=np.arange(10),
        ),
        rtol=1e-4,
    )


def test_evaluate_of_unlabelled_rows_is_zero_and_not_nan(trained, data):
    images, _, _ = data
    labels = np.full(40, -1, "int32")
    assert trained.evaluate(images, labels, verbose=0) == [0.0, 0.0]


def test_evaluate_changes_no_weight(trained, partly_labeled):
    before = trained.get_weights()
    trained.evaluate(*partly_labeled, verbose=0)
    assert not any(moved(trained.get_weights(), before))


def test_further_metrics_count_labelled_rows_only(data):
    images, labels, labeled = data
    hidden = np.where(labeled, labels, -1)
    gan = new_gan(
        run_eagerly=False,
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3")],
    )
    history = fit(gan, images, hidden)
    assert set(history) == TRAINING_LOGS | {"top_3"}
    logs = gan.evaluate(
        images, hidden, batch_size=BATCH, verbose=0, return_dict=True
    )
    expected = sklearn.metrics.top_k_accuracy_score(
        labels[labeled],
        gan.predict(images, verbose=0)[labeled],
        k=3,
        labels=np.arange(10),
    )
    assert 0 < expected < 1
    assert_allclose(logs["top_3"], expected, rtol=1e-6)


# === Classifying ===


def test_predict_gives_class_probabilities(trained, data):
    probabilities = trained.predict(data[0], verbose=0)
    assert probabilities.shape == (40, 10)
    assert probabilities.dtype == "float32"
    assert probabilities.min() >= 0
    assert_allclose(probabilities.sum(axis=1), np.ones(40), rtol=1e-5)


def test_predicted_class_is_argmax_over_the_class_logits(trained, data):
    images = data[0][..., np.newaxis] / np.float32(127.5) - 1
    _, logits = trained.discriminator.predict(images, verbose=0)
    predicted = trained.predict(data[0], verbose=0).argmax(axis=1)
    assert_array_equal(predicted, logits[:, 1:].argmax(axis=1))
    assert len(set(predicted)) > 1


def test_the_real_fake_logit_does_not_reach_the_probabilities(data):
    gan = new_gan()
    before = gan.predict(data[0], verbose=0)
    bias = gan.discriminator.get_layer("logits").bias
    bias.assign(ops.add(bias, [50.0] + 10 * [0.0]))
    assert_allclose(gan.predict(data[0], verbose=0), before, rtol=1e-5)


def test_images_are_accepted_with_and_without_a_channel_axis(data):
    images, labels, _ = data
    # One model each: TensorFlow traces a function for one rank.
    flat, deep = new_gan(run_eagerly=False), new_gan(run_eagerly=False)
    assert_allclose(
        flat.predict(images, verbose=0),
        deep.predict(images[..., np.newaxis], verbose=0),
        atol=1e-6,
    )
    assert_allclose(
        flat.evaluate(images, labels, verbose=0),
        deep.evaluate(images[..., np.newaxis], labels, verbose=0),
        rtol=1e-6,
    )


def test_images_of_another_size_are_resized_bilinearly(trained, data):
    images = data[0].reshape(10, 2, 8, 2, 8)
    images = np.concatenate([images, images], axis=3).reshape(10, 16, 32)
    # At a half and a quarter of the size, bilinear resizing without
    # antialiasing is the mean of the (two) middle pixels.
    middle = images.reshape(10, 8, 2, 8, 4)[..., 1:3].mean(axis=(2, 4))
    _, logits = trained.discriminator.predict(
        (middle / 127.5 - 1)[..., np.newaxis].astype("float32"), verbose=0
    )
    exponentials = np.exp(logits[:, 1:])
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert_allclose(trained.predict(images, verbose=0), expected, atol=1e-5)


def test_float_pixels_from_0_to_255_are_the_same_as_uint8(trained, data):
    images = data[0]
    assert_allclose(
        trained.predict(images.astype("float32"), verbose=0),
        trained.predict(images, verbose=0),
        atol=1e-6,
    )


def test_classifier_predicts_what_the_gan_predicts(trained, data):
    classifier = trained.classifier()
    assert classifier.input_shape == (None, None, None)
    assert classifier.output_shape == (None, 10)
    assert_allclose(
        classifier.predict(data[0], verbose=0),
        trained.predict(data[0], verbose=0),
        atol=1e-6,
    )


def walk(layer):
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from walk(inner)


def test_classifier_is_made_of_stock_layers(trained):
    layers = list(walk(trained.classifier()))
    assert len(layers) > 10
    for layer in layers:
        assert type(layer).__module__.startswith("keras."), layer


def test_classifier_of_nested_networks_is_made_of_stock_layers():
    inputs = keras.Input((8, 8, 1))
    backbone = keras.Sequential([ks.layers.Conv2D(4, 3, strides=2)])
    features = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    logits = keras.layers.Dense(11)(features)
    discriminator = keras.Model(inputs, [features, logits])
    gan = ks.SemiSupervisedGAN(discriminator, build_tiny_gan().generator)
    kinds = {type(layer) for layer in walk(gan.classifier())}
    assert keras.layers.Conv2D in kinds
    assert ks.layers.Conv2D not in kinds


def _like_a_classifier(channels=(), size=None, scale=0.5, outputs=1):
    """A model with the names that a classifier's layers have."""
    pixels = keras.Input((size, size, *channels))
    x = keras.ops.expand_dims(pixels, -1) if not channels else pixels
    x = keras.layers.Resizing(4, 4, name="preprocessor")(x)
    x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    if scale is not None:
        x = keras.layers.Rescaling(scale, name="temperature")(x)
    return keras.Model(pixels, [x] * outputs if outputs > 1 else x)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "odd",
    [
        {"size": 8},
        {"scale": 0.0},
        {"scale": float("inf")},
        {"scale": [1.0, 2.0, 3.0]},
        {"outputs": 2},
    ],
)
def test_a_model_that_looks_like_a_classifier_is_none(odd):
    assert is_classifier(_like_a_classifier())
    assert is_classifier(_like_a_classifier(channels=(3,)))
    # As of versions without one.
    assert is_classifier(_like_a_classifier(scale=None))
    assert not is_classifier(_like_a_classifier(**odd))


@pytest.mark.any_backend
def test_images_of_any_sizes_are_classified_some_at_a_time(monkeypatch):
    # Room for the pixels of a few of them.
    monkeypatch.setattr(limits, "MAX_IMAGE_PIXELS", 300)
    model = _like_a_classifier()
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, size, dtype="uint8")
        for size in [(8, 8), (10, 7), (8, 8), (9, 9), (20, 20), (8, 8)] * 2
    ]
    most = 0
    predict = model.predict

    def counting(batch, **arguments):
        nonlocal most
        most = max(most, batch[0].size * len(batch))
        return predict(batch, **arguments)

    monkeypatch.setattr(model, "predict", counting)
    probabilities = classify(model, iter(images))
    # The last of them may be the largest.
    assert most < 300 + 20 * 20
    expected = np.concatenate([predict(x[None], verbose=0) for x in images])
    assert_allclose(probabilities, expected, rtol=1e-5)
    assert classify(model, []).shape == (0, 3)


def test_classifier_is_a_copy(data, partly_labeled):
    gan = new_gan()
    classifier = gan.classifier()
    before = classifier.predict(data[0], verbose=0)
    fit(gan, *partly_labeled)
    assert_array_equal(classifier.predict(data[0], verbose=0), before)
    assert np.abs(gan.predict(data[0], verbose=0) - before).max() > 1e-4


def test_another_number_of_classes_works(data):
    images, labels, _ = data
    gan = new_gan(num_classes=3)
    assert_finite(gan, fit(gan, images, labels % 4 - 1))
    assert gan.predict(images, verbose=0).shape == (40, 3)
    assert gan.classifier().output_shape == (None, 3)
    with pytest.raises(ks.InputError, match="label 3"):
        fit(gan, images, labels % 4)


# === Generating ===


def test_generate_gives_uint8_images(trained):
    images = trained.generate(7, seed=0)
    assert images.shape == (7, 8, 8, 1)
    assert images.dtype == "uint8"


def test_the_same_seed_generates_the_same_images(trained):
    assert_array_equal(trained.generate(5, seed=3), trained.generate(5, seed=3))
    assert (trained.generate(5, seed=3) != trained.generate(5, seed=4)).any()
    assert (trained.generate(5) != trained.generate(5)).any()


def test_an_image_does_not_depend_on_the_batch_it_is_drawn_with(trained):
    together = trained.generate(6, seed=3, batch_size=6).astype("int32")
    apart = trained.generate(6, seed=3, batch_size=2).astype("int32")
    assert_allclose(apart, together, atol=1)


def test_decode_draws_what_generate_draws_from_the_same_latents(trained):
    latents = np.random.default_rng(3).standard_normal(
        (4, 1, 1, 5), dtype="float32"
    )
    assert_array_equal(trained.sample_latents(4, seed=3), latents)
    images = trained.decode(latents)
    assert_array_equal(images, trained.generate(4, seed=3))
    backwards = trained.decode(latents[::-1]).astype("int32")
    np.testing.assert_allclose(backwards[::-1], images, atol=1)


def test_latents_follow_one_another_from_one_generator(trained):
    rng = np.random.default_rng(3)
    parts = [trained.sample_latents(n, seed=rng) for n in (3, 2)]
    assert_array_equal(np.concatenate(parts), trained.sample_latents(5, seed=3))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 1, 1, 6), (4, 2, 1, 5)])
def test_latents_of_another_shape_are_refused(trained, shape):
    with pytest.raises(ks.InputError, match=r"pass \(n, 1, 1, 5\)"):
        trained.decode(np.zeros(shape, "float32"))


def test_generated_pixels_are_the_tanh_images_scaled_to_bytes(trained):
    latents = np.random.default_rng(3).standard_normal(
        (4, 1, 1, 5), dtype="float32"
    )
    tanh = ops.convert_to_numpy(trained.generator(latents, training=False))
    pixels = trained.generate(4, seed=3).astype("float32")
    assert_allclose(pixels / 127.5 - 1, tanh, atol=0.6 / 127.5)


def test_generating_does_not_disturb_training(partly_labeled, reference):
    gan = new_gan()
    gan.generate(3)
    fit(gan, *partly_labeled)
    assert_same_weights(gan, reference)


# === The user's mistakes ===


def image_model(*outputs, shape=(8, 8, 1)):
    """A discriminator-like model with dense outputs of given widths."""
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(n)(x) for n in outputs])


def latent_model(latent_shape=(1, 1, 5), image_shape=(8, 8, 1), **kwargs):
    """A generator-like model of one dense layer."""
    inputs = keras.Input(latent_shape)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(int(np.prod(image_shape)), **kwargs)(x)
    return keras.Model(inputs, keras.layers.Reshape(image_shape)(x))


def test_networks_that_fit_each_other_are_accepted():
    gan = ks.SemiSupervisedGAN(image_model(6, 11), latent_model())
    assert gan.num_classes == 10
    assert gan.latent_dim == 5
    assert gan.image_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("discriminator", "generator", "message"),
    [
        ([11], {}, "features, logits"),
        ([6, 11, 3], {}, "features, logits"),
        ([6, 2], {}, "two classes or more"),
        ([6, 11], {"image_shape": (16, 16, 1)}, r"\(16, 16, 1\)"),
        ([6, 11], {"latent_shape": (5,)}, "latent_dim"),
        ([6, 11], {"latent_shape": (2, 2, 5)}, "latent_dim"),
        ([6, 11], {"kernel_regularizer": "l2"}, "weight_decay"),
        ([6, 11], {"activity_regularizer": "l2"}, "weight_decay"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    discriminator, generator, message
):
    with pytest.raises(ks.InputError, match=message):
        ks.SemiSupervisedGAN(
            image_model(*discriminator), latent_model(**generator)
        )


def test_a_network_may_be_sequential(partly_labeled):
    generator = keras.Sequential(
        [
            keras.Input((1, 1, 5)),
            ks.layers.Conv2DTranspose(3, 4),
            keras.layers.LeakyReLU(),
            ks.layers.Conv2DTranspose(1, 4, 2, "same", activation="tanh"),
        ]
    )
    gan = ks.SemiSupervisedGAN(image_model(6, 11), generator)
    gan.compile()
    before = generator.get_weights()
    fit(gan, *partly_labeled)
    for weight, old in zip(generator.get_weights(), before, strict=True):
        assert (weight != old).any()


def test_networks_of_another_kind_are_refused():
    class Subclass(keras.Model):
        pass

    for generator in (Subclass(), keras.Sequential([keras.layers.Flatten()])):
        with pytest.raises(ks.InputError, match="pass a functional"):
            ks.SemiSupervisedGAN(image_model(6, 11), generator)
    images = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(11)(images)
    for outputs in ({"logits": logits}, [images, logits]):
        with pytest.raises(ks.InputError, match="features, logits"):
            ks.SemiSupervisedGAN(keras.Model(images, outputs), latent_model())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"consistency": -1.0}, "at least 0"),
        ({"real_fake": -0.1}, "at least 0"),
        ({"augmentation": abs}, "pass a keras.Layer"),
    ],
)
def test_arguments_of_no_use_are_refused(arguments, message):
    with pytest.raises(ks.InputError, match=message):
        build_tiny_gan(**arguments)


def test_metrics_are_a_list():
    with pytest.raises(ks.InputError, match="pass a list"):
        build_tiny_gan().compile(metrics="accuracy")


def test_images_may_have_any_number_of_channels(data):
    images, labels, _ = data
    images = np.stack([images] * 4, axis=-1)
    gan = ks.SemiSupervisedGAN(
        image_model(6, 11, shape=(8, 8, 4)),
        latent_model(image_shape=(8, 8, 4)),
    )
    gan.compile()
    mixed = ks.datasets.MixedDataset(images, labels, batch_size=20)
    gan.fit(mixed, verbose=0)
    assert gan.predict(images, verbose=0).shape == (40, 10)
    wrong = ks.datasets.MixedDataset(np.moveaxis(images, -1, 1), labels)
    with pytest.raises(ks.InputError, match="8 channels and the networks 4"):
        gan.fit(wrong, verbose=0)


@pytest.mark.parametrize("frozen", ["discriminator", "generator"])
def test_a_frozen_network_stays_as_it_is(frozen, partly_labeled):
    gan = build_tiny_gan()
    getattr(gan, frozen).trainable = False
    gan.compile(run_eagerly=BACKEND == "tensorflow")
    before = {
        name: getattr(gan, name).get_weights()
        for name in ("discriminator", "generator")
    }
    fit(gan, *partly_labeled)
    for name, weights in before.items():
        pairs = zip(getattr(gan, name).get_weights(), weights, strict=True)
        moved = any((a != b).any() for a, b in pairs)
        assert moved == (name != frozen)


def test_images_are_channels_last_whatever_keras_is_told(partly_labeled):
    gan = new_gan()
    fit(gan, *partly_labeled)
    expected = gan.predict(partly_labeled[0], verbose=0)
    keras.config.set_image_data_format("channels_first")
    try:
        again = new_gan()
        fit(again, *partly_labeled)
        found = again.predict(partly_labeled[0], verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("num_images", [0, -1])
def test_generating_no_images_is_refused(num_images, data):
    gan = new_gan()
    with pytest.raises(ks.InputError, match="num_images"):
        gan.generate(num_images)
    assert gan.generate(1).shape == (1, 8, 8, 1)


def test_an_unknown_feature_matching_is_refused_with_the_known_ones():
    with pytest.raises(ks.InputError, match="absolute.*squared"):
        build_tiny_gan(feature_matching="cubed")


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ks.InputError, match="article.*compact"):
        ks.SemiSupervisedGAN.from_preset("artikel")


def test_one_optimizer_for_both_networks_is_refused():
    optimizer = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="optimizer each"):
        build_tiny_gan().compile(optimizer, optimizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x / 255, y), "scaled"),
        (lambda x, y: (x // 128, y), "multiply them by 255"),
        (lambda x, y: (np.where(x > 250, np.nan, x), y), "NaN"),
        (lambda x, y: (x.astype("int32") - 1, y), "-1"),
        (lambda x, y: (x[:, 0], y), "shape"),
        (lambda x, y: (np.stack([x] * 3, -1), y), "3 channels.* networks 1"),
        (lambda x, y: (x, y + 1), "10"),
        (lambda x, y: (x, np.where(y == 0, -2, y)), "-2"),
        (lambda x, y: (x, y[:-1]), "39"),
        (lambda x, y: (x, np.eye(10)[y]), "one-hot"),
        (lambda x, y: (x, y.astype(str)), "ids"),
        (lambda x, y: (x, None), "labels"),
    ],
)
def test_fit_refuses_arrays_that_are_no_images_or_labels(change, message, data):
    images, labels, _ = data
    gan = new_gan()
    changed = change(images, labels)
    with pytest.raises(ks.InputError, match=message):
        fit(gan, *changed)
    with pytest.raises(ks.InputError, match=message):
        gan.evaluate(*changed)
    with pytest.raises(ks.InputError, match=message):
        fit(gan, images, labels, validation_data=changed)


def test_predict_refuses_an_array_of_no_images(data):
    with pytest.raises(ks.InputError, match="scaled"):
        new_gan().predict(data[0] / 255)


def test_what_evaluate_refuses_costs_no_weight(data):
    gan = new_gan()
    fit(gan, *data[:2])
    before = gan.predict(data[0], verbose=0)
    with pytest.raises(ks.InputError, match="there are no labels"):
        gan.evaluate(data[0])
    np.testing.assert_array_equal(gan.predict(data[0], verbose=0), before)


class FailingBatches(Batches):
    """One of the batches lies in a file that cannot be read."""

    def __init__(self, *arrays, failing):
        super().__init__(*arrays)
        self.failing = failing

    def __getitem__(self, index):
        if index == self.failing:
            raise OSError("a disk that is gone")
        return super().__getitem__(index)


@pytest.mark.parametrize("failing", [0, 1])
def test_what_cannot_be_read_costs_no_weight(failing, partly_labeled):
    """Under JAX all values are out of their variables in a step.

    TensorFlow gives the error as one of its own.
    """
    gan = new_gan()
    before = gan.get_weights()
    batches = FailingBatches(*partly_labeled, failing=failing)
    for use in (gan.evaluate, gan.predict):
        with pytest.raises(Exception, match="a disk that is gone"):
            use(batches, verbose=0)
        assert_same_weights(gan, before, atol=0)


@pytest.mark.parametrize("steps", [0, 2])
def test_what_cannot_be_read_leaves_the_steps_before(
    steps, partly_labeled, reference
):
    gan = new_gan()
    expected = reference if steps else gan.get_weights()
    images, labels = (
        np.concatenate([array, array[:BATCH]]) for array in partly_labeled
    )
    with pytest.raises(Exception, match="a disk that is gone"):
        fit(gan, FailingBatches(images, labels, failing=steps), shuffle=False)
    assert_same_weights(gan, expected)


jax_alone = pytest.mark.skipif(
    BACKEND != "jax", reason="the others leave values in their variables"
)


@jax_alone
def test_an_execution_of_several_steps_is_made_whole_or_not_at_all(
    partly_labeled, reference
):
    gan = new_gan(steps_per_execution=2)
    images, labels = (np.concatenate([array] * 2) for array in partly_labeled)
    with pytest.raises(OSError, match="a disk that is gone"):
        fit(gan, FailingBatches(images, labels, failing=3), shuffle=False)
    assert_same_weights(gan, reference)


@jax_alone
def test_what_a_callback_has_done_before_is_kept(partly_labeled):
    """The trainer remembers values from before it, and would put them back."""

    class SecondEpochFails(Batches):
        epoch = 0

        def on_epoch_begin(self):
            self.epoch += 1

        def __getitem__(self, index):
            if self.epoch > 1:
                raise OSError("a disk that is gone")
            return super().__getitem__(index)

    def at_end_of_epoch(epoch, logs):
        gan.generate(2)
        for weight in gan.discriminator.trainable_weights:
            weight.assign(ops.ones(weight.shape))

    gan = new_gan()
    callback = keras.callbacks.LambdaCallback(on_epoch_end=at_end_of_epoch)
    with pytest.raises(OSError, match="a disk that is gone"):
        fit(
            gan,
            SecondEpochFails(*partly_labeled),
            epochs=2,
            callbacks=[callback],
        )
    assert_finite(gan, {})
    for weight in gan.discriminator.trainable_weights:
        assert_array_equal(weight, 1)


def test_generating_that_is_stopped_costs_no_weight(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    gan = new_gan()
    expected = gan.generate(2, seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(gan.generator, "predict_function", stopped)
        with pytest.raises(KeyboardInterrupt):
            gan.generate(2)
    assert_array_equal(gan.generate(2, seed=0), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (np.stack([x] * 3, -1), y), "3 channels.* networks 1"),
        (lambda x, y: (x, y + 1), "label 10"),
    ],
)
def test_fit_refuses_a_mixed_dataset_for_other_networks(change, message, data):
    mixed = ks.datasets.MixedDataset(*change(*data[:2]), batch_size=BATCH)
    gan = new_gan()
    with pytest.raises(ks.InputError, match=message):
        fit(gan, mixed)
    with pytest.raises(ks.InputError, match=message):
        gan.evaluate(mixed)
    with pytest.raises(ks.InputError, match=message):
        fit(gan, *data[:2], validation_data=mixed)


def test_a_label_of_no_class_from_a_pipeline_does_not_go_by(data):
    """Whose data nobody looks at before the step."""
    images, labels, _ = data
    gan = new_gan()
    batches = Batches(images, np.where(labels == 3, 12, labels))
    if BACKEND == "jax":  # A compiled step raises no error there.
        losses = gan.evaluate(batches, verbose=0), fit(gan, batches)["loss"]
        assert np.isnan(losses[0][0]) and np.isnan(losses[1]).all()
        assert np.isfinite(gan.predict(images, verbose=0)).all()
        return
    for run in (gan.evaluate, gan.fit):
        with pytest.raises(Exception, match="12"):
            run(batches, verbose=0)
    # What has been learnt is not lost by it.
    assert np.isfinite(gan.predict(images, verbose=0)).all()


def test_labels_of_one_class_are_warned_of(data):
    images, labels, _ = data
    signs = np.where(labels % 2 == 0, 1, -1)
    with pytest.warns(UserWarning, match="all labelled images are of class 1"):
        fit(new_gan(), images, signs)


def test_one_hot_labels_from_a_pipeline_are_refused(data):
    images, labels, _ = data
    with pytest.raises(ks.InputError, match="one-hot"):
        fit(new_gan(), Batches(images, np.eye(10)[labels]))


def test_a_train_step_of_the_users_own_may_log_more(partly_labeled):
    class Own(ks.SemiSupervisedGAN):
        def train_step(self, *args):
            # `data`, and under JAX the trainer's state before it.
            result = super().train_step(*args)
            logs = result[0] if BACKEND == "jax" else result
            logs["twice"] = 2 * logs["d_loss"]
            return result

    tiny = build_tiny_gan()
    gan = Own(tiny.discriminator, tiny.generator, seed=0)
    gan.compile(run_eagerly=BACKEND == "tensorflow")
    logs = fit(gan, *partly_labeled, epochs=2)
    assert np.isfinite(logs["twice"]).all()


@pytest.mark.skipif(BACKEND == "torch", reason="Keras converts by another way")
def test_the_gan_is_exported_as_its_classifier(data, tmp_path):
    images, _, _ = data
    gan = new_gan()
    gan.export(tmp_path / "model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "model")
    assert_allclose(
        exported.serve(images), gan.predict(images, verbose=0), atol=1e-6
    )


def test_a_label_of_no_class_may_be_hidden_by_the_mask(data):
    images, labels, _ = data
    gan = new_gan()
    arrays = images, np.where(labels == 3, 255, labels), labels != 3
    assert_finite(gan, fit(gan, Batches(*arrays)))


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
def test_a_dataset_without_labels_is_refused(data):
    dataset = tf.data.Dataset.from_tensor_slices(data[0]).batch(BATCH)
    with pytest.raises(ks.InputError, match="labels"):
        fit(new_gan(run_eagerly=True), dataset)


# === How it is compiled ===


def test_eager_and_compiled_training_agree(partly_labeled, reference):
    gan = new_gan(run_eagerly=True)
    fit(gan, *partly_labeled)
    assert_same_weights(gan, reference, atol=1e-5)


def test_several_steps_per_execution_agree_where_keras_has_them(
    partly_labeled, reference
):
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="steps_per_execution"):
            fit(new_gan(steps_per_execution=2), *partly_labeled)
        return
    gan = new_gan(run_eagerly=False, steps_per_execution=2)
    fit(gan, *partly_labeled)
    assert_same_weights(gan, reference, atol=1e-5)


def test_optimizers_may_be_named(partly_labeled):
    gan = new_gan(discriminator_optimizer="sgd", generator_optimizer="rmsprop")
    assert isinstance(gan.discriminator_optimizer, keras.optimizers.SGD)
    assert isinstance(gan.generator_optimizer, keras.optimizers.RMSprop)
    assert_finite(gan, fit(gan, *partly_labeled))
    for optimizer in (gan.discriminator_optimizer, gan.generator_optimizer):
        assert int(optimizer.iterations.numpy()) == 2


def test_the_default_optimizers_are_those_of_the_article(tiny_gan):
    for optimizer in (
        tiny_gan.discriminator_optimizer,
        tiny_gan.generator_optimizer,
    ):
        config = optimizer.get_config()
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert_allclose(config["learning_rate"], 2e-4, rtol=1e-6)
        assert config["beta_1"] == 0.5


def test_compiling_again_keeps_the_weights_and_starts_the_optimizers(
    partly_labeled,
):
    gan = new_gan(
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3")]
    )
    fit(gan, *partly_labeled)
    weights = gan.get_weights()
    gan.compile("sgd", "sgd")
    assert not any(moved(gan.get_weights(), weights))
    assert int(gan.optimizer.iterations.numpy()) == 0
    history = fit(gan, *partly_labeled)
    assert all(moved(gan.get_weights(), weights))
    assert int(gan.optimizer.iterations.numpy()) == 2
    assert set(history) == TRAINING_LOGS


def test_summary_counts_the_parameters_of_both_networks(tiny_gan):
    lines = []
    tiny_gan.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    networks = (tiny_gan.discriminator, tiny_gan.generator)
    for network in networks:
        assert f"{network.name} (Functional)" in text
        assert f" {network.count_params():,} " in text
    trainable = sum(
        weight.numpy().size
        for network in networks
        for weight in network.trainable_weights
    )
    assert f"Trainable params: {trainable:,} " in text
    # Adam: two moments of each, a step count and a learning rate.
    assert f"Optimizer params: {2 * trainable + 4:,} " in text


# === Single batches ===


def test_train_on_batch_is_a_step_of_fit(partly_labeled, reference):
    images, labels = partly_labeled
    gan = new_gan()
    for rows in (slice(BATCH), slice(BATCH, None)):
        logs = gan.train_on_batch(images[rows], labels[rows], return_dict=True)
    assert set(logs) == TRAINING_LOGS
    assert_same_weights(gan, reference, atol=1e-5)


def test_test_on_batch_is_evaluate(trained, partly_labeled):
    images, labels = (array[:BATCH] for array in partly_labeled)
    assert_allclose(
        trained.test_on_batch(images, labels),
        trained.evaluate(images, labels, verbose=0),
        rtol=1e-6,
    )


def test_predict_on_batch_is_predict(trained, data):
    images = data[0][:BATCH]
    assert_allclose(
        trained.predict_on_batch(images),
        trained.predict(images, verbose=0),
        atol=1e-6,
    )


# === Mixed precision ===


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_close_to_float32(policy, partly_labeled):
    expected = new_gan(dropout=0.0)
    expected_history = fit(expected, *partly_labeled, epochs=2)
    keras.config.set_dtype_policy(policy)
    gan = new_gan(dropout=0.0, run_eagerly=False)
    history = fit(gan, *partly_labeled, epochs=2)

    compute_dtype = policy.removeprefix("mixed_")
    assert gan.generator.layers[1].compute_dtype == compute_dtype
    assert {weight.dtype for weight in gan.weights} == {"float32"}
    assert gan.predict(partly_labeled[0], verbose=0).dtype == "float32"
    assert_finite(gan, history)
    for name in TRAINING_LOGS - {"accuracy"}:
        assert_allclose(
            history[name],
            expected_history[name],
            rtol=0.1,
            atol=0.01,
            err_msg=name,
        )
    # A gradient that is scaled and not unscaled would be 2^15 times too long.
    for weight, reference in zip(
        gan.trainable_weights, expected.trainable_weights, strict=True
    ):
        assert_allclose(weight.numpy(), reference.numpy(), atol=0.02)


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_weights_that_small_steps_do_not_move_are_not_trained(policy):
    gan = ks.SemiSupervisedGAN.from_preset("tiny", dtype=policy)
    with pytest.raises(InputError, match="use float32, mixed_bfloat16"):
        gan.compile()


def test_float16_gets_loss_scaling_and_float32_does_not(tiny_gan):
    scaling = keras.optimizers.LossScaleOptimizer
    assert not isinstance(tiny_gan.discriminator_optimizer, scaling)
    keras.config.set_dtype_policy("mixed_float16")
    gan = build_tiny_gan()
    gan.compile()
    assert isinstance(gan.discriminator_optimizer, scaling)
    assert isinstance(gan.generator_optimizer, scaling)
    gan.compile(auto_scale_loss=False)
    assert not isinstance(gan.discriminator_optimizer, scaling)


def test_a_loss_scale_that_overflows_skips_the_step_and_is_halved(
    partly_labeled,
):
    keras.config.set_dtype_policy("mixed_float16")
    optimizers = [
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=2.0**40
        )
        for _ in range(2)
    ]
    gan = new_gan(
        dropout=0.0,
        run_eagerly=False,
        discriminator_optimizer=optimizers[0],
        generator_optimizer=optimizers[1],
    )
    before = [weight.numpy() for weight in gan.trainable_weights]
    history = fit(gan, *partly_labeled)
    # The losses are reported unscaled.
    assert history["d_loss"][0] < 100
    assert history["g_loss"][0] < 100
    after = [weight.numpy() for weight in gan.trainable_weights]
    assert not any(moved(after, before))
    for optimizer in optimizers:
        assert float(optimizer.dynamic_scale.numpy()) == 2.0**38
        assert int(optimizer.iterations.numpy()) == 0


# === Seeds ===


def test_the_same_seed_gives_the_same_run_bit_for_bit(partly_labeled):
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        gan = build_tiny_gan()
        gan.compile(run_eagerly=BACKEND == "tensorflow")
        history = gan.fit(
            *partly_labeled, batch_size=BATCH, epochs=2, verbose=0
        ).history
        runs.append((gan.get_weights(), history))
    for weight, again in zip(runs[0][0], runs[1][0], strict=True):
        assert_array_equal(weight, again)
    assert runs[0][1] == runs[1][1]


def test_another_seed_gives_another_run(partly_labeled, reference):
    gan = new_gan(seed=1)
    fit(gan, *partly_labeled)
    assert any(moved(gan.get_weights(), reference))


def test_the_seed_of_the_model_draws_the_latents(partly_labeled):
    runs = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(0)
        networks = build_tiny_gan()
        gan = ks.SemiSupervisedGAN(
            networks.discriminator, networks.generator, seed=seed
        )
        gan.compile(run_eagerly=BACKEND == "tensorflow")
        fit(gan, *partly_labeled)
        runs.append(gan.get_weights())
    assert not any(moved(runs[0], runs[1]))
    assert any(moved(runs[0], runs[2]))


def test_the_classifier_is_in_inference_mode_when_called(tiny_gan, tiny_data):
    classifier = tiny_gan.classifier()
    expected = tiny_gan.predict(tiny_data[0], verbose=0)
    outputs = ops.convert_to_numpy(classifier(tiny_data[0]))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_the_classifier_is_of_stock_layers(tiny_gan):
    for layer in tiny_gan.classifier()._flatten_layers():
        assert type(layer).__module__.startswith("keras.")


# === Statistics ===


def test_update_statistics_are_of_the_axis_that_is_normalised(tiny_data):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    normalized = keras.layers.BatchNormalization(axis=1)(x)
    features = keras.layers.Flatten()(normalized)
    logits = keras.layers.Dense(11)(features)
    discriminator = keras.Model(inputs, [features, logits])
    gan = ks.SemiSupervisedGAN(discriminator, build_tiny_gan().generator)
    images, _ = tiny_data
    gan.update_statistics(images)
    before = keras.Model(inputs, x)(gan.preprocess(images))
    mean, variance = discriminator.layers[2].get_weights()[2:]
    rows = ops.convert_to_numpy(before).astype("float64")
    assert_allclose(mean, rows.mean(axis=(0, 2, 3)), atol=1e-6)
    assert_allclose(variance, rows.var(axis=(0, 2, 3)), atol=1e-6)


def test_update_statistics_reads_some_of_streamed_images(tiny_data):
    images, _ = tiny_data
    streamed, in_memory = new_gan(), new_gan()
    streamed.update_statistics(streams.Repeated(images, len(images)))
    in_memory.update_statistics(images)
    pairs = zip(streamed.get_weights(), in_memory.get_weights(), strict=True)
    for weights, others in pairs:
        assert_allclose(weights, others)


def test_update_statistics_leaves_a_frozen_layer_alone(tiny_data):
    gan = build_tiny_gan()
    (layer,) = [
        layer
        for layer in gan.discriminator.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    layer.trainable = False
    before = layer.get_weights()
    gan.update_statistics(tiny_data[0])
    for value, old in zip(layer.get_weights(), before, strict=True):
        assert_array_equal(value, old)


@pytest.mark.any_backend
def test_loss_is_computed_in_float32_of_logits_in_bfloat16(data):
    images, labels, _ = data
    keras.config.set_dtype_policy("mixed_bfloat16")
    gan = ks.SemiSupervisedGAN(image_model(6, 11), latent_model())
    gan.compile()
    loss = gan.evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    probabilities = gan.predict(images, verbose=0).astype("float64")
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    assert_allclose(loss, sklearn.metrics.log_loss(labels, probabilities))


@pytest.mark.any_backend
def test_the_accuracy_is_logged_once_where_it_is_asked_for(tiny_data):
    gan = build_tiny_gan()
    gan.compile(metrics=["accuracy"])
    assert set(gan.evaluate(*tiny_data, verbose=0, return_dict=True)) == {
        "accuracy",
        "loss",
    }


@pytest.mark.any_backend
def test_update_statistics_says_that_it_takes_an_array(tiny_data):
    data = ks.datasets.MixedDataset(*tiny_data)
    with pytest.raises(ks.InputError, match="NumPy array, not MixedDataset"):
        build_tiny_gan().update_statistics(data)


def test_update_statistics_refuses_what_predict_does(tiny_data):
    with pytest.raises(ks.InputError, match="scaled"):
        build_tiny_gan().update_statistics(tiny_data[0] / 255)


def test_update_statistics_are_those_of_the_images(tiny_data):
    """In inference these images then get the logits of one training batch."""
    gan = build_tiny_gan(dropout=0.0)
    images, _ = tiny_data
    x = ops.convert_to_numpy(gan.preprocess(images))

    def logits(training):
        return ops.convert_to_numpy(gan.discriminator(x, training=training)[1])

    expected, before = logits(training=True), logits(training=False)
    assert not np.allclose(before, expected, atol=1e-2)
    # In batches of which the last is smaller.
    gan.update_statistics(images, batch_size=16)
    assert_allclose(logits(training=False), expected, rtol=1e-4, atol=1e-5)
