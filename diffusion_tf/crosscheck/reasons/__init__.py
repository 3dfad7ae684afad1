"""The table of what implementations are known to do differently."""

from diffusion_tf.crosscheck.reasons.network import IN_NETWORK, WEIGHTS
from diffusion_tf.crosscheck.reasons.process import BOUND, DDIM, FORWARD, LOSS, REVERSE, SAMPLING
from diffusion_tf.crosscheck.reasons.reason import Reason
from diffusion_tf.crosscheck.reasons.schedule import COEFFICIENTS, SCHEDULE
from diffusion_tf.crosscheck.reasons.training import CLIPPING, DATA, EMA, OPTIMIZER, WARMUP

REASONS: tuple[Reason, ...] = (
    *WEIGHTS, *SCHEDULE, *COEFFICIENTS, *IN_NETWORK, *FORWARD, *REVERSE, *SAMPLING, *DDIM, *LOSS,
    *BOUND,
    *OPTIMIZER, *WARMUP, *CLIPPING, *EMA, *DATA,
)  # fmt: skip
# What can show in the stages of a group, nearest first, as the other side may not have the stages
# where it would show first.
IN_GROUP: dict[str, tuple[Reason, ...]] = {
    "weights": WEIGHTS,
    "schedule": SCHEDULE,
    "coefficients": (*COEFFICIENTS, *SCHEDULE),
    "network": (*IN_NETWORK, *WEIGHTS),
    "gradient": (),
    "forward process": (*FORWARD, *COEFFICIENTS, *SCHEDULE),
    "reverse process": (*REVERSE, *FORWARD, *COEFFICIENTS, *SCHEDULE),
    "sampling": (*SAMPLING, *REVERSE, *FORWARD, *COEFFICIENTS, *SCHEDULE),
    "ddim": (*DDIM, *REVERSE, *FORWARD, *COEFFICIENTS, *SCHEDULE),
    "loss": (*LOSS, *FORWARD, *REVERSE, *COEFFICIENTS, *SCHEDULE),
    "bpd": (*BOUND, *REVERSE, *FORWARD, *COEFFICIENTS, *SCHEDULE),
    "optimizer": OPTIMIZER,
    "learning rate": WARMUP,
    "clipping": CLIPPING,
    "average": EMA,
    "data": DATA,
}
