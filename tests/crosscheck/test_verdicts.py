"""The verdicts of the cross-check: no false alarm, no fault missed, and the right reason."""

import pytest

from diffusion_tf import get_config
from diffusion_tf.crosscheck.finding import Finding
from helpers.crosscheck_cases import CLIP, SMALL_FOR_LARGE
from helpers.rows import mostly_slow

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.extras

from helpers.torch_process import Only, Process, beside, process_with  # noqa: E402

NOT_CLIPPED = "nothing clipped"
SAMPLING = "last ten steps of sampling"
ADAM = "three steps of Adam"
CORRECTED = "Adam's epsilon added after the bias correction, as PyTorch does"
AMSGRAD = "the largest second moment so far instead of the present one, AMSGrad"


def config(**fields):
    return get_config("cifar10", **{"image_size": 8, "attn_resolutions": (), **fields})


# --- What agrees is said to agree


@pytest.mark.parametrize("loss_type", ["mse", "kl"])
@pytest.mark.parametrize("mean", ["eps", "xstart", "xprev"])
@pytest.mark.parametrize("variance", ["fixedlarge", "fixedsmall"])
@pytest.mark.parametrize(
    "schedule, T",
    [
        ("linear", 1000),
        pytest.param("cosine", 1000, marks=pytest.mark.slow),
        ("cosine", 50),
        pytest.param("linear", 10, marks=pytest.mark.slow),
        pytest.param("cosine", 4, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_rounds_differently_agrees(schedule, T, variance, mean, loss_type):
    fields = config(
        beta_schedule=schedule, num_diffusion_timesteps=T, model_var_type=variance,
        model_mean_type=mean, loss_type=loss_type,
    )  # fmt: skip
    comparison = beside(fields, Process(fields))
    assert comparison.agrees, comparison.summary()
    assert "All 10 stages compared agree." in comparison.summary()


@pytest.mark.parametrize("seed", range(1, 5))
def test_it_agrees_whatever_the_seed(seed):
    fields = config(seed=seed, model_mean_type="xstart", loss_type="kl")
    assert beside(fields, Process(fields)).agrees


# --- Faults of the bound

EXACT = ("0.5 + 0.5 * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))",
         "torch.special.ndtr(x)")  # fmt: skip
DECODERS = {
    "half the width": ("half_bin = 1 / 255", "half_bin = 0.5 / 255"),
    "256 bins": ("half_bin = 1 / 255", "half_bin = 1 / 256"),
    "twice the width": ("half_bin = 1 / 255", "half_bin = 1 / 127.5"),
    "the exact distribution": EXACT,
    "no end above": ("torch.where(x > 0.999, 1.0, upper)", "upper"),
    "no end below": ("torch.where(x < -0.999, 0.0, lower)", "lower"),
    "ends too wide": ("x < -0.999", "x < -0.99"),
    "variance for deviation": (
        '(x_start, p["mean"], p["log_variance"] / 2)',
        '(x_start, p["mean"], p["log_variance"])',
    ),
    "another floor": ("min=1e-12", "min=1e-10"),
    "a sum for the mean": ("x.flatten(1).mean(dim=1)", "x.flatten(1).sum(dim=1)"),
    "in nats": ("/ math.log(2)", ""),
}
NAMES = {
    "half the width": "bins of half the width in the decoder",
    "256 bins": "bins of 2/256 in the decoder",
    "twice the width": "bins of twice the width in the decoder",
    "the exact distribution": "the exact normal distribution in the decoder",
    "no end above": "no tail above 255 in the decoder",
    "no end below": "no tail below 0 in the decoder",
    "ends too wide": "the tail below from -0.99 on in the decoder",
    "variance for deviation": "the variance for the deviation in the decoder",
    "another floor": "a floor of 1e-10 in the decoder instead of 1e-12",
    "a sum for the mean": "a sum over dimensions instead of bits per dimension",
    "in nats": "nats instead of bits",
}


def check_decoder(fault, **fields):
    fields = config(**fields)
    process = process_with(DECODERS[fault])(fields)
    comparison = beside(fields, Only(process, "_vb_terms_bpd"))
    assert comparison.findings == [Finding("bpd term", (NAMES[fault],))]


@pytest.mark.parametrize("fault", DECODERS)
def test_faults_of_the_decoder_are_found(fault):
    check_decoder(fault, model_mean_type="xstart")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["256 bins", "the exact distribution", "ends too wide"])
@pytest.mark.parametrize(
    "mean, schedule, T", [("eps", "cosine", 1000), ("xprev", "linear", 1000), ("eps", "cosine", 10)]
)
def test_small_faults_of_the_decoder_are_found_in_any_process(fault, mean, schedule, T):
    check_decoder(
        fault, model_mean_type=mean, beta_schedule=schedule, num_diffusion_timesteps=T,
        image_size=32,
    )  # fmt: skip


# --- Reasons that show late, as what comes before cannot be seen

SEEN = {
    "p_sample": SAMPLING,
    "p_mean_variance": "p_mean_variance: pred_xstart",
    "q_sample": "q_sample",
    "q_posterior_mean_variance": "posterior mean",
    "training_losses": "loss",
    "_vb_terms_bpd": "bpd term",
}


@pytest.mark.parametrize(
    "schedule", ["cosine", *(pytest.param(s, marks=pytest.mark.slow) for s in ("sigmoid", "const"))]
)
@pytest.mark.parametrize("method", SEEN)
def test_a_schedule_is_named_by_whatever_shows_it(method, schedule):
    process = Only(Process(config(beta_schedule=schedule)), method)
    comparison = beside(config(), process)
    assert comparison.findings == [Finding(SEEN[method], (f"the schedule {schedule!r}",))]


@pytest.mark.parametrize("method", SEEN)
@pytest.mark.parametrize("loss_type", ["mse", "kl"])
def test_scaled_betas_are_named_by_whatever_shows_them(method, loss_type):
    few = config(num_diffusion_timesteps=100, loss_type=loss_type)
    scaled = config(num_diffusion_timesteps=100, loss_type=loss_type, beta_start=1e-3, beta_end=0.2)
    comparison = beside(few, Only(Process(scaled), method))
    assert comparison.findings == [Finding(SEEN[method], ("betas scaled by 1000 / T",))]


CLIPPED_MEAN = [
    ("pred = torch.clamp(pred, -1, 1) if clip else pred", ""),
    ('        log_variance = self.at(self._log_variance, t)\n        return {"mean"',
     '        mean = mean.clamp(-1, 1)\n'
     '        log_variance = self.at(self._log_variance, t)\n        return {"mean"'),
]  # fmt: skip
NO_CLIP = [("torch.clamp(pred, -1, 1) if clip else pred", "pred")]


@pytest.mark.parametrize(
    "changes, fields, reasons",
    [
        (NO_CLIP, {}, {NOT_CLIPPED}),
        (CLIPPED_MEAN, {}, {CLIP}),
        ([], {"model_var_type": "fixedsmall"}, {SMALL_FOR_LARGE}),
        ([], {"beta_schedule": "cosine", "model_var_type": "fixedsmall"},
         {SMALL_FOR_LARGE, "the schedule 'cosine'"}),
        (NO_CLIP, {"beta_schedule": "cosine", "model_var_type": "fixedsmall"},
         {NOT_CLIPPED, SMALL_FOR_LARGE, "the schedule 'cosine'"}),
        (CLIPPED_MEAN, {"beta_schedule": "sigmoid"}, {CLIP, "the schedule 'sigmoid'"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "method", mostly_slow(["p_sample", "_vb_terms_bpd", "p_mean_variance"], "p_sample".__eq__)
)
def test_several_reasons_are_named_by_whatever_shows_them(method, changes, fields, reasons):
    process = Only(process_with(*changes)(config(**fields)), method)
    comparison = beside(config(), process)
    found = [reason for finding in comparison.findings for reason in finding.reasons]
    assert (set(found), len(found)) == (reasons, len(reasons)), comparison.summary()


def test_what_nobody_knows_about_a_step_has_no_reason():
    fault = (
        '(p["log_variance"] / 2).exp() * noise',
        '(p["log_variance"] / 2).exp() * 1.01 * noise',
    )
    comparison = beside(config(), Only(process_with(fault)(config()), "p_sample"))
    assert comparison.findings == [Finding(SAMPLING, ())]


# --- Optimizers


def reasons_of(optimizer):
    (finding,) = beside(config(), optimizer=optimizer).findings
    assert finding.stage == ADAM
    return set(finding.reasons)


def torch_adam(**arguments):
    return lambda parameters, lr: torch.optim.Adam(parameters, lr, **arguments)


@pytest.mark.parametrize("lr", [2e-4, 2e-5, 1e-2])
def test_plain_adam_of_pytorch_is_that(lr):
    (finding,) = beside(config(lr=lr), optimizer=torch_adam(eps=1e-8)).findings
    assert finding == Finding(ADAM, (CORRECTED,))


@pytest.mark.parametrize(
    "optimizer, reason",
    [
        (torch_adam(eps=1e-7), "Adam's epsilon 1e-7 instead of 1e-8"),
        (torch_adam(eps=1e-6), "Adam's epsilon 1e-6 instead of 1e-8"),
        (torch_adam(amsgrad=True), AMSGRAD),
        (torch_adam(betas=(0.9, 0.99)), "Adam's beta_2 0.99 instead of 0.999"),
        (torch_adam(betas=(0.9, 0.9999)), "Adam's beta_2 0.9999 instead of 0.999"),
        (torch_adam(betas=(0.5, 0.999)), "Adam's beta_1 0.5 instead of 0.9"),
        *[
            (
                torch_adam(weight_decay=decay),
                f"{decay:g} times the weights added to their gradient (L2), as PyTorch's Adam does",
            )
            for decay in (1e-2, 1e-4, 1e-6)
        ],
        *[
            (
                lambda parameters, lr, decay=decay: torch.optim.AdamW(
                    parameters, lr, weight_decay=decay
                ),
                f"weights decayed by {decay:g} times the learning rate in each step, as AdamW does",
            )
            for decay in (0.1, 0.01, 1e-4, 1e-6)
        ],
    ],
)
def test_known_variations_of_adam_are_named_beside_that_of_pytorch(optimizer, reason):
    assert reasons_of(optimizer) == {CORRECTED, reason}


def test_three_variations_of_adam_are_named_together():
    found = reasons_of(lambda parameters, lr: torch.optim.AdamW(parameters, lr, amsgrad=True))
    decay = "weights decayed by 0.01 times the learning rate in each step, as AdamW does"
    assert found == {CORRECTED, AMSGRAD, decay}


class WithoutCorrection(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p] or {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
                state["m"] = 0.9 * state["m"] + 0.1 * p.grad
                state["v"] = 0.999 * state["v"] + 0.001 * p.grad**2
                self.state[p] = state
                p.data -= group["lr"] * state["m"] / (state["v"].sqrt() + 1e-8)


def test_no_bias_correction_is_named():
    assert reasons_of(WithoutCorrection) == {"Adam without bias correction"}


@pytest.mark.parametrize(
    "optimizer",
    [
        torch_adam(eps=3e-8),
        *(
            pytest.param(optimizer, marks=pytest.mark.slow)
            for optimizer in (
                lambda parameters, lr: torch.optim.NAdam(parameters, lr),
                lambda parameters, lr: torch.optim.RAdam(parameters, lr),
                lambda parameters, lr: torch.optim.Adamax(parameters, lr),
                lambda parameters, lr: torch.optim.SGD(parameters, lr),
                lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.0123),
                torch_adam(weight_decay=0.0123),
                torch_adam(betas=(0.87, 0.999)),
                torch_adam(betas=(0.9, 0.9985)),
                lambda parameters, lr: torch.optim.Adam(parameters, 1.01 * lr),
            )
        ),
    ],
)
def test_what_is_no_known_adam_has_no_reason(optimizer):
    assert reasons_of(optimizer) == set()


def test_what_adam_is_given_shows_its_variations():
    """No step of a weight is all but lost where the ones before it cancel it."""
    for seed in range(20):
        fields = config(seed=seed)
        comparison = beside(fields, optimizer=torch_adam(eps=1e-8))
        assert comparison.findings == [Finding(ADAM, (CORRECTED,))]
