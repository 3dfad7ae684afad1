"""Workdirs and what comes out of them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.convert.loading import load_model
from diffusion_tf.training.checkpoints import claim_workdir, load_config
from diffusion_tf.training.trainer import Trainer
from helpers.checkpoints import save_checkpoint

CONFIG = get_config("digits", ch=32, ch_mult=(2,), attn_resolutions=())


@pytest.fixture(scope="module")
def trainer():
    """A trainer at step 3 whose averaged weights are the raw ones plus 1."""
    trainer = Trainer(CONFIG, tf.distribute.get_strategy(), jit_compile=False)
    trainer.ema_model.set_weights([w + 1 for w in trainer.model.get_weights()])
    trainer.step.assign(3)
    return trainer


def test_load_model_gives_the_weights_asked_for(tmp_path, trainer):
    save_checkpoint(tmp_path / "run", trainer)
    config, ema, step = load_model(str(tmp_path / "run"))
    _, raw, _ = load_model(str(tmp_path / "run"), weights="raw")
    assert (config, step) == (CONFIG, 3)
    for a, b in zip(raw.get_weights(), trainer.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(ema.get_weights(), trainer.ema_model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_weight_is_in_the_checkpoint(tmp_path, trainer):
    checkpoints = save_checkpoint(tmp_path / "run", trainer)
    sizes = {"model": 0, "ema": 0, "optimizer": 0}
    for name, shape in tf.train.list_variables(checkpoints.latest):
        part = name.split("/")[0]
        if part in sizes:
            sizes[part] += int(np.prod(shape))
    params = trainer.model.count_params()
    assert sizes == {"model": params, "ema": params, "optimizer": 2 * params + 1}  # + iteration


def test_machines_that_are_not_the_chief_read_and_do_not_write(tmp_path, trainer):
    other = save_checkpoint(tmp_path / "other", trainer, read_only=True)
    assert other.latest is None
    assert {p.name for p in (tmp_path / "other").iterdir()} == {"config.json"}


def test_old_checkpoints_go(tmp_path, trainer):
    checkpoints = save_checkpoint(tmp_path / "run", trainer, keep=2)
    for step in (4, 5):
        trainer.step.assign(step)
        checkpoints.save()
    trainer.step.assign(3)
    names = sorted(p.stem for p in (tmp_path / "run" / "checkpoints").glob("*.index"))
    assert names == ["ckpt-4", "ckpt-5"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run .*ddpm-train"):
        load_config(str(tmp_path))


def test_a_run_without_a_checkpoint_is_named(tmp_path):
    claim_workdir(str(tmp_path / "run"), CONFIG)
    with pytest.raises(FileNotFoundError, match="has no checkpoint; train there"):
        load_model(str(tmp_path / "run"))


def test_each_average_by_its_decay(tmp_path):
    config = dataclasses.replace(CONFIG, ema_decay=(0.9, 0.5))
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    trainer.ema_model.set_weights([w + 1 for w in trainer.model.get_weights()])
    trainer.averages["ema_0.5"].set_weights([w + 2 for w in trainer.model.get_weights()])
    save_checkpoint(tmp_path / "run", trainer)
    for weights, model in (
        ("ema", trainer.ema_model), ("ema_0.9", trainer.ema_model), ("raw", trainer.model),
        ("ema_0.50", trainer.averages["ema_0.5"]), ("ema_.5", trainer.averages["ema_0.5"]),
    ):  # fmt: skip
        loaded = load_model(str(tmp_path / "run"), weights=weights)[1]
        for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    message = "run holds no weights ema_0.99; choose --weights=ema or ema_0.5 or raw"
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path / "run"), weights="ema_0.99")


def test_unknown_weights_list_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="Unknown weights 'best'; choose one of ema, raw"):
        load_model(str(tmp_path), weights="best")


def test_a_truncated_checkpoint_is_named(tmp_path, trainer):
    checkpoints = save_checkpoint(tmp_path / "run", trainer)
    data = next((tmp_path / "run" / "checkpoints").glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    for load in (lambda: load_model(str(tmp_path / "run")), checkpoints.restore):
        with pytest.raises(ValueError, match="Checkpoint .*ckpt-3 .* is damaged"):
            load()


@pytest.mark.parametrize("fields", [{"ch": 64}, {"ch_mult": (2, 2)}, {"num_res_blocks": 2}])
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, trainer, fields):
    save_checkpoint(tmp_path / "run", trainer)
    other = get_config("digits", **{"ch": 32, "ch_mult": (2,), "attn_resolutions": (), **fields})
    other.save(str(tmp_path / "run" / "config.json"))
    with pytest.raises(ValueError, match="does not fit this config"):
        load_model(str(tmp_path / "run"))
