"""Everything that implementations of DDPM do one way or another, with the original's way of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diffusion_tf.utils.literals import BetaSchedule, ModelMeanType, ModelVarType

# A coefficient [T] from those before it (see `recipe.FORMULAS`), or the coefficient itself.
Formula = Callable[[Any], np.ndarray] | np.ndarray | None
Activation = Literal[
    "swish", "relu", "gelu", "gelu_tanh", "mish", "elu", "leaky_relu", "none", "swish twice"
]  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """One way of doing what implementations do differently; the defaults are the original's.

    None stands for what the config says, or for the original's formula. A field of the network
    that stands in `scopes` holds only in the layers of one kind, or in the one layer, named there.
    """

    # Weights and network
    other_weights: bool = False
    scopes: tuple[tuple[str, str], ...] = ()
    interleaved: bool = False
    cos_first: bool = False
    frequencies: Literal["half - 1", "half", "half + 1", "pairs"] = "half - 1"
    max_period: float = 10_000.0
    t_scale: Literal["1", "1 / T", "1000 / T", "2 pi", "1000"] = "1"
    t_offset: int = 0
    t_log: bool = False
    temb_last_activation: bool = False
    group_norm_epsilon: float = 1e-6
    epsilon_outside: bool = False
    norm_groups: int = 32
    norm_interleaved: bool = False
    norm_unbiased: bool = False
    norm: Literal["group", "layer", "pixel", "none", "not scaled", "not shifted"] = "group"
    activation: Activation = "swish"
    temb_activation: Activation | None = None
    first_activation: Activation | None = None
    second_activation: Activation | None = None
    activation_first: bool = False
    temb_at: str = "before norm2"
    temb_sign: float = 1.0
    skip_first: bool = False
    skip_scale: float = 1.0
    residual: Literal["x", "none", "normed", "activated"] = "x"
    residual_scale: float = 1.0
    shortcut_of: Literal["x", "normed", "activated"] = "x"
    kernel: Literal["as it is", "transposed", "flipped", "turned"] = "as it is"
    bias: bool = True
    padding: Literal["CONSTANT", "REFLECT", "circular", "edge"] = "CONSTANT"
    matrix_transposed: bool = False
    heads: int | None = None
    attention_head_dim: int | None = None
    attention_scale: str = "root of channels"
    attention_norm: bool = True
    attention_of: Literal["qkv", "kqv", "vkq", "qvk"] = "qkv"
    softmax_over: Literal["keys", "queries", "channels", "nothing"] = "keys"
    attention_projection: bool = True
    attention_columns: bool = False
    downsample: str = "bottom and right"
    upsample: str = "nearest"
    input_scale: tuple[float, float] = (1.0, 0.0)
    output: Literal["as it is", "tanh", "clipped", "x - output", "x + output"] = "as it is"

    # Dropout
    dropout_rate: float | None = None
    dropout_at: str = "before conv2"
    dropout_channels: bool = False
    dropout_scaled: bool = True

    # Schedule and coefficients; `Formula` of the name that they have in GaussianDiffusion
    beta_schedule: BetaSchedule | None = None
    rescale_betas: bool = False
    betas: Formula = None
    alphas_cumprod: Formula = None
    alphas_cumprod_prev: Formula = None
    sqrt_alphas_cumprod: Formula = None
    sqrt_one_minus_alphas_cumprod: Formula = None
    log_one_minus_alphas_cumprod: Formula = None
    sqrt_recip_alphas_cumprod: Formula = None
    sqrt_recipm1_alphas_cumprod: Formula = None
    posterior_variance: Formula = None
    posterior_log_variance_clipped: Formula = None
    posterior_mean_coef1: Formula = None
    posterior_mean_coef2: Formula = None

    # Process
    q_shift: int = 0
    q_noise: Literal["noise", "-noise", "uniform"] = "noise"
    q_x_start: Literal["x", "01"] = "x"
    posterior_shift: int = 0
    posterior_swapped: bool = False
    model_mean_type: ModelMeanType | Literal["-eps", "-v", "score"] | None = None
    model_t: Literal["t", "t + 1", "t - 1", "t / T", "1000 t / T", "T - 1 - t"] = "t"
    clip: str = "x_start"
    clip_to: tuple[float, float] = (-1.0, 1.0)
    reverse_shift: int = 0
    variance_shift: int = 0
    model_var_type: ModelVarType | None = None
    learned_half: Literal["second", "first"] = "second"
    learned_share: str = "(v + 1) / 2"
    learned_scale: Literal["logarithms", "variances"] = "logarithms"
    learned_low: Literal["clipped", "log(1e-20) first"] = "clipped"
    learned_high: Literal["beta", "fixedlarge"] = "beta"
    log_variance: str = "log variance"
    posterior_log: str = "log variance"
    pred_xstart: np.ndarray | None = None
    noise_at_zero: bool = False
    noise_from: int = 1
    step: str = "ancestral"
    temperature: float = 1.0
    deviation: str = "exp(0.5 log variance)"
    step_clip: Literal["no", "each", "last"] = "no"
    ddim_eps: Literal["of the clipped x_0", "as predicted"] = "of the clipped x_0"
    ddim_previous: Literal["t - 1", "t - 2", "t + 1", "t", "as at the first"] = "t - 1"
    ddim_direction: Literal["root", "no root", "1 - root"] = "root"
    ddim_sigma: str = "posterior"
    ddim_sigma_stays: bool = False
    ddim_stride: Literal["timesteps", "T // S"] = "timesteps"
    spacing: str | None = None
    spacing_offset: int = 0
    spacing_rounds: bool = True
    respaced_betas: Literal["of abar", "as they are"] = "of abar"
    respaced_t: Literal["timesteps", "t", "t T / S"] = "timesteps"
    respaced_mean: Literal["of training", "of the longer step"] = "of training"
    respaced_variance: Literal["of training", "of the longer step"] = "of training"
    chain_start: Literal["noise", "zeros", "clipped", "halved"] = "noise"
    chain_skips_first: int = 0
    chain_skips_last: int = 0
    chain_rises: bool = False
    chain_one_noise: bool = False
    chain_noise_of_t: bool = False
    chain_end: Literal["as it is", "clipped", "[0, 1]"] = "as it is"
    guidance: str = "scale"
    target: str | None = None
    distance: Literal["mse", "l1", "huber", "rmse", "half", "charbonnier"] | None = None
    reduction: Literal["mean", "sum", "sum of squares over channels", "batch"] = "mean"
    loss_weight: str = "1"
    hybrid_weight: Literal["T / 1000", "T", "1 / 1000", "1", "0"] = "T / 1000"
    hybrid_stops: bool = True
    bound_unit: Literal["bits", "nats"] = "bits"
    bound_reduction: Literal["mean", "sum"] = "mean"
    bound_clip: bool | None = None
    kl: str = "q || p"
    decoder: str = "discretized"
    half_bin: float = 1 / 255
    cdf: Literal["tanh", "exact", "logistic"] = "tanh"
    lower_end: float = -0.999
    upper_end: float = 0.999
    decoder_scale: Literal["deviation", "variance", "log variance"] = "deviation"
    probability_floor: float = 1e-12

    # Training
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_epsilon: float = 1e-8
    adam_epsilon_corrected: bool = False
    adam_epsilon_inside: bool = False
    adam_bias_corrected: bool = True
    adam_largest: bool = False
    adam_decay: float = 0.0
    adam_decay_by_lr: bool = True
    adam_penalty: float = 0.0
    adam_lr: float = 1.0
    warmup: str = "step / warmup"
    clipping: str = "global norm"
    clipping_to: float | None = None
    ema: str = "every step"
    ema_copies: bool = True
    ema_decay: float | None = None
    pixels_in: str = "x / 127.5 - 1"
    pixels_out: str = "rounded"
    train_flips: bool = False
    train_sums: bool = False
    train_accumulates: bool = False
    timesteps: str = "root mean square"
    timesteps_kept: int = 10
    timesteps_uniform: float = 0.001


ORIGINAL = Choices()
FIELDS = tuple(field.name for field in dataclasses.fields(Choices))


def _between(first: str, last: str) -> tuple[str, ...]:
    return FIELDS[FIELDS.index(first) : FIELDS.index(last) + 1]


NETWORK_FIELDS = _between("other_weights", "output")
SCHEDULE_FIELDS = _between("beta_schedule", "betas")
COEFFICIENT_FIELDS = _between("betas", "posterior_mean_coef2")
PROCESS_FIELDS = _between("beta_schedule", "probability_floor")
ADAM_FIELDS = _between("adam_beta_1", "adam_lr")


def are_original(choices: Choices, fields: tuple[str, ...]) -> bool:
    """Whether these fields have the original's values."""
    return all(_same(getattr(choices, field), getattr(ORIGINAL, field)) for field in fields)


def _same(value: Any, original: Any) -> bool:
    return value is original or (not isinstance(value, np.ndarray) and value == original)


def in_layer(choices: Choices, kind: str, stage: str) -> Choices:
    """The choices that hold in a layer: those scoped to others are the original's."""
    others = {field: getattr(ORIGINAL, field) for field, scope in choices.scopes
              if scope not in (kind, stage)}  # fmt: skip
    return dataclasses.replace(choices, scopes=(), **others) if choices.scopes else choices
