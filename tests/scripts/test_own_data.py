"""Own photographs and vectors, from the command line: trained, sampled by name, evaluated."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.convert.loading import load_model
from diffusion_tf.datasets import get_fitted_dataset
from diffusion_tf.datasets.record import DataRecord
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import sample
from diffusion_tf.training.loop import train
from diffusion_tf.training.trainer import Trainer
from helpers.processes import TINY, run, sentence

TINY_POINTS = [
    "--num_diffusion_timesteps=12", "--ch=32", "--batch_size=8", "--steps=2", "--log_steps=1",
    "--steps_per_call=1", "--jit_compile=off",
]  # fmt: skip


def done(script, *arguments, cwd):
    result = run(script, *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result


def photographs(folder, number=16):
    rng = np.random.default_rng(0)
    for i in range(number):
        path = folder / ("$cats" if i % 2 else "dogs & <more>") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(path)


@pytest.mark.slow
def test_photographs_by_the_names_of_their_classes(tmp_path):
    photographs(tmp_path / "photos")
    names = ["$cats", "dogs & <more>"]
    flags = ["--config=folder", "--workdir=run", "--labels=subfolders", "--test_fraction=0.4",
             "--image_size=8", "--num_res_blocks=1", "--dropout=0", "--cond_drop_prob=0.1",
             "--steps=2", *TINY]  # fmt: skip
    done("train", *flags, "--data_dir=photos", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["num_classes"] == 2
    assert DataRecord.load(str(tmp_path / "run")).class_names == tuple(names)
    assert (tmp_path / "run" / "guidance.png").exists()
    draw = ["--workdir=run", "--num_samples=3", "--batch_size=3", "--jit_compile=off"]
    done("sample", *draw, "--conditions=dogs & <more>,$cats", cwd=tmp_path)
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arr_1"], [1, 0, 1])
    wrong = run("sample", *draw, "--conditions=cats", "--out=b.npz", cwd=tmp_path)
    assert "'cats' is not a class of this run (did you mean '$cats'?); it has $c" in sentence(wrong)
    done("evaluate", "--workdir=run", "--data_dir=photos", "--metrics=fid", "--features=pixels",
         "--num_samples=4", "--batch_size=4", "--jit_compile=off", "--cache_dir=cache",
         "--conditions=$cats", cwd=tmp_path)  # fmt: skip
    splits = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())["data"]["splits"]
    counts = [splits[split]["classes"] for split in ("train", "test")]
    assert sum(count["$cats"] for count in counts) == 8
    assert [count["dogs & <more>"] for count in counts] == [0, 0]
    assert "dogs &amp; &lt;more&gt;" in (tmp_path / "run/evaluation/report.html").read_text()
    (tmp_path / "photos" / "$cats" / "1.png").unlink()
    again = run("train", *flags, "--data_dir=photos", "--steps=3", cwd=tmp_path)
    assert "holds a run on other data" in sentence(again)
    other = run("train", *flags, "--data_dir=photos", "--lr=0.5", cwd=tmp_path)
    assert "lr 0.01 there, 0.5 here" in sentence(other)
    assert "--warm_start=run to begin it" in sentence(other)
    wrong = run("train", *flags, "--data_dir=photos", "--num_classes=3", cwd=tmp_path)
    assert "num_classes is 3, but photos has 2 classes" in sentence(wrong)


def test_vectors_come_back_on_their_own_scale(tmp_path):
    x = np.random.default_rng(0).normal([50, -1e4], [7, 1e-3], (40, 2))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", fmt="%.17g")
    done("train", "--config=vectors", "--workdir=run", "--data_dir=x.csv", *TINY_POINTS,
         cwd=tmp_path)  # fmt: skip
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data_dim"] == 2
    draw = ["--workdir=run", "--num_samples=20", "--batch_size=20", "--jit_compile=off"]
    done("sample", *draw, "--trajectory=11,-1", cwd=tmp_path)
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        samples = arrays["arr_0"]
    with np.load(tmp_path / "samples.trajectory.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["images"][-1], samples, rtol=1e-5)
        noise = arrays["images"][0]
    distance = np.abs(noise - x.mean(axis=0)) / x.std(axis=0)
    assert 0.3 < distance[:, 0].mean() < 2 and distance.max() < 7  # noise, on the data's scale
    for name in ("samples.png", "panels.png", "trajectory.gif"):
        assert (tmp_path / "run" / name).exists()
    (tmp_path / "run" / "data.json").unlink()
    lost = run("sample", *draw, "--out=b.npz", cwd=tmp_path)
    assert "data.json is missing, which holds the mean and the scale" in sentence(lost)


@pytest.mark.training
def test_moments_of_heavy_tails_far_from_0(tmp_path):
    """Mean 50, deviation 7, Student's t with 5 degrees of freedom, correlated; none is clipped."""
    rng = np.random.default_rng(0)
    mix = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0.3, 0.95, 0], [0, 0, -0.5, 0.87]])
    x = 50 + 7 * rng.standard_t(5, (8000, 4)) / np.sqrt(5 / 3) @ mix.T
    np.save(tmp_path / "x.npy", x)
    config = get_config("vectors", ch=128, steps=8000, ema_decay=0.999)
    config, dataset = get_fitted_dataset(config, str(tmp_path / "x.npy"), ["data_dim"])
    train(
        Trainer(config, tf.distribute.get_strategy(), jit_compile=True),
        dataset,
        str(tmp_path / "r"),
    )
    _, model, _ = load_model(str(tmp_path / "r"))
    scaling = DataRecord.load(str(tmp_path / "r")).scaling
    sampler = Sampler.of_run(config, model, jit_compile=True, scaling=scaling)
    sampler = dataclasses.replace(sampler, clip_denoised=False)
    check_moments(np.concatenate(list(sample(sampler, 8000, 8000))), x)


def check_moments(samples, x):
    """Means and deviations within noise; tails that are as heavy."""
    assert np.abs(samples.mean(axis=0) - x.mean(axis=0)).max() < 0.5
    np.testing.assert_allclose(samples.std(axis=0), x.std(axis=0), rtol=0.06)
    np.testing.assert_allclose(np.corrcoef(samples.T), np.corrcoef(x.T), atol=0.06)
    beyond = [np.mean(np.abs(v - x.mean(axis=0)) > 3 * x.std(axis=0)) for v in (samples, x)]
    assert 0.5 < beyond[0] / beyond[1] < 2  # three times as many as a Gaussian has
