"""Paths between latents, and images by class."""

import numpy as np
import pytest

from keras_ssgan import sampling

pytestmark = pytest.mark.any_backend


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestSlerp:
    @pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
    def test_it_is_the_rotation_in_the_plane_of_both(self, rng, share):
        # Of one length: Gram and Schmidt's basis of the plane, then a turn.
        start, end = rng.standard_normal((2, 100))
        end *= np.linalg.norm(start) / np.linalg.norm(end)
        length = np.linalg.norm(start)
        first = start / length
        second = end - (end @ first) * first
        second /= np.linalg.norm(second)
        angle = share * np.arctan2(end @ second, end @ first)
        expected = length * (np.cos(angle) * first + np.sin(angle) * second)
        np.testing.assert_allclose(
            sampling.slerp(start, end, share), expected, rtol=0, atol=1e-12
        )

    def test_the_middle_is_as_long_as_normal_latents_are(self, rng):
        start, end = rng.standard_normal((2, 1, 1, 10_000)).astype("float32")
        middle = sampling.slerp(start, end, 0.5)
        assert middle.shape == (1, 1, 10_000)
        np.testing.assert_allclose(np.linalg.norm(middle), 100, rtol=0.02)
        straight = np.linalg.norm((start + end) / 2)
        np.testing.assert_allclose(straight, 100 / np.sqrt(2), rtol=0.02)

    @pytest.mark.parametrize("factor", [1.0, 3.0])
    def test_a_common_direction_is_kept(self, rng, factor):
        start = rng.standard_normal(5)
        np.testing.assert_allclose(
            sampling.slerp(start, factor * start, 0.25),
            (1 + 0.25 * (factor - 1)) * start,
        )


class TestClosedPath:
    def test_it_passes_its_stops_and_returns_to_the_first(self, rng):
        stops = rng.standard_normal((3, 1, 1, 6)).astype("float32")
        path = sampling.closed_path(stops, 4)
        assert path.shape == (12, 1, 1, 6) and path.dtype == np.float32
        np.testing.assert_allclose(path[::4], stops, rtol=1e-6)
        for row, (a, b) in enumerate([(0, 1), (1, 2), (2, 0)]):
            for step in range(4):
                np.testing.assert_allclose(
                    path[4 * row + step],
                    sampling.slerp(stops[a], stops[b], step / 4),
                    rtol=1e-5,
                    atol=1e-6,
                )

    def test_a_single_stop_stays_where_it_is(self, rng):
        stop = rng.standard_normal((1, 1, 1, 6)).astype("float32")
        path = sampling.closed_path(stop, 3)
        np.testing.assert_allclose(path, np.repeat(stop, 3, axis=0), rtol=1e-6)


class FakeGAN:
    """Draws images whose one pixel says their class and how sure that is."""

    image_shape = (1, 1, 1)
    num_classes = 4

    def __init__(self, pixels):
        self.pixels = pixels
        self.drawn = []

    def generate(self, num_images, seed=None, batch_size=64):
        images = seed.choice(np.uint8(self.pixels), (num_images, 1, 1, 1))
        self.drawn.append(images)
        return images

    def predict(self, images, batch_size=None, verbose=None):
        labels, sure = np.divmod(images.reshape(-1), 100)
        best = sure / 100
        rest = (1 - best) / (self.num_classes - 1)
        probabilities = np.repeat(rest[:, None], self.num_classes, axis=1)
        probabilities[np.arange(len(labels)), labels] = best
        return probabilities


class TestByClass:
    def test_each_class_has_its_first_confident_images(self):
        # Pixel 195 is of class 1 at 95 %, and 180 of class 1 at 80 %.
        gan = FakeGAN([90, 99, 195, 180, 189, 250])
        rows, draws = sampling.generate_by_class(gan, 3, seed=0, most_draws=500)
        everything = np.concatenate(gan.drawn)
        assert draws == len(everything) == 512
        for label, accepted in enumerate([(90, 99), (195,), (), ()]):
            expected = everything[np.isin(everything, accepted)][:3]
            np.testing.assert_array_equal(rows[label].ravel(), expected)
            assert rows[label].shape[1:] == (1, 1, 1)

    def test_it_stops_when_there_are_enough(self):
        gan = FakeGAN([99, 199])
        gan.num_classes = 2
        rows, draws = sampling.generate_by_class(gan, 5, seed=0)
        assert [len(row) for row in rows] == [5, 5]
        assert draws == 256 and len(gan.drawn) == 1

    def test_the_seed_decides(self):
        first, second, other = (
            np.concatenate(
                sampling.generate_by_class(
                    FakeGAN(range(90, 100)), 9, seed, most_draws=1
                )[0]
            )
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()

    def test_a_batch_after_the_other_is_drawn_anew(self):
        gan = FakeGAN(range(100))
        sampling.generate_by_class(gan, 3, seed=0, most_draws=512)
        first, second = gan.drawn
        assert (first != second).any()

    def test_a_real_gan_is_sorted_by_its_own_classifier(self, tiny_gan):
        rows, draws = sampling.generate_by_class(
            tiny_gan, 4, seed=0, confidence=0.1, most_draws=256
        )
        assert draws == 256 and len(rows) == 10
        kept = np.concatenate(rows)
        labels = np.repeat(np.arange(10), [len(row) for row in rows])
        probabilities = tiny_gan.predict(kept, verbose=0)
        np.testing.assert_array_equal(probabilities.argmax(axis=1), labels)
        drawn = tiny_gan.generate(256, seed=0)
        assert {image.tobytes() for image in kept} <= {
            image.tobytes() for image in drawn
        }

    def test_another_classifier_may_be_given(self):
        gan, other = FakeGAN([90, 199]), FakeGAN([])
        # It takes what it is shown for the class before.
        other.predict = lambda images, **kwargs: np.roll(
            FakeGAN.predict(other, images), -1, axis=1
        )
        rows, _ = sampling.generate_by_class(
            gan, 2, seed=0, most_draws=1, classifier=other
        )
        assert (rows[0] == 199).all() and (rows[3] == 90).all()
