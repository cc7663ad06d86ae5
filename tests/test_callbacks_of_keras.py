"""Keras' own callbacks do on a GAN what they do on any model."""

import collections
import contextlib
import csv
import importlib
import io
import warnings

import keras
import numpy as np
import pytest
from conftest import assert_same_state
from conftest import new_gan
from conftest import optimizers
from conftest import state
from keras import callbacks
from keras import ops
from numpy.testing import assert_allclose
from numpy.testing import assert_array_equal

from keras_ssgan import datasets

BACKEND = keras.backend.backend()


def train(gan, data, *used, epochs=1, **kwargs):
    """Two steps an epoch, in order; returns the history."""
    return gan.fit(
        *data,
        **{
            "batch_size": 20,
            "epochs": epochs,
            "shuffle": False,
            "verbose": 0,
            "callbacks": list(used),
            **kwargs,
        },
    ).history


def rates(gan):
    return [
        float(ops.convert_to_numpy(optimizer.learning_rate))
        for optimizer in optimizers(gan)
    ]


class Script(callbacks.Callback):
    """Puts given values into the logs, and keeps the weights of each epoch."""

    def __init__(self, name, values):
        super().__init__()
        self.name = name
        self.values = values
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]
        self.weights.append(self.model.get_weights())


@pytest.fixture
def strict():
    """Warnings of callbacks that find nothing to do are errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(availab|condition)")
        yield


# === Stopping ===


def test_early_stopping_restores_the_best_weights(tiny_data):
    gan = new_gan()
    script = Script("val_loss", [2.0, 1.0, 3.0, 4.0])
    stopping = callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    history = train(gan, tiny_data, script, stopping, epochs=4)
    assert len(history["d_loss"]) == 3
    for weight, best, last in zip(
        gan.get_weights(), script.weights[1], script.weights[2], strict=True
    ):
        assert_array_equal(weight, best)
        assert np.any(best != last)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy", "accuracy"])
def test_early_stopping_finds_what_it_monitors(monitor, tiny_data, strict):
    gan = new_gan()
    stopping = callbacks.EarlyStopping(monitor)
    train(gan, tiny_data, stopping, validation_data=tiny_data)
    expected = ops.less if monitor == "val_loss" else ops.greater
    assert stopping.monitor_op is expected


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_terminate_on_nan_stops_a_run_that_diverged(network, tiny_data):
    gan = new_gan()
    weight = getattr(gan, network).trainable_weights[-1]
    weight.assign(np.full(weight.shape, np.nan))
    # What it watches is the loss of the labelled images.
    data = (tiny_data[0], np.arange(40) % 10)
    history = train(gan, data, callbacks.TerminateOnNaN(), epochs=3)
    assert len(history["d_loss"]) == 1
    assert gan.stop_training


def test_terminate_on_nan_leaves_a_good_run_alone(tiny_data):
    history = train(new_gan(), tiny_data, callbacks.TerminateOnNaN(), epochs=2)
    assert len(history["d_loss"]) == 2


# === Saving ===


def test_checkpoint_keeps_the_best_model_by_accuracy(tiny_data, tmp_path):
    gan = new_gan()
    script = Script("val_accuracy", [0.1, 0.9, 0.5])
    checkpoint = callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_accuracy", save_best_only=True
    )
    train(gan, tiny_data, script, checkpoint, epochs=3)
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert int(best.optimizer.iterations.numpy()) == 4
    for weight, expected in zip(
        best.get_weights(), script.weights[1], strict=True
    ):
        assert_array_equal(weight, expected)


def test_checkpoint_of_weights_restores_the_optimizers_too(tiny_data, tmp_path):
    gan = new_gan()
    path = str(tmp_path / "{epoch}.weights.h5")
    checkpoint = callbacks.ModelCheckpoint(path, save_weights_only=True)
    train(gan, tiny_data, checkpoint, epochs=2)
    fresh = new_gan(seed=1)
    fresh.load_weights(path.format(epoch=2))
    for value, expected in zip(
        fresh.optimizer.variables, gan.optimizer.variables, strict=True
    ):
        assert_array_equal(value.numpy(), expected.numpy())
    assert_array_equal(
        fresh.predict(tiny_data[0], verbose=0),
        gan.predict(tiny_data[0], verbose=0),
    )


class CutAtStep(keras.callbacks.Callback):
    """Cuts the power at the end of a step, counted from the first of all."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        iterations = self.model.optimizer.iterations
        if int(ops.convert_to_numpy(iterations)) == self.step:
            raise PowerCut


class PowerCut(Exception):
    pass


def train_in_two(cut, epochs, data, backup):
    """Trains until `cut` raises, then goes on with another model.

    It shares nothing with the first, as in a new process.

    Args:
        cut: Callback.
        epochs: int.
        data: Tuple of arrays, or a function that gives a tuple of a dataset.
        backup: Path of a folder.

    Returns:
        The second model and its history.
    """
    build_data = data if callable(data) else lambda: data
    with pytest.raises(PowerCut):
        train(
            new_gan(),
            build_data(),
            callbacks.BackupAndRestore(backup),
            cut,
            epochs=epochs,
        )
    resumed = new_gan(seed=1)
    history = train(
        resumed,
        build_data(),
        callbacks.BackupAndRestore(backup),
        epochs=epochs,
    )
    return resumed, history


def assert_same_run(gan, expected):
    assert_same_state(gan, state(expected))
    for value, other in zip(
        gan.metrics_variables, expected.metrics_variables, strict=True
    ):
        assert_array_equal(value.numpy(), other.numpy())


def test_backup_and_restore_gives_what_an_uninterrupted_run_gives(
    tiny_data, tmp_path
):
    expected = new_gan()
    train(expected, tiny_data, epochs=3)

    def cut_power(epoch, logs=None):
        if epoch == 1:
            raise PowerCut

    cut = callbacks.LambdaCallback(on_epoch_begin=cut_power)
    backup = tmp_path / "backup"
    resumed, history = train_in_two(cut, 3, tiny_data, backup)
    assert len(history["d_loss"]) == 2
    assert not backup.exists()
    assert_same_run(resumed, expected)


# With workers Keras draws before it tells the dataset that an epoch begins.
@pytest.mark.parametrize("workers", [1, 3])
def test_backup_and_restore_goes_on_with_the_images_of_its_epoch(
    workers, tiny_data, tmp_path
):
    def build_data():
        return (
            datasets.MixedDataset(
                *tiny_data, batch_size=20, seed=1, workers=workers
            ),
        )

    expected = new_gan()
    train(expected, build_data(), epochs=3, batch_size=None)

    resumed, _ = train_in_two(CutAtStep(3), 3, build_data, tmp_path / "backup")
    assert_same_run(resumed, expected)


def test_a_callback_need_not_be_in_a_list(tiny_data):
    data = datasets.MixedDataset(*tiny_data, batch_size=20)
    script = Script("val_loss", [1.0, 2.0])
    # In places of their own: batch_size, epochs, verbose, callbacks.
    history = new_gan().fit(data, None, None, 2, 0, script).history
    assert history["val_loss"] == [1.0, 2.0]
    assert data.epoch == 2


def test_a_run_cut_in_the_middle_of_an_epoch_starts_that_epoch_again(
    tiny_data, tmp_path
):
    expected = new_gan()
    train(expected, tiny_data, epochs=2)

    resumed, _ = train_in_two(CutAtStep(3), 2, tiny_data, tmp_path / "backup")
    assert_same_run(resumed, expected)


# === Learning rates ===


def test_reduce_lr_on_plateau_reduces_both_rates(tiny_data):
    gan = new_gan()
    before = rates(gan)
    history = train(
        gan,
        tiny_data,
        Script("val_loss", [1.0, 1.0, 1.0]),
        callbacks.ReduceLROnPlateau(factor=0.5, patience=1),
        epochs=3,
    )
    assert_allclose(rates(gan), np.divide(before, 4), rtol=1e-6)
    # What is logged is the rate that the epoch was trained with.
    for network, rate in zip(
        ("discriminator", "generator"), before, strict=True
    ):
        assert_allclose(
            history[f"learning_rate_{network}_adam"],
            [rate, rate, rate / 2],
            rtol=1e-6,
        )


def test_learning_rate_scheduler_schedules_each_rate(tiny_data):
    gan = new_gan(
        discriminator_optimizer=keras.optimizers.SGD(0.5),
        generator_optimizer=keras.optimizers.SGD(0.25),
    )
    scheduler = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10)
    train(gan, tiny_data, scheduler, epochs=2)
    assert_allclose(rates(gan), [0.005, 0.0025], rtol=1e-6)


def test_a_rate_that_a_callback_set_to_zero_stops_the_learning(tiny_data):
    gan = new_gan()
    before = [weight.numpy() for weight in gan.trainable_weights]
    train(gan, tiny_data, callbacks.LearningRateScheduler(lambda *_: 0.0))
    for weight, old in zip(gan.trainable_weights, before, strict=True):
        assert_array_equal(weight.numpy(), old)


def test_learning_rate_schedules_of_keras_count_steps(tiny_data):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [0, 2], [0.5, 0.25, 0.125]
    )
    gan = new_gan(
        discriminator_optimizer=keras.optimizers.SGD(schedule),
        generator_optimizer=keras.optimizers.SGD(0.25),
    )
    assert_allclose(rates(gan), [0.5, 0.25])
    train(gan, tiny_data)
    assert_allclose(rates(gan), [0.25, 0.25])
    train(gan, tiny_data)
    assert_allclose(rates(gan), [0.125, 0.25])


# === Averaged weights ===


def averaged_gan(**averaging):
    averaging = {"use_ema": True, "ema_momentum": 0.5, **averaging}
    return new_gan(
        discriminator_optimizer=keras.optimizers.SGD(0.5, **averaging),
        generator_optimizer=keras.optimizers.SGD(0.5, **averaging),
    )


class Trace(callbacks.Callback):
    """Keeps the weights as they are after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(
            [weight.numpy() for weight in self.model.trainable_weights]
        )


def moving_average(trace, momentum=0.5):
    """What Keras keeps: an average that starts after the first step."""
    average = trace[0]
    for weights in trace[1:]:
        average = [
            momentum * old + (1 - momentum) * new
            for old, new in zip(average, weights, strict=True)
        ]
    return average


def test_fit_ends_with_the_averaged_weights_of_both_networks(tiny_data):
    gan = averaged_gan()
    trace = Trace()
    train(gan, tiny_data, trace, epochs=2)
    expected = moving_average(trace.weights)
    for weight, average, last in zip(
        gan.trainable_weights, expected, trace.weights[-1], strict=True
    ):
        assert_allclose(weight.numpy(), average, atol=1e-6)
        assert np.any(np.abs(average - last) > 1e-6)


def test_swap_ema_weights_evaluates_the_average_and_trains_the_rest(
    tiny_data,
):
    gan = averaged_gan()
    trace, evaluated = Trace(), []

    def keep(logs=None):
        evaluated.append([weight.numpy() for weight in gan.trainable_weights])

    train(
        gan,
        tiny_data,
        trace,
        callbacks.SwapEMAWeights(),
        callbacks.LambdaCallback(on_test_begin=keep),
        epochs=2,
        validation_data=tiny_data,
    )
    expected = [
        moving_average(trace.weights[:2]),
        moving_average(trace.weights),
    ]
    for weights, averages in zip(evaluated, expected, strict=True):
        for weight, average in zip(weights, averages, strict=True):
            assert_allclose(weight, average, atol=1e-5)


# === Logging ===


def test_csv_logger_writes_the_history(tiny_data, tmp_path):
    path = tmp_path / "log.csv"
    history = train(
        new_gan(),
        tiny_data,
        callbacks.CSVLogger(path),
        epochs=2,
        validation_data=tiny_data,
    )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["0", "1"]
    for epoch, row in enumerate(rows):
        assert set(row) == set(history)
        for name, value in row.items():
            assert_allclose(float(value), history[name][epoch], rtol=1e-6)


def test_tensorboard_gets_every_number_of_the_history(
    tiny_data, tmp_path, monkeypatch
):
    written = collections.defaultdict(list)

    def scalar(tag, value, step):
        step = int(ops.convert_to_numpy(step))
        written[tag, step].append(float(ops.convert_to_numpy(value)))

    # TensorFlow's own would need the package tensorboard.
    summary = importlib.import_module("tensorflow.summary")
    monkeypatch.setattr(summary, "scalar", scalar)
    gan = new_gan(run_eagerly=False)
    history = train(
        gan,
        tiny_data,
        callbacks.TensorBoard(tmp_path, update_freq=1),
        epochs=2,
        validation_data=tiny_data,
    )
    for name, values in history.items():
        for epoch, value in enumerate(values):
            assert value in written[f"epoch_{name.removeprefix('val_')}", epoch]
    # The step counts are those of the optimizers.
    for name in ("loss", "accuracy"):
        for step, value in zip((2, 4), history[f"val_{name}"], strict=True):
            tag = f"evaluation_{name}_vs_iterations"
            assert_allclose(written[tag, step], [value], rtol=1e-6)
    assert ("batch_g_loss", 4) in written
    assert list((tmp_path / "train").glob("events.*"))


def test_history_has_a_value_of_each_name_for_each_epoch(tiny_data):
    history = callbacks.History()
    returned = train(
        new_gan(), tiny_data, history, epochs=2, validation_data=tiny_data
    )
    assert history.epoch == [0, 1]
    assert history.history == returned
    assert {"d_loss", "g_loss", "accuracy", "val_accuracy"} <= set(returned)
    assert {len(values) for values in returned.values()} == {2}


@pytest.mark.any_backend
def test_progress_bar_shows_every_name(tiny_data):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        history = train(
            new_gan(), tiny_data, verbose=1, validation_data=tiny_data
        )
    text = output.getvalue()
    assert "Epoch 1" in text or "2/2" in text
    for name, (value,) in history.items():
        assert f"{name}: {value:.4f}" in text


def test_lambda_callback_sees_running_means_at_each_batch(tiny_data):
    seen = []
    history = train(
        new_gan(),
        tiny_data,
        callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: seen.append(
                (batch, float(logs["d_loss"]))
            )
        ),
    )
    assert [batch for batch, _ in seen] == [0, 1]
    assert_allclose(seen[-1][1], history["d_loss"][0], rtol=1e-6)


def test_a_callback_may_generate_images_in_the_middle_of_training(tiny_data):
    class Draw(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            shapes.append(self.model.generate(2, seed=0).shape)

    shapes = []
    gan, expected = new_gan(), new_gan()
    train(gan, tiny_data, Draw())
    assert shapes == [(2, 8, 8, 1)] * 2
    train(expected, tiny_data)
    for weight, other in zip(
        gan.get_weights(), expected.get_weights(), strict=True
    ):
        assert_array_equal(weight, other)
