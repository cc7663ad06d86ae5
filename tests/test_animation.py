"""Animated pictures, read back with Pillow."""

import os

import numpy as np
import pytest
from PIL import Image
from PIL import ImageSequence

from keras_ssgan import animation

pytestmark = pytest.mark.any_backend


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"


def write_grids(folder, epochs, size=(180, 80), mode="L"):
    """Grids of one grey each, another for every epoch."""
    folder.mkdir(exist_ok=True)
    for epoch in epochs:
        grey = epoch % 200
        colour = grey if mode == "L" else (grey, 0, 255 - grey)
        path = folder / f"epoch_{epoch:03d}.png"
        Image.new(mode, size, colour).save(path)


def frames(path):
    """Frames of a GIF as RGB arrays, and their durations in milliseconds."""
    with Image.open(path) as picture:
        assert picture.format == "GIF"
        assert picture.info["loop"] == 0
        pairs = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"])
            for frame in ImageSequence.Iterator(picture)
        ]
    return zip(*pairs, strict=True)


class TestTraining:
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_frames_are_the_grids_in_order_under_a_caption(
        self, mode, tmp_path, texts
    ):
        write_grids(tmp_path, range(1, 13), mode=mode)
        animation.training(tmp_path, tmp_path / "training.gif")
        images, durations = frames(tmp_path / "training.gif")
        assert texts == [f"Epoch {i} of 12" for i in range(1, 13)]
        for epoch, image in enumerate(images, start=1):
            grid, caption = image[-80:], image[:-80]
            with Image.open(tmp_path / f"epoch_{epoch:03d}.png") as source:
                expected = np.asarray(source.convert("RGB"))
            np.testing.assert_array_equal(grid, expected)
            # White, with ink of which some is black.
            assert (caption == 255).mean() > 0.5
            assert (caption.max(axis=-1) < 40).any()
        assert len(set(image[:-80].tobytes() for image in images)) == 12
        assert durations == (500,) * 11 + (2500,)

    @pytest.mark.parametrize(
        "epochs, count, duration",
        [(20, 20, 500), (50, 50, 200), (100, 100, 100)],
    )
    def test_it_takes_ten_seconds_or_less(
        self, epochs, count, duration, tmp_path
    ):
        write_grids(tmp_path, range(1, epochs + 1), size=(180, 4))
        animation.training(tmp_path, tmp_path / "training.gif")
        images, durations = frames(tmp_path / "training.gif")
        assert len(images) == count
        assert durations == (duration,) * (count - 1) + (2500,)

    def test_a_long_run_has_100_frames_evenly_chosen(self, tmp_path, texts):
        # More than 999 epochs: names that do not sort as their numbers do.
        write_grids(tmp_path, range(6, 1200, 6), size=(180, 4))
        animation.training(tmp_path, tmp_path / "training.gif")
        images, _ = frames(tmp_path / "training.gif")
        assert len(images) == 100
        shown = [int(caption.split()[1]) for caption in texts]
        assert shown == list(range(6, 1200, 12))

    def test_a_single_epoch_is_a_still(self, tmp_path):
        write_grids(tmp_path, [1])
        animation.training(tmp_path, tmp_path / "training.gif")
        with Image.open(tmp_path / "training.gif") as picture:
            assert picture.n_frames == 1

    def test_other_files_are_left_alone(self, tmp_path):
        write_grids(tmp_path, [1, 2])
        for name in ("epoch_last.png", "epoch_3.jpg", "notes.txt"):
            (tmp_path / name).write_text("not a picture")
        animation.training(tmp_path, tmp_path / "training.gif")
        with Image.open(tmp_path / "training.gif") as picture:
            assert picture.n_frames == 2

    @pytest.mark.parametrize("epoch", [1, 2])
    @pytest.mark.parametrize(
        "break_picture",
        [
            lambda path: path.write_bytes(path.read_bytes()[:60]),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(POSTSCRIPT),
            lambda path: (path.unlink(), os.mkfifo(path)),
            lambda path: (path.unlink(), path.mkdir()),
            # More pixels than a frame may have, and than an image may.
            lambda path: Image.new("L", (1500, 1500)).save(path),
            lambda path: Image.new("1", (9000, 9000)).save(path),
            lambda path: Image.new("I;16", (180, 80)).save(path),
        ],
        ids=["short", "empty", "eps", "pipe", "folder", "large", "bomb", "16"],
    )
    def test_a_broken_picture_is_left_out_and_said(
        self, break_picture, epoch, tmp_path, texts, caplog
    ):
        write_grids(tmp_path, [1, 2, 3])
        broken = tmp_path / f"epoch_{epoch:03d}.png"
        break_picture(broken)
        animation.training(tmp_path, tmp_path / "training.gif")
        assert texts == [f"Epoch {i} of 3" for i in (1, 2, 3) if i != epoch]
        (record,) = caplog.records
        message = record.getMessage()
        assert message.startswith("Left 1 of 3 pictures out of the animation")
        assert str(broken) in message and "\n" not in message

    def test_a_grid_of_another_size_than_the_first_is_left_out(
        self, tmp_path, texts, caplog
    ):
        write_grids(tmp_path, [1, 2])
        write_grids(tmp_path, [3, 4], size=(180, 81))
        animation.training(tmp_path, tmp_path / "training.gif")
        assert texts == ["Epoch 1 of 4", "Epoch 2 of 4"]
        (record,) = caplog.records
        assert "Left 2 of 4 pictures" in record.getMessage()

    def test_an_epoch_is_no_endless_number(self, tmp_path, texts):
        write_grids(tmp_path, [1, 10**200])
        animation.training(tmp_path, tmp_path / "training.gif")
        assert texts == ["Epoch 1 of 1"]

    def test_broken_pictures_alone_give_no_animation(self, tmp_path):
        (tmp_path / "epoch_001.png").write_bytes(b"")
        animation.training(tmp_path, tmp_path / "training.gif")
        assert not (tmp_path / "training.gif").exists()

    def test_it_takes_the_place_of_a_link(self, tmp_path):
        write_grids(tmp_path, [1])
        (tmp_path / "precious").write_text("precious")
        path = tmp_path / "training.gif"
        path.symlink_to(tmp_path / "precious")
        animation.training(tmp_path, path)
        assert (tmp_path / "precious").read_text() == "precious"
        assert not path.is_symlink()

    def test_a_folder_without_grids_gives_no_animation(self, tmp_path):
        animation.training(tmp_path, tmp_path / "training.gif")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_a_loop_shows_every_image_enlarged(channels, tmp_path):
    images = np.random.default_rng(0).integers(
        0, 256, (6, 8, 6, channels), dtype="uint8"
    )
    animation.loop(images, tmp_path / "loop.gif")
    shown, durations = frames(tmp_path / "loop.gif")
    assert durations == (80,) * 6
    for frame, image in zip(shown, images, strict=True):
        assert frame.shape == (256, 192, 3)
        expected = np.broadcast_to(image, (8, 6, 3))
        np.testing.assert_array_equal(frame[::32, ::32], expected)
        np.testing.assert_array_equal(frame[31::32, 31::32], expected)
