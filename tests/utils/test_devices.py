"""Strategies by name, and what is said when the devices are not there."""

import json

import pytest
import tensorflow as tf

from diffusion_tf.utils.devices import get_strategy, is_chief, num_workers, use_xla


def test_single_and_mirrored_have_as_many_replicas_as_devices():
    assert get_strategy("single").num_replicas_in_sync == 1
    mirrored = get_strategy("mirrored")  # the tests run with four logical CPUs
    assert mirrored.num_replicas_in_sync == len(tf.config.list_logical_devices("CPU")) == 4
    assert (num_workers(mirrored), is_chief(mirrored)) == (1, True)


def test_auto_takes_one_device_where_there_is_no_gpu():
    if tf.config.list_logical_devices("GPU"):
        pytest.skip("there are GPUs")
    assert get_strategy("auto").num_replicas_in_sync == 1


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown strategy 'horovod'; choose one of auto, single"):
        get_strategy("horovod")


CLUSTER = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize("strategy", ["multi_worker", "auto"])
@pytest.mark.parametrize(
    "text, message",
    [
        ("worker0:2222", "'worker0:2222' is not JSON"),
        ("[]", r"TF_CONFIG is \[\]; it must hold 'cluster' and 'task'"),
        (json.dumps({"cluster": CLUSTER}), "must hold 'cluster' and 'task'"),
        (json.dumps({"cluster": CLUSTER, "task": {}}), "its task must have a 'type'"),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
            "task is worker 2, .* has worker 0..1",
        ),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "ps", "index": 0}}),
            "task is ps 0, .* has no ps",
        ),
    ],
)
def test_a_cluster_that_is_not_one_is_refused(monkeypatch, strategy, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        get_strategy(strategy)


def test_several_machines_without_a_cluster_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="needs the cluster in TF_CONFIG; '' is not JSON"):
        get_strategy("multi_worker")


def test_xla_is_for_accelerators_and_small_images():
    assert use_xla("on", 256)
    assert not use_xla("off", 8)
    assert use_xla("auto", 8) and use_xla("auto", 16)
    assert use_xla("auto", 32) == bool(tf.config.list_logical_devices("GPU"))
    with pytest.raises(ValueError, match="Unknown jit_compile 'yes'; choose one of auto, on, off"):
        use_xla("yes", 8)


@pytest.mark.parametrize("kind", ["GPU", "TPU"])
def test_xla_is_chosen_for_an_accelerator_at_any_size(kind, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda asked: [kind] * (asked == kind))
    assert use_xla("auto", 8) and use_xla("auto", 256)
    assert not use_xla("off", 256)
