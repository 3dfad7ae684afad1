"""Measures what known implementations do differently, for the table in docs/cross-checking.md.

python docs/site/differences.py --checkouts=DIR

DIR holds clones of the repositories under their own names. What is neither there nor installed
keeps the results of the last run, in differences.json. --network=paper takes the paper's CIFAR-10
network and minutes for each row; --only=w86763777,tqch leaves out the others.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import logging

if TYPE_CHECKING:
    from diffusion_tf.crosscheck.comparison import Comparison

PAGE = Path(__file__).parents[1] / "cross-checking.md"
RESULTS = Path(__file__).with_suffix(".json")
BEGIN = "<!-- written by docs/site/differences.py -->\n"
END = "<!-- the end of what it writes -->\n"
# Each with what the page says of it, and its fields of the config.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "small": (
        "a small network of 16 x 16 pixels, 64 and 128 channels, attention at 8 x 8",
        {"image_size": 16, "ch": 64, "ch_mult": (1, 2), "num_res_blocks": 1,
         "attn_resolutions": (8,)},
    ),
    "paper": ("the paper's CIFAR-10 network", {}),
}  # fmt: skip


class Port(NamedTuple):
    """A known implementation: its name, and where it comes from, a package or a repository."""

    name: str
    package: str = ""
    repository: str = ""


PORTS = {
    "diffusers": Port("diffusers", package="diffusers"),
    "pytorch_diffusion": Port("pesser/pytorch_diffusion", repository="pytorch_diffusion"),
    "lucidrains": Port("denoising-diffusion-pytorch", package="denoising_diffusion_pytorch"),
    "w86763777": Port("w86763777/pytorch-ddpm", repository="pytorch-ddpm"),
    "tqch": Port("tqch/ddpm-torch", repository="ddpm-torch"),
    "improved_diffusion": Port("improved-diffusion", repository="improved-diffusion"),
}


class Case(NamedTuple):
    """One comparison: an implementation, how it is set up, and what makes it so."""

    against: str
    setup: str
    fields: dict[str, Any] = {}  # noqa: RUF012 - of the config
    options: dict[str, Any] = {}  # noqa: RUF012 - of the other side


SMALL_VARIANCE = {"model_var_type": "fixedsmall"}
CASES = [
    Case("diffusers", "as here"),
    *(
        Case("diffusers", f"`{name}={value!r}`, its default", options={name: value})
        for name, value in {
            "norm_eps": 1e-5, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
            "attention_head_dim": 8, "variance_type": "fixed_small",
        }.items()
    ),
    Case("diffusers", "DDIM's `timestep_spacing='trailing'`",
         options={"timestep_spacing": "trailing"}),
    Case("diffusers", "DDIM's `timestep_spacing='linspace'`",
         options={"timestep_spacing": "linspace"}),
    Case("diffusers", "`use_clipped_model_output=False`, its default",
         options={"use_clipped_model_output": False}),
    Case("pytorch_diffusion", "as here"),
    Case("pytorch_diffusion", "its default variance", options=SMALL_VARIANCE),
    Case("lucidrains", "`objective='pred_noise'`, `beta_schedule='linear'`, fixedsmall here, too",
         SMALL_VARIANCE),
    Case("lucidrains", "the same beside fixedlarge"),
    Case("lucidrains", "the same with T = 100", {**SMALL_VARIANCE, "num_diffusion_timesteps": 100}),
    Case("lucidrains", "its defaults, fixedsmall here, too", SMALL_VARIANCE,
         {"objective": "pred_v", "beta_schedule": "sigmoid"}),
    Case("w86763777", "as it is"),
    Case("tqch", "as here"),
    Case("improved_diffusion", "as here"),
    Case("improved_diffusion", "a learned variance (`learned_range`), the hybrid loss",
         {"model_var_type": "learned_range", "loss_type": "hybrid"}),
    Case("improved_diffusion", "a learned log-variance (`learned`), the bound as the loss",
         {"model_var_type": "learned", "loss_type": "kl"}),
    Case("improved_diffusion", "the network says x_{t-1}", {"model_mean_type": "xprev"}),
]  # fmt: skip


def version(port: Port, checkouts: Path | None) -> str | None:
    """Of a package, or the commit of a clone; None if it is not there."""
    if port.package:
        found = importlib.util.find_spec(port.package)
        return importlib.metadata.version(port.package) if found else None
    folder = checkouts / port.repository if checkouts else None
    if folder is None or not folder.is_dir():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(case: Case, network: str, checkouts: Path | None) -> "Comparison":
    """The comparison of a case."""
    from diffusion_tf import get_config
    from diffusion_tf.crosscheck import crosscheck

    repository = PORTS[case.against].repository
    _, comparison = crosscheck(
        get_config("cifar10", **{**NETWORKS[network][1], **case.fields}),
        against=case.against,
        checkout=str(checkouts / repository) if checkouts and repository else None,
        options=case.options,
    )
    return comparison


def result(case: Case, version: str, network: str, comparison: "Comparison") -> dict[str, Any]:
    """What a comparison found, for `table`; sizes are relative, as in the table of stages."""
    sizes = {row.stage: row.max_rel for row in comparison.rows if row.max_rel is not None}

    def size(stage: str) -> float | None:
        return float(f"{sizes[stage]:.1e}") if stage in sizes else None

    return {
        "against": case.against,
        "setup": case.setup,
        "version": version,
        "network": network,
        "stages": len(sizes),
        "agrees": comparison.agrees,
        "output": size("output"),
        "samples": size("last ten steps of sampling"),
        "findings": [
            {"stage": found.stage, "by": size(found.stage), "reasons": list(found.reasons),
             "looks": found.looks}
            for found in comparison.findings
        ],
        "notes": shortest({row.note for row in comparison.rows}),
    }  # fmt: skip


def shortest(notes: set[str]) -> list[str]:
    """The notes without those that are put together of others."""
    notes = notes - {""}
    return sorted(note for note in notes if not any(one in note for one in notes - {note}))


def updated(before: Sequence[dict[str, Any]], now: Iterable[dict[str, Any]]) -> list[dict]:
    """The results in the order of the cases; those not measured now as they were."""
    known = {(one["against"], one["setup"]): one for one in (*before, *now)}
    return [
        known.get(case[:2], {"against": case.against, "setup": case.setup, "version": None})
        for case in CASES
    ]


def table(results: Sequence[dict[str, Any]]) -> str:
    """What the page says of the results: on which network, and a row for each difference."""
    lines = [
        *networks(results),
        "",
        "| implementation | set up | stage | differs by | what it does differently there | output |"
        " ten steps |",
        "|---|---|---|---|---|---|---|",
    ]
    last = ""
    for one in results:
        name = PORTS[one["against"]].name
        shown = f"{name} {one['version'] or ''}".strip() if name != last else ""
        last = name
        for stage, by, text, ends in rows(one):
            cells = [shown, one["setup"] if ends else "", stage, by, text, *(ends or ("", ""))]
            lines.append(f"| {' | '.join(cells)} |")
            shown = ""
    return "\n".join(lines) + "\n"


def networks(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each network that something was measured with."""
    measured = [one for one in results if one["version"]]
    used = [network for network in NETWORKS if network in {one["network"] for one in measured}]
    for network in used:
        names = [PORTS[one["against"]].name for one in measured if one["network"] == network]
        whose = "" if len(used) == 1 else f" ({', '.join(dict.fromkeys(names))})"
        yield f"Random weights in {NETWORKS[network][0]}{whose}."


def rows(one: dict[str, Any]) -> Iterator[tuple[str, str, str, tuple[str, str] | None]]:
    """Stage, size, text, and, in the first row, the sizes at the end, of each difference."""
    if one["version"] is None:
        yield "", "", "not measured", ("", "")
        return
    ends = (shown(one["output"]), shown(one["samples"]))
    if one["agrees"]:
        notes = f" ({'; '.join(one['notes'])})" if one["notes"] else ""
        yield "", "", f"nothing: all {one['stages']} stages agree{notes}", ends
    for i, found in enumerate(one["findings"]):
        known = " and ".join(found["reasons"])
        text = known or f"no known reason; it looks like this: {found['looks']}"
        yield found["stage"], shown(found["by"]), text, None if i else ends


def shown(size: float | None) -> str:
    """A size with two digits; nothing for a stage that was not compared."""
    return "" if size is None else f"{size:.1e}"


def with_table(page: str, table: str) -> str:
    """The page with another table between the markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"The page does not hold {BEGIN.strip()} and {END.strip()}.")
    return f"{head}{begin}\n{table}\n{end}{tail}"


def main(checkouts: Path | None, network: str, only: Sequence[str]) -> None:
    """Measures what is there, and writes the results and the page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for case in CASES:
        its = version(PORTS[case.against], checkouts)
        if its is None or (only and case.against not in only):
            logging.info("%s, %s: not measured now.", case.against, case.setup)
            continue
        comparison = measure(case, network, checkouts)
        logging.info("%s, %s:\n%s", case.against, case.setup, comparison.summary())
        results = updated(results, [result(case, its, network, comparison)])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, table(results)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkouts", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    main(given.checkouts, given.network, [name for name in given.only.split(",") if name])
