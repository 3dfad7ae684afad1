"""The training step against the original's, and the rules around it."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.run_log import load_losses
from diffusion_tf.trainer import Trainer
from diffusion_tf.training import train

SMALL = {"ch_mult": (1,), "attn_resolutions": (), "batch_size": 8, "log_steps": 1, "warmup": 2}


def run(workdir, **fields):
    """Trains the small network on digits; returns the trainer."""
    config = get_config("digits", **{**SMALL, "num_diffusion_timesteps": 20, **fields})
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    train(trainer, get_dataset(config), str(workdir))
    return trainer


def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path):
    whole = run(tmp_path / "whole", steps=6, dropout=0.1)
    run(tmp_path / "parts", steps=3, dropout=0.1)
    resumed = run(tmp_path / "parts", steps=6, dropout=0.1)
    for ours, theirs in (
        (resumed.model, whole.model),
        (resumed.ema_model, whole.ema_model),
        (resumed.optimizer, whole.optimizer),
    ):
        for a, b in zip(ours.variables, theirs.variables, strict=True):
            if "seed_generator" not in a.path:  # set anew at every step
                np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    steps, losses = load_losses(str(tmp_path / "parts"))
    np.testing.assert_array_equal(steps, np.arange(6))
    np.testing.assert_array_equal(losses, load_losses(str(tmp_path / "whole"))[1])


def test_a_workdir_of_another_run_is_refused_and_left_alone(tmp_path):
    run(tmp_path / "run", steps=1, lr=0.25)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"another config \(lr 0.25 there, 0.5 here\)"):
        run(tmp_path / "run", steps=1, lr=0.5)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="something other than a run"):
        run(tmp_path, steps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run(tmp_path, steps=2, checkpoint_steps=2)
    config = get_config("digits", **SMALL, num_diffusion_timesteps=20, steps=4)
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    trainer.diffusion.sqrt_alphas_cumprod = np.full(20, np.nan)
    with pytest.raises(FloatingPointError, match=r"loss is nan .* at step 2;.*ckpt-2:"):
        train(trainer, get_dataset(config), str(tmp_path))
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("*.index")) == ["ckpt-2.index"]
