"""The paper's numbers, and what is said about a comparison with them."""

import json
from dataclasses import asdict

import pytest

from diffusion_tf.config import get_config
from diffusion_tf.evaluation.report.paper import CIFAR10, RATE_DISTORTION, compare_with_paper
from helpers.evaluation_metrics import cifar10_metrics


@pytest.fixture
def metrics():
    return cifar10_metrics()


def rows(metrics):
    compared = compare_with_paper(metrics)
    by_key = {(row["metric"], row["split"]): row for row in compared}
    assert len(by_key) == len(compared), "a number has two rows"
    return by_key


def test_the_papers_run_is_compared_fairly(metrics):
    expected = {
        ("fid", "train"): (3.3, 3.17),
        ("fid", "test"): (5.5, 5.24),
        ("is", None): (9.41, 9.46),
        ("bpd", "train"): (metrics["bpd"]["train"]["total"], 3.72),
        ("bpd", "test"): (metrics["bpd"]["test"]["total"], 3.75),
        ("rate", "test"): (metrics["bpd"]["test"]["total"] - 2.0, 1.78),
        ("distortion", "test"): (2.0, 1.97),
        ("rmse", "test"): (127.5 * 0.3**0.5 / 1000, 0.95),
    }
    found = rows(metrics)
    for key, (measured, paper) in expected.items():
        row = found[key]
        assert row["measured"] == pytest.approx(measured, rel=1e-12)
        assert row["paper"] == paper
        assert row["fair"], row["sentence"]
        assert row["sentence"].startswith("A fair comparison.")
        assert row["source"]
    assert json.loads(json.dumps(compare_with_paper(metrics))) == compare_with_paper(metrics)


def test_what_the_paper_does_not_give(metrics):
    row = rows(metrics)["rate", "train"]
    assert (row["paper"], row["source"], row["fair"]) == (None, "", False)
    assert row["sentence"] == "The paper does not give this number for this model."


def test_the_papers_numbers_agree_with_each_other():
    simple = CIFAR10["eps", "mse", False]
    rate, distortion = (simple[name, "test"][0] for name in ("rate", "distortion"))
    assert rate + distortion == pytest.approx(simple["bpd", "test"][0])
    steps, rates, errors = RATE_DISTORTION[-1]
    assert (steps, round(rates, 2), round(errors, 2)) == (1000, rate, simple["rmse", "test"][0])
    for column, sign in zip(zip(*RATE_DISTORTION, strict=True), (1, 1, -1), strict=True):
        assert list(column) == sorted(column, key=lambda value: sign * value)


def set_samples(metrics, **values):
    metrics["samples"].update(values)


def set_config(metrics, **values):
    metrics["source"]["config"].update(values)


OF_SAMPLES = {("fid", "train"), ("fid", "test"), ("is", None)}
OF_ALL = OF_SAMPLES | {
    (metric, split)
    for metric in ("bpd", "rate", "distortion", "rmse")
    for split in ("train", "test")
}
REASONS = {
    "1,000 samples instead of 50,000": (
        lambda m: [s.update(num_samples=1000) for s in (m["is"], *m["fid"].values())],
        OF_SAMPLES,
    ),
    "raw weights, not the averaged ones": (
        lambda m: m["source"].update(weights="raw"),
        OF_ALL,
    ),
    "the sampler is ddim": (lambda m: set_samples(m, sampler="ddim"), OF_SAMPLES),
    "50 sampling steps instead of 1,000": (
        lambda m: set_samples(m, sampling_steps=50),
        OF_SAMPLES,
    ),
    "sampled with variance fixedsmall, not fixedlarge": (
        lambda m: set_samples(m, variance="fixedsmall"),
        OF_SAMPLES,
    ),
    "another config (num_diffusion_timesteps 500 for 1000, ema_decay 0.999 for 0.9999)": (
        lambda m: set_config(m, num_diffusion_timesteps=500, ema_decay=0.999),
        OF_ALL,
    ),
    "the config is not recorded": (lambda m: m["source"].update(config=None), OF_ALL),
    "790,000 training steps instead of 800,000": (
        lambda m: m["source"].update(step=790_000),
        OF_ALL,
    ),
    "how the images were made, and whether they were compressed with loss, is not known": (
        lambda m: m["source"].update(kind="images", weights=None, step=None, config=None),
        OF_ALL,
    ),
    "the features are pixels, not those of Inception": (
        lambda m: m["features"].update(name="pixels"),
        OF_SAMPLES,
    ),
    "samples are rounded to 8 bits": (lambda m: m["features"].update(quantized=True), OF_SAMPLES),
    "are rounded to 8 bits, the original's are not": (
        lambda m: set_samples(m, dtype="uint8"),
        OF_SAMPLES,
    ),
    "49,984 of the 50,000 train images": (
        lambda m: m["fid"]["train"].update(num_images=49_984),
        {("fid", "train")},
    ),
    "500 of the 10,000 test images": (
        lambda m: m["bpd"]["test"].update(num_images=500),
        {(name, "test") for name in ("bpd", "rate", "distortion", "rmse")},
    ),
    "predictions of x_0 are not clipped": (
        lambda m: m["bpd"]["train"].update(clip_denoised=False),
        {(name, "train") for name in ("bpd", "rate", "distortion", "rmse")},
    ),
    "it is the mean of 5 parts, not of 10": (
        lambda m: m["is"].update(num_splits=5),
        {("is", None)},
    ),
    "it is over all samples at once": (lambda m: m["is"].pop("split_mean"), {("is", None)}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_said_where_it_counts_and_nowhere_else(metrics, reason):
    spoil, where = REASONS[reason]
    before = {key for key, row in rows(metrics).items() if row["fair"]}
    spoil(metrics)
    found = rows(metrics)
    assert {key for key, row in found.items() if reason in row["sentence"]} == where
    assert {key for key, row in found.items() if row["fair"]} == before - where
    for key in where & before:
        assert found[key]["sentence"].startswith("Not a fair comparison: ")


def test_all_reasons_stand_in_one_sentence(metrics):
    metrics["source"]["weights"] = "raw"
    metrics["is"]["num_samples"] = 10
    sentence = rows(metrics)["is", None]["sentence"]
    assert sentence.startswith(
        "Not a fair comparison: raw weights, not the averaged ones (EMA);"
        " 10 samples instead of 50,000. "
    )


def test_images_of_unknown_origin_are_asked_nothing_more(metrics):
    metrics["source"].update(kind="images", weights=None, step=None, config=None)
    set_samples(metrics, sampler=None, sampling_steps=None, T=None, variance=None)
    assert rows(metrics)["fid", "train"]["sentence"] == (
        "Not a fair comparison: how the images were made, and whether they were compressed with"
        " loss, is not known."
    )


def test_what_is_not_recorded_is_said(metrics):
    for score in (metrics["is"], *metrics["fid"].values()):
        del score["num_samples"]
    del metrics["samples"], metrics["features"], metrics["data"]["splits"]["test"]
    found = rows(metrics)
    assert found["is", None]["sentence"].startswith(
        "Not a fair comparison: the number of samples is not recorded; the sampler is not recorded;"
        " the features are unknown, not those of Inception. "
    )
    assert "the number of real images is not recorded" in found["bpd", "test"]["sentence"]
    assert found["bpd", "train"]["fair"]


def test_fields_that_change_nothing_are_not_held_against_a_run(metrics):
    set_config(metrics, seed=5, unreadable="skip", log_steps=1, steps=900_000)
    metrics["source"]["step"] = 900_000
    assert rows(metrics)["fid", "train"]["fair"]


@pytest.mark.parametrize(
    ("fields", "fid", "score", "bpd"),
    [
        ({"loss_type": "kl"}, 13.51, 7.67, 3.70),
        ({"loss_type": "kl", "model_mean_type": "xprev"}, 13.22, 8.06, None),
        (
            {"loss_type": "kl", "model_mean_type": "xprev", "model_var_type": "learned"},
            23.69, 7.28, None,
        ),
    ],
)  # fmt: skip
def test_other_objectives_have_numbers_of_their_own(metrics, fields, fid, score, bpd):
    set_config(metrics, **fields)
    set_samples(metrics, variance=metrics["source"]["config"]["model_var_type"])
    found = rows(metrics)
    assert found["fid", "train"]["paper"] == fid
    assert found["fid", "train"]["fair"] and found["is", None]["fair"]
    assert found["is", None]["paper"] == score
    assert found["bpd", "test"]["paper"] == bpd
    assert found["fid", "test"]["paper"] is None


def test_an_objective_that_the_paper_has_no_number_for_differs_from_its_best(metrics):
    set_config(metrics, model_mean_type="xstart")
    row = rows(metrics)["fid", "train"]
    assert (row["paper"], row["fair"]) == (3.17, False)
    assert "another config (model_mean_type 'xstart' for 'eps')" in row["sentence"]


def test_data_that_the_paper_does_not_have(metrics):
    metrics["source"]["config"] = asdict(get_config("digits"))
    metrics["data"]["name"] = "digits"
    found = rows(metrics)
    assert all(row["paper"] is None and not row["fair"] for row in found.values())
    assert found["rate", "test"]["sentence"] == "The paper has no number for digits."
    metrics["fid"]["train"]["num_samples"] = 64
    assert rows(metrics)["fid", "train"]["sentence"] == (
        "The paper has no number for digits. To mind in any comparison:"
        " 64 samples instead of 50,000."
    )


def test_lsun(metrics):
    metrics["source"].update(config=asdict(get_config("lsun_cat")), step=1_800_000)
    metrics["data"]["name"] = "lsun_cat"
    row = rows(metrics)["fid", "train"]
    assert (row["paper"], row["source"], row["fair"]) == (19.75, "table 3", False)
    assert "StyleGAN2's code" in row["sentence"] and "another config" not in row["sentence"]
    metrics["data"]["name"] = "lsun"
    row = rows(metrics)["fid", "train"]
    assert row["paper"] is None
    assert "6.36 (lsun_bedroom)" in row["sentence"]


def test_what_is_known_of_the_error_is_said(metrics):
    metrics["fid"]["test"]["warning"] = "Too few."
    found = rows(metrics)
    assert "The standard error is 0.0042 bits/dim." in found["bpd", "test"]["sentence"]
    assert "The standard deviation over the parts is 0.12." in found["is", None]["sentence"]
    assert "Too few." in found["fid", "test"]["sentence"]
    assert "Too few." not in found["fid", "train"]["sentence"]


def test_what_was_not_measured_has_no_row(metrics):
    for name in ("fid", "is", "bpd"):
        del metrics[name]
    curve = metrics["rate_distortion"]["test"]
    assert {key: row["measured"] for key, row in rows(metrics).items()} == {
        ("rate", "test"): curve["rate"][-1],
        ("rmse", "test"): curve["distortion"][-1],
    }
    del metrics["rate_distortion"]
    assert compare_with_paper(metrics) == []


def test_a_config_that_is_none_is_named(metrics):
    set_config(metrics, chanels=3)
    with pytest.raises(ValueError, match="'chanels'. Did you mean 'channels'"):
        compare_with_paper(metrics)
