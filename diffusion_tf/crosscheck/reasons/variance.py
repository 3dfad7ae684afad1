"""What is done differently where the variance is learned, one row each."""

from diffusion_tf.crosscheck.reasons.reason import Reason

_RANGE = (
    "Nichol & Dhariwal 2021, eq. 15: log variance = v log beta + (1 - v) log of the posterior's"
)
LEARNED = (
    Reason("the halves of the network's output exchanged", "p_mean_variance: pred_xstart",
           {"learned_half": "first"}, _RANGE),
    *(
        Reason(name, "p_mean_variance: log variance", put, _RANGE)
        for name, put in {
            "the network's place between the variances counted from 0 to 1": {"learned_share": "v"},
            "the bounds of a learned variance exchanged": {"learned_share": "(1 - v) / 2"},
            "the sigmoid of the network's place between the variances": {
                "learned_share": "sigmoid"
            },
            "the place between the variances clipped to their bounds": {"learned_share": "clipped"},
            "variances interpolated instead of their logarithms": {"learned_scale": "variances"},
            "log(1e-20) for the lower bound of the first learned variance": {
                "learned_low": "log(1e-20) first"
            },
            "the posterior's variance for the upper bound of the first learned variance": {
                "learned_high": "fixedlarge"
            },
            "the network's place between the variances taken for their logarithm": {
                "model_var_type": "learned"
            },
            "the network's log-variance taken for its place between the bounds": {
                "model_var_type": "learned_range"
            },
        }.items()
    ),
)  # fmt: skip
_HYBRID = "Nichol & Dhariwal 2021, eq. 16: L_simple + 0.001 L_vlb, whose mean learns from L_simple"
HYBRID = tuple(
    Reason(name, "loss", {"hybrid_weight": weight}, _HYBRID)
    for weight, name in {
        "1": "the bound not weighted by T / 1000 in the hybrid loss",
        "T": "the bound weighted by T in the hybrid loss",
        "1 / 1000": "the bound weighted by 1 / 1000 instead of T / 1000 in the hybrid loss",
        "0": "no bound in the hybrid loss",
    }.items()
)
HYBRID_GRADIENT = (
    Reason("the mean learning from the bound of the hybrid loss, its gradient not stopped",
           "gradient of the loss by the output", {"hybrid_stops": False}, _HYBRID),
)  # fmt: skip
