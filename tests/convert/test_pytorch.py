"""The maps to PyTorch, against diffusers itself and against pesser's port."""

import importlib.util
import os

import numpy as np
import pytest

from diffusion_tf.convert import diffusers, pytorch_diffusion
from diffusion_tf.convert.maps import weights_of
from helpers import golden_arrays
from helpers.torch_networks import assert_close, images, import_torch, torch_output
from helpers.unets import build, randomise

pytestmark = pytest.mark.extras
SMALL = {"ch": 64, "ch_mult": (1, 2), "attn_resolutions": (4,)}
MAPS = pytest.mark.parametrize("module", [pytorch_diffusion, diffusers], ids=["port", "diffusers"])


@pytest.fixture(scope="module")
def unet():
    """A small network with random weights in every tensor; 8x8 images."""
    return randomise(build(size=8, **SMALL))


@pytest.fixture
def other():
    """A network of the same architecture with other weights."""
    return randomise(build(size=8, **SMALL), seed=1)


def load_into(module, state):
    """Sets a PyTorch network's weights, strictly."""
    torch = import_torch()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return module


def unet2d(unet, size):
    """diffusers' network of the same architecture."""
    package = pytest.importorskip("diffusers")
    return package.UNet2DModel.from_config(diffusers.unet_config(unet, size))


# --- Against the other implementations


def test_diffusers_computes_the_same(unet, other):
    x, t = images(8)
    module = load_into(unet2d(unet, 8), diffusers.state_dict_of(unet))
    assert_close(torch_output(module, x, t), unet([x, t]).numpy())
    diffusers.load_state_dict(other, module.state_dict())
    np.testing.assert_array_equal(other([x, t]), unet([x, t]))


@pytest.mark.parametrize(
    "size, arguments",
    [
        (16, {"ch": 64, "ch_mult": (1, 2, 2), "num_res_blocks": 2, "attn_resolutions": (16, 4)}),
        (8, {"ch": 64, "ch_mult": (1,), "attn_resolutions": ()}),
        (8, {"ch": 32, "ch_mult": (1, 3), "attn_resolutions": (8,), "out_ch": 6}),
    ],
)
def test_diffusers_computes_the_same_in_other_architectures(size, arguments):
    unet = randomise(build(size=size, **arguments))
    module = load_into(unet2d(unet, size), diffusers.state_dict_of(unet))
    x, t = images(size)
    assert_close(torch_output(module, x, t), unet([x, t]).numpy())


def test_diffusers_weights_of_its_own_come_in(other):
    torch = import_torch()
    module = unet2d(other, 8)
    torch.manual_seed(0)
    for value in module.parameters():
        torch.nn.init.normal_(value, 0.1, 0.1)
    diffusers.load_state_dict(other, {k: v.numpy() for k, v in module.state_dict().items()})
    x, t = images(8)
    assert_close(other([x, t]).numpy(), torch_output(module, x, t))


def test_attention_may_have_its_old_names(unet, other):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in diffusers.state_dict_of(unet).items():
        for new_name, old_name in old.items():
            name = name.replace(f".{new_name}.", f".{old_name}.")
        state[name] = value
    assert any("proj_attn" in name for name in state)
    diffusers.load_state_dict(other, state)
    for path, value in weights_of(unet).items():
        np.testing.assert_array_equal(weights_of(other)[path], value)
    state["mid_block.attentions.0.to_q.weight"] = state["mid_block.attentions.0.query.weight"]
    with pytest.raises(ValueError, match=r"hold both .*query.weight and .*to_q.weight; remove one"):
        diffusers.load_state_dict(other, state)


def test_names_and_shapes_are_those_of_the_port():
    golden = golden_arrays.load_json("pytorch_diffusion_state")
    unet = build(size=golden["image_size"], **golden["config"])
    state = pytorch_diffusion.state_dict_of(unet)
    assert {name: list(value.shape) for name, value in state.items()} == golden["shapes"]


def test_kernels_are_transposed(unet):
    state, weights = pytorch_diffusion.state_dict_of(unet), weights_of(unet)
    kernel = weights["conv_in/kernel"]
    assert state["conv_in.weight"][5, 2, 0, 1] == kernel[0, 1, 2, 5]
    assert state["temb.dense.0.weight"][7, 3] == weights["temb/dense0/kernel"][3, 7]
    assert state["mid.attn_1.q.weight"][7, 3, 0, 0] == weights["mid/attn_1/q/kernel"][3, 7]


def test_the_port_computes_the_same(unet, other):
    """With PYTORCH_DIFFUSION_CHECKOUT naming a checkout of pesser/pytorch_diffusion."""
    if "PYTORCH_DIFFUSION_CHECKOUT" not in os.environ:
        pytest.skip("PYTORCH_DIFFUSION_CHECKOUT names no checkout of pesser/pytorch_diffusion")
    path = os.path.join(os.environ["PYTORCH_DIFFUSION_CHECKOUT"], "pytorch_diffusion", "model.py")
    spec = importlib.util.spec_from_file_location("pytorch_diffusion_model", path)
    port = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(port)
    module = port.Model(out_ch=3, num_res_blocks=1, in_channels=3, resolution=8, **SMALL)
    load_into(module, pytorch_diffusion.state_dict_of(unet))
    x, t = images(8)
    assert_close(torch_output(module, x, t), unet([x, t]).numpy())
    pytorch_diffusion.load_state_dict(other, module.state_dict())
    np.testing.assert_array_equal(other([x, t]), unet([x, t]))


# --- Strictness


@MAPS
def test_a_round_trip_changes_no_bit(module, unet, other):
    module.load_state_dict(other, module.state_dict_of(unet))
    expected = weights_of(unet)
    assert weights_of(other).keys() == expected.keys()
    for path, value in weights_of(other).items():
        np.testing.assert_array_equal(value, expected[path])


@MAPS
def test_what_is_missing_or_left_over_is_named_and_nothing_is_set(module, unet, other):
    before = weights_of(other)
    whole = module.state_dict_of(unet)
    lacking = {name: value for name, value in whole.items() if name != "conv_in.bias"}
    deeper = module.state_dict_of(build(size=8, **{**SMALL, "num_res_blocks": 2}))
    unknown = {**whole, "conv_in.scale": whole["conv_in.bias"]}
    with pytest.raises(ValueError, match=r"they lack conv_in\.bias\."):
        module.load_state_dict(other, lacking)
    with pytest.raises(ValueError, match=r"they hold down.*, \.\.\. \(\d+ in all\), which the"):
        module.load_state_dict(other, deeper)
    with pytest.raises(ValueError, match=r"hold conv_in\.scale, which this network does not have"):
        module.load_state_dict(other, unknown)
    for path, value in weights_of(other).items():
        np.testing.assert_array_equal(value, before[path])


@MAPS
def test_shapes_are_checked(module, unet, other):
    state = module.state_dict_of(unet)
    narrow = {**state, "conv_in.weight": state["conv_in.weight"][:32]}
    with pytest.raises(ValueError, match=r"conv_in\.weight has shape \(3, 3, 3, 32\) and the netw"):
        module.load_state_dict(other, narrow)
    flat = {**state, "conv_in.weight": state["conv_in.weight"].ravel()}
    with pytest.raises(ValueError, match=r"conv_in\.weight has shape \(1728,\), which such a laye"):
        module.load_state_dict(other, flat)
    (nin,) = [name for name in state if "down" in name and "shortcut.weight" in name]
    with pytest.raises(ValueError, match=r"shortcut\.weight has shape .*which such a layer"):
        module.load_state_dict(other, {**state, nin: np.tile(state[nin], (1, 1, 3, 3))})


@pytest.mark.parametrize(
    "module, arguments, message",
    [
        (pytorch_diffusion, {"block_size": 2}, "block_size is 2"),
        (diffusers, {"block_size": 2}, "block_size is 2"),
        (diffusers, {"ch_mult": (2, 2)}, r"ch_mult is \(2, 2\), and its first resolution"),
        (diffusers, {"resamp_with_conv": False}, "resamp_with_conv is off"),
    ],
)
def test_an_architecture_that_is_not_there_is_refused(module, arguments, message):
    unet = build(**arguments)
    with pytest.raises(ValueError, match=message):
        module.state_dict_of(unet)
    with pytest.raises(ValueError, match=message):
        module.load_state_dict(unet, {})
