"""The package's own callbacks."""

import logging
import re
import sys
import time

import numpy as np
import pytest
from PIL import Image

from keras_ssgan import callbacks
from keras_ssgan import plotting
from keras_ssgan.errors import InputError


@pytest.mark.any_backend
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


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "columns, names",
    [
        (70, {"accuracy"}),
        (80, {"accuracy", "d_loss"}),
        (120, {"accuracy", "d_loss", "g_loss"}),
        (400, {"accuracy", "d_loss_fake", "g_loss_feature_matching"}),
    ],
)
def test_the_progress_bar_stays_within_the_line(
    tiny_gan, tiny_data, capsys, monkeypatch, columns, names
):
    monkeypatch.setenv("COLUMNS", str(columns))
    tiny_gan.fit(
        *tiny_data, epochs=2, batch_size=10, callbacks=[callbacks.ProgressBar()]
    )
    printed = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    lines = re.split(r"[\r\n\b]+", printed)
    assert max(map(len, lines)) <= columns
    bars = [line for line in lines if "━" in line]
    assert len(bars) > 2
    assert set(re.findall(r"- (\w+):", bars[-1])) >= names


@pytest.mark.any_backend
def test_a_sample_grid_replaces_a_link_and_writes_to_no_linked_folder(
    tiny_gan, tiny_data, tmp_path
):
    precious = tmp_path / "precious"
    precious.mkdir()
    picture = precious / "picture.png"
    picture.write_text("precious")
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "epoch_001.png").symlink_to(picture)
    (folder / ".writing-12-epoch_001.png").write_text("half")
    tiny_gan.fit(
        *tiny_data, verbose=0, callbacks=[callbacks.SampleGrid(folder)]
    )
    assert picture.read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["epoch_001.png"]
    assert not (folder / "epoch_001.png").is_symlink()

    link = tmp_path / "link"
    link.symlink_to(precious, target_is_directory=True)
    with pytest.raises(InputError, match="link is a link"):
        tiny_gan.fit(
            *tiny_data, verbose=0, callbacks=[callbacks.SampleGrid(link)]
        )
    assert list(precious.iterdir()) == [picture]


def _time_left(monkeypatch, caplog, epochs, batches, initial_epoch=0):
    """What is logged where the first batch takes 60 s, and others 2 s."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    callback = callbacks.TimeLeft()
    callback.set_params({"epochs": epochs, "steps": batches})
    callback.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        callback.on_epoch_begin(epoch)
        for batch in range(batches):
            callback.on_train_batch_begin(batch)
            first = (epoch, batch) == (initial_epoch, 0)
            clock[0] += 60.0 if first else 2.0
        callback.on_epoch_end(epoch)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "epochs, batches, initial_epoch, left",
    [
        (4, 10, 0, ["60 s", "40 s", "20 s"]),
        (4, 10, 2, ["20 s"]),
        # A lone batch tells nothing yet.
        (3, 1800, 0, ["2 h 0 min", "60 min"]),
        (4, 1, 0, ["4 s", "2 s"]),
        (1, 10, 0, []),
    ],
)
def test_time_left_leaves_out_the_batch_that_compiles(
    epochs, batches, initial_epoch, left, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "keras_ssgan")
    messages = _time_left(monkeypatch, caplog, epochs, batches, initial_epoch)
    assert messages == [f"About {time} of training left" for time in left]


def test_time_left_is_told_between_the_lines_of_the_progress_bar(
    tiny_gan, tiny_data, capsys, caplog
):
    handler = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("keras_ssgan")
    caplog.set_level(logging.INFO, "keras_ssgan")
    logger.addHandler(handler)
    try:
        tiny_gan.fit(
            *tiny_data,
            epochs=2,
            batch_size=10,
            callbacks=[callbacks.TimeLeft()],
        )
    finally:
        logger.removeHandler(handler)
    lines = capsys.readouterr().out.splitlines()
    index = lines.index("Epoch 2/2")
    assert lines[index - 1].endswith(" s of training left")
    assert lines[index - 1].startswith("About ")
