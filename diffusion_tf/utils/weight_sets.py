"""Which of a checkpoint's sets of weights: the averaged ones, those before averaging, or others."""

import re
from collections.abc import Iterable, Mapping

from diffusion_tf.utils.numbers import shown

# `ema` the averaged ones, `raw` those that the optimizer moves; of a run with several averages
# `ema_0.9999` is the one of that decay, and `ema` the first.
WeightsKind = str
WEIGHTS = ("ema", "raw")  # that every format knows
_OF_DECAY = re.compile(r"ema_(0?\.\d+|0)")


def check_weights(weights: str) -> None:
    """Raises a ValueError if `weights` is not a name of weights."""
    if not isinstance(weights, str) or not (weights in WEIGHTS or _OF_DECAY.fullmatch(weights)):
        raise ValueError(
            f"Unknown weights {shown(weights)}; choose one of {', '.join(WEIGHTS)}, or an average"
            " by its decay, such as ema_0.9999."
        )


def name_of_average(decay: float) -> str:
    """The name of the average with a decay, where a run has several."""
    return f"ema_{decay}"


def own_name(weights: str, averages: Mapping[str, float]) -> str:
    """The name that a run has for weights: that of its first average may also say the decay.

    Args:
        weights: a name of weights.
        averages: of the run, decays by name.
    """
    match = _OF_DECAY.fullmatch(weights)
    same = [name for name, decay in averages.items() if match and float(match[1]) == decay]
    return same[0] if same else weights


def no_such_weights(path: str, weights: str, others: Iterable[str]) -> ValueError:
    """The error for weights that a checkpoint does not hold; `others` are those that it does."""
    kind = {"ema": "averaged weights", "raw": "raw weights"}.get(weights, f"weights {weights}")
    return ValueError(f"{path} holds no {kind}; choose --weights={' or '.join(others)}.")
