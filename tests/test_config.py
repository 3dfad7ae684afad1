"""Configs: presets, overrides, JSON, and what no run could use."""

import dataclasses
import json

import pytest

from diffusion_tf.config import PRESETS, Config, get_config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name, tmp_path):
    config = get_config(name)
    config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == config
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == config.steps
    assert PRESETS[name].__doc__


# What the paper's experiments have in common, and what each adds (appendix B, tables 1 and 3).
PAPER = {
    "channels": 3, "num_diffusion_timesteps": 1000, "beta_schedule": "linear",
    "beta_start": 0.0001, "beta_end": 0.02, "model_mean_type": "eps", "loss_type": "mse",
    "num_res_blocks": 2, "attn_resolutions": (16,), "resamp_with_conv": True, "block_size": 1,
    "optimizer": "adam", "warmup": 5000, "grad_clip": 1.0, "ema_decay": 0.9999, "seed": 0,
    "dtype": "float32", "accumulation_steps": 1, "warm_start": "", "unreadable": "refuse",
    "max_images": 0, "data_dim": 0, "model": "unet", "time_embedding": "sinusoidal",
    "antithetic": False, "num_classes": 0, "cond_dim": 0, "cond_drop_prob": 0.0,
    "log_steps": 100, "steps_per_call": 100, "checkpoint_steps": 10000,
    "checkpoint_minutes": 27, "keep_checkpoints": 2, "grid_steps": 10000,
}  # fmt: skip
SMALL = {"model_var_type": "fixedlarge", "ch": 128, "ch_mult": (1, 2, 2, 2), "dropout": 0.1}
LARGE = {
    "image_size": 256, "model_var_type": "fixedsmall", "ch": 128, "ch_mult": (1, 1, 2, 2, 4, 4),
    "dropout": 0.0, "batch_size": 64, "lr": 0.00002,
}  # fmt: skip
EXPERIMENTS = {
    "cifar10": {
        **SMALL, "dataset": "cifar10", "image_size": 32, "random_flip": True, "batch_size": 128,
        "lr": 0.0002, "steps": 800000,
    },
    "celebahq256": {**LARGE, "dataset": "celebahq256", "random_flip": True, "steps": 500000},
    "lsun_church": {**LARGE, "dataset": "lsun", "random_flip": True, "steps": 1200000},
    "lsun_bedroom": {**LARGE, "dataset": "lsun", "random_flip": False, "steps": 2400000},
    "lsun_bedroom_large": {
        **LARGE, "dataset": "lsun", "random_flip": False, "ch": 192, "steps": 1150000
    },
    "lsun_cat": {**LARGE, "dataset": "lsun", "random_flip": False, "steps": 1800000},
    "folder": {
        **SMALL, "dataset": "folder", "image_size": 64, "random_flip": False, "batch_size": 64,
        "lr": 0.0001, "steps": 200000,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_presets_are_the_experiments_of_the_paper(name):
    assert dataclasses.asdict(get_config(name)) == {**PAPER, **EXPERIMENTS[name]}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_how_they_are_run(name):
    assert f"`python scripts/train.py --config={name}" in PRESETS[name].__doc__


def test_every_field_is_documented():
    assert all(field.metadata["help"] for field in dataclasses.fields(Config))


def test_overrides_replace_fields():
    config = get_config("digits", lr=0.5, ch_mult=[1, 2, 3])
    assert (config.lr, config.ch_mult) == (0.5, (1, 2, 3))


def test_differences_ignore_what_may_change_when_resuming():
    config = get_config("digits")
    assert config.differences(dataclasses.replace(config, steps=7, log_steps=3)) == {}
    other = dataclasses.replace(config, lr=0.5)
    assert config.differences(other) == {"lr": (config.lr, 0.5)}


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown config 'mnist'; choose one of .*digits"):
        get_config("mnist")


def test_an_unknown_field_names_the_closest():
    with pytest.raises(ValueError, match=r"no field 'warm_up'. Did you mean 'warmup'\?"):
        get_config("digits", warm_up=3)


@pytest.mark.parametrize(
    "field, value",
    [
        ("steps", 0),
        ("batch_size", -1),
        ("image_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("grad_clip", 0.0),
        ("dropout", 1.0),
        ("ema_decay", 1.0),
        ("warmup", -1),
        ("dtype", "float64"),
        ("optimizer", "sgd"),
        ("checkpoint_steps", 0),
    ],
)
def test_values_that_no_run_could_use_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}; it must be"):
        get_config("digits", **{field: value})


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("lr", "0.1", "lr is '0.1'; it must be a number"),
        ("lr", True, "lr is True; it must be a number"),
        ("steps", 1.5, "steps is 1.5; it must be a whole number"),
        ("steps", None, "steps is None; it must be a whole number"),
        ("random_flip", 1, "random_flip is 1; it must be true or false"),
        ("dataset", 7, "dataset is 7; it must be a text"),
        ("ch_mult", 2, "ch_mult is 2; it must be a list of whole numbers"),
        ("ch_mult", ["1"], r"ch_mult is \('1',\); it must be a list of whole numbers"),
    ],
)
def test_values_of_another_type_are_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        Config.from_dict({field: value})


def test_whole_numbers_are_numbers():
    assert Config.from_dict({"grad_clip": 1, "checkpoint_minutes": 0}).grad_clip == 1


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xd8"])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=str(path)):
        Config.load(path)
