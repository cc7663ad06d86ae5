"""The package's own callbacks."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssgan import callbacks
from keras_ssgan import plotting


def test_sample_grid_shows_what_the_generator_draws(
    tiny_gan, tiny_data, tmp_path
):
    tiny_gan.fit(
        *tiny_data,
        epochs=2,
        verbose=0,
        callbacks=[callbacks.SampleGrid(tmp_path, num_images=6, columns=3)],
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch_001.png", "epoch_002.png"]
    expected = plotting.image_grid(tiny_gan.generate(6, seed=0), columns=3)
    with Image.open(tmp_path / "epoch_002.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid), np.asarray(expected))


def test_latest_model_is_the_model_of_the_last_epoch(
    tiny_gan, tiny_data, tmp_path
):
    path = tmp_path / "gan.keras"
    tiny_gan.fit(
        *tiny_data,
        epochs=2,
        verbose=0,
        callbacks=[callbacks.LatestModel(path)],
    )
    assert list(tmp_path.iterdir()) == [path]
    loaded = keras.saving.load_model(path)
    for ours, theirs in zip(tiny_gan.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_latest_model_survives_a_save_that_fails(
    tiny_gan, tiny_data, tmp_path, monkeypatch
):
    path = tmp_path / "gan.keras"
    callback = callbacks.LatestModel(path)
    callback.set_model(tiny_gan)
    callback.on_epoch_end(0)
    before = path.read_bytes()

    def save(filepath):
        filepath.write_bytes(b"half a model")
        raise OSError("the disk is full")

    monkeypatch.setattr(tiny_gan, "save", save)
    with pytest.raises(OSError, match="full"):
        callback.on_epoch_end(1)
    assert path.read_bytes() == before
