"""The results of a benchmark as text."""

from collections.abc import Mapping
from typing import Any

from diffusion_tf.benchmark.task import OURS

_COLUMNS = (
    ("work", 7), ("batch", 6), ("dtype", 9), ("implementation", 36), ("steps/s", 9),
    ("images/s", 9), ("ceiling", 8), ("memory", 8), ("import", 7), ("1st step", 9), ("ratio", 6),
)  # fmt: skip
_EXPLANATION = """\
ceiling: operations of the network per second, by those of a large matrix product in this run.
memory: peak, in GB. import, 1st step: seconds from the start of the process.
ratio: time of a step by that of this project, median over the rounds; > 1: this project is faster.
"""


def table(results: Mapping[str, Any]) -> str:
    """What `measure` returned, for people; * marks the best of the others."""
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {machine['device']};"
        f" {'; '.join(results['versions'])}; {results['parameters']:,} parameters",
        _line([name for name, _ in _COLUMNS]),
    ]
    for case in results["cases"]:
        lines += ["", *(_line(_cells(case, name)) for name in case["implementations"])]
    return "\n".join([*lines, "", _EXPLANATION])


def _cells(case: Mapping[str, Any], name: str) -> list[str]:
    values = case["implementations"][name]
    return [
        case["work"],
        str(case["batch_size"]),
        case["dtype"],
        f"{name}{' *' if name == case['best'] else ''}",
        f"{values['steps_per_second']:.4g}",
        f"{values['images_per_second']:.4g}",
        f"{values['fraction_of_ceiling']:.0%}",
        f"{values['peak_memory_bytes'] / 1e9:.2f}",
        f"{values['description']['import_seconds']:.1f}",
        f"{values['description']['first_step_seconds']:.1f}",
        "" if name == OURS else f"{values['ratio']:.3f}",
    ]


def _line(cells: list[str]) -> str:
    pairs = zip(cells, _COLUMNS, strict=True)
    return "".join(
        cell.ljust(width) if i < 4 else cell.rjust(width)
        for i, (cell, (_, width)) in enumerate(pairs)
    )
