"""The benchmarks' arithmetic, and that their loops compute our method."""

import dataclasses
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest

import keras_ssgan as ks
from benchmarks import faults
from benchmarks import report
from benchmarks.agreement import disagreements
from benchmarks.agreement import losses_of
from benchmarks.growth import cases
from benchmarks.growth import with_image_size
from benchmarks.growth import with_width
from benchmarks.inputs import draw_batches
from benchmarks.inputs import initial_weights
from benchmarks.operations import discriminator_multiply_adds
from benchmarks.operations import generator_multiply_adds
from benchmarks.operations import step_multiply_adds
from benchmarks.peers import CONTESTANTS
from benchmarks.peers import Contestant
from benchmarks.peers import build
from benchmarks.projection import gradient_bytes
from benchmarks.projection import project
from keras_ssgan.autodiff import BACKEND
from keras_ssgan.settings import get_preset

# Whose compilation alone takes longer than all tests here: the other loops of
# its module run the same functions.
SLOW = ("loop_compiled", "loop_xla")


@pytest.fixture
def tiny():
    return get_preset("tiny")


# === Operations ===


@pytest.mark.any_backend
def test_multiply_adds_of_the_tiny_networks_are_those_counted_by_hand(tiny):
    # Outputs of 4x4 and 4x4 (same) and 2x2 (valid), then 16 to 10 classes.
    assert discriminator_multiply_adds(tiny) == [
        4 * 4 * (4 * 4 * 1) * 8,
        4 * 4 * (3 * 3 * 8) * 12,
        2 * 2 * (3 * 3 * 12) * 16,
        16 * 10,
    ]
    # Inputs of 1x1 and 4x4.
    assert generator_multiply_adds(tiny) == [
        1 * 1 * (4 * 4 * 5) * 12,
        4 * 4 * (4 * 4 * 12) * 1,
    ]


@pytest.mark.any_backend
def test_a_step_counts_each_pass_that_it_needs_once(tiny):
    d = 2048 + 13824 + 6912 + 160
    g = 960 + 3072
    forward = g + 2 * d + 2 * d
    d_backward = 2 * (2 * d - 2048)
    g_backward = d + 2 * g - 960
    assert step_multiply_adds(tiny) == forward + d_backward + g_backward


@pytest.mark.any_backend
def test_a_step_of_the_article_takes_2_2_billion_multiply_adds():
    article = get_preset("article")
    assert sum(discriminator_multiply_adds(article)) == 188_754_944
    assert sum(generator_multiply_adds(article)) == 170_688_512
    np.testing.assert_allclose(step_multiply_adds(article), 2.2e9, rtol=0.01)


# === Agreement ===


@pytest.fixture(scope="module")
def our_losses():
    return losses_of(Contestant(BACKEND, "ours", "float32"), get_preset("tiny"))


@pytest.mark.parametrize(
    "name",
    [name for name in CONTESTANTS[BACKEND] if name not in ("ours", *SLOW)],
)
def test_the_loop_computes_our_losses(name, tiny, our_losses):
    losses = losses_of(Contestant(BACKEND, name, "float32"), tiny)
    assert disagreements(losses, our_losses, "float32") == []


def test_a_loss_that_is_off_is_a_disagreement(our_losses):
    losses = [dict(step) for step in our_losses]
    losses[1]["d_loss_fake"] *= 1.002
    (problem,) = disagreements(losses, our_losses, "float32")
    assert problem.startswith("step 1: d_loss_fake is ")


def test_bare_steps_and_those_of_fit_train_one_model(tiny):
    # As few layers as there can be, for the sake of JAX's compiler.
    tiny = dataclasses.replace(
        tiny,
        discriminator=((4, 4, 2, "same"), (4, 3, 1, "valid")),
        generator=((8, 1, "valid"),),
    )
    contestant = Contestant(BACKEND, "ours", "float32")
    peer = build(contestant, tiny, initial_weights(tiny))
    batches = draw_batches(tiny, 8, 2)
    peer.train(batches)
    peer.train_bare(batches)
    peer.train(batches)
    assert int(peer.gan.optimizer.iterations.numpy()) == 6
    for weight in peer.gan.weights:
        assert np.all(np.isfinite(weight.numpy())), weight.path


# === Growth ===


@pytest.mark.any_backend
@pytest.mark.parametrize("preset", ["article", "compact"])
def test_a_preset_of_its_own_size_is_itself(preset):
    settings = get_preset(preset)
    assert with_image_size(settings, settings.image_size) == settings
    assert with_width(settings, 1) == settings


@pytest.mark.any_backend
def test_a_generator_for_larger_images_starts_with_a_larger_window(tiny):
    larger = with_image_size(tiny, 12)
    assert larger.generator == ((12, 6, 1, "valid"), (4, 2, "same"))


@pytest.mark.any_backend
def test_a_wider_network_has_more_filters_between_latents_and_images(tiny):
    wider = with_width(tiny, 2)
    assert [row[0] for row in wider.discriminator] == [16, 24, 32]
    assert wider.generator == ((24, 4, 1, "valid"), (4, 2, "same"))


@pytest.mark.any_backend
def test_one_thing_grows_at_a_time(tiny):
    for name, value, (settings, batch_size, steps) in cases(tiny, 8, 3):
        grown = {
            "image size": settings.image_size,
            "width": settings.discriminator[0][0] / 8,
            "batch": batch_size,
            "images": batch_size * steps,
        }
        usual = {"image size": 8, "width": 1, "batch": 8, "images": 24}
        if name == "batch":
            usual["images"] = 3 * value
        assert grown == usual | {name: value}


# === Report ===


@pytest.mark.any_backend
def test_summary_of_made_up_timings(tiny):
    timings = {
        "contestant": "a",
        "seconds": [2.0, 1.0, 4.0],
        "bare_seconds": [1.6, 1.0, 2.0],
    }
    summary = report.summarize(
        timings, tiny, batch_size=10, steps=20, peak_gflops=0.5
    )
    gflops = 100 * 2 * step_multiply_adds(tiny) / 1e9
    assert summary == timings | {
        "images_per_second": 100.0,
        "spread": 0.25,
        "gflops": pytest.approx(gflops),
        "share_of_peak": pytest.approx(gflops / 0.5),
        "fit_overhead": pytest.approx(0.25),
    }


@pytest.mark.any_backend
def test_table_has_the_fastest_first_and_leaves_gaps():
    common = {
        "spread": 0.9,
        "gflops": 3.0,
        "share_of_peak": 0.25,
        "peak_memory_mib": 512.0,
        "first_step_seconds": 1.5,
    }
    slow = {"contestant": "slow", "images_per_second": 9.0, **common}
    fast = {"contestant": "fast", "images_per_second": 80.0, **common}
    slow["fit_overhead"] = 0.031

    lines = report.table([slow, fast]).splitlines()

    assert [line.split() for line in lines] == [
        [name for name, _ in report.COLUMNS],
        ["fast", "80.0", "0.90", "3.0", "25%", "512", "1.5"],
        ["slow", "9.0", "0.90", "3.0", "25%", "512", "1.5", "+3.1%"],
    ]
    assert len(set(map(len, lines))) == 1


# === Command ===


@pytest.mark.any_backend
def test_help_waits_for_no_backend():
    code = (
        "import sys, runpy\n"
        "sys.argv = ['training', '--help']\n"
        "try:\n"
        "    runpy.run_module('benchmarks.training', run_name='__main__')\n"
        "finally:\n"
        "    imported = {'keras', 'tensorflow', 'jax', 'torch'}\n"
        "    assert not imported & set(sys.modules)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "--backends" in result.stdout


@pytest.mark.any_backend
@pytest.mark.parametrize("preset", ["compact", "article"])
def test_gradient_bytes_are_those_of_the_networks(preset):
    gan = ks.SemiSupervisedGAN.from_preset(preset)
    counted = [
        4 * sum(math.prod(v.shape) for v in network.trainable_variables)
        for network in (gan.discriminator, gan.generator)
    ]
    assert list(gradient_bytes(get_preset(preset))) == counted


@pytest.mark.any_backend
def test_a_projection_to_one_device_is_computing_alone():
    projected = project(get_preset("article"), 1, 128, 1e12, 1e9, 1e-6)
    assert projected["efficiency"] == 1.0
    assert projected["compute"] == pytest.approx(0.565, rel=0.01)


@pytest.mark.any_backend
def test_faults_leave_one_checkpoint_good(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    content = bytes(range(256))
    for i in range(3):
        (folder / f"{i}.ckpt").write_bytes(content)
    run = faults.Run(tmp_path / "run", settings=[], context=None)
    rng = random.Random(0)
    assert run.damage(rng) and run.damage(rng)
    assert run.damage(rng) is None
    good = [p.name for p in folder.iterdir() if p.read_bytes() == content]
    assert good == ["0.ckpt"]
    said = f"Skipped the checkpoint {folder / '2.ckpt'}: because"
    assert [run.heard_of_damage(said) for _ in range(2)] == [1, 0]
    # Those of the GAN do not make up for the baseline's only one.
    (folder / "baseline").mkdir()
    for path in folder / "3.ckpt", folder / "baseline" / "0.ckpt":
        path.write_bytes(content)
    assert run.damage(rng) is None
