"""Frechet distance and Inception score against closed forms and other formulas."""

import importlib
import sys
import types
import warnings

import numpy as np
import pytest
from scipy import linalg

from diffusion_tf.evaluation.metrics.fid import (
    InceptionScore,
    Moments,
    Statistics,
    frechet_distance,
)

pytestmark = pytest.mark.filterwarnings("error")  # of NumPy: nothing may overflow or turn complex


def correlated(number, dimension, seed):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dimension, dimension))
    return rng.normal(size=(number, dimension)) @ mix + rng.normal(size=dimension)


def statistics(features, batch_size=10**9):
    moments = Moments()
    for start in range(0, len(features), batch_size):
        moments.update(features[start : start + batch_size])
    return moments.statistics()


def textbook_distance(a, b):
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    spread = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + spread - 2 * np.trace(root).real


def test_distance_of_diagonal_gaussians():
    # |(3, 4)|^2 + (1 - 2)^2 + (3 - 5)^2
    a = Statistics(np.array([0.0, 0.0]), np.diag([1.0, 9.0]), 100)
    b = Statistics(np.array([3.0, 4.0]), np.diag([4.0, 25.0]), 100)
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 4, rel=1e-14)


def test_distance_of_two_gaussians_by_hand():
    # C_a C_b = [[8, 2], [4, 4]] has determinant 24 and trace 12; the trace of the root of a 2x2
    # matrix is sqrt(trace + 2 sqrt(determinant)).
    a = Statistics(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]), 10)
    b = Statistics(np.ones(2), np.diag([4.0, 2.0]), 10)
    product = a.covariance @ b.covariance
    np.testing.assert_array_equal(product, [[8, 2], [4, 4]])
    expected = 2 + 4 + 6 - 2 * np.sqrt(12 + 2 * np.sqrt(24))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-13)


def test_distance_is_that_of_the_textbook():
    a, b = correlated(400, 24, 0), correlated(300, 24, 1)
    distance = frechet_distance(statistics(a), statistics(b))
    assert distance == pytest.approx(textbook_distance(a, b), rel=1e-9)
    assert distance == pytest.approx(frechet_distance(statistics(b), statistics(a)), rel=1e-12)


@pytest.mark.extras
def test_distance_is_that_of_pytorch_fid(monkeypatch):
    """Its formula alone, without the network, for which it wants torchvision."""
    pytest.importorskip("pytorch_fid")
    for name, attribute in (
        ("torchvision", "transforms"),
        ("torchvision.transforms", "ToTensor"),
        ("pytorch_fid.inception", "InceptionV3"),
    ):
        module = types.ModuleType(name)
        setattr(module, attribute, types.SimpleNamespace(BLOCK_INDEX_BY_DIM={}))
        monkeypatch.setitem(sys.modules, name, module)
    fid_score = importlib.import_module("pytorch_fid.fid_score")
    a, b = statistics(correlated(400, 24, 0)), statistics(correlated(300, 24, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, what for is theirs to know
        theirs = fid_score.calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("number", [5, 500])
def test_a_set_is_at_no_distance_from_itself(number):
    a = statistics(correlated(number, 20, 0))
    assert 0 <= frechet_distance(a, a) <= 1e-11 * np.trace(a.covariance)


def test_fewer_samples_than_dimensions():
    a, b = correlated(12, 40, 0), correlated(15, 40, 1)
    # With X centred and scaled, C = X^T X, and the trace of the root is the nuclear norm of
    # X_a X_b^T: 12 by 15 numbers, none of them a rounding error.
    x, y = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (a, b))
    spread = np.sum(x**2) + np.sum(y**2) - 2 * np.linalg.norm(x @ y.T, "nuc")
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + spread
    distance = frechet_distance(statistics(a), statistics(b))
    assert distance == pytest.approx(expected, rel=1e-12)
    assert distance == pytest.approx(textbook_distance(a, b), rel=1e-4)


def test_images_that_are_all_the_same_have_a_distance():
    a, b = statistics(np.full((5, 3), 2.0)), statistics(np.full((4, 3), 1.0))
    assert frechet_distance(a, b) == 3.0
    assert frechet_distance(a, statistics(correlated(50, 3, 0))) > 0


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_batches_give_mean_and_covariance_of_the_whole(shift):
    plain = correlated(101, 7, 0)
    features = plain + shift
    stats = statistics(features, batch_size=10)  # the last batch is a single sample
    np.testing.assert_allclose(stats.mean, features.mean(0), rtol=1e-13)
    np.testing.assert_allclose(stats.covariance, np.cov(plain, rowvar=False), rtol=1e-8, atol=1e-8)
    assert stats.num_samples == 101


def test_float32_features_are_gathered_in_float64():
    features = (correlated(200, 5, 0) + 1000).astype(np.float32)
    stats = statistics(features, batch_size=7)
    expected = np.cov(features.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(stats.covariance, expected, rtol=1e-11)


def test_merged_moments_are_those_of_the_whole():
    features = correlated(90, 6, 0)
    parts = [Moments() for _ in range(3)]
    parts[0].update(features[:20])
    parts[2].update(features[20:])
    before = parts[2].statistics()
    for part in parts[1:]:
        parts[0].merge(part)
    parts[1].merge(parts[2])
    for merged, whole in ((parts[0], features), (parts[1], features[20:])):
        np.testing.assert_allclose(merged.statistics().mean, whole.mean(0), rtol=1e-12)
        expected = np.cov(whole, rowvar=False)
        np.testing.assert_allclose(merged.statistics().covariance, expected, rtol=1e-11)
    parts[1].update(features)
    np.testing.assert_array_equal(parts[2].statistics().covariance, before.covariance)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 3, 1))])
def test_features_of_another_shape_are_refused(bad):
    with pytest.raises(ValueError, match=r"features have shape .*must be \[B, D\]"):
        Moments().update(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    features = np.zeros((4, 3))
    features[2, 1] = value
    with pytest.raises(ValueError, match="1 of 4 samples are not finite.* index 2"):
        Moments().update(features)


def test_other_dimensions_are_refused():
    moments, other = Moments(), Moments()
    moments.update(np.zeros((2, 3)))
    other.update(np.zeros((2, 4)))
    for act in (
        lambda: moments.update(np.zeros((1, 4))),
        lambda: moments.merge(other),
        lambda: frechet_distance(moments.statistics(), other.statistics()),
    ):
        with pytest.raises(ValueError, match="Vectors of 3 and of 4 dimensions"):
            act()


@pytest.mark.parametrize("number", [0, 1])
def test_one_sample_has_no_covariance(number):
    moments = Moments()
    if number:
        moments.update(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=f"at least 2 samples; there are {number}"):
        moments.statistics()


def test_a_distance_from_few_samples_comes_with_a_warning():
    assert "2 samples are fewer than the 3" in statistics(np.eye(3)[:2]).warning
    assert statistics(np.eye(3)).warning == ""
    assert "do not say" in Statistics(np.zeros(1), np.ones((1, 1)), None).warning


def test_statistics_survive_a_file(tmp_path):
    stats = statistics(correlated(30, 4, 0))
    stats.save(tmp_path / "new" / "a.npz")
    loaded = Statistics.load(tmp_path / "new" / "a.npz")
    np.testing.assert_array_equal(loaded.mean, stats.mean)
    np.testing.assert_array_equal(loaded.covariance, stats.covariance)
    assert (loaded.num_samples, loaded.mean.dtype) == (30, np.float64)
    with pytest.raises(ValueError, match=r"a.txt must end in .npz"):
        stats.save(tmp_path / "a.txt")


def test_statistics_of_pytorch_fid_are_read_and_written_back(tmp_path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(2, np.float32), sigma=np.eye(2, dtype=np.float32))
    loaded = Statistics.load(tmp_path / "a.npz")
    assert (loaded.num_samples, loaded.covariance.dtype) == (None, np.float64)
    loaded.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["mu", "sigma"]


def test_a_missing_file_of_statistics_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*a.npz"):
        Statistics.load(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["text", "truncated", "npy", "pickled"])
def test_a_damaged_file_of_statistics_is_named(tmp_path, damage):
    path = tmp_path / "a.npz"
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "pickled":
        np.savez(path, mu=np.array([None]), sigma=np.zeros(1))
    else:
        np.savez(path, mu=np.zeros(9), sigma=np.eye(9))
        path.write_bytes(path.read_bytes()[:200] if damage == "truncated" else b"mu = 1\n")
    with pytest.raises(ValueError, match=r"a.npz cannot be read as .npz"):
        Statistics.load(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(2)}, "lacks sigma"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"shape \(2,\) and .* \(3, 3\)"),
        ({"mu": np.array(["a"]), "sigma": np.eye(1)}, "no statistics"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "not finite"),
        ({"mu": np.zeros(2), "sigma": np.triu(np.ones((2, 2)))}, "not symmetric"),
        ({"mu": np.zeros(1), "sigma": np.eye(1), "num_samples": 1}, "at least 2 samples"),
        ({"mu": np.zeros(1), "sigma": np.eye(1), "num_samples": [3, 4]}, "no statistics"),
    ],
)
def test_a_file_that_holds_no_statistics_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=f"a.npz .*{message}"):
        Statistics.load(tmp_path / "a.npz")


def inception_score(logits, batch_size=10**9, **options):
    score = InceptionScore(**options)
    for start in range(0, len(logits), batch_size):
        score.update(logits[start : start + batch_size])
    return score


def textbook_score(logits):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1)))


def test_sure_and_varied_images_score_the_number_of_classes():
    logits = 1000 * np.tile(np.eye(8), (20, 1))
    assert inception_score(logits).score() == pytest.approx(8, rel=1e-13)


def test_images_that_are_all_alike_score_1():
    for logits in (np.zeros((30, 8)), np.tile(np.arange(8.0), (30, 1)), 1e4 * np.eye(8)[[3, 3]]):
        assert inception_score(logits).score() == pytest.approx(1, rel=1e-13)


def test_the_score_of_two_classes_by_hand():
    # p = (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is 3/4 log 3/2 + 1/4 log 1/2, twice.
    logits = np.log([[3.0, 1.0], [1.0, 3.0]])
    expected = 1.5**0.75 * 0.5**0.25
    assert inception_score(logits).score() == pytest.approx(expected, rel=1e-14)


def test_batches_and_merging_do_not_change_the_scores():
    logits = np.random.default_rng(0).normal(size=(103, 6), scale=3)
    whole = inception_score(logits)
    assert whole.score() == pytest.approx(textbook_score(logits), rel=1e-12)
    merged = InceptionScore()
    for part in (logits[:0], logits[:13], logits[13:57], logits[57:]):
        merged.merge(inception_score(part, batch_size=9))
    assert merged.num_samples == 103
    assert merged.score() == pytest.approx(whole.score(), rel=1e-13)
    assert merged.split_scores() == pytest.approx(whole.split_scores(), rel=1e-12)


def test_split_scores_are_those_of_the_parts():
    logits = np.random.default_rng(0).normal(size=(50, 6))
    parts = [textbook_score(logits[i::10]) for i in range(10)]
    expected = (np.mean(parts), np.std(parts))
    assert inception_score(logits, batch_size=7).split_scores() == pytest.approx(expected, rel=1e-9)


def test_scores_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="at least 2 samples; there are 1"):
        inception_score(np.zeros((1, 3))).score()
    with pytest.raises(ValueError, match="at least 20 samples; there are 19"):
        inception_score(np.zeros((19, 3))).split_scores()
    with pytest.raises(ValueError, match="logits of 1 of 2 samples are not finite"):
        InceptionScore().update(np.array([[0.0, 1.0], [np.inf, 0.0]]))
    with pytest.raises(ValueError, match="10 and 5 splits"):
        InceptionScore().merge(InceptionScore(num_splits=5))
    with pytest.raises(ValueError, match="Vectors of 3 and of 4"):
        inception_score(np.zeros((2, 3))).update(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="num_splits is 0"):
        InceptionScore(num_splits=0)
