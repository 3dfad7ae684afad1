"""What does not fit is refused before memory is asked for, with the field and what would fit."""

import pytest
import tensorflow as tf

from diffusion_tf.config import PRESETS, get_config
from diffusion_tf.config.sizes import (
    check_network_fits,
    check_training_fits,
    num_weights,
    state_bytes,
)
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.training.trainer import Trainer

SMALL = {
    "digits": {}, "digits_conditional": {"ch_mult": (1, 2, 3), "attn_resolutions": (8, 2)},
    "sprites": {"num_res_blocks": 3, "resamp_with_conv": False, "model_var_type": "learned"},
    "embeddings": {"time_embedding": "learned"}, "s_curve": {"model_var_type": "learned"},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_counted_as_they_are(name):
    config = get_config(name, **SMALL[name])
    assert num_weights(config) == get_model(config).count_params()


def test_the_papers_networks_have_the_papers_numbers():
    millions = {name: num_weights(get_config(name)) / 1e6 for name in PRESETS}
    assert (round(millions["cifar10"], 1), round(millions["celebahq256"])) == (35.7, 114)
    assert num_weights(get_config("lsun_bedroom_large")) == 255_677_955


def test_each_average_is_counted():
    one, three = (get_config("digits", ema_decay=d) for d in (0.5, (0.5, 0.9, 0.99)))
    assert state_bytes(three) - state_bytes(one) == 2 * 4 * num_weights(one)
    assert state_bytes(one) == 4 * 4 * num_weights(one)


TOO_LARGE = {
    "ch": ("digits", 3_200_000),
    "ch_mult": ("digits", (1, 1_000_000)),
    "num_classes": ("digits_conditional", 2_000_000_000),
    "cond_dim": ("sprites", 2_000_000_000),
    "data_dim": ("s_curve", 2_000_000_000),
    "batch_size": ("digits", 2_000_000_000),
    "image_size": ("digits", 2**15),
}


def test_images_that_are_too_large_are_named_as_they_were_given():
    config = get_config("digits", image_size="32768x30000")
    with pytest.raises(ValueError, match="image_size is 32768x30000: a training step needs at lea"):
        check_training_fits(config)


@pytest.mark.parametrize("field", TOO_LARGE)
def test_the_field_that_is_too_large_is_named_with_what_would_fit(field):
    name, value = TOO_LARGE[field]
    config = get_config(name, **{field: value})
    message = rf"{field} is .*: .* need.* at least .*B of memory, and .* are free; choose a smaller"
    with pytest.raises(ValueError, match=rf"^{message} {field}, of which .* fits here\.$"):
        check_training_fits(config)
    with pytest.raises(ValueError, match=message):
        Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    if field not in ("batch_size", "image_size"):
        with pytest.raises(ValueError, match=message):
            get_model(config)


def test_what_would_fit_fits():
    config = get_config("digits", ch=3_200_000)
    with pytest.raises(ValueError, match="at most") as refused:
        check_network_fits(config)
    largest = int(str(refused.value).split("at most ")[1].split()[0])
    check_network_fits(get_config("digits", ch=largest // 2 // 32 * 32))  # what is free changes
    assert largest % 32 == 0 and largest > 32


def test_a_share_of_the_batch_is_what_counts():
    config = get_config("digits", batch_size=2_000_000_000)
    check_training_fits(config, workers=100_000)
    check_training_fits(get_config("digits", batch_size=2 * 10**9, accumulation_steps=100_000))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_an_accelerator(name):
    check_training_fits(get_config(name), accelerators=1)


@pytest.mark.parametrize(
    "field, value",
    [
        ("num_diffusion_timesteps", 10**11),
        ("num_diffusion_timesteps", 10**6 + 1),
        ("num_res_blocks", 129),
        ("steps_per_call", 2**31 - 1),
        ("image_size", 2**15 + 1),
    ],
)
def test_what_no_run_could_finish_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}; it must be at most "):
        get_config("digits", **{field: value})


def test_the_largest_process_is_made():
    config = get_config("digits", num_diffusion_timesteps=10**6)
    assert get_diffusion(config).num_timesteps == 10**6
    with pytest.raises(ValueError, match="num_diffusion_timesteps is 100000000000; it must"):
        get_beta_schedule("linear", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=10**11)
