"""The table of what implementations are known to do differently."""

from diffusion_tf.crosscheck.reasons.network import IN_NETWORK, WEIGHTS
from diffusion_tf.crosscheck.reasons.process import BOUND, FORWARD, LOSS, REVERSE
from diffusion_tf.crosscheck.reasons.reason import Reason
from diffusion_tf.crosscheck.reasons.sampling import (
    CHAIN,
    DDIM,
    FEWER_STEPS,
    GUIDANCE,
    RESPACING,
    SAMPLING,
)
from diffusion_tf.crosscheck.reasons.schedule import COEFFICIENTS, SCHEDULE
from diffusion_tf.crosscheck.reasons.training import (
    CLIPPING,
    DATA,
    DROPOUT,
    EMA,
    OPTIMIZER,
    TIMESTEP_SAMPLING,
    TRAINING,
    WARMUP,
)
from diffusion_tf.crosscheck.reasons.variance import HYBRID, HYBRID_GRADIENT, LEARNED

REASONS: tuple[Reason, ...] = (
    *WEIGHTS, *SCHEDULE, *COEFFICIENTS, *IN_NETWORK, *FORWARD, *REVERSE, *LEARNED, *SAMPLING,
    *CHAIN, *DDIM, *FEWER_STEPS, *RESPACING, *GUIDANCE, *LOSS, *HYBRID, *HYBRID_GRADIENT, *BOUND,
    *OPTIMIZER, *WARMUP, *CLIPPING, *EMA, *TIMESTEP_SAMPLING, *DATA, *TRAINING, *DROPOUT,
)  # fmt: skip
_REVERSE = (*REVERSE, *LEARNED, *FORWARD, *COEFFICIENTS, *SCHEDULE)
# What can show in the stages of a group, nearest first, as the other side may not have the stages
# where it would show first.
IN_GROUP: dict[str, tuple[Reason, ...]] = {
    "weights": WEIGHTS,
    "schedule": SCHEDULE,
    "coefficients": (*COEFFICIENTS, *SCHEDULE),
    "network": (*IN_NETWORK, *WEIGHTS),
    "gradient": (),
    "dropout": DROPOUT,
    "forward process": (*FORWARD, *COEFFICIENTS, *SCHEDULE),
    "reverse process": _REVERSE,
    "sampling": (*SAMPLING, *_REVERSE),
    "chain": (*CHAIN, *SAMPLING, *REVERSE, *LEARNED),
    "ddim": (*DDIM, *_REVERSE),
    "fewer steps": (*FEWER_STEPS, *DDIM, *RESPACING, *REVERSE, *LEARNED),
    "respacing": (*RESPACING, *_REVERSE),
    "guidance": GUIDANCE,
    "loss": (*LOSS, *FORWARD, *REVERSE, *LEARNED, *COEFFICIENTS, *SCHEDULE),
    "hybrid": (*HYBRID, *LOSS, *BOUND, *_REVERSE),
    "respaced loss": (*RESPACING, *LOSS, *REVERSE, *LEARNED),
    "loss gradient": HYBRID_GRADIENT,
    "bpd": (*BOUND, *_REVERSE),
    "optimizer": OPTIMIZER,
    "learning rate": WARMUP,
    "clipping": CLIPPING,
    "average": EMA,
    "timesteps": TIMESTEP_SAMPLING,
    "data": DATA,
    "training": (*TRAINING, *OPTIMIZER, *WARMUP, *CLIPPING, *EMA, *DATA, *LOSS),
}
