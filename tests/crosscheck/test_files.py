"""The kit in files, its check.py, the report, and sides that deal in arrays."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusion_tf import get_config
from diffusion_tf.crosscheck import compare_answers, crosscheck, kit
from diffusion_tf.crosscheck import result_page as report
from diffusion_tf.crosscheck.stage_table import DIFFERS, NOT_COMPARED, Judge, main
from diffusion_tf.crosscheck.stages import GROUPS
from helpers.network_in_numpy import network_stages
from helpers.numpy_port import port_with
from helpers.port_comparison import FIELDS, LONG, beside_port

ROOT = Path(__file__).parents[2]
CONFIG = get_config(
    "cifar10",
    **{
        **FIELDS,
        **LONG,
        "ch": 32,
        "ch_mult": (1, 2),
        "num_res_blocks": 1,
        "attn_resolutions": (4,),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return kit.export(CONFIG, str(tmp_path_factory.mktemp("kit") / "kit"))


def answers(folder, port=port_with(), layout="NHWC"):  # noqa: B008
    """What a program that has nothing but NumPy answers: the process, and the network."""
    suffix = "_nchw" if layout == "NCHW" else ""
    with np.load(folder / f"inputs{suffix}.npz") as file:
        inputs = {k: np.moveaxis(v, 1, -1) if v.ndim == 4 and suffix else v
                  for k, v in file.items()}  # fmt: skip
    with np.load(folder / "weights.npz") as file:
        weights = dict(file)
    its = port(CONFIG)
    x, t = inputs["x_t"], inputs["t"]
    p = its.p_mean_variance(lambda *_: inputs["outputs"], x, t)
    found = {
        "betas": its.betas,
        "posterior_mean_coef2": its.posterior_mean_coef2,
        "q_sample": its.q_sample(inputs["x_start"], t, inputs["noise"]),
        "p_mean_variance: pred_xstart": p["pred_xstart"],
        "p_mean_variance: log variance": np.ravel(p["log_variance"]),
        "last ten steps of sampling": sampled(its, inputs, suffix),
        **network_stages(weights, x, t, CONFIG),
    }
    if layout == "NCHW":
        found = {k: np.moveaxis(v, -1, 1) if v.ndim == 4 else v for k, v in found.items()}
        found["layout"] = np.array("NCHW")
    path = folder / f"answers{len(list(folder.glob('answers*')))}.npz"
    np.savez(path, **found)
    return path


def sampled(its, inputs, suffix):
    x = inputs["x_first"]
    for t, noise in zip(inputs["steps"], inputs["step_noise"], strict=True):
        noise = np.moveaxis(noise, 1, -1) if suffix else noise
        x = its.p_sample(stand_in, x, np.full(len(x), t), noise)
    return x


def stand_in(x, t):
    return 0.8 * x + 0.3 * np.sin(3 * x + 0.01 * t.reshape(-1, 1, 1, 1).astype(np.float32))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_program_in_numpy_answers_a_kit(folder, layout, capsys):
    path = answers(folder, layout=layout)
    assert main([str(path), "--kit", str(folder)]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^mid/attn_1 .* agrees$", table, re.M)
    _, comparison = compare_answers(str(folder), str(path))
    assert comparison.agrees, comparison.summary()


def test_answers_get_the_reasons_of_a_live_comparison(folder):
    fault = ("np.clip(pred, -1, 1) if clip", "np.clip(pred, 0, 1) if clip")
    _, comparison = compare_answers(str(folder), str(answers(folder, port_with(fault))))
    live = beside_port(CONFIG, port_with(fault))
    assert [f.reasons for f in comparison.findings] == [f.reasons for f in live.findings]
    assert comparison.findings[0].reasons == ("x_0 clipped to [0, 1] instead of [-1, 1]",)


def test_check_py_needs_numpy_alone(folder):
    path = answers(
        folder, port_with(("betas = betas_of(config)", "betas = betas_of(config)[::-1]"))
    )
    block = "import sys\nfor n in ('tensorflow', 'torch', 'keras', 'diffusion_tf', 'absl'):\n"
    block += "    sys.modules[n] = None\nimport runpy\n"
    block += f"sys.argv = ['check.py', {str(path)!r}]\n"
    block += f"runpy.run_path({str(folder / 'check.py')!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-I", "-c", block], capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert re.search(r"^betas .* DIFFERS$", result.stdout, re.M)


def test_the_kit_says_what_is_in_it(folder):
    description = json.loads((folder / "stages.json").read_text())
    stages = {stage["name"]: stage for stage in description["stages"]}
    assert {stage["group"] for stage in stages.values()} == {*GROUPS} - {"weights"}
    for stage in stages.values():
        assert stage["what"] and stage["equation"] and stage["why"] and stage["tolerance"] > 0
        assert set(stage["rests_on"]) <= {*stages}
    assert stages["up_1/block_1"]["rests_on"] == ["up_1/attn_0", "temb", "down_0/downsample"]
    assert stages["up_0/block_1"]["rests_on"] == ["up_0/block_0", "temb", "conv_in"]
    with np.load(folder / "expected.npz") as file:
        assert {array.dtype for array in file.values()} == {np.dtype("float32")}
    with np.load(folder / "weights.npz") as file:
        size = int.from_bytes((folder / "weights.safetensors").read_bytes()[:8], "little")
        header = json.loads((folder / "weights.safetensors").read_bytes()[8 : 8 + size])
        assert set(header) == set(file.files)
        assert "model/down_0/block_0/conv1/W" in header


@pytest.mark.parametrize(
    "arrays, expected",
    [({"beta": np.ones(3)}, "has 'beta', which is not a stage of the kit"),
     ({"betas": np.ones(3)}, r"has shape \[3\]")],
)  # fmt: skip
def test_answers_to_something_else(folder, arrays, expected, tmp_path, capsys):
    np.savez(tmp_path / "answers.npz", **arrays)
    with pytest.raises(ValueError, match=expected):
        compare_answers(str(folder), str(tmp_path / "answers.npz"))
    assert main([str(tmp_path / "answers.npz"), "--kit", str(folder)]) == 2
    assert re.search(expected, capsys.readouterr().err)
    with pytest.raises(FileNotFoundError, match=r"holds no stages\.json; --kit names"):
        compare_answers(str(tmp_path), str(tmp_path / "answers.npz"))
    with pytest.raises(FileNotFoundError, match="There is no file nowhere"):
        compare_answers(str(folder), "nowhere.npz")


def test_a_first_variance_of_none_counts_for_what_rests_on_it():
    judge, ours = Judge(), np.array([-9.0, -8.0])
    theirs = np.array([np.log(1e-20), -8.0])
    row = judge.row("posterior log variance", ours, theirs, tolerance=1e-6, floor=1.0)
    assert (row.max_abs, row.note) == (0.0, "t >= 1; at 0 it has no variance")
    assert judge.row("bpd term", ours, theirs, tolerance=1e-6).max_abs == 0.0
    assert judge.row("loss", ours, theirs, tolerance=1e-6).verdict == DIFFERS
    judge = Judge(np.array([0, 3, 0]))  # of few timesteps several examples can have t = 0
    judge.row("posterior log variance", ours, theirs, tolerance=1e-6, floor=1.0)
    row = judge.row("bpd term", np.zeros(3), np.array([5.0, 0.0, 7.0]), tolerance=1e-6)
    assert row.max_abs == 0.0


# --- The report


@pytest.fixture(scope="module")
def comparison():
    faults = [
        ("x_start + at(self.sqrt_one_minus_alphas_cumprod, t) * noise",
         "x_start + at(self.sqrt_one_minus_alphas_cumprod, t) * np.where(noise > 2.9, 0, noise)"),
        ("decay = self.config.ema_decay", "decay = 0.999"),
        (" / math.log(2)", ""),
    ]  # fmt: skip
    return beside_port(CONFIG, port_with(*faults))


def test_the_report_for_machines(comparison):
    said = json.loads(report.to_json("theirs", comparison, "python x"))
    assert (said["agrees"], said["command"], said["beside"]) == (False, "python x", "theirs")
    rows = {row["name"]: row for row in said["stages"]}
    assert rows["bpd term"]["verdict"] == DIFFERS
    assert rows["q_sample"]["group"] == "forward process"
    assert len(rows["q_sample"]["largest"]["index"]) == 4
    named = [reason["name"] for finding in said["findings"] for reason in finding["reasons"]]
    assert named == ["nats instead of bits", "a decay of the average of 0.999"]
    equations = [r["equation"] for f in said["findings"] for r in f["reasons"]]
    assert "table 1" in equations[0] and "0.9999 average" in equations[1]
    assert said["findings"][0]["looks"]


def test_the_page_holds_everything_itself(comparison):
    page = report.to_html("<theirs>", comparison, "python scripts/crosscheck.py --a='<b>'")
    assert "&lt;theirs&gt;" in page and "&lt;b&gt;" in page
    assert not re.search(r"https?://|src=|<script|<link", page)
    assert page.count("<figure>") == len(comparison.values) >= 4  # the loss, too
    assert "nats instead of bits" in page and "table 1" in page
    compared = [row for row in comparison.rows if row.verdict != NOT_COMPARED]
    assert page.count("<circle") == len(compared)


# --- Arrays


def test_an_adapter_of_arrays_needs_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    own = f"{ROOT / 'docs' / 'own_arrays.py'}:InNumPy"
    _, comparison = crosscheck(CONFIG, own=own)
    assert comparison.agrees, comparison.summary()
    compared = [row.stage for row in comparison.rows if row.verdict != NOT_COMPARED]
    assert compared == [
        "betas", "alphas_cumprod", "q_sample", "last ten steps of sampling", "pixels into numbers",
    ]  # fmt: skip


OWN = """
class thing:
    layout = {layout!r}
    def __init__(self, config): self.betas = [0.1]
    {network}
"""


@pytest.mark.parametrize(
    "layout, network, expected",
    [
        ("HWC", "", "has the layout 'HWC'; it must be NHWC or NCHW"),
        ("NHWC", "def network(self, x, t): return x", "keeps its own weights; name the same"),
        (
            "NCHW",
            "def load_weights(self, unet): pass\n    def network(self, x, t): return x[:, :2]",
            r"returned \[4, 2, 8, 8\] for x of shape \[4, 3, 8, 8\]; .*, NCHW",
        ),
        (
            "NHWC",
            "def load_weights(self, unet): raise KeyError('conv_in')\n"
            "    def network(self, x, t): return x",
            "does not take the weights: KeyError: 'conv_in'",
        ),
    ],
)
def test_adapters_of_arrays_that_do_not_work(layout, network, expected, tmp_path):
    (tmp_path / "own.py").write_text(OWN.format(layout=layout, network=network))
    fields = get_config("cifar10", **{**FIELDS, "ch": 32, "ch_mult": (1,), "num_res_blocks": 1,
                                      "num_diffusion_timesteps": 1})  # fmt: skip
    with pytest.raises(ValueError, match=expected):
        crosscheck(fields, own=f"{tmp_path / 'own.py'}:thing")
