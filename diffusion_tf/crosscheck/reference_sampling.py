"""Our side of sampling: a step, whole chains, DDIM, fewer steps, guidance, as arrays by stage."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices
from diffusion_tf.crosscheck.inputs import GUIDANCE_SCALE, Inputs
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.recipe_respaced import RespacedRecipe
from diffusion_tf.crosscheck.spacings import SPACINGS, respaced_timesteps, timesteps_of
from diffusion_tf.crosscheck.stages import of_examples
from diffusion_tf.crosscheck.waves import Network, numpy_wave, tf_wave
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.utils.literals import LEARNED

Process = GaussianDiffusion | Recipe
ETA = 0.5  # so that its square and its root show


def wave_of(diffusion: Process, config: Config) -> Network:
    """The stand-in for a network that a process can call."""
    wave = numpy_wave if isinstance(diffusion, Recipe) else tf_wave
    return wave(config.model_var_type)


def guess_of(inputs: Inputs) -> Network:
    """`Inputs.guess` for either kind of process."""

    def guess(x: Any, t: Any) -> Any:
        output = inputs.guess(np.asarray(x), np.asarray(t))
        return tf.constant(output) if tf.is_tensor(x) else output

    return guess


def moments_of(p: Any, config: Config) -> dict[str, Any]:
    """x_0, mean and log-variance of p; the latter of each example, unless it is learned."""
    learned = config.model_var_type in LEARNED
    log_variance = np.asarray(p.log_variance)
    return {
        "pred_xstart": p.pred_xstart,
        "mean": p.mean,
        "log variance": log_variance if learned else of_examples(log_variance),
    }


def step(
    diffusion: Process, config: Config, x: np.ndarray, t: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """x_{t-1} by one step."""
    wave = wave_of(diffusion, config)
    if isinstance(diffusion, Recipe):
        return diffusion.p_sample(wave, x=x, t=t, noise=noise)
    return np.asarray(diffusion.p_sample(wave, x=x, t=tf.constant(t), noise_fn=_given(noise)))


def _given(noise: np.ndarray) -> Callable[..., tf.Tensor]:
    return lambda shape, dtype: tf.constant(noise)


def _chain(i: Inputs, config: Config, diffusion: Process, _: Choices) -> dict[str, Any]:
    """All steps, if they are not too many; see `Inputs`."""
    if not len(i.chain_noise):
        return {}
    x = i.chain_first
    if isinstance(diffusion, Recipe):
        return {"the whole chain": diffusion.chain(wave_of(diffusion, config), x, i.chain_noise)}
    for k, noise in enumerate(i.chain_noise):
        x = step(diffusion, config, x, np.full(len(x), diffusion.num_timesteps - 1 - k), noise)
    return {"the whole chain": x}


def _ddim(i: Inputs, _config: Config, diffusion: Process, _: Choices) -> dict[str, Any]:
    guess, noise = guess_of(i), i.step_noise[0]
    if isinstance(diffusion, Recipe):
        noisy = diffusion.ddim_sample(guess, x=i.x_t, t=i.t, eta=ETA, noise=noise)
        without = diffusion.ddim_sample(guess, x=i.x_t, t=i.t)
        return {"a step of DDIM": without, "a step of DDIM with noise": noisy}
    x, t = tf.constant(i.x_t), tf.constant(i.t)
    samples: list[Any] = [
        DDIM(diffusion, diffusion.num_timesteps, eta=eta).p_sample(
            guess, x=x, t=t, noise_fn=_given(noise)
        )
        for eta in (0.0, ETA)
    ]
    return {"a step of DDIM": samples[0], "a step of DDIM with noise": samples[1]}


def _fewer_steps(i: Inputs, config: Config, diffusion: Process, its: Choices) -> dict[str, Any]:
    T = config.num_diffusion_timesteps
    timesteps = {spacing: timesteps_of(spacing, T, its) for spacing in SPACINGS}
    if len(timesteps[SPACINGS[0]]) < 2:
        return {}
    values: dict[str, Any] = {
        f"timesteps, {spacing}": of.astype(np.float64) for spacing, of in timesteps.items()
    }
    for spacing, of in timesteps.items():
        if _sees_x_start(config, max(of)):
            x = _by_ddim(diffusion, config, i.noise, np.unique(of))
            values[f"DDIM in fewer steps, {spacing}"] = x
    return values


def _sees_x_start(config: Config, t: int) -> bool:
    """Whether x_0 comes out of the mean of x_{t-1} in float32, and is not its rounding instead.

    In 4000 steps of the paper's range the mean holds a 10^-11th of x_0 at the end.
    """
    if config.model_mean_type != "xprev":
        return True
    return bool(get_diffusion(config).posterior_mean_coef1[t] > 1e-5)


def _by_ddim(
    diffusion: Process, config: Config, x: np.ndarray, timesteps: np.ndarray
) -> np.ndarray:
    wave = wave_of(diffusion, config)
    if isinstance(diffusion, Recipe):
        return RespacedRecipe(diffusion, timesteps).ddim_chain(wave, x)
    ddim = DDIM(diffusion, [int(t) for t in timesteps])
    for k in reversed(range(len(timesteps))):
        sample: Any = ddim.p_sample(wave, x=tf.constant(x), t=tf.fill([len(x)], k))
        x = sample.numpy()
    return x


def _respaced(i: Inputs, diffusion: Process) -> tuple[Any, np.ndarray]:
    """The process on some timesteps, and where the inputs' t are among them."""
    timesteps = respaced_timesteps(i.num_timesteps, i.t)
    t = np.searchsorted(timesteps, i.t)
    if isinstance(diffusion, Recipe):
        return RespacedRecipe(diffusion, timesteps), t
    return RespacedDiffusion(diffusion, [int(step) for step in timesteps]), t


def _respacing(i: Inputs, config: Config, diffusion: Process, _: Choices) -> dict[str, Any]:
    process, t = _respaced(i, diffusion)
    x = i.x_t if isinstance(diffusion, Recipe) else tf.constant(i.x_t)
    moments = moments_of(process.p_mean_variance(guess_of(i), x=x, t=t), config)
    return {
        "respaced betas": process.betas,
        **{f"respaced {name}": value for name, value in moments.items()},
    }


def _respaced_loss(i: Inputs, _: Config, diffusion: Process, its: Choices) -> dict[str, Any]:
    process, t = _respaced(i, diffusion)
    return {"respaced loss": process.p_losses(guess_of(i), i.x_start, t, i.noise)}


def _guidance(i: Inputs, _config: Config, _: Process, its: Choices) -> dict[str, Any]:
    if its.guidance == ORIGINAL.guidance:
        both = tf.concat([i.conditional, i.unconditional], axis=0)
        network: Any = lambda inputs, training: both  # noqa: E731
        labels = tf.zeros([len(i.t)], tf.int32)
        guided = denoise_fn(network, labels, GUIDANCE_SCALE)
        return {"guided output": guided(tf.constant(i.x_t), tf.constant(i.t))}
    return {"guided output": _guided(i, its.guidance)}


def _guided(i: Inputs, how: str) -> np.ndarray:
    """Guidance done otherwise than eps_u + s (eps_c - eps_u), with the variance of the former."""
    channels, s = i.x_t.shape[-1], GUIDANCE_SCALE
    cond, uncond = i.conditional[..., :channels], i.unconditional[..., :channels]
    usual = uncond + s * (cond - uncond)
    variance = i.conditional[..., channels:]
    if how == "variance, too":
        rest = i.unconditional[..., channels:]
        variance = rest + s * (variance - rest)
    if how == "variance without condition":
        variance = i.unconditional[..., channels:]
    axes = (1, 2, 3)
    rescaled = usual * cond.std(axis=axes, keepdims=True) / usual.std(axis=axes, keepdims=True)
    guided = {
        "w": lambda: (1 + s) * cond - s * uncond,
        "scale - 1": lambda: uncond + (s - 1) * (cond - uncond),
        "exchanged": lambda: cond + s * (uncond - cond),
        "from conditional": lambda: cond + (1 - s) * (cond - uncond),
        "interpolated": lambda: (cond + s * uncond) / (1 + s),
        "first channel": lambda: np.concatenate([usual[..., :1], cond[..., 1:]], -1),
        "rescaled 0.7": lambda: 0.7 * rescaled + 0.3 * usual,
        "rescaled": lambda: rescaled,
        "none": lambda: cond,
        "unconditional": lambda: uncond,
        "mean of both": lambda: 0.5 * (cond + uncond),
    }.get(how, lambda: usual)()
    return np.concatenate([guided, variance], axis=-1)


SAMPLING = {
    "chain": _chain,
    "ddim": _ddim,
    "fewer steps": _fewer_steps,
    "respacing": _respacing,
    "guidance": _guidance,
    "respaced loss": _respaced_loss,
}


def gradient_by_output(
    diffusion: GaussianDiffusion,
    output: tf.Tensor,
    x_start: np.ndarray,
    t: np.ndarray,
    noise: np.ndarray,
    stops: bool,
) -> np.ndarray:
    """Of the summed losses by what the network says, shaped like that.

    Args:
        diffusion: the process.
        output: of the network.
        x_start, t, noise: see `GaussianDiffusion.p_losses`.
        stops: whether the mean learns nothing from the bound of a hybrid loss.
    """
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = tf.reduce_sum(diffusion.p_losses(lambda *_: output, x_start, t, noise))
        if diffusion.loss_type == "hybrid" and not stops:
            mean, variance = tf.split(output, 2, axis=-1)
            unstopped = tf.concat([mean, tf.stop_gradient(variance)], axis=-1)
            x_t = diffusion.q_sample(x_start, t, noise=noise)
            terms: Any = diffusion._vb_terms_bpd(
                lambda *_: unstopped, x_start, x_t, t, clip_denoised=False
            )
            loss += tf.reduce_sum(terms) * diffusion.num_timesteps / 1000
    return tape.gradient(loss, output).numpy()
