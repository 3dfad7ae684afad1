"""Numbers that people and files give: what does not fit is one sentence, and never wraps."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.datasets import InMemory
from diffusion_tf.evaluation.metrics.fid import Statistics
from diffusion_tf.evaluation.options import Request
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.gaussian_diffusion.noise import noise_source
from diffusion_tf.models import MLP, UNet
from diffusion_tf.sampling.guidance import Conditions, denoise_fn, get_conditions
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import split
from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.utils.numbers import checked_seed, shown, whole_array
from diffusion_tf.utils.random_numbers import host_seed, stream

NAN, INF = float("nan"), float("inf")
DIGITS = get_config("digits", num_diffusion_timesteps=10)
D = get_diffusion(DIGITS)
X, T = tf.zeros([2, 8, 8, 1]), tf.constant([1, 2])
SMALL = {"ch": 32, "out_ch": 1, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": ()}
PIXELS = np.zeros([2, 8, 8, 1], np.uint8)
LABELS = get_config("digits", num_classes=4)


def network(x, t):
    return x


def unet(**arguments):
    return UNet(**{**SMALL, **arguments})


def mlp(**arguments):
    return MLP(**{"ch": 16, "out_dim": 2, "num_res_blocks": 1, **arguments})


@pytest.fixture(scope="module")
def models():
    """A network of each kind; that for vectors has an embedding for each of 5 steps."""
    plain, conditional, vectors = unet(), unet(num_classes=4), mlp(num_timesteps=5)
    labels = mlp(num_classes=4)
    for model, shape in (
        (plain, (8, 8, 1)), (conditional, (8, 8, 1)), (vectors, (2,)), (labels, (2,))
    ):  # fmt: skip
        model.build([(None, *shape), (None,)])
    return {"plain": plain, "conditional": conditional, "vectors": vectors, "labels": labels}


@pytest.mark.parametrize(
    "t, message",
    [
        (tf.constant([1, 2, 3]), r"t has shape \(3,\) .* one timestep for each example"),
        (tf.constant([1]), r"t has shape \(1,\)"),
        (tf.constant(1), r"t has shape \(\)"),
        (tf.constant([1.0, 2.0]), "t has dtype float32; timesteps must be int32 or int64"),
        (np.array([1, 2], np.uint64), "t has dtype uint64"),
        (tf.constant([-1, 2]), "t has -1; timesteps must lie in 0.."),
        (np.array([2**32 + 1, 2]), "t has 4294967297"),
        (tf.constant([0, 5]), None),
    ],
)
def test_a_network_takes_one_timestep_for_each_example(models, t, message):
    if message is None:
        assert models["plain"]([X, t]).shape == X.shape
        with pytest.raises(ValueError, match="t has 5; timesteps must lie in 0..4"):
            models["vectors"]([tf.zeros([2, 2]), t])
        return
    for name, x in (("plain", X), ("vectors", tf.zeros([2, 2]))):
        with pytest.raises(ValueError, match=message):
            models[name]([x, t])


@pytest.mark.parametrize(
    "y, message",
    [
        (np.array([1]), r"y has shape \(1,\) for a batch of 2; give one condition"),
        (np.array([2**32 + 3, 1]), "y has the label 4294967299; labels lie in 0..3"),
        (np.array([2**32 - 1, 1], np.uint32), "y has the label 4294967295"),
        (np.array([2**64 - 1, 1], np.uint64), "y has the label 18446744073709551615"),
        (np.array([4, 1], np.uint8), "y has the label 4"),
        (np.array([True, False]), "y has dtype bool"),
        (np.array([0.5, 1.0]), "y has dtype float"),
    ],
)
def test_a_network_takes_one_label_for_each_example(models, y, message):
    with pytest.raises(ValueError, match=message):
        models["conditional"]([X, T, y])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_labels_of_every_integer_type_are_the_same(models, dtype):
    """Also with guidance, which needs a label for "none" that unsigned types have not."""
    model, x = models["labels"], tf.random.stateless_normal([2, 2], [0, 0])
    for weight in model.trainable_variables:
        weight.assign(0.1 * tf.random.stateless_normal(weight.shape, [0, 1]))
    for scale in (1.0, 2.0):
        expected = denoise_fn(model, np.array([3, 1], np.int32), scale)(x, T)
        y = np.array([3, 1], dtype)
        np.testing.assert_array_equal(denoise_fn(model, y, scale)(x, T), expected)
        compiled = tf.function(lambda y, s=scale: denoise_fn(model, y, s)(x, T))
        np.testing.assert_allclose(compiled(tf.constant(y)), expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_label_that_no_class_has_never_becomes_another(models):
    """Its value is not known when the graph is made; XLA would take the last class."""
    x = tf.ones([2, 2])
    call = tf.function(lambda y: models["labels"]([x, T, y]), jit_compile=True)
    for wrong in (tf.constant([4, 1]), tf.constant([2**32 + 3, 1], tf.uint64)):
        assert np.isnan(call(wrong)[0]).all()


SHAPE = {"shape": (2, 8, 8, 1)}
REFUSED = {
    # The process
    "t too large": (lambda: D.q_sample(X, [1, 10]), "t has 10; timesteps must lie in 0..9"),
    "t negative": (lambda: D.q_sample(X, [-1, 1]), "t has -1"),
    "t beyond int32": (lambda: D.q_sample(X, np.array([2**32, 1])), "t has 4294967296"),
    "t ragged": (lambda: D.q_sample(X, "ab"), "timesteps must be int32"),
    "t of q": (lambda: D.q_mean_variance(X, [10, 1]), "t has 10"),
    "t of the posterior": (lambda: D.q_posterior_mean_variance(X, X, [10, 1]), "t has 10"),
    "t of p": (lambda: D.p_mean_variance(network, x=X, t=[10, 1]), "t has 10"),
    "t of a step": (lambda: D.p_sample(network, x=X, t=[10, 1]), "t has 10"),
    "t of the loss": (lambda: D.p_losses(network, X, [10, 1]), "t has 10"),
    "t of DDIM": (lambda: DDIM(D, 5).p_sample(network, x=X, t=[5, 1]), "t has 5"),
    "t of some terms": (lambda: D.bpd_terms(network, X, [1, 10]), "timesteps has 10; each must"),
    "terms that wrap": (lambda: D.bpd_terms(network, X, [2**32 + 3]), "timesteps has 4294967299"),
    "terms that are not steps": (lambda: D.bpd_terms(network, X, [1.5]), "must hold whole numbers"),
    "first step": (lambda: D.p_sample_steps(network, x=X, first=10, last=0), "first is 10; it mu"),
    "last step": (lambda: D.p_sample_steps(network, x=X, first=1, last=2), "first >= last"),
    "half a step": (lambda: D.p_sample_steps(network, x=X, first=2.5, last=0), "whole number"),
    "integer noise": (lambda: D.q_sample(X, T, noise=tf.zeros(X.shape, tf.int32)), "must be float"),
    "complex noise": (lambda: D.q_sample(X, T, noise=np.zeros(X.shape, complex)), "real numbers"),
    "float64 tensor": (lambda: D.q_sample(tf.cast(X, tf.float64), T), "it must be float32: cast"),
    "no batch": (lambda: D.p_sample_loop(network, shape=(None, 8, 8, 1)), "give every size"),
    "half a batch": (lambda: D.prior_sample(shape=(2.5, 2)), "give every size"),
    "negative batch": (lambda: D.prior_sample(shape=(-2, 2)), "give every size"),
    "no shape": (lambda: D.prior_sample(shape=3), "give every size"),
    "freq": (
        lambda: D.p_sample_loop_progressive(network, **SHAPE, include_xstartpred_freq=2.0),
        "include_xstartpred_freq is 2.0; it must be a whole number",
    ),
    "keep halves": (lambda: D.p_sample_loop_trajectory(network, **SHAPE, keep=[1.0]), "name one"),
    "keep a bool": (lambda: D.p_sample_loop_trajectory(network, **SHAPE, keep=[True]), "name one"),
    "keep a text": (lambda: D.p_sample_loop_trajectory(network, **SHAPE, keep=[1, ""]), "name one"),
    "keep no list": (lambda: D.p_sample_loop_trajectory(network, **SHAPE, keep=3), "name one"),
    "lam NaN": (lambda: D.interpolate(network, x1=X, x2=X, lam=NAN, t=3), "lam is nan; every we"),
    "lam inf": (lambda: D.interpolate(network, x1=X, x2=X, lam=[0, INF], t=3), r"lam is \[ 0. inf"),
    "lam too large": (lambda: D.interpolate(network, x1=X, x2=X, lam=1e99, t=3), "finite"),
    "lam complex": (lambda: D.interpolate(network, x1=X, x2=X, lam=1j, t=3), "real numbers"),
    "half a t": (lambda: D.interpolate(network, x1=X, x2=X, lam=0.5, t=2.5), "t is 2.5; it must"),
    "t wraps": (lambda: D.interpolate(network, x1=X, x2=X, lam=0.5, t=2**32), r"lie in 0\.\.9"),
    "t known": (lambda: D.interpolate(network, x1=X, x2=X, lam=0, t=tf.constant(10)), "t is 10"),
    "betas NaN": (lambda: GaussianDiffusion(betas=[NAN]), r"betas\[0\] is nan"),
    "betas complex": (lambda: GaussianDiffusion(betas=[0.1 + 0j]), "must hold real numbers"),
    "betas text": (lambda: GaussianDiffusion(betas="a"), "must hold real numbers"),
    "schedule": (
        lambda: get_beta_schedule(
            "linear", beta_start="a", beta_end=0.1, num_diffusion_timesteps=3
        ),
        "beta_start is 'a'; a variance",
    ),
    # Samplers
    "steps float": (lambda: RespacedDiffusion(D, 5.0), "sampling_steps is 5.0; it must be a whole"),
    "steps bool": (lambda: RespacedDiffusion(D, True), "sampling_steps is True"),
    "steps halves": (lambda: RespacedDiffusion(D, [1, 2.5]), "timesteps must rise within 0..9"),
    "steps wrap": (lambda: RespacedDiffusion(D, [2**32]), "timesteps must rise within 0..9"),
    "steps text": (lambda: get_sampling_process(D, "ddim", "5"), "sampling_steps is '5'"),
    "steps as float": (lambda: get_sampling_process(D, "ancestral", 10.0), "sampling_steps is 10."),
    "steps as list": (lambda: get_sampling_process(D, "ddim", [1, 5]), "sampling_steps is .1, 5"),
    "eta NaN": (lambda: DDIM(D, 5, eta=NAN), "eta is nan; it must lie in"),
    "eta text": (lambda: get_sampling_process(D, "ddim", 5, eta="a"), "eta is a; it must lie in"),
    "samples float": (lambda: split(2.0, 1), "num_samples is 2.0; it must be a whole number"),
    "samples bool": (lambda: split(True, 1), "num_samples is True"),
    "samples too many": (lambda: split(2**40, 1), "num_samples is 1099511627776; .* at most"),
    # Networks
    "dropout 2": (lambda: unet(dropout=2.0), r"dropout is 2.0; it must be in \[0, 1\)"),
    "dropout NaN": (lambda: unet(dropout=NAN), "dropout is nan"),
    "dropout text": (lambda: unet(dropout="a"), "dropout is 'a'"),
    "dropout of MLP": (lambda: mlp(dropout=2.0), "dropout is 2.0"),
    "dropout NaN of MLP": (lambda: mlp(dropout=NAN), "dropout is nan"),
    "ch_mult text": (lambda: unet(ch_mult="12"), "ch_mult is '12'; it must be a list of whole"),
    "ch_mult number": (lambda: unet(ch_mult=2), "ch_mult is 2; it must be a list"),
    "ch_mult 0": (lambda: unet(ch_mult=(1, 0)), "every number of channels"),
    "ch 33": (lambda: unet(ch=33), "every number of channels must be a multiple of 32"),
    "ch float": (lambda: unet(ch=32.0), "ch is 32.0; it must be a whole number"),
    "no block": (lambda: unet(num_res_blocks=0), "at least one resolution and one block"),
    "half a block": (lambda: unet(num_res_blocks=1.5), "num_res_blocks is 1.5"),
    "no channel": (lambda: unet(out_ch=0), "out_ch is 0; it must be at least 1"),
    "classes": (lambda: unet(num_classes=-1), "num_classes is -1; it must be at least 0"),
    "steps of MLP": (lambda: mlp(num_timesteps=0), "num_timesteps is 0; it must be at least 1"),
    "attention -5": (lambda: unet(attn_resolutions=(-5,)), "attn_resolutions is -5; it must be"),
    "attention number": (lambda: unet(attn_resolutions=8), "attn_resolutions is 8; .* a list"),
    "attention 7": (lambda: unet(attn_resolutions=(7,))([X, T]), r"is \(7,\); .* some of 8, or"),
    "attention after blocks": (
        lambda: unet(attn_resolutions=(8,), block_size=2).build([(None, 8, 8, 1), (None,)]),
        "block_size 2, it must be some of 4",
    ),
    # Conditions
    "label wraps": (lambda: Conditions(np.array([2**32 + 3])), "has 4294967299; each must be"),
    "label none": (lambda: Conditions(np.array([2**32 - 1], np.uint32)), "has 4294967295"),
    "label -2": (lambda: Conditions(np.array([-2])), "has -2; each must be at least -1"),
    "label bool": (lambda: Conditions(np.array([True])), "have dtype bool"),
    "label half": (lambda: Conditions(np.array([0.5])), "have dtype float64"),
    "vector inf": (lambda: Conditions(np.array([[INF]])), "have infinite numbers"),
    "vector too large": (lambda: Conditions(np.array([[1e99]])), "have infinite numbers"),
    "no conditions": (lambda: Conditions(np.zeros(0, int)), "give at least one"),
    "guidance": (lambda: Conditions(np.array([1]), INF), "guidance_scale is inf; .* finite"),
    "guidance of a network": (lambda: denoise_fn(network, [1], NAN), "guidance_scale is nan"),
    "typed label": (lambda: get_conditions(LABELS, "4294967299"), "y has the label 4294967299"),
    "typed label, huge": (lambda: get_conditions(LABELS, f"1,{2**70}"), f"the label {2**70}"),
    "typed label, negative": (lambda: get_conditions(LABELS, f"{-(2**64)}"), "the label -184467"),
    "label of data": (lambda: InMemory(PIXELS, np.array([2**32, 1])), "has 4294967296; each must"),
    "bool of data": (lambda: InMemory(PIXELS, np.array([True, False])), "must hold labels"),
    "half of data": (lambda: InMemory(PIXELS, np.array([0.5, 1])), "must hold labels"),
    "vector of data": (lambda: InMemory(PIXELS, np.array([[NAN], [1]])), "not finite in 1 of 2"),
    # Seeds
    "seed of noise": (lambda: noise_source(None, 2**63), "seed is 9223372036854775808; a seed mu"),
    "seed half": (lambda: noise_source(None, 1.5), "seed is 1.5; a seed must be a whole number"),
    "seed bool": (lambda: noise_source(None, True), "seed is True"),
    "seed tensor": (lambda: noise_source(None, tf.constant(1, tf.uint64)), "dtype uint64 and sh"),
    "seed of three": (lambda: noise_source(None, [1, 2, 3]), r"shape \(3,\); it must be a whole"),
    "row": (lambda: noise_source(None, 1, 2**64), "first row is 18446744073709551616; it must be"),
    "seed of a stream": (lambda: stream(-(2**63) - 1, "train"), "seed is -9223372036854775809"),
    "seed of data": (lambda: InMemory(PIXELS).train_batches(2, seed=2**64), "seed is 18446744"),
    "seed of an evaluation": (lambda: Request(seed=2**63), "seed is 9223372036854775808; a seed"),
    "seed of a config": (lambda: Config(seed=2**63), "seed is 9223372036854775808; a seed must"),
    # Data and evaluations
    "batch of data": (lambda: InMemory(PIXELS).train_batches(0, seed=1), "batch_size is 0"),
    "half an example": (lambda: InMemory(PIXELS).example(0.5), "Image 0.5 does not exist"),
    "fewer than none": (lambda: InMemory(PIXELS).first(-1), "number is -1; it must be at least 0"),
    "half a sample": (lambda: Request(num_samples=2.5), "num_samples is 2.5; it must be 2 or"),
    "too many samples": (lambda: Request(num_samples=2**32), "num_samples is 4294967296; .* at mo"),
    "no batch of them": (lambda: Request(batch_size=0), "batch_size is 0; it must be at least 1"),
    "no step": (lambda: Request(sampling_steps=0), "sampling_steps is 0; it must be at least 1"),
    "eta of it": (lambda: Request(eta=NAN), "eta is nan; it must lie in"),
}


@pytest.mark.parametrize("call, message", REFUSED.values(), ids=REFUSED)
def test_what_would_come_out_wrong_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_conditions_that_a_network_has_not_are_refused_before_anything_is_drawn(models):
    conditions = Conditions(np.array([4]))
    with pytest.raises(ValueError, match="y has the label 4; labels lie in 0..3"):
        Sampler(
            model=models["conditional"], process=D, sample_shape=(8, 8, 1), conditions=conditions
        )
    good = Sampler(model=models["conditional"], process=D, sample_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="y has the label 4; labels lie in 0..3"):
        dataclasses.replace(good, conditions=conditions)


def test_numbers_of_numpy_are_numbers():
    eight = np.zeros(X.shape, np.float64)
    expected = D.interpolate(network, x1=X, x2=X, lam=0.5, t=3, seed=7)
    same = D.interpolate(
        network, x1=eight, x2=eight, lam=np.float64(0.5), t=np.int64(3), seed=np.uint64(7)
    )
    np.testing.assert_array_equal(same, expected)
    assert RespacedDiffusion(D, np.int64(5)).num_timesteps == 5
    assert get_sampling_process(D, "ddim", np.uint8(5), eta=np.float32(0.5)).eta == 0.5
    times, _ = D.p_sample_loop_trajectory(network, **SHAPE, keep=np.array([3, -1]), seed=0)
    assert times.numpy().tolist() == [3, -1]
    assert unet(ch=np.int64(32), ch_mult=np.array([1, 2])).ch_mult == (1, 2)
    config = Config(
        ch_mult=[np.int64(1), 2], lr=np.float32(0.5), steps=np.uint64(7), seed=np.int8(-3)
    )
    assert Config.from_dict({**DIGITS.__dict__, "seed": np.int64(-3)}).to_json()
    assert (config.ch_mult, config.lr, config.steps, config.seed) == ((1, 2), 0.5, 7, -3)
    assert "-3" in config.to_json()


def test_arrays_become_int32_only_where_they_fit():
    for dtype in (np.int8, np.uint16, np.uint32, np.int64, np.uint64):
        narrow = whole_array(np.array([[0, 7]], dtype), "n", 0, 7)
        assert narrow.dtype == np.int32 and narrow.tolist() == [[0, 7]]
    for values in ([2**31], [-(2**31) - 1], [2**63], [2**70], np.array([2**64 - 1], np.uint64)):
        with pytest.raises(ValueError, match=r"n has -?\d+; each must be at"):
            whole_array(values, "n", -(2**31))


def test_every_int64_is_a_seed_and_no_two_are_the_same():
    seeds = [0, 1, -1, 2**31, 2**32, 2**32 + 1, 2**63 - 1, -(2**63)]
    drawn = {noise_source(None, s)(0, shape=[8], dtype=tf.float32).numpy().tobytes() for s in seeds}
    assert len(drawn) == len(seeds)
    assert len({stream(s, "train").numpy().tobytes() for s in seeds}) == len(seeds)
    assert [host_seed(s) for s in (0, 7, 2**32 - 1)] == [0, 7, 2**32 - 1]
    assert len({host_seed(s) for s in seeds}) == len(seeds)
    assert all(0 <= host_seed(s) < 2**32 for s in seeds)


@pytest.mark.parametrize("number", [2.5, [3, 4], 2**80])
def test_a_number_of_samples_that_is_none_is_no_statistic(tmp_path, number):
    np.savez(tmp_path / "a.npz", mu=np.zeros(1), sigma=np.eye(1), num_samples=np.array(number))
    with pytest.raises(ValueError, match=r"a.npz .*no statistics|Python objects|a.npz cannot"):
        Statistics.load(tmp_path / "a.npz")


def test_complex_statistics_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", mu=np.ones(1) * 1j, sigma=np.eye(1))
    with pytest.raises(ValueError, match="mu has dtype complex128; it must hold real numbers"):
        Statistics.load(tmp_path / "a.npz")


LONG = {"large": 10**5000, "small": -(10**5000), "list": [10**5000], "text": "a" * 5000}


@pytest.mark.parametrize("name", LONG)
def test_a_value_that_is_too_long_to_show_is_described(name):
    assert len(shown(LONG[name])) < 120
    with pytest.raises(ValueError, match="steps is .*; it must be"):
        Config(steps=LONG[name])


def test_what_is_nested_too_deep_to_show_is_described():
    value = ()
    for _ in range(100_000):
        value = (value,)
    assert shown(value) == "a tuple that is nested too deep to show"


def test_the_digits_of_a_number_are_counted():
    assert shown(10**5000) == "a whole number of about 5001 digits"
    assert shown(2**70) == str(2**70)
    with pytest.raises(ValueError, match="seed is a whole number of about 5001 digits; a seed"):
        checked_seed(10**5000)
