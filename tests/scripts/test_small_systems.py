"""Points, digits by class, sprites and embeddings from the command line, tiny and in earnest."""

import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from diffusion_tf.datasets.embeddings import digit_embeddings
from diffusion_tf.datasets.points import s_curve
from diffusion_tf.datasets.sprites import ATTRIBUTES
from helpers.energy import energy_distance
from helpers.processes import run
from helpers.sprite_attributes import measure

TINY = ["--ch=32", "--num_res_blocks=1", "--num_diffusion_timesteps=12", "--steps=3", "--warmup=1",
        "--batch_size=8", "--log_steps=1", "--jit_compile=off", "--grid_steps=0"]  # fmt: skip
POINTS = {"config.json", "data.json", "checkpoints", "losses.csv", "tensorboard", "samples.png",
          "panels.png", "trajectory.gif", "loss.png"}  # fmt: skip
IMAGES = POINTS - {"panels.png"} | {"trajectory.png", "interpolation.png"}


def trained(home, config, *flags):
    """Trains a tiny run in `home / config`."""
    result = run("train", f"--config={config}", f"--workdir={config}", *TINY, *flags, cwd=home)
    assert result.returncode == 0, result.stderr
    return {path.name for path in (home / config).iterdir()}


def run_uncompiled(script, *flags, cwd):
    """XLA would take longer to compile than these few steps take."""
    return run(script, "--jit_compile=off", *flags, cwd=cwd)


def refused(result):
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_points(tmp_path):
    assert trained(tmp_path, "s_curve") == POINTS
    with Image.open(tmp_path / "s_curve" / "trajectory.gif") as animation:
        assert animation.n_frames == 13  # T + 1, as there are no more
    result = run_uncompiled(
        "sample", "--workdir=s_curve", "--num_samples=9", "--batch_size=4",
        "--trajectory=11,5,0,-1", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        assert (arrays["arr_0"].shape, arrays["arr_0"].dtype) == ((9, 2), np.float32)
        samples = arrays["arr_0"]
    with np.load(tmp_path / "samples.trajectory.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (4, 4, 2)
        np.testing.assert_array_equal(arrays["images"][-1], samples[:4])
    with Image.open(tmp_path / "samples.trajectory.png") as picture:
        assert min(picture.size) > 100
    for flags, message in (
        (["--out=samples.png"], "Vectors are written to *.npz"),
        (["--conditions=3", "--out=a.npz"], "unconditional; it takes no conditions (3)"),
    ):
        assert message in refused(run("sample", "--workdir=s_curve", *flags, cwd=tmp_path))
    converted = run("convert", "--source=s_curve", "--target=t", "--format=tf1", cwd=tmp_path)
    assert "other formats know unconditional U-Nets only" in refused(converted)
    for script in ("interpolate", "evaluate"):
        assert "is a run on vectors" in refused(run(script, "--workdir=s_curve", cwd=tmp_path))


@pytest.mark.slow
def test_labels(tmp_path):
    names = trained(tmp_path, "digits_conditional", "--ch_mult=1")
    assert names == IMAGES | {"guidance.png"}
    outputs = []
    for flags in (["--batch_size=4"], ["--batch_size=4", "--guidance_scale=3"]):
        result = run_uncompiled(
            "sample", "--workdir=digits_conditional", "--num_samples=6", "--conditions=7,2",
            f"--out={len(outputs)}.npz", *flags, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        with np.load(tmp_path / f"{len(outputs)}.npz", allow_pickle=False) as arrays:
            np.testing.assert_array_equal(arrays["arr_1"], [7, 2, 7, 2, 7, 2])
            outputs.append(arrays["arr_0"])
    assert outputs[0].shape == (6, 8, 8, 1)
    result = run("sample", "--workdir=digits_conditional", "--conditions=10", cwd=tmp_path)
    assert "label 10; labels lie in 0..9" in refused(result)
    evaluated = run_uncompiled(
        "evaluate", "--workdir=digits_conditional", "--metrics=bpd,fid", "--num_samples=70",
        "--num_images=20", "--batch_size=20", cwd=tmp_path,
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    mixed = run_uncompiled(
        "interpolate", "--workdir=digits_conditional", "--timesteps=5", "--conditions=3",
        "--guidance_scale=2", cwd=tmp_path,
    )  # fmt: skip
    assert mixed.returncode == 0, mixed.stderr


@pytest.mark.slow
def test_sprites_of_ones_own(tmp_path):
    (tmp_path / "art").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    np.save(tmp_path / "art" / "images.npy", pixels)
    np.save(tmp_path / "art" / "vectors.npy", np.eye(12, 5))
    names = trained(tmp_path, "sprites", "--data_dir=art", "--ch_mult=1")
    assert names == IMAGES | {"guidance.png"}
    for damage, message in (
        (np.full([12, 5], np.nan), "not finite in 12 of 12 rows"),
        (np.eye(11, 5), "has 12 rows and"),
        (np.eye(12, 4), "set cond_dim to 4"),
    ):
        np.save(tmp_path / "art" / "vectors.npy", damage)
        result = run("train", "--config=sprites", "--data_dir=art", "--cond_dim=5", *TINY,
                     cwd=tmp_path)  # fmt: skip
        assert message in refused(result)
    sampled = run_uncompiled(
        "sample", "--workdir=sprites", "--num_samples=2", "--out=grid.png",
        "--conditions=1,0,0,0,0;0.5,0.5,0,0,0", cwd=tmp_path,
    )  # fmt: skip
    assert sampled.returncode == 0 and (tmp_path / "grid.png").exists(), sampled.stderr
    wrong = run("sample", "--workdir=sprites", "--conditions=1,0", cwd=tmp_path)
    assert "vectors: floats [batch, 5]" in refused(wrong)


@pytest.mark.slow
def test_embeddings_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "e.npz", x=rng.uniform(-1, 1, (20, 3)), y=rng.normal(size=(20, 2)))
    flags = ["--data_dir=e.npz", "--data_dim=3", "--cond_dim=2"]
    assert trained(tmp_path, "embeddings", *flags) == POINTS
    result = run_uncompiled(
        "sample", "--workdir=embeddings", "--num_samples=20", "--conditions=e.npz",
        "--guidance_scale=2", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        assert (arrays["arr_0"].shape, arrays["arr_1"].shape) == ((20, 3), (20, 2))
    assert "give them with --conditions" in refused(
        run("sample", "--workdir=embeddings", "--out=b.npz", cwd=tmp_path)
    )


def draw(home, workdir, number, *flags):
    """Samples of a run."""
    out = f"{workdir}-{time.monotonic_ns()}.npz"
    result = run(
        "sample", f"--workdir={workdir}", f"--num_samples={number}", f"--batch_size={number}",
        f"--out={out}", *flags, cwd=home, timeout=1800,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with np.load(home / out, allow_pickle=False) as arrays:
        return arrays["arr_0"]


def train(home, config):
    flags = [f"--config={config}", f"--workdir={config}", "--nopictures"]
    result = run("train", *flags, cwd=home, timeout=1800)
    assert result.returncode == 0, result.stderr


@pytest.mark.training
def test_samples_of_the_s_curve_are_as_near_to_fresh_points_as_those_to_each_other(tmp_path):
    train(tmp_path, "s_curve")
    samples = draw(tmp_path, "s_curve", 2000)
    fresh = [s_curve(2000, seed) for seed in range(100, 110)]
    distance = np.mean([energy_distance(samples, points) for points in fresh])
    yardstick = np.mean(
        [energy_distance(a, b) for a, b in zip(fresh[::2], fresh[1::2], strict=True)]
    )
    assert distance <= 2 * yardstick


@pytest.mark.training
def test_a_classifier_sees_the_digits_that_were_asked_for(tmp_path):
    train(tmp_path, "digits_conditional")
    digits = load_digits()
    classifier = SVC().fit(digits.data / 8 - 1, digits.target)
    agreement = {}
    for scale in (1, 2):
        samples = draw(tmp_path, "digits_conditional", 500, f"--guidance_scale={scale}")
        vectors = samples.reshape(500, 64) / 127.5 - 1
        agreement[scale] = np.mean(classifier.predict(vectors) == np.arange(500) % 10)
    assert agreement[1] >= 0.85 and agreement[2] >= 0.95


@pytest.mark.training
def test_embeddings_follow_their_conditions(tmp_path):
    """Digits that training has not seen: drawn vectors are near their embeddings, not others'."""
    train(tmp_path, "embeddings")
    x, y = (array[5::6] for array in digit_embeddings())
    np.save(tmp_path / "y.npy", y)
    samples = draw(tmp_path, "embeddings", len(y), "--conditions=y.npy")
    error = np.mean(np.square(samples - x))
    assert error < 0.1 * np.mean(np.square(x - x.mean(0)))


@pytest.mark.training
def test_sprites_follow_their_contexts(tmp_path):
    """Each attribute, switched on alone, is measured on the samples as it was asked for."""
    train(tmp_path, "sprites")
    off = np.full([1, 5], 0.5, np.float32).repeat(10, axis=0)
    for i in range(5):
        off[2 * i, i], off[2 * i + 1, i] = 0.0, 1.0
    np.save(tmp_path / "contexts.npy", off)
    samples = draw(tmp_path, "sprites", 160, "--conditions=contexts.npy")
    measured = measure(samples).reshape(16, 5, 2, 5).mean(axis=0)  # attribute, off or on, measure
    for i, name in enumerate(ATTRIBUTES):
        change = measured[i, 1] - measured[i, 0]
        assert change[i] > 0.5, name
        assert np.abs(np.delete(change, i)).max() < 0.3, name
