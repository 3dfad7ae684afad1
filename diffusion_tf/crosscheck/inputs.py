"""What both sides of a comparison get, made from the seed of a config."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.adam import make_gradients
from diffusion_tf.crosscheck.guesses import good_outputs, timesteps
from diffusion_tf.crosscheck.training_stages import TrainingInputs, make_training_inputs
from diffusion_tf.gaussian_diffusion.process import SEE_THE_VARIANCE, get_diffusion
from diffusion_tf.utils.literals import ModelVarType
from diffusion_tf.utils.random_numbers import host_seed

SAMPLING_STEPS = 10
LONGEST_CHAIN = 100
GUIDANCE_SCALE = 3.0
BATCH_SIZE = 4
# The decoder has its own rule for the values at the ends; one in five is there or next to it.
PIXELS = (*range(256), *[0, 1, 254, 255] * 16)


@dataclass(frozen=True)
class Inputs:
    """What both sides get; images are float32 [B, S, S, C].

    `x_start` is made of 8-bit pixels in [-1, 1], many of them at the ends; `t` int64 [B] holds both
    ends of the chain, and `x_t` is x_start diffused that far. `outputs` are what a good network
    says about them, which is `off` [B] the truth on average. The sampling takes the timesteps
    `steps` from `x_first` on, with the noise `step_noise` [len(steps), B, S, S, C]. The optimizer
    gets the learning rate `lr`, the float64 `weights` and the `gradients` [steps, weights], which
    are of every magnitude and rise and fall. A loss that `loss_is_bound` is that of the good
    network, as of another one's decoder float32 tells nothing. `training` is for what else there is
    of training.

    A chain of up to `LONGEST_CHAIN` steps starts from `chain_first` and draws `chain_noise`
    [T, B, S, S, C], one step after the other; longer ones are not compared whole. `conditional` and
    `unconditional`, shaped like `outputs`, are what a network says with and without a condition.
    With a learned `model_var_type`, outputs have twice the channels.
    """

    x_start: np.ndarray
    noise: np.ndarray
    t: np.ndarray
    x_t: np.ndarray
    steps: tuple[int, ...]
    x_first: np.ndarray
    step_noise: np.ndarray
    weights: np.ndarray
    gradients: np.ndarray
    lr: float
    outputs: np.ndarray
    off: np.ndarray
    loss_is_bound: bool
    training: TrainingInputs
    chain_first: np.ndarray
    chain_noise: np.ndarray
    conditional: np.ndarray
    unconditional: np.ndarray
    num_timesteps: int
    model_var_type: ModelVarType

    @property
    def target(self) -> np.ndarray:
        """What the network's output is held against for its gradient: noise, of all channels."""
        return np.concatenate([self.noise] * (self.outputs.shape[-1] // self.noise.shape[-1]), -1)

    def guess(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """What a good network says, the same on both sides to the bit; see `guesses`.

        Args:
            x: [B', S, S, C], of those in `x_t`; another x gives another output.
            t: [B'], of those in `t`.

        Returns:
            float32 [B', S, S, C]; 2 C of a learned variance.
        """
        examples = [self._example(*pair) for pair in zip(x, t, strict=True)]
        off = self.off[examples].reshape(-1, 1, 1, 1)
        outputs = self.outputs[examples].copy()
        outputs[..., : x.shape[-1]] += off * np.sin(3.0 * (x - self.x_t[examples]))
        return outputs.astype(np.float32)

    def _example(self, x: np.ndarray, t: int) -> int:
        """The example with this t that x is closest to; the first if none has it."""
        distances = np.abs(self.x_t - x).sum(axis=(1, 2, 3))
        return int(np.argmin(np.where(self.t == t, distances, np.inf)))


def make_inputs(config: Config, draw_step_noise: Callable[..., np.ndarray]) -> Inputs:
    """Inputs for a config, from its seed.

    Args:
        config: of the process and the size of the images.
        draw_step_noise: `(t, shape)` -> the noise [B, S, S, C] that the other side draws at step t;
            `(t, shape, number)` -> [number, B, S, S, C], one draw after the other.
    """
    random = np.random.default_rng(host_seed(config.seed))
    shape = (BATCH_SIZE, *config.image_shape)
    x_start = (random.choice(PIXELS, shape) / 127.5 - 1).astype(np.float32)
    noise = random.standard_normal(shape, dtype=np.float32)
    diffusion = get_diffusion(config)
    t = timesteps(diffusion)
    x_t = diffusion.q_sample(x_start, t, noise=noise).numpy()
    steps = tuple(reversed(range(min(SAMPLING_STEPS, config.num_diffusion_timesteps))))
    x_first = diffusion.q_sample(x_start, np.full_like(t, steps[0]), noise=noise).numpy()
    step_noise = np.stack([draw_step_noise(step, shape) for step in steps])
    outputs, off = good_outputs(diffusion, x_start, x_t, t, random)
    weights = random.standard_normal(64)
    gradients = make_gradients(len(weights), random)
    training = make_training_inputs(config, random)
    T = config.num_diffusion_timesteps
    chain_first, *chain_noise = draw_step_noise(T, shape, T + 1 if T <= LONGEST_CHAIN else 1)
    conditional, unconditional = random.standard_normal((2, *outputs.shape), dtype=np.float32)
    return Inputs(
        x_start, noise, t, x_t, steps, x_first, step_noise, weights, gradients, config.lr,
        outputs, off, config.loss_type in SEE_THE_VARIANCE, training,
        chain_first, np.reshape(chain_noise, (-1, *shape)), conditional, unconditional,
        T, config.model_var_type,
    )  # fmt: skip
