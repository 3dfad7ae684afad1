"""State dicts as trainers write them: nested, prefixed, averaged; the same weights come out."""

import collections
import logging
import types

import numpy as np
import pytest

from diffusion_tf.convert import convert, detect, formats, pytorch_diffusion
from diffusion_tf.convert.contents import same_bits
from diffusion_tf.convert.state_files import write_state_dict
from helpers.torch_networks import import_torch
from helpers.unets import build, randomise

pytestmark = pytest.mark.extras
SMALL = {"ch": 32, "ch_mult": (1, 2), "attn_resolutions": ()}


@pytest.fixture(scope="module")
def states():
    """Raw and averaged weights of a small network in the names of pesser's port, of torch."""
    torch = import_torch()
    unet, states = build(size=8, **SMALL), {}
    for seed, kind in enumerate(("raw", "ema")):
        state = pytorch_diffusion.state_dict_of(randomise(unet, seed))
        states[kind] = {name: torch.from_numpy(value) for name, value in state.items()}
    return types.SimpleNamespace(**states)


def save(tmp_path, values, name="a.pt"):
    import_torch().save(values, tmp_path / name)
    return str(tmp_path / name)


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def expected(state):
    return pytorch_diffusion.NAMES.weights({name: value.numpy() for name, value in state.items()})


def check(path, **kinds):
    """Exactly these weights are found, to the bit."""
    assert detect(path) == "pytorch_diffusion"
    found = formats.read(path).weights
    assert found.keys() == kinds.keys()
    for kind, state in kinds.items():
        assert same_bits(found[kind], expected(state)), kind


@pytest.fixture
def log(caplog):
    """What is logged, as one text when called."""
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


# --- One set


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.model.",
        "_forward_module.model.net.", "diffusion.denoise_fn.", "unet.",
    ],
)  # fmt: skip
def test_prefixes_of_one_set_are_removed(tmp_path, states, log, prefix):
    check(save(tmp_path, prefixed(states.raw, prefix)), ema=states.raw, raw=states.raw)
    assert f"taken from the top, prefix {prefix} removed." in log()


@pytest.mark.parametrize("keys", [["state_dict"], ["model"], ["net"], ["a", "b", "c"]])
def test_keys_of_one_set_are_followed(tmp_path, states, log, keys):
    values = states.raw
    for key in reversed(keys):
        values = {key: values, "epoch": 3, "args": {"lr": 1e-4}, "none": None}
    check(save(tmp_path, values), ema=states.raw, raw=states.raw)
    assert f"taken from {''.join(f'[{key!r}]' for key in keys)}." in log()


def test_weights_at_the_top_are_taken_without_a_word(tmp_path, states, log):
    check(save(tmp_path, states.raw), ema=states.raw, raw=states.raw)
    assert log() == ""


def test_prefixes_in_safetensors_are_removed(tmp_path, states):
    pytest.importorskip("safetensors")
    path = str(tmp_path / "a.safetensors")
    state = {name: value.numpy() for name, value in prefixed(states.raw, "module.").items()}
    write_state_dict(path, state)
    check(path, ema=states.raw, raw=states.raw)


def test_what_stands_beside_a_prefix_is_left_out_and_named(tmp_path, states, log):
    torch = import_torch()
    beside = {"betas": torch.zeros(4), "logvar": torch.ones(2)}
    path = save(tmp_path, {"state_dict": {**prefixed(states.raw, "model."), **beside}})
    check(path, ema=states.raw, raw=states.raw)
    assert "taken from ['state_dict'], prefix model. removed, left out betas, logvar." in log()


# --- Two sets


def two(raw, ema):
    """Layouts that trainers give raw and averaged weights."""
    torch = import_torch()
    # torch's own wrappers around a module with these parameters
    parameters = [torch.nn.Parameter(value) for value in raw.values()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    sum(p.sum() for p in parameters).backward()
    optimizer.step()
    adam, shadow = optimizer.state_dict(), list(ema.values())
    dotless = {name.replace(".", ""): value for name, value in ema.items()}
    count = torch.tensor(7)
    return {
        "net_model": {"net_model": raw, "ema_model": ema, "optim": adam, "step": 5, "x_T": count},
        "ema": {"model": prefixed(raw, "module."), "ema": prefixed(ema, "module."), "epoch": 1},
        "shadow": {"model": raw, "ema": {"decay": 0.99, "shadow": ema, "num_updates": 3}},
        "shadow at the top": {"model": prefixed(raw, "net."), "shadow": shadow},
        "shadow_params": {
            "optimizer": adam,
            "model": prefixed(raw, "module."),
            "ema": {"decay": 0.99, "num_updates": 3, "shadow_params": shadow,
                    "collected_params": list(raw.values())},
        },
        "list": [prefixed(raw, "module."), adam, 4, 100, ema],
        "lightning": {
            "state_dict": {**prefixed(raw, "model."), **prefixed(ema, "ema_model."), "b": count},
            "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.0.0",
            "optimizer_states": [adam], "lr_schedulers": [], "loops": {"fit_loop": {}},
        },
        "ema_net": {"state_dict": {**prefixed(raw, "net."), **prefixed(ema, "ema.module.")}},
        "beside": {**raw, **prefixed(ema, "ema.")},
        "buffers": {
            "state_dict": {**prefixed(raw, "model.unet."), **prefixed(dotless, "model_ema.unet"),
                           "model_ema.decay": count, "model_ema.num_updates": count}
        },
        "online": {
            "step": 3, "model": raw, "opt": adam,
            "ema": {**prefixed(raw, "online_model."), **prefixed(ema, "ema_model."),
                    "initted": count, "step": count},
        },
        "averaged": {"model": raw, "averaged_model": {**prefixed(ema, "module."), "n": count}},
        "state_dict_ema": {"state_dict": raw, "state_dict_ema": ema, "arch": "unet"},
    }  # fmt: skip


LAYOUTS = [
    "net_model", "ema", "shadow", "shadow at the top", "shadow_params", "list", "lightning",
    "ema_net", "beside", "buffers", "online", "averaged", "state_dict_ema",
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_raw_and_averaged_weights_are_told_apart(tmp_path, states, layout):
    layouts = two(states.raw, states.ema)
    assert list(layouts) == LAYOUTS
    check(save(tmp_path, layouts[layout]), ema=states.ema, raw=states.raw)


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_weights_chooses(tmp_path, states, log, weights):
    values = {"model": states.raw, "ema": prefixed(states.ema, "module.")}
    path, target = save(tmp_path, values), str(tmp_path / "b.pt")
    convert(path, target, format="pytorch_diffusion", weights=weights)
    check(target, **dict.fromkeys(("ema", "raw"), getattr(states, weights)))
    assert "weights (ema) taken from ['ema'], prefix module. removed." in log()
    assert "weights (raw) taken from ['model']." in log()
    assert "no step, averaged and raw weights" in log()
    unet = formats.load_unet(path, weights=weights)
    np.testing.assert_array_equal(
        unet.conv_in.bias, getattr(states, weights)["conv_in.bias"].numpy()
    )


def test_what_is_averaged_alone_is_not_taken_for_raw(tmp_path, states):
    path = save(tmp_path, {"ema": states.ema})
    check(path, ema=states.ema)
    with pytest.raises(ValueError, match=f"{path} holds no raw weights; choose --weights=ema"):
        formats.load_unet(path, weights="raw")
    path = save(tmp_path, prefixed(states.raw, "online_model."))
    with pytest.raises(ValueError, match="holds no averaged weights; choose --weights=raw"):
        formats.load_unet(path)


def test_names_of_modules_that_are_wrapped_one_by_one_are_read(tmp_path, states):
    inner = {"down.0.block": "down.0._orig_mod.block", "mid.": "mid._checkpoint_wrapped_module."}
    state = {}
    for name, value in states.raw.items():
        for plain, wrapped in inner.items():
            name = name.replace(plain, wrapped)
        state[f"module.{name}"] = value
    assert sum("_wrapped_module" in name for name in state) > 3
    check(save(tmp_path, state), ema=states.raw, raw=states.raw)


def test_other_lists_beside_averages_are_not_taken_for_weights(tmp_path, states):
    numbers = list(import_torch().ones(3))
    values = {"model": states.raw, "ema": {"model": states.ema, "losses": numbers}}
    check(save(tmp_path, values), ema=states.ema, raw=states.raw)


def test_one_of_several_averages_in_lists_is_refused(tmp_path, states):
    lists = [list(states.ema.values()), list(states.raw.values())]  # of two decays
    path = save(tmp_path, {"model": states.raw, "ema_params": lists})
    with pytest.raises(
        ValueError, match=r"averaged .*: \['ema_params'\]\[0\]; \['ema_params'\]\[1\]"
    ):
        formats.load_unet(path)


def test_an_ordered_dict_is_read(tmp_path, states):
    values = {"state_dict": collections.OrderedDict(states.raw)}
    check(save(tmp_path, values), ema=states.raw, raw=states.raw)


@pytest.mark.extras
@pytest.mark.parametrize(
    "fields",
    [
        {"ch_mult": (1, 2), "attn_resolutions": (8,), "num_res_blocks": 2},
        {"ch_mult": (1, 1, 1), "attn_resolutions": (4,), "num_res_blocks": 1},
    ],
)
def test_a_list_alone_is_named_in_the_order_of_the_parameters(tmp_path, log, fields):
    """Averages without names, and nothing beside them, of a module of the port."""
    torch = import_torch()
    from helpers.torch_port import Model

    torch.manual_seed(0)
    model = Model(ch=32, out_ch=3, in_channels=3, resolution=8, **fields)
    shadow = [parameter.detach().clone() for parameter in model.parameters()]
    path = save(tmp_path, {"ema": {"decay": 0.99, "num_updates": 3, "shadow_params": shadow}})
    check(path, ema=model.state_dict())
    text = "taken from ['ema']['shadow_params'], named in the order of the parameters."
    assert f"weights (ema) {text}" in log()
    with pytest.raises(ValueError, match="holds no raw weights; choose --weights=ema"):
        formats.load_unet(path, weights="raw")


def test_a_list_in_the_order_of_a_state_dict_of_here_is_named(tmp_path, states):
    check(save(tmp_path, {"shadow": list(states.ema.values())}), ema=states.ema)


# --- What is refused


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda raw, ema: {"generator": raw, "teacher": prefixed(ema, "module.")},
            r"which weights are meant.*: \['generator'\]; \['teacher'\], prefix module\.; save",
        ),
        (
            lambda raw, ema: {"ema_0.999": ema, "ema_0.9999": raw, "model": raw},
            r"which averaged weights are meant.*: \['ema_0.999'\]; \['ema_0.9999'\]; save the",
        ),
        (
            lambda raw, ema: {"a": raw, "b": ema, "ema": ema},
            r"which raw weights are meant.*: \['a'\]; \['b'\]; save",
        ),
        (
            lambda raw, ema: {**raw, **prefixed(ema, "teacher.")},
            r"which weights are meant.*: the top; prefix teacher\.;",
        ),
        (lambda raw, ema: [raw, ema], r"which weights are meant.*: \[0\]; \[1\];"),
        (
            lambda raw, ema: {"shadow": list(ema.values())[1:]},
            r"averaged weights in \['shadow'\] are a list of \d+ tensors without names: their sh",
        ),
        (
            lambda raw, ema: {"model": raw, "ema": {"shadow_params": list(ema.values())[1:]}},
            r"in \['ema'\]\['shadow_params'\] are a list of \d+ tensors without names",
        ),
        (lambda raw, ema: {"model": {"a": raw["conv_in.bias"]}}, "holds no state dict, a tensor"),
        (
            lambda raw, ema: prefixed({**raw, "scale": raw["conv_in.bias"]}, "net."),
            "hold scale, which this network does not have",
        ),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_the_candidates(tmp_path, states, make, message):
    path = save(tmp_path, make(states.raw, states.ema))
    with pytest.raises(ValueError, match=message) as error:
        formats.load_unet(path)
    assert path in str(error.value)
    with pytest.raises(ValueError, match=message):
        convert(path, str(tmp_path / "b.pt"), format="pytorch_diffusion")


def test_a_foreign_object_is_named(tmp_path, states):
    path = save(tmp_path, {"state_dict": states.raw, "hparams": types.SimpleNamespace(lr=1)})
    message = "it holds an object of types.SimpleNamespace, for which code would run; save tensors"
    with pytest.raises(ValueError, match=message):
        formats.load_unet(path)
