"""Finds the reasons of a difference: puts what is known into ours until both sides agree."""

import dataclasses
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from diffusion_tf.crosscheck.choices import Choices
from diffusion_tf.crosscheck.reasons import Reason

AT_MOST = 3  # reasons that hide each other and are found together
BEAM = 4  # sets that come nearest, to which one reason more is added

# How far ours with some choices is from theirs; None where nothing can be said.
Distance = Callable[[Choices], float]


def put(choices: Choices, reasons: Iterable[Reason]) -> Choices | None:
    """The choices with reasons put in; None if two of them want a field for themselves."""
    changes: dict = {}
    for reason in reasons:
        if changes.keys() & reason.put.keys():
            return None
        changes |= reason.put
    return dataclasses.replace(choices, **changes)


def smallest(
    reasons: Sequence[Reason],
    choices: Choices,
    distance: Distance,
    *,
    near: Container[str],
    tolerance: float,
    dear: bool = False,
    freely: bool = True,
    at_most: int = AT_MOST,
    fit: Callable[[tuple[Reason, ...]], bool] = lambda _: True,
) -> list[tuple[Reason, ...]]:
    """The smallest sets of reasons that bring a stage within its tolerance.

    Of two at a time those are tried of which both are near or common, or one comes nearest alone;
    of three, those that contain one of the nearest pairs, and three common ones. If not freely,
    only common ones are put together whatever comes of them alone; where a trial is dear, none.

    Args:
        reasons: to choose from.
        near: stages where those that are near show first.
        choices: what is put into ours already.
        distance: of ours with other choices from theirs.
        tolerance: the largest distance of sides that agree.
        dear: a trial takes long.
        freely: all that are near are put together.
        at_most: so many of them.
        fit: whether reasons may be put in together.
    """
    tried: list[tuple[float, tuple[Reason, ...]]] = []
    sets: Iterable[tuple[Reason, ...]] = ((reason,) for reason in reasons)
    for number in range(1, at_most + 1):
        tried = []
        for chosen in sets:
            varied = put(choices, chosen)
            if varied is not None and fit(chosen):
                tried.append((distance(varied), chosen))
        found = [chosen for off, chosen in tried if off <= tolerance]
        if found:
            return found
        some = [reason for reason in reasons if reason.common or reason.stage in near]
        nearest = _extended(tried, some)
        free = () if dear else _free(some, number + 1, freely)
        both = itertools.chain(nearest, free)
        sets = dict.fromkeys(tuple(sorted(chosen, key=reasons.index)) for chosen in both)
    return []


def _free(reasons: Sequence[Reason], number: int, freely: bool) -> Iterator[tuple[Reason, ...]]:
    """Sets of so many that are tried whatever comes of a part of them."""
    some = [reason for reason in reasons if reason.common or (freely and number == 2)]
    return itertools.combinations(some, number)


def _extended(
    tried: list[tuple[float, tuple[Reason, ...]]], reasons: Sequence[Reason]
) -> Iterator[tuple[Reason, ...]]:
    """The nearest sets so far, each with one reason more."""
    for _, chosen in sorted(tried, key=lambda entry: entry[0])[:BEAM]:
        for reason in reasons:
            if reason not in chosen:
                yield (*chosen, reason)
