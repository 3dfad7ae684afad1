"""Whole chains of the reverse process."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.utils.random_numbers import fold_in, normal
from helpers import golden_arrays
from helpers.golden_arrays import TYPES, denoise_fn, denoise_fn_for, noise_fn
from helpers.rows import modes

SHAPE = (2, 8, 8, 3)
T = 20
BETAS = np.linspace(1e-4, 0.2, T)
KEPT = [0, 1, 2, 5, 6, 10, 19, 20]  # the stored images of most trajectories


def diffusion(mean="eps", var="fixedsmall", betas=BETAS):
    return GaussianDiffusion(betas=betas, model_mean_type=mean, model_var_type=var, loss_type="kl")


def assert_samples_equal(ours, expected):
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-6)


@pytest.fixture(scope="module")
def golden():
    return golden_arrays.load("sampling")


# --- Against the original


def test_betas(golden):
    np.testing.assert_allclose(BETAS, golden["betas"], rtol=1e-10)


@pytest.mark.parametrize("compiled, mean, var", modes(*TYPES), indirect=["compiled"])
def test_p_sample_loop_and_progressive_equal_original(golden, compiled, mean, var):
    ours, network = diffusion(mean, var), denoise_fn_for(var)

    @compiled
    def both():
        return (
            ours.p_sample_loop(network, shape=SHAPE, noise_fn=noise_fn),
            *ours.p_sample_loop_progressive(
                network, shape=SHAPE, noise_fn=noise_fn, include_xstartpred_freq=5
            ),
        )

    samples, progressive_samples, predictions = both()
    assert_samples_equal(samples, golden[f"p_sample_loop_{mean}_{var}"])
    assert_samples_equal(progressive_samples, golden[f"progressive5_{mean}_{var}_img"])
    assert_samples_equal(predictions, golden[f"progressive5_{mean}_{var}_xstartpreds"])


def test_progressive_drops_the_steps_above_the_last_whole_slot(golden, compiled):
    ours = diffusion("eps", "fixedlarge")
    samples, predictions = compiled(
        lambda: ours.p_sample_loop_progressive(
            denoise_fn, shape=SHAPE, noise_fn=noise_fn, include_xstartpred_freq=6
        )
    )()
    assert_samples_equal(samples, golden["progressive6_eps_fixedlarge_img"])
    assert_samples_equal(predictions, golden["progressive6_eps_fixedlarge_xstartpreds"])


def test_p_sample_loop_equals_first_class(golden):
    samples = diffusion().p_sample_loop(denoise_fn, shape=SHAPE, noise_fn=noise_fn)
    assert_samples_equal(samples, golden["v1_p_sample_loop"])


@pytest.mark.parametrize("compiled, repeat", modes(-1, 0, 5, 20), indirect=["compiled"])
def test_trajectory_equals_first_class(golden, compiled, repeat):
    ours = diffusion()
    times, images = compiled(
        lambda: ours.p_sample_loop_trajectory(
            denoise_fn, shape=SHAPE, noise_fn=noise_fn, repeat_noise_steps=repeat
        )
    )()
    assert times.dtype == tf.int32 and images.shape == (T + 1, *SHAPE)
    np.testing.assert_array_equal(times, golden[f"v1_trajectory_{repeat}_times"])
    stored = golden[f"v1_trajectory_{repeat}_imgs"]
    if len(stored) != T + 1:
        images = tf.gather(images, KEPT)
    assert_samples_equal(images, stored)


def test_interpolation_equals_first_class(golden, compiled):
    ours = diffusion()  # the first class
    names = sorted(name for name in golden if name.startswith("interp_lam"))
    assert len(names) == 6

    @compiled
    def interpolate(lam, t):
        return ours.interpolate(
            denoise_fn,
            x1=golden["interp_x1"],
            x2=golden["interp_x2"],
            lam=lam,
            t=t,
            noise_fn=noise_fn,
            noise1=golden["interp_noise1"],
            noise2=golden["interp_noise2"],
        )

    for name in names:
        lam, t = name.removeprefix("interp_lam").split("_t")
        samples = interpolate(tf.constant(float(lam)), tf.constant(int(t)))
        assert_samples_equal(samples, golden[name])


def test_all_lams_at_once(golden, compiled):
    lams = ["0.0", "0.3", "0.5", "1.0"]

    def noise_of_one_lam(shape, dtype):
        return tf.tile(noise_fn(SHAPE, dtype), [shape[0] // SHAPE[0], 1, 1, 1])

    samples = compiled(
        lambda: diffusion().interpolate(
            denoise_fn,
            x1=golden["interp_x1"],
            x2=golden["interp_x2"],
            lam=[float(lam) for lam in lams],
            t=9,
            noise_fn=noise_of_one_lam,
            noise1=golden["interp_noise1"],
            noise2=golden["interp_noise2"],
        )
    )()
    assert_samples_equal(samples, np.stack([golden[f"interp_lam{lam}_t9"] for lam in lams]))


# --- Seeds


def all_loops(seed):
    """Every loop with a seed, on a network whose samples stay away from -1 and 1."""
    ours = diffusion("xprev", "fixedlarge")
    x1, x2 = tf.fill(SHAPE, -0.5), tf.fill(SHAPE, 0.25)
    return {
        "loop": ours.p_sample_loop(denoise_fn, shape=SHAPE, seed=seed),
        "progressive": ours.p_sample_loop_progressive(
            denoise_fn, shape=SHAPE, include_xstartpred_freq=5, seed=seed
        )[1],
        "trajectory": ours.p_sample_loop_trajectory(denoise_fn, shape=SHAPE, seed=seed)[1],
        "repeated": ours.p_sample_loop_trajectory(
            denoise_fn, shape=SHAPE, repeat_noise_steps=5, seed=seed
        )[1],
        "interpolation": ours.interpolate(
            denoise_fn, x1=x1, x2=x2, lam=[0.0, 0.5], t=T - 1, seed=seed
        ),
    }


@pytest.fixture(scope="module")
def loops():
    """All loops of one seed, eagerly."""
    return all_loops(3)


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
def test_seed_gives_the_same_samples_in_every_mode(loops, jit_compile):
    expected, samples = loops, tf.function(all_loops, jit_compile=jit_compile)(tf.constant(3))
    for name, value in samples.items():
        # The numbers drawn may differ in the last bits (see test_random_numbers), which twenty
        # steps and the division by coef1 in pred_xstart make larger.
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_other_seed_gives_other_samples(loops):
    first, other = loops, tf.function(all_loops)(4)
    for name, value in first.items():
        assert np.abs(value - other[name]).mean() > 0.02, name


def test_every_step_of_a_seed_has_noise_of_its_own():
    _, images = diffusion("xprev", "fixedlarge").p_sample_loop_trajectory(
        lambda x, t: x, shape=(2, 500), seed=3
    )
    noise = np.diff(images, axis=0, prepend=0)[:-1]  # the last step adds none
    correlation = np.corrcoef(noise.reshape(T, -1)) - np.eye(T)
    assert np.abs(correlation).max() < 6 / np.sqrt(1000)


def test_loops_of_one_seed_share_their_chain(loops):
    np.testing.assert_array_equal(loops["trajectory"][-1], loops["loop"])
    assert np.isfinite(loops["loop"]).all()


@pytest.mark.parametrize(
    "compiled, shape", modes((SHAPE,), ((3, 5),), ((3, 4, 6),)), indirect=["compiled"]
)
def test_chain_in_pieces_equals_chain_in_one_go(compiled, shape):
    ours = diffusion("xprev", "fixedlarge")

    @compiled
    def steps(x, first, last):
        return ours.p_sample_steps(denoise_fn, x=x, first=first, last=last, seed=11)[0]

    def chain(*lasts):
        x, first = normal(shape, fold_in(tf.constant([11, 0], tf.int64), T)), T - 1
        for last in lasts:
            x, first = steps(x, tf.constant(first), tf.constant(last)), last - 1
        return x

    whole = chain(0)
    np.testing.assert_array_equal(chain(10, 0), whole)
    np.testing.assert_array_equal(chain(18, 17, 3, 1, 0), whole)
    np.testing.assert_array_equal(
        compiled(lambda: ours.p_sample_loop(denoise_fn, shape=shape, seed=11))(), whole
    )


def test_prior_sample_is_where_the_chain_starts():
    ours = diffusion("xprev", "fixedlarge")
    x_T = ours.prior_sample(shape=SHAPE, seed=11)
    _, images = ours.p_sample_loop_trajectory(denoise_fn, shape=SHAPE, seed=11)
    np.testing.assert_array_equal(x_T, images[0])
    x_T = ours.prior_sample(shape=SHAPE, noise_fn=noise_fn)
    np.testing.assert_array_equal(x_T, noise_fn(SHAPE))


def test_noise_fn_and_seed_together():
    with pytest.raises(ValueError, match="noise_fn and seed were both given"):
        diffusion().p_sample_loop(denoise_fn, shape=SHAPE, noise_fn=noise_fn, seed=1)


def test_without_noise_fn_and_seed_samples_differ():
    first, other = (diffusion("xprev").p_sample_loop(denoise_fn, shape=SHAPE) for _ in range(2))
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("mean", ["eps", "xstart"])
def test_samples_lie_in_range(mean):
    samples = diffusion(mean, "fixedlarge").p_sample_loop(denoise_fn, shape=(20, 50), seed=1)
    assert np.abs(samples).max() <= 1


# --- Trajectories


@pytest.mark.parametrize(
    "compiled, keep",
    [
        *modes([7, 12, 3], [-1], [5, 5, -1], [-1, 0, T - 1]),
        *(pytest.param("graph", k, marks=pytest.mark.slow) for k in ([T - 1], range(3, 9))),
    ],
    indirect=["compiled"],
)
def test_keep_gives_the_chosen_frames(compiled, keep):
    ours = diffusion("xprev", "fixedlarge")

    def trajectory(keep=None):
        return ours.p_sample_loop_trajectory(denoise_fn, shape=SHAPE, keep=keep, seed=2)

    all_times, all_images = compiled(trajectory)()
    times, images = compiled(lambda: trajectory(keep))()
    np.testing.assert_array_equal(times, sorted(set(keep), reverse=True))
    assert all_times[0] == T - 1 and all_times[-1] == -1
    np.testing.assert_array_equal(images, tf.gather(all_images, T - 1 - times))


@pytest.mark.parametrize("keep", [[], [-2], [T], [0, T + 5]])
def test_keep_outside_the_chain(keep):
    with pytest.raises(ValueError, match=f"name one or more times from -1 to {T - 1}"):
        diffusion().p_sample_loop_trajectory(denoise_fn, shape=SHAPE, keep=keep)


@pytest.mark.parametrize("repeat", [-1, 0, 1, 5, T])
def test_repeated_noise_is_that_of_the_whole_batch(repeat):
    shape = (3, 4, 4, 2)
    _, images = diffusion("xprev", "fixedlarge").p_sample_loop_trajectory(
        denoise_fn, shape=shape, repeat_noise_steps=repeat, seed=5
    )
    shared = np.array([np.ptp(image, axis=0).max() == 0 for image in images])
    # Image j has seen the noise of x_T and of j steps; the last step adds none.
    expected = np.arange(T + 1) <= repeat
    np.testing.assert_array_equal(shared, expected)


def tensors_of(concrete_function):
    """(in a loop, shape) of every tensor of the function and of those that it calls."""
    definition = concrete_function.graph.as_graph_def(add_shapes=True)
    graphs = [(False, definition.node)] + [(True, f.node_def) for f in definition.library.function]
    for in_loop, nodes in graphs:
        for node in nodes:
            for shape in node.attr["_output_shapes"].list.shape:
                yield in_loop, tf.TensorShape(shape)


@pytest.mark.parametrize("keep", [None, [-1, 400, 799]])
def test_memory_of_a_trajectory_is_that_of_its_frames(keep):
    """No step touches more than one frame, and nothing is larger than the frames returned."""
    steps, frame = 800, 2 * 16 * 16 * 3
    ours = diffusion("xprev", "fixedlarge", betas=np.full(steps, 0.01))
    function = tf.function(
        lambda: ours.p_sample_loop_trajectory(
            denoise_fn, shape=(2, 16, 16, 3), keep=keep, repeat_noise_steps=5, seed=1
        )
    ).get_concrete_function()
    sizes = {True: [], False: []}
    for in_loop, shape in tensors_of(function):
        assert shape.is_fully_defined(), shape
        sizes[in_loop].append(shape.num_elements())
    assert len(sizes[True]) > 100 and max(sizes[True]) >= frame
    # Random numbers come from pairs of integers.
    assert max(sizes[True]) <= 2 * frame
    assert max(sizes[False]) == frame * (steps + 1 if keep is None else len(keep))


# --- Progressive predictions, interpolation and shapes: mistakes and edges


def test_progressive_with_fewer_steps_than_a_slot():
    samples, predictions = diffusion("xprev").p_sample_loop_progressive(
        denoise_fn, shape=SHAPE, include_xstartpred_freq=T + 1, seed=1
    )
    assert predictions.shape == (2, 0, 8, 8, 3)
    expected = diffusion("xprev").p_sample_loop(denoise_fn, shape=SHAPE, seed=1)
    np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize("freq", [0, -1])
def test_progressive_frequency_must_be_positive(freq):
    with pytest.raises(ValueError, match="include_xstartpred_freq"):
        diffusion().p_sample_loop_progressive(denoise_fn, shape=SHAPE, include_xstartpred_freq=freq)


@pytest.mark.parametrize("shape", [(), (None, 8), None])
@pytest.mark.parametrize(
    "loop", ["p_sample_loop", "p_sample_loop_progressive", "p_sample_loop_trajectory"]
)
def test_shape_must_be_known(loop, shape):
    with pytest.raises(ValueError, match="shape is"):
        getattr(diffusion(), loop)(denoise_fn, shape=shape)


@pytest.mark.parametrize("compiled, betas", modes([0.1, 1.0], [0.3]), indirect=["compiled"])
def test_short_chains(compiled, betas):
    ours = diffusion(betas=betas)
    times, images = compiled(
        lambda: ours.p_sample_loop_trajectory(denoise_fn, shape=(2, 5), seed=1)
    )()
    assert times.numpy().tolist() == list(range(len(betas) - 1, -2, -1))
    assert images.shape == (len(betas) + 1, 2, 5) and np.isfinite(images).all()


IMAGES = np.zeros([2, 4, 4, 1], np.float32)  # vectors may lie anywhere


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x2": np.zeros([3, 8], np.float32)}, "must have the same shape"),
        ({"lam": [[0.5]]}, "lam has shape"),
        ({"t": -1}, "t is -1"),
        ({"t": T}, f"t is {T}; it must lie in 0..{T - 1}"),
        ({"x1": IMAGES + 2, "x2": IMAGES}, "x1 ranges from 2 to 2"),
        ({"x1": IMAGES, "x2": IMAGES - 1.5}, "x2 ranges from -1.5 to -1.5"),
        ({"noise1": np.zeros([2, 9], np.float32)}, "noise has shape"),
        ({"mix": "cubic"}, "Unknown mix 'cubic'; choose one of linear, constant_variance"),
        ({"mix": "constant_variance", "lam": [0.5, 1.5]}, r"every weight must lie in -1\.\.1"),
        (
            {"shared_noise": True, "noise2": np.zeros([2, 8], np.float32)},
            "shared_noise and noise2 were both given",
        ),
    ],
)
def test_bad_interpolation(changes, message):
    zeros = np.zeros([2, 8], np.float32)
    arguments = {"x1": zeros, "x2": zeros, "lam": 0.5, "t": 3, **changes}
    with pytest.raises(ValueError, match=message):
        diffusion().interpolate(denoise_fn, **arguments)
