"""What schedules and the coefficients made of them do differently, one row each."""

from typing import Any

import numpy as np

from diffusion_tf.crosscheck.reasons.reason import Reason
from diffusion_tf.schedules import BETA_SCHEDULES

_BETAS = "Ho et al. 2020, section 4: betas rising linearly from 1e-4 to 0.02"
_SIGMOID = "Jabri et al. 2022, figure 8: abar = (sigmoid(end / tau) - sigmoid(x / tau)) / ..."
_ROOT = "Li et al. 2022, appendix A: abar = 1 - sqrt(t / T + 1e-4)"
_COSINE = "Nichol & Dhariwal 2021, eq. 17: abar = cos^2((t / T + 0.008) / 1.008 pi / 2)"


def _shifted(values: np.ndarray, by: int) -> np.ndarray:
    """values[t + by], the first or the last one repeated."""
    order = np.clip(np.arange(len(values)) + by, 0, len(values) - 1)
    return values[order]


def _cosine(T: int, offset: float, most: float, power: int = 2) -> np.ndarray:
    time = np.arange(T + 1) / T
    abar = np.cos((time + offset) / (1 + offset) * np.pi / 2) ** power
    return np.minimum(1 - abar[1:] / abar[:-1], most)


def _along(abar: np.ndarray) -> np.ndarray:
    """Betas [T] of an abar [T + 1] that begins at t = 0, up to a factor."""
    return np.clip(1 - abar[1:] / abar[:-1], 0.0, 0.999)


def _sigmoid(T: int, start: float, end: float, tau: float, dtype: Any = np.float64) -> np.ndarray:
    """abar falls along a logistic function, to what is left above its value at the end."""
    rise = 1 / (1 + np.exp(-np.linspace(start, end, T + 1) / tau))
    return _along(np.float64(rise[-1].astype(dtype)) - rise)


def _linear(start: float, end: float) -> Any:
    return lambda c: np.linspace(start, end, c.T)


SCHEDULE = (
    Reason("betas scaled by 1000 / T", "betas", {"rescale_betas": True}, _BETAS, common=True),
    *(
        Reason(f"the schedule {name!r}", "betas", {"beta_schedule": name}, _BETAS, common=True)
        for name in BETA_SCHEDULES
    ),
    *(
        Reason(name, "betas", {"betas": formula}, _BETAS)
        for name, formula in {
            "the last beta left out of the range (no endpoint)": lambda c: np.linspace(
                c.start, c.end, c.T, endpoint=False
            ),
            "the first beta left out of the range": lambda c: np.linspace(
                c.start, c.end, c.T + 1
            )[1:],
            "betas made for T + 1 steps, the last one cut off": lambda c: np.linspace(
                c.start, c.end, c.T + 1
            )[:-1],
            "betas of one step later": lambda c: _shifted(c.betas, 1),
            "betas of one step earlier": lambda c: _shifted(c.betas, -1),
            "0 before the betas, the last one cut off": lambda c: np.append(0.0, c.betas[:-1]),
            "betas in falling order": lambda c: c.betas[::-1],
            "the roots of the betas for the betas": lambda c: np.sqrt(c.betas),
            "the squares of the betas for the betas": lambda c: c.betas**2,
            "half the betas": lambda c: c.betas / 2,
            "twice the betas": lambda c: np.minimum(2 * c.betas, 1.0),
            "1 - beta for beta": lambda c: 1 - c.betas,
            "betas on a logarithmic scale": lambda c: np.geomspace(c.start, c.end, c.T),
            "betas rounded to float16": lambda c: c.betas.astype(np.float16).astype(np.float64),
            "betas scaled by T / 1000": lambda c: np.minimum(c.betas * c.T / 1000, 1.0),
            "betas from 1e-4 to 0.02": _linear(1e-4, 0.02),
            "betas from 1e-4 to 0.01": _linear(1e-4, 0.01),
            "betas from 1e-4 to 0.028": _linear(1e-4, 0.028),
            "betas from 1e-4 to 0.002": _linear(1e-4, 0.002),
            "betas from 1e-4 to 0.2": _linear(1e-4, 0.2),
            "betas from 1e-3 to 0.02": _linear(1e-3, 0.02),
            "betas from 1e-5 to 0.02": _linear(1e-5, 0.02),
            "betas from 1e-6 to 0.01": _linear(1e-6, 0.01),
            "betas from 0.0015 to 0.0195": _linear(0.0015, 0.0195),
            "betas from 0.00085 to 0.012": _linear(0.00085, 0.012),
            "betas from 0.00085 to 0.012, linear in their roots": lambda c: np.linspace(
                0.00085**0.5, 0.012**0.5, c.T
            ) ** 2,
        }.items()
    ),
    *(
        Reason(name, "betas", {"betas": formula}, _COSINE)
        for name, formula in {
            "the cosine schedule without its offset": lambda c: _cosine(c.T, 0.0, 0.999),
            "the cosine schedule with betas up to 0.9999": lambda c: _cosine(c.T, 0.008, 0.9999),
            "the cosine schedule with betas up to 0.99": lambda c: _cosine(c.T, 0.008, 0.99),
            "the cosine schedule with betas up to 0.02": lambda c: _cosine(c.T, 0.008, 0.02),
            "the cosine schedule with the offset 0.0008": lambda c: _cosine(c.T, 0.0008, 0.999),
            "the cosine schedule without its square": lambda c: _cosine(c.T, 0.008, 0.999, 1),
        }.items()
    ),
    *(
        Reason(name, "betas", {"betas": formula}, _SIGMOID)
        for name, formula in {
            "abar along a sigmoid from -3 to 3": lambda c: _sigmoid(c.T, -3, 3, 1),
            "abar along a sigmoid from -3 to 3, its end rounded to float32": lambda c: _sigmoid(
                c.T, -3, 3, 1, np.float32
            ),
            "abar along a sigmoid from 0 to 3 with tau 0.3": lambda c: _sigmoid(c.T, 0, 3, 0.3),
        }.items()
    ),
    Reason("abar along 1 - sqrt(t / T + 1e-4)", "betas",
           {"betas": lambda c: _along(1 - np.sqrt(np.arange(c.T + 1) / c.T + 1e-4))}, _ROOT),
    Reason("abar along exp(-12 t / T)", "betas",
           {"betas": lambda c: _along(np.exp(-12 * np.arange(c.T + 1) / c.T))}, _BETAS),
)  # fmt: skip


def _log_floor(floor: float) -> Any:
    return lambda c: np.log(np.maximum(c.posterior_variance, floor))


def _ratio(c: Any) -> np.ndarray:
    return (1 - c.alphas_cumprod_prev) / (1 - c.alphas_cumprod)


def _pad(values: np.ndarray, first: float) -> np.ndarray:
    return np.append(first, values[:-1])


_ABAR = "Ho et al. 2020, eq. 4: abar_t, the product of 1 - beta_s over s <= t"
_EQ_4 = "Ho et al. 2020, eq. 4: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps"
_EQ_7 = (
    "Ho et al. 2020, eq. 7: the mean sqrt(abar_{t-1}) beta_t / (1 - abar_t) x_0"
    " + sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) x_t"
)
_VARIANCE = "Ho et al. 2020, eq. 7: the variance (1 - abar_{t-1}) / (1 - abar_t) beta_t"
_FORMULAS: dict[tuple[str, str], dict[str, Any]] = {
    ("alphas_cumprod", _ABAR): {
        "abar as a product in float32": lambda c: np.cumprod(
            (1 - c.betas).astype(np.float32), dtype=np.float32
        ),
        "1 - beta instead of its products in abar": lambda c: 1 - c.betas,
        "products of beta instead of 1 - beta": lambda c: np.cumprod(c.betas),
        "1 minus the sum of betas instead of the product": lambda c: 1 - np.cumsum(c.betas),
        "exp(-sum of betas) instead of the product": lambda c: np.exp(-np.cumsum(c.betas)),
        "products of the roots of 1 - beta": lambda c: np.cumprod(np.sqrt(1 - c.betas)),
        "abar of one step earlier, beginning with 1": lambda c: _pad(np.cumprod(1 - c.betas), 1.0),
        "abar of one step later": lambda c: _shifted(np.cumprod(1 - c.betas), 1),
        "abar of one step earlier": lambda c: _shifted(np.cumprod(1 - c.betas), -1),
        "products of 1 - beta^2": lambda c: np.cumprod(1 - c.betas**2),
    },
    ("alphas_cumprod_prev", _ABAR): {
        "abar of the step before the first taken for abar_0 instead of 1": lambda c: _pad(
            c.alphas_cumprod, c.alphas_cumprod[0]
        ),
        "abar before the first step 0 instead of 1": lambda c: _pad(c.alphas_cumprod, 0.0),
        "abar_t for abar_{t-1}": lambda c: c.alphas_cumprod,
        "abar_{t+1} for abar_{t-1}": lambda c: np.append(c.alphas_cumprod[1:], 0.0),
        "abar_{t+1} for abar_{t-1}, the last repeated": lambda c: _shifted(c.alphas_cumprod, 1),
        "abar_{t-2} for abar_{t-1}": lambda c: np.concatenate([[1.0, 1.0], c.alphas_cumprod])[
            : len(c.betas)
        ],
    },
    ("sqrt_alphas_cumprod", _EQ_4): {
        "x_0 times abar instead of its root": lambda c: c.alphas_cumprod,
        "x_0 times 1, not scaled down": lambda c: np.ones_like(c.betas),
        "x_0 times the root of alpha instead of abar": lambda c: np.sqrt(1 - c.betas),
        "x_0 times the root of abar_{t-1}": lambda c: np.sqrt(c.alphas_cumprod_prev),
    },
    ("sqrt_one_minus_alphas_cumprod", _EQ_4): {
        "noise times 1 - abar instead of its root": lambda c: 1 - c.alphas_cumprod,
        "noise times 1 - sqrt(abar)": lambda c: 1 - np.sqrt(c.alphas_cumprod),
        "noise times sqrt(beta) instead of sqrt(1 - abar)": lambda c: np.sqrt(c.betas),
        "noise times sqrt(1 - abar_{t-1})": lambda c: np.sqrt(1 - c.alphas_cumprod_prev),
        "noise times sqrt(1 - abar^2)": lambda c: np.sqrt(1 - c.alphas_cumprod**2),
        "noise times sqrt(abar)": lambda c: np.sqrt(c.alphas_cumprod),
    },
    ("log_one_minus_alphas_cumprod", _EQ_4): {
        "half the logarithm of 1 - abar": lambda c: 0.5 * np.log(1 - c.alphas_cumprod),
        "the logarithm of abar instead of 1 - abar": lambda c: np.log(c.alphas_cumprod),
        "the logarithm in base 2": lambda c: np.log2(1 - c.alphas_cumprod),
        "the logarithm in base 10": lambda c: np.log10(1 - c.alphas_cumprod),
    },
    ("sqrt_recip_alphas_cumprod", _EQ_4): {
        "1 / abar instead of its root": lambda c: 1 / c.alphas_cumprod,
        "1 / sqrt(alpha) instead of 1 / sqrt(abar)": lambda c: (1 - c.betas) ** -0.5,
        "sqrt(abar) instead of its reciprocal": lambda c: np.sqrt(c.alphas_cumprod),
        "1 / sqrt(abar_{t-1})": lambda c: c.alphas_cumprod_prev**-0.5,
        "x_t not divided by sqrt(abar)": lambda c: np.ones_like(c.betas),
    },
    ("sqrt_recipm1_alphas_cumprod", _EQ_4): {
        "1 / abar - 1 without its root": lambda c: 1 / c.alphas_cumprod - 1,
        "sqrt(1 / abar) - 1 instead of sqrt(1 / abar - 1)": lambda c: c.alphas_cumprod**-0.5 - 1,
        "sqrt(1 - abar), not divided by sqrt(abar)": lambda c: np.sqrt(1 - c.alphas_cumprod),
        "sqrt(1 / alpha - 1) instead of sqrt(1 / abar - 1)": lambda c: np.sqrt(
            1 / (1 - c.betas) - 1
        ),
        "(1 - abar) / sqrt(abar)": lambda c: (1 - c.alphas_cumprod) / np.sqrt(c.alphas_cumprod),
        "beta / sqrt(1 - abar) / sqrt(alpha)": lambda c: (
            c.betas / np.sqrt(1 - c.alphas_cumprod) / np.sqrt(1 - c.betas)
        ),
        "sqrt(1 / abar + 1)": lambda c: np.sqrt(1 / c.alphas_cumprod + 1),
    },
    ("posterior_variance", _VARIANCE): {
        "beta for the posterior's variance": lambda c: c.betas,
        "the ratio of 1 - abar upside down in the posterior's variance": lambda c: (
            c.betas / np.where(_ratio(c) > 0, _ratio(c), 1)
        ),
        "the posterior's deviation for its variance": lambda c: np.sqrt(c.betas * _ratio(c)),
        "the posterior's variance without beta": lambda c: _ratio(c),
        "abar for 1 - abar in the posterior's variance": lambda c: (
            c.betas * c.alphas_cumprod_prev / c.alphas_cumprod
        ),
        "alpha for beta in the posterior's variance": lambda c: (1 - c.betas) * _ratio(c),
        "roots of 1 - abar in the posterior's variance": lambda c: c.betas * np.sqrt(_ratio(c)),
        "the posterior's variance at least 1e-20": lambda c: np.maximum(c.betas * _ratio(c), 1e-20),
        "the second posterior's variance for the first, which is 0": lambda c: np.append(
            (c.betas * _ratio(c))[1:2], (c.betas * _ratio(c))[1:]
        ),
        "the first beta for the first posterior's variance, which is 0": lambda c: np.append(
            c.betas[0], (c.betas * _ratio(c))[1:]
        ),
    },
    ("posterior_log_variance_clipped", _VARIANCE): {
        **{
            f"the posterior's variance at least {floor:g} before its logarithm": _log_floor(floor)
            for floor in (1e-20, 1e-10, 1e-12, 1e-8, 1e-5)
        },
        "half the posterior's log-variance": lambda c: (
            0.5 * np.log(np.append(c.posterior_variance[1:2], c.posterior_variance[1:]))
        ),
        "log(beta) for the posterior's log-variance": lambda c: np.log(c.betas),
        "log(beta_1) for the first of the posterior's log-variances": lambda c: np.log(
            np.append(c.betas[0], c.posterior_variance[1:])
        ),
        "the posterior's variance without a logarithm": lambda c: c.posterior_variance,
        "a floor of 1e-20 added to the posterior's variance": lambda c: np.log(
            c.posterior_variance + 1e-20
        ),
    },
    ("posterior_mean_coef1", _EQ_7): {
        "abar_{t-1} without its root in the posterior's mean": lambda c: (
            c.betas * c.alphas_cumprod_prev / (1 - c.alphas_cumprod)
        ),
        "abar_t for abar_{t-1} in the posterior's mean, of x_0": lambda c: (
            c.betas * np.sqrt(c.alphas_cumprod) / (1 - c.alphas_cumprod)
        ),
        "sqrt(abar_{t-1}) forgotten in the posterior's mean": lambda c: (
            c.betas / (1 - c.alphas_cumprod)
        ),
        "the root of 1 - abar in the posterior's mean, of x_0": lambda c: (
            c.betas * np.sqrt(c.alphas_cumprod_prev) / np.sqrt(1 - c.alphas_cumprod)
        ),
        "sqrt(beta) for beta in the posterior's mean": lambda c: (
            np.sqrt(c.betas * c.alphas_cumprod_prev) / (1 - c.alphas_cumprod)
        ),
        "1 - abar_{t-1} for 1 - abar_t in the posterior's mean, of x_0": lambda c: (
            c.betas
            * np.sqrt(c.alphas_cumprod_prev)
            / np.where(c.alphas_cumprod_prev < 1, 1 - c.alphas_cumprod_prev, 1)
        ),
        "sqrt(alpha) for sqrt(abar_{t-1}) in the posterior's mean": lambda c: (
            c.betas * np.sqrt(1 - c.betas) / (1 - c.alphas_cumprod)
        ),
    },
    ("posterior_mean_coef2", _EQ_7): {
        "alpha without its root in the posterior's mean": lambda c: _ratio(c) * (1 - c.betas),
        "sqrt(alpha) forgotten in the posterior's mean": _ratio,
        "sqrt(abar_t) for sqrt(alpha_t) in the posterior's mean": lambda c: (
            _ratio(c) * np.sqrt(c.alphas_cumprod)
        ),
        "abar_{t-1} for 1 - abar_{t-1} in the posterior's mean": lambda c: (
            c.alphas_cumprod_prev * np.sqrt(1 - c.betas) / (1 - c.alphas_cumprod)
        ),
        "1 - abar_t for 1 - abar_{t-1} in the posterior's mean, of x_t": lambda c: np.sqrt(
            1 - c.betas
        ),
        "roots of 1 - abar in the posterior's mean, of x_t": lambda c: (
            np.sqrt(_ratio(c)) * np.sqrt(1 - c.betas)
        ),
        "sqrt(beta) for sqrt(alpha) in the posterior's mean": lambda c: (
            _ratio(c) * np.sqrt(c.betas)
        ),
    },
}


def _coef1(c: Any) -> np.ndarray:
    return c.betas * np.sqrt(c.alphas_cumprod_prev) / (1 - c.alphas_cumprod)


COEFFICIENTS = (
    *(
        Reason(name, stage, {stage: formula}, equation)
        for (stage, equation), formulas in _FORMULAS.items()
        for name, formula in formulas.items()
    ),
    Reason("the two coefficients of x_t exchanged", "sqrt_alphas_cumprod",
           {"sqrt_alphas_cumprod": lambda c: np.sqrt(1 - c.alphas_cumprod),
            "sqrt_one_minus_alphas_cumprod": lambda c: np.sqrt(c.alphas_cumprod)}, _EQ_4),
    Reason("both coefficients of x_t without their roots", "sqrt_alphas_cumprod",
           {"sqrt_alphas_cumprod": lambda c: c.alphas_cumprod,
            "sqrt_one_minus_alphas_cumprod": lambda c: 1 - c.alphas_cumprod}, _EQ_4),
    Reason("the two coefficients of the posterior's mean exchanged", "posterior_mean_coef1",
           {"posterior_mean_coef1": lambda c: _ratio(c) * np.sqrt(1 - c.betas),
            "posterior_mean_coef2": _coef1}, _EQ_7),
)  # fmt: skip
