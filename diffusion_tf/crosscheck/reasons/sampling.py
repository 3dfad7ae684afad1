"""What samplers do differently, in a step, in a chain, in fewer steps: one row each."""

from diffusion_tf.crosscheck.reasons.reason import Reason

_ALGORITHM_2 = "Ho et al. 2020, algorithm 2: x_{t-1} = mean + sigma_t z; z = 0 in the last step"
LAST_STEP = "last ten steps of sampling"
_DEVIATIONS = {
    "exp(log variance)": "the variance instead of the deviation in front of the noise",
    "exp(0.25 log variance)": "the root of the deviation in front of the noise",
    "log variance": "the log-variance in front of the noise",
    "beta": "beta instead of its root in front of the noise",
    "one": "noise that is not scaled",
    "sqrt(1 - abar)": "sqrt(1 - abar) in front of the noise",
}
SAMPLING = (
    Reason("noise in the last step, too", LAST_STEP, {"noise_at_zero": True}, _ALGORITHM_2),
    Reason("no noise in the last two steps", LAST_STEP, {"noise_from": 2}, _ALGORITHM_2),
    Reason("no noise at all", LAST_STEP, {"temperature": 0.0}, _ALGORITHM_2),
    Reason("the noise subtracted in a step", LAST_STEP, {"temperature": -1.0}, _ALGORITHM_2),
    Reason("a step of DDIM without noise", LAST_STEP, {"step": "ddim", "temperature": 0.0},
           "Song, Meng & Ermon 2021, eq. 12"),
    Reason("noise added to x_0 instead of the mean", LAST_STEP, {"step": "x_start"}, _ALGORITHM_2),
    *(
        Reason(name, LAST_STEP, {"deviation": how}, _ALGORITHM_2)
        for how, name in _DEVIATIONS.items()
    ),
    Reason("each sample clipped to [-1, 1]", LAST_STEP, {"step_clip": "each"}, _ALGORITHM_2),
    Reason(
        "the last sample clipped to [-1, 1]", LAST_STEP, {"step_clip": "last"}, _ALGORITHM_2
    ),
)  # fmt: skip
CHAIN = tuple(
    Reason(name, "the whole chain", put, _ALGORITHM_2)
    for name, put in {
        "the last sample of the chain clipped to [-1, 1]": {"chain_end": "clipped"},
        "the last sample of the chain scaled to [0, 1]": {"chain_end": "[0, 1]"},
        "a chain that begins one step late, at T - 2": {"chain_skips_first": 1},
        "a chain that begins one step late, at T - 2, with the noise that is given for each t": {
            "chain_skips_first": 1,
            "chain_noise_of_t": True,
        },
        "a chain that leaves out its last step, t = 0": {"chain_skips_last": 1},
        "a chain from t = 0 upwards": {"chain_rises": True},
        "a chain that starts from 0 instead of noise": {"chain_start": "zeros"},
        "a chain that starts from noise clipped to [-1, 1]": {"chain_start": "clipped"},
        "a chain that starts from half the noise": {"chain_start": "halved"},
        "the same noise in every step of a chain": {"chain_one_noise": True},
    }.items()
)
_DDIM_SIGMA = (
    "Song, Meng & Ermon 2021, eq. 16: sigma_t = eta sqrt((1 - abar_{t-1}) / (1 - abar_t))"
    " sqrt(1 - abar_t / abar_{t-1})"
)
_DDIM = "Song, Meng & Ermon 2021, eq. 12: sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1}) eps"
DDIM = tuple(
    Reason(name, "a step of DDIM", put, _DDIM)
    for name, put in {
        "the predicted noise in DDIM instead of that of the clipped x_0": {
            "ddim_eps": "as predicted"
        },
        "abar_{t-2} for abar_{t-1} in DDIM, a wrong previous step": {"ddim_previous": "t - 2"},
        "abar_{t+1} for abar_{t-1} in DDIM, a wrong previous step": {"ddim_previous": "t + 1"},
        "abar_t for abar_{t-1} in DDIM, a wrong previous step": {"ddim_previous": "t"},
        "abar of the first step instead of 1 at the end of DDIM": {
            "ddim_previous": "as at the first"
        },
        "1 - abar without its root in DDIM": {"ddim_direction": "no root"},
        "1 - sqrt(abar) in DDIM": {"ddim_direction": "1 - root"},
    }.items()
) + tuple(
    Reason(name, "a step of DDIM with noise", put, _DDIM_SIGMA)
    for name, put in {
        "no noise in DDIM, whatever eta": {"ddim_sigma": "none", "ddim_sigma_stays": True},
        "no noise in DDIM beside the share of it that eta takes": {"ddim_sigma": "none"},
        "beta of the step for the posterior's variance in DDIM": {"ddim_sigma": "beta"},
        "the variance instead of the deviation in DDIM": {"ddim_sigma": "variance"},
        "eta squared in DDIM": {"ddim_sigma": "eta squared"},
        "the root of eta in DDIM": {"ddim_sigma": "root of eta"},
        "the noise of eta not taken off the direction in DDIM": {"ddim_sigma_stays": True},
    }.items()
)
_LIN = "Lin et al. 2023, table 2"
FEWER_STEPS = (
    *(
        Reason(f"the spacing {spacing!r}, whatever was asked for", stage, {"spacing": spacing},
               _LIN)
        for spacing, stage in {
            "leading": "timesteps, trailing", "trailing": "timesteps, leading",
            "linspace": "timesteps, leading",
        }.items()
    ),
    *(
        Reason(f"leading timesteps {by} later", "timesteps, leading",
               {"spacing_offset": offset}, _LIN)
        for offset, by in {1: "one step", 2: "two steps"}.items()
    ),
    Reason("timesteps rounded down instead of to the nearest", "timesteps, linspace",
           {"spacing_rounds": False}, _LIN),
    Reason("a wrong previous step: T / S below instead of the next of the timesteps, in DDIM",
           "DDIM in fewer steps, linspace", {"ddim_stride": "T // S"}, _DDIM, common=True),
)  # fmt: skip
_RESPACED = "Nichol & Dhariwal 2021, section 4: beta = 1 - abar_{s_k} / abar_{s_{k-1}}"
RESPACING = (
    Reason("betas of training for the longer steps", "respaced betas",
           {"respaced_betas": "as they are"}, _RESPACED),
    *(
        Reason(name, "respaced pred_xstart", put, _RESPACED)
        for name, put in {
            "the network told the number of the step instead of its timestep": {"respaced_t": "t"},
            "the network told t T / S instead of the timestep": {"respaced_t": "t T / S"},
            "the mean of x_{t-1} taken for that of the longer step": {
                "respaced_mean": "of the longer step"
            },
        }.items()
    ),
    Reason("a learned log-variance taken for that of the longer step", "respaced log variance",
           {"respaced_variance": "of the longer step"}, _RESPACED),
    Reason("the mean of x_{t-1} and a learned log-variance taken for those of the longer step",
           "respaced pred_xstart", {"respaced_mean": "of the longer step",
                                    "respaced_variance": "of the longer step"}, _RESPACED),
)  # fmt: skip
_GUIDED = "Ho & Salimans 2022, eq. 6: (1 + w) eps_c - w eps_u, with the scale s = 1 + w"
GUIDANCE = tuple(
    Reason(name, "guided output", {"guidance": how}, _GUIDED)
    for how, name in {
        "w": "the scale taken for w: (1 + s) eps_c - s eps_u",
        "scale - 1": "the scale taken for 1 + s: eps_u + (s - 1) (eps_c - eps_u)",
        "exchanged": "with a condition and without exchanged in the guidance's difference",
        "from conditional": "guidance away from the condition: eps_c + (1 - s) (eps_c - eps_u)",
        "interpolated": "guidance as a weighted mean: (eps_c + s eps_u) / (1 + s)",
        "first channel": "guidance of the first channel alone",
        "rescaled": "the guided output scaled to the conditional one's deviation",
        "rescaled 0.7": "the guided output scaled to the conditional one's deviation by 0.7 (Lin"
        " et al. 2023)",
        "none": "no guidance, the conditional output",
        "unconditional": "no guidance, the unconditional output",
        "mean of both": "the mean of both outputs, whatever the scale",
        "variance, too": "a learned variance guided, too",
        "variance without condition": "a learned variance that knows no condition",
    }.items()
)
