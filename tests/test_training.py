"""A run, from its settings to its folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import hide_packages
from conftest import peak_memory
from conftest import save_noise
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)
from tensorboard.util import tensor_util

from keras_ssgan import backends
from keras_ssgan import baseline
from keras_ssgan import calibration
from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import image_formats
from keras_ssgan import limits
from keras_ssgan import runs
from keras_ssgan import settings
from keras_ssgan import training
from keras_ssgan.config import Config
from keras_ssgan.config import read_config
from keras_ssgan.errors import InputError
from keras_ssgan.history import parse_history
from keras_ssgan.history import read_history
from keras_ssgan.split import load_split
from keras_ssgan.split import mix


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """120 training and 30 test images of ten classes, 8x8, as a file."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    prototypes = rng.integers(0, 256, (10, 8, 8))
    parts = {}
    for part, count in (("train", 120), ("test", 30)):
        labels = np.arange(count) % 10
        noise = rng.integers(-30, 31, (count, 8, 8))
        images = np.clip(prototypes[labels] + noise, 0, 255)
        parts[f"x_{part}"] = images.astype("uint8")
        parts[f"y_{part}"] = labels.astype("uint8")
    np.savez(path, **parts)
    return str(path)


def small_config(npz, **changes):
    return Config(
        dataset=npz,
        preset="tiny",
        labels=0.5,
        validation=0.2,
        epochs=2,
        batch_size=30,
        seed=3,
        **changes,
    )


@pytest.fixture
def config(npz):
    return small_config(npz)


@pytest.fixture(scope="module")
def finished(npz, tmp_path_factory):
    """Folder and metrics of one complete run with a baseline."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    config = small_config(npz, baseline=True)
    return folder, training.train(config, folder, verbose=0)


@pytest.mark.any_backend
def test_unset_settings_are_those_of_the_preset():
    config = Config(dataset="digits", preset="article")
    assert (config.epochs, config.batch_size) == (5, 128)
    assert Config(preset="article", epochs=1).epochs == 1


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"preset": "huge"}, "article, compact, accurate, drawing, tiny"),
        ({"epochs": 0}, "epochs has to be at least 1"),
        ({"epochs": 10_001}, "epochs is 10001; give at most 10000"),
        ({"batch_size": 0}, "batch_size has to be at least 1"),
        ({"dtype": "float31"}, "mixed_bfloat16"),
        # It would train, to weights that hardly move.
        ({"dtype": "bfloat16"}, "use float32, mixed_bfloat16"),
        ({"dtype": "float16"}, "mixed_float16"),
        ({"dtype": "int8_from_float32"}, "mixed_bfloat16"),
        ({"dtype": "float8_from_float32"}, "mixed_bfloat16"),
        ({"dtype": "gptq/4/-1_from_float32"}, "mixed_bfloat16"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Config(**settings)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "dtype, flags, warns",
    [
        ("mixed_bfloat16", "fma avx2 avx512f", True),
        ("mixed_bfloat16", "fma avx2 avx512_bf16", False),
        ("float32", "fma avx2", False),
    ],
)
def test_half_precision_is_said_to_be_slow_where_the_processor_lacks_it(
    dtype, flags, warns, tmp_path, monkeypatch, caplog
):
    processors = tmp_path / "cpuinfo"
    processors.write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(backends, "_PROCESSORS", processors)
    training._warn_of_slow_dtype(dtype)
    assert ("no instructions for bfloat16" in caplog.text) == warns


@pytest.mark.any_backend
def test_a_run_says_that_half_precision_is_slow(
    npz, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(backends, "emulates_bfloat16", lambda: True)
    config = dataclasses.replace(
        small_config(npz, dtype="mixed_bfloat16"), epochs=1, batch_size=100
    )
    training.train(config, tmp_path / "run", verbose=0)
    assert "no instructions for bfloat16" in caplog.text


def test_training_sees_no_label_but_those_that_are_kept(config):
    split = load_split(config)
    # 60 of 120 labels are kept, 6 of each class; 1 of each is for validation.
    assert split.counts() == {
        "train_images": 110,
        "train_labels": 50,
        "validation_labels": 10,
        "test_images": 30,
    }
    assert (np.bincount(split.labeled[1]) == 5).all()
    assert (split.train[1] == -1).sum() == 60


def save_changed(npz, path, change):
    """Saves what `change` makes of the arrays of `npz`."""
    with np.load(npz) as arrays:
        arrays = dict(arrays)
    change(arrays)
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.any_backend
def test_images_of_zeros_and_ones_are_refused(npz, tmp_path):
    def scale(arrays):
        arrays["x_train"] //= 255

    path = save_changed(npz, tmp_path / "scaled.npz", scale)
    with pytest.raises(InputError, match="is above 1 of 255; multiply them"):
        load_split(small_config(path))


@pytest.mark.any_backend
def test_images_of_which_the_networks_see_points_alone_are_warned_of(
    npz, tmp_path, caplog
):
    def enlarge(arrays):
        for name in ("x_train", "x_test"):
            arrays[name] = arrays[name].repeat(2, axis=1)

    load_split(small_config(npz))
    assert not caplog.text
    path = save_changed(npz, tmp_path / "large.npz", enlarge)
    load_split(small_config(path))
    assert "Of images of 16x8 the networks of tiny see" in caplog.text


@pytest.mark.any_backend
def test_a_class_without_a_label_is_warned_of(npz, tmp_path, caplog):
    def number_from_one(arrays):
        for name in ("y_train", "y_test"):
            arrays[name] += 1

    path = save_changed(npz, tmp_path / "from_one.npz", number_from_one)
    load_split(small_config(path))
    assert "1 of the 11 classes, such as 0, have no labelled" in caplog.text


@pytest.mark.any_backend
def test_a_user_with_labels_alone_is_told_how_many_are_hidden(npz, caplog):
    caplog.set_level("INFO", "keras_ssgan")
    config = small_config(npz)
    load_split(config)
    assert "hidden" not in caplog.text
    load_split(dataclasses.replace(config, labels=None))
    # The preset keeps a fifth of 120.
    assert "96 of 120 labels are hidden, to compare" in caplog.text


@pytest.mark.any_backend
def test_a_user_whose_labels_are_too_few_to_hide_some_learns_who_does(
    tmp_path,
):
    save_noise(tmp_path / "few.npz", num_train=20, num_test=10)
    config = small_config(str(tmp_path / "few.npz"))
    with pytest.raises(InputError, match="4 labels are too few.*--labels 1.0"):
        load_split(dataclasses.replace(config, labels=None))
    with pytest.raises(InputError, match="4 labels are too few") as error:
        load_split(dataclasses.replace(config, labels=4))
    assert "--labels" not in str(error.value)
    split = load_split(dataclasses.replace(config, labels=1.0))
    assert len(split.train[1]) + len(split.validation[1]) == 20


@pytest.mark.any_backend
def test_a_folder_of_large_images_is_trained_on_and_scored_at_one_size(
    tmp_path, capsys
):
    rng = np.random.default_rng(0)
    for label in range(2):
        folder = tmp_path / "data" / f"class_{label}"
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 256, (40, 20), dtype="uint8")
            Image.fromarray(pixels).save(folder / f"{index}.png")
    config = dataclasses.replace(
        small_config(str(tmp_path / "data")), epochs=1, batch_size=8
    )
    metrics = training.train(config, tmp_path / "run", verbose=0)
    assert metrics["image_size"] == [8, 8]
    capsys.readouterr()
    assert cli.main(["evaluate", "--json", str(tmp_path / "run")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recall"] == metrics["test"]["recall"]
    loss = metrics["test"]["log_loss"]
    assert report["log_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_dataset_takes_no_more_memory_than_its_file_says(dtype, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8000, 32, 32)).astype(dtype)
    labels = np.arange(8000) % 10
    path = tmp_path / "large.npz"
    np.savez(
        path,
        x_train=images,
        y_train=labels,
        x_test=images[:10],
        y_test=labels[:10],
    )
    config = Config(dataset=str(path), preset="tiny", validation=0.2)
    # What an import takes for good is not of the images.
    load_split(dataclasses.replace(config, dataset="digits"))
    peak = peak_memory(load_split, config)
    # Validation images come on top, and the pixels as uint8 where the file's
    # are not.
    pixels = 0.2 if dtype == "uint8" else 1.2
    assert peak < path.stat().st_size + pixels * images.size


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "batch_size, given, labeled", [(30, None, 15), (30, 4, 4), (3, None, 2)]
)
def test_a_batch_has_the_presets_share_of_labels_unless_told(
    config, batch_size, given, labeled
):
    changed = dataclasses.replace(
        config, batch_size=batch_size, labeled_per_batch=given
    )
    _, labels, weights = mix(changed, load_split(changed))[0]
    # Nothing is known yet of those without a label.
    assert (len(labels), np.sum(weights > 0)) == (batch_size, labeled)


@pytest.mark.any_backend
def test_where_all_images_are_labelled_a_batch_is_too(config):
    changed = dataclasses.replace(config, labels=1.0)
    _, labels = mix(changed, load_split(changed))[0]
    assert (labels >= 0).all()


@pytest.mark.any_backend
def test_a_dataset_with_unlabelled_images_keeps_its_labels(npz, tmp_path):
    with np.load(npz) as arrays:
        arrays = dict(arrays)
    arrays["y_train"] = arrays["y_train"].astype("int32")
    arrays["y_train"][40:] = -1
    path = tmp_path / "partly.npz"
    np.savez(path, **arrays)
    split = load_split(Config(dataset=str(path), validation=0.0))
    assert split.counts()["train_labels"] == 40


@pytest.mark.any_backend
def test_labels_of_one_class_only_are_refused(npz, tmp_path):
    with np.load(npz) as arrays:
        arrays = dict(arrays)
    arrays["y_train"] = np.where(arrays["y_train"] == 4, 4, -1)
    path = tmp_path / "one_class.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="all labels are of class 4"):
        load_split(Config(dataset=str(path)))


def test_a_run_writes_its_folder(finished):
    folder, metrics = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "classifier.keras",
        "config.json",
        "confusion.png",
        "curves.png",
        "gan.keras",
        "history.csv",
        "metrics.json",
        "samples",
        "training.gif",
    ]
    assert len(list((folder / "samples").glob("epoch_*.png"))) == 2
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    for name in ("training.gif", "curves.png", "confusion.png"):
        with Image.open(folder / name) as picture:
            picture.verify()


@pytest.mark.any_backend
@pytest.mark.parametrize("light", [False, True])
def test_what_paper_the_images_are_on_is_noted(light, config, npz, tmp_path):
    arrays = dict(np.load(npz))
    for name in ("x_train", "x_test"):
        arrays[name] = np.pad(
            arrays[name][:, 1:-1, 1:-1],
            ((0, 0), (1, 1), (1, 1)),
            constant_values=200 if light else 50,
        )
    np.savez(tmp_path / "paper.npz", **arrays)
    config = dataclasses.replace(
        config, dataset=str(tmp_path / "paper.npz"), epochs=1
    )
    metrics = training.train(config, tmp_path / "run", verbose=0)
    assert metrics["light_paper"] is light
    # Noise is no digit.
    assert metrics["ink_size"] is None


@pytest.mark.any_backend
def test_how_the_digits_lie_is_noted(config, tmp_path):
    config = dataclasses.replace(config, dataset="digits", epochs=1)
    metrics = training.train(config, tmp_path / "run", verbose=0)
    assert metrics["image_size"] == [8, 8]
    assert metrics["ink_size"] == [8, 6]
    assert metrics["ink_by_mass"] is False
    assert metrics["light_paper"] is False
    expected = datasets.DigitFormat((8, 8), (8, 6), by_mass=False)
    for name in ("", "gan.keras", "classifier.keras"):
        read = image_formats.reader(tmp_path / "run" / name)
        assert read.func is datasets.read_digit
        assert read.keywords == {"digit_format": expected}


def test_the_reported_accuracy_is_that_of_the_saved_classifier(finished, npz):
    folder, metrics = finished
    classifier = keras.saving.load_model(folder / "classifier.keras")
    with np.load(npz) as arrays:
        predictions = classifier.predict(arrays["x_test"], verbose=0).argmax(-1)
        accuracy = np.mean(predictions == arrays["y_test"])
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)


def test_the_saved_classifier_is_calibrated_on_the_validation_images(
    finished, npz
):
    folder, metrics = finished
    classifier = keras.saving.load_model(folder / "classifier.keras")
    gan = keras.saving.load_model(folder / "gan.keras")
    images, labels = load_split(small_config(npz)).validation
    temperature = calibration.fit_temperature(
        labels, gan.predict(images, verbose=0)
    )
    assert metrics["test"]["temperature"] == pytest.approx(temperature)
    assert abs(temperature - 1) > 1e-3
    scale = classifier.get_layer("temperature").scale
    assert 1 / scale == metrics["test"]["temperature"]


def test_history_has_one_row_per_epoch(finished):
    history = read_history(finished[0])
    assert history["epoch"] == [0, 1]
    assert len(history["d_loss"]) == len(history["val_accuracy"]) == 2


def test_the_baseline_learns_from_the_labelled_images(config, tmp_path):
    split = load_split(config)
    # 300 steps in a few epochs, each of which has its price.
    config = dataclasses.replace(config, labeled_per_batch=29)
    epochs = 300 // len(mix(config, split))
    config = dataclasses.replace(config, epochs=epochs)
    classifier, _ = baseline.train_baseline(config, tmp_path, split)
    images, labels = split.test
    predictions = classifier.predict(images, verbose=0).argmax(-1)
    # Noisy prototypes: whatever learns from labels gets far above chance.
    assert np.mean(predictions == labels) > 0.8


@pytest.mark.any_backend
def test_the_baseline_sees_all_labels_where_few_images_have_none(
    tmp_path, monkeypatch
):
    # Sorted by class, as a folder of images is.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    np.savez(
        tmp_path / "sorted.npz",
        x_train=rng.integers(0, 256, (120, 8, 8), dtype="uint8"),
        y_train=labels,
        x_test=rng.integers(0, 256, (10, 8, 8), dtype="uint8"),
        y_test=np.arange(10),
    )
    config = small_config(str(tmp_path / "sorted.npz"))
    config = dataclasses.replace(config, labels=0.9, epochs=10)
    seen = []

    class Witness(datasets.MixedDataset):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            seen.append(batch[1])
            return batch

    monkeypatch.setattr(baseline, "MixedDataset", Witness)
    split = load_split(config)
    steps = 10 * len(mix(config, split))
    # One epoch has room for a part of the labels alone.
    assert 30 * steps / 10 < len(split.labeled[1])
    baseline.train_baseline(config, tmp_path / "run", split)
    # Keras takes one more to build the model.
    assert len(seen) - steps in (0, 1)
    assert set(np.concatenate(seen)) == set(range(10))


@pytest.mark.any_backend
def test_an_existing_folder_is_not_touched(config, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        training.train(config, tmp_path, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.any_backend
def test_a_run_is_not_put_among_the_images_of_its_dataset(tmp_path):
    config = Config(dataset=str(tmp_path))
    with pytest.raises(InputError, match="lies within the dataset"):
        training.train(config, tmp_path / "runs" / "one", verbose=0)
    assert not (tmp_path / "runs").exists()


@pytest.mark.any_backend
def test_a_folder_may_be_called_as_a_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "digits" / "one"
    folder.parent.mkdir()
    training._check_new_folder(folder, "digits")
    assert datasets.load(Path("digits")).num_classes == 10


@pytest.mark.any_backend
def test_nothing_is_written_when_the_dataset_is_wrong(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(InputError):
        training.train(Config(dataset="nowhere.npz"), folder, verbose=0)
    assert not folder.exists()


@pytest.mark.any_backend
def test_a_finished_run_can_have_more_epochs(finished, tmp_path):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = read_config(copy, epochs=3, baseline=False)
    training.train(config, copy, resume=True, verbose=0)
    assert read_history(copy)["epoch"] == [0, 1, 2]


@pytest.mark.any_backend
def test_figures_of_fewer_epochs_do_not_stay_beside_the_models_of_more(
    finished, tmp_path, monkeypatch
):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(training, "_write_results", fail)
    config = read_config(copy, epochs=3, baseline=False)
    with pytest.raises(OSError, match="no space left"):
        training.train(config, copy, resume=True, verbose=0)
    with pytest.raises(InputError, match="has not ended; finish it with"):
        runs.load_classifier(copy)
    monkeypatch.undo()
    training.train(config, copy, resume=True, verbose=0)
    assert runs.load_classifier(copy)


@pytest.mark.any_backend
def test_a_run_is_resumed_where_its_dataset_has_been_moved_to(
    finished, npz, tmp_path
):
    folder, _ = finished
    copy, moved = tmp_path / "copy", tmp_path / "moved.npz"
    shutil.copytree(folder, copy)
    shutil.copy(npz, moved)
    config = read_config(copy, dataset=str(moved), baseline=False)
    training.train(config, copy, resume=True, verbose=0)
    assert read_config(copy).dataset == str(moved)


@pytest.mark.any_backend
def test_the_logs_of_the_longest_run_can_be_read(finished):
    header, row, *_ = (finished[0] / "history.csv").read_text().splitlines()
    lines = [header, *[row] * limits.MAX_EPOCHS]
    assert len(parse_history("\n".join(lines))["d_loss"]) == limits.MAX_EPOCHS


@pytest.mark.any_backend
def test_resuming_with_other_settings_is_refused(finished):
    folder, _ = finished
    with pytest.raises(InputError, match="started with seed=3, not 4"):
        training.train(read_config(folder, seed=4), folder, True, 0)


@pytest.mark.any_backend
@pytest.mark.parametrize("content", ["{", "[]", '{"colour": "red"}'])
def test_a_damaged_config_is_named(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match="config.json is damaged"):
        read_config(tmp_path)


@pytest.mark.any_backend
def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        read_config(tmp_path)


@pytest.mark.any_backend
def test_tensorboard_reads_the_figures_of_every_epoch(config, tmp_path):
    folder = tmp_path / "run"
    training.train(config, folder, verbose=0, tensorboard=True)
    history = read_history(folder)
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(folder / "tensorboard" / part))
        events.Reload()
        for name in ("loss", "accuracy"):
            values = [
                tensor_util.make_ndarray(event.tensor_proto).item()
                for event in events.Tensors(f"epoch_{name}")
            ]
            np.testing.assert_allclose(values, history[prefix + name], 1e-5)
    assert {"epoch_d_loss", "epoch_g_loss_adversarial"} <= set(
        EventAccumulator(str(folder / "tensorboard" / "train"))
        .Reload()
        .Tags()["tensors"]
    )


@pytest.mark.any_backend
def test_events_are_not_written_through_a_link(config, tmp_path):
    folder, precious = tmp_path / "run", tmp_path / "precious"
    training.train(config, folder, verbose=0)
    precious.mkdir()
    (folder / "tensorboard").symlink_to(precious, target_is_directory=True)
    with pytest.raises(InputError, match="is a link"):
        training.train(config, folder, resume=True, verbose=0, tensorboard=True)
    assert not list(precious.iterdir())


@pytest.mark.any_backend
def test_a_folder_in_place_of_a_result_is_named(config, tmp_path):
    folder = tmp_path / "run"
    training.train(config, folder, verbose=0)
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").mkdir()
    with pytest.raises(InputError, match="could not write"):
        training.train(config, folder, resume=True, verbose=0)


@pytest.mark.any_backend
@pytest.mark.parametrize("missing", ["tensorflow", "tensorboard"])
def test_tensorboard_without_its_packages_is_refused_before_training(
    missing, config, tmp_path, monkeypatch
):
    hide_packages(monkeypatch, missing)
    with pytest.raises(InputError, match=f"need {missing}, which is not"):
        training.train(config, tmp_path / "run", verbose=0, tensorboard=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.any_backend
def test_the_learning_rate_decays_to_0_over_the_run(
    config, tmp_path, monkeypatch
):
    tiny = dataclasses.replace(settings.PRESETS["tiny"], decay=True)
    monkeypatch.setitem(settings.PRESETS, "tiny", tiny)
    folder = tmp_path / "run"
    training.train(config, folder, verbose=0)
    gan = runs.load_gan(folder)
    for optimizer in (gan.discriminator_optimizer, gan.generator_optimizer):
        schedule = optimizer.get_config()["learning_rate"]["config"]
        assert schedule["initial_learning_rate"] == tiny.learning_rate
        assert schedule["decay_steps"] == int(gan.optimizer.iterations.numpy())
        assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    longer = dataclasses.replace(config, epochs=config.epochs + 1)
    with pytest.raises(InputError, match="epochs"):
        training.train(longer, folder, resume=True, verbose=0)
