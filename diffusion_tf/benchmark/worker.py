"""A process that does one task, some steps at a time, when it is told to.

It reads and writes a line of JSON each time: first a task; then `{"steps": n}`, answered by the
seconds that they took; at the end `{}`, answered by its memory and by the operations of a step.
"""

import json
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from diffusion_tf.benchmark.task import OURS, Task

if TYPE_CHECKING:
    from diffusion_tf.benchmark.tensorflow_work import TensorFlowWork
    from diffusion_tf.benchmark.torch_work import TorchWork


def main() -> None:
    """Works until it is told to end."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not an answer
    try:
        _work(channel)
    except (ValueError, RuntimeError) as error:  # RuntimeError: most of PyTorch's
        _answer(channel, error=f"{type(error).__name__}: {error}")
        raise


def _work(channel: TextIO) -> None:
    start = time.perf_counter()
    task = Task(**json.loads(sys.stdin.readline()))
    implementation_of = _import(task.name)
    import_seconds = time.perf_counter() - start
    implementation = implementation_of(task)
    implementation.run(1)
    _answer(channel, import_seconds=import_seconds, **implementation.description)
    for line in sys.stdin:
        order = json.loads(line)
        if not order:
            memory = implementation.peak_memory() or _peak_rss()  # before operations are counted
            flops = implementation.flops_per_step()
            _answer(channel, peak_memory_bytes=memory, flops_per_step=flops)
            return
        start = time.perf_counter()
        implementation.run(order["steps"])
        _answer(channel, seconds=time.perf_counter() - start)


def _import(name: str) -> "type[TensorFlowWork] | type[TorchWork]":
    """The class of an implementation; what it needs is imported with it, and nothing else."""
    if name == OURS:
        from diffusion_tf.benchmark.tensorflow_work import TensorFlowWork

        return TensorFlowWork
    from diffusion_tf.benchmark.torch_work import TorchWork

    return TorchWork


def _peak_rss() -> int:
    """Bytes of memory that this process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _answer(channel: TextIO, **values: Any) -> None:
    channel.write(json.dumps(values) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
