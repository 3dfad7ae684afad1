"""Strategies over several devices, side by side in one process."""

import tensorflow as tf


def replicas(number: int) -> tf.distribute.Strategy:
    """A strategy over the first `number` logical CPUs, see conftest.py."""
    if number == 1:
        return tf.distribute.get_strategy()
    # Every MirroredStrategy counts its collective operations from the same key, so that two of
    # them in one process would join each other's; TensorFlow's own tests set them apart like this.
    tf.distribute.MirroredStrategy._collective_key_base += 100_000
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(number)])
