"""The random affine changes of images."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from keras_ssgan.augmentation import RandomAffine
from keras_ssgan.augmentation import sample_affine


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (5, 9, 12, 2)).astype("float32")


def to_numpy(x):
    return ops.convert_to_numpy(x)


def test_affine_maps_agree_with_scipy(images):
    rng = np.random.default_rng(1)
    a0, b1 = 1 + rng.uniform(-0.3, 0.3, (2, 5))
    a1, b0 = rng.uniform(-0.3, 0.3, (2, 5))
    a2, b2 = rng.uniform(-4, 4, (2, 5))
    transforms = np.stack([a0, a1, a2, b0, b1, b2])
    expected = np.empty_like(images)
    for i, channel in np.ndindex(5, 2):
        expected[i, ..., channel] = ndimage.affine_transform(
            images[i, ..., channel].astype("float64"),
            # SciPy's axes are rows first.
            [[b1[i], b0[i]], [a1[i], a0[i]]],
            offset=[b2[i], a2[i]],
            order=1,
            mode="nearest",
        )
    moved = sample_affine(
        ops.convert_to_tensor(images),
        ops.convert_to_tensor(transforms.astype("float32")),
    )
    np.testing.assert_allclose(to_numpy(moved), expected, atol=2e-5)


def test_displaced_pixels_agree_with_scipy(images):
    """Displaced first, then mapped."""
    rng = np.random.default_rng(2)
    moves = rng.normal(0, 2, (2, 5, 9, 12)).astype("float32")
    a0, a1, a2, b0, b1, b2 = amounts = np.array([1.1, 0.2, -1, 0.1, 0.9, 0.5])
    transforms = np.repeat(amounts[:, None], 5, axis=1).astype("float32")
    y, x = np.mgrid[:9, :12]
    expected = np.empty_like(images)
    for i, channel in np.ndindex(5, 2):
        from_x, from_y = x + moves[0, i], y + moves[1, i]
        expected[i, ..., channel] = ndimage.map_coordinates(
            images[i, ..., channel].astype("float64"),
            [b0 * from_x + b1 * from_y + b2, a0 * from_x + a1 * from_y + a2],
            order=1,
            mode="nearest",
        )
    moved = sample_affine(
        *map(ops.convert_to_tensor, (images, transforms, moves))
    )
    np.testing.assert_allclose(to_numpy(moved), expected, atol=2e-5)


def test_elastic_changes_are_smooth_and_as_large_as_said():
    """Seen on images whose pixels say where they came from."""
    height, width = 28, 56
    y, x = np.mgrid[:height, :width].astype("float32")
    places = np.repeat(np.stack([x, y], axis=-1)[None], 1000, axis=0)
    still = {"rotation": 0, "scale": 0, "shear": 0, "translation": 0}
    layer = RandomAffine(**still, elastic=0.02, seed=0)
    moves = to_numpy(layer(places, training=True)) - places
    # Away from the edge, where they are cut off.
    moves = moves[:, 5:-5, 5:-5] / (width, height)
    np.testing.assert_allclose(moves.mean(axis=0), 0, atol=3e-3)
    np.testing.assert_allclose(moves.std(axis=0), 0.02, rtol=0.12)

    # Neighbours move together, and what is far apart does not, nor do the axes.
    def correlation(one, other):
        return np.corrcoef(one, other)[0, 1]

    middle = moves[:, :, 20]
    assert correlation(middle[:, 5, 0], middle[:, 6, 0]) > 0.9
    assert abs(correlation(middle[:, 2, 0], middle[:, 14, 0])) < 0.15
    assert abs(correlation(middle[:, 5, 0], middle[:, 5, 1])) < 0.15


def test_the_identity_leaves_every_pixel(images):
    layer = RandomAffine(rotation=0, scale=0, shear=0, translation=0)
    np.testing.assert_allclose(
        to_numpy(layer(images, training=True)), images, atol=1e-5
    )


def test_nothing_changes_outside_of_training(images):
    np.testing.assert_array_equal(to_numpy(RandomAffine()(images)), images)


def test_each_image_and_each_call_is_changed_differently(images):
    same = np.repeat(images[:1], 4, axis=0)
    layer = RandomAffine(seed=0)
    first = to_numpy(layer(same, training=True))
    second = to_numpy(layer(same, training=True))
    everything = np.concatenate([first, second])
    assert len(np.unique(everything.round(4), axis=0)) == 8


class Changed(keras.Model):
    """What images become in training."""

    def __init__(self):
        super().__init__()
        self.changes = RandomAffine(elastic=0.1, seed=0)

    def call(self, images):
        return self.changes(images, training=True)


def test_it_runs_compiled_for_batches_of_any_size(images):
    changed = Changed().predict(images, batch_size=3, verbose=0)
    assert changed.shape == images.shape and not np.allclose(changed, images)


def test_the_same_seed_gives_the_same_changes(images):
    first = RandomAffine(seed=3)(images, training=True)
    again = RandomAffine(seed=3)(images, training=True)
    np.testing.assert_array_equal(to_numpy(first), to_numpy(again))


@pytest.mark.parametrize(
    "amounts, expected",
    [
        # A disc in the middle stays in the middle under all but translation.
        ({"rotation": 90, "translation": 0}, 0.0),
        ({"rotation": 0, "scale": 0.0, "shear": 0.0, "translation": 0.2}, 0.2),
    ],
)
def test_the_center_moves_by_the_translation_alone(amounts, expected):
    grid = np.arange(41) - 20
    disc = (grid[:, None] ** 2 + grid**2 < 36) * 2.0 - 1
    discs = np.tile(disc.astype("float32")[None, ..., None], (200, 1, 1, 1))
    moved = to_numpy(RandomAffine(**amounts, seed=0)(discs, training=True)) + 1
    ink = moved[..., 0].sum(axis=1)
    center = (ink * grid).sum(axis=1) / ink.sum(axis=1) / 41
    # Of 200 uniform draws the largest is within a few per cent of the bound.
    np.testing.assert_allclose(np.abs(center).max(), expected, atol=0.01)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_for_the_networks_alone(policy, images):
    expected = RandomAffine(seed=0)(images, training=True)
    keras.config.set_dtype_policy(policy)
    changed = RandomAffine(seed=0)(images, training=True)
    np.testing.assert_array_equal(to_numpy(changed), to_numpy(expected))


def test_a_model_with_it_is_saved_and_loaded(tmp_path, images):
    inputs = keras.Input(images.shape[1:])
    layer = RandomAffine(rotation=7.0, elastic=0.1, seed=1)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
