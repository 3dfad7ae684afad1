"""Which samples are asked for, and how many: numbers, seeds, so many of each class."""

import re
from collections.abc import Sequence

from diffusion_tf.config import Config
from diffusion_tf.utils.numbers import INT32_MAX, checked_seed, is_whole, whole

MAX_SEEDS = 1_000_000
MAX_LAMBDAS = 100  # columns of a picture
_RANGE = re.compile(r"(-?\d+)-(-?\d+)")


def parse_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """The seeds that a flag lists: numbers and ranges, `0-63` or `3,5,10-12`.

    Raises:
        ValueError: something else, a range that falls, or too many.
    """
    seeds: list[int] = []
    for word in words:
        match = _RANGE.fullmatch(word)
        try:
            first, last = (int(match[1]), int(match[2])) if match else (int(word), int(word))
        except ValueError:
            raise ValueError(
                f"--seeds has {word[:50]!r}; give numbers and ranges, such as 0-63 or 3,5,10-12."
            ) from None
        if not first <= last < first + MAX_SEEDS - len(seeds):
            raise ValueError(
                f"--seeds has {word[:50]}; a range rises, and {MAX_SEEDS} seeds are the most."
            )
        seeds += range(checked_seed(first), checked_seed(last) + 1)
    return tuple(seeds)


def labels_of_each(per_class: int, config: Config) -> str:
    """The conditions that give so many samples of each class, one class after the other.

    Raises:
        ValueError: no number, or a network without classes.
    """
    whole(per_class, "per_class", 1)
    if not config.num_classes:
        raise ValueError("--per_class is for networks with classes, and this run has none.")
    return ",".join(str(label) for label in range(config.num_classes) for _ in range(per_class))


def number_of_samples(
    given: int | None, seeds: Sequence[int], per_class: int | None, config: Config
) -> int:
    """How many samples are asked for.

    Args:
        given: number that was asked for, None if nobody did.
        seeds: of the samples, if they have some of their own.
        per_class: samples of each class, None if that is not asked for.
        config: of the run.

    Raises:
        ValueError: two of them that do not agree.
    """
    wanted = {
        "--num_samples": given,
        "--seeds": len(seeds) or None,
        "--per_class": per_class and per_class * config.num_classes,
    }
    numbers = {flag: number for flag, number in wanted.items() if number is not None}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{flag} {number}" for flag, number in numbers.items())
        raise ValueError(f"These ask for different numbers of samples: {listed}; leave one out.")
    return next(iter(numbers.values()), 64)


def check_num_lambdas(num_lambdas: int) -> int:
    """A number of mixtures as an int.

    Raises:
        ValueError: less than 2, or more than a picture can show.
    """
    num_lambdas = whole(num_lambdas, "num_lambdas", -INT32_MAX)
    if num_lambdas < 2:
        raise ValueError(f"num_lambdas is {num_lambdas}; it must be at least 2, for the two ends.")
    if num_lambdas > MAX_LAMBDAS:
        raise ValueError(
            f"num_lambdas is {num_lambdas}; it must be at most {MAX_LAMBDAS}, the columns of a"
            " picture."
        )
    return num_lambdas


def check_progressive(distance: int | None, T: int) -> None:
    """Raises a ValueError unless predictions can be kept every so many of T steps, or never."""
    if distance is not None and not (is_whole(distance) and 1 <= distance <= T):
        raise ValueError(
            f"--progressive={distance} is not a distance between steps; it must lie in 1..{T}."
        )
