"""TF_CONFIG is looked at as a whole, and a machine alone says what it waits for."""

import json
import time

import pytest

from diffusion_tf.utils.cluster import check_resolves, is_address, parse_cluster
from helpers.processes import TINY, cluster, start

GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def config(**changes):
    return json.dumps({**GOOD, **changes})


def workers(*addresses):
    return config(cluster={"worker": list(addresses)}, task={"type": "worker", "index": 0})


BAD = {
    "task null": (config(task=None), "task None; its task must have a 'type'"),
    "task a list": (config(task=["worker", 0]), r"task \['worker', 0\]; its task must"),
    "cluster null": (config(cluster=None), "cluster is None; it must be an object"),
    "cluster a list": (config(cluster=["a:1"]), r"cluster is \['a:1'\]; it must be an object"),
    "cluster empty": (config(cluster={}), "cluster is {}; it must be an object"),
    "an unknown job": (config(cluster={"boss": ["a:1"]}), "the job is 'boss'; it must be one of"),
    "addresses null": (config(cluster={"worker": None}), "cluster's worker is None; .* a list"),
    "addresses a text": (config(cluster={"worker": "a:1"}), "cluster's worker is 'a:1'"),
    "addresses an object": (config(cluster={"worker": {"0": "a:1"}}), "cluster's worker is {"),
    "no addresses": (config(cluster={"worker": []}), r"cluster's worker is \[\]"),
    "two chiefs": (config(cluster={"chief": ["a:1", "b:1"]}), "chief is .*; it must be one addr"),
    "one address twice": (workers("a:1", "a:1"), "an address is 'a:1'; .* is there twice"),
    "type null": (config(task={"type": None, "index": 0}), "task's type is None"),
    "type a list": (config(task={"type": ["worker"], "index": 0}), "task's type is .'worker'."),
    "type unknown": (config(task={"type": "boss", "index": 0}), "task is boss 0, .* has no boss"),
    "a job that does not train": (
        config(cluster={"worker": ["a:1"], "ps": ["b:1"]}, task={"type": "ps", "index": 0}),
        "task's type is 'ps'; it must be chief or worker",
    ),
    "index a letter": (config(task={"type": "worker", "index": "a"}), "task's index is 'a'"),
    "index of 5,000 digits": (
        config(task={"type": "worker", "index": "9" * 5000}),
        "task's index is '999.*must be a whole number",
    ),
    "index null": (config(task={"type": "worker", "index": None}), "task's index is None"),
    "index a fraction": (config(task={"type": "worker", "index": 0.5}), "task's index is 0.5"),
    "index true": (config(task={"type": "worker", "index": True}), "task's index is True"),
    "index a list": (config(task={"type": "worker", "index": [0]}), r"task's index is \[0\]"),
    "index negative": (config(task={"type": "worker", "index": -1}), "task is worker -1, but"),
    "layer a number": (config(rpc_layer=5), "rpc_layer is 5; it must be a text"),
    "deep": ("[" * 200_000, "is not JSON .*nested"),
    "long": ('{"cluster": ' + "9" * 5000 + "}", "is not JSON .*of 5000 digits"),
    "text": ("abc", "'abc' is not JSON"),
    "null": ("null", " is None; it must hold 'cluster' and 'task'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_as_it_must_be_is_named(name):
    text, message = BAD[name]
    with pytest.raises(ValueError, match=rf"TF_CONFIG.*{message}") as refused:
        parse_cluster(text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "address",
    [5, None, ["a:1"], "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:b", "a b:1", "http://a:1",
     "a:1/", "a:1 ", "[::1]", "::1:5", "u@a:1", ""],
)  # fmt: skip
def test_what_is_not_an_address_is_refused(address):
    assert not is_address(address)
    with pytest.raises(ValueError, match="address of worker 1 is .*; it must be 'host:port'"):
        parse_cluster(workers("a:1", address))


@pytest.mark.parametrize(
    "address", ["a:1", "localhost:65535", "10.0.0.1:22", "[::1]:8080", "a-b.c:9"]
)
def test_addresses(address):
    assert is_address(address)


def test_a_good_cluster_is_read():
    read = parse_cluster(config())
    assert (read.job, read.index, read.address, read.others) == (
        "worker",
        1,
        "b:2",
        {"worker 0": "a:1"},
    )
    jobs = {"chief": ["c:1"], "worker": ["a:1"], "evaluator": ["e:1"]}
    read = parse_cluster(config(cluster=jobs, task={"type": "chief", "index": "0"}))
    assert (read.address, read.others) == ("c:1", {"worker 0": "a:1"})


def test_a_machine_whose_own_name_nobody_knows_does_not_wait():
    with pytest.raises(ValueError, match="address nowhere.invalid:1, whose name nobody knows"):
        check_resolves(parse_cluster(workers("nowhere.invalid:1", "localhost:2")))
    check_resolves(parse_cluster(workers("localhost:1", "nowhere.invalid:2")))


def test_a_machine_that_is_alone_does_not_wait_for_another():
    with pytest.raises(ValueError, match="alone, the address 192.0.2.1:5, which is not one of its"):
        check_resolves(parse_cluster(workers("192.0.2.1:5")))
    check_resolves(parse_cluster(workers("localhost:5")))
    check_resolves(parse_cluster(workers("192.0.2.1:5", "192.0.2.2:5")))  # behind a router, perhaps


@pytest.mark.slow
def test_a_machine_alone_says_for_whom_it_waits_and_until_when(tmp_path):
    environment = cluster(2)[0]
    other = json.loads(environment["TF_CONFIG"])["cluster"]["worker"][1]
    process = start("train", "--workdir=w", *TINY, cwd=tmp_path, log="log", environment=environment)
    try:
        end = time.monotonic() + 300
        expected = f"This machine is worker 0 of 2. It waits for worker 1 ({other}), until "
        while expected not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert not (tmp_path / "w").exists()
    finally:
        process.kill()
        process.wait()
