"""The pictures that a run ends with: what stands in them."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.datasets.sprites import ATTRIBUTES
from diffusion_tf.sampling import pictures, scatter
from diffusion_tf.sampling.point_pictures import write_point_pictures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.random_numbers import stream
from helpers.shrinking_network import Network

DIGITS = get_config("digits", num_diffusion_timesteps=20)


@pytest.fixture
def sampler():
    return Sampler.of_run(DIGITS, Network())


def test_every_frame_says_its_t(sampler, tmp_path):
    pictures.write_pictures(
        str(tmp_path), DIGITS, sampler, get_dataset(DIGITS), (np.zeros(0), np.zeros(0))
    )
    with Image.open(tmp_path / "trajectory.gif") as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("L")).astype(int))
    assert len(frames) == 21
    words = [frame[:28] for frame in frames]
    for before, after in itertools.pairwise(words):
        assert np.abs(before - after).max() > 100
    with Image.open(tmp_path / "samples.png") as samples:
        last = np.asarray(samples.convert("L")).astype(int)
    assert np.abs(frames[-1][28:] - last).max() <= 1


def test_drawing_and_interpolating_show_their_progress(sampler, capsys):
    pictures.draw_trajectory(sampler, 2)
    x1, x2 = np.zeros([2, 1, 8, 8, 1], np.uint8)
    pictures.draw_interpolations(sampler, x1, x2, timesteps=[4, 9], num_lambdas=2)
    shown = capsys.readouterr().err
    assert "drawing: 100%" in shown and "20/20" in shown
    assert "interpolating: 100%" in shown and "15/15" in shown  # 4 + 1 and 9 + 1


def test_mixtures_in_pieces_are_those_in_one_go(sampler):
    rng = np.random.default_rng(0)
    x1, x2 = rng.integers(0, 256, (2, 3, 8, 8, 1), np.uint8)
    lambdas = np.array([0.0, 0.25, 1.0], np.float32)
    for t, ours in zip([0, 13], sampler.mixtures(x1, x2, lambdas, [0, 13]), strict=True):
        theirs = sampler.process.interpolate(
            lambda x, t: Network()([x, t], training=False),
            x1=x1 / np.float32(127.5) - 1, x2=x2 / np.float32(127.5) - 1, lam=lambdas, t=t,
            seed=stream(sampler.seed, "pictures"),
        )  # fmt: skip
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def conditions_grid(monkeypatch, config, dataset):
    """The words beside and above guidance.png."""
    said = []
    monkeypatch.setattr(
        pictures, "sample", lambda drawing, number, _: [np.zeros([number, *config.sample_shape])]
    )
    monkeypatch.setattr(scatter, "save_conditions_grid", lambda *args: said.append(args))

    class Conditional(Network):
        num_classes, cond_dim = config.num_classes, config.cond_dim

    names = dataset.class_names or dataset.attribute_names
    pictures.write_guidance("g.png", config, Sampler.of_run(config, Conditional()), names)
    return said[0][2], [heading for heading, _ in said[0][3]]


def test_guidance_grids_name_attributes(monkeypatch):
    config = get_config("sprites", num_diffusion_timesteps=4, max_images=3)
    rows, headings = conditions_grid(monkeypatch, config, get_dataset(config))
    assert rows[:5] == [f"{name}=1" for name in ATTRIBUTES]
    assert rows[5] == "warmth=0.5, size=0.5" and rows[9] == "warmth=0.5, night=0.5"
    assert headings == ["guidance 0 (no condition)", "guidance 1", "guidance 2", "guidance 4"]


def test_guidance_grids_name_classes(monkeypatch):
    config = get_config("digits_conditional", num_diffusion_timesteps=4)
    dataset = get_dataset(config)
    assert conditions_grid(monkeypatch, config, dataset)[0][3] == "class 3"
    dataset.class_names = tuple("abcdefghij")
    assert conditions_grid(monkeypatch, config, dataset)[0][3] == "d"


class Still:
    """A network that predicts no noise in points."""

    def __call__(self, inputs, training):
        return tf.zeros_like(inputs[0])

    def get_weights(self):
        return []


@pytest.mark.parametrize("standardize", [False, True])
def test_the_noise_of_q_is_within_its_panels(monkeypatch, tmp_path, standardize):
    """Points a tenth as far apart as noise is: at every t all of q are seen."""
    config = get_config("s_curve", max_images=300, num_diffusion_timesteps=50)
    dataset = get_dataset(config)
    sampler = Sampler.of_run(config, Still())
    if standardize:
        sampler = dataclasses.replace(
            sampler, scaling=Scaling(np.array([5.0, 9]), np.array([2.0, 8]))
        )
    seen = []
    monkeypatch.setattr(scatter, "save_panels", lambda *args, **how: seen.append((args, how)))
    monkeypatch.setattr(scatter, "save_animation", lambda *args, **how: seen.append((args, how)))
    write_point_pictures(str(tmp_path), config, sampler, dataset)
    ((_, (q, _), titles, _), panels), ((_, _, labels), animation) = seen
    assert titles[0] == "x₀" and titles[-1] == labels[0] == "t=49"
    for points, limits in zip(q, panels["limits"], strict=True):
        assert scatter.number_outside(points, limits) == 0
    (left, right), _ = panels["limits"][-1]
    assert right - left > 4 * (2 if standardize else 1)  # the data extend to 0.2
    assert animation["limits"][0] == panels["limits"][-1]
    assert panels["axis_names"] == ("x₁", "x₂") and panels["real"] is not None
