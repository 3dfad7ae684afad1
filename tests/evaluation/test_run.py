"""Evaluations whole: of a small run and of images, interrupted, continued, refused."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import diffusion_tf
from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.evaluation import measuring
from diffusion_tf.evaluation.likelihood import PartialSums
from diffusion_tf.evaluation.metrics.fid import Moments, frechet_distance
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.run import evaluate_images, evaluate_run, spread
from diffusion_tf.training.loop import train
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.images import from_pixels
from diffusion_tf.utils.interruption import Interrupted
from helpers.processes import TINY, run, start
from helpers.small_inception import small_graph

CONFIG = get_config(
    "digits", ch=32, ch_mult=(1,), num_res_blocks=1, num_diffusion_timesteps=8, batch_size=16,
    steps=6, grid_steps=0,
    log_steps=1, warmup=1, model_var_type="fixedsmall",
)  # fmt: skip
REQUEST = Request(num_samples=30, num_images=80, batch_size=16)
DIGITS = get_dataset(CONFIG)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("runs") / "run")
    train(Trainer(CONFIG, tf.distribute.get_strategy(), jit_compile=False), DIGITS, path)
    return path


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    """With a cache of its own."""
    return dataclasses.replace(REQUEST, cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def evaluate(workdir, request_, tmp_path):
    def evaluate(*, out="evaluation", **changes):
        request = dataclasses.replace(request_, **changes)
        return evaluate_run(tmp_path / out, workdir, request, jit_compile=False)

    return evaluate


@pytest.fixture(scope="module")
def whole(workdir, request_, tmp_path_factory):
    """An evaluation that nothing came between, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "evaluation"
    return evaluate_run(out, workdir, request_, jit_compile=False), out


NUMBERS = ("bpd", "fid", "rate_distortion")


def test_everything_that_a_reader_needs_is_there(whole):
    metrics, out = whole
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics["source"]["config"] == json.loads(CONFIG.to_json())
    assert (metrics["source"]["kind"], metrics["source"]["step"]) == ("workdir", 6)
    assert metrics["source"]["weights"] == "ema"
    samples = metrics["samples"]
    assert (samples["sampler"], samples["sampling_steps"], samples["T"]) == ("ancestral", 8, 8)
    assert (samples["variance"], samples["seed"], samples["num_samples"]) == ("fixedsmall", 0, 30)
    assert samples["dtype"] == "float32" and not metrics["features"]["quantized"]
    assert metrics["features"]["name"] == "pixels"
    for split, of in (("train", 1498), ("test", 299)):
        described = metrics["data"]["splits"][split]
        assert (described["num_images"], described["of"]) == (80, of)
        assert metrics["bpd"][split]["num_images"] == metrics["fid"][split]["num_images"] == 80
    assert {"tensorflow", "keras", "diffusion_tf", "python"} <= metrics["versions"].keys()
    assert metrics["device"]["kind"] == "CPU"
    assert metrics["data"]["splits"]["train"]["fingerprint"] == DIGITS.first(80).fingerprint()


def test_the_parts_make_the_whole(whole):
    metrics, _ = whole
    for split in ("train", "test"):
        bpd, curve = metrics["bpd"][split], metrics["rate_distortion"][split]
        assert bpd["total"] == pytest.approx(bpd["prior"] + sum(bpd["terms"]), rel=1e-9)
        assert curve["rate"][-1] == pytest.approx(bpd["total"] - bpd["decoder"], rel=1e-9)
        assert curve["distortion"][-1] == pytest.approx(127.5 * bpd["mse"][0] ** 0.5, rel=1e-9)


def test_fid_is_that_of_the_samples_in_the_file(whole):
    metrics, out = whole
    with np.load(out / "samples.npz", allow_pickle=False) as arrays:
        samples = np.clip(arrays["arr_0"], -1, 1).reshape(30, 64)
    assert samples.dtype == np.float32
    statistics = []
    for vectors in (samples, from_pixels(DIGITS.examples[:80]).reshape(80, 64)):
        moments = Moments()
        moments.update(vectors)
        statistics.append(moments.statistics())
    assert metrics["fid"]["train"]["value"] == pytest.approx(frechet_distance(*statistics))
    assert (
        "30 samples are fewer than the 64 feature dimensions" in metrics["fid"]["train"]["warning"]
    )


def test_real_images_against_others_stand_beside_the_distance(whole):
    fid = whole[0]["fid"]["train"]
    vectors = from_pixels(DIGITS.examples[:80]).reshape(80, 64)
    statistics = []
    for k in (0, 1):
        moments = Moments()
        moments.update(vectors[k::2])
        statistics.append(moments.statistics())
    assert fid["real"] == pytest.approx(frechet_distance(*statistics))
    assert fid["real_images"] == 40
    assert 0 < fid["real"] < fid["value"]


def test_the_report_shows_it(whole):
    metrics, out = whole
    page = (out / "report.html").read_text()
    assert page.count("The paper has no number for digits.") == 1
    assert page.count("data:image/png") >= 6  # samples, neighbours, trajectory, mixtures, plots
    for row in metrics["comparison"]:
        assert row["sentence"].split(".")[0] in page
    assert {"samples.png", "neighbours.png", "trajectory.png", "interpolation.png"} <= {
        path.name for path in out.iterdir()
    }


@pytest.mark.slow
def test_the_same_again_measures_nothing_anew(whole, workdir, request_, monkeypatch):
    metrics, out = whole
    for name in ("measure_likelihood", "measure_images"):
        monkeypatch.setattr(measuring, name, None)  # whoever calls it fails
    again = evaluate_run(out, workdir, request_, jit_compile=False)
    assert all(again[name] == metrics[name] for name in NUMBERS)


@pytest.mark.slow
def test_metric_by_metric_is_all_at_once(evaluate, whole):
    for changes in (
        {"metrics": ("fid",), "splits": ("test",)},
        {"metrics": ("rate_distortion",), "splits": ("test",)},
        {"metrics": ("bpd", "fid"), "splits": ("train",)},
    ):
        metrics = evaluate(pictures=False, **changes)
    for name in NUMBERS:
        for split in ("train", "test"):
            assert metrics[name][split] == whole[0][name][split]


@pytest.mark.slow
def test_another_batch_size_leaves_the_bound_as_it_is(evaluate, whole):
    metrics = evaluate(metrics=("bpd",), splits=("test",), batch_size=7, pictures=False)
    here, there = metrics["bpd"]["test"], whole[0]["bpd"]["test"]
    assert here["total"] == pytest.approx(there["total"], rel=1e-5)
    np.testing.assert_allclose(here["terms"], there["terms"], rtol=2e-5)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on(evaluate, whole, monkeypatch):
    add = PartialSums.add

    def add_and_interrupt(self, **values):
        add(self, **values)
        if self.number == 32:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(PartialSums, "add", add_and_interrupt)
    with pytest.raises(Interrupted, match="32 of 80 images are kept"):
        evaluate()
    monkeypatch.undo()
    metrics = evaluate()
    for name in NUMBERS:
        assert metrics[name] == whole[0][name]


def test_other_conditions_are_refused_and_nothing_is_lost(whole, workdir, request_):
    _, out = whole
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for changes, message in (
        ({"seed": 1}, r"other conditions \(samples seed 0 there, 1 here\); choose another --out"),
        ({"num_samples": 40}, "samples num_samples 30 there, 40 here"),
        ({"num_images": 90}, "data splits"),
        ({"sampler": "ddim"}, 'sampler "ancestral" there, "ddim" here'),
        ({"quantize": True}, 'dtype "float32" there, "uint8" here'),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_run(out, workdir, dataclasses.replace(request_, **changes))
    with pytest.raises(ValueError, match='source weights "ema" there, "raw" here'):
        evaluate_run(out, workdir, request_, weights="raw")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.slow
def test_clipping_is_a_condition_of_everything(evaluate, whole, workdir, request_):
    """The network of six steps knows little: unclipped, its samples leave [-1, 1] by far."""
    metrics = evaluate(clip_denoised=False)
    assert metrics["samples"]["clip_denoised"] is metrics["likelihoods"]["clip_denoised"] is False
    assert metrics["bpd"]["test"]["clip_denoised"] is False
    for name in NUMBERS:
        assert metrics[name]["test"] != whole[0][name]["test"]
    assert all(
        "predictions of x_0 are not clipped" in row["sentence"] for row in metrics["comparison"]
    )
    clipped, out = whole
    assert clipped["samples"]["clip_denoised"] and clipped["likelihoods"]["clip_denoised"]
    for wanted, section in (("fid", "samples"), ("bpd", "likelihoods")):
        request = dataclasses.replace(request_, metrics=(wanted,), clip_denoised=False)
        with pytest.raises(ValueError, match=f"{section} clip_denoised true there, false here"):
            evaluate_run(out, workdir, request)
    with pytest.raises(ValueError, match="likelihoods seed 0 there, 1 here"):
        evaluate_run(out, workdir, dataclasses.replace(request_, metrics=("bpd",), seed=1))


@pytest.mark.slow
def test_evaluations_from_before_the_choice_were_clipped(evaluate, tmp_path):
    quick = {"metrics": ("fid",), "splits": ("test",), "pictures": False}
    evaluate(**quick)
    path = tmp_path / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["samples"]["clip_denoised"]
    path.write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="samples clip_denoised true there, false here"):
        evaluate(**quick, clip_denoised=False)
    assert evaluate(**quick)["fid"] == metrics["fid"]


@pytest.mark.slow
def test_overwriting_begins_anew(evaluate):
    evaluate(metrics=("fid",), pictures=False)
    metrics = evaluate(metrics=("fid",), pictures=False, seed=1, overwrite=True, quantize=True)
    assert metrics["samples"]["seed"] == 1 and metrics["features"]["quantized"]
    assert metrics == json.loads(json.dumps(metrics)) and "bpd" not in metrics


def test_a_folder_with_something_else_is_left_alone(evaluate, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="mine holds something other than an evaluation"):
        evaluate(out="mine", overwrite=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


# --- Images made by anything


def test_real_images_are_at_no_distance_from_themselves(tmp_path, request_):
    request = dataclasses.replace(request_, num_images=0)
    np.savez(tmp_path / "images.npz", DIGITS.examples)
    metrics = evaluate_images(tmp_path / "out", tmp_path / "images.npz", CONFIG, request)
    assert metrics["fid"]["train"]["value"] == pytest.approx(0, abs=1e-9)
    assert 0.1 < metrics["fid"]["test"]["value"] < 1
    assert metrics["source"]["kind"] == "images" and metrics["samples"]["num_samples"] == 1498
    assert "bpd" not in metrics and metrics["features"]["quantized"]
    assert (tmp_path / "out" / "report.html").exists()


QUICK = {"metrics": ("fid",), "splits": ("train",), "num_images": 0, "pictures": False}


def test_floats_in_0_to_1_are_measured_only_where_that_is_said(tmp_path, request_):
    request = dataclasses.replace(request_, **QUICK)
    images = tmp_path / "images.npz"
    np.savez(images, (DIGITS.examples / 255).astype(np.float32))
    with pytest.raises(ValueError, match=r"images in \[0, 1\], or .*--range=0,1 or --range=-1,1"):
        evaluate_images(tmp_path / "out", images, CONFIG, request)
    assert not (tmp_path / "out").exists()
    fids = {}
    for value_range in ((0, 1), (-1, 1)):
        said = dataclasses.replace(request, range=value_range)
        out = tmp_path / f"out{value_range[0]}"
        metrics = evaluate_images(out, images, CONFIG, said)
        fids[value_range] = metrics["fid"]["train"]["value"]
        assert metrics["samples"]["range"] == list(value_range)
    assert fids[0, 1] == pytest.approx(0, abs=1e-6) and fids[-1, 1] > 10
    with pytest.raises(ValueError, match=r"samples range \[0.*\] there, \[-1.*\] here"):
        evaluate_images(tmp_path / "out0", images, CONFIG, said)


def test_a_folder_is_read_as_it_is_for_training(tmp_path, request_):
    """Against itself it has no distance, however its files are turned and coloured."""
    rng = np.random.default_rng(0)
    for i in range(20):
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 2 else i % 8 + 1
        image = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
        mode = ("L", "RGB", "LA", "RGBA", "P")[i % 5]
        (tmp_path / "images").mkdir(exist_ok=True)
        image.convert(mode).save(tmp_path / "images" / f"{i:02}.png", exif=exif)
    request = dataclasses.replace(
        request_, **QUICK, features="pixels", data_dir=str(tmp_path / "images")
    )
    for channels in (1, 3):
        config = dataclasses.replace(CONFIG, dataset="folder", channels=channels)
        out = tmp_path / f"out{channels}"
        metrics = evaluate_images(out, tmp_path / "images", config, request)
        assert metrics["fid"]["train"]["value"] == pytest.approx(0, abs=1e-9)


def test_a_folder_of_mixed_sizes_is_cropped_and_resized_where_that_is_asked_for(tmp_path, request_):
    """As the run's training does it: against itself such a folder has no distance."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(20):
        pixels = rng.integers(0, 256, (8 + i, 30 - i, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02}.png")
    request = dataclasses.replace(
        request_, **QUICK, features="pixels", data_dir=str(tmp_path / "photos")
    )
    config = dataclasses.replace(CONFIG, dataset="folder")
    images = tmp_path / "photos"
    with pytest.raises(ValueError, match="--resize does it for a folder"):
        evaluate_images(tmp_path / "out", images, config, request)
    asked = dataclasses.replace(request, resize=True)
    metrics = evaluate_images(tmp_path / "out", images, config, asked)
    assert metrics["fid"]["train"]["value"] == pytest.approx(0, abs=1e-9)
    assert metrics["samples"]["resized"]
    np.savez(tmp_path / "images.npz", DIGITS.examples[:9])
    with pytest.raises(ValueError, match="--resize is for a folder of image files"):
        evaluate_images(tmp_path / "arrays", tmp_path / "images.npz", config, asked)


def test_images_again_measure_nothing_anew_and_others_are_refused(tmp_path, request_, monkeypatch):
    request = dataclasses.replace(request_, **QUICK)
    for name, images in (("a", DIGITS.examples[:70]), ("b", DIGITS.examples[70:140])):
        np.savez(tmp_path / f"{name}.npz", images)
    (tmp_path / "moved").mkdir()
    first = evaluate_images(tmp_path / "out", tmp_path / "a.npz", CONFIG, request)
    monkeypatch.setattr(measuring, "measure_images", None)  # whoever calls it fails
    (tmp_path / "a.npz").rename(tmp_path / "moved" / "a.npz")
    again = evaluate_images(tmp_path / "out", tmp_path / "moved" / "a.npz", CONFIG, request)
    assert again["fid"] == first["fid"]
    with pytest.raises(ValueError, match="other conditions .*samples fingerprint"):
        evaluate_images(tmp_path / "out", tmp_path / "b.npz", CONFIG, request)


def test_inception_from_a_file(tmp_path, request_):
    matrix = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    (tmp_path / "graph.pb").write_bytes(small_graph(matrix, classes=5).SerializeToString())
    np.savez(tmp_path / "images.npz", DIGITS.examples[100:150])
    request = dataclasses.replace(
        request_, features="inception", inception_path=str(tmp_path / "graph.pb"), pictures=False
    )
    metrics = evaluate_images(tmp_path / "out", tmp_path / "images.npz", CONFIG, request)
    assert len(metrics["features"]["graph_sha256"]) == 64
    assert 1 <= metrics["is"]["value"] <= 5
    assert metrics["is"]["num_splits"] == 10 and metrics["fid"]["test"]["dimensions"] == 12


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((9, 4, 4, 1), np.uint8), "images of 4x4 with 1 channels, but digits has 8x8"),
        (np.zeros((9, 8, 8, 3), np.uint8), "images of 8x8 with 3 channels, but digits has 8x8"),
    ],
)
def test_images_that_cannot_be_compared(tmp_path, request_, images, message):
    np.savez(tmp_path / "images.npz", images)
    with pytest.raises(ValueError, match=message):
        evaluate_images(tmp_path / "out", tmp_path / "images.npz", CONFIG, request_)
    assert not (tmp_path / "out").exists()


def test_one_image_has_no_covariance(tmp_path, request_):
    np.savez(tmp_path / "images.npz", np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="at least 2 samples"):
        evaluate_images(tmp_path / "out", tmp_path / "images.npz", CONFIG, request_)


# --- What cannot be asked for


@pytest.mark.parametrize(
    "choices, message",
    [
        ({"metrics": ("bpd", "kid")}, "metric 'kid'; choose some of bpd, fid, is, rate_distortion"),
        ({"features": "vgg"}, "features 'vgg'; choose auto, inception or pixels"),
        ({"num_samples": 1}, "num_samples is 1; it must be 2 or more, or 0"),
        ({"num_images": -1}, "num_images is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"range": (1.0, 0.0)}, "it must be two rising numbers"),
        ({"range": (0.0, float("nan"))}, "it must be two rising numbers"),
    ],
)
def test_impossible_requests(choices, message):
    with pytest.raises(ValueError, match=message):
        Request(**choices)


def test_requests_that_do_not_fit_the_data():
    with pytest.raises(ValueError, match="needs --features=inception, not pixels"):
        Request(metrics=("is",)).chosen_metrics(CONFIG, has_model=True)
    with pytest.raises(ValueError, match="bpd needs a model; give --workdir .* some of fid"):
        Request(metrics=("bpd",)).chosen_metrics(CONFIG, has_model=False)
    with pytest.raises(ValueError, match="lsun has no split 'test'; choose --splits=train"):
        Request(splits=("test",)).chosen_splits(get_config("lsun_cat"))
    assert Request().chosen_metrics(get_config("cifar10"), has_model=True) == (
        "bpd", "fid", "is", "rate_distortion"
    )  # fmt: skip
    assert Request().chosen_splits(get_config("lsun_cat")) == ("train",)


# --- The script


def test_fewer_samples_than_images_have_conditions_of_all_of_them():
    labels = np.repeat([0, 1, 2], [10, 20, 30])  # sorted by class, as folders are
    np.testing.assert_array_equal(np.bincount(spread(labels, 12)), [2, 4, 6])
    for number in (None, 60, 1000):
        np.testing.assert_array_equal(spread(labels, number), labels)


def test_data_of_other_classes_than_the_run_learned_are_refused(tmp_path):
    for name, colour in (("cat", 50), ("dog", 90), ("bird", 20)):
        folder = tmp_path / ("two" if name == "bird" else "one") / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(np.full((8, 8, 3), colour + i, np.uint8)).save(folder / f"{i}.png")
    diffusion_tf.train(
        "folder", workdir=tmp_path / "run", data_dir=str(tmp_path / "one"), jit_compile="off",
        labels="subfolders", image_size=8, ch=32, ch_mult=(1,), attn_resolutions=(), batch_size=4,
        num_res_blocks=1, num_diffusion_timesteps=4, steps=1, grid_steps=0,
    )  # fmt: skip
    shutil.copytree(tmp_path / "one" / "cat", tmp_path / "two" / "cat")
    with pytest.raises(ValueError, match="are bird, cat, and the run learned cat, dog; their num"):
        evaluate_run(
            tmp_path / "out", str(tmp_path / "run"),
            Request(metrics=("fid",), data_dir=str(tmp_path / "two"), features="pixels"),
        )  # fmt: skip


@pytest.mark.slow
def test_the_script_and_what_it_refuses(tmp_path, workdir):
    flags = ["--num_samples=20", "--num_images=40", "--jit_compile=off", "--cache_dir=cache"]
    result = run("evaluate", f"--workdir={workdir}", "--out=e", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "bpd (test): " in result.stderr and "Wrote e/report.html" in result.stderr
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["fid"]["test"]["value"] > 0


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "Give either --workdir, of a run, or --images"),
        (["--workdir=nowhere"], "nowhere holds no run"),
        (["--images=a.npz"], "--images needs --config"),
        (
            ["--images=a.npz", "--config=digits", "--out=e", "--quantize"],
            "--quantize is for samples that are drawn from a run; with --images leave it out",
        ),
        (["--images=none.npz", "--config=digits", "--out=e"], "no file or folder none.npz"),
        (["--workdir=w", "--watch", "--step=3"], "--watch needs --workdir, and goes without"),
        (["--workdir=w", "--metrics=kid"], "Unknown metric 'kid'"),
        (["--workdir=w", "--range=0,1"], "--range needs --images"),
        (["--workdir=w", "--resize"], "--resize needs --images"),
        (["--images=a.npz", "--config=digits", "--out=e", "--range=0"], "--range=0 is not two num"),
        (["--images=a.npz", "--config=digits", "--out=e", "--range=[0,1]"], "is not two numbers"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, flags, message):
    result = run("evaluate", *flags, cwd=tmp_path)
    assert result.returncode == 1 and message in result.stderr.splitlines()[-1], result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_watching_a_training(tmp_path):
    flags = ["--workdir=run", "--steps=40", "--checkpoint_steps=20", "--nopictures", *TINY]
    watching = [
        "--workdir=run", "--watch", "--out=e", "--metrics=bpd", "--splits=test", "--num_images=16",
        "--nopictures", "--jit_compile=off",
    ]  # fmt: skip
    watcher = start("evaluate", *watching, cwd=tmp_path, log="watch.log")  # before there is a run
    result = run("train", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert watcher.wait(timeout=1800) == 0, (tmp_path / "watch.log").read_text()
    folders = sorted(path.name for path in (tmp_path / "e").iterdir())
    assert folders[-1] == "step_00000040"
    metrics = json.loads((tmp_path / "e" / folders[-1] / "metrics.json").read_text())
    assert metrics["source"]["step"] == 40
    assert b"evaluation/bpd_test" in b"".join(
        path.read_bytes() for path in (tmp_path / "run" / "tensorboard").iterdir()
    )


def test_classes_can_be_evaluated_alone(tmp_path):
    """Of two classes in folders, tests held out: which images count, and what is said of them."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "data" / ("dog" if i % 4 else "cat") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    config = dataclasses.replace(
        CONFIG, dataset="folder", labels="auto", num_classes=2, test_fraction=0.4
    )
    request = Request(data_dir=str(tmp_path / "data"))
    datasets, data = measuring._real_images(config, request)
    assert sum(split.num_images for split in data.splits.values()) == 40
    for split, dataset in datasets.items():
        assert data.splits[split].classes == dataset.count_classes()
        assert min(data.splits[split].classes.values()) > 0
    request = dataclasses.replace(request, conditions="cat")
    _, of_cats = measuring._real_images(config, request)
    for split, described in of_cats.splits.items():
        cats = data.splits[split].classes["cat"]
        assert (described.num_images, described.classes) == (cats, {"cat": cats, "dog": 0})
        assert described.fingerprint != data.splits[split].fingerprint
    request = dataclasses.replace(request, test_dir=str(tmp_path / "data"), conditions=None)
    _, elsewhere = measuring._real_images(config, request)
    assert [split.num_images for split in elsewhere.splits.values()] == [40, 40]
    with pytest.raises(ValueError, match="chooses classes, and the run has none; leave it out"):
        measuring._real_images(CONFIG, Request(conditions="cat"))
