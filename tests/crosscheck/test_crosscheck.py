"""The cross-check against the real packages, as they are and with planted faults."""

import os
import re
import sys

import pytest

from diffusion_tf import get_config
from diffusion_tf.crosscheck import crosscheck
from diffusion_tf.crosscheck.stage_table import NOT_COMPARED
from diffusion_tf.crosscheck.stages import COEFFICIENTS
from helpers.crosscheck_cases import (
    CLIP,
    CONFIG,
    COS_FIRST,
    EPSILON,
    HALF,
    INTERLEAVED,
    PADDING,
    SMALL,
    SMALL_FOR_LARGE,
    SMALL_VARIANCE,
    check_found,
    checkout,
    own_module,
    stages,
)
from helpers.rows import mostly_slow

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("einops")  # with which denoising_diffusion_pytorch comes; see setup.py
pytestmark = pytest.mark.extras

from helpers.pytorch_ddpm_port import checkout as pytorch_ddpm_checkout  # noqa: E402

# A folder that passes for a checkout, and, where the variable names one, the real one.
CHECKOUTS = ["", *filter(None, [os.environ.get("PYTORCH_DIFFUSION_CHECKOUT")])]


# --- Implementations that agree


def test_diffusers_agrees():
    _, comparison = crosscheck(CONFIG, against="diffusers")
    assert comparison.agrees, comparison.summary()
    expected = {*COEFFICIENTS} - {"alphas_cumprod"}
    other_spacings = {f"{what}, {spacing}" for spacing in ("trailing", "linspace")
                      for what in ("timesteps", "DDIM in fewer steps")}  # fmt: skip
    missing = expected | other_spacings | {"loss", "optimizer"}
    assert set(stages(comparison, NOT_COMPARED)) == missing
    names = [row.stage for row in comparison.rows]
    assert names[12:16] == ["sinusoids", "temb", "conv_in", "down_0/block_0"]
    end = names.index("output")
    assert names[end - 1 : end + 5] == [
        "up_0/block_1", "output", "gradient of the loss by x", "gradient of the loss by weights",
        "dropout", "q_sample",
    ]  # fmt: skip


WRONG_STEP = "a wrong previous step: T / S below instead of the next of the timesteps, in DDIM"


@pytest.mark.slow
@pytest.mark.parametrize("spacing, reasons", [("trailing", ()), ("linspace", (WRONG_STEP,))])
def test_ddim_of_diffusers_in_its_other_spacings(spacing, reasons):
    _, comparison = crosscheck(CONFIG, against="diffusers", options={"timestep_spacing": spacing})
    found = [(finding.stage, finding.reasons) for finding in comparison.findings]
    assert found == ([(f"DDIM in fewer steps, {spacing}", reasons)] if reasons else [])
    assert comparison.agrees == (not reasons)


def test_denoising_diffusion_pytorch_agrees():
    counterpart, comparison = crosscheck(SMALL_VARIANCE, against="denoising_diffusion_pytorch")
    assert re.fullmatch(r"denoising_diffusion_pytorch \d.*: GaussianDiffusion", counterpart.name)
    assert comparison.agrees, comparison.summary()
    assert stages(comparison, NOT_COMPARED) == ["network", "gradient", "optimizer"]


@pytest.mark.parametrize("path", CHECKOUTS)
def test_a_checkout_of_pytorch_diffusion_agrees(path, tmp_path):
    path = path or checkout(tmp_path)
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    assert comparison.agrees, comparison.summary()
    compared = {row.stage for row in comparison.rows} - set(stages(comparison, NOT_COMPARED))
    assert {"posterior_mean_coef1", "sinusoids", "up_1/upsample", "output"} <= compared
    assert {"p_mean_variance: mean", "last ten steps of sampling"} <= compared
    assert path not in sys.path


# --- Planted faults

MEAN_CLIPPED = """sample = mean.clamp(-1, 1) + sample - mean
    return (sample,"""
CLIPPED_MEAN = """
import torch
from diffusers import DDPMScheduler
from diffusion_tf.crosscheck.denoising_diffusion import (
    PackageProcess, function_model, import_package,
)
from diffusion_tf.crosscheck.diffusers import SchedulerProcess

class Scheduler(DDPMScheduler):
    def step(self, model_output, timestep, sample):
        if self.config.prediction_type == "sample":
            return super().step(model_output, timestep, sample)
        with torch.random.fork_rng():
            noise = torch.randn_like(sample)
        drawn = super().step(model_output, timestep, sample)
        part = (self._get_variance(timestep) ** 0.5 if timestep else 0) * noise
        drawn.prev_sample = (drawn.prev_sample - part).clamp(-1, 1) + part
        return drawn

class GaussianDiffusion(import_package().GaussianDiffusion):
    def p_mean_variance(self, x, t, x_self_cond=None, clip_denoised=True):
        mean, *rest = super().p_mean_variance(x, t, x_self_cond, clip_denoised=False)
        return mean.clamp(-1, 1), *rest

def diffusers(config):
    return SchedulerProcess(Scheduler(clip_sample=False, variance_type="fixed_small"))

def package(config):
    model = function_model(config.channels)
    return PackageProcess(GaussianDiffusion(
        model, image_size=config.image_size, objective="pred_noise", beta_schedule="linear"))
"""


@pytest.mark.parametrize(
    "options, stage, reasons",
    mostly_slow(
        [
            ({"norm_eps": 1e-5}, "down_0/block_0", [EPSILON]),
            ({"downsample_padding": 1}, "down_0/downsample", [PADDING]),
            ({"flip_sin_to_cos": True}, "sinusoids", [COS_FIRST]),
            ({"freq_shift": 0}, "sinusoids", [HALF]),
            ({"freq_shift": 0, "flip_sin_to_cos": True}, "sinusoids", [COS_FIRST, HALF]),
            (
                {"attention_head_dim": 8},
                "down_1/attn_0",
                ["attention in heads of 8 channels instead of one head"],
            ),
            ({"variance_type": "fixed_small"}, "p_mean_variance: log variance", [SMALL_FOR_LARGE]),
            ({"clip_sample": False}, "p_mean_variance: pred_xstart", ["nothing clipped"]),
            ({"beta_schedule": "scaled_linear"}, "betas", ["the schedule 'quad'"]),
        ],
        lambda options, *_: {"downsample_padding", "beta_schedule"} & options.keys(),
    ),
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_faults_of_diffusers_are_named(options, stage, reasons):
    _, comparison = crosscheck(CONFIG, against="diffusers", options=options)
    check_found(comparison, stage, *reasons)


@pytest.mark.parametrize(
    "changes, stage, reason",
    mostly_slow(
        [
            ([("eps=1e-6", "eps=1e-5")], "down_0/block_0", EPSILON),
            (
                [("stride=2)", "stride=2, padding=1)"), ("functional.pad(x, (0, 1, 0, 1))", "x")],
                "down_0/downsample",
                PADDING,
            ),
            ([("cat([sin, cos]", "cat([cos, sin]")], "sinusoids", COS_FIRST),
            ([("/ (half - 1)", "/ half")], "sinusoids", HALF),
            (
                [("x_0 = x_0.clamp(-1, 1)\n", "\n"), ("return (sample,", MEAN_CLIPPED)],
                "p_mean_variance: pred_xstart",
                CLIP,
            ),
            (
                [('= diffusion_config["model_var_type"]', '= "fixedsmall"')],
                "p_mean_variance: log variance",
                SMALL_FOR_LARGE,
            ),
        ],
        lambda changes, stage, reason: reason in (PADDING, CLIP),
    ),
    ids=["epsilon", "padding", "cos_first", "half", "clip", "fixedsmall"],
)
def test_faults_planted_in_a_port_are_named(changes, stage, reason, tmp_path):
    path = checkout(tmp_path, *changes)
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    check_found(comparison, stage, reason)


@pytest.mark.parametrize("name", ["diffusers", "package"])
def test_a_mean_clipped_too_late_is_named(name, tmp_path):
    own = own_module(tmp_path, CLIPPED_MEAN, name)
    _, comparison = crosscheck(SMALL_VARIANCE, own=own)
    check_found(comparison, "p_mean_variance: pred_xstart", CLIP)


def test_denoising_diffusion_pytorch_where_it_differs():
    config = get_config("cifar10", **SMALL, num_diffusion_timesteps=100)
    _, comparison = crosscheck(config, against="denoising_diffusion_pytorch")
    assert [(found.stage, found.reasons) for found in comparison.findings] == [
        ("betas", ("betas scaled by 1000 / T",)),
        ("p_mean_variance: log variance", (SMALL_FOR_LARGE,)),
    ]


PYTORCH_DDPM = ["", *filter(None, [os.environ.get("PYTORCH_DDPM_CHECKOUT")])]


@pytest.mark.slow
@pytest.mark.parametrize("path", PYTORCH_DDPM)
@pytest.mark.parametrize("T", [50, 1000])
def test_everything_that_pytorch_ddpm_does_differently_is_named(path, T, tmp_path):
    config = get_config("cifar10", **SMALL, num_diffusion_timesteps=T)
    path = path or pytorch_ddpm_checkout(tmp_path)
    _, comparison = crosscheck(config, against="w86763777", checkout=path)
    assert [(found.stage, found.reasons) for found in comparison.findings] == [
        ("sinusoids", (HALF, INTERLEAVED)),
        ("down_0/block_0", (EPSILON,)),
        ("down_0/downsample", (PADDING,)),
        ("p_mean_variance: mean", ("nothing clipped",)),
        ("last ten steps of sampling", ("the last sample clipped to [-1, 1]",)),
    ], comparison.summary()
    assert "With this put into ours, whatever differed agrees." in comparison.summary()


@pytest.mark.slow
def test_what_nobody_knows_is_said_and_what_does_not_build_on_it_is_still_looked_into(tmp_path):
    path = checkout(
        tmp_path,
        ('= diffusion_config["model_var_type"]', '= "fixedsmall"'),
        ("h + self.temb_proj", "h + 1.001 * self.temb_proj"),
    )
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    *blocks, last = comparison.findings  # every block has the fault, and is looked at for itself
    assert blocks[0].stage == "down_0/block_0" and len(blocks) > 3
    assert all("/block_" in found.stage and found.reasons == () for found in blocks)
    assert (last.stage, last.reasons) == ("p_mean_variance: log variance", (SMALL_FOR_LARGE,))
    assert "down_0/block_0: no known reason makes it agree" in comparison.summary()
