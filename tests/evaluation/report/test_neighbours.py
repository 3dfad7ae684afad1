"""Nearest images, by hand and against brute force."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.datasets import InMemory, RandomAccess
from diffusion_tf.evaluation.report.neighbours import nearest, save_neighbours
from diffusion_tf.evaluation.report.pictures import illustrate_samples


def in_memory(images):
    return InMemory(images, np.zeros(len(images), np.int32))


def flat(*values):
    """Images of 1x2 pixels, each of one value."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(2, axis=2)


def test_neighbours_by_hand():
    data = in_memory(flat(10, 200, 13, 0))
    distances, neighbours, indices = nearest(flat(11, 255), data, k=3, batch_size=2)
    np.testing.assert_array_equal(distances, [[1, 2, 11], [55, 242, 245]])
    np.testing.assert_array_equal(indices, [[0, 2, 3], [1, 2, 0]])
    np.testing.assert_array_equal(neighbours[:, :, 0, 0, 0], [[10, 13, 0], [200, 13, 10]])


def test_the_distance_is_a_root_mean_square():
    image = np.array([[[[0], [0]]]], np.uint8)
    other = np.array([[[[3], [4]]]], np.uint8)
    distances, _, _ = nearest(image, in_memory(other), k=1)
    assert distances[0, 0] == pytest.approx((25 / 2) ** 0.5, rel=1e-15)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_as_brute_force(k, batch_size):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    data = rng.integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    distances, neighbours, indices = nearest(images, in_memory(data), k=k, batch_size=batch_size)
    differences = images[:, None].astype(float) - data
    expected = np.sqrt(np.mean(differences**2, axis=(2, 3, 4)))
    order = np.argsort(expected, axis=1)[:, :k]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, axis=1), rtol=1e-14)
    np.testing.assert_array_equal(neighbours, data[order])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 9])
def test_ties_go_to_the_lower_index(batch_size):
    data = in_memory(flat(9, 5, 7, 5, 7, 5, 3))
    _, _, indices = nearest(flat(6), data, k=6, batch_size=batch_size)
    np.testing.assert_array_equal(indices, [[1, 2, 3, 4, 5, 0]])


def test_an_image_of_the_data_is_at_no_distance_however_large():
    data = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    distances, _, indices = nearest(data[1:2], in_memory(data), k=1)
    assert (distances[0, 0], indices[0, 0]) == (0.0, 1)


def test_each_image_is_read_once():
    read = []

    def image(index):
        read.append(index)
        return flat(index)[0]

    nearest(flat(1, 2, 3), RandomAccess(image, 20, (1, 2, 1), files=[]), k=2, batch_size=6)
    assert sorted(read) == list(range(20))


class Noise(RandomAccess):
    """Images made one by one, in memory that tracemalloc sees; TensorFlow's it does not."""

    def __init__(self, size):
        def image(index):
            return np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)

        super().__init__(image, size, (32, 32, 3), files=[])

    def batches(self, batch_size):
        for start in range(0, len(self), batch_size):
            yield self._examples(range(start, min(start + batch_size, len(self))))


def test_memory_does_not_grow_with_the_data():
    def peak(size):
        tracemalloc.start()
        nearest(Noise(1).example(0)[None], Noise(size), k=2, batch_size=16)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(1600) < 2 * peak(160)  # 1,600 images alone: 4.9 MB


@pytest.mark.parametrize(
    ("images", "k", "message"),
    [
        (flat(1).astype(np.float32), 1, "dtype float32"),
        (flat(1)[..., 0], 1, r"shape \(1, 1, 2\)"),
        (np.zeros((1, 1, 3, 1), np.uint8), 1, r"\['n', 1, 2, 1\]"),
        (flat(1), 0, "k is 0"),
        (flat(1), 3, r"k is 3; it must lie in 1\.\.2"),
    ],
)
def test_bad_input_is_named(images, k, message):
    with pytest.raises(ValueError, match=message):
        nearest(images, in_memory(flat(1, 2)), k=k)


def test_the_picture_begins_with_the_sample(tmp_path):
    path = tmp_path / "n.png"
    black, white = np.zeros((2, 8, 8, 1), np.uint8), np.full((2, 3, 8, 8, 1), 255, np.uint8)
    save_neighbours(str(path), black, white)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    dark = np.argwhere(pixels[pixels.shape[0] // 4] < 50).ravel()
    assert dark.min() < 0.2 * pixels.shape[1]  # frame of the first tile ...
    quarter = pixels[:, : pixels.shape[1] // 4]
    assert np.mean(quarter < 50) > 0.5 > np.mean(pixels[:, pixels.shape[1] // 3 :] < 50)


def test_a_report_shows_as_many_as_there_are(tmp_path):
    data = in_memory(np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8, 1))
    *_, last = illustrate_samples(tmp_path, data.examples[:2], data)
    assert "the 3 of 3 training images" in last.caption
