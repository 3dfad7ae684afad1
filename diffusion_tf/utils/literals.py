"""Options of the process that configs name, too: here, as flags are read without NumPy.

The tuple of each stands beside what it chooses: in `schedules` and in `gaussian_diffusion.process`.
"""

from typing import Literal

BetaSchedule = Literal[
    "quad", "linear", "warmup10", "warmup50", "const", "jsd", "cosine", "sigmoid",
]  # fmt: skip
ModelMeanType = Literal["xprev", "xstart", "eps", "v"]
ModelVarType = Literal["learned", "learned_range", "fixedsmall", "fixedlarge"]
LossType = Literal["kl", "rescaled_kl", "mse", "l1", "huber", "hybrid"]
LEARNED: tuple[ModelVarType, ...] = ("learned", "learned_range")  # variances of the network
