"""A comparison for machines, and as one page to look at."""

import html
import json
import math
from collections.abc import Iterator
from typing import Any

from diffusion_tf.crosscheck.comparison import Comparison
from diffusion_tf.crosscheck.maps_of_differences import drawing, largest
from diffusion_tf.crosscheck.reasons import REASONS
from diffusion_tf.crosscheck.stage_table import AGREES, DIFFERS, NOT_COMPARED, Row
from diffusion_tf.crosscheck.stages import Stage, stage_of

_EQUATIONS = {reason.name: reason.equation for reason in REASONS}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2733; background: #fff }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #dde3ea }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr.DIFFERS td { background: #fdecea } code { background: #f1f4f7; padding: .1rem .3rem }
figure { display: inline-block; margin: 0 1.5rem 1rem 0; vertical-align: top }
figcaption { font-size: 12px; max-width: 19rem } svg text { font: 11px system-ui, sans-serif }
"""


def equation_of(reason: str) -> str:
    """The paper's equation for a reason, by the name that a finding has it under."""
    return _EQUATIONS.get(reason, _EQUATIONS.get(reason.rpartition(" (in ")[0], ""))


def to_dict(name: str, comparison: Comparison, command: str) -> dict[str, Any]:
    """Everything that a comparison says, ready for JSON.

    Args:
        name: of the other side.
        comparison: its result.
        command: that repeats it.
    """
    return {
        "version": 1,
        "beside": name,
        "command": command,
        "agrees": comparison.agrees,
        "summary": comparison.summary(),
        "stages": [_row(comparison, row) for row in comparison.rows],
        "findings": [
            {
                "stage": finding.stage,
                "reasons": [
                    {"name": reason, "equation": equation_of(reason)} for reason in finding.reasons
                ],
                "looks": finding.looks,
            }
            for finding in comparison.findings
        ],
    }


def _row(comparison: Comparison, row: Row) -> dict[str, Any]:
    its = _stage(comparison, row)
    entry: dict[str, Any] = {
        "name": row.stage,
        "group": its.group,
        "verdict": row.verdict,
        "max_abs": _finite(row.max_abs),
        "max_rel": _finite(row.max_rel),
        "tolerance": row.tolerance,
        "note": row.note,
        "equation": its.equation,
        "units": its.units,
    }
    if row.stage in comparison.values:
        entry["largest"] = largest(*comparison.values[row.stage])
    return entry


def _stage(comparison: Comparison, row: Row) -> Stage:
    return stage_of(row.stage, comparison.groups.get(row.stage, row.stage))


def _finite(value: float | None) -> float | str | None:
    """JSON has no NaN."""
    return value if value is None or math.isfinite(value) else str(value)


def to_json(name: str, comparison: Comparison, command: str) -> str:
    """`to_dict` as text."""
    return json.dumps(to_dict(name, comparison, command), indent=1, allow_nan=False) + "\n"


def to_html(name: str, comparison: Comparison, command: str) -> str:
    """One page with the table, a plot, where differences sit, and the reasons.

    Args: as `to_dict`.
    """
    parts = [
        f"<h1>Cross-check: {html.escape(name)}</h1>",
        f"<p>{html.escape(comparison.summary().splitlines()[0])}</p>",
        f"<p>The command that repeats it: <code>{html.escape(command)}</code></p>",
        *_reasons(comparison),
        "<h2>Largest relative difference of each stage</h2>",
        _plot(comparison.rows),
        *_where(comparison),
        "<h2>All stages</h2>",
        *_table(comparison),
    ]
    head = f'<meta charset="utf-8"><title>Cross-check</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _reasons(comparison: Comparison) -> Iterator[str]:
    if not comparison.findings:
        return
    yield "<h2>What is done differently</h2><ul>"
    for finding in comparison.findings:
        stage = html.escape(finding.stage)
        if not finding.reasons:
            looks = html.escape(finding.looks or "unlike anything known")
            yield f"<li><b>{stage}</b>: no known reason; it looks like this: {looks}</li>"
        for reason in finding.reasons:
            equation = html.escape(equation_of(reason))
            yield f"<li><b>{stage}</b>: {html.escape(reason)}<br><small>{equation}</small></li>"
    yield "</ul>"


def _plot(rows: list[Row]) -> str:
    """Differences on a logarithmic axis, with their tolerance as a stroke."""
    compared = [row for row in rows if row.verdict != NOT_COMPARED]
    width, line, left = 900, 16, 260

    def x_of(value: float | None) -> float:
        value = min(max(value if value is not None and value == value else 1e2, 1e-9), 1e2)
        return left + (math.log10(value) + 9) / 11 * (width - left - 20)

    marks = [
        f'<line x1="{x_of(10.0**e):.0f}" x2="{x_of(10.0**e):.0f}" y1="14"'
        f' y2="{20 + line * len(compared)}" stroke="#dde3ea"/>'
        f'<text x="{x_of(10.0**e):.0f}" y="10" text-anchor="middle">1e{e}</text>'
        for e in range(-9, 3, 2)
    ]
    for i, row in enumerate(compared):
        y = 24 + i * line
        color = "#1a7f4b" if row.verdict == AGREES else "#c0392b"
        tolerance = x_of(row.tolerance)
        marks.append(
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{html.escape(row.stage)}</text>'
            f'<line x1="{tolerance:.0f}" x2="{tolerance:.0f}" y1="{y - 6}" y2="{y + 6}"'
            f' stroke="#5b6b7b"/><circle cx="{x_of(row.max_rel):.0f}" cy="{y}" r="4"'
            f' fill="{color}"><title>{row.max_rel:.1e}</title></circle>'
        )
    height = 30 + line * len(compared)
    inside = "".join(marks)
    return f'<svg viewBox="0 0 {width} {height}" width="100%" role="img">{inside}</svg>'


def _where(comparison: Comparison) -> Iterator[str]:
    """Where in its array the largest difference of each stage sits."""
    if not comparison.values:
        return
    yield "<h2>Where the differences are</h2>"
    for stage, (ours, theirs) in comparison.values.items():
        place = largest(ours, theirs)
        at = ", ".join(map(str, place["index"]))
        of = f" of {place['array']}" if place["array"] else ""
        caption = (
            f"<b>{html.escape(stage)}</b>: largest at [{at}]{html.escape(of)}, {place['ours']:.6g}"
            f" here and {place['theirs']:.6g} there"
        )
        yield f"<figure>{drawing(ours, theirs)}<figcaption>{caption}</figcaption></figure>"


def _table(comparison: Comparison) -> Iterator[str]:
    yield (
        "<table><tr><th>stage</th><th>equation</th><th class=n>max abs</th><th class=n>max rel</th>"
        "<th class=n>tolerance</th><th>verdict</th></tr>"
    )
    for row in comparison.rows:
        numbers = (row.max_abs, row.max_rel, row.tolerance)
        cells = "".join(
            f"<td class=n>{'' if value is None else f'{value:.1e}'}</td>" for value in numbers
        )
        verdict = f"{row.verdict}{f' ({html.escape(row.note)})' if row.note else ''}"
        equation = html.escape(_stage(comparison, row).equation)
        kind = DIFFERS if row.verdict == DIFFERS else ""
        yield (
            f'<tr class="{kind}"><td>{html.escape(row.stage)}</td><td>{equation}</td>{cells}'
            f"<td>{verdict}</td></tr>"
        )
    yield "</table>"
