"""What processes do differently beyond their coefficients: one row each."""

from diffusion_tf.crosscheck.reasons.reason import Reason

_EQ_4 = "Ho et al. 2020, eq. 4: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps"
_EQ_7 = "Ho et al. 2020, eq. 7: the mean of q(x_{t-1} | x_t, x_0)"
_EQ_15 = "Ho et al. 2020, eq. 15: x_0 = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t), in [-1, 1]"
_SIGMA = "Ho et al. 2020, section 3.2: sigma_t^2 = beta_t, or the posterior's variance"
_EQ_14 = "Ho et al. 2020, eq. 14: the mean of (eps - eps_theta)^2"
_KL = "Ho et al. 2020, eq. 8: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))"
_DECODER = "Ho et al. 2020, eq. 13: the Gaussian's share in a bin of 2/255, tails at 0 and 255"
_OF_VARIANCES = {
    "log deviation": "half the log-variance (that of the deviation)",
    "variance": "the variance where its logarithm is asked for",
    "deviation": "the deviation where the log-variance is asked for",
    "twice": "twice the log-variance",
    "-log variance": "minus the log-variance",
}

FORWARD = (
    *(
        Reason(name, "q_sample", put, _EQ_4)
        for name, put in {
            "x_t of one step later": {"q_shift": 1},
            "x_t of one step earlier": {"q_shift": -1},
            "the noise subtracted": {"q_noise": "-noise"},
            "x_0 scaled to [0, 1] before it is diffused": {"q_x_start": "01"},
        }.items()
    ),
    Reason("the posterior of one step later", "posterior mean", {"posterior_shift": 1}, _EQ_7),
    Reason("the posterior of one step earlier", "posterior mean", {"posterior_shift": -1}, _EQ_7),
    Reason("x_0 and x_t exchanged in the posterior's mean", "posterior mean",
           {"posterior_swapped": True}, _EQ_7),
    *(
        Reason(f"{name}, of the posterior", "posterior log variance", {"posterior_log": how}, _EQ_7)
        for how, name in _OF_VARIANCES.items()
    ),
)  # fmt: skip
_CLIPS = {
    "mean": "the mean clipped instead of the x_0 that it is made of",
    "nothing": "nothing clipped",
    "eps": "the predicted noise clipped instead of x_0",
    "tanh": "tanh instead of clipping",
    "dynamic": "x_0 clipped at its 99.5th percentile and divided by it (dynamic thresholding)",
    "dynamic 0.9": "x_0 clipped at its 90th percentile and divided by it (dynamic thresholding)",
}
_MEANS = {
    "eps": "the network's output taken for the noise",
    "xstart": "the network's output taken for x_0",
    "xprev": "the network's output taken for the mean of x_{t-1}",
    "v": "the network's output taken for v (Salimans & Ho 2022)",
    "-eps": "the network's output taken for minus the noise",
    "-v": "the network's output taken for minus v",
    "score": "the network's output taken for the score, -eps / sqrt(1 - abar)",
}
_TIMES = {
    "t + 1": "t + 1 instead of t into the network",
    "t - 1": "t - 1 instead of t into the network",
    "t / T": "t / T instead of t into the network",
    "1000 t / T": "t scaled to 1000 into the network",
    "T - 1 - t": "t counted backwards into the network",
}
REVERSE = (
    *(
        Reason(name, "p_mean_variance: pred_xstart", {"clip": clip}, _EQ_15,
               common=clip in ("mean", "nothing"))
        for clip, name in _CLIPS.items()
    ),
    *(
        Reason(f"x_0 clipped to [{low:g}, {high:g}] instead of [-1, 1]",
               "p_mean_variance: pred_xstart", {"clip_to": (low, high)}, _EQ_15)
        for low, high in ((0, 1), (-2, 2), (-1.5, 1.5), (-0.5, 0.5), (-3, 3), (0, 255),
                          (-5, 5), (-10, 10))
    ),
    *(
        Reason(name, "p_mean_variance: pred_xstart", {"model_mean_type": kind}, _EQ_15)
        for kind, name in _MEANS.items()
    ),
    *(
        Reason(name, "p_mean_variance: pred_xstart", {"model_t": kind}, _EQ_15)
        for kind, name in _TIMES.items()
    ),
    Reason("coefficients of one step later in the reverse process",
           "p_mean_variance: pred_xstart", {"reverse_shift": 1}, _EQ_15),
    Reason("coefficients of one step earlier in the reverse process",
           "p_mean_variance: pred_xstart", {"reverse_shift": -1}, _EQ_15),
    Reason("all coefficients of one step later in the reverse process",
           "p_mean_variance: pred_xstart", {"reverse_shift": 1, "posterior_shift": 1}, _EQ_15),
    Reason("all coefficients of one step earlier in the reverse process",
           "p_mean_variance: pred_xstart", {"reverse_shift": -1, "posterior_shift": -1}, _EQ_15),
    Reason("the posterior's variance, fixedsmall, instead of beta",
           "p_mean_variance: log variance", {"model_var_type": "fixedsmall"}, _SIGMA,
           common=True),
    Reason("the variance beta, fixedlarge, instead of the posterior's",
           "p_mean_variance: log variance", {"model_var_type": "fixedlarge"}, _SIGMA,
           common=True),
    *(
        Reason(name, "p_mean_variance: log variance", {"log_variance": how}, _SIGMA)
        for how, name in _OF_VARIANCES.items()
    ),
    Reason("the variance of one step later", "p_mean_variance: log variance",
           {"variance_shift": 1}, _SIGMA),
    Reason("the variance of one step earlier", "p_mean_variance: log variance",
           {"variance_shift": -1}, _SIGMA),
)  # fmt: skip
_TARGETS = {
    "eps": "the noise as the target",
    "-eps": "minus the noise as the target",
    "xstart": "x_0 as the target",
    "xstart in [0, 1]": "x_0 scaled to [0, 1] as the target",
    "xprev": "the posterior's mean as the target",
    "v": "v as the target",
    "-v": "minus v as the target",
    "x_t": "x_t as the target",
    "score": "the score, -eps / sqrt(1 - abar), as the target",
    "noise - x_0": "noise - x_0 as the target (rectified flow)",
}
_WEIGHTS = {
    "snr": "abar / (1 - abar)",
    "1 / snr": "(1 - abar) / abar",
    "snr + 1": "1 / (1 - abar)",
    "truncated snr": "the signal-to-noise ratio, at least 1",
    "min snr of eps": "min(snr, 5) / snr (Hang et al. 2023)",
    "min snr of v": "min(snr, 5) / (snr + 1) (Hang et al. 2023)",
    "min snr of x_0": "min(snr, 5) (Hang et al. 2023)",
    "snr of v": "abar, snr / (snr + 1)",
    "p2": "1 / (1 + snr) (Choi et al. 2022)",
    "sqrt": "the root of the signal-to-noise ratio",
    "eq. 12": "the weight of eq. 12",
}
_DISTANCES = {
    "l1": "the absolute error instead of its square",
    "huber": "the Huber (smooth L1) loss instead of the square",
    "rmse": "the root of the mean square error",
    "half": "half the square error",
    "charbonnier": "the root of the square error + 1e-6 (Charbonnier)",
    "mse": "the square error",
}
LOSS = (
    *(
        Reason(name, "loss", {"distance": kind}, _EQ_14, common=kind in ("l1", "huber"))
        for kind, name in _DISTANCES.items()
    ),
    Reason("a sum over pixels instead of the mean", "loss", {"reduction": "sum"}, _EQ_14),
    Reason("a sum over channels instead of the mean", "loss",
           {"reduction": "sum of squares over channels"}, _EQ_14),
    Reason("one mean over the whole batch", "loss", {"reduction": "batch"}, _EQ_14),
    *(
        Reason(name, "loss", {"target": kind}, _EQ_14) for kind, name in _TARGETS.items()
    ),
    *(
        Reason(f"a loss weighted by {name}", "loss", {"loss_weight": kind}, _EQ_14)
        for kind, name in _WEIGHTS.items()
    ),
)  # fmt: skip
BOUND = (
    Reason("nats instead of bits", "bpd term", {"bound_unit": "nats"},
           "Ho et al. 2020, table 1: bits/dim, nats over log(2)"),
    Reason("a sum over dimensions instead of bits per dimension", "bpd term",
           {"bound_reduction": "sum"}, "Ho et al. 2020, table 1: bits/dim"),
    Reason("a sum in nats instead of bits per dimension", "bpd term",
           {"bound_reduction": "sum", "bound_unit": "nats"}, "Ho et al. 2020, table 1: bits/dim"),
    Reason(
        "x_0 not clipped in the bound",
        "bpd term",
        {"bound_clip": False},
        _KL,
        beside="p_mean_variance: pred_xstart",
    ),
    Reason("x_0 clipped in the bound of the loss", "loss", {"bound_clip": True}, _KL),
    *(
        Reason(name, "bpd term", {"kl": how}, _KL)
        for how, name in {
            "p || q": "KL(p || q) instead of KL(q || p)",
            "means alone": "the variances left out of the KL",
            "without the distance's precision": "the distance of the means not over the variance",
            "without 1/2": "the KL without its factor 1/2",
            "without -1": "the KL without its -1",
        }.items()
    ),
    *(
        Reason(name, "bpd term", put, _DECODER)
        for name, put in {
            "bins of half the width in the decoder": {"half_bin": 0.5 / 255},
            "bins of 2/256 in the decoder": {"half_bin": 1 / 256},
            "bins of twice the width in the decoder": {"half_bin": 2 / 255},
            "the exact normal distribution in the decoder": {"cdf": "exact"},
            "the logistic distribution in the decoder": {"cdf": "logistic"},
            "no tail above 255 in the decoder": {"upper_end": 2.0},
            "no tail below 0 in the decoder": {"lower_end": -2.0},
            "no tails in the decoder": {"lower_end": -2.0, "upper_end": 2.0},
            "tails of the decoder from 0.99 on": {"lower_end": -0.99, "upper_end": 0.99},
            "the tail below from -0.99 on in the decoder": {"lower_end": -0.99},
            "the tail above from 0.99 on in the decoder": {"upper_end": 0.99},
            "the variance for the deviation in the decoder": {"decoder_scale": "variance"},
            "twice the log-variance for the log-deviation in the decoder": {
                "decoder_scale": "log variance"
            },
            "a Gaussian's density instead of its share in a bin": {"decoder": "density"},
            "a Gaussian's density without its constant instead of its share in a bin": {
                "decoder": "density without constant"
            },
            "the squared error instead of the decoder": {"decoder": "squared error"},
            **{
                f"a floor of {floor:g} in the decoder instead of 1e-12": {
                    "probability_floor": floor
                }
                for floor in (1e-10, 1e-8, 1e-6, 1e-20, 1e-30)
            },
        }.items()
    ),
)  # fmt: skip
