"""Plots of the variational bound: its terms, the error of x_0, and rate against distortion."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffusion_tf.evaluation.report.paper import RATE_DISTORTION

# Colours that people with any colour vision can tell apart (Okabe and Ito 2008). The training set
# is a broad line, on which that of the test set is still seen where both agree.
_STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": "#56b4e9", "linewidth": 4.0, "marker": "s", "markersize": 7},
    "test": {"color": "#d55e00", "linewidth": 1.3, "marker": "o", "markersize": 3.5},
}
_OTHER: dict[str, Any] = {
    "color": "#009e73", "linewidth": 1.3, "linestyle": "--", "marker": "^", "markersize": 4,
}  # fmt: skip
_PAPER: dict[str, Any] = {
    "color": "black",
    "linestyle": "none",
    "marker": "x",
    "label": "paper, test",
}
_FEW = 40  # timesteps, which are drawn one by one and on a linear axis

Split = Mapping[str, Any]


def bpd_by_timestep(bpd: Mapping[str, Split]) -> bytes:
    """The terms of the bound over t + 1, on logarithmic axes; at t = 0 it is the decoder's.

    Args:
        bpd: by split: `terms`, T numbers in bits/dim, as `calc_bpd_loop` orders them.

    Returns:
        A PNG.
    """
    terms = {split: values["terms"] for split, values in bpd.items() if "terms" in values}
    return _over_timesteps(terms, ylabel="term of the bound, bits/dim")


def mse_by_timestep(bpd: Mapping[str, Split]) -> bytes:
    """The mean square error of the x_0 predicted from x_t, over t + 1, on logarithmic axes.

    Args:
        bpd: by split: `mse`, T numbers, of pixels in [-1, 1].

    Returns:
        A PNG.
    """
    errors = {split: values["mse"] for split, values in bpd.items() if "mse" in values}
    return _over_timesteps(errors, ylabel="mean square error of $x_0$")


def rate_distortion(curves: Mapping[str, Split], *, with_paper: bool = False) -> bytes:
    """Distortion and rate over the reverse steps, and one over the other (the paper's Figure 5).

    Args:
        curves: by split: `reverse_steps`, `rate` in bits/dim, `distortion` as root mean square
            error on the scale 0..255.
        with_paper: draw the paper's table 4, too; it is of CIFAR-10.

    Returns:
        A PNG.
    """
    rate, distortion = "rate, bits/dim", "distortion, RMSE 0..255"
    panels = (
        ("reverse_steps", "distortion", "reverse steps, $T - t$", distortion),
        ("reverse_steps", "rate", "reverse steps, $T - t$", rate),
        ("rate", "distortion", rate, distortion),
    )
    steps, rates, distortions = zip(*RATE_DISTORTION, strict=True)
    paper = {"reverse_steps": steps, "rate": rates, "distortion": distortions}
    figure = Figure(figsize=(9.6, 3.2), dpi=150, layout="constrained")
    for axis, (x, y, xlabel, ylabel) in zip(figure.subplots(1, 3), panels, strict=True):
        for split, curve in curves.items():
            _draw(axis, split, curve[x], curve[y])
        if with_paper:
            axis.plot(paper[x], paper[y], **_PAPER)
        _finish(axis, xlabel, ylabel)
        axis.set_ylim(bottom=0)
        if x == "reverse_steps":
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _to_png(figure)


def _over_timesteps(values: Mapping[str, Sequence[float]], *, ylabel: str) -> bytes:
    figure = Figure(figsize=(4.8, 3.0), dpi=150, layout="constrained")
    axis = figure.subplots()
    for split, of_t in values.items():
        _draw(axis, split, np.arange(1, len(of_t) + 1), of_t)
    if max(map(len, values.values())) > _FEW:
        axis.set_xscale("log")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_yscale("log", nonpositive="mask")
    _finish(axis, "steps of diffusion, $t + 1$", ylabel)
    return _to_png(figure)


def _draw(axis: Axes, split: str, x: Sequence[float] | np.ndarray, y: Sequence[float]) -> None:
    style = _STYLES.get(split, _OTHER)
    if len(x) > _FEW:
        style = {**style, "marker": ""}
    axis.plot(x, y, label=split, **style)


def _finish(axis: Axes, xlabel: str, ylabel: str) -> None:
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


def _to_png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
