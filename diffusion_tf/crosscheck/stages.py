"""The stages of a comparison as data: what each is, its tolerance, what it rests on."""

from dataclasses import dataclass

from diffusion_tf.crosscheck.stage_table import LOG_VARIANCES
from diffusion_tf.crosscheck.varied_network import kind_of

_HO = "Ho et al. 2020"


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
    "forward process": ("schedule",),
    "reverse process": ("schedule",),
    "sampling": ("schedule", "reverse process"),
    "ddim": ("schedule", "reverse process"),
    "loss": ("schedule",),
    "bpd": ("schedule", "reverse process"),
    "optimizer": (),
    "learning rate": (),
    "clipping": (),
    "average": (),
    "data": (),
}
# What few offer; the table does not list it where it is missing.
OPTIONAL = ("weights", "ddim", "learning rate", "clipping", "average", "data")
# Largest relative difference, and what it comes from: rounding in float32, with room for other
# processors. Beside diffusers the paper's CIFAR-10 network is 9e-6 off, its gradient 2.5e-5.
TOLERANCES: dict[str, tuple[float, str]] = {
    "weights": (0.0, "they are copied"),
    "schedule": (1e-6, "rounding of float32"),
    "coefficients": (1e-6, "rounding of float32"),
    "network": (2e-5, "rounding of float32 through the layers; 9e-6 beside diffusers"),
    "gradient": (1e-4, "rounding of float32 there and back; 2.5e-5 beside diffusers"),
    "forward process": (1e-5, "rounding of float32"),
    "reverse process": (1e-5, "rounding of float32"),
    "sampling": (1e-4, "rounding of float32 over ten steps; 4e-5 beside diffusers"),
    "ddim": (1e-5, "rounding of float32"),
    "loss": (1e-5, "rounding of float32"),
    "bpd": (1e-4, "what is left of 1 - 1 in a small KL"),
    "optimizer": (1e-4, "powers of beta in float32, as TensorFlow 1 has them"),
    "learning rate": (1e-6, "rounding of float32"),
    "clipping": (1e-6, "rounding of float32"),
    "average": (1e-6, "rounding of float32"),
    "data": (1e-6, "rounding of float32"),
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
    "pixels into numbers": ("data", "of the pixels 0..255", f"{_HO}, section 3.3", "[256]",
                            "numbers in [-1, 1]", ()),
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


def resting_on(name: str, among: list[str]) -> list[str]:
    """Those of some stages beyond the network that rest on one, by way of others, too."""
    found = {name}
    while True:
        more = {s for s in among if s in _TABLE and set(_TABLE[s][5]) & found} - found
        if not more:
            return [s for s in among if s in found and s != name]
        found |= more
