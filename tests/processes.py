"""Scripts in processes of their own, alone and as machines that train together."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"
# The smallest run: a few milliseconds a step.
TINY = [
    "--ch=32", "--ch_mult=2", "--attn_resolutions=", "--num_diffusion_timesteps=12",
    "--batch_size=8", "--log_steps=1", "--jit_compile=off", "--lr=0.01", "--warmup=1",
    "--grid_steps=0",
]  # fmt: skip


def run(script, *arguments, cwd, timeout=300):
    """Runs a script to its end."""
    return subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start(script, *arguments, cwd, log, environment=None):
    """Starts a script whose standard error goes to the file `log`."""
    with open(cwd / log, "w") as file:
        return subprocess.Popen(
            [sys.executable, SCRIPTS / f"{script}.py", *arguments],
            cwd=cwd,
            stderr=file,
            env=environment,
        )


def start_workers(script, *arguments, cwd):
    """Starts a script on two machines, both of them this one; they log to worker<i>.log."""
    return [
        start(
            script, *arguments, "--strategy=multi_worker", cwd=cwd, log=f"worker{i}.log",
            environment=environment,
        )
        for i, environment in enumerate(cluster(2))
    ]  # fmt: skip


def cluster(number):
    """The environments of processes that are the machines of a cluster."""
    addresses = [f"localhost:{port}" for port in free_ports(number)]
    return [
        {
            **os.environ,
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            ),
        }
        for i in range(number)
    ]


def free_ports(number):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def newest_step(workdir):
    """Step of the newest checkpoint; 0 if there is none."""
    steps = [int(p.stem.split("-")[1]) for p in workdir.glob("checkpoints/ckpt-*.index")]
    return max(steps, default=0)


def wait_for_step(workdir, step, process, seconds=120):
    """Waits until a run has saved a step."""
    end = time.monotonic() + seconds
    while newest_step(workdir) < step:
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < end, f"no checkpoint of step {step} in {seconds} s"
        time.sleep(0.02)
