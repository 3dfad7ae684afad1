"""The cross-check of own modules and own weights, its script, and what people get wrong."""

import re
import sys

import pytest

from diffusion_tf import get_config
from diffusion_tf.convert import pytorch_diffusion as port
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.diffusers_pipeline import save_pipeline
from diffusion_tf.convert.maps import weights_of
from diffusion_tf.convert.tf1 import write
from diffusion_tf.crosscheck import crosscheck
from diffusion_tf.crosscheck.finding import Finding
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.stage_table import DIFFERS, NOT_COMPARED
from helpers.crosscheck_cases import (
    CONFIG,
    FLAGS,
    OWN,
    ROOT,
    SMALL,
    SMALL_FOR_LARGE,
    SMALL_VARIANCE,
    own_module,
    stages,
)
from helpers.processes import run, sentence

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("einops")  # with which denoising_diffusion_pytorch comes; see setup.py
pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def unet():
    return random_unet(CONFIG)


# --- Own modules


@pytest.mark.parametrize("name, number", [("OwnDiffusion", 4), ("Both", 8), ("make_network", 20)])
def test_the_example_of_the_docs_agrees(name, number):
    _, comparison = crosscheck(CONFIG, own=f"{OWN}:{name}")
    assert comparison.agrees, comparison.summary()
    assert f"All {number} stages compared agree." in comparison.summary()
    compared = {row.stage for row in comparison.rows} - set(stages(comparison, NOT_COMPARED))
    if name == "Both":
        assert compared == {
            "betas", "alphas_cumprod", "temb", "conv_in", "output", "gradient of the loss by x",
            "q_sample", "last ten steps of sampling",
        }  # fmt: skip


SAMPLER = f"""
import dataclasses, sys
sys.path += [{str(ROOT / "docs")!r}, {str(ROOT / "tests")!r}]
from own_module import Both
from helpers.torch_process import Only, Process

class Sampler(Both):
    def __init__(self, config):
        super().__init__(config)
        its = dataclasses.replace(config, beta_schedule="cosine", model_var_type="fixedsmall")
        self.process = Only(Process(its), "p_sample")
"""


def test_what_a_sampler_with_a_network_does_differently_is_named(tmp_path):
    _, comparison = crosscheck(CONFIG, own=own_module(tmp_path, SAMPLER, "Sampler"))
    (finding,) = comparison.findings
    assert finding.stage == "last ten steps of sampling"
    assert set(finding.reasons) == {SMALL_FOR_LARGE, "the schedule 'cosine'"}


TRAINED = """
import torch
from diffusers import UNet2DModel

class Thing:
    keep_weights = True
    def __init__(self, config):
        self.network = UNet2DModel.from_pretrained(FOLDER)
        self.optimizer = lambda parameters, lr: torch.optim.Adam(parameters, lr, eps=1e-8)
"""


def test_raw_weights_for_averaged_ones_and_the_adam_of_pytorch_are_named(unet, tmp_path):
    """A network trained elsewhere beside a checkpoint whose raw weights it has."""
    averaged = random_unet(get_config("cifar10", **SMALL, seed=1))
    save_pipeline(str(tmp_path / "trained"), unet, CONFIG)
    weights = {"raw": weights_of(unet), "ema": weights_of(averaged)}
    checkpoint = write(str(tmp_path / "tf1"), Contents(path="", weights=weights))
    text = TRAINED.replace("FOLDER", repr(str(tmp_path / "trained" / "unet")))
    own = own_module(tmp_path, text, "Thing")
    adam = Finding(
        "three steps of Adam",
        ("Adam's epsilon added after the bias correction, as PyTorch does",),
    )
    _, comparison = crosscheck(CONFIG, own=own, weights=checkpoint, kind="raw")
    assert comparison.findings == [adam]
    _, comparison = crosscheck(CONFIG, own=own, weights=checkpoint, kind="ema")
    assert comparison.findings == [
        Finding("weights", ("raw weights on one side, averaged ones on the other",)),
        adam,
    ]
    assert "output" in stages(comparison, DIFFERS)
    with pytest.raises(ValueError, match="keeps its own weights; name the same weights for ours"):
        crosscheck(CONFIG, own=own)


@pytest.mark.slow
def test_a_folder_of_diffusers_is_read_by_both(unet, tmp_path):
    config = get_config("cifar10", **SMALL, model_var_type="fixedsmall", beta_schedule="cosine")
    save_pipeline(str(tmp_path / "pipeline"), unet, config)
    result = run("crosscheck", "--against=diffusers", "--weights=pipeline", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "All 34 stages compared agree." in result.stdout
    (tmp_path / "pipeline" / "scheduler" / "scheduler_config.json").unlink()
    _, comparison = crosscheck(
        config, against="diffusers", weights=str(tmp_path / "pipeline"),
        options={"beta_schedule": "linear"},
    )  # fmt: skip
    assert comparison.findings == [Finding("betas", ("the schedule 'linear'",))]


# --- The script, and mistakes


def test_the_script_agrees_and_differs(tmp_path):
    arguments = ["--against=denoising_diffusion_pytorch", *FLAGS]
    result = run("crosscheck", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^betas +\S+e-\d+ +\S+e-\d+ +1.0e-06  agrees$", result.stdout, re.M)
    assert "Not compared, as the other side does not have it: network, gradient" in result.stdout
    assert result.stdout.endswith("All 22 stages compared agree.\n")
    assert "beside denoising_diffusion_pytorch" in result.stderr
    arguments.append('--options={"beta_schedule": "cosine"}')
    result = run("crosscheck", *arguments, cwd=tmp_path)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "The first stage that differs is betas, by" in result.stdout
    assert "betas: the schedule 'cosine'" in result.stdout


@pytest.mark.parametrize("flag, file", [("report", "x.html"), ("json", "x.json"),
                                        ("export", "kit")])  # fmt: skip
def test_what_is_there_already_stays(flag, file, tmp_path):
    path = tmp_path / file / "stages.json" if flag == "export" else tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    result = run("crosscheck", "--against=diffusers", f"--{flag}={file}", cwd=tmp_path)
    assert result.returncode == 1
    assert f"is there already; give another --{flag}, or --overwrite." in result.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--options=eps", "--against=diffusers"], "--options=eps is not JSON"),
        (["--options=[1]", "--against=diffusers"], "is not a JSON object of arguments"),
        (["--module=nowhere.py:thing"], "There is no file nowhere.py; --module takes FILE.py:NAME"),
        ([], "Give either --against or --module"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(arguments, expected, tmp_path):
    assert expected in sentence(run("crosscheck", *arguments, *FLAGS, cwd=tmp_path))


@pytest.mark.parametrize(
    "text, name, expected",
    [
        ("", "thing", "own.py has no thing"),
        ("import nothing_of_this_name", "thing", "cannot be imported: ModuleNotFoundError: No mod"),
        ("def thing(:", "thing", "own.py cannot be imported: SyntaxError"),
        ("def thing(config): return 1 / 0", "thing", "called with the config: ZeroDivisionError"),
        ("def thing(): pass", "thing", "cannot be called with the config: TypeError"),
        ("thing = 3", "thing", "is a int; it must give a torch.nn.Module"),
        (
            "import torch\nthing = torch.nn.Linear(1, 1)",
            "thing",
            "keeps its own weights; name the same weights for ours with --weights",
        ),
        (
            f"import sys; sys.path.append({str(ROOT / 'docs')!r})\n"
            "from own_module import Both\n"
            "class thing(Both):\n    def load_weights(self, unet): raise KeyError('conv_in')",
            "thing",
            "does not take the weights: KeyError: 'conv_in'",
        ),
        (
            f"import sys; sys.path.append({str(ROOT / 'docs')!r})\n"
            "from own_module import Both, Wrapped\n"
            "class Halved(Wrapped):\n"
            "    def forward(self, x, t): return super().forward(x, t)[..., ::2]\n"
            "class thing(Both):\n"
            "    def __init__(self, config):\n"
            "        super().__init__(config)\n"
            "        self.network = Halved(self.network.unet)",
            "thing",
            r"returned \[4, 3, 8, 4\] for x of shape \[4, 3, 8, 8\]",
        ),
        (
            "class thing:\n    def __init__(self, config): pass\n"
            "    def q_sample(self, x_start, t, noise): return self.nothing",
            "thing",
            "q_sample of .*own.py:thing failed: AttributeError: 'thing' object has no attribute",
        ),
        (
            "class thing:\n    def __init__(self, config): pass\n"
            "    def p_mean_variance(self, model, x, t): return x, x, x",
            "thing",
            "returned a tuple; it must return a mapping with mean, log_variance and pred_xstart",
        ),
        (
            f"import sys; sys.path.append({str(ROOT / 'docs')!r})\n"
            "from own_module import Both\n"
            "class thing(Both): submodules = {'temb': 'unet.time'}",
            "thing",
            "has no submodule 'unet.time', whose output would be 'temb'",
        ),
    ],
)  # fmt: skip
def test_own_modules_that_do_not_work(text, name, expected, tmp_path):
    with pytest.raises(ValueError, match=expected):
        crosscheck(CONFIG, own=own_module(tmp_path, text, name))


def test_a_module_without_the_ending_of_python(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("thing = None")
    with pytest.raises(ValueError, match=r"own\.txt is not a Python file; its name must"):
        crosscheck(CONFIG, own=f"{path}:thing")


@pytest.mark.parametrize(
    "config, arguments, expected",
    [
        (
            CONFIG,
            {"against": "diffusers", "options": {"norm_epsilon": 1}},
            "Did you mean 'norm_eps",
        ),
        (CONFIG, {"against": "pytorch_diffusion"}, "pytorch_diffusion is not a package; name"),
        (
            get_config("cifar10", **{**SMALL, "image_size": (8, 16)}),
            {"against": "pytorch_diffusion"},
            "image_size is 8x16, and pytorch_diffusion's Model takes square images alone",
        ),
        (CONFIG, {"against": "denoising_diffusion_pytorch", "weights": "w"}, "is another network"),
        (CONFIG, {"own": f"{OWN}:Both", "options": {"a": 1}}, "--options are for --against"),
        (CONFIG, {"own": OWN}, "is not of the form FILE.py:NAME"),
        (CONFIG, {"against": "diffusers", "own": f"{OWN}:Both"}, "Give either"),
        (
            CONFIG,
            {"against": "diffusers", "options": {"layers_per_block": 2}},
            "UNet2DModel is of another architecture: down_blocks.0.resnets.1.conv1.bias is",
        ),
        (
            get_config("cifar10", **SMALL, beta_schedule="jsd"),
            {"against": "denoising_diffusion_pytorch"},
            "has no beta_schedule 'jsd'; choose one of linear, cosine, sigmoid",
        ),
        (
            get_config("cifar10", **SMALL, model_var_type="learned", loss_type="kl"),
            {"against": "diffusers"},
            "model_var_type is 'learned', which diffusers' DDPMScheduler cannot use",
        ),
        (
            get_config("cifar10", **SMALL, block_size=2),
            {"against": "diffusers"},
            "block_size is 2; what can be compared has block_size 1",
        ),
    ],
)
def test_mistakes_in_the_arguments(config, arguments, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        crosscheck(config, **arguments)


def test_weights_of_another_architecture_and_no_checkout(unet, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no pytorch_diffusion/diffusion.py"):
        crosscheck(CONFIG, against="pytorch_diffusion", checkout=str(tmp_path))
    torch.save({"conv_in.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt is none of the formats"):
        crosscheck(CONFIG, against="diffusers", weights=str(tmp_path / "other.pt"))
    contents = Contents(path="", weights={"ema": weights_of(unet)})
    port.write(str(tmp_path / "port.pt"), contents)
    big = get_config("cifar10", **{**SMALL, "ch_mult": (1, 1)})
    own = f"{OWN}:make_network"
    _, comparison = crosscheck(big, own=own, weights=str(tmp_path / "port.pt"))
    assert comparison.agrees, "the weights say what their network is, whatever the config says"


@pytest.mark.parametrize(
    "missing, against, command",
    [
        ("torch", "diffusers", "pip install torch diffusers safetensors"),
        ("diffusers", "diffusers", "pip install diffusers"),
        ("einops", "denoising_diffusion_pytorch", "pip install --no-deps denoising-diffusion-pyto"),
    ],
)
def test_a_missing_package_is_named_with_its_command(missing, against, command, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "denoising_diffusion_pytorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=f"cannot be imported .*{missing}.*{command}"):
        crosscheck(SMALL_VARIANCE, against=against)
    assert "torchvision" not in sys.modules


def test_the_network_in_jax_agrees():
    pytest.importorskip("jax")
    own = f"{ROOT / 'docs' / 'own_jax.py'}:Network"
    _, comparison = crosscheck(CONFIG, own=own)
    assert comparison.agrees, comparison.summary()
    compared = [row.stage for row in comparison.rows if row.verdict != NOT_COMPARED]
    assert compared[:3] == ["sinusoids", "temb", "conv_in"]
    assert compared[-2:] == ["output", "gradient of the loss by x"]
    _, comparison = crosscheck(CONFIG, own=f"{ROOT / 'docs' / 'own_arrays.py'}:InJAX")
    assert comparison.agrees, comparison.summary()
