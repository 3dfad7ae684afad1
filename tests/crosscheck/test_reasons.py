"""The table of reasons: what is written out is the original, and each row changes what it says."""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf import get_config
from diffusion_tf.crosscheck.array_side import draw_step_noise
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices, in_layer
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.looks import describe
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.reasons import IN_GROUP, REASONS
from diffusion_tf.crosscheck.reasons.network import IN_NETWORK
from diffusion_tf.crosscheck.reasons.training import DROPOUT
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.search import put, smallest
from diffusion_tf.crosscheck.stages import GROUPS, stage_of
from diffusion_tf.crosscheck.varied_network import Walk, kind_of
from diffusion_tf.crosscheck.waves import numpy_wave, tf_wave
from diffusion_tf.gaussian_diffusion.process import get_diffusion
from helpers.numpy_port import port_with
from helpers.planted_faults import FAULTS, IN_DROPOUT, IN_PROCESS
from helpers.planted_faults import IN_NETWORK as FAULTS_OF_NETWORK
from helpers.port_comparison import FIELDS, LONG, beside_port, check_fault


def config(**fields):
    return get_config("cifar10", **{**FIELDS, **fields})


def _tf_guess(inputs):
    return lambda x, t: tf.constant(inputs.guess(x.numpy(), t.numpy()))


@pytest.mark.parametrize("mean", ["eps", "xstart", "xprev", "v"])
@pytest.mark.parametrize(
    "variance, loss_type",
    [*itertools.product(["fixedlarge", "fixedsmall"], ["mse", "l1", "huber", "kl", "rescaled_kl"]),
     *itertools.product(["learned", "learned_range"], ["kl", "hybrid"])],
)  # fmt: skip
def test_the_process_written_out_is_the_project_s(mean, variance, loss_type):
    fields = config(model_mean_type=mean, model_var_type=variance, loss_type=loss_type)
    inputs = make_inputs(fields, draw_step_noise)
    ours, written = get_diffusion(fields), Recipe(fields)
    of_bound = inputs.loss_is_bound  # of which float32 tells something for good guesses alone
    waves = tf_wave(variance), numpy_wave(variance)
    models = (_tf_guess(inputs), inputs.guess) if of_bound else waves
    loss, again = (
        process.p_losses(model, inputs.x_start, inputs.t, inputs.noise)
        for process, model in zip((ours, written), models, strict=True)
    )
    tolerance = {"rtol": 1e-3, "atol": 1e-2} if of_bound else {"rtol": 1e-5}
    np.testing.assert_allclose(again, loss, **tolerance)
    x, t = inputs.x_t, inputs.t
    p, q = (d.p_mean_variance(m, x=x, t=t) for d, m in zip((ours, written), waves, strict=True))
    for name in ("mean", "log_variance", "pred_xstart"):
        np.testing.assert_allclose(getattr(q, name), getattr(p, name), rtol=1e-4, atol=1e-4)


def test_no_two_rows_have_one_name_and_all_are_tried():
    names = [reason.name for reason in REASONS]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    tried = {reason.name for reasons in IN_GROUP.values() for reason in reasons}
    assert tried == set(names)
    assert all(reason.equation for reason in REASONS)
    assert len(REASONS) > 250


def test_the_page_says_how_many_faults_are_planted():
    page = (Path(__file__).parents[2] / "docs" / "cross-checking.md").read_text()
    assert re.findall(r"^Of (\d+) faults planted into ports", page, re.M) == [str(len(FAULTS))]


def test_every_planted_fault_is_a_change_of_its_port():
    """The tests that try them all are slow."""
    of_network = [*FAULTS_OF_NETWORK, *IN_DROPOUT]
    for port, faults in (
        ("torch_port.py", of_network),
        ("numpy_port.py", [fault for fault in FAULTS if fault not in of_network]),
    ):
        text = (Path(__file__).parents[1] / "helpers" / port).read_text()
        assert [fault for fault in faults if text.count(fault.old) != 1] == []


EQUAL = {  # rows that say what a config may have already, or that some network does not show
    "the schedule 'linear'", "the variance beta, fixedlarge, instead of the posterior's",
    "the network's output taken for the noise", "the noise as the target", "the square error",
    "betas scaled by 1000 / T", "betas scaled by T / 1000", "betas from 1e-4 to 0.02",
    "t scaled to 1000 into the network", "gradients clipped to 1", "a decay of the average of 0.99",
    "x_0 not clipped in the bound", "x_0 clipped in the bound of the loss",
    "log(beta_1) for the first of the posterior's log-variances",
    "a loss weighted by the signal-to-noise ratio, at least 1",
    "the last sample of the chain clipped to [-1, 1]",  # as a clipped x_0 is already
}  # fmt: skip


OTHERS = (  # whose stages the usual config does not have
    {"num_diffusion_timesteps": 50, "model_var_type": "learned_range", "loss_type": "hybrid"},
    {"model_var_type": "learned", "loss_type": "kl", "model_mean_type": "xprev"},
)


def test_every_row_of_the_process_changes_the_stage_that_it_names():
    still = [reason for reason in REASONS if reason.name not in EQUAL]
    for fields in ({}, *OTHERS):
        still = unchanged(config(**fields), still)
    of_network = {reason.name for reason in (*IN_NETWORK, *DROPOUT)}
    assert [r.name for r in still if r.name not in of_network and r.stage != "weights"] == []


def unchanged(fields, reasons):
    """Those that change nothing in the stage that they name, or whose stage there is not."""
    ours = Reference(fields, make_inputs(fields, draw_step_noise))
    usual = {group: ours.values(group) for group in GROUPS if group not in ("network", "gradient")}
    still = []
    with np.errstate(all="ignore"):
        for reason in reasons:
            group = next((g for g in usual if reason.stage in usual[g]), None)
            expected = usual[group][reason.stage] if group else None
            if group:
                value = ours.values(group, put(ORIGINAL, [reason])).get(reason.stage)
            if group is None or np.array_equal(value, expected):
                still.append(reason)
    return still


@pytest.mark.slow
def test_every_row_of_the_network_changes_the_kind_of_layer_that_it_names():
    small = config(ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,))
    unet, inputs = random_unet(small), make_inputs(small, draw_step_noise)
    x, t = tf.constant(inputs.x_t), tf.constant(inputs.t)
    usual = Walk(unet).stages(x, t)
    still = []
    for reason in IN_NETWORK:
        if reason.name == "t scaled to 1000 in the time embedding":
            continue  # T is 1000
        stages = Walk(unet, 1000, put(ORIGINAL, [reason])).stages(x, t)
        kinds = {kind_of(name) for name in usual
                 if not np.allclose(usual[name], stages[name], rtol=0, atol=1e-7)}  # fmt: skip
        if reason.stage not in kinds:
            still.append(reason.name)
    assert not still


@pytest.mark.slow
def test_every_row_of_dropout_changes_what_masks_do():
    small = config(ch=32, ch_mult=(1,), num_res_blocks=1)
    ours = Reference(small, make_inputs(small, draw_step_noise), random_unet(small))
    usual = ours.values("dropout")["dropout"]
    still = [
        reason.name
        for reason in DROPOUT
        if np.array_equal(ours.values("dropout", put(ORIGINAL, [reason]))["dropout"], usual)
    ]
    assert still == ["dropout of 0.1"]


@pytest.mark.slow
def test_the_layers_written_out_are_the_network_s():
    small = config(ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,))
    unet, inputs = random_unet(small), make_inputs(small, draw_step_noise)
    x, t = tf.constant(inputs.x_t), tf.constant(inputs.t)
    usual = Walk(unet).stages(x, t)
    nearly = Walk(unet, 1000, Choices(max_period=10_000.0001)).stages(x, t)  # written out
    for name, value in usual.items():
        # Angles are up to 1000, which float32 holds to 3e-5: processors round them either way.
        atol = 1e-4 if name in ("sinusoids", "temb") else 2e-5
        np.testing.assert_allclose(nearly[name], value, rtol=0, atol=atol * np.abs(value).max())


def test_two_that_hide_each_other_are_found_together():
    """Neither brings the sides nearer alone."""
    wanted = {"adam_lr": 2.0, "adam_decay": 0.1}
    reasons = [r for r in IN_GROUP["optimizer"] if set(r.put) <= set(wanted)]

    def distance(choices):
        both = all(getattr(choices, field) == value for field, value in wanted.items())
        return 0.0 if both else 7.0

    near = {"three steps of Adam"}
    (found,) = smallest(reasons, ORIGINAL, distance, near=near, tolerance=1.0)
    assert {field for reason in found for field in reason.put} == set(wanted)


def test_every_stage_says_what_it_is():
    for group in GROUPS:
        names = {"network": "down_0/block_0", "gradient": "gradient of the loss by x"}
        stage = stage_of(names.get(group, group), group)
        assert stage.why and stage.tolerance >= 0
    stage = stage_of("posterior_mean_coef2", "coefficients")
    assert (stage.shape, stage.rests_on[0]) == ("[T]", "betas")
    assert "eq. 7" in stage.equation


@pytest.mark.parametrize("fault", [IN_PROCESS[i] for i in (2, 16, 28, 40, 48, 55, 72, 76)],
                         ids=lambda fault: fault.new)  # fmt: skip
def test_some_faults_of_a_port_are_named(fault):
    check_fault(fault, beside_port(config(), port_with((fault.old, fault.new))))


def test_a_last_clamp_shows_where_no_x_0_is_clipped():
    changes = [
        ("pred = np.clip(pred, -1, 1) if clip else pred", "pass"),
        ("(x), t), noise[self.T - 1 - t])\n        return x",
         "(x), t), noise[self.T - 1 - t])\n        return np.clip(x, -1, 1)"),
    ]  # fmt: skip
    comparison = beside_port(config(**LONG), port_with(*changes))
    assert [finding.reasons for finding in comparison.findings] == [
        ("nothing clipped",), ("the last sample of the chain clipped to [-1, 1]",),
    ]  # fmt: skip


def test_an_unknown_fault_does_not_hide_the_ones_after_it():
    changes = [
        ("(1 - before) * np.sqrt(alphas) / (1 - abar)",
         "1.01 * (1 - before) * np.sqrt(alphas) / (1 - abar)"),
        ("mask = (t > 0)", "mask = (t > -1)"),
        ("np.clip(pred, -1, 1) if clip", "np.clip(pred, 0, 1) if clip"),
        (" / math.log(2)", ""),
        ("decay = self.config.ema_decay", "decay = 0.999"),
    ]  # fmt: skip
    comparison = beside_port(config(), port_with(*changes))
    assert [finding.reasons for finding in comparison.findings] == [
        (), ("x_0 clipped to [0, 1] instead of [-1, 1]",), ("noise in the last step, too",),
        ("nats instead of bits",), ("a decay of the average of 0.999",),
    ]  # fmt: skip
    assert "a constant factor of 1.01" in comparison.findings[0].looks


X = np.random.default_rng(0).standard_normal((4, 8, 8, 3))
T = np.array([0, 3, 500, 999])


def changed(where, by=0.5):
    y = X.copy()
    y[where] += by
    return y


@pytest.mark.parametrize(
    "theirs, looks",
    [
        (1.5 * X, "a constant factor of 1.5"),
        (X + 0.25, "a constant of 0.25 added"),
        (-X, "the sign"),
        (changed(0), "only at t = 0"),
        (changed((slice(None), slice(None), slice(None), 1)), "only in channel 1"),
        (changed((slice(None), -1)), "only at the borders of the image (bottom)"),
        (changed((slice(None), slice(None), 0)), "only at the borders of the image (left)"),
        (np.swapaxes(X, 1, 2), "height and width exchanged"),
        (X[..., ::-1], "channels in reverse order"),
        (np.roll(X, 1, axis=2), "a shift by one pixel"),
        (X + 1e-3 * np.random.default_rng(1).standard_normal(X.shape), "noise-like"),
        (X * (1 + np.arange(4) / 10).reshape(-1, 1, 1, 1), "a factor for each example"),
        (X + (T + 9).reshape(-1, 1, 1, 1) * np.sin(7 * X), "growing with t"),
        (np.where(X > 2, np.nan, X), "NaN"),
    ],
)
def test_what_a_difference_looks_like(theirs, looks):
    assert looks in describe(X, theirs, t=T)


def test_what_a_difference_of_coefficients_looks_like():
    steps = np.linspace(0.1, 1, 50) ** 2
    assert "one later" in describe(steps, np.append(steps[1:], 7.0))
    assert "one earlier" in describe(steps, np.append(7.0, steps[:-1]))
    assert describe(steps, np.append(0.5, steps[1:])) == "only at t = 0"
    assert "its root" in describe(steps, np.sqrt(steps))
    several = {"a": X, "b": X}
    assert "1 of 2 arrays are off: b" in describe(several, {"a": X, "b": 2 * X})


def test_choices_hold_in_one_kind_of_layer_alone():
    choices = Choices(activation="relu", scopes=(("activation", "output"),))
    assert in_layer(choices, "output", "output").activation == "relu"
    assert in_layer(choices, "block", "mid/block_1").activation == "swish"
    assert dataclasses.replace(choices, scopes=()).activation == "relu"
