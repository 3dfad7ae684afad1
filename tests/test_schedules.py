import numpy as np
import pytest

from diffusion_tf.schedules import BETA_SCHEDULES, get_beta_schedule
from helpers import golden_arrays


def schedule(name, T, beta_start=1e-4, beta_end=0.02):
    return get_beta_schedule(
        name, beta_start=beta_start, beta_end=beta_end, num_diffusion_timesteps=T
    )


@pytest.mark.parametrize("T", [1000, 50])
@pytest.mark.parametrize("name", ["quad", "linear", "warmup10", "warmup50", "const", "jsd"])
def test_equals_original(name, T):
    betas = schedule(name, T)
    assert betas.dtype == np.float64
    np.testing.assert_allclose(betas, golden_arrays.load("schedules")[f"{name}_T{T}"], rtol=1e-10)


@pytest.mark.parametrize("T", [1, 2, 9, 10, 19, 20, 1000])
@pytest.mark.parametrize("name", BETA_SCHEDULES)
def test_is_a_rising_list_of_variances(name, T):
    betas = schedule(name, T)
    assert betas.shape == (T,) and betas.dtype == np.float64
    assert (betas > 0).all()
    assert (betas < 1).all() if name != "jsd" else betas[-1] == 1
    assert (np.diff(betas) >= 0).all()


@pytest.mark.parametrize("name", ["quad", "linear", "warmup50"])
def test_ends_are_beta_start_and_beta_end(name):
    betas = schedule(name, 30)
    np.testing.assert_allclose(betas[[0, -1]], [1e-4, 0.02], rtol=1e-12)


def test_cosine_by_hand():
    # cos^2 of 0.0124666375, 0.7916314822, pi/2 is 0.9998445910, 0.4937668427, 0; the cap is 0.999.
    np.testing.assert_allclose(schedule("cosine", 2), [0.5061564096, 0.999], rtol=1e-9)


def test_cosine_signal_falls_along_a_cosine():
    T = 1000
    signal = np.sqrt(np.cumprod(1 - schedule("cosine", T)))
    angle = (np.arange(1, T + 1) / T + 0.008) / 1.008 * np.pi / 2
    expected = np.cos(angle) / np.cos(0.008 / 1.008 * np.pi / 2)
    np.testing.assert_allclose(signal[:-1], expected[:-1], rtol=1e-9)  # the last beta is capped


def test_cosine_ignores_beta_start_and_beta_end():
    np.testing.assert_array_equal(schedule("cosine", 9), schedule("cosine", 9, 0.3, 0.4))


def test_sigmoid_by_hand():
    # The logistic function at -6, 0, 6 is 0.00247262316, 0.5, 0.99752737684.
    betas = schedule("sigmoid", 3, beta_start=0.1, beta_end=0.5)
    np.testing.assert_allclose(betas, [0.100989049263, 0.3, 0.499010950737], rtol=1e-10)


def test_jsd_by_hand():
    np.testing.assert_allclose(schedule("jsd", 4), [1 / 4, 1 / 3, 1 / 2, 1], rtol=1e-15)


@pytest.mark.parametrize("T", [1, 9])
def test_warmup10_of_less_than_ten_steps_is_constant(T):
    np.testing.assert_array_equal(schedule("warmup10", T), np.full(T, 0.02))


@pytest.mark.parametrize("T", [10, 19])
def test_warmup10_of_ten_to_nineteen_steps_has_one_beta_start(T):
    np.testing.assert_array_equal(schedule("warmup10", T), [1e-4] + [0.02] * (T - 1))


def test_unknown_name_lists_the_right_ones():
    with pytest.raises(ValueError, match="'lin'") as error:
        schedule("lin", 10)
    for name in BETA_SCHEDULES:
        assert name in str(error.value)


@pytest.mark.parametrize("T", [0, -1, 2.5, 10.0, "10", None])
def test_bad_number_of_timesteps(T):
    with pytest.raises(ValueError, match=r"num_diffusion_timesteps .* whole number"):
        schedule("linear", T)


def test_number_of_timesteps_may_be_numpy():
    np.testing.assert_array_equal(schedule("linear", np.int64(5)), schedule("linear", 5))


@pytest.mark.parametrize("name", ["beta_start", "beta_end"])
@pytest.mark.parametrize("value", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_variance_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf"{name} .* \(0, 1\]"):
        schedule("linear", 10, **{name: value})
