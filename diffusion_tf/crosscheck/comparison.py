"""Holds the two sides against each other, and finds out why they part by trying what is known."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

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
from diffusion_tf.crosscheck.ours import GROUPS, Ours
from diffusion_tf.crosscheck.report import NOT_COMPARED, PARTS, Row, Value, compare
from diffusion_tf.crosscheck.theirs import Theirs

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
# then, and 10^-6 bits/dim are no difference.
FLOORS = {**dict.fromkeys(LOG_VARIANCES, 1.0), "bpd term": 1e-2}
# What is tried when a stage of a group parts.
CANDIDATES: dict[str, Known] = {
    "weights": IN_WEIGHTS,
    "schedule": IN_SCHEDULE,
    "coefficients": IN_SCHEDULE,
    "network": IN_NETWORK,
    "gradient": IN_NETWORK,
    "forward process": IN_SCHEDULE,
    "reverse process": IN_PROCESS,
    "sampling": IN_PROCESS,
    "loss": IN_NETWORK,
    "bpd": IN_PROCESS,
    "optimizer": IN_OPTIMIZER,
}
# A group is not explained where one that it builds on parts for no known reason.
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
    """A stage where the sides part, and what makes them agree again; nothing if that is unknown."""

    stage: str
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All rows in order, and the findings in the order in which they were made."""

    rows: list[Row]
    findings: list[Finding]

    @property
    def agrees(self) -> bool:
        """Whether nothing parts, and anything was compared at all."""
        verdicts = {row.verdict for row in self.rows}
        return PARTS not in verdicts and verdicts != {NOT_COMPARED}

    def summary(self) -> str:
        """The verdict in words, a line for each finding."""
        compared = [row for row in self.rows if row.verdict != NOT_COMPARED]
        if self.agrees:
            return f"All {len(compared)} stages compared agree.\n"
        if not compared:
            return "Nothing could be compared.\n"
        first = next(row for row in self.rows if row.verdict == PARTS)
        lines = [f"The first stage that parts is {first.stage}, by {first.max_abs:.1e}."]
        for finding in self.findings:
            known = " and ".join(finding.reasons) or "no known reason makes it agree"
            lines.append(f"  {finding.stage}: {known}")
        if all(finding.reasons for finding in self.findings):
            lines.append("With this put into ours, whatever parts agrees.")
        else:
            lines.append("What builds on a difference without a reason was not looked into.")
        return "\n".join(lines) + "\n"


class Comparer:
    """Compares the stages of two sides."""

    def __init__(self, ours: Ours, theirs: Theirs, counterpart: Counterpart):
        self._ours = ours
        self._theirs = theirs
        self._its = counterpart
        self._clips = False  # whether its log-variance at t = 0 is CLIPPED

    def run(self) -> Comparison:
        """Compares group by group.

        Where a group parts for no known reason, what builds on it is compared but not explained.
        """
        rows: list[Row] = []
        findings: list[Finding] = []
        choices, unknown = ORIGINAL, set()
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
            if explainable and any(row.verdict == PARTS for row in group_rows):
                choices, of_group = self._explain(group, choices, found)
                findings += of_group
                if of_group and not of_group[-1].reasons:
                    unknown.add(group)
        return Comparison(rows, findings)

    def _row(
        self, group: str, stage: str, expected: Mapping[str, Value], found: Mapping[str, Value]
    ) -> Row:
        ours, theirs = expected[stage], found.get(stage)
        usual = STAGE_TOLERANCES.get(stage, TOLERANCES[group])
        coarse = getattr(self._its.process, "coarse", {})
        tolerance, note = coarse.get(stage, (usual, ""))
        if stage in LOG_VARIANCES and theirs is not None:
            self._clips = math.isclose(theirs[0], CLIPPED, abs_tol=1e-3)
        if self._clips and theirs is not None and stage in (*LOG_VARIANCES, "bpd term"):
            ours, theirs = ours[1:], theirs[1:]
            note = "; ".join(filter(None, ("t >= 1; at 0 it has no variance", note)))
        floor = FLOORS.get(stage, 0.0)
        return compare(stage, ours, theirs, tolerance=tolerance, floor=floor, note=note)

    def _explain(
        self, group: str, choices: Choices, found: Mapping[str, Value]
    ) -> tuple[Choices, list[Finding]]:
        """Puts known differences into ours, stage by stage, until the group agrees."""
        findings: list[Finding] = []
        parting = self._parting(group, choices, found)
        while parting:
            best = min(
                self._explanations(group, choices, found, parting),
                key=lambda explanation: len(explanation[2]),
                default=None,
            )
            findings.append(Finding(parting[0], best[0] if best else ()))
            if best is None:
                break
            _, choices, parting = best
        return choices, findings

    def _explanations(
        self, group: str, choices: Choices, found: Mapping[str, Value], before: list[str]
    ) -> Iterator[tuple[tuple[str, ...], Choices, list[str]]]:
        """Known differences that make the first stage agree and none part, with what parts then.

        Two at a time are tried only where none does it alone.
        """
        candidates = CANDIDATES[group]
        for number in (1, 2):
            any_found = False
            for reasons in itertools.combinations(candidates, number):
                changes = {k: v for reason in reasons for k, v in candidates[reason].items()}
                varied = dataclasses.replace(choices, **changes)
                parting = self._parting(group, varied, found)
                if before[0] not in parting and set(parting) <= set(before):
                    any_found = True
                    yield reasons, varied, parting
            if any_found:
                return

    def _parting(self, group: str, choices: Choices, found: Mapping[str, Value]) -> list[str]:
        """The stages of a group that part, with these choices in ours."""
        expected = self._ours.values(group, choices)
        rows = [self._row(group, stage, expected, found) for stage in expected]
        return [row.stage for row in rows if row.verdict == PARTS]
