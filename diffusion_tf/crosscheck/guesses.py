"""Outputs that a good network could give, off the truth by what float32 can tell in every stage."""

import numpy as np

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.process import reciprocal
from diffusion_tf.utils.literals import LEARNED

# Where the x_0 that follows from x_t magnifies its rounding more than this, float32 leaves nothing
# of x_0 next to the tolerance; there x_0 is put so far out that it is clipped everywhere.
MAGNIFIED = 8.0
HALF_BIN = 1.0 / 255.0


def magnification(diffusion: GaussianDiffusion) -> np.ndarray:
    """How much larger a change of x_t is in the x_0 that follows from it, [T]."""
    if diffusion.model_mean_type == "eps":
        return diffusion.sqrt_recipm1_alphas_cumprod
    if diffusion.model_mean_type == "xprev":
        return diffusion.posterior_mean_coef2 * reciprocal(diffusion.posterior_mean_coef1)
    if diffusion.model_mean_type == "v":
        return diffusion.sqrt_alphas_cumprod
    return np.zeros(diffusion.num_timesteps)


def timesteps(diffusion: GaussianDiffusion) -> np.ndarray:
    """Both ends of the chain, its middle, and one early where float32 tells x_0; int64 [4]."""
    T = diffusion.num_timesteps
    early = np.flatnonzero(magnification(diffusion)[: T // 10 + 1] <= MAGNIFIED)
    return np.array([0, max(early, default=0), T // 2, T - 1])


def good_outputs(
    diffusion: GaussianDiffusion,
    x_start: np.ndarray,
    x_t: np.ndarray,
    t: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """What a network could say about each example.

    At t = 0 the mean is off the pixels by up to three of the decoder's deviations, as further out
    float32 holds rounding only, and for some by so many that the probability is 0 and its floor is
    what counts. Later x_0 is off by up to 0.3, so that some of it is clipped, or clipped
    everywhere (see `MAGNIFIED`).

    Args:
        diffusion: with the original's choices.
        x_start, x_t: [B, ...] in [-1, 1], and diffused.
        t: [B].
        random: for the errors.

    Returns:
        outputs [B, ...], with twice the channels where the variance is learned, and how far they
        are off on average, [B]; both float64.
    """
    errors = np.stack(
        [_error(diffusion, x, step, random) for x, step in zip(x_start, t, strict=True)]
    )
    outputs = _output(diffusion, x_start + errors, x_t, t)
    off = np.abs(outputs - _output(diffusion, x_start.astype(np.float64), x_t, t))
    if diffusion.model_var_type in LEARNED:
        outputs = np.concatenate([outputs, _of_variance(diffusion, x_t, t, random)], axis=-1)
    return outputs, off.reshape(len(t), -1).mean(axis=1)


def _of_variance(
    diffusion: GaussianDiffusion, x_t: np.ndarray, t: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The second half of the output: between the bounds and a little beyond."""
    place = random.uniform(-1.2, 1.2, x_t.shape)
    if diffusion.model_var_type == "learned_range":
        return place
    low, high = (
        bound[t].reshape(-1, *[1] * (x_t.ndim - 1))
        for bound in (diffusion.posterior_log_variance_clipped, np.log(diffusion.betas))
    )
    return low + (place + 1) / 2 * (high - low)


def _error(
    diffusion: GaussianDiffusion, x_start: np.ndarray, t: int, random: np.random.Generator
) -> np.ndarray:
    """Of the x_0 of one example."""
    sign, size = random.choice([-1.0, 1.0], x_start.shape), random.uniform(0, 1, x_start.shape)
    magnified = magnification(diffusion)[t]
    if t == 0:
        deviation = np.exp(0.5 * diffusion.posterior_log_variance_clipped[0])
        far = HALF_BIN + 20 * deviation
        is_far = (random.uniform(0, 1, x_start.shape) < 1 / 16) & (np.abs(x_start) < 0.99)
        inwards = np.where(x_start > 0, -1, 1)  # so that it is not clipped
        near = sign * size * (HALF_BIN + 3 * deviation)
        return np.where(is_far & (far < 1), inwards * far, near)
    if magnified > MAGNIFIED:
        return sign * magnified * (0.3 + 0.2 * size)
    return sign * 0.3 * size


def _output(
    diffusion: GaussianDiffusion, pred_xstart: np.ndarray, x_t: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """The output from which this x_0 follows."""

    def at(coefficients: np.ndarray) -> np.ndarray:
        return coefficients[t].reshape(-1, *[1] * (x_t.ndim - 1))

    if diffusion.model_mean_type == "eps":
        difference = at(diffusion.sqrt_recip_alphas_cumprod) * x_t - pred_xstart
        return difference * at(reciprocal(diffusion.sqrt_recipm1_alphas_cumprod))
    if diffusion.model_mean_type == "xprev":
        coef1, coef2 = diffusion.posterior_mean_coef1, diffusion.posterior_mean_coef2
        return at(coef1) * pred_xstart + at(coef2) * x_t
    if diffusion.model_mean_type == "v":
        difference = at(diffusion.sqrt_alphas_cumprod) * x_t - pred_xstart
        return difference / at(diffusion.sqrt_one_minus_alphas_cumprod)
    return pred_xstart
