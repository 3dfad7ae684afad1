"""The original's checkpoints: one that it wrote, and those that are written here."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import PRESETS, Config, original
from diffusion_tf.convert import convert, load_unet, tf1
from diffusion_tf.convert.contents import Contents, same_bits
from diffusion_tf.convert.loading import load_model, newest_step
from diffusion_tf.convert.maps import weights_of
from helpers import golden_arrays
from helpers.original_kwargs import CELEBAHQ, CIFAR
from helpers.unets import build, randomise

GOLDEN = Path(golden_arrays.FOLDER) / "ckpt"
TINY = Config(image_size=8, channels=3, ch=32, ch_mult=(1,), loss_type="mse")


@pytest.fixture
def copy(tmp_path):
    """A copy of the golden checkpoint that may be changed."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "ckpt"))


@pytest.fixture
def tiny_networks(monkeypatch):
    """The networks that kwargs.json names, so small that the golden checkpoint is one of them."""
    for name in ("cifar10", "celebahq256"):
        small = replace(
            PRESETS[name](),
            image_size=8,
            ch=32,
            ch_mult=(1,),
            num_res_blocks=1,
            attn_resolutions=(),
            batch_size=2,
        )
        monkeypatch.setitem(original.PRESETS, name, lambda small=small: small)


def tensors(path):
    """Every tensor of a checkpoint, by TensorFlow's own reader."""
    reader = tf.train.load_checkpoint(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def write_tensors(folder, values, name="model.ckpt-5"):
    """Writes tensors as they are."""
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )


# --- Reading


@pytest.mark.parametrize("path", [GOLDEN, GOLDEN / "model.ckpt-5", GOLDEN / "model.ckpt-5.index"])
@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_the_golden_checkpoint_gives_the_originals_output(path, weights):
    expected = golden_arrays.load("ckpt_expected")
    output = load_unet(str(path), weights=weights)([expected["x"], expected["t"]])
    np.testing.assert_allclose(output, expected[f"output_{weights}"], rtol=0, atol=2e-5)


def test_raw_and_averaged_weights_differ():
    expected = golden_arrays.load("ckpt_expected")
    assert np.abs(expected["output_raw"] - expected["output_ema"]).max() > 0.01
    ema = load_unet(str(GOLDEN))([expected["x"], expected["t"]])  # ema unless told otherwise
    np.testing.assert_allclose(ema, expected["output_ema"], rtol=0, atol=2e-5)


def test_everything_is_read_under_the_path_of_here():
    contents, stored = tf1.read(str(GOLDEN)), tensors(GOLDEN)
    assert contents.step == 5
    name, path = "model/mid/attn_1/q/W", "mid/attn_1/q/kernel"
    np.testing.assert_array_equal(contents.weights["raw"][path], stored[name])
    ema = stored[f"{name}/ExponentialMovingAverage"]
    np.testing.assert_array_equal(contents.weights["ema"][path], ema)
    np.testing.assert_array_equal(contents.slots["Adam"][path], stored[f"{name}/Adam"])
    np.testing.assert_array_equal(contents.slots["Adam_1"][path], stored[f"{name}/Adam_1"])
    sets = [*contents.weights.values(), *contents.slots.values()]
    assert sum(map(len, sets)) + 3 == len(stored) == 299  # and the step and Adam's two powers


def test_the_newest_checkpoint_is_the_one_that_the_file_names(copy):
    older = replace(tf1.read(str(copy)), step=3)
    for step in (3, 12):
        tf1.write(str(copy), replace(older, step=step))
    assert tf1.newest(str(copy)).endswith("model.ckpt-12")
    (copy / "checkpoint").write_text('model_checkpoint_path: "gs://bucket/run/model.ckpt-3"\n')
    assert tf1.newest(str(copy)) == str(copy / "model.ckpt-3")
    (copy / "checkpoint").unlink()
    assert tf1.newest(str(copy)) == str(copy / "model.ckpt-12")  # by number, not by name
    assert tf1.read(str(copy / "model.ckpt-5")).step == 5


# --- Writing


def test_a_round_trip_changes_no_bit(tmp_path):
    tf1.write(str(tmp_path), tf1.read(str(GOLDEN)))
    before, after = tensors(GOLDEN), tensors(tmp_path)
    assert before.keys() == after.keys()
    for name, value in before.items():
        other = after[name]
        assert type(value) is type(other) and np.asarray(value).dtype == np.asarray(other).dtype
        assert np.asarray(value).tobytes() == np.asarray(other).tobytes(), name


def test_what_is_written_restores_name_by_name(tmp_path):
    unet = randomise(build(size=8, ch=32, ch_mult=(1, 2), attn_resolutions=(4,)))
    weights = weights_of(unet)
    averages = {path: value + 1 for path, value in weights.items()}
    tf1.write(str(tmp_path), Contents(path="", weights={"raw": weights, "ema": averages}, step=7))
    written = tensors(tmp_path / "model.ckpt-7")
    assert written.pop("global_step") == 7
    names = {golden_arrays.tf1_name(v.path): v.numpy() for v in unet.trainable_variables}
    assert len(written) == 2 * len(names)
    for name, value in names.items():
        np.testing.assert_array_equal(written[name], value)
        np.testing.assert_array_equal(written[f"{name}/ExponentialMovingAverage"], value + 1)


# --- Runs of the original


def test_load_model_takes_a_run_of_the_original(copy, tiny_networks):
    (copy / "kwargs.json").write_text(CIFAR)
    expected = golden_arrays.load("ckpt_expected")
    for weights in ("ema", "raw"):
        config, model, step = load_model(str(copy), weights=weights)
        assert (config.model_var_type, config.image_size, step) == ("fixedlarge", 8, 5)
        output = model([expected["x"], expected["t"]])
        np.testing.assert_allclose(output, expected[f"output_{weights}"], rtol=0, atol=2e-5)
        assert load_unet(str(copy), weights=weights).image_size == 8


def test_a_run_of_the_original_by_its_steps(copy, tiny_networks):
    (copy / "kwargs.json").write_text(CIFAR)
    assert newest_step(str(copy)) == 5
    moved = tf1.read(str(copy))
    moved.weights["ema"]["conv_out/bias"] += 1
    tf1.write(str(copy), replace(moved, step=12))
    assert newest_step(str(copy)) == load_model(str(copy))[2] == 12
    _, model, step = load_model(str(copy), step=5)
    expected = golden_arrays.load("ckpt_expected")
    output = model([expected["x"], expected["t"]])
    np.testing.assert_allclose(output, expected["output_ema"], rtol=0, atol=2e-5)
    assert step == 5
    with pytest.raises(FileNotFoundError, match="model.ckpt-7 holds no checkpoint"):
        load_model(str(copy), step=7)
    assert newest_step(str(copy / "nothing")) == 0


def test_a_run_with_a_block_size(tmp_path, tiny_networks):
    """Its first and last convolutions have the channels of whole blocks."""
    unet = randomise(build(size=8, ch=32, ch_mult=(1,), attn_resolutions=(), block_size=2))
    tf1.write(str(tmp_path), Contents(path="", weights={"ema": weights_of(unet)}, step=1))
    (tmp_path / "kwargs.json").write_text(json.dumps({**json.loads(CELEBAHQ), "block_size": 2}))
    x = np.random.RandomState(0).randn(2, 8, 8, 3).astype(np.float32)
    _, model, _ = load_model(str(tmp_path))
    t = np.array([0, 5])
    np.testing.assert_array_equal(model([x, t]), unet([x, t]))
    with pytest.raises(ValueError, match="holds no raw weights; choose --weights=ema"):
        load_model(str(tmp_path), weights="raw")


def test_a_run_goes_to_the_original_with_its_kwargs(copy, tiny_networks, tmp_path):
    (copy / "kwargs.json").write_text(CIFAR)
    convert(str(copy), str(tmp_path / "run"), format="workdir")
    convert(str(tmp_path / "run"), str(tmp_path / "back"), format="tf1")
    names = {path.name for path in (tmp_path / "back").iterdir()}
    assert names == {"checkpoint", "kwargs.json"} | {p.name for p in GOLDEN.glob("model.ckpt*")}
    (config, before, step), (other, after, same) = (
        load_model(str(tmp_path / name)) for name in ("run", "back")
    )
    assert (config, step) == (other, same)
    assert same_bits(weights_of(before), weights_of(after))


def test_weights_of_another_network_than_the_runs_are_refused(copy):
    (copy / "kwargs.json").write_text(CIFAR)
    with pytest.raises(ValueError, match=r"ch 32, not 128; ch_mult \(1,\), not \(1, 2, 2, 2\)"):
        load_model(str(copy))


# --- What is wrong


def test_averages_that_are_not_there_are_missed(tmp_path):
    values = {n: v for n, v in tensors(GOLDEN).items() if "Exponential" not in n}
    write_tensors(tmp_path, values)
    load_unet(str(tmp_path), weights="raw")
    with pytest.raises(ValueError, match=r"ckpt-5 holds no averaged weights; choose --weights=raw"):
        load_unet(str(tmp_path))
    for format, name in (
        ("workdir", "run"),
        ("tf1", "tf1"),
        ("pytorch_diffusion", "a.safetensors"),
    ):
        with pytest.raises(ValueError, match="holds no averaged weights; choose --weights=raw"):
            convert(str(tmp_path), str(tmp_path / name), format=format, config=TINY)
    convert(str(tmp_path), str(tmp_path / "run"), format="workdir", weights="raw", config=TINY)
    _, model, _ = load_model(str(tmp_path / "run"))  # the averages are the raw weights now
    np.testing.assert_array_equal(weights_of(model)["conv_in/kernel"], values["model/conv_in/W"])


@pytest.mark.parametrize("ending, size", [("data-00000-of-00001", 1000), ("index", 100)])
def test_a_truncated_checkpoint_is_named(copy, ending, size):
    path = copy / f"model.ckpt-5.{ending}"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"Checkpoint .*model.ckpt-5 is damaged \(.*\); copy it"):
        load_unet(str(copy))


def test_what_the_original_does_not_write_is_named(tmp_path):
    values = tensors(GOLDEN)
    write_tensors(tmp_path, {**values, "generator/w": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="not a checkpoint of the original; it holds generator/w"):
        load_unet(str(tmp_path))
    write_tensors(tmp_path, {"global_step": np.int64(5)})
    with pytest.raises(ValueError, match="is not a checkpoint of the original; it holds no model/"):
        load_unet(str(tmp_path))


def test_what_is_missing_is_named(tmp_path):
    values = tensors(GOLDEN)
    lacking = {n: v for n, v in values.items() if n != "model/conv_in/W/Adam_1"}
    write_tensors(tmp_path, lacking)
    with pytest.raises(ValueError, match="is not complete; it lacks model/conv_in/W/Adam_1"):
        load_unet(str(tmp_path))
    write_tensors(tmp_path, {n: v for n, v in values.items() if "norm_out/beta" not in n})
    with pytest.raises(ValueError, match=r"another architecture: they lack norm_out/beta\."):
        load_unet(str(tmp_path))


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    (tmp_path / "kwargs.json").write_text(CIFAR)
    for load in (load_unet, load_model):
        with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no checkpoint of the orig"):
            load(str(tmp_path))


@pytest.mark.parametrize("step", [np.int64(-1), np.float32(np.nan), np.int64([1, 2]), b"x"])
def test_steps_that_cannot_be_are_refused(tmp_path, step):
    write_tensors(tmp_path, {**tensors(GOLDEN / "model.ckpt-5"), "global_step": step})
    with pytest.raises(ValueError, match=r"global_step in .*model.ckpt-5 is "):
        tf1.read_weights(str(tmp_path), "raw")


def test_a_state_file_that_is_garbage_does_not_matter(copy):
    (copy / "checkpoint").write_bytes(b"\x80\x93\xff")
    assert tf1.newest(str(copy)) == str(copy / "model.ckpt-5")
