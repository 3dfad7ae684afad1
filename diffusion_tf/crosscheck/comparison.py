"""Holds the two sides against each other, and finds out why they differ by trying what is known."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np

from diffusion_tf.crosscheck.choices import (
    IN_NETWORK,
    IN_OPTIMIZER,
    IN_PROCESS,
    IN_SCHEDULE,
    IN_WEIGHTS,
    ORIGINAL,
    Choices,
    Known,
)
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.reference import FIRST_STEP, GROUPS, LAST_STEP, Reference
from diffusion_tf.crosscheck.stage_table import (
    AGREES,
    DIFFERS,
    NOT_COMPARED,
    Row,
    Value,
    compare,
    differences,
)
from diffusion_tf.crosscheck.torch_side import TorchSide

# Largest relative difference: what rounding in float32 comes to in the network of the paper's
# CIFAR-10, with room for other processors. Beside diffusers it was 9e-6 in the network, 2.5e-5 in
# the gradient and 4e-5 after ten steps.
TOLERANCES = {
    "weights": 0.0,
    "schedule": 1e-6,
    "coefficients": 1e-6,
    "network": 2e-5,
    "gradient": 1e-4,
    "forward process": 1e-5,
    "reverse process": 1e-5,
    "sampling": 1e-4,
    "loss": 1e-5,
    "bpd": 1e-4,
    "optimizer": 1e-4,  # the powers of beta in float32; see TF1Adam
}
# The angles go up to T, and float32 holds them to T / 10^7.
STAGE_TOLERANCES = {"sinusoids": 1e-4, "temb": 1e-4}
LOG_VARIANCES = (
    "posterior_log_variance_clipped", "posterior log variance", "p_mean_variance: log variance",
)  # fmt: skip
# Numbers that count as no smaller than this. A logarithm's difference is the relative one of the
# variance, also where it is next to 0. A small KL is what is left of 1 - 1; float32 leaves 10^-7
# then, and 10^-6 bits/dim make no difference.
BOUND_FLOOR = 1e-2
FLOORS = dict.fromkeys(LOG_VARIANCES, 1.0)
# What is tried when a stage of a group differs: whatever can show there, as the other side may not
# have the stages where it would show first.
CANDIDATES: dict[str, Known] = {
    "weights": IN_WEIGHTS,
    "schedule": IN_SCHEDULE,
    "coefficients": IN_SCHEDULE,
    "network": {**IN_NETWORK, **IN_WEIGHTS},
    "gradient": IN_NETWORK,
    "forward process": IN_SCHEDULE,
    "reverse process": {**IN_PROCESS, **IN_SCHEDULE},
    "sampling": {**IN_PROCESS, **IN_SCHEDULE},
    "loss": IN_SCHEDULE,
    "bpd": {**IN_PROCESS, **IN_SCHEDULE},
    "optimizer": IN_OPTIMIZER,
}
COARSEST = 1e-2  # of what is ever called equal
# How many are put into ours for one stage at most; the network shows them stage by stage.
AT_ONCE = {"network": 2, "gradient": 2}
AT_MOST = 3
# A group is not explained where one that it builds on differs for no known reason.
BUILDS_ON = {
    "coefficients": {"schedule"},
    "network": {"weights"},
    "gradient": {"weights", "network"},
    "forward process": {"schedule"},
    "reverse process": {"schedule"},
    "sampling": {"weights", "network", "schedule", "reverse process"},
    "loss": {"weights", "network", "schedule"},
    "bpd": {"schedule", "reverse process"},
}
# What many take for the log of the first variance, which is 0. The original takes the second one's.
# No sample depends on it, as the last step adds no noise; the first term of the bound does.
CLIPPED = math.log(1e-20)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A stage where the sides differ, and what makes them agree; nothing if that is unknown."""

    stage: str
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All rows in order, and the findings in the order in which they were made."""

    rows: list[Row]
    findings: list[Finding]

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
            known = " and ".join(finding.reasons) or "no known reason makes it agree"
            lines.append(f"  {finding.stage}: {known}")
        if all(finding.reasons for finding in self.findings):
            lines.append("With this put into ours, whatever differed agrees.")
        else:
            lines.append("What builds on a difference without a reason was not looked into.")
        return "\n".join(lines) + "\n"


class Comparer:
    """Compares the stages of two sides."""

    def __init__(self, ours: Reference, theirs: TorchSide, counterpart: Counterpart):
        self._ours = ours
        self._theirs = theirs
        self._its = counterpart
        self._clips = False  # whether its log-variance at t = 0 is CLIPPED

    def run(self) -> Comparison:
        """Compares group by group.

        Where a group differs for no known reason, what builds on it is compared but not explained.
        """
        rows: list[Row] = []
        findings: list[Finding] = []
        choices, unknown = ORIGINAL, set[str]()
        for group in GROUPS:
            if group == "weights" and not self._its.keeps_weights:
                continue  # they are the same, by loading
            found = self._theirs.values(group)
            if not found:
                rows.append(Row(group, NOT_COMPARED))
                continue
            expected = self._ours.values(group)
            group_rows = [self._row(group, stage, expected, found) for stage in expected]
            rows += group_rows
            explainable = not unknown & BUILDS_ON.get(group, set())
            if explainable and any(row.verdict == DIFFERS for row in group_rows):
                choices, of_group = self._explain(group, choices, found)
                findings += of_group
                if of_group and not of_group[-1].reasons:
                    unknown.add(group)
        return Comparison(rows, findings)

    def _row(
        self,
        group: str,
        stage: str,
        expected: Mapping[str, Value],
        found: Mapping[str, Value],
        at_least: float = 0.0,
    ) -> Row:
        """Compares a stage; the tolerance is the usual one, or `at_least`."""
        ours, theirs = expected[stage], found.get(stage)
        group = "bpd" if group == "loss" and self._ours.loss_is_bound else group
        usual = STAGE_TOLERANCES.get(stage, TOLERANCES[group])
        coarse = getattr(self._its.process, "coarse", {})
        tolerance, note = coarse.get(stage, (usual, ""))
        if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
            if stage in LOG_VARIANCES:
                self._clips = math.isclose(theirs[0], CLIPPED, abs_tol=1e-3)
            if self._clips and stage in (*LOG_VARIANCES, "bpd term"):
                ours, theirs = ours[1:], theirs[1:]
                note = "; ".join(filter(None, ("t >= 1; at 0 it has no variance", note)))
        floor = BOUND_FLOOR if group == "bpd" else FLOORS.get(stage, 0.0)
        tolerance = max(tolerance, at_least)
        return compare(stage, ours, theirs, tolerance=tolerance, floor=floor, note=note)

    def _explain(
        self, group: str, choices: Choices, found: Mapping[str, Value]
    ) -> tuple[Choices, list[Finding]]:
        """Puts known differences into ours, stage by stage, until the group agrees."""
        findings: list[Finding] = []
        differing = self._differing(group, choices, found)
        while differing:
            best = min(
                self._explanations(group, choices, found, differing),
                key=lambda explanation: len(explanation[2]),
                default=None,
            )
            findings.append(Finding(differing[0], best[0] if best else ()))
            if best is None:
                break
            _, choices, differing = best
        return choices, findings

    def _explanations(
        self, group: str, choices: Choices, found: Mapping[str, Value], before: list[str]
    ) -> Iterator[tuple[tuple[str, ...], Choices, list[str]]]:
        """Known differences that make the first stage agree and no other differ, and what is left.

        More at a time are tried only where fewer do not do it.
        """
        candidates, tried = self._candidates(group), {self._ours.effect(choices)}
        for number in range(1, AT_ONCE.get(group, AT_MOST) + 1):
            any_found = False
            for reasons in itertools.combinations(candidates, number):
                changes = {k: v for reason in reasons for k, v in candidates[reason].items()}
                if len(changes) < sum(len(candidates[reason]) for reason in reasons):
                    continue  # two values for one choice
                varied = dataclasses.replace(choices, **changes)
                effect = self._ours.effect(varied)
                if effect in tried:
                    continue
                tried.add(effect)
                differing = self._differing(group, varied, found)
                if before[0] not in differing and set(differing) <= set(before):
                    any_found = True
                    yield reasons, varied, differing
            if any_found:
                return

    def _candidates(self, group: str) -> Known:
        """What is tried in a group."""
        return CANDIDATES["bpd" if group == "loss" and self._ours.loss_is_bound else group]

    def _begins_alike(self, choices: Choices, found: Mapping[str, Value]) -> bool:
        """Whether the first step of the sampling agrees, without which the last one does not."""
        ours = {LAST_STEP: self._ours.first_step(choices)}
        row = self._row("sampling", LAST_STEP, ours, {LAST_STEP: found[FIRST_STEP]})
        return row.verdict == AGREES

    def _differing(self, group: str, choices: Choices, found: Mapping[str, Value]) -> list[str]:
        """The stages of a group that differ, with these choices in ours."""
        if group == "sampling" and not self._begins_alike(choices, found):
            return [LAST_STEP]
        expected = self._ours.values(group, choices)
        least: dict[str, float] = {}
        if self._is_unsuited(group, choices):
            found, least = told(expected, self._ours.rounded(group, choices), found)
        rows = [self._row(group, stage, expected, found, least.get(stage, 0)) for stage in expected]
        return [row.stage for row in rows if row.verdict == DIFFERS]

    def _is_unsuited(self, group: str, choices: Choices) -> bool:
        """Whether the inputs, which suit the config's schedule, need not suit that of the choices.

        x_0 can then follow from x_t with digits missing that the usual tolerance asks for.
        """
        guessed = self._candidates(group) == CANDIDATES["bpd"] and group != "sampling"
        return guessed and self._ours.effect(choices)[0] != self._ours.effect(ORIGINAL)[0]


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
