"""The table of what known implementations do differently, which docs/site/differences.py writes."""

import json
import runpy

import pytest

from diffusion_tf import get_config
from helpers.crosscheck_cases import COS_FIRST, HALF, ROOT
from helpers.numpy_port import port_with
from helpers.port_comparison import FIELDS, beside_port

SCRIPT = runpy.run_path(str(ROOT / "docs" / "site" / "differences.py"))
CASES, Case = SCRIPT["CASES"], SCRIPT["Case"]
RESULTS = json.loads(SCRIPT["RESULTS"].read_text())


def test_the_page_has_the_table_of_the_results():
    page = SCRIPT["PAGE"].read_text()
    written = SCRIPT["with_table"](page, SCRIPT["table"](RESULTS))
    assert page == written, "run docs/site/differences.py"
    assert SCRIPT["updated"](RESULTS, []) == RESULTS, "a case has come or gone"


def found(stage, by, *reasons, looks=""):
    return {"stage": stage, "by": by, "reasons": list(reasons), "looks": looks}


def measured(case, findings, **changes):
    return {
        "against": case.against, "setup": case.setup, "version": "1.2", "network": "small",
        "stages": 30, "agrees": not findings, "output": 0.25, "samples": None,
        "findings": findings, "notes": [],
    } | changes  # fmt: skip


def test_a_row_for_each_difference():
    first, second, *_ = [case for case in CASES if case.against == "lucidrains"]
    differing = [found("sinusoids", 0.5, "one", "two"), found("output", 2.0, looks="noise")]
    results = [measured(first, [], notes=["coarse"]), measured(second, differing)]
    *_, header, rule, one, two, three = SCRIPT["table"](results).splitlines()
    assert header.count("|") == rule.count("|") == one.count("|") == three.count("|") == 8
    assert one == (
        f"| denoising-diffusion-pytorch 1.2 | {first.setup} |  |  | nothing: all 30 stages agree"
        " (coarse) | 2.5e-01 |  |"
    )
    assert two == f"|  | {second.setup} | sinusoids | 5.0e-01 | one and two | 2.5e-01 |  |"
    looks = "no known reason; it looks like this: noise"
    assert three == f"|  |  | output | 2.0e+00 | {looks} |  |  |"


def test_what_is_not_there_keeps_its_results():
    old, new = measured(CASES[0], [], version="1"), measured(CASES[-1], [], version="2")
    results = SCRIPT["updated"]([old], [new])
    assert len(results) == len(CASES) and (results[0], results[-1]) == (old, new)
    text = SCRIPT["table"](results)
    assert text.count("not measured") == len(CASES) - 2
    other = SCRIPT["table"]([old, {**new, "network": "paper"}])
    small, paper = other.splitlines()[:2]
    assert "(diffusers)" in small and "(improved-diffusion)" in paper


def test_checkouts_are_found_by_the_names_of_their_repositories(tmp_path):
    assert SCRIPT["version"](SCRIPT["PORTS"]["tqch"], tmp_path) is None
    assert SCRIPT["version"](SCRIPT["PORTS"]["tqch"], None) is None
    assert SCRIPT["version"](SCRIPT["Port"]("numpy", package="numpy"), None)


def test_the_result_of_a_comparison():
    port = port_with(("half_bin = 1 / 255", "half_bin = 1 / 256"))
    comparison = beside_port(get_config("cifar10", **FIELDS), port)
    result = SCRIPT["result"](CASES[0], "1", "small", comparison)
    (finding,) = result["findings"]
    assert finding["stage"] == "bpd term" and 0 < finding["by"] < 1
    assert finding["reasons"] == ["bins of 2/256 in the decoder"]
    assert result["output"] is None and 0 <= result["samples"] < 1e-4 and not result["agrees"]


@pytest.mark.slow
@pytest.mark.extras
def test_a_case_is_measured():
    pytest.importorskip("diffusers")
    case = Case("diffusers", "", options={"freq_shift": 0, "flip_sin_to_cos": True})
    result = SCRIPT["result"](case, "1", "small", SCRIPT["measure"](case, "small", None))
    (finding,) = result["findings"]
    assert (finding["stage"], finding["reasons"]) == ("sinusoids", [COS_FIRST, HALF])
    assert finding["by"] > 0.1 and result["output"] > 1e-3
