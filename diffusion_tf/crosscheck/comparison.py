"""Holds the two sides against each other, and finds out why they differ by trying what is known."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from diffusion_tf.crosscheck.choices import (
    COEFFICIENT_FIELDS,
    ORIGINAL,
    SCHEDULE_FIELDS,
    Choices,
    are_original,
)
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.finding import Finding
from diffusion_tf.crosscheck.looks import describe
from diffusion_tf.crosscheck.network_search import NetworkSearch
from diffusion_tf.crosscheck.reasons import IN_GROUP, Reason
from diffusion_tf.crosscheck.recipe_process import with_theirs
from diffusion_tf.crosscheck.recipe_respaced import OF_ABAR
from diffusion_tf.crosscheck.reference import FIRST_STEP, Reference
from diffusion_tf.crosscheck.search import put, smallest
from diffusion_tf.crosscheck.stage_table import (
    AGREES,
    DIFFERS,
    NOT_COMPARED,
    Judge,
    Row,
    Value,
    differences,
)
from diffusion_tf.crosscheck.stages import (
    BOUND_FLOOR,
    GROUPS,
    LAST_STEP,
    OPTIONAL,
    resting_on,
    stage_of,
)

COARSEST = 1e-2  # of what is ever called equal
INFINITE = float("inf")


class Side(Protocol):
    """The other side of a comparison."""

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, NHWC, without those that it does not have."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All rows in order, and the findings in the order in which they were made.

    Attributes:
        values: ours and theirs of the stages that differ.
        groups: of the stages.
    """

    rows: list[Row]
    findings: list[Finding]
    values: Mapping[str, tuple[Value, Value]] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs, and anything was compared at all."""
        verdicts = {row.verdict for row in self.rows}
        return DIFFERS not in verdicts and verdicts != {NOT_COMPARED}

    def summary(self) -> str:
        """The verdict in words, a line for each finding."""
        compared = [row for row in self.rows if row.verdict != NOT_COMPARED]
        if self.agrees:
            return f"All {len(compared)} stages compared agree.\n"
        if not compared:
            return "Nothing could be compared.\n"
        first = next(row for row in self.rows if row.verdict == DIFFERS)
        lines = [f"The first stage that differs is {first.stage}, by {first.max_abs:.1e}."]
        for finding in self.findings:
            unknown = "no known reason makes it agree"
            if finding.looks:
                unknown += f"; it looks like this: {finding.looks}"
            lines.append(f"  {finding.stage}: {' and '.join(finding.reasons) or unknown}")
        if all(finding.reasons for finding in self.findings):
            lines.append("With this put into ours, whatever differed agrees.")
        else:
            lines.append("What builds on a difference without a reason was looked into where its")
            lines.append("values could be put into ours as they are, and not elsewhere.")
        return "\n".join(lines) + "\n"


class Comparer:
    """Compares the stages of two sides."""

    def __init__(self, ours: Reference, theirs: Side, counterpart: Counterpart):
        self._ours = ours
        self._theirs = theirs
        self._its = counterpart
        self._judge = Judge(ours.inputs.t)
        self._seen: set[str] = set()  # stages of the other side so far
        self._unknown: set[str] = set()  # groups that differ for no known reason

    @np.errstate(all="ignore")  # of what others do differently, some is not a number
    def run(self) -> Comparison:
        """Compares group by group.

        Where a group differs for no known reason, what builds on it is compared but not explained,
        unless its values can be put into ours as they are.
        """
        rows: list[Row] = []
        findings: list[Finding] = []
        values: dict[str, tuple[Value, Value]] = {}
        groups: dict[str, str] = {}
        choices = ORIGINAL
        for group in GROUPS:
            if group == "weights" and not self._its.keeps_weights:
                continue  # they are the same, by loading
            found = self._theirs.values(group)
            if not found:
                rows += [] if group in OPTIONAL else [Row(group, NOT_COMPARED)]
                continue
            self._seen |= found.keys()
            expected = self._ours.values(group)
            group_rows = [self._row(group, stage, expected, found) for stage in expected]
            rows += group_rows
            groups |= dict.fromkeys(expected, group)
            differing = [row.stage for row in group_rows if row.verdict == DIFFERS]
            values |= {stage: (expected[stage], found[stage]) for stage in differing}
            if differing and not self._unknown & set(GROUPS[group]):
                choices, of_group = self._explain(group, choices, found)
                findings += of_group
        return Comparison(rows, findings, values, groups)

    def _row(
        self,
        group: str,
        stage: str,
        expected: Mapping[str, Value],
        found: Mapping[str, Value],
        at_least: float = 0.0,
        sums: int = 1,
    ) -> Row:
        """Compares a stage; the tolerance is the usual one, or `at_least`.

        A bound that `sums` up so many numbers has their rounding.
        """
        ours, theirs = expected[stage], found.get(stage)
        of_bound = group in ("loss", "respaced loss") and self._ours.loss_is_bound
        group = "bpd" if of_bound else group
        its = stage_of(stage, group)
        tolerance, note = self._coarse.get(stage, (its.tolerance, ""))
        tolerance = max(tolerance, at_least)
        return self._judge.row(
            stage, ours, theirs, tolerance=tolerance, floor=sums * its.floor, note=note
        )

    @property
    def _coarse(self) -> Mapping[str, tuple[float, str]]:
        return getattr(self._its.process, "coarse", {})

    def _explain(
        self, group: str, choices: Choices, found: Mapping[str, Value]
    ) -> tuple[Choices, list[Finding]]:
        """Puts known differences into ours, stage by stage, until the group agrees."""
        if group == "network":
            if not self._differing(group, choices, found):
                return choices, []  # with what was found before
            choices, findings = NetworkSearch(self._ours, found).explain(choices)
            if not all(finding.reasons for finding in findings):
                self._unknown.add(group)
            return choices, findings
        findings, left_out = [], set[str]()
        while True:
            differing = [s for s in self._differing(group, choices, found) if s not in left_out]
            if not differing:
                return choices, findings
            stage = differing[0]
            best = self._best(group, choices, found, differing)
            if best is not None:
                reasons, choices = best
                findings.append(Finding(stage, tuple(reason.name for reason in reasons)))
                continue
            findings.append(Finding(stage, (), self._looks(group, stage, choices, found)))
            left_out |= {stage}
            choices, is_in = self._as_it_is(stage, choices, found)
            if not is_in:
                self._unknown.add(group)
                left_out |= {*resting_on(stage, differing)}

    def _looks(self, group: str, stage: str, choices: Choices, found: Mapping[str, Value]) -> str:
        ours, t = self._ours.values(group, choices)[stage], self._ours.inputs.t
        # Of a bound the loss's gradient is that of examples at t > 0 alone.
        t = t if len(ours) == len(t) else t[t > 0]
        return describe(ours, found[stage], t=t)

    def _as_it_is(
        self, stage: str, choices: Choices, found: Mapping[str, Value]
    ) -> tuple[Choices, bool]:
        """The choices with their values of a stage in them, if that is possible."""
        theirs = found[stage]
        if not isinstance(theirs, np.ndarray) or not np.isfinite(theirs).all():
            return choices, False
        if stage in COEFFICIENT_FIELDS:
            if stage not in ("betas", *OF_ABAR):  # what it would be for longer steps is not known
                self._unknown.add("coefficients")
            return with_theirs(choices, stage, theirs), True
        if stage == "p_mean_variance: pred_xstart":
            self._unknown.add("reverse process")
            return dataclasses.replace(choices, pred_xstart=theirs), True
        return choices, False

    def _best(
        self, group: str, choices: Choices, found: Mapping[str, Value], before: list[str]
    ) -> tuple[tuple[Reason, ...], Choices] | None:
        """Reasons that make the first stage agree and no other differ, and most of them agree."""
        stage = before[0]
        reasons = sorted(self._candidates(group), key=lambda reason: reason.stage != stage)

        def distance(varied: Choices) -> float:
            return self._distance(group, stage, varied, found)

        best: tuple[int, tuple[Reason, ...], Choices] | None = None
        near = {stage} if group == "coefficients" else set(self._ours.values(group))
        for chosen in smallest(
            reasons, choices, distance, near=near, tolerance=1.0, fit=self._fit(group)
        ):
            varied = put(choices, chosen)
            assert varied is not None
            after = self._differing(group, varied, found)
            if stage in after or not set(after) <= set(before):
                continue
            if best is None or len(after) < best[0]:
                best = len(after), chosen, varied
        return best[1:] if best else None

    def _fit(self, group: str) -> Callable[[tuple[Reason, ...]], bool]:
        """Whether the inputs tell apart what is put in together.

        Next to another schedule, which they do not suit, they tell what is common, and no more.
        """

        def fit(reasons: tuple[Reason, ...]) -> bool:
            others = [reason for reason in reasons if reason.stage != "betas"]
            return len(others) in (0, len(reasons)) or all(reason.common for reason in others)

        return fit if self._is_guessed(group) else lambda _: True

    def _distance(
        self, group: str, stage: str, choices: Choices, found: Mapping[str, Value]
    ) -> float:
        """How far a stage is from theirs, over its tolerance."""
        for row in self._rows(group, choices, found):
            if row.stage == stage and row.max_rel is not None and row.tolerance:
                off = row.max_rel / row.tolerance
                return off if math.isfinite(off) else INFINITE
        return 0.0

    def _candidates(self, group: str) -> tuple[Reason, ...]:
        """What is tried in a group."""
        if group in ("loss", "respaced loss") and self._ours.loss_is_bound:
            group = "hybrid" if self._ours.config.loss_type == "hybrid" else "bpd"
        reasons = IN_GROUP[group]
        hidden = {r.name for r in reasons if r.beside and r.beside not in self._seen}
        if group != "schedule" and "betas" in self._seen:
            hidden |= {reason.name for reason in reasons if reason.stage == "betas"}
        return tuple(reason for reason in reasons if reason.name not in hidden)

    def _begins_alike(self, choices: Choices, found: Mapping[str, Value]) -> bool:
        """Whether the first step of the sampling agrees, without which the last one does not."""
        return self._first_row(choices, found).verdict == AGREES

    def _first_row(self, choices: Choices, found: Mapping[str, Value]) -> Row:
        ours = {LAST_STEP: self._ours.first_step(choices)}
        return self._row("sampling", LAST_STEP, ours, {LAST_STEP: found[FIRST_STEP]})

    def _differing(self, group: str, choices: Choices, found: Mapping[str, Value]) -> list[str]:
        """The stages of a group that differ, with these choices in ours."""
        rows = self._rows(group, choices, found)
        return [row.stage for row in rows if row.verdict == DIFFERS]

    def _rows(self, group: str, choices: Choices, found: Mapping[str, Value]) -> list[Row]:
        """The rows of a group, with these choices in ours."""
        if group == "sampling" and FIRST_STEP in found:
            first = self._first_row(choices, found)
            if first.verdict != AGREES:
                return [first]
        expected = self._ours.values(group, choices)
        least: dict[str, float] = {}
        if self._is_unsuited(group, choices):
            found, least = told(expected, self._ours.rounded(group, choices), found)
        sums = self._ours.inputs.noise[0].size if choices.bound_reduction == "sum" else 1
        return [
            self._row(group, stage, expected, found, least.get(stage, 0), sums)
            for stage in expected
        ]

    def _is_guessed(self, group: str) -> bool:
        """Whether a group starts from what a good network says of the inputs."""
        bound = group == "loss" and self._ours.loss_is_bound
        return group in ("reverse process", "ddim", "respacing", "respaced loss", "bpd") or bound

    def _is_unsuited(self, group: str, choices: Choices) -> bool:
        """Whether the inputs, which suit the config's schedule, need not suit that of the choices.

        x_0 can then follow from x_t with digits missing that the usual tolerance asks for.
        """
        return self._is_guessed(group) and not are_original(
            choices, (*SCHEDULE_FIELDS, *COEFFICIENT_FIELDS)
        )


def told(
    ours: Mapping[str, Value], rounded: Mapping[str, Value], theirs: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, float]]:
    """What float32 tells of the other side.

    Args:
        ours, rounded: our stages, and the same rounded differently.
        theirs: their stages.

    Returns:
        theirs, with ours in place of the examples [B] of which float32 tells less than `COARSEST`,
        unless it is all of them; and the smallest difference of each stage that float32 tells.
    """
    told_theirs, least = dict(theirs), {}
    our_arrays, rounded_arrays, their_arrays = map(_arrays, (ours, rounded, theirs))
    for stage, value in our_arrays.items():
        if stage not in their_arrays:
            continue
        floor = 0.0 if stage.startswith("p_mean_variance") else BOUND_FLOOR
        lost = np.zeros(len(value), bool)
        if value.ndim == 1:
            rounding = np.abs(rounded_arrays[stage] - value)
            lost = 4 * rounding > COARSEST * np.maximum(np.abs(value), floor)
            lost &= not lost.all()
            told_theirs[stage] = np.where(lost, value, their_arrays[stage])
        off = np.where(lost.reshape(-1, *[1] * (value.ndim - 1)), value, rounded_arrays[stage])
        least[stage] = min(4 * differences(stage, value, off, floor)[1], COARSEST)
    return told_theirs, least


def _arrays(values: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """The stages that are one array."""
    return {stage: value for stage, value in values.items() if not isinstance(value, Mapping)}
