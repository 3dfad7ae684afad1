"""Ten training steps of a network of three weights, with what implementations do differently."""

from typing import Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.adam import Adam
from diffusion_tf.crosscheck.choices import Choices
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.training_stages import (
    TrainingInputs,
    averages,
    clip,
    numbers_of_pixels,
    rates_of,
)

# The network says START[0] x + START[1] sin(3 x + 0.01 t) + START[2] before it is trained. Its
# weights are float64, as a warmup's first steps are too short for float32; its gradients have norms
# on both sides of the paper's 1.
START = np.array([1.4, -0.3, 0.3])
_STEP = 1e-5  # of the weights, for the gradient


def trained(
    config: Config, inputs: TrainingInputs, recipe: Recipe, choices: Choices
) -> dict[str, Any]:
    """How far the weights have moved after each step, and their average.

    Args:
        config: of the run.
        inputs: pixels, timesteps and noise of each step.
        recipe: the process, whose loss is trained.
        choices: what to do differently.

    Returns:
        two stages, [steps, weights] each.
    """
    weights, kept = [START], np.zeros_like(START)
    rates = rates_of(config, np.arange(len(inputs.t)), choices)
    adam = Adam(len(START), choices)
    numbers = numbers_of_pixels(choices)
    for rate, pixels, t, noise in zip(rates, inputs.pixels, inputs.t, inputs.noise, strict=True):
        x_start = numbers[pixels]
        x_start = x_start[:, :, ::-1] if choices.train_flips else x_start
        gradient = _gradient(recipe, weights[-1], x_start, t, noise)
        gradient = gradient * (len(t) if choices.train_sums else 1)
        kept = kept + gradient if choices.train_accumulates else gradient
        clipped = clip(config, kept.reshape(1, -1, 1), choices).ravel()
        weights.append(adam.step(weights[-1], clipped, rate))
    of_average = averages(config, np.array(weights), choices)
    return {
        "ten training steps": np.array(weights[1:]) - START,
        "the average over ten training steps": of_average - START,
    }


def _gradient(
    recipe: Recipe, weights: np.ndarray, x_start: np.ndarray, t: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Of the mean loss of a batch, by finite differences in float64."""

    def loss(weights: np.ndarray) -> float:
        def network(x: np.ndarray, t: np.ndarray) -> np.ndarray:
            wave = np.sin(3.0 * x + 0.01 * np.reshape(t, [-1, 1, 1, 1]))
            return weights[0] * x + weights[1] * wave + weights[2]

        return float(recipe.p_losses(network, x_start, t, noise).mean())

    steps = _STEP * np.eye(len(weights))
    return np.array([loss(weights + step) - loss(weights - step) for step in steps]) / (2 * _STEP)
