"""Many devices: the update of one, and a shard for each.

Device counts are settled when a backend starts, so what runs on several
devices runs in processes of its own.
"""

import atexit
import os

import keras
import numpy as np
import pytest
from conftest import build_tiny_gan
from keras import ops

from benchmarks import replica
from benchmarks.launch import launch
from benchmarks.launch import launch_replica
from keras_ssgan import datasets
from keras_ssgan import distribution
from keras_ssgan import training
from keras_ssgan.config import Config
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped

BACKEND = keras.backend.backend()
TESTS = os.path.dirname(__file__)
# What the others are told instead has tests below.
devices_alone = pytest.mark.skipif(BACKEND == "torch", reason="refused")
processes_alone = pytest.mark.skipif(BACKEND == "tensorflow", reason="refused")


def train_on(*arguments, **layout):
    """State and history of `replica.train` on several devices."""
    state, report = launch_replica(BACKEND, *arguments, **layout)
    return state, report["history"]


def assert_like_one_device(results, devices, **arguments):
    state, history = results
    expected, report = replica.train(dealt_to=devices, **arguments)
    # Sums over the batch are taken in another order, and batch normalisation
    # has its variance from mean squares: differences of some 1e-7, of weights
    # and moving statistics of up to about 1. Adam divides a gradient by its
    # size, which enlarges them where gradients are near 0. A wrong update is
    # off by a step of the optimizer, 2e-4.
    for value, other in zip(state, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-5, atol=1e-5)
    assert history.keys() == report["history"].keys()
    for name, values in history.items():
        np.testing.assert_allclose(
            values, report["history"][name], rtol=1e-4, atol=1e-5, err_msg=name
        )


@devices_alone
def test_four_devices_of_one_process_update_as_one_device():
    # More than there are labels in a batch, which are two: what fewer devices
    # do, these do, too (`benchmarks.devices` compares two and four).
    results = train_on("--batch-size=8", devices=4)
    assert_like_one_device(results, 4, batch_size=8)


@processes_alone
def test_two_processes_update_as_one_device():
    results = train_on(processes=2)
    assert_like_one_device(results, 2)


@processes_alone
def test_one_process_writes_and_prints(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (44, 8, 8), dtype="uint8")
    labels = np.arange(44) % 10
    np.savez(
        tmp_path / "noise.npz",
        x_train=images,
        y_train=labels,
        x_test=images[:7],
        y_test=labels[:7],
    )
    settings = "--preset tiny --epochs 1 --batch-size 16 --labels 20"
    first, *others = launch(
        [
            os.path.join(TESTS, "launch.py"),
            "train",
            *settings.split(),
            f"--dataset={tmp_path / 'noise.npz'}",
            f"--output={tmp_path / 'run'}",
            "--distribute",
        ],
        BACKEND,
        processes=2,
    )
    assert "correct" in first
    assert not any("correct" in text or "epoch" in text for text in others)
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(lines) == 2
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.skipif(BACKEND != "jax", reason="PyTorch does not wait")
def test_a_process_that_is_stopped_waits_for_no_other(monkeypatch):
    """At its end JAX would, for minutes."""
    at_exit, exit_codes = [], []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    monkeypatch.setattr(os, "_exit", exit_codes.append)
    monkeypatch.setattr(keras.distribution, "initialize", lambda: None)
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(RunStopped), distribution.scope(distribute=True):
        raise RunStopped("stopped", 130)
    ((function, *arguments),) = at_exit
    function(*arguments)
    assert exit_codes == [130]


# === Shards ===


@pytest.fixture
def mixed(tiny_data):
    images, labels = tiny_data
    # Each image is known by its first pixel.
    images[:, 0, 0] = np.arange(40)
    return datasets.MixedDataset(
        images, labels, batch_size=16, labeled_per_batch=6
    )


@pytest.mark.parametrize("devices", [2, 4])
def test_shards_are_disjoint_and_make_up_the_batch(mixed, devices):
    images, labels = mixed[0]
    shards = [
        distribution.Dealt(mixed, devices, i, devices)[0]
        for i in range(devices)
    ]
    seen = np.concatenate([shard[0][:, 0, 0] for shard in shards])
    assert sorted(seen) == sorted(images[:, 0, 0])
    for shard_images, shard_labels in shards:
        assert len(shard_images) == 16 // devices
        share = np.sum(shard_labels >= 0)
        assert abs(share - np.sum(labels >= 0) / devices) < 1


def test_a_process_gets_the_rows_of_its_devices(mixed):
    _, everything = distribution.Dealt(mixed, 4)[0]
    parts = [distribution.Dealt(mixed, 4, i, 2)[0][1] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), everything)


@pytest.mark.parametrize("rows, dealt", [(11, 8), (3, 4)])
def test_a_batch_that_does_not_divide_loses_or_repeats_rows(rows, dealt):
    class One(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return np.arange(rows), np.arange(rows)

    images, _ = distribution.Dealt(One(), 4)[0]
    assert len(images) == dealt
    assert set(images) == set(range(min(rows, dealt)))


def test_dealing_moves_the_dataset_from_epoch_to_epoch(mixed):
    dealt = distribution.Dealt(mixed, 2, skipped_epochs=1)
    for epoch in (0, 0, 1):
        assert mixed.epoch == epoch
        dealt.on_epoch_begin()
        for i in range(dealt.num_batches):
            dealt[i]
        dealt.on_epoch_end()


# === Random numbers ===


@pytest.fixture
def as_replica(monkeypatch):
    """Makes this process believe that it is one of two replicas."""

    def become(replica):
        monkeypatch.setattr(distribution, "num_replicas", lambda: 2)
        monkeypatch.setattr(distribution, "_replica", lambda: replica)

    return become


@pytest.mark.parametrize("axis", [0, 1])
def test_replicas_draw_slices_of_the_global_numbers(as_replica, axis):
    def draw(shape):
        numbers = distribution.draw(
            keras.random.normal, shape, axis, seed=keras.random.SeedGenerator(1)
        )
        return ops.convert_to_numpy(numbers)

    expected = draw((6, 6))
    shape = (3, 6) if axis == 0 else (6, 3)
    parts = []
    for replica_id in range(2):
        as_replica(replica_id)
        parts.append(draw(shape))
    np.testing.assert_array_equal(np.concatenate(parts, axis), expected)


def test_no_replica_draws_what_another_does(as_replica):
    drawn = []
    for replica_id in range(2):
        as_replica(replica_id)
        generator = keras.random.SeedGenerator(1)
        for _ in range(20):
            seed = distribution.replica_seed(generator)
            numbers = keras.random.uniform((4,), seed=seed)
            drawn.append(tuple(ops.convert_to_numpy(numbers)))
        # The state itself stays the same everywhere, as it has to be saved.
        assert list(ops.convert_to_numpy(generator.state.value)) == [1, 20]
    assert len(set(drawn)) == 40


# === What cannot be ===


def test_no_number_of_devices_below_one():
    with pytest.raises(InputError, match="at least 1"):
        with distribution.scope(devices=0):
            pass


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(InputError) as error:
        with distribution.scope(devices=99):
            pass
    assert "99" in str(error.value)
    assert "\n" not in str(error.value)


def test_distributing_needs_a_launcher_and_a_backend_that_can(monkeypatch):
    for variable in ("KERAS_DISTRIBUTION_NUM_PROCESSES", "WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    message = "MultiWorker" if BACKEND == "tensorflow" else "not set"
    with pytest.raises(InputError, match=message):
        with distribution.scope(distribute=True):
            pass


@processes_alone
def test_an_environment_of_no_launcher_is_said(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "KERAS_DISTRIBUTION_JOB_ADDRESSES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("KERAS_DISTRIBUTION_NUM_PROCESSES", "WORLD_SIZE"):
        monkeypatch.setenv(name, "two")
    with pytest.raises(InputError, match="cannot make use of what is set"):
        with distribution.scope(distribute=True):
            pass


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(distribution, "_cluster", lambda model: (2, 0, 1))


def test_arrays_cannot_be_dealt_out(two_devices, tiny_gan, tiny_data):
    with pytest.raises(InputError, match="MixedDataset; received ndarray"):
        tiny_gan.fit(*tiny_data)


def test_a_run_that_cannot_be_dealt_out_writes_nothing(
    two_devices, tiny_data, tmp_path
):
    images, labels = tiny_data
    path = tmp_path / "data.npz"
    np.savez(
        path, x_train=images, y_train=labels, x_test=images, y_test=labels % 10
    )
    config = Config(str(path), preset="tiny", epochs=1, batch_size=15)
    with pytest.raises(InputError, match="15, does not divide by 2"):
        training.train(config, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_the_batch_has_to_divide_by_the_devices(two_devices, tiny_data):
    data = datasets.MixedDataset(*tiny_data, batch_size=15)
    with pytest.raises(InputError, match="15, does not divide by 2"):
        build_tiny_gan().fit(data)


def test_validation_data_are_arrays(two_devices, tiny_gan, tiny_data):
    data = datasets.MixedDataset(*tiny_data, batch_size=10)
    if BACKEND == "torch":
        # There each process validates on all of it.
        assert distribution.deal_validation(tiny_gan, data, None) == {
            "validation_data": data,
            "validation_batch_size": None,
        }
        return
    with pytest.raises(InputError, match="arrays.*received MixedDataset"):
        tiny_gan.fit(data, validation_data=data)


@devices_alone
def test_images_that_fill_the_last_validation_batch_have_no_label(
    two_devices, tiny_gan, tiny_data
):
    images, labels = tiny_data[0][:5], tiny_data[1][:5].astype("uint8")
    data = (images, labels, None)
    dealt = distribution.deal_validation(tiny_gan, data)["validation_data"]
    assert [len(array) for array in dealt] == [6, 6]
    np.testing.assert_array_equal(dealt[1], [*labels, -1])


def test_a_look_at_a_batch_does_not_fetch_those_of_an_epoch(mixed):
    """More than one worker would have them ready, for the epoch after it."""
    mixed.workers = 4
    assert distribution.Dealt(mixed, 2).workers == 4
    assert distribution.Dealt(mixed, 2, skipped_epochs=1).workers == 1


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="the others do both to the mean gradients"
)
@pytest.mark.parametrize(
    "optimizer, remedy",
    [
        (keras.optimizers.SGD(clipnorm=1.0), "no clipnorm"),
        (keras.optimizers.SGD(global_clipnorm=1.0), "no clipnorm"),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
            "mixed_bfloat16",
        ),
    ],
    ids=["clipnorm", "global_clipnorm", "loss_scale"],
)
def test_what_would_act_on_each_device_alone_is_refused(
    optimizer, remedy, two_devices, tiny_data
):
    gan = build_tiny_gan()
    gan.compile(discriminator_optimizer=optimizer)
    with pytest.raises(InputError, match=remedy):
        gan.fit(datasets.MixedDataset(*tiny_data, batch_size=16))
