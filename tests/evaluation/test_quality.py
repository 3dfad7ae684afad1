"""FID and Inception score of images in batches, against the formulas on all features at once."""

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.datasets import InMemory, get_dataset
from diffusion_tf.evaluation.features import Features, get_features
from diffusion_tf.evaluation.metrics.fid import frechet_distance
from diffusion_tf.evaluation.quality import measure_images, real_halves, real_statistics
from diffusion_tf.utils.images import from_pixels

DIGITS = get_dataset(get_config("digits"))
PIXELS = get_features("pixels")


def test_pixels_in_batches_are_all_pixels_at_once():
    statistics, score = measure_images(DIGITS.batches(100), PIXELS, total=1498, what="digits")
    vectors = from_pixels(DIGITS.examples).reshape(1498, 64).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, vectors.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(statistics.covariance, np.cov(vectors.T), rtol=1e-6, atol=1e-9)
    assert (statistics.num_samples, score) == (1498, None)


def test_floats_are_clipped_and_not_rounded():
    images = np.array([-1.5, -0.123456, 0.3, 1.7], np.float32).reshape(4, 1, 1, 1)
    features, _ = PIXELS.extract(images)
    np.testing.assert_array_equal(features.ravel(), np.float32([-1, -0.123456, 0.3, 1]))


def test_logits_give_a_score():
    def extract(images):
        flat = images.reshape(len(images), -1).astype(float)
        return flat, 1000 * np.eye(2)[flat[:, 0].astype(int)]  # one class or the other, for sure

    features = Features("halves", "", None, extract)
    images = np.arange(40).reshape(40, 1, 1, 1) % 2
    batches = [images[:15], images[15:]]
    _, score = measure_images(batches, features, total=40, what="images")
    assert score.score() == pytest.approx(2.0)


def test_statistics_are_computed_once(tmp_path):
    class Dataset(InMemory):
        reads = 0

        def batches(self, batch_size, *, start=0):
            Dataset.reads += 1
            return super().batches(batch_size, start=start)

    dataset = Dataset(DIGITS.examples[:100], DIGITS.conditions[:100])
    first = real_statistics(dataset, "digits_train", PIXELS, cache_dir=tmp_path)
    again = real_statistics(dataset, "digits_train", PIXELS, cache_dir=tmp_path)
    assert Dataset.reads == 1
    np.testing.assert_array_equal(first.covariance, again.covariance)
    assert again.num_samples == 100
    (cached,) = tmp_path.iterdir()
    assert cached.name.startswith("digits_train_pixels_")

    dataset.examples = dataset.examples.copy()
    dataset.examples[5] ^= 1  # other images never meet these statistics
    real_statistics(dataset, "digits_train", PIXELS, cache_dir=tmp_path)
    other = Features("pixels", PIXELS.preprocessing, "another network", PIXELS.extract)
    real_statistics(dataset, "digits_train", other, cache_dir=tmp_path)
    assert (Dataset.reads, len(list(tmp_path.iterdir()))) == (3, 3)


def test_halves_make_the_whole_and_each_image_is_looked_at_once(tmp_path):
    seen = []

    def extract(images):
        seen.append(len(images))
        return PIXELS.extract(images)

    features = Features("pixels", PIXELS.preprocessing, "counted", extract)
    dataset = DIGITS.first(101)
    halves = real_halves(dataset, "digits_train", features, cache_dir=tmp_path)
    whole = real_statistics(dataset, "digits_train", features, cache_dir=tmp_path)
    again = real_halves(dataset, "digits_train", features, cache_dir=tmp_path)
    assert sum(seen) == 101 and [half.num_samples for half in halves] == [51, 50]
    vectors = from_pixels(dataset.examples).reshape(101, 64).astype(np.float64)
    for k, half in enumerate(halves):
        np.testing.assert_allclose(half.mean, vectors[k::2].mean(axis=0), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(half.covariance, again[k].covariance)
    assert whole.num_samples == 101
    np.testing.assert_allclose(whole.mean, vectors.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(whole.covariance, np.cov(vectors.T), rtol=1e-6, atol=1e-8)


def damaged(content, damage):
    """What a file holds, damaged; a number is the place of a bit that flips."""
    if isinstance(damage, int):
        damage %= len(content)
        return content[:damage] + bytes([content[damage] ^ 1]) + content[damage + 1 :]
    return {"empty": b"", "cut": content[:-9], "garbage": b"no zip"}[damage]


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", 8, 60, 400, 5000, -1, -80, -300])
def test_damaged_statistics_are_computed_again(tmp_path, caplog, damage):
    first = real_statistics(DIGITS, "digits_train", PIXELS, cache_dir=tmp_path)
    (cached,) = tmp_path.iterdir()
    content = cached.read_bytes()
    cached.write_bytes(damaged(content, damage))
    again = real_statistics(DIGITS, "digits_train", PIXELS, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.covariance, first.covariance)
    assert f"{cached} is damaged" in caplog.text and "are computed again" in caplog.text
    assert cached.read_bytes() == content


def test_statistics_of_an_earlier_version_without_checksum_are_computed_again(tmp_path, caplog):
    first = real_statistics(DIGITS, "digits_train", PIXELS, cache_dir=tmp_path)
    (cached,) = tmp_path.iterdir()
    np.savez(cached, mu=first.mean + 1, sigma=first.covariance, num_samples=first.num_samples)
    again = real_statistics(DIGITS, "digits_train", PIXELS, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.mean, first.mean)
    assert "of an earlier version: it has no checksum" in caplog.text


def test_the_cache_is_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real_statistics(DIGITS, "digits_train", PIXELS)
    assert list((tmp_path / "diffusion_tf").glob("digits_train_pixels_*.npz"))


def test_train_and_test_digits_are_close():
    test = get_dataset(get_config("digits"), split="test")
    statistics = [
        measure_images(d.batches(256), PIXELS, total=len(d), what="digits")[0]
        for d in (DIGITS, test)
    ]
    assert 0.1 < frechet_distance(*statistics) < 1.0


def test_unknown_features():
    with pytest.raises(ValueError, match="'vgg'; choose one of inception, pixels"):
        get_features("vgg")
