"""What a workdir keeps of its data: a damaged record, or that of another run, is refused."""

import json

import pytest

from diffusion_tf.config import get_config
from diffusion_tf.datasets.record import load_record

VECTORS = get_config("vectors", data_dim=2, standardize=1.0)
DIGITS = get_config("digits", num_classes=2)
KEPT = {"data_dir": "a.npz", "num_examples": 5, "identity": "0123"}
SCALING = {"mean": [1.5, -2], "scale": [0.5, 0]}


def load(folder, config, **fields):
    (folder / "data.json").write_text(json.dumps({**KEPT, **fields}))
    return load_record(str(folder), config)


def test_what_belongs_to_the_run(tmp_path):
    assert load(tmp_path, VECTORS, scaling=SCALING).scaling.to_json() == SCALING
    assert load(tmp_path, DIGITS, class_names=["a", "b"]).class_names == ("a", "b")
    embeddings = load(tmp_path, get_config("embeddings"), data_dir="")
    assert embeddings.scaling is None  # the package's own, which are not standardized
    assert load(tmp_path, get_config("digits"), class_names=["a", "b"]).scaling is None


@pytest.mark.parametrize("config, fields, message", [
    (VECTORS, {}, "it has no scaling, and standardize is 1"),
    (VECTORS, {"scaling": {"mean": [1], "scale": [1]}}, "it scales vectors of 1, and they have 2"),
    (VECTORS, {"scaling": {"mean": [1, 2], "scale": [1, float("inf")]}}, "not two lists of number"),
    (VECTORS, {"scaling": {"mean": [float("nan"), 2], "scale": [1, 1]}}, "not two lists of number"),
    (DIGITS, {"scaling": SCALING}, "it has a scaling, and standardize is 0"),
    (DIGITS, {"class_names": ["a", "b", "c"]}, "it names 3 classes of 2"),
    (DIGITS, {"class_names": ["a", "a"]}, "class_names has a name twice"),
    (DIGITS, {"num_examples": True}, "num_examples is True"),
])  # fmt: skip
def test_what_does_not(tmp_path, config, fields, message):
    with pytest.raises(ValueError, match=f"data.json does not .*{message}.*; restore it"):
        load(tmp_path, config, **fields)
