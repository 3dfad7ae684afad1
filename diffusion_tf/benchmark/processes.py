"""Workers as the benchmark sees them: started, told what to do, timed, and ended."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusion_tf.benchmark.task import Task


class Worker:
    """A process of `diffusion_tf.benchmark.worker`; a context manager that ends it.

    Attributes:
        task: what it does.
        description: its first answer, once it is `ready`; `first_step_seconds` since its start.
    """

    def __init__(self, task: Task):
        self.task = task
        self.description: dict[str, Any] = {}
        self._start = time.monotonic()
        # As many threads for everyone, and none that waits by spinning while others work.
        environment = {
            "OMP_NUM_THREADS": str(self.threads()),
            "OMP_WAIT_POLICY": "passive",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        }
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "diffusion_tf.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdin is not None and process.stdout is not None  # both are pipes
        self._stdin, self._stdout = process.stdin, process.stdout

    @staticmethod
    def threads() -> int:
        """The processors that this process may use."""
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            pipe.close()

    def ready(self) -> None:
        """Waits for the first step.

        Raises:
            ValueError: it cannot do its task.
            OSError: it ended.
        """
        self.description = self._ask(asdict(self.task))
        self.description["first_step_seconds"] = time.monotonic() - self._start

    def seconds(self, steps: int) -> float:
        """Runs `steps` steps; returns the seconds that they took."""
        return self._ask({"steps": steps})["seconds"]

    def peak_memory(self) -> int:
        """Bytes that it held at most: of memory, or on the GPU.

        It then ends; the description has `flops_per_step`, the operations of its network.
        """
        answer = self._ask({})
        self.description["flops_per_step"] = answer["flops_per_step"]
        return answer["peak_memory_bytes"]

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        name = f"{self.task.name} ({self.task.work}, batch {self.task.batch_size})"
        try:
            self._stdin.write(json.dumps(order) + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            pass  # what it said last, if anything, is still to be read
        line = self._stdout.readline()
        if not line:
            raise OSError(f"{name} ended with exit code {self._process.wait()}; see above.")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(f"{name} failed: {answer['error']}")
        return answer
