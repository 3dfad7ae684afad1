"""Options of the process that configs or flags name: here, as flags are read without NumPy.

The tuple of each stands beside what it chooses: in `schedules`, `config.fields`, or a module of
`gaussian_diffusion`.
"""

from typing import Literal

BetaSchedule = Literal[
    "quad", "linear", "warmup10", "warmup50", "const", "jsd", "cosine", "sigmoid",
]  # fmt: skip
ModelMeanType = Literal["xprev", "xstart", "eps", "v"]
ModelVarType = Literal["learned", "learned_range", "fixedsmall", "fixedlarge"]
LossType = Literal["kl", "rescaled_kl", "mse", "l1", "huber", "hybrid"]
TimestepSampling = Literal["uniform", "by_loss"]
LEARNED: tuple[ModelVarType, ...] = ("learned", "learned_range")  # variances of the network
ModelName = Literal[
    "unet", "mlp", "table_mlp", "context_unet", "scale_shift", "scale_shift_mixing",
]  # fmt: skip
Solver = Literal["ddim", "heun"]
Mix = Literal["linear", "constant_variance"]
