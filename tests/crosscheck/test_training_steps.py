"""Ten training steps: those written out are the trainer's, and a trainer in PyTorch agrees."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf import get_config
from diffusion_tf.crosscheck.array_side import draw_step_noise as draw_of_arrays
from diffusion_tf.crosscheck.choices import ORIGINAL
from diffusion_tf.crosscheck.comparison import Comparer
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.training_loop import START, trained
from diffusion_tf.crosscheck.training_stages import timestep_probabilities
from diffusion_tf.training.timesteps import LossHistory
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.keras_backend import keras
from helpers.port_comparison import FIELDS


class ThreeWeights(keras.Model):
    def __init__(self):
        super().__init__()
        self.numbers = self.add_weight(shape=(3,), initializer="zeros", name="numbers")
        self.numbers.assign(START)
        self.built = True

    def call(self, inputs, training=False):
        x, t = inputs
        wave = tf.sin(3.0 * x + 0.01 * tf.reshape(tf.cast(t, tf.float32), [-1, 1, 1, 1]))
        a, b, c = tf.unstack(tf.convert_to_tensor(self.numbers))
        return a * x + b * wave + c


@pytest.mark.slow
def test_ten_steps_written_out_are_the_trainer_s():
    fields = {**FIELDS, "warmup": 5, "lr": 1e-2, "ema_decay": 0.9, "batch_size": 4}
    config = get_config("cifar10", **fields)
    i = make_inputs(config, draw_of_arrays).training
    expected = trained(config, i, Recipe(config), ORIGINAL)
    trainer = Trainer(
        config, tf.distribute.get_strategy(), jit_compile=False, model_fn=lambda _: ThreeWeights()
    )
    moved, averages = [], []
    for pixels, t, noise in zip(i.pixels, i.t, i.noise, strict=True):
        x_start = tf.constant(pixels / np.float32(127.5) - 1, tf.float32)
        trainer.train_step(x_start, tf.constant(t, tf.int32), tf.constant(noise))
        moved.append(trainer.model.numbers.numpy() - START)
        averages.append(trainer.ema_model.numbers.numpy() - START)
    np.testing.assert_allclose(moved, expected["ten training steps"], rtol=1e-3, atol=2e-6)
    of_average = expected["the average over ten training steps"]
    np.testing.assert_allclose(averages, of_average, rtol=1e-3, atol=2e-6)


def test_timesteps_by_their_losses_are_those_of_training():
    config = get_config("cifar10", **FIELDS, num_diffusion_timesteps=20)
    i, history = make_inputs(config, draw_of_arrays).training, LossHistory(20)
    for losses in i.losses:
        history.record(tf.range(20), tf.constant(losses))
    expected = timestep_probabilities(i, ORIGINAL)
    np.testing.assert_allclose(history.probabilities(), expected, rtol=1e-6)
    assert np.ptp(expected) > 0.02


class InTorch:
    """A trainer as most are written in PyTorch."""

    warmup_from = 0

    def __init__(self, config):
        from helpers.torch_process import Process

        self.config, self.process = config, Process(config)

    def ten_training_steps(self, network, pixels, t, noise):
        import torch

        config, average = self.config, None
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
        rate = lambda step: min((step + self.warmup_from) / config.warmup, 1)  # noqa: E731
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        weights, averages = [], []
        for batch in zip(pixels, t, noise, strict=True):
            optimizer.zero_grad()
            self.loss(network, *batch).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
            optimizer.step()
            schedule.step()
            now = [weight.item() for weight in network.parameters()]
            average = [config.ema_decay * a + (1 - config.ema_decay) * w
                       for a, w in zip(average or now, now, strict=True)]  # fmt: skip
            weights.append(now)
            averages.append(copy.copy(average))
        return weights, averages

    def loss(self, network, pixels, t, noise):
        x_start = pixels.float() / 127.5 - 1
        return self.process.training_losses(network, x_start, t, noise=noise).mean()


class Late(InTorch):
    warmup_from = 1


@pytest.mark.extras
@pytest.mark.parametrize(
    "trainer, reasons", [(InTorch, []), (Late, [("the warmup counting steps from 1",)])]
)
def test_a_trainer_in_torch(trainer, reasons):
    pytest.importorskip("torch")
    from diffusion_tf.crosscheck.torch_side import TorchSide, draw_step_noise

    config = get_config("cifar10", **FIELDS)
    inputs = make_inputs(config, draw_step_noise)
    its = Counterpart(name="theirs", training=trainer(config))
    comparison = Comparer(Reference(config, inputs), TorchSide(its, inputs), its).run()
    assert [finding.reasons for finding in comparison.findings] == reasons, comparison.summary()
    assert comparison.agrees == (not reasons)
