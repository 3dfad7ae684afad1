"""The flow from data to x_T and back, and the arc between latents."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.encoding import MAX_R, slerp, spread
from diffusion_tf.gaussian_diffusion.exact import Gaussian
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM
from diffusion_tf.gaussian_diffusion.process import MODEL_MEAN_TYPES
from diffusion_tf.schedules import get_beta_schedule
from helpers.golden_arrays import denoise_fn

DATA = Gaussian([0.3, -0.2], [0.04, 0.5])
EXAMPLES = np.array([[0.1, 0.7], [0.5, -0.9], [-0.2, 0.3]], np.float32)
SHAPE = (2, 8, 8, 3)


def make_diffusion(T=1000, beta_end=0.02, mean_type="eps", schedule="linear"):
    betas = get_beta_schedule(
        schedule, beta_start=1e-4, beta_end=beta_end, num_diffusion_timesteps=T
    )
    return GaussianDiffusion(betas=betas, model_mean_type=mean_type)


def latents_of(diffusion, steps):
    """x_T of the examples, by the flow's closed form."""
    last = spread(diffusion.alphas_cumprod, steps)[-1]
    return DATA.flow(EXAMPLES, 1.0, diffusion.alphas_cumprod[last]).astype(np.float32)


# --- Against the closed form


@pytest.mark.parametrize(
    "solver, order", [pytest.param("ddim", 1, marks=pytest.mark.slow), ("heun", 2)]
)
def test_the_error_falls_with_the_steps_to_the_power_of_the_order(solver, order):
    diffusion = make_diffusion()
    network = DATA.denoise_fn(diffusion)
    up, down = [], []
    for steps in (20, 40):
        x_T = latents_of(diffusion, steps)
        how = {"sampling_steps": steps, "solver": solver}
        error = diffusion.encode(network, x_start=EXAMPLES, **how) - x_T
        up.append(steps**order * abs(error.numpy()).max(axis=0))
        error = diffusion.decode(network, x=x_T, **how) - EXAMPLES
        down.append(steps**order * abs(error.numpy()).max(axis=0))
    for constant in (up, down):
        assert (np.ptp(constant, axis=0) < 0.12 * np.mean(constant, axis=0)).all(), constant
    assert (np.mean(up, axis=0) < (20 if order == 1 else 120)).all()


def test_every_mean_type_encodes_alike():
    there_and_back = []
    for mean_type in MODEL_MEAN_TYPES:
        diffusion = make_diffusion(mean_type=mean_type)
        network, how = DATA.denoise_fn(diffusion), {"sampling_steps": 8, "solver": "heun"}
        x_T = diffusion.encode(network, x_start=EXAMPLES, **how)
        there_and_back.append([x_T, diffusion.decode(network, x=x_T, **how)])
    for other in there_and_back[1:]:
        np.testing.assert_allclose(other, there_and_back[0], rtol=0, atol=1e-3)


def test_a_process_with_fewer_steps_encodes_on_its_own_timesteps():
    diffusion = make_diffusion()
    network, how = DATA.denoise_fn(diffusion), {"x_start": EXAMPLES}
    steps = list(range(0, 700, 70))
    expected = diffusion.encode(network, sampling_steps=steps, **how)
    actual = DDIM(diffusion, steps).encode(network, **how)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", ["ddim", "heun"])
def test_a_path_in_pieces_is_the_path(solver):
    diffusion = make_diffusion(20, 0.2)
    up = diffusion.flow_path([2, 5, 6, 9])
    assert up.tolist() == [-1, 2, 5, 6, 9]
    for path, x in ((up, EXAMPLES), (up[::-1], 2 * EXAMPLES)):
        how = {"path": path, "solver": solver}
        whole = diffusion.flow_steps(denoise_fn, x=x, **how)
        for first, last in ((0, 1), (1, 3), (3, 4)):
            x = diffusion.flow_steps(denoise_fn, x=x, first=first, last=last, **how)
        np.testing.assert_array_equal(x, whole)


# --- Against the sampler


@pytest.mark.parametrize("clip_denoised", [False, True])
def test_decoding_is_ddim_without_eta(clip_denoised):
    diffusion = make_diffusion(20, 0.2)
    ddim = DDIM(diffusion, [0, 3, 7, 12, 19])
    x = np.random.RandomState(0).randn(*SHAPE).astype(np.float32)
    how = {"x": x, "clip_denoised": clip_denoised}
    expected, _ = ddim.p_sample_steps(denoise_fn, first=4, last=0, **how)
    np.testing.assert_allclose(ddim.decode(denoise_fn, **how), expected, rtol=0, atol=5e-6)
    steps = ddim.timesteps.tolist()
    actual = diffusion.decode(denoise_fn, sampling_steps=steps, **how)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-6)


def test_the_network_is_asked_where_a_step_begins():
    seen = []

    def denoise(x, t):
        seen.append(int(t[0]))
        return tf.zeros_like(x)

    diffusion, x = make_diffusion(10, 0.2), np.zeros([1, 2], np.float32)
    diffusion.encode(denoise, x_start=x, sampling_steps=4)
    diffusion.decode(denoise, x=x, sampling_steps=4)
    assert seen == [0, 0, 2, 5, 7, 5, 2, 0]  # data as those of the first timestep
    seen.clear()
    diffusion.encode(denoise, x_start=x, sampling_steps=[2, 9], solver="heun")
    assert seen == [2, 2, 2, 9]


@pytest.mark.parametrize(
    "jit_compile, solver", [pytest.param(False, "heun", marks=pytest.mark.slow), (True, "ddim")]
)
def test_compiled(jit_compile, solver):
    diffusion = make_diffusion(20, 0.2)
    x = np.random.RandomState(0).uniform(-1, 1, SHAPE).astype(np.float32)

    def both(x):
        x_T = diffusion.encode(denoise_fn, x_start=x, solver=solver)
        return x_T, diffusion.decode(denoise_fn, x=x_T, solver=solver)

    compiled = tf.function(both, jit_compile=jit_compile)
    for actual, expected in zip(compiled(x), both(x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("solver", ["ddim", "heun"])
def test_a_last_level_without_a_trace_of_the_data(solver):
    """jsd ends with a beta of 1, where r is infinite."""
    diffusion = make_diffusion(20, schedule="jsd")
    x = np.random.RandomState(0).uniform(-1, 1, SHAPE).astype(np.float32)
    how = {"sampling_steps": range(20), "solver": solver}
    x_T = diffusion.encode(denoise_fn, x_start=x, **how)
    assert np.isfinite(x_T).all()
    assert np.isfinite(diffusion.decode(denoise_fn, x=x_T, **how)).all()


def test_the_flow_ends_where_a_trace_of_the_data_is_left():
    abar = make_diffusion(1000, schedule="cosine").alphas_cumprod
    number = spread(abar, 1000)[-1] + 1
    assert np.sqrt(1 / abar[number - 1] - 1) <= MAX_R < np.sqrt(1 / abar[number] - 1)
    assert spread(abar, 1000).tolist() == list(range(number))
    assert spread(abar, 4).tolist() == [0, number // 4, number // 2, 3 * number // 4]
    assert spread(np.array([0.9, 0.5]), 2).tolist() == [0, 1]
    assert spread(np.array([0.0]), 1).tolist() == [0]


@pytest.mark.extras
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_50_steps_are_those_of_diffusers_told_where_they_begin(spacing):
    """DDIMInverseScheduler's steps are ours, but its loop is one timestep off.

    Its pipelines ask the network at the timestep where the step ends, with the x of where it
    begins. Asked at the timestep of that x, it gives the same latents.
    """
    torch = pytest.importorskip("torch")
    scheduler = pytest.importorskip("diffusers").DDIMInverseScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        clip_sample=False, set_alpha_to_one=True, timestep_spacing=spacing,
    )  # fmt: skip
    scheduler.set_timesteps(50)
    ends = scheduler.timesteps.tolist()
    x = np.random.RandomState(0).uniform(-1, 1, SHAPE).astype(np.float32)

    def encode_by_diffusers(asked):
        latents = x
        for timestep, end in zip(asked, ends, strict=True):
            output = denoise_fn(tf.constant(latents), tf.fill(SHAPE[:1], timestep)).numpy()
            step = scheduler.step(torch.tensor(output), end, torch.tensor(latents))
            latents = step.prev_sample.numpy()
        return latents

    diffusion = make_diffusion()
    ours = diffusion.encode(denoise_fn, x_start=x, sampling_steps=ends).numpy()
    begins = [ends[0], *ends[:-1]]  # the data are asked about as those of the first timestep
    np.testing.assert_allclose(ours, encode_by_diffusers(begins), rtol=1e-5, atol=2e-5)
    assert abs(ours - encode_by_diffusers(ends)).max() > 1e-3  # the off-by-one


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"solver": "euler"}, "Unknown solver 'euler'; choose one of ddim, heun"),
        ({"sampling_steps": 0}, "sampling_steps is 0"),
        ({"sampling_steps": [3, 2]}, "timesteps must rise within"),
        ({"x_start": np.full(SHAPE, 2, np.float32)}, "x_start ranges from 2 to 2"),
    ],
)
def test_mistakes(arguments, message):
    arguments = {"x_start": np.zeros(SHAPE, np.float32), **arguments}
    with pytest.raises(ValueError, match=message):
        make_diffusion(20, 0.2).encode(denoise_fn, **arguments)


# --- The arc


def test_an_arc_by_hand():
    x1, x2 = [[1.0, 0.0]], [[0.0, 2.0]]
    half, root = [0.0, 1 / 3, 0.5, 1.0], np.sqrt(0.5)
    expected = [[[1, 0]], [[np.sqrt(0.75), 1.0]], [[root, 2 * root]], [[0, 2]]]
    np.testing.assert_allclose(slerp(x1, x2, half), expected, atol=1e-6)
    np.testing.assert_allclose(GaussianDiffusion.slerp(x1, x2, 0.5), expected[2], atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.25, 0.5, 1.0])
def test_an_arc_keeps_the_variance_of_latents_and_a_line_does_not(lam):
    x1, x2 = np.random.RandomState(0).randn(2, 1, 200_000).astype(np.float32)
    off = 4.5 * np.sqrt(2 / 200_000)
    assert abs(np.var(slerp(x1, x2, lam)) - 1) < off
    assert abs(np.var((1 - lam) * x1 + lam * x2) - ((1 - lam) ** 2 + lam**2)) < off


def test_an_arc_ends_at_its_ends_whatever_their_angle():
    x1, other = np.random.RandomState(0).randn(2, 3, 4, 5).astype(np.float32)
    for x2 in (other, x1 + 1e-6 * other, x1, -x1, 0 * x1):
        arc = slerp(x1, x2, [0.0, 0.5, 1.0]).numpy()
        np.testing.assert_array_equal(arc[0], x1)
        np.testing.assert_array_equal(arc[2], x2)
        assert np.isfinite(arc).all()
    np.testing.assert_allclose(slerp(x1, x1, 0.3), x1, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"x2": [[0.0]]}, "must have the same shape"),
        ({"lam": [[0.5]]}, "lam has shape"),
        ({"lam": np.nan}, "every weight must be a finite number"),
    ],
)
def test_no_arc(arguments, message):
    arguments = {"x1": [[0.0, 1.0]], "x2": [[1.0, 0.0]], "lam": 0.5, **arguments}
    with pytest.raises(ValueError, match=message):
        slerp(**arguments)
