"""The training step against the original's, and the rules around it."""

import dataclasses

import golden_arrays as golden
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.training import LinearWarmup, Trainer, load_losses, train

TINY = {
    "num_diffusion_timesteps": 1000,
    "beta_schedule": "linear",
    "image_size": 8,
    "channels": 3,
    "ch": 32,
    "num_res_blocks": 1,
    "attn_resolutions": (),
    "lr": 2e-4,
    "warmup": 3,
    "grad_clip": 1.0,
    "batch_size": 2,
}


def make_trainer(jit_compile=False, **fields):
    return Trainer(
        get_config("digits", **fields), tf.distribute.get_strategy(), jit_compile=jit_compile
    )


def weights_by_tf1_name(model):
    return {golden.tf1_name(v.path): v.numpy() for v in model.trainable_variables}


def assert_near(model, arrays, prefix, atol):
    """Every array under `prefix` against the model's weight of the same name."""
    weights = weights_by_tf1_name(model)
    names = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
    assert names
    for name in names:
        np.testing.assert_allclose(weights[name], arrays[prefix + name], rtol=0, atol=atol)


# (ch_mult, ema_decay) of each file; tolerances of tests/golden/README.md
@pytest.mark.parametrize(
    "name, ch_mult, weights_atol", [("optimizer", (1,), 3e-5), ("optimizer_wide", (2,), 2e-6)]
)
def test_five_steps_are_the_originals(name, ch_mult, weights_atol):
    arrays = golden.load(name)
    trainer = make_trainer(**TINY, ch_mult=ch_mult, ema_decay=0.9)
    for model in (trainer.model, trainer.ema_model):
        golden.load_weights(model, arrays, prefix="init/")
    for step in range(5):
        metrics = trainer.train_step(
            *(tf.constant(arrays[key][step]) for key in ("x", "t", "noise"))
        )
        for key in ("loss", "gnorm", "lr", "pnorm"):
            np.testing.assert_allclose(metrics[key], arrays[key][step], rtol=1e-5, err_msg=key)
    assert int(trainer.step) == arrays["global_step"] == 5
    assert_near(trainer.model, arrays, "final/", weights_atol)
    assert_near(trainer.ema_model, arrays, "ema09/", 5e-6)


def test_first_update_moves_no_weight_but_fills_the_moments():
    trainer = make_trainer(**TINY, ch_mult=(2,), ema_decay=0.9)
    before = weights_by_tf1_name(trainer.model)
    arrays = golden.load("optimizer_wide")
    trainer.train_step(*(tf.constant(arrays[key][0]) for key in ("x", "t", "noise")))
    for name, weight in weights_by_tf1_name(trainer.model).items():
        np.testing.assert_array_equal(weight, before[name])
    assert any(np.any(v.numpy()) for v in trainer.optimizer.variables if "momentum" in v.path)


def test_first_average_is_a_copy():
    trainer = make_trainer(**TINY, ch_mult=(2,), ema_decay=0.9999)
    trainer.ema_model.set_weights([w + 1 for w in trainer.model.get_weights()])
    arrays = golden.load("optimizer_wide")
    trainer.train_step(*(tf.constant(arrays[key][0]) for key in ("x", "t", "noise")))
    for average, weight in zip(
        trainer.ema_model.get_weights(), trainer.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, weight, rtol=0, atol=2e-7)


@pytest.mark.parametrize("step, lr", [(0, 0.0), (1, 0.5), (2, 1.0), (7, 1.0)])
def test_learning_rate_rises_over_the_warmup(step, lr):
    assert float(LinearWarmup(1.0, 2)(tf.constant(step))) == lr


def test_no_warmup_is_full_learning_rate_from_the_start():
    assert float(LinearWarmup(0.25, 0)(tf.constant(0))) == 0.25


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


def test_dropout_differs_between_steps_and_follows_the_seed():
    def losses(seed):
        trainer = make_trainer(**{**TINY, "warmup": 0, "lr": 1e-12, "dropout": 0.5, "seed": seed})
        arrays = golden.load("optimizer_wide")
        batch = [tf.constant(arrays[key][0]) for key in ("x", "t", "noise")]
        golden_like = [w + 0.1 for w in trainer.model.get_weights()]
        trainer.model.set_weights(golden_like)  # so that what is dropped counts
        return [float(trainer.train_step(*batch)["loss"]) for _ in range(2)]

    first, second = losses(seed=0), losses(seed=0)
    assert first == second
    assert first[0] != first[1]
    assert losses(seed=1)[0] != first[0]


def test_xla_gives_the_same_step():
    arrays = golden.load("optimizer_wide")
    batch = [tf.constant(arrays[key][0]) for key in ("x", "t", "noise")]
    losses = []
    for jit_compile in (False, True):
        trainer = make_trainer(jit_compile, **TINY, ch_mult=(2,))
        golden.load_weights(trainer.model, arrays, prefix="init/")
        losses.append({k: float(v) for k, v in trainer.train_step(*batch).items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_near_float32(dtype):
    arrays = golden.load("optimizer_wide")
    batch = [tf.constant(arrays[key][0]) for key in ("x", "t", "noise")]
    results = []
    for dtype_ in ("float32", dtype):
        trainer = make_trainer(**TINY, ch_mult=(2,), dtype=dtype_)
        golden.load_weights(trainer.model, arrays, prefix="init/")
        results.append({k: float(v) for k, v in trainer.train_step(*batch).items()})
    assert results[1]["loss"] == pytest.approx(results[0]["loss"], rel=0.02)
    assert results[1]["gnorm"] == pytest.approx(results[0]["gnorm"], rel=0.05)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run(tmp_path, steps=2, checkpoint_steps=2)
    config = get_config("digits", **SMALL, num_diffusion_timesteps=20, steps=4)
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    trainer.diffusion.sqrt_alphas_cumprod = np.full(20, np.nan)
    with pytest.raises(FloatingPointError, match=r"nan at step 2.*ckpt-2"):
        train(trainer, get_dataset(config), str(tmp_path))
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("*.index")) == ["ckpt-2.index"]


def test_a_batch_that_the_replicas_cannot_share_is_refused():
    class ThreeReplicas:
        num_replicas_in_sync = 3

    config = dataclasses.replace(get_config("digits"), batch_size=64)
    with pytest.raises(ValueError, match="batch_size is 64; .* multiple .* replicas, 3"):
        Trainer(config, ThreeReplicas(), jit_compile=False)
