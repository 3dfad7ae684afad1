import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.nn import default_init, get_timestep_embedding
from helpers import golden_arrays


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("dim", [32, 33, 128])
def test_timestep_embedding_equals_original(dim, dtype):
    golden = golden_arrays.load("nn_pieces")
    embedding = get_timestep_embedding(tf.cast(golden["timesteps"], dtype), dim)
    expected = golden[f"out_timestep_embedding_{dim}"]
    assert embedding.dtype == tf.float32
    # float32 angles reach 999, where two implementations of sin part.
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=2e-4)


def test_timestep_embedding_by_hand():
    embedding = get_timestep_embedding(tf.constant([0, 2]), 5)
    expected = [[0, 0, 1, 1, 0], [np.sin(2), np.sin(2e-4), np.cos(2), np.cos(2e-4), 0]]
    np.testing.assert_allclose(embedding, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [[], [2, 1]])
def test_timesteps_must_be_a_vector(shape):
    with pytest.raises(ValueError, match="timesteps has shape"):
        get_timestep_embedding(tf.zeros(shape, tf.int32), 32)


@pytest.mark.parametrize("dim", [0, 1, 3])
def test_timestep_embedding_needs_four_columns(dim):
    with pytest.raises(ValueError, match="at least 4"):
        get_timestep_embedding(tf.zeros([2], tf.int32), dim)


@pytest.mark.parametrize("shape, fan_avg", [((100, 300), 200), ((3, 3, 32, 64), 9 * 48)])
@pytest.mark.parametrize("scale, used", [(1.0, 1.0), (0.5, 0.5), (0.0, 1e-10), (0, 1e-10)])
def test_default_init_is_uniform_with_variance_scale_over_fan_avg(shape, fan_avg, scale, used):
    values = np.asarray(default_init(scale)(shape))
    limit = np.sqrt(3 * used / fan_avg)
    assert np.abs(values).max() <= limit * (1 + 1e-6)
    assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert values.mean() == pytest.approx(0, abs=0.05 * limit)
