"""Checkpoints of two other ports: what they compute, and what cannot be carried over."""

import dataclasses
import logging

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.convert import convert, detect, formats, load_unet, pytorch_ddpm
from diffusion_tf.convert.contents import config_of
from diffusion_tf.convert.maps import weights_of
from helpers.rows import mostly_slow
from helpers.torch_networks import assert_close, images, import_torch, torch_output

pytestmark = pytest.mark.extras
SMALL = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "attention": (1,)}
DEEP = {"ch": 32, "ch_mult": (1, 2, 1), "num_res_blocks": 2, "attention": (0, 2)}


@pytest.fixture(scope="module")
def ports():
    import_torch()
    from helpers import other_ports

    return other_ports


def save(path, values):
    import_torch().save(values, path)
    return str(path)


# --- tqch/ddpm-torch


def checkpoint(model, ema):
    """As that port's trainer saves it after distributed training."""
    prefixed = {f"module.{name}": value for name, value in model.state_dict().items()}
    shadow = dict(ema.named_parameters())
    return {
        "model": prefixed,
        "optimizer": import_torch().optim.Adam(model.parameters()).state_dict(),
        "ema": {"decay": 0.9999, "shadow": shadow, "num_updates": 3},
        "scheduler": None,
        "epoch": 4,
        "loss": 0.03,
    }


@pytest.mark.parametrize(
    "arguments",
    mostly_slow(
        [SMALL, {**DEEP, "out_ch": 6}, {**SMALL, "resample": False, "in_ch": 1, "out_ch": 1}],
        SMALL.__eq__,
    ),
    ids=["small", "deep", "pooled"],
)
def test_a_checkpoint_of_ddpm_torch_computes_the_same(tmp_path, ports, arguments):
    raw, ema = (ports.randomised(ports.DDPMTorch(**arguments), seed) for seed in (0, 1))
    path = save(tmp_path / "ddpm_cifar10_4.pt", checkpoint(raw, ema))
    assert detect(path) == "ddpm_torch"
    x, t = images(8, arguments.get("in_ch", 3))
    for weights, module in (("ema", ema), ("raw", raw)):
        assert_close(load_unet(path, weights=weights)([x, t]).numpy(), torch_output(module, x, t))


def test_a_network_on_blocks_of_pixels_computes_the_same(tmp_path, ports):
    inner = ports.DDPMTorch(**SMALL, in_ch=12, out_ch=24)
    module = ports.randomised(ports.InBlocks(inner, 2))
    path = save(tmp_path / "a.pt", module.state_dict())
    unet = load_unet(path)
    assert (unet.block_size, unet.out_ch, unet.image_size) == (2, 6, None)
    x, t = images(8)
    assert_close(unet([x, t]).numpy(), torch_output(module, x, t))
    contents = formats.read(path)
    config = dataclasses.replace(
        get_config("folder"), image_size=8, ch=32, ch_mult=(1, 2), num_res_blocks=1,
        attn_resolutions=(2,), block_size=2, model_var_type="learned", loss_type="kl",
    )  # fmt: skip
    assert config_of(contents, config) == config
    with pytest.raises(ValueError, match="otherwise than --config: block_size 2, not 1"):
        config_of(contents, dataclasses.replace(config, block_size=1, attn_resolutions=(4,)))


def test_the_weights_go_into_every_format(tmp_path, ports, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    module = ports.randomised(ports.DDPMTorch(**SMALL))
    path = save(tmp_path / "a.pt", module.state_dict())
    convert(path, str(tmp_path / "b.pt"), format="pytorch_diffusion")
    assert "Found a checkpoint of tqch/ddpm-torch (ddpm_torch) in" in caplog.text
    expected, found = (weights_of(load_unet(str(tmp_path / name))) for name in ("a.pt", "b.pt"))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(ValueError, match="Unknown format 'ddpm_torch'; choose one of workdir, tf1"):
        convert(path, str(tmp_path / "c.pt"), format="ddpm_torch")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"middle.1.project_in.weight": (32, 64, 1, 1)},
            r"project_in.weight has shape \(32, 64, 1",
        ),
        ({"in_conv.weight": (32, 5, 3, 3)}, "in_conv.weight is for 5 channels; images have 1 or 3"),
        ({"in_conv.weight": None}, "lack in_conv.weight; give those of a whole network"),
        ({"middle.1.scale": (3,)}, "hold middle.1.scale, which this network does not have"),
        ({"out_conv.2.bias": (6,)}, r"conv_out/bias has shape \(6,\)"),
        (
            {"in_conv.weight": (32, 12, 3, 3)},
            "conv_out/kernel has 3 channels; blocks of 2x2 pixels",
        ),
    ],
)
def test_what_is_wrong_with_ddpm_torchs_weights_is_named(tmp_path, ports, change, message):
    torch, state = import_torch(), ports.DDPMTorch(**SMALL).state_dict()
    for name, shape in change.items():
        state.pop(name, None)
        if shape:
            state[name] = torch.ones(shape)
    with pytest.raises(ValueError, match=message):
        load_unet(save(tmp_path / "a.pt", state))


# --- w86763777/pytorch-ddpm


PAPERS = {"papers_frequencies": True, "papers_padding": True}


def ours(module):
    """Our network with the weights that stand for a module's."""
    state = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    weights = pytorch_ddpm.weights_of_state(state)
    return pytorch_ddpm.build_from_weights(weights), pytorch_ddpm.differences(state, weights)


@pytest.mark.parametrize("arguments", [SMALL, DEEP], ids=["small", "deep"])
def test_order_and_epsilon_of_pytorch_ddpm_are_carried_over(ports, arguments):
    module = ports.randomised(ports.PyTorchDDPM(**arguments, **PAPERS))
    with import_torch().no_grad():  # so that the epsilon counts
        module.head.weight *= 0.02
        module.head.bias *= 0.02
    unet, _ = ours(module)
    x, t = images(8)
    assert_close(unet([x, t]).numpy(), torch_output(module, x, t))
    for norm in (m for m in module.modules() if type(m).__name__ == "GroupNorm"):
        norm.eps = 1e-6
    output = torch_output(module, x, t)
    assert np.abs(unet([x, t]).numpy() - output).max() > 1e-3 * np.abs(output).max()


def test_frequencies_and_padding_of_pytorch_ddpm_are_not(ports):
    x, t = images(8)
    for one, name in (("papers_frequencies", "downsampling"), ("papers_padding", "frequencies")):
        module = ports.randomised(ports.PyTorchDDPM(**SMALL, **{one: True}))
        unet, problems = ours(module)
        output = torch_output(module, x, t)
        assert np.abs(unet([x, t]).numpy() - output).max() > 1e-2 * np.abs(output).max()
        assert any(name in problem for problem in problems)


def test_a_checkpoint_of_pytorch_ddpm_is_refused_with_what_would_be_needed(tmp_path, ports):
    module = ports.PyTorchDDPM(**SMALL)
    values = {
        "net_model": module.state_dict(), "ema_model": module.state_dict(), "step": 5,
        "optim": {}, "sched": {}, "x_T": import_torch().zeros(2, 3, 8, 8),
    }  # fmt: skip
    path = save(tmp_path / "ckpt.pt", values)
    assert detect(path) == "pytorch_ddpm"
    message = (
        rf"^{path} is of w86763777/pytorch-ddpm, whose network is another: the frequencies of its"
        r" time embedding are others \(that port's fall over 16 intervals, the paper's over 15\)"
        r" and its downsampling pads all four sides of an image \(the paper's bottom and right"
        r" only\), for which no weights can make up; the UNet here would need both as options, and"
        r" until then only that port can sample from it\.$"
    )
    for read in (load_unet, lambda path: convert(path, str(tmp_path / "a"), format="workdir")):
        with pytest.raises(ValueError, match=message):
            read(path)
    assert not (tmp_path / "a").exists()


def test_without_what_differs_pytorch_ddpms_checkpoint_is_read(tmp_path, ports):
    arguments = {**SMALL, "ch_mult": (1,), "attention": (), "papers_frequencies": True}
    raw, ema = (ports.randomised(ports.PyTorchDDPM(**arguments), seed) for seed in (0, 1))
    values = {"net_model": raw.state_dict(), "ema_model": ema.state_dict()}
    x, t = images(8)
    for weights, module in (("ema", ema), ("raw", raw)):
        unet = load_unet(save(tmp_path / "ckpt.pt", values), weights=weights)
        assert_close(unet([x, t]).numpy(), torch_output(module, x, t))


@pytest.mark.parametrize(
    "name, message",
    [
        ("time_embedding.timembedding.0.weight", "lack time_embedding.timembedding.0.weight, a t"),
        ("head.weight", "first or last layers are missing"),
        ("downblocks.0", "first or last layers are missing"),
        ("downblocks", "no block of the first resolution"),
    ],
)
def test_what_pytorch_ddpms_weights_lack_is_named(ports, name, message):
    state = ports.PyTorchDDPM(**SMALL).state_dict()
    rest = {key: value.numpy() for key, value in state.items() if not key.startswith(name)}
    with pytest.raises(ValueError, match=message):
        pytorch_ddpm.differences(rest, pytorch_ddpm.weights_of_state(rest))
