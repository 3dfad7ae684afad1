"""What is compared of training beyond Adam: learning rate, clipping, the average, data scaling."""

from dataclasses import dataclass

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.choices import Choices

# Of CIFAR-10, over all channels; what many pipelines standardize with.
CIFAR_MEAN, CIFAR_DEVIATION = 0.4734, 0.2516
TIMESTEPS = "timesteps by their losses"
STEPS, BATCH_SIZE = 10, 4  # of training


@dataclass(frozen=True)
class TrainingInputs:
    """What both sides get.

    Attributes:
        steps: for the learning rate, before, at and after the end of the warmup.
        gradients: float32 [2, n], one of a small norm and one of a large norm.
        weights: float64 [steps + 1, n], the first before training.
        numbers: float32, in [-1, 1] and a little beyond.
        losses: float32 [12, T], of all timesteps, one round after the other.
        pixels, t, noise: of ten training steps: uint8 [10, B, 4, 4, C], int64 [10, B], and float32
            shaped like the first.
    """

    steps: tuple[int, ...]
    gradients: np.ndarray
    weights: np.ndarray
    numbers: np.ndarray
    losses: np.ndarray
    pixels: np.ndarray
    t: np.ndarray
    noise: np.ndarray


def make_training_inputs(config: Config, random: np.random.Generator) -> TrainingInputs:
    """Inputs for a config."""
    steps = (0, 1, 2, config.warmup // 3, config.warmup, config.warmup + 1, 3 * config.warmup + 7)
    gradients = random.standard_normal((2, 48)).astype(np.float32)
    norms = np.array([[0.4], [7.0]]) * config.grad_clip
    gradients *= (norms / np.linalg.norm(gradients, axis=1, keepdims=True)).astype(np.float32)
    weights = np.cumsum(random.standard_normal((24, 16)), axis=0)
    pixels = np.arange(-20, 276)[:, None] + np.array([-0.3, 0.1, 0.3])  # never half way
    numbers = (pixels.ravel() / 127.5 - 1).astype(np.float32)
    batches = (STEPS, BATCH_SIZE, 4, 4, config.channels)
    drawn = (
        random.integers(0, 256, batches).astype(np.uint8),
        random.integers(0, config.num_diffusion_timesteps, batches[:2]),
        random.standard_normal(batches, dtype=np.float32),
    )
    T = config.num_diffusion_timesteps
    losses = random.gamma(1.0, 1.0, (12, T)).astype(np.float32) * np.linspace(2, 1, T, dtype="f4")
    return TrainingInputs(tuple(sorted(set(steps))), gradients, weights, numbers, losses, *drawn)


def learning_rates(config: Config, inputs: TrainingInputs, choices: Choices) -> np.ndarray:
    """Of each of the steps, counted from 0."""
    return rates_of(config, np.array(inputs.steps, np.float64), choices)


def rates_of(config: Config, step: np.ndarray, choices: Choices) -> np.ndarray:
    """The learning rates of steps, counted from 0."""
    warmup = max(config.warmup, 1)
    share = np.minimum((step + (choices.warmup == "(step + 1) / warmup")) / warmup, 1.0)
    if choices.warmup == "none" or not config.warmup:
        share = np.ones_like(share)
    shapes = {"cosine": 0.5 - 0.5 * np.cos(np.pi * share), "square": share**2, "root": share**0.5}
    return config.lr * shapes.get(choices.warmup, share)


def clipped(config: Config, inputs: TrainingInputs, choices: Choices) -> np.ndarray:
    """The gradients, each a third of them for one weight, after clipping; [2 x n]."""
    return clip(config, inputs.gradients.astype(np.float64).reshape(2, 3, -1), choices).ravel()


def clip(config: Config, parts: np.ndarray, choices: Choices) -> np.ndarray:
    """Gradients after clipping, each for itself; [gradients, weights, numbers] in and out."""
    most, how = choices.clipping_to or config.grad_clip, choices.clipping
    if how == "none":
        return parts
    if how == "value":
        return np.clip(parts, -most, most)
    axes = (2,) if how == "each" else (1, 2)
    norm = np.sqrt(np.square(parts).sum(axis=axes, keepdims=True))
    scale = most / (norm + (1e-6 if how == "epsilon" else 0.0))
    return parts * (scale if how == "always" else np.minimum(scale, 1))


def averages(config: Config, weights: np.ndarray, choices: Choices) -> np.ndarray:
    """Of weights, after each step; the first step takes them as they are.

    Args:
        config, choices: the decay and what is done differently.
        weights: [steps + 1, n], before training and after each step.

    Returns:
        [steps, n].
    """
    decay = choices.ema_decay if choices.ema_decay is not None else config.decays[0]
    how = choices.ema
    average = np.zeros_like(weights[0]) if how in ("from zeros", "corrected") else weights[0]
    after = []
    for step in range(len(weights) - 1):
        new = weights[step if how == "before" else step + 1]
        if how == "copy" or (step == 0 and choices.ema_copies):
            average = new
        elif how != "every tenth" or step % 10 == 0:
            its = _decay(decay, step, how)
            average = its * average + (1 - its) * new
        corrected = 1 - decay ** (step + 1) if how == "corrected" else 1
        after.append(average / corrected)
    return np.array(after)


def _decay(decay: float, step: int, how: str) -> float:
    return {
        "(1 + step) / (10 + step)": min(decay, (1 + step) / (10 + step)),
        "1 - (1 + step)^-2/3": min(decay, 1 - (1 + step) ** (-2 / 3)),
        "1 - (1 + step)^-3/4": min(decay, 1 - (1 + step) ** (-3 / 4)),
        "exchanged": 1 - decay,
    }.get(how, decay)


def timestep_probabilities(inputs: TrainingInputs, choices: Choices) -> np.ndarray:
    """With which timesteps are drawn by their losses, [T]."""
    losses = inputs.losses[-choices.timesteps_kept :].astype(np.float64)
    size = {
        "root mean square": lambda: np.sqrt(np.mean(losses**2, axis=0)),
        "mean square": lambda: np.mean(losses**2, axis=0),
        "mean": lambda: np.mean(losses, axis=0),
        "inverse": lambda: 1 / np.sqrt(np.mean(losses**2, axis=0)),
        "uniform": lambda: np.ones(losses.shape[1]),
    }[choices.timesteps]()
    share = choices.timesteps_uniform
    return size / size.sum() * (1 - share) + share / len(size)


def numbers_of_pixels(choices: Choices) -> np.ndarray:
    """What the pixels 0..255 go into the network as."""
    x = np.arange(256.0)
    return {
        "x / 127.5 - 1": x / 127.5 - 1,
        "x / 255": x / 255,
        "x / 128 - 1": x / 128 - 1,
        "x / 255 - 0.5": x / 255 - 0.5,
        "x": x,
        "1 - x / 127.5": 1 - x / 127.5,
        "dequantized": (x + 0.5) / 128 - 1,
        "standardized": (x / 255 - CIFAR_MEAN) / CIFAR_DEVIATION,
    }[choices.pixels_in]


def pixels_of_numbers(inputs: TrainingInputs, choices: Choices) -> np.ndarray:
    """What numbers come out as, 0..255."""
    x, how = inputs.numbers.astype(np.float64), choices.pixels_out
    if how == "x 255":
        return np.round(np.clip(x, 0, 1) * 255)
    scaled = (x + 1) * (128 if how == "x 128" else 127.5)
    if how == "not clipped":
        return np.round(scaled) % 256
    scaled = np.clip(scaled, 0, 255)
    return np.floor(scaled) if how == "truncated" else np.round(scaled)
