"""DPM-Solver++(2M): by hand, against the exact flow, and against diffusers; its memory."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.gaussian_diffusion.exact import Gaussian
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM, DPMSolver
from diffusion_tf.gaussian_diffusion.process import MODEL_MEAN_TYPES
from diffusion_tf.models import get_model
from diffusion_tf.sampling import files, parts, shards
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.schedules import get_beta_schedule
from helpers import golden_arrays as golden
from helpers.replicas import replicas

DATA = Gaussian([0.3, -0.2], [0.04, 0.5])
SHAPE = (2, 8, 8, 3)


def training_process(T=1000, beta_end=0.02, mean_type="eps", var_type="fixedlarge"):
    betas = get_beta_schedule(
        "linear", beta_start=1e-4, beta_end=beta_end, num_diffusion_timesteps=T
    )
    return GaussianDiffusion(
        betas=betas, model_mean_type=mean_type, model_var_type=var_type, loss_type="kl"
    )


def chain_by_hand(alphas_cumprod, predict, x):
    """Algorithm 2 of Lu et al. 2022 in float64: x before each step, and at last the data.

    Args:
        alphas_cumprod: levels, rising in time.
        predict: x_0 of x at one of the levels, (x, its number).
        x: where the chain starts.
    """
    alphas = np.sqrt(alphas_cumprod)[::-1]
    sigmas = np.sqrt(1 - alphas_cumprod)[::-1]
    lambdas = np.log(alphas / sigmas)
    xs, x_0s = [x], []
    for i in range(len(alphas) - 1):
        h = lambdas[i + 1] - lambdas[i]
        x_0s.append(predict(xs[i], len(alphas) - 1 - i))
        D = x_0s[i]
        if i:
            r = (lambdas[i] - lambdas[i - 1]) / h
            D = (1 + 1 / (2 * r)) * x_0s[i] - 1 / (2 * r) * x_0s[i - 1]
        x = sigmas[i + 1] / sigmas[i] * xs[i] - alphas[i + 1] * np.expm1(-h) * D
        xs.append(x)
    return [*xs, predict(xs[-1], 0)]  # h is infinite there


def exact_chain(process, x):
    """The chain by hand with the optimal network for `DATA`."""
    levels = np.cumprod(1 - process.training.betas)[process.timesteps]
    slope, offset = DATA.denoiser(levels)
    return chain_by_hand(levels, lambda x, k: slope[k] * x + offset[k], x)


def start_of(number):
    return np.random.RandomState(0).randn(number, 2).astype(np.float32)


@pytest.mark.parametrize(
    "steps, expected", [(1, [9]), (2, [4, 9]), (3, [3, 6, 9]), (9, range(1, 10)), (10, range(10))]
)
def test_timesteps_end_each_stride(steps, expected):
    assert DPMSolver(training_process(10, 0.2), steps).timesteps.tolist() == list(expected)


@pytest.mark.parametrize("T", [1, 2, 3, 10, 50, 1000])
def test_any_number_of_steps_is_taken(T):
    training = training_process(T)
    for steps in {*range(1, min(T, 60) + 1), T // 2 or 1, max(T - 1, 1), T}:
        assert DPMSolver(training, steps).num_timesteps == steps


def test_four_steps_by_hand():
    process, x = DPMSolver(training_process(), [50, 300, 420, 999]), start_of(3)
    frames = process.p_sample_loop_trajectory(
        DATA.denoise_fn(process.training), shape=x.shape, clip_denoised=False,
        noise_fn=lambda shape, dtype: tf.constant(x),
    )[1]  # fmt: skip
    expected = exact_chain(process, x.astype(np.float64))
    # At t = 999 x_0 is 157 x - 157 eps (eq. 4): roundings of x count 157 times, then a tenth.
    np.testing.assert_allclose(frames, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_first_step_and_the_last_one_are_those_of_ddim(steps):
    process = DPMSolver(training_process(), steps)
    ddim = DDIM(process.training, process.timesteps)
    a, b = (p.p_sample_loop(golden.denoise_fn, shape=SHAPE, seed=3) for p in (process, ddim))
    if steps < 3:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    else:
        assert np.abs(a - b).max() > 1e-3


def errors(cls, numbers_of_steps, low=0.995, high=0.0005):
    """Of steps that are even in lambda, from one level to another, in the exact flow."""
    training, x = training_process(4000, 0.005), np.array([[0.8, -1.2]], np.float32)
    lambdas = np.log(training.alphas_cumprod / (1 - training.alphas_cumprod)) / 2
    ends = [np.log(level / (1 - level)) / 2 for level in (low, high)]
    for steps in numbers_of_steps:
        grid = np.linspace(*ends, steps + 1)
        timesteps = [int(np.argmin(abs(lambdas - value))) for value in grid]
        process = cls(training, timesteps)
        x_end, _ = tf.function(process.p_sample_steps)(
            DATA.denoise_fn(training), x=x, first=steps, last=1, clip_denoised=False
        )
        levels = training.alphas_cumprod[timesteps]
        yield x_end[0] - DATA.flow(x[0].astype(np.float64), levels[-1], levels[0])


def test_it_is_of_second_order_and_ddim_of_first():
    """The error, times that power of the number of steps, is the same for all numbers of steps."""
    numbers = np.array([20, 40, 80])
    second, first = (np.linalg.norm(list(errors(c, numbers)), axis=1) for c in (DPMSolver, DDIM))
    for products in (second * numbers**2, first * numbers):
        np.testing.assert_allclose(products[1:] / products[:-1], 1.0, atol=0.15)
    assert (second < first / 3).all()


@pytest.mark.extras
@pytest.mark.parametrize("steps", [10, 20, 50])
def test_it_is_that_of_diffusers(steps):
    """From the same x_T, with the same network: every x_t on the way."""
    torch = pytest.importorskip("torch")
    scheduler = pytest.importorskip("diffusers").DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing="linspace",
    )
    scheduler.set_timesteps(steps)
    process, x = DPMSolver(training_process(), steps), start_of(5)
    np.testing.assert_array_equal(process.timesteps[::-1], scheduler.timesteps)
    network = DATA.denoise_fn(process.training)
    _, ours = process.p_sample_loop_trajectory(
        network, shape=x.shape, noise_fn=lambda shape, dtype: tf.constant(x), clip_denoised=False
    )
    theirs = torch.tensor(x)
    for timestep, x_t in zip(scheduler.timesteps, ours[1:], strict=True):
        output = network(tf.constant(theirs.numpy()), tf.fill([5], int(timestep)))
        theirs = scheduler.step(torch.tensor(output.numpy()), timestep, theirs).prev_sample
        np.testing.assert_allclose(x_t, theirs, rtol=0, atol=1e-4, err_msg=f"from {timestep}")
    assert np.abs(theirs).max() > 0.1


@pytest.mark.parametrize("var_type", ["fixedsmall", "learned"])
@pytest.mark.parametrize("mean_type", MODEL_MEAN_TYPES)
def test_whatever_the_network_predicts(mean_type, var_type):
    process = DPMSolver(training_process(mean_type=mean_type, var_type=var_type), 20)
    x = start_of(4)
    x_0 = process.p_sample_loop(
        DATA.denoise_fn(process.training), shape=x.shape, clip_denoised=False,
        noise_fn=lambda shape, dtype: tf.constant(x),
    )  # fmt: skip
    np.testing.assert_allclose(x_0, exact_chain(process, x.astype(np.float64))[-1], atol=2e-5)


def test_samples_have_the_moments_of_the_flow():
    """Before the step to the data, which takes the mean of x_0 for x_0."""
    process, number = DPMSolver(training_process(), 50), 10_000
    loop = tf.function(process.p_sample_loop_trajectory)
    _, frames = loop(
        DATA.denoise_fn(process.training), shape=(number, 2), keep=[49, 0], seed=0,
        clip_denoised=False,
    )  # fmt: skip
    x_T, samples = frames.numpy().astype(np.float64)
    levels = process.alphas_cumprod[[49, 0]]
    np.testing.assert_allclose(samples, DATA.flow(x_T, *levels), rtol=0, atol=0.03)
    mean, variance = DATA.marginal(levels[1])
    error = (samples.mean(axis=0) - mean) / np.sqrt(variance / number)
    assert (abs(error) < 4.5).all(), error
    error = (samples.var(axis=0) / variance - 1) / np.sqrt(2 / number)
    assert (abs(error) < 4.5).all(), error


def test_predictions_are_clipped():
    process = DPMSolver(training_process(), 20)
    samples = process.p_sample_loop(lambda x, t: -5.0 * x, shape=SHAPE, seed=0)
    assert np.abs(samples).max() == 1.0


def test_no_noise_is_drawn_after_x_T():
    process = DPMSolver(training_process(), 7)
    x_T = process.prior_sample(shape=SHAPE, seed=1)
    a, b = (
        process.p_sample_steps(golden.denoise_fn, x=x_T, first=6, last=0, seed=seed)[0]
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_chain_in_pieces_equals_one_in_one_go_if_it_remembers(jit_compile):
    process = DPMSolver(training_process(), 9)
    x_T = process.prior_sample(shape=SHAPE, seed=1)

    @tf.function(jit_compile=jit_compile)
    def steps(x, memory, first, last):
        return process.p_sample_steps(
            golden.denoise_fn, x=x, memory=memory, first=first, last=last, seed=1
        )

    def chain(*lasts, remember=True):
        x, memory, first = x_T, process.initial_memory(x_T), 8
        for last in lasts:
            if not remember:
                memory = process.initial_memory(x)
            x, memory = steps(x, memory, tf.constant(first), tf.constant(last))
            first = last - 1
        return x.numpy()

    for lasts in ((5, 4, 0), (8, 1, 0), range(8, -1, -1)):
        np.testing.assert_array_equal(chain(*lasts), chain(0))
    whole = process.p_sample_loop(golden.denoise_fn, shape=SHAPE, seed=1)
    np.testing.assert_allclose(whole, chain(0), rtol=0, atol=1e-5)
    assert np.abs(chain(5, 4, 0, remember=False) - chain(0)).max() > 1e-3


def test_one_step_alone_remembers_nothing():
    process, x = DPMSolver(training_process(), 9), golden.noise_fn(SHAPE)
    ddim = DDIM(process.training, process.timesteps)
    for t in (8, 4, 0):
        a, b = (
            p.p_sample(golden.denoise_fn, x=x, t=tf.fill([2], t), return_pred_xstart=True)
            for p in (process, ddim)
        )
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_interpolations_and_trajectories_start_without_memory():
    process = DPMSolver(training_process(), 9)
    ends = {f"x{i}": tf.tanh((2 * i - 3) * golden.noise_fn(SHAPE)) for i in (1, 2)}
    mixtures = process.interpolate(golden.denoise_fn, **ends, lam=[0.0, 1.0], t=5, seed=4)
    noise = {"noise1": golden.noise_fn(SHAPE), "noise2": golden.noise_fn(SHAPE)}
    mixtures = process.interpolate(golden.denoise_fn, **ends, **noise, lam=[0.0, 1.0], t=5)
    for x, mixture in zip(ends.values(), mixtures, strict=True):
        x_t = process.q_sample(x, tf.fill([2], 5), noise=noise["noise1"])
        alone, _ = process.p_sample_steps(golden.denoise_fn, x=x_t, first=5, last=0)
        np.testing.assert_allclose(mixture, alone, rtol=0, atol=1e-5)

    how = {"shape": SHAPE, "seed": 1}
    times, frames = process.p_sample_loop_trajectory(golden.denoise_fn, **how)
    x = frames[0]
    for frame, first in zip(frames[1:], times[:-1].numpy(), strict=True):
        x, _ = process.p_sample_steps(golden.denoise_fn, x=frames[0], first=8, last=int(first))
        np.testing.assert_allclose(frame, x, rtol=0, atol=1e-5)
    _, predictions = process.p_sample_loop_progressive(
        golden.denoise_fn, **how, include_xstartpred_freq=3
    )
    np.testing.assert_array_equal(predictions[:, 0], frames[-1])  # the last step goes to x_0


CONFIG = get_config(
    "digits", ch=32, ch_mult=(1,), attn_resolutions=(), num_diffusion_timesteps=20, num_res_blocks=1
)


def make_sampler(steps, strategy, **choices):
    with strategy.scope():
        model = get_model(CONFIG)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    process = get_sampling_process(get_diffusion(CONFIG), "dpmpp_2m", steps)
    return Sampler.of_run(CONFIG, model, process=process, strategy=strategy, **choices)


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [2, 50])  # of three steps, and of one
def test_shards_are_the_same_after_an_interruption_and_on_two_devices(
    tmp_path, monkeypatch, pieces
):
    monkeypatch.setattr(shards, "MAX_PIECES", pieces)
    steps = 6

    def write(name, sampler):
        files.write_samples(
            str(tmp_path / name), sampler, num_samples=3, batch_size=2, origin={}, float32=True,
            trajectory=(steps - 1, -1),
        )  # fmt: skip
        return (tmp_path / name).read_bytes()

    one = make_sampler(steps, replicas(1))
    whole = write("whole.npz", one)
    save = parts.Parts.save

    def failing(self, shard, samples):
        if shard == 1:
            raise RuntimeError("lightning")
        save(self, shard, samples)

    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "save", failing)
        with pytest.raises(RuntimeError, match="lightning"):
            write("resumed.npz", one)
    assert write("resumed.npz", one) == whole
    assert write("two.npz", make_sampler(steps, replicas(2))) == whole
    compiled = dataclasses.replace(one, jit_compile=True)
    write("compiled.npz", compiled)
    arrays = []
    for name in ("whole.npz", "compiled.npz"):
        with np.load(tmp_path / name, allow_pickle=False) as file:
            arrays.append(file["arr_0"])
    np.testing.assert_allclose(*arrays, rtol=0, atol=1e-3)
    with np.load(tmp_path / "whole.trajectory.npz", allow_pickle=False) as file:
        last = file["images"][-1].astype(int)
    np.testing.assert_allclose(last, (arrays[0][:2] + 1) * 127.5, atol=1.1)
