"""The parts of the cross-check, by hand-worked numbers and against what they stand in for."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf import get_config
from diffusion_tf.convert.maps import weights_of
from diffusion_tf.crosscheck.adam import adam_update
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.optional import needs, split_options
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.stage_table import AGREES, DIFFERS, NOT_COMPARED, compare, table
from diffusion_tf.crosscheck.torch_side import draw_step_noise, moments, to_numpy, to_torch
from diffusion_tf.crosscheck.varied_network import unet_stages

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.extras
SMALL = {
    "image_size": 8, "ch": 64, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,),
}  # fmt: skip
CONFIG = get_config("cifar10", **SMALL)


# --- report


@pytest.mark.parametrize(
    "ours, theirs, floor, max_abs, max_rel",
    [
        ([1.0, 10.0], [1.5, 11.0], 0, 1.0, 0.5),  # numbers: each by itself
        ([0.0, 10.0], [0.25, 10.0], 0, 0.25, 0.25),  # relative to 0 there is nothing
        ([0.1, 10.0], [0.2, 10.0], 2.0, 0.1, 0.05),
        ([[1.0, 10.0]], [[1.5, 11.0]], 0, 1.0, 0.1),  # features: by the largest
        ([[0.0, 0.0]], [[0.0, 0.5]], 0, 0.5, 0.5),
        ({"a": [1.0], "b": [100.0]}, {"a": [1.5], "b": [100.0]}, 0, 0.5, 0.5),
        ({"a": [1e-9], "b": [100.0]}, {"a": [1e-2], "b": [101.0]}, 0, 1.0, 0.1),
    ],
)
def test_differences(ours, theirs, floor, max_abs, max_rel):
    as_arrays = [
        {k: np.array(v) for k, v in side.items()} if isinstance(side, dict) else np.array(side)
        for side in (ours, theirs)
    ]
    row = compare("stage", *as_arrays, tolerance=0.3, floor=floor)
    assert (row.max_abs, row.max_rel) == (pytest.approx(max_abs), pytest.approx(max_rel))
    assert row.verdict == (AGREES if max_rel <= 0.3 else DIFFERS)


def test_nan_differs_and_nothing_is_not_compared():
    row = compare("stage", np.ones(3), np.array([1, np.nan, 1]), tolerance=1e9)
    assert row.verdict == DIFFERS
    missing = compare("other", np.ones(3), None, tolerance=1.0)
    assert (missing.verdict, missing.max_abs) == (NOT_COMPARED, None)
    lines = table([compare("one", np.ones(2), np.ones(2), tolerance=1e-5), missing]).splitlines()
    assert lines[1].split() == ["one", "0.0e+00", "0.0e+00", "1.0e-05", "agrees"]
    assert lines[-1] == "Not compared, as the other side does not have it: other."


def test_other_shapes_and_other_names_are_mistakes():
    with pytest.raises(ValueError, match=r"stage has shape \[2\] .*; here it is \[3\]"):
        compare("stage", np.ones(3), np.ones(2), tolerance=1)
    with pytest.raises(ValueError, match="Only one side has a, b in its stage"):
        compare("stage", {"a": np.ones(3)}, {"b": np.ones(3)}, tolerance=1)
    for ours, theirs in ((np.ones(3), {"a": np.ones(3)}), ({"a": np.ones(3)}, np.ones(3))):
        with pytest.raises(ValueError, match="Only one side has a, stage in its stage"):
            compare("stage", ours, theirs, tolerance=1)


# --- our side


@pytest.fixture(scope="module")
def unet():
    return random_unet(CONFIG)


def test_no_tensor_of_the_random_network_is_zero_and_all_count(unet):
    assert all(np.abs(value).min() > 0 for value in weights_of(unet).values())
    assert all(value.std() > 0.005 for value in weights_of(unet).values())
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3), np.float32)
    outputs = [unet([x, np.array([t, t])]).numpy() for t in (3, 700)]
    assert 0.1 < np.abs(outputs[0]).max() < 100
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1


def test_the_stages_are_those_of_the_network(unet):
    """Walked through by hand it computes what it computes when it is called."""
    inputs = make_inputs(CONFIG, draw_step_noise)
    x, t = tf.constant(inputs.x_t), tf.constant(inputs.t)
    called = unet_stages(unet, x, t)
    walked = unet_stages(unet, x, t, Choices(rescale_betas=True))  # nothing of the network's
    np.testing.assert_array_equal(called["output"], unet([x, t]))
    for stage in called:
        np.testing.assert_array_equal(walked[stage], called[stage], stage)
    assert list(called)[:4] == ["sinusoids", "temb", "conv_in", "down_0/block_0"]
    assert called["down_0/downsample"].shape == [4, 4, 4, 64]


def test_epsilon_is_put_back(unet):
    x = tf.ones([4, 8, 8, 3])
    before = unet([x, tf.range(4)])
    varied = unet_stages(unet, x, tf.range(4), Choices(group_norm_epsilon=1e-2))["output"]
    assert np.abs(varied - before).max() > 1e-3
    np.testing.assert_array_equal(unet([x, tf.range(4)]), before)


def test_the_last_clip_is_of_the_mean():
    x, t = np.full([1, 2, 2, 1], 5.0, np.float32), np.array([500])
    process = {clip: Recipe(CONFIG, Choices(clip=clip)) for clip in ("mean", "nothing")}
    p = {
        clip: diffusion.p_mean_variance(lambda x, t: 0 * x, x=x, t=t)
        for clip, diffusion in process.items()
    }
    assert p["mean"].mean.max() == 1.0
    assert p["nothing"].mean.min() > 4.9
    assert p["mean"].pred_xstart.min() > 5.0


def test_adam_of_the_choices_is_that_of_the_frameworks():
    gradients = make_inputs(CONFIG, draw_step_noise).gradients
    weights = torch.nn.Parameter(torch.zeros(gradients.shape[1], dtype=torch.float64))
    for epsilon in (1e-8, 1e-7):
        weights.data.zero_()
        optimizer = torch.optim.Adam([weights], 2e-4, eps=epsilon)
        for gradient in gradients:
            weights.grad = torch.from_numpy(np.float64(gradient))
            optimizer.step()
        choices = Choices(adam_epsilon=epsilon, adam_epsilon_corrected=True)
        np.testing.assert_allclose(
            adam_update(gradients, 2e-4, choices)[-1], weights.detach().numpy(), rtol=1e-6
        )
    ours = adam_update(gradients, 2e-4, ORIGINAL)[-1]
    # By hand, for one gradient of 1e-6: m = 1e-7, v = 1e-15, and with epsilon 1e-7
    # lr sqrt(0.001) / 0.1 * 1e-7 / (3.1623e-8 + 1e-7) = 0.24025 lr.
    one = adam_update(np.float32([[1e-6]]), 1.0, Choices(adam_epsilon=1e-7))
    np.testing.assert_allclose(one, [[-0.24025]], rtol=1e-4)
    # The epsilon of the original, a hundred thousandth off: written out it is the original's.
    near = adam_update(gradients, 2e-4, Choices(adam_epsilon=1.00001e-8))[-1]
    np.testing.assert_allclose(ours, near, rtol=1e-4)  # TF1Adam's powers of beta are float32
    assert np.abs(ours / weights.detach().numpy() - 1).max() > 0.5


# --- the other side


def test_moments_of_a_step():
    deviation = torch.tensor([0.0, 0.25, 2.0])

    def p_sample(x, t):
        return 0.5 * x + t.reshape(-1, 1, 1, 1) + deviation[t] * torch.randn_like(x)

    x = torch.randn(3, 3, 8, 8)
    mean, log_variance = moments(p_sample, x, torch.arange(3))
    expected = 0.5 * x + torch.arange(3).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-5)
    expected = [np.log(1e-20), 2 * np.log(0.25), 2 * np.log(2.0)]
    np.testing.assert_allclose(log_variance.flatten(), expected, rtol=1e-5)


def test_noise_is_what_torch_draws_and_leaves_its_generator_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    noise = draw_step_noise(7, (2, 4, 4, 3))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(7)
    np.testing.assert_array_equal(to_torch(noise), torch.randn(2, 3, 4, 4))
    np.testing.assert_array_equal(to_numpy(to_torch(noise)), noise)


# --- needs


def test_options_go_where_they_belong():
    def first(self, a, b): ...
    def second(c): ...

    assert split_options({"a": 1, "c": 2}, first, second) == ({"a": 1}, {"c": 2})
    with pytest.raises(ValueError, match="has no argument 'bb'. Did you mean 'b'"):
        split_options({"bb": 1}, first, second)


def test_a_package_that_is_not_there():
    with pytest.raises(ValueError, match="nothing_here cannot be imported .*; pip install it now"):
        needs("nothing_here", "it now")
