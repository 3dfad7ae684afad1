"""The cross-check against the real packages, with planted faults, and against own modules."""

import os
import re
import sys
from pathlib import Path

import pytest
from processes import run
from test_scripts import sentence

from diffusion_tf import get_config
from diffusion_tf.convert import pytorch_diffusion as port
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.diffusers_pipeline import save_pipeline
from diffusion_tf.convert.maps import weights_of
from diffusion_tf.convert.tf1 import write
from diffusion_tf.crosscheck import crosscheck
from diffusion_tf.crosscheck.comparison import Finding
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.ours import COEFFICIENTS
from diffusion_tf.crosscheck.report import NOT_COMPARED, PARTS

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("einops")  # with which denoising_diffusion_pytorch comes; see setup.py

ROOT = Path(__file__).parents[1]
SMALL = {
    "image_size": 8, "ch": 64, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,),
}  # fmt: skip
FLAGS = ["--image_size=8", "--ch=64", "--ch_mult=1,2", "--num_res_blocks=1", "--attn_resolutions=4"]
CONFIG = get_config("cifar10", **SMALL)
SMALL_VARIANCE = get_config("cifar10", **SMALL, model_var_type="fixedsmall")
OWN = f"{ROOT / 'docs' / 'own_module.py'}"
# One that passes for it, and, where the variable names one, the real one.
CHECKOUTS = ["", *filter(None, [os.environ.get("PYTORCH_DIFFUSION_CHECKOUT")])]
EPSILON = "group normalization with epsilon 1e-5 instead of 1e-6"
PADDING = "stride-2 convolutions padded on all sides instead of bottom and right"
COS_FIRST = "cosines before sines in the time embedding"
HALF = "frequencies of the time embedding divided by half instead of half - 1"
CLIP = "the mean clipped instead of the x_0 that it is made of"
SMALL_FOR_LARGE = "the posterior's variance, fixedsmall, instead of beta"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """torch's threads wait by spinning, in the way of TensorFlow's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unet():
    return random_unet(CONFIG)


def checkout(folder, *changes):
    """A folder that passes for a checkout of the port, with changes planted in its text."""
    text = (ROOT / "tests" / "torch_port.py").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "pytorch_diffusion").mkdir()
    (folder / "pytorch_diffusion" / "diffusion.py").write_text(text)
    return str(folder)


def own_module(folder, text, name="thing"):
    """FILE.py:NAME of a module with this text."""
    (folder / "own.py").write_text(text)
    return f"{folder / 'own.py'}:{name}"


def stages(comparison, verdict):
    return [row.stage for row in comparison.rows if row.verdict == verdict]


def check_found(comparison, stage, *reasons):
    """The first stage that parts is this one, for these reasons, and nothing else is found."""
    assert not comparison.agrees
    assert stages(comparison, PARTS)[0] == stage
    assert [(found.stage, found.reasons) for found in comparison.findings] == [(stage, reasons)]
    assert f"The first stage that parts is {stage}" in comparison.summary()
    assert all(reason in comparison.summary() for reason in reasons)
    assert "With this put into ours, whatever parts agrees." in comparison.summary()


# --- Implementations that agree


def test_diffusers_agrees():
    _, comparison = crosscheck(CONFIG, against="diffusers")
    assert comparison.agrees, comparison.summary()
    expected = {*COEFFICIENTS} - {"alphas_cumprod"}
    assert set(stages(comparison, NOT_COMPARED)) == expected | {"loss", "optimizer"}
    names = [row.stage for row in comparison.rows]
    assert names[12:16] == ["sinusoids", "temb", "conv_in", "down_0/block_0"]
    end = names.index("output")
    assert names[end - 1 : end + 4] == [
        "up_0/block_1", "output", "gradient of the loss by x", "gradient of the loss by weights",
        "q_sample",
    ]  # fmt: skip


def test_denoising_diffusion_pytorch_agrees():
    counterpart, comparison = crosscheck(SMALL_VARIANCE, against="denoising_diffusion_pytorch")
    assert re.fullmatch(r"denoising_diffusion_pytorch \d.*: GaussianDiffusion", counterpart.name)
    assert comparison.agrees, comparison.summary()
    assert stages(comparison, NOT_COMPARED) == ["network", "gradient", "optimizer"]


@pytest.mark.parametrize("path", CHECKOUTS)
def test_a_checkout_of_pytorch_diffusion_agrees(path, tmp_path):
    path = path or checkout(tmp_path)
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    assert comparison.agrees, comparison.summary()
    compared = {row.stage for row in comparison.rows} - set(stages(comparison, NOT_COMPARED))
    assert {"posterior_mean_coef1", "sinusoids", "up_1/upsample", "output"} <= compared
    assert {"p_mean_variance: mean", "10 steps of sampling"} <= compared


# --- Planted faults

MEAN_CLIPPED = """sample = mean.clamp(-1, 1) + sample - mean
    return (sample,"""
CLIPPED_MEAN = """
import torch
from diffusers import DDPMScheduler
from diffusion_tf.crosscheck.denoising_diffusion import (
    PackageProcess, function_model, import_package,
)
from diffusion_tf.crosscheck.diffusers import SchedulerProcess

class Scheduler(DDPMScheduler):
    def step(self, model_output, timestep, sample):
        if self.config.prediction_type == "sample":
            return super().step(model_output, timestep, sample)
        with torch.random.fork_rng():
            noise = torch.randn_like(sample)
        drawn = super().step(model_output, timestep, sample)
        part = (self._get_variance(timestep) ** 0.5 if timestep else 0) * noise
        drawn.prev_sample = (drawn.prev_sample - part).clamp(-1, 1) + part
        return drawn

class GaussianDiffusion(import_package().GaussianDiffusion):
    def p_mean_variance(self, x, t, x_self_cond=None, clip_denoised=True):
        mean, *rest = super().p_mean_variance(x, t, x_self_cond, clip_denoised=False)
        return mean.clamp(-1, 1), *rest

def diffusers(config):
    return SchedulerProcess(Scheduler(clip_sample=False, variance_type="fixed_small"))

def package(config):
    model = function_model(config.channels)
    return PackageProcess(GaussianDiffusion(
        model, image_size=config.image_size, objective="pred_noise", beta_schedule="linear"))
"""


@pytest.mark.parametrize(
    "options, stage, reasons",
    [
        ({"norm_eps": 1e-5}, "down_0/block_0", [EPSILON]),
        ({"downsample_padding": 1}, "down_0/downsample", [PADDING]),
        ({"flip_sin_to_cos": True}, "sinusoids", [COS_FIRST]),
        ({"freq_shift": 0}, "sinusoids", [HALF]),
        ({"freq_shift": 0, "flip_sin_to_cos": True}, "sinusoids", [COS_FIRST, HALF]),
        (
            {"attention_head_dim": 8},
            "down_1/attn_0",
            ["attention in heads of 8 channels instead of one head"],
        ),
        ({"variance_type": "fixed_small"}, "p_mean_variance: log variance", [SMALL_FOR_LARGE]),
        ({"clip_sample": False}, "p_mean_variance: pred_xstart", ["nothing clipped"]),
        ({"beta_schedule": "scaled_linear"}, "betas", ["the schedule 'quad'"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_faults_of_diffusers_are_named(options, stage, reasons):
    _, comparison = crosscheck(CONFIG, against="diffusers", options=options)
    check_found(comparison, stage, *reasons)


@pytest.mark.parametrize(
    "changes, stage, reason",
    [
        ([("eps=1e-6", "eps=1e-5")], "down_0/block_0", EPSILON),
        (
            [("stride=2)", "stride=2, padding=1)"), ("functional.pad(x, (0, 1, 0, 1))", "x")],
            "down_0/downsample",
            PADDING,
        ),
        ([("cat([sin, cos]", "cat([cos, sin]")], "sinusoids", COS_FIRST),
        ([("/ (half - 1)", "/ half")], "sinusoids", HALF),
        (
            [("x_0 = x_0.clamp(-1, 1)\n", "\n"), ("return (sample,", MEAN_CLIPPED)],
            "p_mean_variance: pred_xstart",
            CLIP,
        ),
        (
            [('= diffusion_config["model_var_type"]', '= "fixedsmall"')],
            "p_mean_variance: log variance",
            SMALL_FOR_LARGE,
        ),
    ],
    ids=["epsilon", "padding", "cos_first", "half", "clip", "fixedsmall"],
)
def test_faults_planted_in_a_port_are_named(changes, stage, reason, tmp_path):
    path = checkout(tmp_path, *changes)
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    check_found(comparison, stage, reason)


@pytest.mark.parametrize("name", ["diffusers", "package"])
def test_a_mean_clipped_too_late_is_named(name, tmp_path):
    own = own_module(tmp_path, CLIPPED_MEAN, name)
    _, comparison = crosscheck(SMALL_VARIANCE, own=own)
    check_found(comparison, "p_mean_variance: pred_xstart", CLIP)


def test_denoising_diffusion_pytorch_where_it_parts():
    config = get_config("cifar10", **SMALL, num_diffusion_timesteps=100)
    _, comparison = crosscheck(config, against="denoising_diffusion_pytorch")
    assert [(found.stage, found.reasons) for found in comparison.findings] == [
        ("betas", ("betas scaled by 1000 / T",)),
        ("p_mean_variance: log variance", (SMALL_FOR_LARGE,)),
    ]


# --- Own modules


def test_the_example_of_the_docs_agrees():
    for name, number in (("OwnDiffusion", 4), ("Both", 8), ("make_network", 20)):
        _, comparison = crosscheck(CONFIG, own=f"{OWN}:{name}")
        assert comparison.agrees, comparison.summary()
        assert f"All {number} stages compared agree." in comparison.summary()


def test_the_example_keeps_its_word_about_what_it_compares():
    _, comparison = crosscheck(CONFIG, own=f"{OWN}:Both")
    compared = {row.stage for row in comparison.rows} - set(stages(comparison, NOT_COMPARED))
    assert compared == {
        "betas", "alphas_cumprod", "temb", "conv_in", "output", "gradient of the loss by x",
        "q_sample", "10 steps of sampling",
    }  # fmt: skip


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
        "3 steps of Adam",
        ("Adam's epsilon added after the bias correction, as PyTorch does",),
    )
    _, comparison = crosscheck(CONFIG, own=own, weights=checkpoint, kind="raw")
    assert comparison.findings == [adam]
    _, comparison = crosscheck(CONFIG, own=own, weights=checkpoint, kind="ema")
    assert comparison.findings == [
        Finding("weights", ("raw weights on one side, averaged ones on the other",)),
        adam,
    ]
    assert "output" in stages(comparison, PARTS)
    with pytest.raises(ValueError, match="keeps its own weights; name the same weights for ours"):
        crosscheck(CONFIG, own=own)


def test_a_folder_of_diffusers_is_read_by_both(unet, tmp_path):
    config = get_config("cifar10", **SMALL, model_var_type="fixedsmall", beta_schedule="cosine")
    save_pipeline(str(tmp_path / "pipeline"), unet, config)
    result = run("crosscheck", "--against=diffusers", "--weights=pipeline", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "All 30 stages compared agree." in result.stdout
    (tmp_path / "pipeline" / "scheduler" / "scheduler_config.json").unlink()
    _, comparison = crosscheck(
        config, against="diffusers", weights=str(tmp_path / "pipeline"),
        options={"beta_schedule": "linear"},
    )  # fmt: skip
    assert comparison.findings == [Finding("betas", ("the schedule 'linear'",))]


def test_what_nobody_knows_is_said_and_what_does_not_build_on_it_is_still_looked_into(tmp_path):
    path = checkout(
        tmp_path,
        ('= diffusion_config["model_var_type"]', '= "fixedsmall"'),
        ("h + self.temb_proj", "h + 1.001 * self.temb_proj"),
    )
    _, comparison = crosscheck(CONFIG, against="pytorch_diffusion", checkout=path)
    assert comparison.findings == [
        Finding("down_0/block_0", ()),
        Finding("p_mean_variance: log variance", (SMALL_FOR_LARGE,)),
    ]
    assert "down_0/block_0: no known reason makes it agree" in comparison.summary()


# --- The script, and mistakes


def test_the_script_agrees_and_parts(tmp_path):
    arguments = ["--against=denoising_diffusion_pytorch", *FLAGS]
    result = run("crosscheck", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^betas +\S+e-\d+ +\S+e-\d+ +1.0e-06  agrees$", result.stdout, re.M)
    assert "Not compared, as the other side does not have it: network, gradient" in result.stdout
    assert result.stdout.endswith("All 21 stages compared agree.\n")
    assert "beside denoising_diffusion_pytorch" in result.stderr
    arguments.append('--options={"beta_schedule": "cosine"}')
    result = run("crosscheck", *arguments, cwd=tmp_path)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "The first stage that parts is betas, by" in result.stdout
    assert "betas: the schedule 'cosine'" in result.stdout


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--options=eps", "--against=diffusers"], "--options=eps is not JSON"),
        (["--options=[1]", "--against=diffusers"], "is no JSON object of arguments"),
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


@pytest.mark.parametrize(
    "config, arguments, expected",
    [
        (
            CONFIG,
            {"against": "diffusers", "options": {"norm_epsilon": 1}},
            "Did you mean 'norm_eps",
        ),
        (CONFIG, {"against": "pytorch_diffusion"}, "pytorch_diffusion is no package; name"),
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
            "what can be compared has block_size 1 and a fixed variance",
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
    port.write(str(tmp_path / "port.pt"), unet)
    big = get_config("cifar10", **{**SMALL, "ch_mult": (1, 1)})
    _, comparison = crosscheck(big, against="diffusers", weights=str(tmp_path / "port.pt"))
    assert comparison.agrees, "the weights say what their network is"


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
