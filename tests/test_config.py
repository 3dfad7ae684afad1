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


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)):
        Config.load(path)
