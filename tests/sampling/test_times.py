"""What pictures call times: the timesteps of training, also where a chain has fewer steps."""

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling import pictures
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.times import time_labels, training_times
from diffusion_tf.utils import images
from helpers.shrinking_network import Network

CONFIG = get_config("digits", num_diffusion_timesteps=40)
TRAINING = get_diffusion(CONFIG)


@pytest.mark.parametrize(
    ("sampler", "steps", "expected"),
    [
        ("ancestral", None, ["t=39", "t=4", "t=0", "sample"]),
        ("ancestral", 5, ["t=39", "t=39", "t=0", "sample"]),
        ("ddim", 5, ["t=32", "t=32", "t=0", "sample"]),
    ],
)
def test_times_are_those_of_training(sampler, steps, expected):
    process = get_sampling_process(TRAINING, sampler, steps)
    last = process.num_timesteps - 1
    assert time_labels(process, [last, 4, 0, -1]) == expected


def test_a_time_has_the_noise_of_the_timestep_it_is_called_by():
    process = get_sampling_process(TRAINING, "dpmpp_2m", 7)
    times = training_times(process, range(7))
    np.testing.assert_allclose(TRAINING.alphas_cumprod[times], process.alphas_cumprod, rtol=1e-9)


def test_pictures_of_fewer_steps_call_their_columns_by_them(tmp_path, monkeypatch):
    grids = []
    monkeypatch.setattr(images, "save_labelled_grid", lambda _, __, **words: grids.append(words))
    process = get_sampling_process(TRAINING, "ddim", 5)
    sampler = Sampler.of_run(CONFIG, Network(), process=process)
    pictures.write_trajectory_picture(str(tmp_path / "t.png"), sampler, 2)
    assert grids[0]["column_labels"] == ["t=32", "t=24", "t=16", "t=8", "t=0", "sample"]
