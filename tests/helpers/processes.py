"""Scripts in processes of their own, alone and as machines that train together."""

import atexit
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

SCRIPTS = Path(__file__).parents[2] / "scripts"
# The smallest run: a few milliseconds a step.
TINY = [
    "--ch=32", "--ch_mult=2", "--attn_resolutions=", "--num_diffusion_timesteps=12",
    "--batch_size=8", "--log_steps=1", "--jit_compile=off", "--lr=0.01", "--warmup=1",
    "--grid_steps=0",
]  # fmt: skip


# Processes fork from one that has imported TensorFlow, which else takes half of a short run.
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(
    [
        f"diffusion_tf.{name}"
        for name in ("evaluation.run", "sampling.point_pictures", "training.loop")
    ]
)
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the scripts do before they import it


def run(script, *arguments, cwd, timeout=1800):
    """Runs a script to its end."""
    with TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        command = [str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
        process = _FORKSERVER.Process(target=_run_here, args=(command, cwd, outputs))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        texts = [Path(path).read_text() for path in outputs]
        return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _run_here(command, cwd, outputs):
    """Becomes the script, from its arguments to its exit code."""
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    sys.argv = command
    sys.path[0] = str(SCRIPTS)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which processes of multiprocessing leave out


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


def wait_for_step(workdir, step, process, seconds=900):
    """Waits until a run has saved a step."""
    end = time.monotonic() + seconds
    while newest_step(workdir) < step:
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < end, f"no checkpoint of step {step} in {seconds} s"
        time.sleep(0.02)


def sentence(result):
    """The error that a run ended with: exit code 1, one line, no traceback."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and last.endswith("."), result.stderr
    return last
