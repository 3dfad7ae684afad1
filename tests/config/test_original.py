"""Run directories of the original: the kwargs.json of its three scripts, written out by hand."""

import dataclasses
import json

import pytest

from diffusion_tf.config import get_config
from diffusion_tf.config.original import config_from_kwargs, kwargs_from_config, read_config
from diffusion_tf.training.checkpoints import claim_workdir, load_config
from helpers.original_kwargs import CELEBAHQ, CIFAR

LSUN = """{
  "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001, "block_size": 1,
  "bucket_name_prefix": "bucket", "dataset": "lsun", "dropout": 0.0, "exp_name": "first",
  "grad_clip": 1.0, "log_dir": "gs://bucket-us-central1/logs", "loss_type": "noisepred",
  "lr": 2e-05, "model_name": "unet2d16b2c112244", "num_diffusion_timesteps": 1000,
  "optimizer": "adam", "randflip": 1, "region": "us-central1",
  "tfr_file": "gs://bucket-us-central1/tensorflow_datasets/lsun/church/church-r08.tfrecords",
  "total_bs": 64, "tpu_name": "tpu", "warm_start_model_dir": null, "warmup": 5000
}"""
LSUN_DIR = "gs://bucket-us-central1/tensorflow_datasets/lsun"


def kwargs(text, **changes):
    return {**json.loads(text), **changes}


def without(text, key):
    return {name: value for name, value in json.loads(text).items() if name != key}


@pytest.mark.parametrize(
    "text, preset", [(CIFAR, "cifar10"), (CELEBAHQ, "celebahq256"), (LSUN, "lsun_church")]
)
def test_what_the_scripts_write_by_default_is_the_preset(text, preset):
    assert config_from_kwargs(json.loads(text)) == get_config(preset)


def test_lsun_takes_the_steps_of_its_category():
    bedroom = kwargs(LSUN, tfr_file=f"{LSUN_DIR}/bedroom-full/bedroom-full-r08.tfrecords")
    cat = kwargs(LSUN, tfr_file=f"{LSUN_DIR}/cat/cat-r08.tfrecords", randflip=0)
    assert config_from_kwargs(bedroom) == get_config("lsun_bedroom", random_flip=True)
    assert config_from_kwargs(cat) == get_config("lsun_cat")
    assert config_from_kwargs(cat).steps == 1_800_000


def test_every_value_is_carried_over():
    changed = kwargs(
        CIFAR,
        beta_end=0.03, beta_schedule="quad", beta_start=0.0002, dropout=0.2, grad_clip=2.0,
        keep_checkpoint_max=5, loss_type="kl", lr=0.001, model_mean_type="xprev",
        model_var_type="learned", num_diffusion_timesteps=500, optimizer="rmsprop", randflip=0,
        total_bs=32, warmup=10,
    )  # fmt: skip
    assert config_from_kwargs(changed) == get_config(
        "cifar10",
        beta_end=0.03, beta_schedule="quad", beta_start=0.0002, dropout=0.2, grad_clip=2.0,
        keep_checkpoints=5, loss_type="kl", lr=0.001, model_mean_type="xprev",
        model_var_type="learned", num_diffusion_timesteps=500, optimizer="rmsprop",
        random_flip=False, batch_size=32, warmup=10,
    )  # fmt: skip
    changed = kwargs(LSUN, block_size=2, warm_start_model_dir="gs://bucket/logs/before")
    expected = get_config("lsun_church", block_size=2, warm_start="gs://bucket/logs/before")
    assert config_from_kwargs(changed) == expected


def test_the_network_is_the_one_named():
    config = config_from_kwargs(kwargs(CIFAR, dataset="celebahq256"))
    assert (config.image_size, config.ch_mult) == (256, (1, 2, 2, 2))


@pytest.mark.parametrize(
    "name", ["cifar10", "celebahq256", "lsun_church", "lsun_bedroom", "lsun_cat"]
)
def test_the_papers_runs_go_back_to_the_original(name):
    back = kwargs_from_config(get_config(name, seed=3, dtype="mixed_bfloat16"))
    assert config_from_kwargs(back) == get_config(name)
    written = {"cifar10": CIFAR, "celebahq256": CELEBAHQ, "lsun_church": LSUN}
    if name in written:  # what the scripts read of it when they evaluate is what they wrote
        for key, value in json.loads(written[name]).items():
            if key in back and key not in ("tfr_file", "warm_start_model_dir"):
                assert back[key] == value, key


def test_other_values_go_back_to_the_original():
    config = config_from_kwargs(kwargs(CIFAR, dataset="celebahq256", lr=0.5, loss_type="kl"))
    assert config_from_kwargs(kwargs_from_config(config)) == config
    config = config_from_kwargs(kwargs(CELEBAHQ, block_size=2))
    assert config_from_kwargs(kwargs_from_config(config)) == config


@pytest.mark.parametrize(
    "config",
    [
        get_config("digits"),
        get_config("cifar10", ch=64),
        get_config("cifar10", ema_decay=0.99),
        get_config("celebahq256", block_size=2, model_var_type="fixedlarge"),
        get_config("lsun_cat", steps=3),  # of no known category
    ],
)
def test_what_the_original_cannot_run_has_no_kwargs(config):
    assert kwargs_from_config(config) is None


@pytest.mark.parametrize(
    "values, message",
    [
        (kwargs(CIFAR, model_name="unet3d"), "model_name 'unet3d'; it must be one of unet2d16b2, "),
        (kwargs(CIFAR, model_name=["unet2d16b2"]), "it must be one of unet2d16b2"),
        (kwargs(CIFAR, dataset="svhn"), "dataset 'svhn'; it must be one of cifar10, celebahq256"),
        (kwargs(CIFAR, loss_type="l1"), "loss_type 'l1'; it must be one of noisepred, mse, kl"),
        (kwargs(CIFAR, randflip=2), "randflip 2; it must be one of 0, 1"),
        (kwargs(CIFAR, lr="fast"), "lr is 'fast'; it must be a number"),
        (kwargs(CIFAR, total_bs=0), "batch_size is 0; it must be at least 1"),
        (kwargs(CIFAR, depth=3, width=2), "holds depth, width, which no script"),
        (kwargs(CIFAR, block_size=2), "holds block_size, which .* loss_type 'mse'"),
        (kwargs(LSUN, model_mean_type="eps"), "holds model_mean_type, .* loss_type 'noisepred'"),
        (without(CIFAR, "model_var_type"), "lacks model_var_type; give the file"),
        (without(CIFAR, "lr"), "lacks lr;"),
        (without(CIFAR, "randflip"), "lacks randflip;"),
        (without(CELEBAHQ, "block_size"), "lacks block_size;"),
        (without(CELEBAHQ, "loss_type"), "lacks loss_type;"),
        (without(LSUN, "tfr_file"), "tfr_file None; .* bedroom, cat or church"),
        (kwargs(LSUN, tfr_file="gs://b/church/tower.tfrecords"), "must start with bedroom, cat or"),
        ({}, "lacks loss_type;"),
    ],
)
def test_what_is_not_the_originals_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        config_from_kwargs(values)


def test_a_config_is_read_from_a_folder_or_a_file(tmp_path):
    (tmp_path / "kwargs.json").write_text(CIFAR)
    for path in (tmp_path, tmp_path / "kwargs.json"):
        assert read_config(str(path)) == get_config("cifar10")
    ours = get_config("digits", lr=0.5)
    for name in ("config.json", "mine.json"):
        ours.save(tmp_path / name)
        assert read_config(str(tmp_path / name)) == ours
    assert read_config(str(tmp_path)) == ours  # config.json comes before kwargs.json


@pytest.mark.parametrize("name", ["", "nothing", "nothing.json"])
def test_where_no_run_is_the_path_is_named(tmp_path, name):
    path = str(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"{path} holds no run .*ddpm-train"):
        read_config(path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "kwargs.json").write_text(CIFAR[:100])
    with pytest.raises(ValueError, match=f"{tmp_path}/kwargs.json is not valid JSON"):
        read_config(str(tmp_path))


def test_an_original_run_can_be_read_but_not_trained_into(tmp_path):
    (tmp_path / "kwargs.json").write_text(CELEBAHQ)
    config = load_config(str(tmp_path))
    assert config == get_config("celebahq256")
    for claimed in (config, dataclasses.replace(config, lr=0.5)):
        with pytest.raises(ValueError, match="holds something other than a run"):
            claim_workdir(str(tmp_path), claimed)
    assert [path.name for path in tmp_path.iterdir()] == ["kwargs.json"]


def test_a_workdir_is_a_folder(tmp_path):
    get_config("digits").save(tmp_path / "config.json")
    with pytest.raises(FileNotFoundError, match="config.json holds no run"):
        load_config(str(tmp_path / "config.json"))
