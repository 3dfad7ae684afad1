"""metrics.json: files of every version, read, written and refused; metrics by name."""

import copy
import dataclasses
import json
import subprocess
import sys

import pytest

from diffusion_tf.evaluation.metric import METRICS, get_metric
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.report.paper import compare_with_paper
from diffusion_tf.evaluation.results import Results
from diffusion_tf.evaluation.schema import VERSION, Evaluation
from helpers.evaluation_metrics import cifar10_metrics


@pytest.fixture
def metrics():
    return json.loads(json.dumps(cifar10_metrics(12)))


def test_a_file_of_before_is_read_and_gets_a_version(metrics):
    assert "version" not in metrics
    metrics["comparison"] = compare_with_paper(metrics)
    written = Evaluation.from_json(metrics).to_json()
    assert written.pop("version") == VERSION
    assert written == metrics
    again = Evaluation.from_json({"version": VERSION, **metrics})
    assert again.to_json() == {"version": VERSION, **metrics}


def test_what_is_in_the_file_is_typed(metrics):
    evaluation = Evaluation.from_json(metrics)
    assert evaluation.data.splits["test"].of == 10_000
    assert evaluation.source.parsed_config().dataset == "cifar10"
    assert get_metric("fid").results(evaluation)["train"].value == 3.3
    assert get_metric("is").results(evaluation)[None].split_mean == 9.41
    assert get_metric("bpd").results(evaluation)["test"].terms == metrics["bpd"]["test"]["terms"]


def test_metrics_that_are_not_known_here_are_kept(metrics):
    metrics["kid"] = {"train": {"value": 0.5}}
    assert Evaluation.from_json(metrics).to_json()["kid"] == metrics["kid"]


SPOILED = {
    "has version 99, and this program reads versions up to .* update diffusion_tf": (
        lambda m: m.update(version=99)
    ),
    "has version '1'": lambda m: m.update(version="1"),
    "has version True": lambda m: m.update(version=True),
    "has no 'source'; restore": lambda m: m.pop("source"),
    "source has no 'path'": lambda m: m["source"].pop("path"),
    "data is 3 and not an object": lambda m: m.update(data=3),
    "samples has 'colour', which is not known": lambda m: m["samples"].update(colour="red"),
    'samples, seed is "3" and not a whole number': lambda m: m["samples"].update(seed="3"),
    "features, quantized is 1 and not true or false": (lambda m: m["features"].update(quantized=1)),
    "data, splits, test, of is 2.5 and not": lambda m: m["data"]["splits"]["test"].update(of=2.5),
    r"comparison is \{\} and not a list": lambda m: m.update(comparison={}),
    "fid is 3 and not an object": lambda m: m.update(fid=3),
    "fid, train has no 'value'": lambda m: m["fid"]["train"].pop("value"),
    'bpd, test, terms is "many" and not a number': (
        lambda m: m["bpd"]["test"].update(terms=["many"])
    ),
}


@pytest.mark.parametrize("message", SPOILED)
def test_what_is_not_an_evaluation_is_refused_in_a_sentence(metrics, tmp_path, message):
    here = Evaluation.from_json(copy.deepcopy(metrics))
    SPOILED[message](metrics)
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    before = (tmp_path / "metrics.json").read_bytes()
    with pytest.raises(ValueError, match=f"{message}.*choose another --out") as refused:
        Results(tmp_path, source=here.source, data=here.data)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_an_evaluation_of_before_goes_on(metrics, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    here = Evaluation.from_json(metrics)
    results = Results(tmp_path, source=here.source, data=here.data, samples=here.samples)
    assert results.has("fid", "train") and results.has("is") and not results.has("fid", "other")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["version"] == VERSION
    for name in ("source", "data", "samples", "features", *METRICS):
        assert written[name] == metrics[name]
    other = dataclasses.replace(here.samples, seed=4)
    with pytest.raises(ValueError, match=r"other conditions \(samples seed 3 there, 4 here\)"):
        Results(tmp_path, source=here.source, data=here.data, samples=other)


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_says_all_of_itself(name):
    metric = get_metric(name)
    assert metric.name == name and METRICS[name].help
    assert metric.needs and metric.needs <= {"samples", "features", "classes", "likelihoods"}
    assert dataclasses.is_dataclass(metric.result)
    for number in metric.numbers.values():
        assert number.better in ("lower", "higher") and (number.label or number.unit)
    for numbers in metric.paper.values():
        assert {number for number, _ in numbers} <= metric.numbers.keys()


def test_one_number_is_called_the_same_by_all_metrics():
    described = {}
    for metric in map(get_metric, METRICS):
        for name, number in metric.numbers.items():
            assert described.setdefault(name, number) == number


def test_an_unknown_metric():
    with pytest.raises(ValueError, match="Unknown metric 'kid'; choose some of bpd, fid, is, rate"):
        get_metric("kid")


def test_metrics_are_listed_and_compared_without_tensorflow():
    code = (
        "import sys; from diffusion_tf.evaluation import options; "
        "from diffusion_tf.evaluation.report import paper; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_flags_are_the_fields_of_the_request():
    """Their defaults, types and choices come from there."""
    code = (
        "import runpy, sys, dataclasses; from absl import flags;"
        "sys.argv = ['evaluate']; runpy.run_path('scripts/evaluate.py');"
        "from diffusion_tf.evaluation.options import Request;"
        "fields = {f.name: f.default for f in dataclasses.fields(Request)};"
        "import json; print(json.dumps({n: flags.FLAGS[n].default for n in fields}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    request = Request()
    for name, default in json.loads(result.stdout).items():
        value = getattr(request, name)
        assert default == value or (default == [] and not value), name
