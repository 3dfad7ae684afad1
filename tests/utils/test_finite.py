"""What is not finite: refused by name wherever weights come in and pictures go out."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert import convert, diffusers_pipeline, load_unet, pytorch_diffusion, tf1
from diffusion_tf.convert import workdir as workdirs
from diffusion_tf.convert.architecture import build_from_config
from diffusion_tf.convert.loading import load_model
from diffusion_tf.convert.state_files import read_state_dict, write_state_dict
from diffusion_tf.datasets import InMemory, get_dataset
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling import files, pictures
from diffusion_tf.sampling.point_pictures import write_point_pictures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training import loop as training
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.finite import NotFiniteError, as_float32, check_finite
from helpers import golden_arrays
from helpers.processes import run
from helpers.rows import mostly_slow

GOLDEN = str(Path(golden_arrays.FOLDER) / "ckpt")
CONFIG = Config(
    image_size=8, channels=3, ch=32, ch_mult=(1,), attn_resolutions=(), num_diffusion_timesteps=4
)
BAD = {
    "NaN": (np.float32, np.nan),
    "infinity": (np.float32, -np.inf),
    "beyond float32": (np.float64, 1e39),
    "float16's infinity": (np.float16, np.inf),
}


def test_how_many_are_not_finite():
    values = np.zeros((6, 2, 2, 1))
    check_finite(values, "samples")
    values[4, 1, 1, 0], values[2] = np.inf, np.nan
    with pytest.raises(NotFiniteError, match="^2 of 6 samples are not finite"):
        check_finite(values, "samples")


def test_weights_of_any_real_type_become_float32():
    for dtype in (np.float16, np.float64, np.int64, bool):
        value = as_float32(np.array([0, 1], dtype), "w")
        assert value.dtype == np.float32 and value.tolist() == [0, 1]
    largest = np.finfo(np.float32).max
    assert as_float32(np.float64(largest), "w") == largest
    with pytest.raises(NotFiniteError, match="w holds 1 of 3 values .* the first 1e[+]?39; "):
        as_float32(np.array([1, 1e39, 2]), "w")


# --- Weights that come in


@pytest.fixture(scope="module")
def contents():
    return tf1.read(GOLDEN)


@pytest.fixture(scope="module")
def state(contents):
    unet = build_from_config(CONFIG, contents.chosen("ema"))
    return pytorch_diffusion.state_dict_of(unet)


def damaged(value, kind):
    """A copy with one number that is not finite in float32."""
    dtype, number = BAD[kind]
    value = value.astype(dtype)
    value.flat[1] = number
    return value


def write_state(path, state, kind, name="conv_in.weight"):
    write_state_dict(str(path), {**state, name: damaged(state[name], kind)})
    return str(path)


@pytest.mark.extras
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_state_dicts_name_the_tensor(tmp_path, state, ending, kind):
    pytest.importorskip("safetensors" if ending == "safetensors" else "torch")
    source = write_state(tmp_path / f"a.{ending}", state, kind)
    for use in (load_unet, lambda path: convert(path, str(tmp_path / "b.pt"),
                                                format="pytorch_diffusion")):  # fmt: skip
        with pytest.raises(ValueError, match=r"conv_in.weight in .*a\..* holds 1 of 864 values"):
            use(source)
    assert os.listdir(tmp_path) == [f"a.{ending}"]


@pytest.mark.extras
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_complex_tensors_keep_no_half(tmp_path, ending):
    if ending == "pt":
        torch = pytest.importorskip("torch")
        torch.save({"w": torch.tensor([1 + 2j])}, tmp_path / "a.pt")
    else:
        package = pytest.importorskip("safetensors.numpy")
        package.save_file({"w": np.array([1 + 2j], np.complex64)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"w in .*dtype .*complex64; weights are real|complex|C64"):
        read_state_dict(str(tmp_path / f"a.{ending}"))


@pytest.mark.extras
def test_tensors_without_plain_values_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"w in .*a.pt is sparse; save it as a dense tensor"):
        read_state_dict(str(tmp_path / "a.pt"))


@pytest.mark.extras
@pytest.mark.parametrize("kind", BAD)
def test_folders_of_diffusers_name_the_tensor(tmp_path, contents, kind):
    pytest.importorskip("safetensors")
    unet = build_from_config(CONFIG, contents.chosen("ema"))
    diffusers_pipeline.save_pipeline(str(tmp_path / "ddpm"), unet, CONFIG)
    file = tmp_path / "ddpm/unet/diffusion_pytorch_model.safetensors"
    write_state(file, read_state_dict(str(file)), kind, name="conv_out.bias")
    for use in (load_unet, lambda path: convert(path, str(tmp_path / "run"), format="workdir")):
        with pytest.raises(ValueError, match=r"conv_out.bias in .* holds 1 of 3 values"):
            use(str(tmp_path / "ddpm"))
    assert os.listdir(tmp_path) == ["ddpm"]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("part", ["", "/ExponentialMovingAverage", "/Adam"])
def test_checkpoints_of_the_original_name_the_tensor(tmp_path, part, kind):
    reader = tf.train.load_checkpoint(GOLDEN)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    name = f"model/conv_in/b{part}"
    tensors[name] = damaged(tensors[name], kind)
    source = str(tmp_path / "model.ckpt-5")
    tf.raw_ops.SaveV2(
        prefix=source, tensor_names=list(tensors), shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )  # fmt: skip
    message = rf"{name} in .*model.ckpt-5 holds 1 of 32 values that are not finite"
    with pytest.raises(ValueError, match=message):
        convert(source, str(tmp_path / "run"), format="workdir", config=CONFIG)
    assert not (tmp_path / "run").exists()
    for weights, damaged_part in (("raw", ""), ("ema", "/ExponentialMovingAverage")):
        if part == damaged_part:
            with pytest.raises(ValueError, match=message):
                load_unet(source, weights=weights)
        else:
            load_unet(source, weights=weights)


@pytest.fixture
def bad_run(tmp_path, contents):
    """A workdir whose averaged weights hold a NaN."""
    ema = dict(contents.weights["ema"])
    ema["conv_out/bias"] = damaged(ema["conv_out/bias"], "NaN")
    bad = dataclasses.replace(contents, weights={"raw": contents.weights["raw"], "ema": ema})
    workdirs.write(str(tmp_path / "run"), bad, CONFIG)
    return tmp_path / "run"


def test_workdirs_name_the_tensor(tmp_path, bad_run):
    message = r"conv_out/bias \(ema\) in .*run.* holds 1 of 3 values that are not finite"
    for use in (load_model, load_unet, workdirs.read,
                lambda path: convert(path, str(tmp_path / "tf1"), format="tf1")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            use(str(bad_run))
    load_model(str(bad_run), weights="raw")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "script, flags",
    mostly_slow([
        ("sample", ["--workdir=run", "--num_samples=2", "--out=taken.npz", "--overwrite"]),
        ("interpolate", ["--workdir=run", "--out=taken.png", "--overwrite"]),
        ("convert", ["--source=run", "--target=taken.npz", "--format=pytorch_diffusion",
                     "--overwrite"]),
        ("evaluate", ["--workdir=run", "--metrics=fid", "--num_samples=2", "--out=e"]),
    ], lambda script, flags: script in ("sample", "convert")),
)  # fmt: skip
def test_scripts_end_with_the_tensors_name_and_write_nothing(tmp_path, bad_run, script, flags):
    for name in ("taken.npz", "taken.png"):
        (tmp_path / name).write_text("precious")
    result = run(script, *flags, cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "conv_out/bias (ema) in" in result.stderr.strip().splitlines()[-1]
    assert sorted(os.listdir(tmp_path)) == ["run", "taken.npz", "taken.png"]
    for name in ("taken.npz", "taken.png"):
        assert (tmp_path / name).read_text() == "precious"


# --- What is drawn


class Overflowing:
    """What is needed of a network; of a batch it spoils the samples of some numbers."""

    def __init__(self, *spoiled, value=np.nan):
        self.spoiled, self.value = spoiled, np.float32(value)

    def __call__(self, inputs, training=False):
        x = inputs[0]
        number = tf.range(tf.shape(x)[0])
        bad = tf.reduce_any(number[:, None] == tf.constant(self.spoiled, tf.int32)[None], axis=1)
        return tf.where(tf.reshape(bad, [-1] + [1] * (len(x.shape) - 1)), self.value, 0.5 * x)

    def get_weights(self):
        return [np.float32(0.5)]


DIFFUSION = get_diffusion(get_config("digits", num_diffusion_timesteps=4))
FLAGS = {"origin": {"step": 5}, "num_samples": 8, "batch_size": 4}


def sampler_of(network, sample_shape=(8, 8, 1), **choices):
    return Sampler(model=network, process=DIFFUSION, sample_shape=sample_shape, **choices)


@pytest.mark.parametrize(
    "out, flags, what",
    [
        ("s.npz", {}, "samples of shard 0 of 2"),
        ("s.npz", {"float32": True}, "samples of shard 0 of 2"),
        ("s.npz", {"sample_shape": (5,)}, "samples of shard 0 of 2"),
        ("s.png", {}, "samples of shard 0 of 2"),
        ("s", {}, "samples of shard 0 of 2"),
        ("s.npz", {"progressive": 2}, "samples .predictions of x_0, shard 0"),
        ("s.npz", {"trajectory": (3, -1)}, "samples .their trajectory, shard 0"),
        ("s.npz", {"sample_shape": (5,), "trajectory": (1, -1)}, "samples .their trajectory"),
    ],
)
@pytest.mark.parametrize("value", mostly_slow([np.nan, np.inf, -np.inf], np.isnan))
def test_samples_that_are_not_finite_are_counted_and_not_written(
    tmp_path, monkeypatch, value, out, flags, what
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").write_text("precious")
    flags = dict(flags)
    sampler = sampler_of(
        Overflowing(1, 3, value=value), sample_shape=flags.pop("sample_shape", (8, 8, 1))
    )
    with pytest.raises(NotFiniteError, match=rf"^2 of 4 {what}"):
        files.write_samples(out, sampler, **FLAGS, **flags)
    assert os.listdir() == ["other"]


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_outputs_that_overflow_are_not_clipped_to_a_picture(tmp_path, contents, jit_compile):
    """The weights are finite, and the last layer's products are not."""
    weights = dict(contents.weights["ema"])
    weights["conv_out/kernel"] = np.full_like(weights["conv_out/kernel"], 3e38)
    unet = build_from_config(CONFIG, weights)
    sampler = sampler_of(unet, (8, 8, 3), jit_compile=jit_compile)
    with pytest.raises(NotFiniteError, match="4 of 4 samples of shard 0"):
        files.write_samples(str(tmp_path / "s.npz"), sampler, **FLAGS)
    assert not os.listdir(tmp_path)


def test_what_was_there_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_samples("s.npz", sampler_of(Overflowing()), **FLAGS)
    before = Path("s.npz").read_bytes()
    with pytest.raises(NotFiniteError):
        files.write_samples("s.npz", sampler_of(Overflowing(2)), overwrite=True, **FLAGS)
    assert os.listdir() == ["s.npz"] and Path("s.npz").read_bytes() == before


def test_pictures_of_what_is_not_finite_are_not_drawn(tmp_path):
    bad = sampler_of(Overflowing(0, 2))
    with pytest.raises(NotFiniteError, match="2 of 4 samples are"):
        pictures.write_trajectory_picture(str(tmp_path / "t.png"), bad, 4)
    with pytest.raises(NotFiniteError, match="2 of 16 samples of the grid"):
        pictures.grid_drawer(bad)()
    ends = np.zeros((2, 8, 8, 1), np.uint8)
    with pytest.raises(NotFiniteError, match="2 of 6 mixtures at t=1 are"):
        pictures.draw_interpolations(bad, ends, ends, timesteps=[1], num_lambdas=3)
    assert not os.listdir(tmp_path)


def test_pictures_of_points_that_are_not_finite_are_not_drawn(tmp_path):
    config = get_config("s_curve", num_diffusion_timesteps=4)
    points = InMemory(np.random.default_rng(0).uniform(-1, 1, (9, 2)).astype(np.float32))
    with pytest.raises(NotFiniteError, match="1 of 9 samples are not finite"):
        write_point_pictures(str(tmp_path), config, Sampler.of_run(config, Overflowing(4)), points)
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_a_grid_that_is_not_finite_is_left_out_and_the_training_goes_on(
    tmp_path, monkeypatch, caplog
):
    draw = pictures.grid_drawer(sampler_of(Overflowing(5)))
    monkeypatch.setattr(training, "grid_drawer", lambda *_, **__: draw)
    config = get_config(
        "digits", ch=32, ch_mult=(1,), attn_resolutions=(), batch_size=4, steps=2, grid_steps=1,
        num_diffusion_timesteps=4, log_steps=1,
    )  # fmt: skip
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    training.train(trainer, get_dataset(config), str(tmp_path / "run"))
    assert int(trainer.step) == 2
    assert "No grid of samples at step 1: 1 of 16 samples of the grid are not fin" in caplog.text
