"""The benchmark: what it counts, what it makes of times, and small runs of the script."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest

from diffusion_tf.benchmark.cases import BenchmarkRequest, summary
from diffusion_tf.benchmark.flops import forward_flops
from diffusion_tf.benchmark.processes import Worker
from diffusion_tf.benchmark.scaling import compare_sizes, scaling_table
from diffusion_tf.benchmark.table import table
from diffusion_tf.benchmark.task import OURS, Task, variants_of
from diffusion_tf.config import get_config
from diffusion_tf.models import get_model
from helpers.processes import run

SMALL = get_config(
    "cifar10", ch=32, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), image_size=4
)
TASK = Task(OURS, "train", 2, "float32", dataclasses.asdict(SMALL), jit_compile="off")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    SMALL.save(home / "small.json")
    return home


def benchmark(home, *flags):
    return run(
        "benchmark", "--config=small.json", "--batch_size=2", "--seconds=0", "--jit_compile=off",
        *flags, cwd=home,
    )  # fmt: skip


def test_flops_of_a_network_by_hand():
    pixels, ch = 4 * 4, 32
    conv = 2 * 9 * ch * ch * pixels
    block = 2 * conv + 2 * 128 * ch  # and the projection of the time embedding
    wide_block = block + conv + 2 * 2 * ch * ch * pixels  # 64 channels come in; 1x1 shortcut
    attention = 4 * 2 * ch * ch * pixels + 2 * 2 * pixels * pixels * ch
    expected = (
        2 * ch * 128 + 2 * 128 * 128  # time embedding
        + 2 * (2 * 9 * 3 * ch * pixels)  # first and last convolution
        + block  # down
        + 2 * block + attention  # in the middle
        + 2 * wide_block  # up
    )  # fmt: skip
    assert forward_flops(get_model(SMALL), SMALL) == expected


def test_transposed_operands_and_batches_are_counted():
    import tensorflow as tf

    def product(inputs, training):
        a, b = (tf.reduce_sum(inputs[0]) * tf.ones([1, 7, width]) for width in (3, 5))
        return tf.matmul(a, b, transpose_a=True)

    assert forward_flops(product, SMALL) == 2 * 7 * 3 * 5


def test_the_ratio_is_the_median_of_the_ratios_of_rounds():
    description = {"flops_per_step": 6e9, "first_step_seconds": 1.0, "unet": {}}
    result = summary(
        dataclasses.replace(TASK, batch_size=8),
        # ratios to ours: 2, 1, 3; the ratio of the medians would be 2 / 2
        {OURS: [1.0, 2.0, 4.0], "eager": [2.0, 2.0, 12.0], "compiled": [3.0, 5.0, 4.0]},
        ceilings=[10e9, 30e9, 20e9],
        memory={OURS: 1, "eager": 2, "compiled": 3},
        descriptions=dict.fromkeys((OURS, "eager", "compiled"), description),
    )
    ours, eager, compiled = result["implementations"].values()
    assert (ours["ratio"], eager["ratio"], compiled["ratio"]) == (1.0, 2.0, 2.5)
    assert (result["best"], result["ratio"]) == ("eager", 2.0)
    assert (ours["steps_per_second"], ours["images_per_second"]) == (0.5, 4.0)
    assert result["ceiling_flops_per_second"] == 20e9
    assert ours["fraction_of_ceiling"] == pytest.approx(0.5 * 6e9 / 20e9)
    assert eager["peak_memory_bytes"] == 2
    assert ours["description"] == {"first_step_seconds": 1.0}


def test_bfloat16_weights_are_for_sampling_alone():
    assert variants_of("train", "bfloat16", ("eager",)) == ["eager"]
    assert variants_of("sample", "float32", ("eager",)) == ["eager"]
    assert variants_of("sample", "bfloat16", ("eager",)) == ["eager", "eager_half_weights"]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"work": ("trian",)}, "Unknown work 'trian'; choose of train, sample"),
        ({"variants": ("jit",)}, "Unknown variants 'jit'"),
        ({"dtype": ()}, "No dtype is given"),
        ({"rounds": 0}, "rounds 0"),
        ({"batch_size": (8, 0)}, r"batch_size \(8, 0\)"),
    ],
)
def test_requests_that_cannot_be_measured_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkRequest(**{"variants": (), **values})


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"pip install -e '\.\[crosscheck\]'"):
        BenchmarkRequest()
    assert BenchmarkRequest(variants=()).variants == ()


@pytest.mark.slow
def test_a_worker_that_cannot_do_its_task_says_why():
    message = r"diffusion_tf \(train, batch 0\) failed: ValueError: .*batch"
    with (
        Worker(dataclasses.replace(TASK, batch_size=0)) as worker,
        pytest.raises(ValueError, match=message),
    ):
        worker.ready()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error():
    with Worker(TASK) as worker:
        worker.ready()
        assert worker.seconds(1) > 0
        worker._process.kill()
        with pytest.raises(OSError, match="ended with exit code -9"):
            worker.seconds(1)


def check_case(case, implementations):
    assert set(case["implementations"]) == implementations
    for values in case["implementations"].values():
        assert len(values["seconds_per_step"]) == 2 and min(values["seconds_per_step"]) > 0
        assert values["peak_memory_bytes"] > 5e7
        description = values["description"]
        assert 0 < description["import_seconds"] < description["first_step_seconds"]
        np.testing.assert_allclose(
            values["steps_per_second"], 1 / np.median(values["seconds_per_step"])
        )
    assert case["ceiling_flops_per_second"] > 0


@pytest.mark.slow
def test_this_project_alone(home):
    result = benchmark(
        home, "--variants=", "--dtype=bfloat16", "--work=train", "--rounds=2", "--out=a.json"
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((home / "a.json").read_text())
    (case,) = results["cases"]
    check_case(case, {OURS})
    assert (case["best"], case["ratio"]) == (None, None)
    assert case["flops_per_step"] == 3 * 2 * forward_flops(get_model(SMALL), SMALL)
    assert results["parameters"] == get_model(SMALL).count_params()
    assert result.stdout == table(results)
    again = benchmark(home, "--variants=", "--out=a.json")
    assert again.returncode == 1 and "a.json is there already" in again.stderr


@pytest.mark.slow
def test_beside_diffusers(home):
    pytest.importorskip("diffusers")
    result = benchmark(
        home, "--variants=eager,eager_channels_last", "--dtype=float32", "--work=train,sample",
        "--rounds=2", "--out=b.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    results = json.loads((home / "b.json").read_text())
    assert [case["work"] for case in results["cases"]] == ["train", "sample"]
    for case in results["cases"]:
        check_case(case, {OURS, "eager", "eager_channels_last"})
        assert case["ratio"] == min(
            values["ratio"] for name, values in case["implementations"].items() if name != OURS
        )
    assert results["machine"]["threads"] == len(os.sched_getaffinity(0))
    assert [version.split()[0] for version in results["versions"]] == ["TensorFlow", "torch"]
    assert f"{case['best']} *" in result.stdout


def test_a_network_that_no_other_has_is_refused(home):
    result = benchmark(home, "--config=digits_conditional", "--out=none.json")
    assert result.returncode == 1
    assert "other formats know unconditional U-Nets only" in result.stderr
    assert not (home / "none.json").exists()


def test_sizes_are_compared_by_image_and_round():
    base, other = compare_sizes([(1000, 16), (100, 32)], [[16.0, 32.0, 16.0], [32.0, 32.0, 128.0]])
    assert (base["milliseconds_per_image"], base["ratio"]) == (1000.0, 1.0)
    assert (other["milliseconds_per_image"], other["ratio"]) == (1000.0, 1.0)  # of 1, 0.5 and 4
    assert (other["timesteps"], other["batch_size"]) == (100, 32)


@pytest.mark.slow
def test_scaling(home):
    result = benchmark(
        home, "--scaling", "--dtype=float32", "--rounds=2", "--out=scaling.json", "--seconds=0.1"
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((home / "scaling.json").read_text())
    rows = results["scaling"]
    sizes = [(row["timesteps"], row["batch_size"]) for row in rows]
    assert sizes == [(1000, 16), (100, 16), (4000, 16), (1000, 32), (1000, 64)]
    assert all(row["ratio"] > 0 and len(row["seconds_per_step"]) == 2 for row in rows)
    assert result.stdout == scaling_table(results)
