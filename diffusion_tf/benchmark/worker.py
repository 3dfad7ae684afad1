"""A process that does one task, some steps at a time, when it is told to.

It reads and writes a line of JSON each time: first a task; then `{"steps": n}` or `{"matrices": n}`
for n products, answered by the seconds that they took; at the end `{}`, answered by its memory.
"""

import json
import os
import resource
import sys
import time
from typing import Any, TextIO

from diffusion_tf.benchmark.task import OURS, Task

MATRIX_SIZE = {"CPU": 2048, "GPU": 8192}  # operands of some MB, or some hundred


def main() -> None:
    """Works until it is told to end."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    try:
        _work(channel)
    except (ValueError, RuntimeError) as error:  # RuntimeError: most of PyTorch's
        _answer(channel, error=f"{type(error).__name__}: {error}")
        raise


def _work(channel: TextIO) -> None:
    start = time.perf_counter()
    task = Task(**json.loads(sys.stdin.readline()))
    if task.name == OURS:
        from diffusion_tf.benchmark.ours import Ours as Implementation
    else:
        from diffusion_tf.benchmark.theirs import Theirs as Implementation
    import_seconds = time.perf_counter() - start
    implementation = Implementation(task)
    implementation.run(1)
    _answer(channel, import_seconds=import_seconds, **implementation.description)
    for line in sys.stdin:
        order = json.loads(line)
        if not order:
            memory = implementation.peak_memory()
            _answer(channel, peak_memory_bytes=_peak_rss() if memory is None else memory)
            return
        if "steps" in order:
            start, flops = time.perf_counter(), 0
            implementation.run(order["steps"])
        else:
            size = MATRIX_SIZE[implementation.description["device"]]
            implementation.multiply_matrices(size, task.dtype, 1)  # draws them, the first time
            start, flops = time.perf_counter(), 2 * size**3 * order["matrices"]
            implementation.multiply_matrices(size, task.dtype, order["matrices"])
        _answer(channel, seconds=time.perf_counter() - start, flops=flops)


def _peak_rss() -> int:
    """Bytes of memory that this process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _answer(channel: TextIO, **values: Any) -> None:
    channel.write(json.dumps(values) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
