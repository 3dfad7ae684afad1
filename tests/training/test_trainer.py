"""The training step against the original's, on one replica and on several."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.training.trainer import Trainer
from helpers import golden_arrays as golden
from helpers.replicas import replicas

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


class Line(keras.Model):
    """The toy problem's model: x.w + b. It has the network's signature and ignores t."""

    def __init__(self, w0, b0):
        super().__init__()
        self.w = self.add_weight(name="w", shape=(5,), initializer=lambda *_, **__: w0)
        self.b = self.add_weight(name="b", shape=(), initializer=lambda *_, **__: b0)

    def call(self, inputs, training=False):
        x, _ = inputs
        return tf.linalg.matvec(x, self.w) + self.b


class SquaredError:
    """The toy problem's loss, where a diffusion process's stands: `noise` is the target."""

    def p_losses(self, denoise_fn, x_start, t, *, noise):
        return tf.square(denoise_fn(x_start, t) - noise)


def toy_trainer(arrays, num_replicas=1, jit_compile=False, **fields):
    def model(config):
        line = Line(arrays["w0"], arrays["b0"])
        line.built = True
        return line

    config = get_config("digits", batch_size=12, lr=2e-2, **fields)
    return Trainer(
        config,
        replicas(num_replicas),
        jit_compile=jit_compile,
        model_fn=model,
        diffusion=SquaredError(),
    )


def toy_steps(trainer, arrays):
    """Rows of loss, gnorm, lr, w[5], b after each step."""
    rows = []
    for x, y in zip(arrays["x"], arrays["y"], strict=True):
        metrics = trainer.train_step(*(per_replica(trainer, a) for a in (x, np.zeros_like(y), y)))
        rows.append(
            [
                *(metrics[name].numpy() for name in ("loss", "gnorm", "lr")),
                *trainer.model.w.numpy(),
                trainer.model.b.numpy(),
            ]
        )
    return np.array(rows)


def per_replica(trainer, array):
    """[replica, example, ...] handed out to the replicas, or as one batch to a single one."""
    if trainer.num_replicas == 1:
        return tf.constant(array.reshape(-1, *array.shape[2:]))
    return trainer.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(array[context.replica_id_in_sync_group])
    )


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("optimizer, clip", [("adam", "1"), ("adam", "1e+09"), ("rmsprop", "1")])
def test_five_steps_of_the_toy_problem(optimizer, clip, jit_compile):
    arrays = golden.load("toy_optimizer")
    trainer = toy_trainer(
        arrays, optimizer=optimizer, grad_clip=float(clip), warmup=3, jit_compile=jit_compile
    )
    expected = arrays[f"{optimizer}_clip{clip}"]
    # 1e-8: a bit of a weight that passes through zero, where XLA rounds a product once less.
    np.testing.assert_allclose(toy_steps(trainer, arrays), expected, rtol=1e-5, atol=1e-8)


def test_four_replicas_clip_each_on_its_own():
    arrays = golden.load("toy_optimizer")
    trainer = toy_trainer(arrays, num_replicas=4, grad_clip=1.0, warmup=0)
    rows = toy_steps(trainer, arrays)
    expected = arrays["replicas4_adam_clip1"]
    np.testing.assert_allclose(rows[:, 3:], expected[:, -6:], rtol=1e-5)
    np.testing.assert_allclose(rows[:, 0], expected[:, :4].mean(1), rtol=1e-5)
    np.testing.assert_allclose(rows[:, 1], expected[:, 4:8].mean(1), rtol=1e-5)


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
    "name, ch_mult, weights_atol",
    [
        ("optimizer", (1,), 3e-5),
        pytest.param("optimizer_wide", (2,), 2e-6, marks=pytest.mark.slow),
    ],
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


@pytest.mark.slow
def test_first_average_is_a_copy():
    trainer = make_trainer(**TINY, ch_mult=(2,), ema_decay=0.9999)
    trainer.ema_model.set_weights([w + 1 for w in trainer.model.get_weights()])
    arrays = golden.load("optimizer_wide")
    trainer.train_step(*(tf.constant(arrays[key][0]) for key in ("x", "t", "noise")))
    for average, weight in zip(
        trainer.ema_model.get_weights(), trainer.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, weight, rtol=0, atol=2e-7)


def test_dropout_differs_between_steps_and_follows_the_seed():
    def losses(seed):
        trainer = make_trainer(
            **{**TINY, "ch_mult": (1,), "warmup": 0, "lr": 1e-12, "dropout": 0.5, "seed": seed}
        )
        arrays = golden.load("optimizer_wide")
        batch = [tf.constant(arrays[key][0]) for key in ("x", "t", "noise")]
        golden_like = [w + 0.1 for w in trainer.model.get_weights()]
        trainer.model.set_weights(golden_like)  # so that what is dropped counts
        first, second = (float(trainer.train_step(*batch)["loss"]) for _ in range(2))
        trainer.step.assign(0)
        again = float(trainer.train_step(*batch)["loss"])
        return first, second, again

    first, second, again = losses(seed=0)
    assert first == again != second
    assert losses(seed=1)[0] != first


@pytest.mark.slow
def test_xla_gives_the_same_step():
    arrays = golden.load("optimizer_wide")
    batch = [tf.constant(arrays[key][0]) for key in ("x", "t", "noise")]
    losses = []
    for jit_compile in (False, True):
        trainer = make_trainer(jit_compile, **TINY, ch_mult=(2,))
        golden.load_weights(trainer.model, arrays, prefix="init/")
        losses.append({k: float(v) for k, v in trainer.train_step(*batch).items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "dtype", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
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


def test_a_batch_that_the_replicas_cannot_share_is_refused():
    class ThreeReplicas:
        num_replicas_in_sync = 3

    config = dataclasses.replace(get_config("digits"), batch_size=64)
    with pytest.raises(ValueError, match="batch_size is 64; .* multiple .* replicas, 3"):
        Trainer(config, ThreeReplicas(), jit_compile=False)


def small_trainer(num_replicas=1, preset="digits", **fields):
    small = {"ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": (), "batch_size": 8}
    fields = {**small, "warmup": 1, **fields}
    return Trainer(get_config(preset, **fields), replicas(num_replicas), jit_compile=False)


def batches(trainer):
    dataset = get_dataset(trainer.config)
    return iter(
        trainer.strategy.distribute_datasets_from_function(
            lambda context: dataset.train_batches(8, seed=0, context=context)
        )
    )


def all_weights(trainer):
    return [*trainer.model.get_weights(), *trainer.ema_model.get_weights()]


@pytest.mark.parametrize("preset", ["s_curve", pytest.param("digits", marks=pytest.mark.slow)])
def test_steps_are_the_same_however_many_run_in_one_call(preset):
    one_call, four_calls = (small_trainer(preset=preset, dropout=0.1) for _ in range(2))
    together = one_call.train_steps(batches(one_call), 4)
    data = batches(four_calls)
    alone = [four_calls.train_steps(data, 1) for _ in range(4)]
    for name, values in together.items():
        np.testing.assert_array_equal(values, np.concatenate([m[name] for m in alone]))
    for a, b in zip(all_weights(one_call), all_weights(four_calls), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(jit_compile):
    arrays = golden.load("toy_optimizer")
    trainer = toy_trainer(arrays, accumulation_steps=3, warmup=3, jit_compile=jit_compile)
    rows = toy_steps(trainer, arrays)
    np.testing.assert_allclose(rows, arrays["adam_clip1"], rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_parts_of_a_batch_get_different_dropout():
    def loss(parts):
        trainer = small_trainer(dropout=0.5, accumulation_steps=parts)
        trainer.model.set_weights([w + 0.1 for w in trainer.model.get_weights()])
        x = tf.repeat(tf.random.stateless_normal([1, 8, 8, 1], [0, 0]), 8, axis=0)
        return float(trainer.train_step(x, tf.zeros([8], tf.int32), x)["loss"])

    assert loss(8) != loss(1)  # eight equal examples, each with a mask of its own in both


@pytest.mark.slow
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_float16_skips_an_update_that_overflows_anywhere(num_replicas):
    trainer = small_trainer(num_replicas, dtype="mixed_float16", warmup=0)
    before = trainer.model.get_weights()
    x = np.zeros([num_replicas, 8 // num_replicas, 8, 8, 1], np.float32)
    x[-1] = 3e38  # overflows on the last replica alone
    t = np.zeros(x.shape[:2], np.int32)
    scale = trainer.optimizer.dynamic_scale.numpy()
    batch = [per_replica(trainer, a) for a in (np.zeros_like(x), t, x)]
    metrics = trainer.train_step(*batch)
    assert not np.isfinite(metrics["gnorm"])
    for a, b in zip(trainer.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert trainer.optimizer.dynamic_scale.numpy() == scale / 2
    x[-1] = 1.0
    metrics = trainer.train_step(*[per_replica(trainer, a) for a in (np.zeros_like(x), t, x)])
    assert np.isfinite(metrics["gnorm"])
    assert any(np.any(a != b) for a, b in zip(trainer.model.get_weights(), before, strict=True))


def test_parts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="accumulation_steps is 3; .* divide .* replica, 8"):
        small_trainer(accumulation_steps=3)
