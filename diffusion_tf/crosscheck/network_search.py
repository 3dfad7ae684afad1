"""Explains the stages of the network, each from what goes into it on the other side."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.crosscheck.choices import Choices
from diffusion_tf.crosscheck.finding import Finding
from diffusion_tf.crosscheck.looks import describe
from diffusion_tf.crosscheck.reasons import IN_GROUP, Reason
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.search import put, smallest
from diffusion_tf.crosscheck.stage_table import Value, differences
from diffusion_tf.crosscheck.stages import stage_of
from diffusion_tf.crosscheck.varied_network import kind_of

# Small differences may be within the tolerance in every layer, and beyond it where they add up.
STRICTNESS = (1.0, 0.25)
AT_ONCE = 2  # stages are few layers, and several differences show in several of them
FEW_WEIGHTS = 5_000_000  # up to here all pairs are tried for several layers at once
INFINITE = float("inf")


@dataclass
class NetworkSearch:
    """Finds reasons stage by stage; an unknown one does not end the search.

    Attributes:
        ours: our side.
        found: stages of the other side, as they are.
        coarser: tolerances of some stages that are larger than usual.
    """

    ours: Reference
    found: Mapping[str, Value]
    coarser: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._theirs = {name: tf.constant(value, tf.float32) for name, value in self.found.items()}
        self._strictness = 1.0
        self._unknown_kinds: set[str] = set()  # where several at once have been tried in vain

    def explain(self, choices: Choices) -> tuple[Choices, list[Finding]]:
        """The choices with what was found put in, and the findings in order."""
        for strictness in STRICTNESS:
            self._strictness = strictness
            choices, findings = self._explain(choices)
            if findings:
                break
        return choices, findings

    def _explain(self, choices: Choices) -> tuple[Choices, list[Finding]]:
        findings: list[Finding] = []
        unknown: set[str] = set()
        while True:
            local = self._local(choices)
            differing = [stage for stage in self._differing(local) if stage not in unknown]
            if not differing:
                return choices, findings
            stage = differing[0]
            best = self._best(stage, choices, list(local), self._differing(local))
            if best is None:
                unknown.add(stage)
                self._unknown_kinds.add(kind_of(stage))
                looks = describe(np.asarray(local[stage]), self.found[stage], t=self.ours.inputs.t)
                findings.append(Finding(stage, (), looks))
                continue
            reasons, choices = best
            findings.append(Finding(stage, tuple(reason.name for reason in reasons)))

    def _local(self, choices: Choices, until: str | None = None) -> dict[str, Any]:
        """Our stages, each from theirs before it."""
        return self.ours.network(choices, self._theirs, until)

    def _tolerance(self, stage: str) -> float:
        usual = stage_of(stage, "network").tolerance
        return self._strictness * self.coarser.get(stage, usual)

    def _distance(self, stage: str, local: Mapping[str, Any]) -> float:
        if stage not in local:
            return INFINITE
        ours = np.asarray(local[stage])
        if ours.shape != np.asarray(self.found[stage]).shape:
            return INFINITE
        off = differences(stage, ours, self.found[stage])[1]
        return off if np.isfinite(off) else INFINITE

    def _differing(self, local: Mapping[str, Any]) -> list[str]:
        return [
            stage
            for stage in local
            if stage in self.found and self._distance(stage, local) > self._tolerance(stage)
        ]

    def _best(
        self, stage: str, choices: Choices, stages: list[str], before: list[str]
    ) -> tuple[tuple[Reason, ...], Choices] | None:
        """Reasons that make a stage agree, in the widest scope in which no other one suffers."""
        kinds = self._kinds(stage, stages)
        reasons = [r for r in IN_GROUP["network"] if kinds & {r.stage, *r.also}
                   or r.stage == "weights"]  # fmt: skip
        dear = len(kinds) > 1 and self._is_large()
        found = smallest(
            reasons,
            choices,
            lambda c: self._distance(stage, self._local(c, stage)),
            near=kinds,
            tolerance=self._tolerance(stage),
            dear=dear,
            freely=stage == "sinusoids",  # where a trial costs next to nothing
            at_most=1 if kind_of(stage) in self._unknown_kinds else AT_ONCE,
        )
        best: tuple[tuple[int, int, int], tuple[Reason, ...], Choices] | None = None
        for i, chosen in enumerate(found):
            for j, scope in enumerate(("", kind_of(stage), stage)):
                varied = _scoped(choices, chosen, scope)
                after = self._differing(self._local(varied))
                if stage in after or not set(after) <= set(before):
                    continue
                rank = (len(after), i, j)
                if best is None or rank < best[0]:
                    best = rank, _named(chosen, scope, stage), varied
                break
        return best[1:] if best else None

    def _kinds(self, stage: str, stages: list[str]) -> set[str]:
        """Kinds of layers between the last stage that is seen on the other side and this one."""
        kinds = {kind_of(stage)}
        for name in reversed(stages[: stages.index(stage)]):
            if name in self.found:
                break
            kinds.add(kind_of(name))
        return kinds

    def _is_large(self) -> bool:
        return self.ours.number_of_weights > FEW_WEIGHTS


def _scoped(choices: Choices, reasons: tuple[Reason, ...], scope: str) -> Choices:
    """The choices with the reasons, in one kind of layers, in one layer, or everywhere."""
    varied = put(choices, reasons)
    assert varied is not None
    fields = {field for reason in reasons for field in reason.put}
    scopes = tuple(entry for entry in choices.scopes if entry[0] not in fields)
    if scope:
        scopes += tuple((field, scope) for field in sorted(fields))
    return dataclasses.replace(varied, scopes=scopes)


def _named(reasons: tuple[Reason, ...], scope: str, stage: str) -> tuple[Reason, ...]:
    """The reasons; one that would show elsewhere, too, says where alone it holds."""
    if not scope:
        return reasons
    where = f" (in {_PLURALS.get(scope, scope)} alone)"
    return tuple(
        dataclasses.replace(reason, name=reason.name + where)
        if scope == stage != kind_of(stage) or len({reason.stage, *reason.also}) > 1
        else reason
        for reason in reasons
    )


_PLURALS = {
    "block": "the blocks", "attention": "the attention", "downsample": "the downsampling",
    "upsample": "the upsampling", "output": "the output", "temb": "the time embedding",
}  # fmt: skip
