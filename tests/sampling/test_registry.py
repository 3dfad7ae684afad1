"""The list of samplers: each row draws, is a choice of the flags, and keeps its options apart."""

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling.registry import SAMPLERS, get_sampling_process
from helpers.golden_arrays import denoise_fn
from helpers.processes import run

DIFFUSION = get_diffusion(get_config("digits", num_diffusion_timesteps=20))
OPTIONS = sorted({option for entry in SAMPLERS.values() for option in entry.options})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_draws_in_five_steps_and_in_all(sampler):
    five = get_sampling_process(DIFFUSION, sampler, 5)
    assert (five.num_timesteps, five.timesteps[-1] >= 15) == (5, True)
    samples = five.p_sample_loop(denoise_fn, shape=(2, 8, 8, 1), seed=0).numpy()
    assert np.isfinite(samples).all() and samples.std() > 0.01
    assert get_sampling_process(DIFFUSION, sampler).num_timesteps == 20


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_another_sampler_is_refused_by_name(sampler, option):
    assert get_sampling_process(DIFFUSION, sampler, 5, **{option: None}).num_timesteps == 5
    if option in SAMPLERS[sampler].options:
        assert getattr(get_sampling_process(DIFFUSION, sampler, 5, **{option: 0.5}), option) == 0.5
        return
    having = next(name for name, entry in SAMPLERS.items() if option in entry.options)
    message = f"{option} is 0.5, which sampler '{sampler}' does not have, only '{having}'."
    with pytest.raises(ValueError, match=message):
        get_sampling_process(DIFFUSION, sampler, 5, **{option: 0.5})


def test_an_option_that_no_sampler_has_is_refused():
    with pytest.raises(ValueError, match="temperature is 2, an option that no sampler has"):
        get_sampling_process(DIFFUSION, "ddim", 5, temperature=2)


@pytest.mark.parametrize("steps", [0, 21, 5.0, "5", True, [1, 5]])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_number_of_steps_that_is_not_there_is_refused(sampler, steps):
    with pytest.raises(ValueError, match="sampling_steps is "):
        get_sampling_process(DIFFUSION, sampler, steps)


@pytest.mark.parametrize("script", ["sample", "evaluate"])
def test_flags_list_them(tmp_path, script):
    text = " ".join(run(script, "--helpshort", cwd=tmp_path).stdout.split())
    assert f"--sampler: <{'|'.join(SAMPLERS)}>: " in text
    for name, entry in SAMPLERS.items():
        assert f"{name}: {entry.help}" in text
        for option, sentence in entry.options.items():
            assert f"--{option}: {sentence}" in text
