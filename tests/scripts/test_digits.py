"""The default run, a third of it and whole: train.py with `digits`, then samples, 256 each way."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from diffusion_tf.evaluation.metrics.fid import Moments, frechet_distance

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script, *flags, cwd):
    subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", "--workdir=digits", *flags], cwd=cwd, check=True
    )


def draw(folder, number, *flags):
    size = f"--num_samples={number}"
    run("sample", size, "--batch_size=256", "--overwrite", *flags, cwd=folder)
    with np.load(folder / "samples.npz", allow_pickle=False) as arrays:
        return arrays["arr_0"].reshape(number, 64) / 127.5 - 1


def distance(samples, real):
    """The Frechet distance of pixels: 256 real digits to the rest 0.5 to 0.6, noise above 20."""
    statistics = []
    for vectors in (samples, real):
        moments = Moments()
        moments.update(vectors)
        statistics.append(moments.statistics())
    return frechet_distance(*statistics)


def of_four(folder, real, *flags):
    """The mean distance of four sets of 256 samples."""
    parts = np.split(draw(folder, 1024, *flags), 4)
    return np.mean([distance(part, real) for part in parts])


def real_digits():
    return load_digits().images.reshape(-1, 64) / 8 - 1


@pytest.mark.slow
def test_samples_of_a_third_of_the_default_run_look_like_digits(tmp_path):
    """0.72 and 0.81 were seen."""
    run("train", "--steps=2000", "--nopictures", cwd=tmp_path)
    samples = draw(tmp_path, 256)
    assert distance(samples, real_digits()) <= 1.0
    with_noise = draw(tmp_path, 256, "--sampler=ddim", "--sampling_steps=50", "--eta=0.5")
    assert distance(with_noise, real_digits()) <= 1.5 * distance(samples, real_digits())


@pytest.mark.training
def test_samples_of_the_default_run_look_like_digits(tmp_path):
    run("train", cwd=tmp_path)
    samples = draw(tmp_path, 256)
    real = real_digits()
    assert distance(samples, real) <= 1.0
    with_noise = draw(tmp_path, 256, "--sampler=ddim", "--sampling_steps=50", "--eta=0.5")
    assert distance(with_noise, real) <= 1.5 * distance(samples, real)
    # Without noise the distance of 256 samples differs by an eighth from draw to draw.
    ddim = of_four(tmp_path, real, "--sampler=ddim", "--sampling_steps=50")
    assert ddim <= 1.5 * distance(samples, real)
    # In 20 steps of second order about as near. By chance two such means differ by a tenth (one
    # standard error: an eighth of each distance, four of them, twice); a quarter is 2.5 of these.
    assert of_four(tmp_path, real, "--sampler=dpmpp_2m", "--sampling_steps=20") <= 1.25 * ddim

    # On real digits that it has not seen it is 0.89 sure. Of samples it should be, too: 0.85, and
    # 0.02 less for the chance of 256 samples (one standard error is 0.011).
    classifier = SVC(probability=True, random_state=0).fit(real[:1200], load_digits().target[:1200])
    assert classifier.predict_proba(samples).max(axis=1).mean() >= 0.83
