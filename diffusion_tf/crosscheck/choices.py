"""Where implementations of DDPM are known to differ, and our side with those differences put in."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.process import PMeanVariance
from diffusion_tf.models.blocks import AttnBlock, Downsample, TimeEmbedding
from diffusion_tf.models.unet import UNet
from diffusion_tf.nn import get_timestep_embedding
from diffusion_tf.schedules import BETA_SCHEDULES, get_beta_schedule
from diffusion_tf.utils.keras_backend import layers
from diffusion_tf.utils.literals import BetaSchedule, ModelVarType


@dataclass(frozen=True)
class Choices:
    """One way of doing what implementations do differently; the defaults are the original's.

    None stands for what the config says.
    """

    other_weights: bool = False
    group_norm_epsilon: float = 1e-6
    symmetric_padding: bool = False
    cos_first: bool = False
    divide_by_half: bool = False
    attention_head_dim: int | None = None
    clip: Literal["x_start", "mean", "nothing"] = "x_start"
    model_var_type: ModelVarType | None = None
    beta_schedule: BetaSchedule | None = None
    rescale_betas: bool = False
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_epsilon: float = 1e-8
    adam_epsilon_corrected: bool = False
    adam_bias_corrected: bool = True
    adam_largest: bool = False
    adam_decay: float = 0.0
    adam_penalty: float = 0.0


ORIGINAL = Choices()

# What it is called in a verdict, and the fields of Choices that it changes.
Known = Mapping[str, dict[str, Any]]
IN_WEIGHTS: Known = {
    "raw weights on one side, averaged ones on the other": {"other_weights": True},
}
IN_NETWORK: Known = {
    "group normalization with epsilon 1e-5 instead of 1e-6": {"group_norm_epsilon": 1e-5},
    "stride-2 convolutions padded on all sides instead of bottom and right": {
        "symmetric_padding": True
    },
    "cosines before sines in the time embedding": {"cos_first": True},
    "frequencies of the time embedding divided by half instead of half - 1": {
        "divide_by_half": True
    },
    "attention in heads of 8 channels instead of one head": {"attention_head_dim": 8},
    "attention in heads of 64 channels instead of one head": {"attention_head_dim": 64},
}
IN_SCHEDULE: Known = {
    "betas scaled by 1000 / T": {"rescale_betas": True},
    **{f"the schedule {name!r}": {"beta_schedule": name} for name in BETA_SCHEDULES},
}
IN_PROCESS: Known = {
    "the mean clipped instead of the x_0 that it is made of": {"clip": "mean"},
    "nothing clipped": {"clip": "nothing"},
    "the posterior's variance, fixedsmall, instead of beta": {"model_var_type": "fixedsmall"},
    "the variance beta, fixedlarge, instead of the posterior's": {"model_var_type": "fixedlarge"},
}
DECAYS = (0.1, 0.05, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)  # AdamW's own is 0.01
IN_OPTIMIZER: Known = {
    "Adam's epsilon added after the bias correction, as PyTorch does": {
        "adam_epsilon_corrected": True
    },
    **{
        f"Adam's epsilon {epsilon:.0e} instead of 1e-8".replace("e-0", "e-"): {
            "adam_epsilon": epsilon
        }
        for epsilon in (1e-7, 1e-6, 1e-5, 1e-4, 1e-10)
    },
    **{
        f"weights decayed by {decay:g} times the learning rate in each step, as AdamW does": {
            "adam_decay": decay
        }
        for decay in DECAYS
    },
    **{
        f"{decay:g} times the weights added to their gradient (L2), as PyTorch's Adam does": {
            "adam_penalty": decay
        }
        for decay in DECAYS
    },
    "the largest second moment so far instead of the present one, AMSGrad": {"adam_largest": True},
    "Adam without bias correction": {"adam_bias_corrected": False},
    **{
        f"Adam's beta_1 {beta:g} instead of 0.9": {"adam_beta_1": beta} for beta in (0.0, 0.5, 0.95)
    },
    **{
        f"Adam's beta_2 {beta:g} instead of 0.999": {"adam_beta_2": beta}
        for beta in (0.9, 0.95, 0.99, 0.9999)
    },
}
# The choices that change what the network, and what the process computes.
NETWORK_FIELDS = {field for row in (*IN_WEIGHTS.values(), *IN_NETWORK.values()) for field in row}
PROCESS_FIELDS = {field for row in (*IN_SCHEDULE.values(), *IN_PROCESS.values()) for field in row}


def unet_stages(
    unet: UNet, x: tf.Tensor, t: tf.Tensor, choices: Choices = ORIGINAL
) -> dict[str, tf.Tensor]:
    """What comes out of every stage of the network, by its scope's name, in the order of its use.

    Args:
        unet: built, with block_size 1.
        x, t: see `UNet`.
        choices: what to do differently.

    Returns:
        `sinusoids` [B, ch], `temb` [B, 4 ch], `conv_in`, `down_0/block_0`, ..., each [B, H, W, C],
        and `output`, which with the original's choices is `unet([x, t])` itself.
    """
    stages = {}

    def run(name: str, layer: layers.Layer, inputs: Any, **options: Any) -> tf.Tensor:
        if isinstance(layer, TimeEmbedding):
            stages["sinusoids"] = _sinusoids(inputs, layer.ch, choices)
            stages[name] = layer.project(stages["sinusoids"])
            return stages[name]
        with _group_norm_epsilon(layer, choices.group_norm_epsilon):
            stages[name] = _varied(layer, choices)(inputs, **options)
        return stages[name]

    with _group_norm_epsilon(unet, choices.group_norm_epsilon):  # that of the output
        stages["output"] = unet.walk([x, t], run=run)
    return stages


def _varied(layer: layers.Layer, choices: Choices) -> Callable[..., tf.Tensor]:
    """What a layer computes, with the choices."""
    if isinstance(layer, Downsample) and layer.with_conv and choices.symmetric_padding:
        return functools.partial(_downsample_symmetrically, layer)
    if isinstance(layer, AttnBlock) and choices.attention_head_dim:
        return functools.partial(_attend_in_heads, layer, choices.attention_head_dim)
    return layer


def _sinusoids(t: tf.Tensor, ch: int, choices: Choices) -> tf.Tensor:
    """`get_timestep_embedding`, with the choices."""
    half = ch // 2
    embedding = get_timestep_embedding(t, ch)
    if choices.divide_by_half:  # half frequencies of half + 1, of which the last is left out
        longer = get_timestep_embedding(t, 2 * (half + 1))
        embedding = tf.concat([longer[:, :half], longer[:, half + 1 : -1]], axis=1)
    if choices.cos_first:
        embedding = tf.concat([embedding[:, half : 2 * half], embedding[:, :half]], axis=1)
    return embedding


def _downsample_symmetrically(layer: Downsample, h: tf.Tensor) -> tf.Tensor:
    h = tf.pad(h, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.conv2d(h, layer.conv.kernel, 2, "VALID") + layer.conv.bias


def _attend_in_heads(layer: AttnBlock, head_dim: int, x: tf.Tensor) -> tf.Tensor:
    """Attention in heads of so many channels; in one, where they do not divide all channels."""
    _, height, width, channels = x.shape
    if channels % head_dim:
        return layer(x)
    h = layer.norm(x)
    q, k, v = (
        tf.reshape(project(h), [-1, height * width, channels // head_dim, head_dim])
        for project in (layer.q, layer.k, layer.v)
    )
    weights = tf.nn.softmax(tf.einsum("bihd,bjhd->bhij", q, k) * head_dim**-0.5)
    h = tf.einsum("bhij,bjhd->bihd", weights, v)
    return x + layer.proj_out(tf.reshape(h, [-1, height, width, channels]))


@contextlib.contextmanager
def _group_norm_epsilon(owner: layers.Layer, epsilon: float) -> Iterator[None]:
    """The group normalizations of a block, or of the network's output, with this epsilon."""
    names = ("norm", "norm1", "norm2", "norm_out")
    norms = [getattr(owner, name) for name in names if hasattr(owner, name)]
    before = [norm.epsilon for norm in norms]
    for norm in norms:
        norm.epsilon = epsilon
    try:
        yield
    finally:
        for norm, its in zip(norms, before, strict=True):
            norm.epsilon = its


class VariedDiffusion(GaussianDiffusion):
    """The process of a config, with the choices; the original's leave it as it is."""

    def __init__(self, config: Config, choices: Choices = ORIGINAL):
        scale = 1000 / config.num_diffusion_timesteps if choices.rescale_betas else 1
        betas = get_beta_schedule(
            choices.beta_schedule or config.beta_schedule,
            beta_start=min(scale * config.beta_start, 1.0),
            beta_end=min(scale * config.beta_end, 1.0),
            num_diffusion_timesteps=config.num_diffusion_timesteps,
        )
        super().__init__(
            betas=betas,
            model_mean_type=config.model_mean_type,
            model_var_type=choices.model_var_type or config.model_var_type,
            loss_type=config.loss_type,
        )
        self._clip = choices.clip

    def p_mean_variance(
        self, denoise_fn: DenoiseFn, *, x: tf.Tensor, t: tf.Tensor, clip_denoised: bool = True
    ) -> PMeanVariance:
        """See `GaussianDiffusion`; `p_sample` and the bound come here, too."""
        clip_x_start = clip_denoised and self._clip == "x_start"
        p = super().p_mean_variance(denoise_fn, x=x, t=t, clip_denoised=clip_x_start)
        if clip_denoised and self._clip == "mean":
            return p._replace(mean=tf.clip_by_value(p.mean, -1.0, 1.0))
        return p
