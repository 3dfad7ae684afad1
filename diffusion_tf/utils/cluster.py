"""Machines that train together: TF_CONFIG, looked at as a whole, and the wait for the others."""

import contextlib
import datetime
import re
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from absl import logging

from diffusion_tf.utils.json_files import NotJSON, parse_json
from diffusion_tf.utils.numbers import shown

TRAINING_JOBS = ("chief", "worker")
JOBS = (*TRAINING_JOBS, "ps", "evaluator")  # those that tf.distribute knows
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]@]+):(?P<port>[0-9]{1,5})")
PATIENCE = datetime.timedelta(hours=1)  # TensorFlow's own; it cannot be changed from outside
_REMINDER_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """Machines, and which of them this one is.

    Attributes:
        addresses: `host:port` of all machines, by job.
        job, index: this machine's.
    """

    addresses: dict[str, list[str]]
    job: str
    index: int

    @property
    def address(self) -> str:
        """This machine's."""
        return self.addresses[self.job][self.index]

    @property
    def others(self) -> dict[str, str]:
        """Addresses of the other machines that train, by name, such as `worker 1`."""
        named = {
            f"{job} {index}": address
            for job in TRAINING_JOBS
            for index, address in enumerate(self.addresses.get(job, ()))
        }
        del named[f"{self.job} {self.index}"]
        return named


def parse_cluster(text: str) -> Cluster:
    """The cluster that TF_CONFIG describes.

    Args:
        text: the variable's value.

    Raises:
        ValueError: it is not JSON, or something in it is not as tf.distribute describes.
    """
    try:
        config = parse_json(text)
    except NotJSON as error:
        raise ValueError(
            f"Strategy 'multi_worker' needs the cluster in TF_CONFIG; {shown(text)} is not JSON"
            f" ({error})."
        ) from None
    if not isinstance(config, dict) or not {"cluster", "task"} <= config.keys():
        raise ValueError(
            f"TF_CONFIG is {shown(config)}; it must hold 'cluster' and 'task', as tf.distribute"
            " describes."
        )
    if not isinstance(config.get("rpc_layer") or "grpc", str):
        raise _wrong("rpc_layer", config["rpc_layer"], "a text, such as 'grpc'")
    addresses = _checked_addresses(config["cluster"])
    return Cluster(addresses, *_checked_task(config["task"], addresses))


def _checked_addresses(cluster: Any) -> dict[str, list[str]]:
    if not isinstance(cluster, dict) or not cluster:
        raise _wrong("cluster", cluster, "an object with a list of addresses for each job")
    for job, addresses in cluster.items():
        if job not in JOBS:
            raise _wrong("the job", job, f"one of {', '.join(JOBS)}")
        if not isinstance(addresses, list) or not addresses:
            raise _wrong(f"the cluster's {job}", addresses, "a list of addresses")
        for index, address in enumerate(addresses):
            if not is_address(address):
                raise _wrong(f"the address of {job} {index}", address, "'host:port'")
    if len(cluster.get("chief", [""])) > 1:
        raise _wrong("the cluster's chief", cluster["chief"], "one address")
    flat = [address for addresses in cluster.values() for address in addresses]
    twice = next((address for address in flat if flat.count(address) > 1), None)
    if twice is not None:
        raise _wrong("an address", twice, "that of one machine, and is there twice")
    return cluster


def is_address(value: Any) -> bool:
    """Whether a value is `host:port`."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return match is not None and 1 <= int(match["port"]) <= 65535


def _checked_task(task: Any, addresses: dict[str, list[str]]) -> tuple[str, int]:
    """Job and index of this machine."""
    if not isinstance(task, dict) or not {"type", "index"} <= task.keys():
        raise ValueError(
            f"TF_CONFIG has task {shown(task)}; its task must have a 'type' and an 'index'."
        )
    job, index = task["type"], task["index"]
    if not isinstance(job, str):
        raise _wrong("the task's type", job, f"one of {', '.join(JOBS)}")
    if isinstance(index, str) and index.isdecimal() and len(index) < 10:
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise _wrong("the task's index", index, "a whole number")
    machines = len(addresses.get(job, ()))
    if not 0 <= index < machines:
        there = f"{job} 0..{machines - 1}" if machines else f"no {job}"
        raise ValueError(
            f"TF_CONFIG says that this machine's task is {job} {index}, but its cluster has"
            f" {there}; give each machine an index of its own."
        )
    if job not in TRAINING_JOBS:
        raise _wrong("the task's type", job, "chief or worker: the others do not train")
    return job, index


def _wrong(what: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"TF_CONFIG is wrong: {what} is {shown(value)}; it must be {expected}.")


def check_resolves(cluster: Cluster) -> None:
    """Makes sure that this machine's own address means a machine; and this one, if it is alone.

    Raises:
        ValueError: nobody knows the name, so that the others would wait, too; or a machine alone
            has the address of another, which it would wait for.
    """
    if not _resolves(cluster.address):
        raise ValueError(
            f"TF_CONFIG gives this machine, {cluster.job} {cluster.index}, the address"
            f" {cluster.address}, whose name nobody knows; correct it."
        )
    if not cluster.others and not _is_here(cluster.address):
        raise ValueError(
            f"TF_CONFIG gives this machine, which is alone, the address {cluster.address}, which is"
            " not one of its own; correct it, or unset TF_CONFIG."
        )


@contextlib.contextmanager
def waiting(cluster: Cluster) -> Iterator[None]:
    """Says, while a block waits for the other machines, for which ones, and until when.

    Ctrl-C ends the process meanwhile: TensorFlow would not let Python see it.
    """
    if not cluster.others:
        yield
        return
    until = (datetime.datetime.now() + PATIENCE).strftime("%H:%M")
    logging.info(
        "This machine is %s %d of %d. It waits for %s, until %s.",
        cluster.job, cluster.index, len(cluster.others) + 1, _listed(cluster.others), until,
    )  # fmt: skip
    done = threading.Event()
    reminder = threading.Thread(target=_remind, args=(cluster, until, done), daemon=True)
    reminder.start()
    with _interruptible():
        try:
            yield
        finally:
            done.set()


def _remind(cluster: Cluster, until: str, done: threading.Event) -> None:
    while not done.wait(_REMINDER_SECONDS):
        silent = {name: a for name, a in cluster.others.items() if not _answers(a)}
        logging.info("Still waiting for %s, until %s.", _listed(silent or cluster.others), until)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listed(machines: dict[str, str]) -> str:
    texts = [f"{name} ({address})" for name, address in machines.items()]
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return ", ".join(texts[:5]) + more


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _resolves(address: str) -> bool:
    try:
        socket.getaddrinfo(*_host_and_port(address))
    except (OSError, UnicodeError):  # the latter for names that cannot be
        return False
    return True


def _is_here(address: str) -> bool:
    """Whether one could listen at the host of an address, at any port."""
    host, _ = _host_and_port(address)
    for family, kind, protocol, _, where in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as listener:
            listener.bind(where)
            return True
    return False


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), timeout=1):
            return True
    except (OSError, UnicodeError):
        return False
