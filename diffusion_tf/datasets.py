"""Data sets: uint8 images, and training batches that follow from (seed, step) alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.images import load_image
from diffusion_tf.random_numbers import stream


@dataclass(frozen=True)
class Dataset:
    """Images in memory.

    Args:
        images: uint8 [N, H, W, C].
        labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def example(self, index: int) -> np.ndarray:
        """The image at an index, uint8 [H, W, C].

        Raises:
            ValueError: no such index.
        """
        if not 0 <= index < len(self):
            raise ValueError(
                f"Image {index} does not exist; the data set has images 0..{len(self) - 1}."
            )
        return self.images[index]

    def train_batches(
        self,
        batch_size: int,
        *,
        seed: int,
        first_step: int = 0,
        context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Endless training batches: a new permutation of the data every epoch.

        The examples of a step depend on the seed and the step alone, so training goes on after an
        interruption with the data that it would have seen, and the global batch is the same for
        any number of replicas.

        Args:
            batch_size: of the global batch.
            seed: of the run.
            first_step: step of the first batch.
            context: which of the replicas this pipeline feeds; all of one if not given.

        Returns:
            Data set of uint8 [batch_size / replicas, H, W, C], one for each replica in turn.
        """
        context = context or tf.distribute.InputContext()
        local_size = context.get_per_replica_batch_size(batch_size)
        local_replicas = context.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * local_replicas
        order_seed = tf.concat([stream(seed, "data_order"), [0]], axis=0)
        size = tf.constant(len(self), tf.int64)
        images = tf.constant(self.images)

        def batch(counter: tf.Tensor) -> tf.Tensor:
            step, replica = counter // local_replicas, first_replica + counter % local_replicas
            position = (
                step * batch_size + replica * local_size + tf.range(local_size, dtype=tf.int64)
            )
            epoch_seed = order_seed + tf.pad((position // size)[:, None], [[0, 0], [2, 0]])
            # tf.random.experimental.index_shuffle, which takes no more than one seed in 2.21.
            index = tf.raw_ops.RandomIndexShuffle(
                index=position % size, seed=epoch_seed, max_index=size - 1
            )
            return tf.gather(images, index)

        counter = tf.data.Dataset.counter(first_step * local_replicas)
        return counter.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)


def load_digits() -> Dataset:
    """Scikit-learn's handwritten digits: 1,797 images of 8x8 pixels with 17 grey levels."""
    from sklearn import datasets  # a second of import that no other data set needs

    digits = datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Dataset(pixels[..., None], digits.target.astype(np.int32))


def load_cifar10(data_dir: str | None) -> Dataset:
    """The 50,000 training images of CIFAR-10, from where tensorflow_datasets prepared them.

    Raises:
        FileNotFoundError: they are not there.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder("cifar10", data_dir=data_dir)
        arrays = tfds.as_numpy(builder.as_dataset(split="train", batch_size=-1))
    except (AssertionError, OSError, tfds.core.registered.DatasetNotFoundError):
        folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        raise FileNotFoundError(
            f"{folder} holds no prepared CIFAR-10; run 'tfds build cifar10 --data_dir={folder}',"
            " or name the folder that holds it with --data_dir."
        ) from None
    return Dataset(arrays["image"], arrays["label"].astype(np.int32))


DATASETS: dict[str, Callable[[str | None], Dataset]] = {
    "digits": lambda data_dir: load_digits(),  # shipped with scikit-learn
    "cifar10": load_cifar10,
}


def get_dataset(config: Config, data_dir: str | None = None) -> Dataset:
    """Loads the training data of a config.

    Args:
        config: whose data set it is.
        data_dir: folder of tensorflow_datasets; TFDS_DATA_DIR or its default if None.

    Raises:
        ValueError: unknown data set, or images of another size than the config's.
        FileNotFoundError: the data are not there.
    """
    if config.dataset not in DATASETS:
        raise ValueError(
            f"Unknown dataset {config.dataset!r}; choose one of {', '.join(DATASETS)}."
        )
    dataset = DATASETS[config.dataset](data_dir)
    if dataset.images.shape[1:] != config.image_shape:
        height, width, channels = dataset.images.shape[1:]
        raise ValueError(
            f"{config.dataset} has images of {height}x{width} with {channels} channels, but the"
            f" config says image_size {config.image_size} and channels {config.channels}; set"
            f" image_size to {height} and channels to {channels}."
        )
    return dataset


def get_image(config: Config, index_or_path: str, data_dir: str | None = None) -> np.ndarray:
    """An image of the training data by its index, or one from a file.

    Args:
        config: whose data set and image size count.
        index_or_path: a whole number, or the path of an image file.
        data_dir: see `get_dataset`.

    Returns:
        uint8 [H, W, C].

    Raises:
        ValueError, FileNotFoundError: no such index or file, no image, or one of another size.
    """
    if index_or_path.isdecimal():
        return get_dataset(config, data_dir).example(int(index_or_path))
    return load_image(index_or_path, config.image_shape)
