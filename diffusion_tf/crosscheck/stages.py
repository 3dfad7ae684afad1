"""The stages of a comparison as data: what each is, its tolerance, what it rests on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.stage_table import LOG_VARIANCES
from diffusion_tf.crosscheck.training_stages import TIMESTEPS
from diffusion_tf.crosscheck.varied_network import kind_of

_HO, _ND = "Ho et al. 2020", "Nichol & Dhariwal 2021"
_SPACINGS = {
    "leading": "from 0 on by T / S",
    "trailing": "down from T - 1 by T / S",
    "linspace": "evenly from 0 to T - 1",
}


@dataclass(frozen=True)
class Stage:
    """What is compared under one name.

    Attributes:
        name: as in the table.
        group: those that are computed together.
        what: in plain English.
        equation: where the paper has it.
        shape: with its layout.
        units: of its numbers.
        tolerance: largest relative difference that counts as equal.
        why: what the tolerance comes from.
        rests_on: stages that it is computed from.
        floor: numbers count as no smaller than this when a difference is relative to them.
    """

    name: str
    group: str
    what: str
    equation: str
    shape: str
    units: str
    tolerance: float
    why: str
    rests_on: tuple[str, ...] = ()
    floor: float = 0.0


COEFFICIENTS = (
    "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip
LAST_STEP = "last ten steps of sampling"
# In the order of the table, with the groups that each builds on: it is not explained where one of
# them differs for a reason that is not known and cannot be put into ours as it is.
GROUPS: dict[str, tuple[str, ...]] = {
    "weights": (),
    "schedule": (),
    "coefficients": ("schedule",),
    "network": ("weights",),
    "gradient": ("weights", "network"),
    "dropout": ("weights", "network"),
    "forward process": ("schedule",),
    "reverse process": ("schedule",),
    "sampling": ("schedule", "reverse process"),
    "chain": ("schedule", "reverse process", "sampling"),
    "ddim": ("schedule", "reverse process"),
    "fewer steps": ("schedule", "reverse process", "ddim"),
    "respacing": ("schedule", "coefficients", "reverse process"),
    "guidance": (),
    "loss": ("schedule",),
    "respaced loss": ("schedule", "forward process", "respacing", "loss"),
    "loss gradient": ("schedule", "loss"),
    "bpd": ("schedule", "reverse process"),
    "optimizer": (),
    "learning rate": (),
    "clipping": (),
    "average": (),
    "timesteps": (),
    "data": (),
    "training": (
        "schedule", "forward process", "loss", "optimizer", "learning rate", "clipping", "average",
        "data",
    ),
}  # fmt: skip
# What few offer; the table does not list it where it is missing.
OPTIONAL = (
    "weights", "dropout", "chain", "ddim", "fewer steps", "respacing", "guidance", "respaced loss",
    "loss gradient",
    "learning rate", "clipping", "average", "timesteps", "data", "training",
)  # fmt: skip
# Largest relative difference, and what it comes from: rounding in float32, with room for other
# processors. Beside diffusers the paper's CIFAR-10 network is 9e-6 off, its gradient 2.5e-5.
TOLERANCES: dict[str, tuple[float, str]] = {
    "weights": (0.0, "they are copied"),
    "schedule": (1e-6, "rounding of float32"),
    "coefficients": (1e-6, "rounding of float32"),
    "network": (2e-5, "rounding of float32 through the layers; 9e-6 beside diffusers"),
    "gradient": (1e-4, "rounding of float32 there and back; 2.5e-5 beside diffusers"),
    "dropout": (0.1, "64 masks of each side's own"),
    "forward process": (1e-5, "rounding of float32"),
    "reverse process": (1e-5, "rounding of float32"),
    "sampling": (1e-4, "rounding of float32 over ten steps; 4e-5 beside diffusers"),
    "chain": (1e-4, "rounding of float32 over all steps"),
    "ddim": (1e-5, "rounding of float32"),
    "fewer steps": (1e-3, "rounding of an x_t that x_0 is hardly seen in, over ten long steps"),
    "respacing": (1e-5, "rounding of float32"),
    "guidance": (1e-6, "rounding of float32"),
    "loss": (1e-5, "rounding of float32"),
    "respaced loss": (1e-5, "rounding of float32"),
    "loss gradient": (1e-4, "rounding of float32, there and back"),
    "bpd": (1e-4, "what is left of 1 - 1 in a small KL"),
    "optimizer": (1e-4, "powers of beta in float32, as TensorFlow 1 has them"),
    "learning rate": (1e-6, "rounding of float32"),
    "clipping": (1e-6, "rounding of float32"),
    "average": (1e-6, "rounding of float32"),
    "timesteps": (1e-5, "rounding of float32 in a sum over all timesteps"),
    "data": (1e-6, "rounding of float32"),
    "training": (1e-4, "rounding of float32 in the gradients of ten steps"),
}
_ANGLES = (1e-4, "angles up to T, which float32 holds to T / 10^7")
# A logarithm's difference is the relative one of the variance, also where it is next to 0. A small
# KL is what is left of 1 - 1; float32 leaves 10^-7 then, and 10^-6 bits/dim make no difference.
BOUND_FLOOR = 1e-2
_IMAGES, _BATCH, _STEPS = "[B, H, W, C]", "[B]", "[T]"
_P = "p_mean_variance: "
# Of each stage beyond the network: group, what it is, equation, shape, units, what it rests on.
_TABLE: dict[str, tuple[str, str, str, str, str, tuple[str, ...]]] = {
    "betas": (
        "schedule", "variances of the steps", f"{_HO}, section 4", _STEPS, "variance", ()
    ),
    **{
        name: ("coefficients", what, f"{_HO}, {equation}", _STEPS, units, rests_on)
        for name, what, equation, units, rests_on in (
            ("alphas_cumprod", "abar, products of 1 - beta", "eq. 4", "share of the variance",
             ("betas",)),
            ("alphas_cumprod_prev", "abar of the step before, 1 first", "eq. 7",
             "share of the variance", ("alphas_cumprod",)),
            ("sqrt_alphas_cumprod", "what x_0 is multiplied by", "eq. 4", "factor",
             ("alphas_cumprod",)),
            ("sqrt_one_minus_alphas_cumprod", "what the noise is multiplied by", "eq. 4", "factor",
             ("alphas_cumprod",)),
            ("log_one_minus_alphas_cumprod", "log-variance of q(x_t | x_0)", "eq. 4",
             "log of a variance", ("alphas_cumprod",)),
            ("sqrt_recip_alphas_cumprod", "what x_t is multiplied by in x_0", "eq. 15", "factor",
             ("alphas_cumprod",)),
            ("sqrt_recipm1_alphas_cumprod", "what the noise is multiplied by in x_0", "eq. 15",
             "factor", ("alphas_cumprod",)),
            ("posterior_variance", "variance of q(x_{t-1} | x_t, x_0)", "eq. 7", "variance",
             ("betas", "alphas_cumprod", "alphas_cumprod_prev")),
            ("posterior_log_variance_clipped", "its logarithm, the second one's first", "eq. 7",
             "log of a variance", ("posterior_variance",)),
            ("posterior_mean_coef1", "of x_0 in the mean of q(x_{t-1} | x_t, x_0)", "eq. 7",
             "factor", ("betas", "alphas_cumprod", "alphas_cumprod_prev")),
            ("posterior_mean_coef2", "of x_t in the mean of q(x_{t-1} | x_t, x_0)", "eq. 7",
             "factor", ("betas", "alphas_cumprod", "alphas_cumprod_prev")),
        )
    },
    "dropout": (
        "dropout", "of the first block's output over 64 masks: the share that is left on average,"
        " the variance relative to the output's, 1 + the correlation of pixels side by side, the"
        " kurtosis, how far the mean is off over what 64 masks explain", f"{_HO}, appendix B;"
        " Srivastava et al. 2014", "[5]", "none", ()),
    "q_sample": ("forward process", "x_t of x_start, t and noise", f"{_HO}, eq. 4", _IMAGES,
                 "pixels in [-1, 1]", ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod")),
    "posterior mean": ("forward process", "mean of q(x_{t-1} | x_t, x_0) of x_start, x_t and t",
                       f"{_HO}, eq. 7", _IMAGES, "pixels in [-1, 1]",
                       ("posterior_mean_coef1", "posterior_mean_coef2")),
    "posterior log variance": ("forward process", "log-variance of q(x_{t-1} | x_t, x_0)",
                               f"{_HO}, eq. 7", _BATCH, "log of a variance",
                               ("posterior_log_variance_clipped",)),
    f"{_P}pred_xstart": ("reverse process", "x_0 from x_t, t and the network's outputs, clipped",
                         f"{_HO}, eq. 15", _IMAGES, "pixels in [-1, 1]",
                         ("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod")),
    f"{_P}mean": ("reverse process", "mean of p(x_{t-1} | x_t)", f"{_HO}, eq. 7 and 11", _IMAGES,
                  "pixels in [-1, 1]",
                  (f"{_P}pred_xstart", "posterior_mean_coef1", "posterior_mean_coef2")),
    f"{_P}log variance": ("reverse process", "log-variance of p(x_{t-1} | x_t)",
                          f"{_HO}, section 3.2", _BATCH, "log of a variance",
                          ("betas", "posterior_log_variance_clipped")),
    LAST_STEP: ("sampling", "x_0 from x_first by the last steps of algorithm 2",
                f"{_HO}, algorithm 2", _IMAGES, "pixels in [-1, 1]",
                (f"{_P}pred_xstart", f"{_P}mean", f"{_P}log variance")),
    "a step of DDIM": ("ddim", "x_{t-1} from x_t, t and the network's outputs, with eta = 0",
                       "Song, Meng & Ermon 2021, eq. 12", _IMAGES, "pixels in [-1, 1]",
                       (f"{_P}pred_xstart",)),
    "a step of DDIM with noise": (
        "ddim", "the same with eta = 0.5", "Song, Meng & Ermon 2021, eq. 12 and 16", _IMAGES,
        "pixels in [-1, 1]", ("a step of DDIM",)),
    "the whole chain": (
        "chain", "x_0 from x_T by all steps of algorithm 2, where they are few",
        f"{_HO}, algorithm 2", _IMAGES, "pixels in [-1, 1]", (LAST_STEP,)),
    **{
        f"timesteps, {spacing}": (
            "fewer steps", f"timesteps of up to ten steps, {how}, rising", "Lin et al. 2023,"
            " table 2", "[S]", "steps of training, from 0", ())
        for spacing, how in _SPACINGS.items()
    },
    **{
        f"DDIM in fewer steps, {spacing}": (
            "fewer steps", f"x_0 from noise by DDIM on timesteps {how}", "Song, Meng & Ermon"
            " 2021, eq. 12", _IMAGES, "pixels in [-1, 1]",
            (f"timesteps, {spacing}", "a step of DDIM"))
        for spacing, how in _SPACINGS.items()
    },
    "respaced betas": (
        "respacing", "of a process on some of the timesteps: those of `leading` and t", f"{_ND}"
        ", section 4", "[S]", "variance", ("alphas_cumprod",)),
    "respaced pred_xstart": (
        "respacing", "x_0 there, from x_t", f"{_ND}, section 4", _IMAGES, "pixels in [-1, 1]",
        (f"{_P}pred_xstart", "respaced betas")),
    "respaced mean": (
        "respacing", "mean of p there", f"{_ND}, section 4", _IMAGES, "pixels in [-1, 1]",
        ("respaced pred_xstart",)),
    "respaced log variance": (
        "respacing", "log-variance of p there", f"{_ND}, section 4", _BATCH,
        "log of a variance", ("respaced betas",)),
    "respaced loss": (
        "respaced loss", "the training loss there, of what a good network says", f"{_HO}, eq. 14",
        _BATCH, "squared noise; bits/dim for the bound", ("respaced betas", "loss")),
    "guided output": (
        "guidance", "eps_u + 3 (eps_c - eps_u) of `conditional` and `unconditional`; a learned"
        " variance is that of the former", "Ho & Salimans 2022, eq. 6", _IMAGES, "none", ()),
    "gradient of the loss by the output": (
        "loss gradient", "of the losses' sum, by what the network says; of a bound, at t > 0",
        f"{_HO}, eq. 14", _IMAGES, "none", ("loss",)),
    "loss": ("loss", "the training loss of each example", f"{_HO}, eq. 14", _BATCH,
             "squared noise; bits/dim for the bound", ("q_sample",)),
    "bpd term": ("bpd", "the term of the variational bound at t", f"{_HO}, eq. 8 and 13", _BATCH,
                 "bits/dim", ("posterior mean", "posterior log variance", f"{_P}mean",
                              f"{_P}log variance")),
    "three steps of Adam": ("optimizer", "how far weights move in each of three steps",
                            "Kingma & Ba 2015, algorithm 1", "[3 x weights]", "weights", ()),
    "learning rate": ("learning rate", "of steps in the warmup and after it",
                      f"{_HO}, appendix B", "[steps]", "weights per step", ()),
    "clipped gradients": ("clipping", "gradients after clipping, small ones and large ones",
                          f"{_HO}'s code", "[2 x weights]", "gradients", ()),
    "average of the weights": ("average", "after each of some steps", f"{_HO}, appendix B",
                               "[steps x weights]", "weights", ()),
    TIMESTEPS: ("timesteps", "how often each is drawn after `losses`, of all in turn",
                f"{_ND}, section 3.3", "[T]", "probability", ()),
    "pixels into numbers": ("data", "of the pixels 0..255", f"{_HO}, section 3.3", "[256]",
                            "numbers in [-1, 1]", ()),
    "ten training steps": (
        "training", "how far the weights of w_0 x + w_1 sin(3 x + 0.01 t) + w_2 have moved after"
        " each step, from pixels to Adam, without flips", f"{_HO}, algorithm 1 and appendix B",
        "[10, 3]", "weights", ("loss", "three steps of Adam", "learning rate",
                               "clipped gradients", "pixels into numbers")),
    "the average over ten training steps": (
        "training", "how far their average has", f"{_HO}, appendix B", "[10, 3]", "weights",
        ("ten training steps", "average of the weights")),
    "numbers into pixels": ("data", "of numbers in [-1, 1] and a little beyond",
                            f"{_HO}, section 3.3", "[numbers]", "pixels 0..255", ()),
}  # fmt: skip
_OF_KINDS = {
    "sinusoids": ("sinusoids of t", f"{_HO}, appendix B; Vaswani et al. 2017, section 3.5"),
    "temb": ("the time embedding", f"{_HO}, appendix B"),
    "conv_in": ("the first convolution", f"{_HO}, appendix B"),
    "block": ("a residual block", f"{_HO}, appendix B; He et al. 2016"),
    "attention": (
        "self-attention between pixels",
        f"{_HO}, appendix B; Vaswani et al. 2017, eq. 1",
    ),
    "downsample": ("half height and width", f"{_HO}, appendix B"),
    "upsample": ("twice height and width", f"{_HO}, appendix B"),
    "output": ("what the network predicts", f"{_HO}, appendix B"),
}


def stage_of(name: str, group: str, *, rests_on: tuple[str, ...] = ()) -> Stage:
    """A stage by its name.

    Args:
        name: as in the table.
        group: one of `GROUPS`; a stage of the network or a gradient is described by it.
        rests_on: for a stage of the network, those whose values go into it.
    """
    tolerance, why = TOLERANCES[group]
    floor = BOUND_FLOOR if group == "bpd" else float(name in LOG_VARIANCES or group == "data")
    if name == "dropout":
        floor = 1e-3
    if name.startswith("timesteps"):
        tolerance, why = 1e-6, "whole numbers"
    if name == "respaced loss":  # of a good network, also where the loss is no bound
        floor = 1e-2
    if name in _TABLE:
        _, what, equation, shape, units, its = _TABLE[name]
        return Stage(name, group, what, equation, shape, units, tolerance, why, its, floor)
    if group == "network":
        if name in ("sinusoids", "temb"):
            tolerance, why = _ANGLES
        what, equation = _OF_KINDS.get(kind_of(name), (name, f"{_HO}, appendix B"))
        shape = "[B, channels]" if name in ("sinusoids", "temb") else _IMAGES
        return Stage(name, group, what, equation, shape, "none", tolerance, why, rests_on)
    what = "of the mean square error between the network's output and the noise"
    return Stage(name, group, what if group == "gradient" else name, f"{_HO}, eq. 14",
                 "as the weights", "none", tolerance, why, ("output",))  # fmt: skip


def of_examples(log_variance: Any) -> Any:
    """[B, 1, ...] or [B, ...] to [B]: a fixed variance is the same for all pixels."""
    if log_variance is None:
        return None
    array = log_variance if hasattr(log_variance, "reshape") else np.asarray(log_variance)
    return array.reshape(len(array), -1)[:, 0]


def resting_on(name: str, among: list[str]) -> list[str]:
    """Those of some stages beyond the network that rest on one, by way of others, too."""
    found = {name}
    while True:
        more = {s for s in among if s in _TABLE and set(_TABLE[s][5]) & found} - found
        if not more:
            return [s for s in among if s in found and s != name]
        found |= more
