"""What the tests of the cross-check share."""

from pathlib import Path

from diffusion_tf import get_config
from diffusion_tf.crosscheck.stage_table import DIFFERS

ROOT = Path(__file__).parents[2]
SMALL = {
    "image_size": 8, "ch": 64, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,),
}  # fmt: skip
FLAGS = ["--image_size=8", "--ch=64", "--ch_mult=1,2", "--num_res_blocks=1", "--attn_resolutions=4"]
CONFIG = get_config("cifar10", **SMALL)
SMALL_VARIANCE = get_config("cifar10", **SMALL, model_var_type="fixedsmall")
OWN = f"{ROOT / 'docs' / 'own_module.py'}"
EPSILON = "group normalization with epsilon 1e-5 instead of 1e-6"
PADDING = "stride-2 convolutions padded on all sides instead of bottom and right"
COS_FIRST = "cosines before sines in the time embedding"
INTERLEAVED = "sines and cosines of the time embedding interleaved instead of one after the other"
HALF = "frequencies of the time embedding divided by half instead of half - 1"
CLIP = "the mean clipped instead of the x_0 that it is made of"
SMALL_FOR_LARGE = "the posterior's variance, fixedsmall, instead of beta"


def checkout(folder, *changes):
    """A folder that passes for a checkout of the port, with changes planted in its text."""
    text = (ROOT / "tests" / "helpers" / "torch_port.py").read_text()
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
    """The first stage that differs is this one, for these reasons, and nothing else is found."""
    assert not comparison.agrees
    assert stages(comparison, DIFFERS)[0] == stage
    assert [(found.stage, found.reasons) for found in comparison.findings] == [(stage, reasons)]
    assert f"The first stage that differs is {stage}" in comparison.summary()
    assert all(reason in comparison.summary() for reason in reasons)
    assert "With this put into ours, whatever differed agrees." in comparison.summary()
