"""The default run, whole: train.py with the `digits` preset, then 256 samples from it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from diffusion_tf.metrics.fid import Moments, frechet_distance

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.mark.slow
def test_samples_of_the_default_run_look_like_digits(tmp_path):
    for script, flags in (
        ("train", ["--workdir=digits"]),
        ("sample", ["--workdir=digits", "--num_samples=256", "--batch_size=256", "--out=s.npz"]),
    ):
        subprocess.run([sys.executable, SCRIPTS / f"{script}.py", *flags], cwd=tmp_path, check=True)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        samples = arrays["arr_0"].reshape(256, 64) / 127.5 - 1
    digits = load_digits()
    real = digits.images.reshape(-1, 64) / 8 - 1

    # 256 real digits against the rest: 0.5 to 0.6. Noise instead of samples: above 20.
    statistics = []
    for vectors in (samples, real):
        moments = Moments()
        moments.update(vectors)
        statistics.append(moments.statistics())
    assert frechet_distance(*statistics) <= 1.0

    # On real digits that it has not seen it is 0.89 sure. Of samples it should be, too: 0.85, and
    # 0.02 less for the chance of 256 samples (one standard error is 0.011).
    classifier = SVC(probability=True, random_state=0).fit(real[:1200], digits.target[:1200])
    assert classifier.predict_proba(samples).max(axis=1).mean() >= 0.83
