"""Conditions of samples: which sample gets which, guidance, and what people may ask for."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models.conditioning import no_condition
from diffusion_tf.sampling.guidance import Conditions, denoise_fn, get_conditions, get_one_condition
from diffusion_tf.sampling.registry import SAMPLERS, get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import sample
from helpers.conditional_networks import MLP, UNET, inputs_of, randomized

LABELS = dataclasses.replace(MLP, num_classes=4)
VECTORS = dataclasses.replace(MLP, cond_dim=3)


def test_samples_take_turns():
    conditions = Conditions(np.array([5, 6, 7], np.int32))
    np.testing.assert_array_equal(conditions.rows(2, 5), [7, 5, 6, 7, 5])
    vectors = Conditions(np.array([[1, 2], [3, 4]], np.float32))
    np.testing.assert_array_equal(vectors.rows(1, 2), [[3, 4], [1, 2]])


def test_descriptions_tell_conditions_apart():
    labels = Conditions(np.array([0, 1], np.int32))
    descriptions = [
        labels,
        Conditions(np.array([1, 0], np.int32)),
        Conditions(np.array([0, 1], np.float32)),
        Conditions(np.array([0, 1], np.int32), guidance_scale=2.0),
    ]
    assert len({str(c.describe()) for c in descriptions}) == 4
    assert labels.describe() == Conditions(labels.values.copy()).describe()


@pytest.mark.parametrize("base", [UNET, MLP], ids=["unet", "mlp"])
@pytest.mark.parametrize(
    "fields, y",
    [
        ({"num_classes": 4}, np.array([3, 0, 1], np.int32)),
        ({"cond_dim": 3}, np.eye(3, dtype=np.float32)),
    ],
)
def test_guidance_goes_from_the_unconditional_model_through_the_conditional_one(base, fields, y):
    config = dataclasses.replace(base, **fields)
    model, (x, t) = randomized(config), inputs_of(config)
    conditional = model([x, t, tf.constant(y)]).numpy()
    unconditional = model([x, t, no_condition(tf.constant(y))]).numpy()
    size = np.abs(conditional).max()
    assert np.abs(conditional - unconditional).max() > 1e-2 * size
    for scale, expected in (
        (1, conditional),
        (1 + 1e-9, conditional),  # by way of both halves
        (0, unconditional),
        (1e-9, unconditional),
        (3, 3 * conditional - 2 * unconditional),
    ):
        difference = denoise_fn(model, y, scale)(x, t) - expected
        assert np.abs(difference).max() < 3e-6 * size * max(1, scale)


def test_guidance_is_one_call_of_the_network_a_step():
    calls = []

    def network(inputs, training):
        calls.append(inputs[0].shape)
        return inputs[0]

    denoise_fn(network, np.array([1, 2], np.int32), 2.0)(tf.ones([2, 5]), tf.zeros([2], tf.int32))
    assert calls == [(4, 5)]


def test_a_learned_variance_is_not_guided():
    config = dataclasses.replace(LABELS, model_var_type="learned", loss_type="kl")
    model, (x, t), y = randomized(config), inputs_of(config), np.array([3, 0, 1], np.int32)
    guided = denoise_fn(model, y, 3.0)(x, t)
    conditional, unconditional = denoise_fn(model, y)(x, t), denoise_fn(model, y, 0.0)(x, t)
    np.testing.assert_allclose(guided[:, 2:], conditional[:, 2:], rtol=2e-5)
    expected = 3 * conditional[:, :2] - 2 * unconditional[:, :2]
    np.testing.assert_allclose(guided[:, :2], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_follows_conditions_across_shards(sampler):
    """What has learned that x_0 = y returns y: a network whose eps is what leads there."""
    config = dataclasses.replace(LABELS, model_mean_type="xstart", num_diffusion_timesteps=6)

    class Told:
        weights = ()

        def __call__(self, inputs, training):
            x, _, y = inputs
            value = tf.where(y < 0, 0.0, tf.cast(y, tf.float32) / 10.0)
            return tf.ones_like(x) * value[:, None]

    drawn = Sampler(
        model=Told(),
        process=get_sampling_process(get_diffusion(config), sampler, 3),
        sample_shape=(2,),
        conditions=Conditions(np.array([1, 2], np.int32), 2.0),
    )
    drawn = sample(drawn, num_samples=7, batch_size=3)
    expected = 2.0 * np.array([1, 2, 1, 2, 1, 2, 1])[:, None] / 10 * np.ones(2)
    np.testing.assert_allclose(np.concatenate(list(drawn)), expected, rtol=1e-5)


def test_the_loops_of_the_process_take_a_guided_network():
    config = dataclasses.replace(LABELS, num_diffusion_timesteps=5)
    model, diffusion = randomized(config), get_diffusion(config)
    network = denoise_fn(model, np.array([0, 3], np.int32), 2.0)
    sampled = diffusion.p_sample_loop(network, shape=(2, 2), seed=1)
    times, frames = diffusion.p_sample_loop_trajectory(network, shape=(2, 2), keep=[3, -1], seed=1)
    np.testing.assert_array_equal(times, [3, -1])
    np.testing.assert_allclose(frames[-1], sampled, rtol=1e-5)
    x = tf.constant([[0.1, -0.1], [0.2, 0.0]])
    assert diffusion.interpolate(network, x1=x, x2=-x, lam=0.5, t=3, seed=0).shape == (2, 2)
    assert diffusion.calc_bpd_loop(network, x, seed=0)[0].shape == (2,)


def test_what_people_ask_for(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([2, 1]))
    np.savez(tmp_path / "vectors.npz", y=np.ones([4, 3]))
    for config, text, expected in (
        (LABELS, None, [0, 1, 2, 3]),
        (LABELS, "3,1,1", [3, 1, 1]),
        (LABELS, "none", [-1]),
        (LABELS, str(tmp_path / "labels.npy"), [2, 1]),
        (VECTORS, "1,0,0;0.5,0.5,0", [[1, 0, 0], [0.5, 0.5, 0]]),
        (VECTORS, "none", [[np.nan] * 3]),
        (VECTORS, str(tmp_path / "vectors.npz"), np.ones([4, 3])),
    ):
        conditions = get_conditions(config, text, 2.0)
        np.testing.assert_array_equal(conditions.values, expected)
        assert conditions.values.dtype == (np.int32 if config is LABELS else np.float32)
        assert conditions.guidance_scale == 2.0
    assert get_conditions(MLP) is None


def test_what_people_cannot_ask_for(tmp_path):
    np.save(tmp_path / "nan.npy", np.array([[1, 2, np.nan]]))
    np.save(tmp_path / "float.npy", np.array([0.5]))
    np.savez(tmp_path / "x.npz", x=np.ones(3))
    (tmp_path / "text.npy").write_text("1,2")
    for config, text, scale, message in (
        (MLP, "3", 1.0, r"unconditional; it takes no conditions \(3\)"),
        (MLP, None, 2.0, "unconditional; it takes no guidance"),
        (LABELS, "4", 1.0, r"label 4; labels lie in 0..3"),
        (LABELS, "-3", 1.0, "label -3"),
        (LABELS, "1,99", 1.0, "1,99 cannot be the conditions of this network: y has the label 99"),
        (LABELS, "1,a", 1.0, "'1,a' is not a list of conditions; give labels: 3,5"),
        (LABELS, "1", float("nan"), "guidance_scale is nan; it must be a finite number"),
        (LABELS, str(tmp_path / "float.npy"), 1.0, r"float64 and shape \(1,\); it must hold label"),
        (VECTORS, None, 1.0, "vectors of 3 numbers; give them with --conditions"),
        (VECTORS, "1,2", 1.0, r"shape \(1, 2\).*vectors: floats \[batch, 3\]"),
        (VECTORS, "1,2,3;1,2", 1.0, "not a list of conditions; give vectors of one length"),
        (VECTORS, str(tmp_path / "nan.npy"), 1.0, "not finite in 1 of 1 rows"),
        (VECTORS, str(tmp_path / "x.npz"), 1.0, "lacks y"),
        (VECTORS, str(tmp_path / "text.npy"), 1.0, "text.npy cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            get_conditions(config, text, scale)
    with pytest.raises(FileNotFoundError, match=r"no file 'none.npy' of conditions"):
        get_conditions(VECTORS, "none.npy")


@pytest.mark.parametrize(
    "text, names, labels",
    [
        ("dog,cat,dog", ("cat", "dog", "elk"), [1, 0, 1]),
        ("cat, elk", ("cat", "dog", "elk"), [0, 2]),
        ("2,cat", ("cat", "dog", "elk"), [2, 0]),
        ("10,2", ("2", "10"), [1, 0]),  # their names, not their numbers
        ("1", ("1", "cat", "0"), [0]),
        ("a.npy", ("a.npy", "b"), [0]),
        ("a b", ("a b", "b"), [0]),
    ],
)
def test_classes_are_asked_for_by_their_names(text, names, labels):
    config = dataclasses.replace(MLP, num_classes=len(names))
    conditions = get_conditions(config, text, class_names=names)
    assert conditions.values.dtype == np.int32
    np.testing.assert_array_equal(conditions.values, labels)
    everything = get_conditions(config, class_names=names)
    np.testing.assert_array_equal(everything.values, np.arange(len(names)))
    np.testing.assert_array_equal(get_conditions(config, "none", class_names=names).values, [-1])


@pytest.mark.parametrize(
    "text, names, message",
    [
        (
            "cta",
            ("cat", "dog"),
            r"'cta' is not a class of this run \(did you mean 'cat'\?\); it has cat, dog\.$",
        ),
        ("cat,", ("cat", "dog"), "'' is not a class of this run"),
        ("2", ("cat", "dog"), "'2' is not a class of this run; it has cat, dog."),
        ("0", ("2", "10"), "'0' is not a class of this run .*; it has 2, 10."),
    ],
)
def test_names_of_no_class_are_refused(text, names, message):
    config = dataclasses.replace(MLP, num_classes=2)
    with pytest.raises(ValueError, match=message):
        get_conditions(config, text, class_names=names)


def test_one_condition_for_all_that_is_drawn_between_images():
    learned = get_config("digits_conditional", cond_drop_prob=0.1)
    always = get_config("digits_conditional", cond_drop_prob=0.0)
    assert get_one_condition(get_config("digits"), None) is None
    np.testing.assert_array_equal(get_one_condition(learned, None).values, [-1])
    np.testing.assert_array_equal(get_one_condition(always, "3").values, [3])
    with pytest.raises(ValueError, match="never learned to do without .* --conditions"):
        get_one_condition(always, None)
    with pytest.raises(ValueError, match="--conditions=3,5 holds 2 conditions; give one"):
        get_one_condition(learned, "3,5")


@pytest.mark.parametrize("text, scale", [("none", 1.0), ("3", 2.0)])
def test_guidance_that_was_never_learned_is_warned_of(text, scale, caplog):
    config = get_config("digits_conditional")
    with caplog.at_level("WARNING"):
        get_conditions(config, text, scale)
        assert not caplog.records
        get_conditions(dataclasses.replace(config, cond_drop_prob=0.0), text, scale)
    assert "never learned to do without conditions" in caplog.text
