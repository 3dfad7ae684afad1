"""What a data set is: examples by index, and batches that follow from (seed, step) alone.

Examples are images, uint8 [H, W, C], or vectors, float32 [D] in [-1, 1] or standardized.

`InMemory` holds its examples; `RandomAccess` reads them one by one when a batch wants them. The
order of training examples is computed, not shuffled through a buffer, so that a run that was
interrupted goes on with the data it would have seen.
"""

import abc
import contextlib
import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from diffusion_tf.datasets.arrays import checked_conditions
from diffusion_tf.datasets.identity import digest_of_files
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.utils.numbers import INT64_MAX, is_whole, whole
from diffusion_tf.utils.random_numbers import stream


class Dataset(abc.ABC):
    """Examples that a model learns from.

    Attributes:
        conditions: int32 [N] labels or float32 [N, C] vectors of the examples; None if nothing.
        class_names: the names of labels 0, 1, ...; None where they have none.
        attribute_names: those of the numbers of vectors of conditions; None where they have none.
        scaling: of vectors that were standardized, which what is drawn is brought back with.
        origin: where the examples were read from, for people.
        identify: says what they were read from, if their values say less: a hexadecimal digest.
        error: the first of reading an image inside a pipeline, if any; see `original_errors`.
    """

    error: Exception | None = None
    conditions: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    attribute_names: tuple[str, ...] | None = None
    scaling: Scaling | None = None
    origin: str = ""
    identify: Callable[[], str] | None = None

    @property
    def dtype(self) -> np.dtype:
        """Of the examples."""
        return np.dtype(np.uint8)

    @property
    @abc.abstractmethod
    def example_shape(self) -> tuple[int, ...]:
        """Of every example: (height, width, channels), or (D,)."""

    @property
    def known_conditions(self) -> np.ndarray:
        """The conditions, for a network that is conditioned on them.

        Raises:
            ValueError: there are none.
        """
        if self.conditions is None:
            raise ValueError("The data set has no conditions; take one that has labels or vectors.")
        return self.conditions

    def count_classes(self) -> dict[str, int] | None:
        """How many examples each class has, by its name; None where classes have no names."""
        if self.class_names is None or self.conditions is None:
            return None
        counts = np.bincount(self.conditions, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def _examples(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """Those at n indices that exist, [n, ...]."""

    @abc.abstractmethod
    def subset(self, index: slice | np.ndarray) -> "Dataset":
        """The examples at some indices alone, with their conditions."""

    def first(self, number: int) -> "Dataset":
        """The first examples alone, all of them if there are fewer."""
        return self.subset(slice(whole(number, "number", 0, INT64_MAX)))

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Tells these examples from others: hexadecimal, the same each time they are loaded."""

    def identity(self) -> str:
        """Tells these data, with their conditions, from others.

        Hexadecimal, and the same for a copy in another place and at another time.
        """
        digest = hashlib.sha256(repr((len(self), self.example_shape, self.class_names)).encode())
        digest.update((self.identify or self.fingerprint)().encode())
        if self.conditions is not None:
            digest.update(np.ascontiguousarray(self.conditions).data)
        return digest.hexdigest()

    def example(self, index: int) -> np.ndarray:
        """The example at an index.

        Raises:
            ValueError: no such index, or the image cannot be read.
        """
        if not (is_whole(index) and 0 <= index < len(self)):
            raise ValueError(
                f"Image {index} does not exist; the data set has images 0..{len(self) - 1}."
            )
        return self._examples([index])[0]

    def train_batches(
        self,
        batch_size: int,
        *,
        seed: int,
        first_step: int = 0,
        context: tf.distribute.InputContext | None = None,
        with_conditions: bool = False,
    ) -> tf.data.Dataset:
        """Endless training batches: a new permutation of the data every epoch.

        The examples of a step depend on the seed and the step alone, so training goes on after an
        interruption with the data that it would have seen, and the global batch is the same for
        any number of replicas. Iterate inside `original_errors`.

        Args:
            batch_size: of the global batch.
            seed: of the run.
            first_step: step of the first batch.
            context: which of the replicas this pipeline feeds; all of one if not given.
            with_conditions: also yield what goes with the examples.

        Returns:
            Data set of examples [batch_size / replicas, ...], or pairs (examples, conditions), one
            for each replica in turn.
        """
        batch_size = whole(batch_size, "batch_size", 1)
        first_step = whole(first_step, "first_step", 0, INT64_MAX)
        context = context or tf.distribute.InputContext()
        local_size = context.get_per_replica_batch_size(batch_size)
        local_replicas = context.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * local_replicas
        order_seed = tf.concat([stream(seed, "data_order"), [0]], axis=0)
        size = tf.constant(len(self), tf.int64)

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
            examples = self._gather(index)
            return (examples, self._gather_conditions(index)) if with_conditions else examples

        counter = tf.data.Dataset.counter(first_step * local_replicas)
        batches = counter.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return batches.prefetch(4)

    def batches(self, batch_size: int, *, start: int = 0) -> Iterator[np.ndarray]:
        """All examples once, in order.

        Args:
            batch_size: of every batch but the last, which holds what is left.
            start: number of the first example.

        Yields:
            [batch_size or fewer, ...].

        Raises:
            ValueError: batch_size < 1, or an image that cannot be read.
        """
        batch_size, size = whole(batch_size, "batch_size", 1), len(self)
        start = whole(start, "start", 0, INT64_MAX)
        batches = (
            tf.data.Dataset.range(start, size, batch_size)
            .map(
                lambda start: self._gather(tf.range(start, tf.minimum(start + batch_size, size))),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .prefetch(1)
        )
        with self.original_errors():
            yield from batches.as_numpy_iterator()

    @contextlib.contextmanager
    def original_errors(self) -> Iterator[None]:
        """Within it, an error of reading an image arrives as it was raised.

        TensorFlow turns an exception inside a pipeline into a `tf.errors.OpError` with a traceback
        for a message. Here the original, a ValueError or OSError of one sentence, takes its place.
        Errors that have nothing to do with the data pass.
        """
        try:
            yield
        except tf.errors.OpError:
            if self.error is None:
                raise
            raise self.error from None

    def _gather(self, index: tf.Tensor) -> tf.Tensor:
        """From int64 [n] to examples [n, ...], inside a pipeline.

        By way of Python also for examples in memory: as a constant of the graph, they would be
        copied several times over.
        """
        examples = tf.numpy_function(self._examples_or_note_error, [index], self.dtype)
        examples.set_shape([*index.shape, *self.example_shape])
        return examples

    def _gather_conditions(self, index: tf.Tensor) -> tf.Tensor:
        """From int64 [n] to the conditions of these examples."""
        array = checked_conditions(self.known_conditions, "the array of conditions")
        conditions = tf.numpy_function(lambda index: array[index], [index], array.dtype)
        conditions.set_shape([*index.shape, *array.shape[1:]])
        return conditions

    def _examples_or_note_error(self, index: np.ndarray) -> np.ndarray:
        try:
            return self._examples(index)
        except Exception as error:  # of any kind: `original_errors` raises it again
            self.error = self.error or error
            raise


@dataclass(eq=False)
class InMemory(Dataset):
    """Examples in memory.

    Args:
        examples: uint8 [N, H, W, C], or float32 [N, D] in [-1, 1].
        conditions: see `Dataset`; labels of other integer types become int32.

    Raises:
        ValueError: conditions that are neither labels, which int32 holds, nor finite vectors.
    """

    examples: np.ndarray
    conditions: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.conditions is not None:
            self.conditions = checked_conditions(self.conditions, "the array of conditions")

    @property
    def dtype(self) -> np.dtype:
        """Of the examples."""
        return self.examples.dtype

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of every example: (height, width, channels), or (D,)."""
        return self.examples.shape[1:]

    def __len__(self) -> int:
        return len(self.examples)

    def subset(self, index: slice | np.ndarray) -> "InMemory":
        """The examples at some indices alone, with their conditions."""
        part = copy.copy(self)
        part.examples = self.examples[index]
        part.conditions = None if self.conditions is None else self.conditions[index]
        return part

    def fingerprint(self) -> str:
        """Of all values."""
        digest = hashlib.sha256(repr(self.examples.shape).encode())
        digest.update(np.ascontiguousarray(self.examples).data)
        return digest.hexdigest()

    def _examples(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.examples[index]


class RandomAccess(Dataset):
    """Images that are read one by one, from several threads at once.

    Args:
        read: from an index in 0..size-1 to uint8 [H, W, C]; raises a ValueError or OSError that
            names the file where it cannot.
        size: number of images.
        image_shape: (height, width, channels) of every image.
        files: paths of what they are read from.
        names: of the images, where the files do not tell which they are.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        size: int,
        image_shape: tuple[int, int, int],
        *,
        files: Sequence[str],
        names: Sequence[str] = (),
    ):
        self._read, self._size, self._image_shape = read, size, image_shape
        self._files, self._names = files, names
        self._chosen: np.ndarray | None = None  # indices of all, where these are not the first ones
        self.identify = lambda: digest_of_files(files)

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self._image_shape

    def __len__(self) -> int:
        return self._size

    def subset(self, index: slice | np.ndarray) -> "RandomAccess":
        """The images at some indices alone, with their conditions."""
        part = copy.copy(self)
        chosen = (np.arange(self._size) if self._chosen is None else self._chosen)[index]
        are_first = np.array_equal(chosen, np.arange(len(chosen)))
        part._size, part._chosen = len(chosen), None if are_first else chosen
        part.conditions = None if self.conditions is None else self.conditions[index]
        return part

    def identity(self) -> str:
        """See `Dataset`; which of the images were chosen counts, too."""
        return hashlib.sha256(f"{super().identity()} {self._which()}".encode()).hexdigest()

    def _which(self) -> str:
        """Tells chosen images from others; empty for the first ones."""
        return "" if self._chosen is None else hashlib.sha256(self._chosen.data).hexdigest()

    def fingerprint(self) -> str:
        """Of the files' names, sizes and times of change: reading terabytes would take hours."""
        digest = hashlib.sha256(repr((self._size, self._image_shape)).encode())
        digest.update(f"{self._which()}{''.join(map(repr, self._names))}".encode())
        for path in self._files:
            status = os.stat(path)
            name = os.path.basename(path)
            digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode())
        return digest.hexdigest()

    def _examples(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        index = index if self._chosen is None else self._chosen[np.asarray(index)]
        return np.stack([self._read(int(i)) for i in index])
