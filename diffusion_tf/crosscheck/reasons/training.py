"""What optimizers, averages and the way of the data do differently, one row each."""

from diffusion_tf.crosscheck.reasons.reason import Reason
from diffusion_tf.crosscheck.training_stages import TIMESTEPS

ADAM = "three steps of Adam"
_ADAM = "Kingma & Ba 2015, algorithm 1; epsilon as at the end of section 2, 1e-8"
_DECAY = "Loshchilov & Hutter 2019, algorithm 2; Ho et al. 2020 decay nothing"
_DECAYS = (0.1, 0.05, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)  # AdamW's own is 0.01
_EMA = "Ho et al. 2020, appendix B: average = 0.9999 average + 0.0001 weights in every step"
_WARMUP = "Ho et al. 2020, appendix B: the learning rate rises linearly over 5000 steps"
_CLIPPING = "Ho et al. 2020's code: gradients clipped to a norm of 1 over all of them"
_PIXELS = "Ho et al. 2020, section 3.3: 0, 1, ..., 255 scaled linearly to [-1, 1]"


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


OPTIMIZER = (
    Reason("Adam's epsilon added after the bias correction, as PyTorch does", ADAM,
           {"adam_epsilon_corrected": True}, _ADAM, common=True),
    Reason("Adam's epsilon under the root instead of beside it", ADAM,
           {"adam_epsilon_inside": True}, _ADAM, common=True),
    *(
        Reason(f"Adam's epsilon {_number(epsilon)} instead of 1e-8", ADAM,
               {"adam_epsilon": epsilon}, _ADAM, common=True)
        for epsilon in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-10, 1e-12)
    ),
    *(
        Reason(f"weights decayed by {decay:g} times the learning rate in each step, as AdamW does",
               ADAM, {"adam_decay": decay}, _DECAY, common=True)
        for decay in _DECAYS
    ),
    *(
        Reason(f"weights decayed by {decay:g} in each step, whatever the learning rate", ADAM,
               {"adam_decay": decay, "adam_decay_by_lr": False}, _DECAY)
        for decay in _DECAYS
    ),
    *(
        Reason(f"{decay:g} times the weights added to their gradient (L2), as PyTorch's Adam does",
               ADAM, {"adam_penalty": decay}, _DECAY, common=True)
        for decay in _DECAYS
    ),
    Reason("the largest second moment so far instead of the present one, AMSGrad", ADAM,
           {"adam_largest": True}, "Reddi, Kale & Kumar 2018, algorithm 2", common=True),
    Reason("Adam without bias correction", ADAM, {"adam_bias_corrected": False}, _ADAM,
           common=True),
    *(
        Reason(f"Adam's beta_1 {beta:g} instead of 0.9", ADAM, {"adam_beta_1": beta}, _ADAM,
               common=True)
        for beta in (0.0, 0.5, 0.95)
    ),
    *(
        Reason(f"Adam's beta_2 {beta:g} instead of 0.999", ADAM, {"adam_beta_2": beta}, _ADAM,
               common=True)
        for beta in (0.9, 0.95, 0.98, 0.99, 0.9999)
    ),
    *(
        Reason(f"{factor:g} times the learning rate", ADAM, {"adam_lr": factor}, _ADAM)
        for factor in (0.1, 0.5, 2.0, 10.0)
    ),
)  # fmt: skip
WARMUP = tuple(
    Reason(name, "learning rate", {"warmup": how}, _WARMUP)
    for how, name in {
        "(step + 1) / warmup": "the warmup counting steps from 1",
        "none": "no warmup",
        "cosine": "a learning rate that rises along a cosine",
        "square": "a learning rate that rises with the square of the step",
        "root": "a learning rate that rises with the root of the step",
    }.items()
)
CLIPPING = (
    *(
        Reason(name, "clipped gradients", {"clipping": how}, _CLIPPING)
        for how, name in {
            "none": "gradients not clipped",
            "each": "each gradient clipped to the norm by itself",
            "value": "each number of a gradient clipped instead of their norm",
            "always": "gradients scaled to the norm where they are smaller, too",
            "epsilon": "1e-6 added to the norm that gradients are clipped by, as PyTorch does",
        }.items()
    ),
    *(
        Reason(f"gradients clipped to {to:g}", "clipped gradients", {"clipping_to": to}, _CLIPPING)
        for to in (0.1, 0.5, 1.0, 5.0, 10.0)
    ),
)
EMA = (
    Reason("an average that does not begin as the weights after the first step",
           "average of the weights", {"ema_copies": False}, _EMA),
    *(
        Reason(name, "average of the weights", {"ema": how}, _EMA)
        for how, name in {
            "(1 + step) / (10 + step)": "a decay of at most (1 + step) / (10 + step) (warmup)",
            "1 - (1 + step)^-2/3": "a decay of at most 1 - (1 + step)^(-2/3) (warmup)",
            "1 - (1 + step)^-3/4": "a decay of at most 1 - (1 + step)^(-3/4) (warmup)",
            "exchanged": "decay and 1 - decay exchanged",
            "before": "the average taken before the weights change",
            "every tenth": "the average taken in every tenth step only",
            "copy": "the weights themselves instead of their average",
        }.items()
    ),
    Reason("an average that starts from 0 instead of the weights", "average of the weights",
           {"ema": "from zeros", "ema_copies": False}, _EMA),
    Reason("an average from 0 with bias correction", "average of the weights",
           {"ema": "corrected", "ema_copies": False}, _EMA),
    *(
        Reason(f"a decay of the average of {decay:g}", "average of the weights",
               {"ema_decay": decay}, _EMA)
        for decay in (0.9, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999)
    ),
)  # fmt: skip
_BY_LOSS = "Nichol & Dhariwal 2021, section 3.3: p_t proportional to sqrt(E[L_t^2]), of 10 losses"
TIMESTEP_SAMPLING = (
    *(
        Reason(name, TIMESTEPS, {"timesteps": how}, _BY_LOSS)
        for how, name in {
            "mean square": "timesteps drawn by the mean square of their losses, without its root",
            "mean": "timesteps drawn by the mean of their losses",
            "inverse": "timesteps drawn the less often the larger their losses",
            "uniform": "all timesteps drawn alike, whatever their losses",
        }.items()
    ),
    *(
        Reason(name, TIMESTEPS, {"timesteps_kept": kept}, _BY_LOSS)
        for kept, name in {
            1: "the last loss of a timestep alone instead of its last 10",
            5: "the last 5 losses of a timestep instead of its last 10",
            12: "all losses of a timestep instead of its last 10",
        }.items()
    ),
    *(
        Reason(f"a share of {share:g} of the timesteps drawn uniformly instead of 0.001", TIMESTEPS,
               {"timesteps_uniform": share}, _BY_LOSS)
        for share in (0.0, 0.01, 0.1)
    ),
)  # fmt: skip
_ALGORITHM_1 = "Ho et al. 2020, algorithm 1: one gradient step on the mean over a batch"
_DROPOUT = "Ho et al. 2020, appendix B: dropout of 0.1 on CIFAR-10, before the second convolution"
DROPOUT = (
    Reason("no dropout in training", "dropout", {"dropout_rate": 0.0}, _DROPOUT),
    *(
        Reason(f"dropout of {rate:g}", "dropout", {"dropout_rate": rate}, _DROPOUT, common=True)
        for rate in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)
    ),
    Reason("whole channels dropped instead of single numbers", "dropout",
           {"dropout_channels": True}, _DROPOUT, common=True),
    Reason("what is left after dropout not scaled up", "dropout", {"dropout_scaled": False},
           _DROPOUT, common=True),
    *(
        Reason(f"dropout {place} instead of before the second convolution", "dropout",
               {"dropout_at": at}, _DROPOUT, common=True)
        for at, place in {
            "before conv1": "before the first convolution",
            "before norm2": "before the second normalization",
            "after conv2": "after the second convolution",
            "after the block": "of the whole block, its input, too,",
        }.items()
    ),
)  # fmt: skip
TRAINING = tuple(
    Reason(name, "ten training steps", put, _ALGORITHM_1)
    for name, put in {
        "the images flipped from left to right": {"train_flips": True},
        "the sum over the batch instead of its mean": {"train_sums": True},
        "gradients added to those of the steps before (not set to 0)": {"train_accumulates": True},
    }.items()
)
DATA = (
    *(
        Reason(name, "pixels into numbers", {"pixels_in": how}, _PIXELS)
        for how, name in {
            "x / 255": "pixels scaled to [0, 1] instead of [-1, 1]",
            "x / 128 - 1": "pixels over 128 instead of 127.5",
            "x / 255 - 0.5": "pixels scaled to [-0.5, 0.5] instead of [-1, 1]",
            "x": "pixels not scaled",
            "1 - x / 127.5": "pixels inverted",
            "dequantized": "half a bin added to the pixels: (x + 0.5) / 128 - 1",
            "standardized": "pixels standardized with the mean and deviation of CIFAR-10",
        }.items()
    ),
    *(
        Reason(name, "numbers into pixels", {"pixels_out": how}, _PIXELS)
        for how, name in {
            "truncated": "pixels truncated instead of rounded",
            "not clipped": "numbers beyond [-1, 1] not clipped; they wrap around",
            "x 255": "numbers taken for [0, 1] instead of [-1, 1]",
            "x 128": "pixels times 128 instead of 127.5",
        }.items()
    ),
)
