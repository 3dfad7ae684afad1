"""What every network here shares: the time embedding and the initialiser."""

import math

import tensorflow as tf

from diffusion_tf.utils.keras_backend import keras


def get_timestep_embedding(timesteps: tf.Tensor, embedding_dim: int) -> tf.Tensor:
    """Sinusoidal embedding of the timestep (the original's `get_timestep_embedding`).

    Sines come first, then cosines; the frequencies fall geometrically from 1 to 1/10000 over
    half - 1 intervals, half = embedding_dim // 2. An odd size ends in a column of zeros.

    Args:
        timesteps: int [B], counting from 0.
        embedding_dim: number of columns, at least 4.

    Returns:
        float32 [B, embedding_dim].

    Raises:
        ValueError: `timesteps` is not of rank 1, or embedding_dim < 4.
    """
    if timesteps.shape.rank != 1:
        raise ValueError(f"timesteps has shape {timesteps.shape}; it must be [batch].")
    if embedding_dim < 4:
        raise ValueError(f"embedding_dim is {embedding_dim}; it must be at least 4.")
    half = embedding_dim // 2
    frequencies = tf.exp(tf.range(half, dtype=tf.float32) * (-math.log(10000) / (half - 1)))
    angles = tf.cast(timesteps, tf.float32)[:, None] * frequencies[None, :]
    embedding = tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)
    return tf.pad(embedding, [[0, 0], [0, embedding_dim % 2]])


def default_init(scale: float = 1.0) -> keras.initializers.Initializer:
    """Uniform variance scaling by the average of fan-in and fan-out (the original's).

    Args:
        scale: 0 stands for 1e-10: layers that start at "zero" start at about 1e-6.
    """
    return keras.initializers.VarianceScaling(
        scale=1e-10 if scale == 0 else scale, mode="fan_avg", distribution="uniform"
    )
