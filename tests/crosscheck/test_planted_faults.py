"""Faults planted into the ports of these tests, all of them counted; some alone are in the fast
suite, see `test_reasons`.
"""

import pytest

from diffusion_tf import get_config
from helpers.numpy_port import port_with
from helpers.planted_faults import (
    DROPS,
    FAULTS,
    IN_CHAINS,
    IN_DROPOUT,
    IN_LEARNED,
    IN_NETWORK,
    IN_PROCESS,
    IN_TRAINING,
)
from helpers.port_comparison import FIELDS, LEARNED, LONG, beside_port, judged

pytest.importorskip("torch")
pytestmark = pytest.mark.extras

from helpers.network_port_comparison import DropoutAlone, beside_network  # noqa: E402


def counted(faults, compare):
    """How many are caught, right in their first stage, named, and without another reason."""
    totals, wrong = [0, 0, 0, 0], []
    for fault in faults:
        comparison = compare((fault.old, fault.new))
        verdict = judged(fault, comparison)
        totals = [total + right for total, right in zip(totals, verdict, strict=True)]
        if not all(verdict):
            wrong.append(f"{fault.new}: {verdict}\n{comparison.summary()}")
    return totals, "\n".join(wrong)


def check(faults, compare):
    """All are caught, where they show first, and named, with no reason that is not one."""
    totals, wrong = counted(faults, compare)  # a fault without a row is named when nothing is
    assert totals == [len(faults)] * 4, wrong


def test_there_are_enough_of_every_group():
    assert len(FAULTS) >= 155
    assert {fault.group for fault in FAULTS} == {
        "betas", "coefficients", "variances", "forward", "clipping", "prediction", "sampling",
        "ddim", "loss", "bound", "optimizer", "training", "average", "timesteps", "data",
        "sinusoids", "time", "norms", "activations", "blocks", "attention", "skips", "resampling",
        "fewer steps", "respacing", "guidance", "chain", "training steps", "dropout",
        "learned variance", "hybrid loss",
    }  # fmt: skip


@pytest.mark.slow
def test_faults_of_the_process_are_caught_and_named():
    config = get_config("cifar10", **FIELDS)
    check(IN_PROCESS, lambda change: beside_port(config, port_with(change)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults, fields",
    [(IN_CHAINS, LONG), (IN_LEARNED, LEARNED), (IN_TRAINING, {})],
    ids=["chains", "learned", "training"],
)
def test_faults_of_chains_learned_variances_and_training_are_caught_and_named(faults, fields):
    config = get_config("cifar10", **FIELDS, **fields)
    assert beside_port(config, port_with()).agrees
    check(faults, lambda change: beside_port(config, port_with(change)))


@pytest.mark.slow
def test_faults_of_the_network_are_caught_and_named():
    check(IN_NETWORK, beside_network)


@pytest.mark.slow
def test_faults_of_dropout_are_caught_and_named():
    agreeing = beside_network(DROPS, side=DropoutAlone)
    assert agreeing.agrees, agreeing.summary()
    check(IN_DROPOUT, lambda change: beside_network(change, side=DropoutAlone))


@pytest.mark.slow
def test_several_faults_of_the_network_are_all_named():
    """Two in one block that hide each other, one before them and one after."""
    changes = [
        ("t.float()[:, None]", "(t.float() + 1)[:, None]"),
        ("eps=1e-6", "eps=1e-5"),
        ("self.temb_proj(functional.silu(temb))", "self.temb_proj(temb)"),
        ("functional.pad(x, (0, 1, 0, 1))", "functional.pad(x, (1, 0, 1, 0))"),
        ("return h + (self.nin_shortcut(x)", "return 1.01 * h + (self.nin_shortcut(x)"),
    ]
    comparison = beside_network(*changes[:-1])
    assert [finding.reasons for finding in comparison.findings] == [
        ("t counted from 1 in the time embedding",),
        ("no activation instead of swish on the time embedding in the blocks",
         "group normalization with epsilon 1e-5 instead of 1e-6"),
        ("stride-2 convolutions padded on all sides instead of bottom and right",),
    ]  # fmt: skip
    unknown = beside_network(changes[0], changes[-1], changes[3])
    named = [finding.reasons for finding in unknown.findings]
    assert ("stride-2 convolutions padded on all sides instead of bottom and right",) in named
    assert named[0] == ("t counted from 1 in the time embedding",) and () in named


@pytest.mark.slow
@pytest.mark.parametrize("T", [50, 1000, 4000])
def test_a_port_without_faults_raises_no_alarm(T):
    for schedule in ("linear", "cosine", "quad", "sigmoid"):
        for mean in ("eps", "xstart", "xprev", "v"):
            for variance in ("fixedlarge", "fixedsmall"):
                for loss in ("mse", "kl"):
                    fields = {"beta_schedule": schedule, "model_mean_type": mean, "loss_type": loss}
                    config = get_config(
                        "cifar10", **FIELDS, **fields, num_diffusion_timesteps=T,
                        model_var_type=variance, seed=T + len(schedule),
                    )  # fmt: skip
                    comparison = beside_port(config, port_with())
                    assert comparison.agrees, f"{config}\n{comparison.summary()}"


def test_where_rounding_decides_x_0_no_chain_is_compared():
    """After 4000 quadratic betas the mean of x_{t-1} holds a 10^-8th of x_0."""
    config = get_config(
        "cifar10", **FIELDS, beta_schedule="quad", model_mean_type="xprev", seed=4004,
        num_diffusion_timesteps=4000,
    )  # fmt: skip
    comparison = beside_port(config, port_with())
    assert comparison.agrees, comparison.summary()
    stages = {row.stage for row in comparison.rows}
    assert "timesteps, linspace" in stages and "DDIM in fewer steps, linspace" not in stages


@pytest.mark.slow
@pytest.mark.parametrize("T", [50, 1000, 4000])
def test_a_learned_variance_without_faults_raises_no_alarm(T):
    for schedule in ("linear", "cosine"):
        for mean in ("eps", "xstart", "v"):
            for loss in ("kl", "hybrid"):
                config = get_config(
                    "cifar10", **FIELDS, beta_schedule=schedule, model_mean_type=mean,
                    loss_type=loss, num_diffusion_timesteps=T, model_var_type="learned_range",
                )  # fmt: skip
                comparison = beside_port(config, port_with())
                assert comparison.agrees, f"{config}\n{comparison.summary()}"
