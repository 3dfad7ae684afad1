"""Plots of the bound: what they draw, read back from the figure before it becomes pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.evaluation.report import plots
from diffusion_tf.evaluation.report.paper import RATE_DISTORTION
from helpers.evaluation_metrics import cifar10_metrics


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were turned into PNG."""
    figures, to_png = [], plots._to_png

    def keep(figure):
        figures.append(figure)
        return to_png(figure)

    monkeypatch.setattr(plots, "_to_png", keep)
    return figures


def lines(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def check_is_a_picture(png):
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        assert min(picture.size) > 300
        assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize(("T", "xscale"), [(12, "linear"), (1000, "log")])
@pytest.mark.parametrize("name", ["terms", "mse"])
def test_values_over_timesteps(drawn, name, T, xscale):
    bpd = cifar10_metrics(T)["bpd"]
    bpd["train"][name] = [2.0 * value for value in bpd["train"][name]]
    draw = {"terms": plots.bpd_by_timestep, "mse": plots.mse_by_timestep}[name]
    check_is_a_picture(draw(bpd))
    (axis,) = drawn[0].axes
    assert (axis.get_xscale(), axis.get_yscale()) == (xscale, "log")
    for split in ("train", "test"):
        line = lines(axis)[split]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, T + 1))
        np.testing.assert_array_equal(line.get_ydata(), bpd[split][name])
        assert (line.get_marker() not in ("", "None")) == (T == 12)


def test_only_the_splits_that_there_are(drawn):
    bpd = cifar10_metrics(12)["bpd"]
    del bpd["train"]["terms"]
    plots.bpd_by_timestep(bpd)
    assert set(lines(drawn[0].axes[0])) == {"test"}


@pytest.mark.filterwarnings("ignore:(divide|invalid)")  # the logarithm of 0 and of less
def test_a_term_of_zero_leaves_a_gap(drawn):
    bpd = {"test": {"terms": [1.0, 0.1, 0.0, -1e-9, 0.01]}}
    check_is_a_picture(plots.bpd_by_timestep(bpd))
    (axis,) = drawn[0].axes
    low, high = axis.get_ylim()
    assert 1e-3 < low < 0.01 < 1 < high < 10
    drawn_at = axis.transData.transform(np.transpose(axis.get_lines()[0].get_data()))[:, 1]
    np.testing.assert_array_equal(np.isfinite(drawn_at), [True, True, False, False, True])


@pytest.mark.parametrize("T", [12, 1000])
def test_rate_and_distortion_are_in_three_panels(drawn, T):
    curves = cifar10_metrics(T)["rate_distortion"]
    check_is_a_picture(plots.rate_distortion(curves))
    curve, data = curves["test"], []
    for axis in drawn[0].axes:
        (line,) = axis.get_lines()
        data.append((list(line.get_xdata()), list(line.get_ydata())))
        assert axis.get_ylim()[0] == 0
    assert data == [
        (curve["reverse_steps"], curve["distortion"]),
        (curve["reverse_steps"], curve["rate"]),
        (curve["rate"], curve["distortion"]),
    ]


def test_the_papers_table_is_beside_it_if_asked_for(drawn):
    curves = cifar10_metrics()["rate_distortion"]
    plots.rate_distortion(curves, with_paper=True)
    steps, rates, distortions = (list(column) for column in zip(*RATE_DISTORTION, strict=True))
    points = [lines(axis)["paper, test"].get_data() for axis in drawn[0].axes]
    expected = [(steps, distortions), (steps, rates), (rates, distortions)]
    assert [(list(x), list(y)) for x, y in points] == expected
