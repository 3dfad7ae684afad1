"""Data sets: the digits, and batches that follow from (seed, step) alone."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from diffusion_tf import images
from diffusion_tf.config import get_config
from diffusion_tf.datasets import Dataset, get_dataset, get_image


@pytest.fixture(scope="module")
def digits():
    return get_dataset(get_config("digits"))


@pytest.fixture
def numbers():
    """Ten images; each is its own number."""
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    return Dataset(pixels, np.zeros(10, np.int32))


def take(dataset, count):
    return [batch.numpy().ravel().tolist() for batch in dataset.take(count)]


def test_digits_are_scikit_learns(digits):
    original = load_digits()
    assert digits.images.shape == (1797, 8, 8, 1)
    scaled = images.from_pixels(digits.images)[..., 0]
    np.testing.assert_allclose(scaled, original.images / 8 - 1, atol=0.5 / 127.5 + 1e-6)
    np.testing.assert_array_equal(digits.labels, original.target)


def test_every_epoch_has_every_example_once_in_a_new_order(numbers):
    batches = take(numbers.train_batches(5, seed=0), 6)
    epochs = [batches[i] + batches[i + 1] for i in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_run_across_the_ends_of_epochs(numbers):
    flat = [i for batch in take(numbers.train_batches(4, seed=1), 5) for i in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))


def test_a_batch_may_hold_more_than_all_data(numbers):
    (batch,) = take(numbers.train_batches(25, seed=1), 1)
    assert [batch.count(i) for i in range(10)].count(3) == 5
    assert min(batch.count(i) for i in range(10)) == 2


def test_batches_follow_from_seed_and_step(numbers):
    batches = take(numbers.train_batches(4, seed=3), 8)
    assert take(numbers.train_batches(4, seed=3), 8) == batches
    assert take(numbers.train_batches(4, seed=3, first_step=5), 3) == batches[5:]
    assert take(numbers.train_batches(4, seed=4), 8) != batches


@pytest.mark.parametrize("num_hosts, replicas_per_host", [(1, 2), (2, 1), (2, 2)])
def test_replicas_share_the_same_global_batch(numbers, num_hosts, replicas_per_host):
    whole = take(numbers.train_batches(8, seed=0), 3)
    replicas = num_hosts * replicas_per_host
    parts = []
    for host in range(num_hosts):
        context = tf.distribute.InputContext(num_hosts, host, replicas)
        parts.append(take(numbers.train_batches(8, seed=0, context=context), 3 * replicas_per_host))
    for step in range(3):
        together = []
        for host in range(num_hosts):
            for batch in parts[host][step * replicas_per_host :][:replicas_per_host]:
                together += batch
        assert together == whole[step]


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown dataset 'mnist'; choose one of .*digits"):
        get_dataset(get_config("digits", dataset="mnist"))


@pytest.mark.parametrize("fields", [{"image_size": 16}, {"channels": 3}])
def test_data_of_another_size_than_the_config_are_refused(fields):
    with pytest.raises(ValueError, match="8x8 with 1 channels.*set image_size to 8"):
        get_dataset(get_config("digits", **fields))


def test_an_image_comes_by_index_or_from_a_file(digits, tmp_path):
    path = str(tmp_path / "seven.png")
    images.save_png(path, digits.images[7])
    config = get_config("digits")
    np.testing.assert_array_equal(get_image(config, "7"), digits.images[7])
    np.testing.assert_array_equal(get_image(config, path), digits.images[7])


def test_an_index_beyond_the_data_is_refused():
    with pytest.raises(ValueError, match=r"Image 1797 does not exist; .* 0\.\.1796"):
        get_image(get_config("digits"), "1797")


def test_cifar10_comes_from_tensorflow_datasets():
    config = get_config("digits", dataset="cifar10", image_size=32, channels=3)
    try:
        cifar10 = get_dataset(config)
    except FileNotFoundError:
        pytest.skip("TFDS_DATA_DIR holds no prepared CIFAR-10")
    assert (cifar10.images.shape, cifar10.images.dtype) == ((50000, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(np.bincount(cifar10.labels), [5000] * 10)


def test_missing_cifar10_says_how_to_prepare_it(tmp_path):
    config = get_config("digits", dataset="cifar10", image_size=32, channels=3)
    with pytest.raises(FileNotFoundError, match=f"tfds build cifar10 --data_dir={tmp_path}"):
        get_dataset(config, str(tmp_path))
