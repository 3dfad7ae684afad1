"""How the cost of sampling changes with the number of timesteps and the batch: it should not."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from diffusion_tf.benchmark.cases import BenchmarkRequest, circumstances, start_worker, take_turns
from diffusion_tf.benchmark.task import OURS, Task
from diffusion_tf.config import Config
from diffusion_tf.utils.progress import progress_bar

BASE = (1000, 16)  # timesteps and images at once, to which the others are compared
OTHERS = ((100, 16), (4000, 16), (1000, 32), (1000, 64))


def measure_scaling(config: Config, request: BenchmarkRequest) -> dict[str, Any]:
    """Measures sampling with this project alone, all sizes in turns.

    Args:
        config: of the network and the process; its number of timesteps is not used.
        request: rounds, seconds, jit_compile, and the first dtype.

    Returns:
        What is written as JSON: the circumstances, see `measuring`, and `scaling`, see
        `compare_sizes`.

    Raises:
        ValueError: a config that cannot be.
        OSError: a process ended, for lack of memory perhaps.
    """
    sizes = [BASE, *OTHERS]
    total = len(sizes) * (1 + request.rounds)
    with ExitStack() as stack, progress_bar("benchmark", "turn", total=total) as progress:
        workers = []
        for timesteps, batch_size in sizes:
            sized = asdict(replace(config, num_diffusion_timesteps=timesteps))
            task = Task(OURS, "sample", batch_size, request.dtype[0], sized, request.jit_compile)
            workers.append(start_worker(task, stack, progress))
        seconds, _ = take_turns(workers, request, progress)
        descriptions = [worker.description for worker in workers]
    return {
        **circumstances(config, request, descriptions),
        "scaling": compare_sizes(sizes, seconds),
    }


def compare_sizes(
    sizes: Sequence[tuple[int, int]], seconds: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    """The cost of an image's step in each size, and its ratio to that in the first.

    Args:
        sizes: timesteps and images at once.
        seconds: of a step, for each size those of each round.

    Returns:
        For each size `timesteps`, `batch_size`, `seconds_per_step` of each round,
        `milliseconds_per_image`, the median, and `ratio`, the median of the rounds' ratios.
    """
    per_image = [
        [each / batch_size for each in times]
        for (_, batch_size), times in zip(sizes, seconds, strict=True)
    ]
    return [
        {
            "timesteps": timesteps,
            "batch_size": batch_size,
            "seconds_per_step": list(times),
            "milliseconds_per_image": 1000 * statistics.median(images),
            "ratio": statistics.median(a / b for a, b in zip(images, per_image[0], strict=True)),
        }
        for (timesteps, batch_size), times, images in zip(sizes, seconds, per_image, strict=True)
    ]


def scaling_table(results: Mapping[str, Any]) -> str:
    """What `measure_scaling` returned, for people."""
    lines = ["timesteps   batch   ms per image and step   ratio"]
    lines += [
        f"{row['timesteps']:9}{row['batch_size']:8}{row['milliseconds_per_image']:24.4g}"
        f"{row['ratio']:8.3f}"
        for row in results["scaling"]
    ]
    return "\n".join([*lines, ""])
