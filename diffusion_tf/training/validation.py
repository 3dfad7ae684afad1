"""The loss on images that are not trained on, always with the same timesteps and noise."""

from collections.abc import Callable

import tensorflow as tf

from diffusion_tf.datasets import Dataset
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.images import from_pixels
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.random_numbers import fold_in, normal, stream
from diffusion_tf.utils.replicas import compiled

NUM_BATCHES = 4  # of training's size, at most


def validation_loss(trainer: Trainer, dataset: Dataset) -> Callable[[], float]:
    """A function that measures what the averaged weights are at that moment.

    It takes the first examples in the portions that a device has in training, unflipped, with their
    conditions, and without dropout. They are read at once. Timesteps and noise are the same each
    time and no others of the run, so that nothing changes in it.

    Args:
        trainer: whose network and loss are taken.
        dataset: such as the test split; `NUM_BATCHES` batches of it.

    Returns:
        Function without arguments; its result is the mean loss of the examples.

    Raises:
        ValueError: an image that cannot be read.
    """
    config, diffusion = trainer.config, trainer.diffusion
    examples = dataset.first(NUM_BATCHES * config.batch_size)
    size = config.batch_size // trainer.num_replicas // config.accumulation_steps
    portions = list(examples.batches(size))
    seed = stream(config.seed, "validation")

    def losses(model: keras.Model, x: tf.Tensor, number: tf.Tensor, *y: tf.Tensor) -> tf.Tensor:
        chosen = fold_in(seed, number)
        T, batch = diffusion.num_timesteps, tf.shape(x)[:1]
        t = tf.random.stateless_uniform(batch, fold_in(chosen, 0), 0, T, tf.int32, alg="philox")
        noise = normal(tf.shape(x), fold_in(chosen, 1))
        return diffusion.p_losses(denoise_fn(model, *y), x, t, noise=noise)

    measure = compiled(losses, trainer.ema_model, jit_compile=False)

    def mean_loss() -> float:
        total = 0.0
        for number, x in enumerate(portions):
            x = x if config.data_dim else from_pixels(x)
            rows = slice(number * size, (number + 1) * size)
            y = [tf.constant(examples.known_conditions[rows])] if config.conditional else []
            total += float(tf.reduce_sum(measure(tf.constant(x), tf.constant(number), *y)))
        return total / len(examples)

    return mean_loss
