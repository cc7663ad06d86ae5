"""The package's own callbacks."""

import numpy as np
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
