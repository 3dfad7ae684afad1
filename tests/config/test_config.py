"""Configs: presets, overrides, JSON, and what no run could use."""

import dataclasses
import json

import numpy as np
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
    "optimizer": "adam", "warmup": 5000, "lr_decay": "linear",
    "lr_decay_steps": 0, "grad_clip": 1.0, "ema_decay": 0.9999, "seed": 0,
    "dtype": "float32", "tf32": True, "accumulation_steps": 1, "warm_start": "",
    "labels": "", "test_fraction": 0.0, "test_dir": "", "standardize": 0.0,
    "unreadable": "refuse", "max_images": 0, "data_dim": 0, "model": "unet",
    "time_embedding": "sinusoidal", "timestep_sampling": "uniform",
    "clipping": "auto", "antithetic": False, "num_classes": 0, "cond_dim": 0, "cond_drop_prob": 0.0,
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
    assert f"`ddpm-train --config={name}" in PRESETS[name].__doc__


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


FLOATS = [f.name for f in dataclasses.fields(Config) if f.type is float]
WHOLE = [f.name for f in dataclasses.fields(Config) if f.type is int]


@pytest.mark.parametrize("field", FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_numbers_that_are_not_finite_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is .*; it must be a finite number"):
        Config(**{field: value})


@pytest.mark.parametrize("field", WHOLE)
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**80, 1.5, True, "1", None])
def test_whole_numbers_that_do_not_fit_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}; .*must be"):
        Config(**{field: value})


def test_sizes_are_of_int32_and_steps_of_int64():
    for field in ("batch_size", "image_size", "num_diffusion_timesteps", "steps_per_call", "ch"):
        with pytest.raises(ValueError, match=f"{field} is 4294967328; it must be at most 21474"):
            Config(**{field: 2**32 + 32})
    assert Config(steps=2**40, checkpoint_steps=2**40).steps == 2**40


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"ch_mult": "12"}, "ch_mult is '12'; it must be a list of whole numbers"),
        ({"ch_mult": (1, 2.0)}, "ch_mult is .1, 2.0.; it must be a list of whole numbers"),
        ({"ch_mult": ()}, "ch_mult is ..; it must be one or more whole numbers"),
        ({"ch_mult": (1, 0)}, "each at least 1"),
        ({"ch_mult": (1, -1)}, "each at least 1"),
        ({"ch": 33}, "ch is 33; it must be a multiple of 32"),
        ({"num_res_blocks": 0}, "num_res_blocks is 0; it must be at least 1"),
        ({"lr": "0.1"}, "lr is '0.1'; it must be a number"),
        ({"random_flip": 1}, "random_flip is 1; it must be true or false"),
        ({"dataset": None}, "dataset is None; it must be a text"),
        ({"dropout": 2.0}, r"dropout is 2.0; it must be in \[0, 1\)"),
        ({"beta_start": 0.0}, r"beta_start is 0.0; it must be in \(0, 1\]"),
        ({"beta_end": 1.5}, "beta_end is 1.5"),
        ({"channels": 2}, r"channels is 2; it must be 1 \(grey images\) or 3"),
        ({"channels": 4}, "channels is 4"),
        ({"attn_resolutions": (7,)}, "attn_resolutions is .7,.; it must be some of 8, 4"),
        ({"attn_resolutions": (8, -5)}, "attn_resolutions is .8, -5.; it must be some of 8, 4"),
        ({"attn_resolutions": (16,)}, "attn_resolutions is .16,."),
        ({"attn_resolutions": (2,)}, "attn_resolutions is .2,."),
        ({"attn_resolutions": (8,), "block_size": 2}, "it must be some of 4, 2"),
        ({"data_dim": 2, "model": "mlp", "ch": 18, "grid_steps": 0}, "ch is 18; .* multiple of 4"),
        (
            {"data_dim": 2, "model": "mlp", "grid_steps": 0, "attn_resolutions": (8,)},
            "attn_resolutions is .8,.; it must be empty for vectors",
        ),
    ],
)
def test_networks_and_types_that_do_not_exist_are_refused_by_the_constructor(fields, message):
    for make in (lambda: Config(**fields), lambda: dataclasses.replace(Config(), **fields)):
        with pytest.raises(ValueError, match=message):
            make()


def test_one_decay_or_several(tmp_path):
    for decay, stands in (
        ("0.999,0.9999", [0.999, 0.9999]), ([0.999, 0.9999], [0.999, 0.9999]), ("0.5", 0.5),
        ((0.5,), 0.5), (np.float32(0.5), 0.5), (0, 0),
    ):  # fmt: skip
        config = Config(ema_decay=decay)
        config.save(tmp_path / "config.json")
        assert json.loads(config.to_json())["ema_decay"] == stands
        assert Config.load(tmp_path / "config.json") == config
        assert config.decays == tuple(stands if isinstance(stands, list) else [stands])
    config = Config(ema_decay=(0.999, 0.9999, 0.5))
    assert config.averages == {"ema": 0.999, "ema_0.9999": 0.9999, "ema_0.5": 0.5}
    assert config.differences(Config(ema_decay=0.999)) == {
        "ema_decay": ((0.999, 0.9999, 0.5), 0.999)
    }


@pytest.mark.parametrize(
    "decay, message",
    [
        ("0.9,1", r"ema_decay is 1.0; it must be in \[0, 1\)"),
        ("0.9,0.90", r"ema_decay is \(0.9, 0.9\); it must be each decay once"),
        ("0.9,slow", "ema_decay is '0.9,slow'; it must be a number, or several"),
        ((0.9, True), r"ema_decay is \(0.9, True\); it must be a number, or several"),
        ((), r"ema_decay is \(\); it must be a number, or several"),
        (float("nan"), "ema_decay is nan; it must be a number, or several"),
    ],
)
def test_what_is_not_a_decay_is_refused(decay, message):
    with pytest.raises(ValueError, match=message):
        Config(ema_decay=decay)


def test_images_of_any_height_and_width(tmp_path):
    for size, stands in (("48x64", [48, 64]), ([48, 64], [48, 64]), ("32", 32), ((32, 32), 32)):
        config = Config(image_size=size, attn_resolutions=())
        config.save(tmp_path / "config.json")
        assert json.loads(config.to_json())["image_size"] == stands
        assert Config.load(tmp_path / "config.json") == config
        height, width = stands if isinstance(stands, list) else (stands, stands)
        assert config.image_shape == config.sample_shape == (height, width, 1)
    assert Config(image_size=(16, 32), attn_resolutions=(16, 8)).attn_resolutions == (16, 8)


@pytest.mark.parametrize(
    "size, message",
    [
        ("48x0", "image_size is 0; it must be at least 1"),
        ((16, -8), "image_size is -8; it must be at least 1"),
        ("16x65536", "image_size is 16x65536; it must be at most 32768"),
        ("wide", "image_size is 'wide'; it must be a whole number, or height and width, such as 4"),
        ((8, 8, 3), r"image_size is \(8, 8, 3\); it must be a whole number, or height and width"),
        (8.0, "image_size is 8.0; it must be a whole number, or height"),
    ],
)
def test_sizes_that_images_cannot_have(size, message):
    with pytest.raises(ValueError, match=message):
        Config(image_size=size)
    with pytest.raises(ValueError, match=r"attn_resolutions is \(32,\); it must be some of 16, 8,"):
        Config(image_size=(16, 32), attn_resolutions=(32,))


def test_attention_counts_pixels_after_block_size():
    assert Config(image_size=16, block_size=2, attn_resolutions=(8, 4)).attn_resolutions == (8, 4)


def test_whole_numbers_are_numbers():
    assert Config.from_dict({"grad_clip": 1, "checkpoint_minutes": 0}).grad_clip == 1


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xd8"])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=str(path)):
        Config.load(path)
