"""Which timesteps are trained: all alike, or by how large their losses are."""

import tensorflow as tf

KEPT = 10  # losses of each timestep
UNIFORM_SHARE = 0.001  # of the draws, so that no timestep is ever left out


def uniform(num_timesteps: int, number: int, seed: tf.Tensor, *, antithetic: bool) -> tf.Tensor:
    """Uniform in 0..T-1, int32 [number]; antithetic: the second half mirrors the first."""
    drawn = -(-number // 2) if antithetic else number
    t = tf.random.stateless_uniform([drawn], seed, 0, num_timesteps, tf.int32, alg="philox")
    return tf.concat([t, num_timesteps - 1 - t[: number - drawn]], axis=0)


class LossHistory:
    """The last losses of each timestep, by which timesteps are drawn.

    p_t is proportional to sqrt(E[L_t^2]), and the loss of an example is divided by T p_t, so that
    its mean stays that of uniform timesteps (Nichol & Dhariwal 2021, section 3.3;
    improved-diffusion's `LossSecondMomentResampler`). Until each timestep has had 10 losses, all
    are alike.

    Attributes:
        variables: by name, what a checkpoint holds: losses, float32 [T, 10], in which a new one
            takes the place of the oldest; counts, int64 [T], of losses so far.
    """

    def __init__(self, num_timesteps: int):
        """An empty history of so many timesteps."""
        self._num_timesteps = num_timesteps
        self._losses = tf.Variable(tf.zeros([num_timesteps, KEPT]), trainable=False)
        self._counts = tf.Variable(tf.zeros([num_timesteps], tf.int64), trainable=False)
        self.variables = {"losses": self._losses, "counts": self._counts}

    def probabilities(self) -> tf.Tensor:
        """With which timesteps are drawn, float32 [T]."""
        size = tf.sqrt(tf.reduce_mean(tf.square(self._losses), axis=1))
        known = tf.reduce_all(self._counts >= KEPT)
        share = tf.where(known, size, 1.0)
        share /= tf.reduce_sum(share)
        return share * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / self._num_timesteps

    def draw(self, number: int, seed: tf.Tensor) -> tf.Tensor:
        """Timesteps, int32 [number]."""
        ends = tf.cumsum(self.probabilities())
        u = tf.random.stateless_uniform([number], seed, alg="philox") * ends[-1]
        return tf.minimum(tf.searchsorted(ends, u, side="right"), self._num_timesteps - 1)

    def weights(self, t: tf.Tensor) -> tf.Tensor:
        """1 / (T p_t), by which losses are multiplied, float32 [B], for t int32 [B]."""
        return 1 / (self._num_timesteps * tf.gather(self.probabilities(), t))

    def record(self, t: tf.Tensor, losses: tf.Tensor) -> None:
        """Writes losses down, in their order.

        Args:
            t: int32 [B], of the whole batch.
            losses: float32 [B], not multiplied by their weights.
        """
        same = t[:, None] == t[None, :]
        earlier = tf.linalg.band_part(tf.cast(same, tf.int64), -1, 0)  # and the loss itself
        rank = tf.reduce_sum(earlier, axis=1) - 1  # among those of its timestep
        number = tf.reduce_sum(tf.cast(same, tf.int64), axis=1)
        place = tf.cast((tf.gather(self._counts, t) + rank) % KEPT, t.dtype)
        is_kept = number - rank <= KEPT  # of a batch with more than that, only the last
        rows = tf.where(is_kept, t, self._num_timesteps)  # one that is cut off again
        kept = tf.tensor_scatter_nd_update(
            tf.pad(self._losses, [[0, 1], [0, 0]]), tf.stack([rows, place], axis=1), losses
        )
        self._losses.assign(kept[:-1])
        self._counts.assign(tf.tensor_scatter_nd_add(self._counts, t[:, None], tf.ones_like(rank)))
