"""Data sets: the digits, and batches that follow from (seed, step) alone."""

import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from diffusion_tf.config import get_config
from diffusion_tf.datasets import InMemory, RandomAccess, get_dataset, get_images
from diffusion_tf.utils import images


@pytest.fixture(scope="module")
def digits():
    return get_dataset(get_config("digits"))


@pytest.fixture
def numbers():
    """Ten images; each is its own number."""
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    return InMemory(pixels)


def take(dataset, count):
    return [batch.numpy().ravel().tolist() for batch in dataset.take(count)]


def test_digits_are_scikit_learns(digits):
    original = load_digits()
    test = get_dataset(get_config("digits"), split="test")
    assert (digits.examples.shape, test.examples.shape) == ((1498, 8, 8, 1), (299, 8, 8, 1))
    is_test = np.arange(1797) % 6 == 5
    for dataset, chosen in ((digits, ~is_test), (test, is_test)):
        scaled = images.from_pixels(dataset.examples)[..., 0]
        expected = original.images[chosen] / 8 - 1
        np.testing.assert_allclose(scaled, expected, atol=0.5 / 127.5 + 1e-6)
        np.testing.assert_array_equal(dataset.conditions, original.target[chosen])


def test_only_training_images_are_limited():
    config = get_config("digits", max_images=7)
    assert len(get_dataset(config)) == 7
    assert len(get_dataset(config, split="test")) == 299


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="lsun has no split 'test'; choose one of train"):
        get_dataset(get_config("lsun_cat"), str(tmp_path), split="test")
    with pytest.raises(ValueError, match="no split 'validation'; choose one of train, test"):
        get_dataset(get_config("digits"), split="validation")


def test_fingerprint_tells_images_apart(numbers, tmp_path):
    again = InMemory(numbers.examples.copy(), numbers.conditions)
    assert again.fingerprint() == numbers.fingerprint()
    again.examples[3] += 1
    assert again.fingerprint() != numbers.fingerprint() != numbers.first(9).fingerprint()

    file = tmp_path / "images"
    file.write_bytes(b"1234")
    os.utime(file, ns=(1, 1))
    dataset = RandomAccess(lambda i: None, 10, (2, 3, 3), files=[str(file)])
    before = dataset.fingerprint()
    assert before == dataset.fingerprint() != dataset.first(9).fingerprint()
    os.utime(file, ns=(1, 2))
    assert dataset.fingerprint() != before


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


@pytest.fixture
def pictures():
    """Ten images of 2x3 pixels with 3 channels, no two values alike."""
    return np.arange(180, dtype=np.uint8).reshape(10, 2, 3, 3)


@pytest.mark.parametrize("kind", ["in memory", "random access"])
def test_both_kinds_give_the_same_batches(pictures, kind):
    dataset = InMemory(pictures)
    if kind == "random access":
        dataset = RandomAccess(lambda i: pictures[i], 10, (2, 3, 3), files=[])
    assert (len(dataset), dataset.example_shape) == (10, (2, 3, 3))
    np.testing.assert_array_equal(dataset.example(9), pictures[9])
    batches = dataset.train_batches(4, seed=3, first_step=2)
    assert batches.element_spec == tf.TensorSpec([4, 2, 3, 3], tf.uint8)
    # Steps 2, 3 and 4 of seed 3, noted down: runs that go on with a later version rely on them.
    numbers = [(batch[:, 0, 0, 0] // 18).numpy().tolist() for batch in batches.take(3)]
    assert numbers == [[7, 1, 1, 7], [2, 4, 5, 0], [3, 9, 8, 6]]
    for batch in batches.take(1):
        np.testing.assert_array_equal(batch, pictures[numbers[0]])


@pytest.mark.parametrize("kind", ["in memory", "random access"])
def test_a_pass_gives_every_image_once_in_order(pictures, kind):
    dataset = InMemory(pictures)
    if kind == "random access":
        dataset = RandomAccess(lambda i: pictures[i], 10, (2, 3, 3), files=[])
    batches = list(dataset.batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert all(batch.dtype == np.uint8 for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), pictures)
    with pytest.raises(ValueError, match="batch_size is 0"):
        next(dataset.batches(0))


def test_random_access_goes_on_where_a_run_was_interrupted(pictures):
    dataset = RandomAccess(lambda i: pictures[i], 10, (2, 3, 3), files=[])
    whole = [batch.numpy() for batch in dataset.train_batches(4, seed=5).take(7)]
    rest = [batch.numpy() for batch in dataset.train_batches(4, seed=5, first_step=4).take(3)]
    np.testing.assert_array_equal(rest, whole[4:])


def test_a_data_set_of_one_image_can_be_trained_on():
    dataset = InMemory(np.full((1, 1, 1, 1), 7, np.uint8))
    assert take(dataset.train_batches(3, seed=0), 2) == [[7, 7, 7]] * 2


def test_an_error_of_reading_arrives_as_it_was_raised(pictures):
    def read(index):
        if index == 6:
            raise ValueError("file x, record 6: damaged")
        return pictures[index]

    dataset = RandomAccess(read, 10, (2, 3, 3), files=[])
    with pytest.raises(ValueError, match="^file x, record 6: damaged$"):
        list(dataset.batches(4))

    dataset = RandomAccess(read, 10, (2, 3, 3), files=[])
    with pytest.raises(tf.errors.OpError, match="Traceback"):  # what TensorFlow makes of it
        take(dataset.train_batches(5, seed=0), 2)
    assert str(dataset.error) == "file x, record 6: damaged"


def test_an_error_inside_a_training_loop_arrives_as_it_was_raised(pictures):
    def read(index):
        raise FileNotFoundError("file y is gone")

    dataset = RandomAccess(read, 10, (2, 3, 3), files=[])
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    iterator = iter(
        strategy.distribute_datasets_from_function(
            lambda context: dataset.train_batches(4, seed=0, context=context)
        )
    )

    @tf.function
    def steps():
        total = tf.constant(0.0)
        for _ in tf.range(3):
            total += tf.reduce_mean(tf.cast(next(iterator), tf.float32))
        return total

    with pytest.raises(FileNotFoundError, match="^file y is gone$"), dataset.original_errors():
        steps()


def test_errors_that_are_not_of_the_data_pass(pictures):
    dataset = RandomAccess(lambda i: pictures[i], 10, (2, 3, 3), files=[])
    with pytest.raises(tf.errors.InvalidArgumentError), dataset.original_errors():
        tf.reshape(tf.zeros(3), [2])
    assert dataset.error is None


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown dataset 'mnist'; choose one of .*digits"):
        get_dataset(get_config("digits", dataset="mnist"))


@pytest.mark.parametrize("fields", [{"image_size": 16}, {"channels": 3}, {"image_size": (8, 16)}])
def test_data_of_another_size_than_the_config_are_refused(fields):
    with pytest.raises(ValueError, match="8x8 with 1 channels.*set image_size to 8"):
        get_dataset(get_config("digits", **fields))


def test_an_image_comes_by_index_or_from_a_file(digits, tmp_path):
    path = str(tmp_path / "seven.png")
    images.save_png(path, digits.examples[7])
    config = get_config("digits")
    np.testing.assert_array_equal(get_images(config, ["7"])[0], digits.examples[7])
    np.testing.assert_array_equal(get_images(config, [path])[0], digits.examples[7])


def test_an_index_beyond_the_data_is_refused():
    with pytest.raises(ValueError, match=r"Image 1498 does not exist; .* 0\.\.1497"):
        get_images(get_config("digits"), ["1498"])
    with pytest.raises(ValueError, match=r"There is no image '999.*\.\.\.; give the index of one"):
        get_images(get_config("digits"), ["9" * 5000])


def test_cifar10_comes_from_tensorflow_datasets():
    config = get_config("digits", dataset="cifar10", image_size=32, channels=3)
    try:
        cifar10 = get_dataset(config)
    except FileNotFoundError:
        pytest.skip("TFDS_DATA_DIR holds no prepared CIFAR-10")
    assert (cifar10.examples.shape, cifar10.examples.dtype) == ((50000, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(np.bincount(cifar10.conditions), [5000] * 10)
    test = get_dataset(config, split="test")
    np.testing.assert_array_equal(np.bincount(test.conditions), [1000] * 10)


def test_batches_hold_conditions_that_belong_to_their_examples():
    examples = np.arange(40, dtype=np.float32).reshape(20, 2) / 40
    dataset = InMemory(examples, np.arange(20, dtype=np.int32))
    batches = iter(dataset.train_batches(6, seed=3, with_conditions=True))
    alone = iter(dataset.train_batches(6, seed=3))
    for _ in range(4):
        x, y = next(batches)
        assert (x.dtype, y.dtype, x.shape, y.shape) == (tf.float32, tf.int32, (6, 2), (6,))
        np.testing.assert_array_equal(x, examples[y.numpy()])
        np.testing.assert_array_equal(x, next(alone))


def test_data_without_conditions_say_so(numbers):
    with pytest.raises(ValueError, match="has no conditions; take one that has labels or vectors"):
        numbers.train_batches(6, seed=3, with_conditions=True)


SMALL = {  # of each data set: example shape, number of examples, shape of the conditions
    "s_curve": ((2,), 10_000, None),
    "swiss_roll": ((2,), 10_000, None),
    "sprites": ((16, 16, 3), 8_000, (8_000, 5)),
    "embeddings": ((16,), 1498, (1498, 64)),
    "digits_conditional": ((8, 8, 1), 1498, (1498,)),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_data_sets(name):
    shape, number, of_conditions = SMALL[name]
    dataset = get_dataset(get_config(name))
    assert (dataset.example_shape, len(dataset)) == (shape, number)
    assert np.shape(dataset.conditions) == (of_conditions or ())
    if len(shape) == 1:
        assert dataset.dtype == np.float32 and np.abs(dataset.examples).max() <= 1
        test = get_dataset(get_config(name), split="test")
        assert not (test.examples[:, None] == dataset.examples[None, :50]).all(-1).any()


def test_sprites_and_embeddings_of_ones_own(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    np.save(tmp_path / "vectors.npy", np.eye(6, 5))
    sprites = get_dataset(get_config("sprites"), str(tmp_path))
    np.testing.assert_array_equal(sprites.example(3), pixels[3])
    np.testing.assert_array_equal(sprites.conditions, np.eye(6, 5))
    x, y = next(iter(sprites.train_batches(6, seed=0, with_conditions=True)))
    places = [np.flatnonzero((np.eye(6, 5) == v).all(axis=1))[0] for v in y.numpy()]
    np.testing.assert_array_equal(x, pixels[places])
    np.savez(tmp_path / "e.npz", x=np.ones([4, 3]) / 2, y=np.ones([4, 2]))
    config = get_config("embeddings", data_dim=3, cond_dim=2)
    assert get_dataset(config, str(tmp_path / "e.npz")).example_shape == (3,)
    with pytest.raises(ValueError, match="no test split"):
        get_dataset(config, str(tmp_path / "e.npz"), split="test")


@pytest.mark.parametrize(
    "name, fields, message",
    [
        (
            "s_curve",
            {"data_dim": 3},
            r"examples of shape \(2,\), but the config says \(3,\); set d",
        ),
        (
            "embeddings",
            {"cond_dim": 63},
            "vectors of 64 numbers for conditions; set cond_dim to 64",
        ),
        ("digits", {"num_classes": 9}, "labels from 0 to 9, but num_classes is 9; set it to 10"),
        ("digits", {"cond_dim": 9}, "digits has no vectors for conditions; set cond_dim to 0"),
        ("sprites", {"cond_dim": 0, "cond_drop_prob": 0.0, "num_classes": 2}, "no labels"),
        ("s_curve", {"num_classes": 2}, "num_classes is 2, but s_curve has no labels; set"),
        (
            "digits",
            {"dataset": "s_curve"},
            r"examples of shape \(2,\), but the config says \(8, 8, 1\); set data_dim to 2",
        ),
    ],
)
def test_data_that_do_not_fit_the_config(name, fields, message):
    with pytest.raises(ValueError, match=message):
        get_dataset(get_config(name, **fields))
