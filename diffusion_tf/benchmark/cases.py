"""Measures one case after the other, and within a case all implementations in turns."""

import importlib.util
import platform
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from diffusion_tf.benchmark.processes import Worker
from diffusion_tf.benchmark.task import (
    DTYPES,
    MATRICES,
    MATRIX_SIZE,
    OURS,
    VARIANTS,
    WORK,
    Task,
    variants_of,
)
from diffusion_tf.config import Config
from diffusion_tf.utils.numbers import INT32_MAX
from diffusion_tf.utils.progress import progress_bar

if TYPE_CHECKING:
    from diffusion_tf.utils.devices import JitCompile  # TensorFlow


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is to be measured, and for how long.

    Attributes:
        work: of `WORK`.
        batch_size: images at once, each a case of its own.
        dtype: of `DTYPES`.
        variants: of PyTorch, of `VARIANTS`; none measures this project alone.
        rounds: turns of every implementation.
        seconds: about as long is a turn, and one step at least.
        jit_compile: compile this project with XLA, a word that `utils.devices.use_xla` knows.
    """

    work: tuple[str, ...] = WORK
    batch_size: tuple[int, ...] = (8, 32)
    dtype: tuple[str, ...] = DTYPES
    variants: tuple[str, ...] = VARIANTS
    rounds: int = 5
    seconds: float = 5.0
    jit_compile: "JitCompile" = "auto"

    def __post_init__(self) -> None:
        for name, known in (("work", WORK), ("dtype", DTYPES), ("variants", VARIANTS)):
            for value in getattr(self, name):
                if value not in known:
                    raise ValueError(f"Unknown {name} {value!r}; choose of {', '.join(known)}.")
        for name in ("work", "batch_size", "dtype"):
            if not getattr(self, name):
                raise ValueError(f"No {name} is given; give one at least.")
        counts, largest = (*self.batch_size, self.rounds), INT32_MAX
        if min(counts) < 1 or max(counts) >= largest or not 0 <= self.seconds < largest:
            raise ValueError(
                f"batch_size {self.batch_size}, rounds {self.rounds} and seconds {self.seconds:g}"
                f" must be positive, and less than {largest}."
            )
        if self.variants and not all(map(importlib.util.find_spec, ("torch", "diffusers"))):
            raise ValueError(
                "torch or diffusers is not installed: pip install -e '.[crosscheck]'; or measure"
                " this project alone with --variants=."
            )


def measure_cases(config: Config, request: BenchmarkRequest) -> dict[str, Any]:
    """Measures all cases of a request.

    Args:
        config: of the network and the process.
        request: the cases.

    Returns:
        What is written as JSON: the `circumstances`, and `cases`, see `summary`.

    Raises:
        ValueError: a config that cannot be, or that diffusers does not have.
        OSError: a process ended, for lack of memory perhaps.
    """
    cases = [
        Task(OURS, work, batch_size, dtype, asdict(config), request.jit_compile)
        for work in request.work
        for batch_size in request.batch_size
        for dtype in request.dtype
    ]
    turns = sum(
        (1 + len(variants_of(case.work, case.dtype, request.variants))) * (request.rounds + 1)
        + len(_multiplying(request))
        for case in cases
    )
    results = []
    with progress_bar("benchmark", "turn", total=turns) as progress:
        for case in cases:
            results.append(_measure_case(case, request, progress))
    descriptions = [i["description"] for r in results for i in r["implementations"].values()]
    return {**circumstances(config, request, descriptions), "cases": results}


def circumstances(
    config: Config, request: BenchmarkRequest, descriptions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What is measured and where: `machine`, `versions`, `parameters`, `request`, `config`."""
    return {
        "machine": {
            "processor": _processor(),
            "threads": Worker.threads(),
            "device": descriptions[0]["device"],
            "platform": platform.platform(),
        },
        "versions": sorted({description["version"] for description in descriptions}),
        "parameters": descriptions[0]["parameters"],
        "request": asdict(request),
        "config": asdict(config),
    }


def _measure_case(ours: Task, request: BenchmarkRequest, progress: Any) -> dict[str, Any]:
    """All implementations of one case: started, then in turns, then ended."""
    with ExitStack() as stack:
        workers = [start_worker(ours, stack, progress)]
        description = workers[0].description
        for name in variants_of(ours.work, ours.dtype, request.variants):
            theirs = replace(
                ours, name=name, unet=description["unet"], scheduler=description["scheduler"]
            )
            workers.append(start_worker(theirs, stack, progress))
        multipliers = [
            start_worker(replace(ours, name=name, work=MATRICES), stack, progress)
            for name in _multiplying(request)
        ]
        times, ceilings = take_turns(workers, request, progress, multipliers)
        memory = {worker.task.name: worker.peak_memory() for worker in workers}
        descriptions = {worker.task.name: worker.description for worker in workers}
    seconds = dict(zip(descriptions, times, strict=True))
    return summary(ours, seconds, ceilings, memory, descriptions)


def take_turns(
    workers: Sequence[Worker],
    request: BenchmarkRequest,
    progress: Any,
    multipliers: Sequence[Worker] = (),
) -> tuple[list[list[float]], list[float]]:
    """The workers' steps, round by round, and beside them products of large matrices.

    Args:
        workers: that are ready.
        request: its rounds and seconds.
        progress: a bar of turns.
        multipliers: workers whose steps are such products.

    Returns:
        Seconds of a step, for each worker those of each round; and the operations per second of
        the fastest multiplier in each round.
    """
    steps = [max(1, round(request.seconds / worker.seconds(1))) for worker in workers]
    seconds: list[list[float]] = [[] for _ in workers]
    ceilings = []
    for i in range(request.rounds):
        order = list(zip(workers, steps, seconds, strict=True))
        for worker, number, times in order[i % len(order) :] + order[: i % len(order)]:
            times.append(worker.seconds(number) / number)
            progress.update(1)
        if multipliers:
            ceilings.append(max(_matrix_flops(worker) for worker in multipliers))
    return seconds, ceilings


def _multiplying(request: BenchmarkRequest) -> tuple[str, ...]:
    """Whose products of large matrices are measured: ours and PyTorch's."""
    return (OURS, *request.variants[:1])


def _matrix_flops(multiplier: Worker, number: int = 8) -> float:
    """Operations per second of some products."""
    size = MATRIX_SIZE[multiplier.description["device"]]
    return number * 2 * size**3 / multiplier.seconds(number)


def start_worker(task: Task, stack: ExitStack, progress: Any) -> Worker:
    """Starts a worker and waits, so that nobody's first step is timed beside another's."""
    progress.set_postfix_str(f"{task.work}, batch {task.batch_size}, {task.dtype}: {task.name}")
    worker = stack.enter_context(Worker(task))
    worker.ready()
    progress.update(1)
    return worker


def summary(
    ours: Task,
    seconds: Mapping[str, Sequence[float]],
    ceilings: Sequence[float],
    memory: Mapping[str, int],
    descriptions: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The result of a case.

    Args:
        ours: the case.
        seconds: of a step, by implementation, in each round.
        ceilings: operations per second of large matrix products.
        memory: peak in bytes, by implementation.
        descriptions: by implementation.

    Returns:
        `work`, `batch_size`, `dtype`; `flops_per_step`; `ceiling_flops_per_second`, the median;
        `implementations`, by name, each with `seconds_per_step` of each round, the medians
        `steps_per_second`, `images_per_second` and `fraction_of_ceiling`, `peak_memory_bytes`, its
        `description`, and `ratio`, the median over the rounds of its time by ours. `best` names
        the one of the others with the least ratio, `ratio` is that; None if there are no others.
    """
    flops = descriptions[OURS]["flops_per_step"]
    ceiling = statistics.median(ceilings)
    implementations = {}
    for name, times in seconds.items():
        rate = 1 / statistics.median(times)
        implementations[name] = {
            "seconds_per_step": list(times),
            "steps_per_second": rate,
            "images_per_second": rate * ours.batch_size,
            "fraction_of_ceiling": rate * flops / ceiling,
            "peak_memory_bytes": memory[name],
            "ratio": statistics.median(
                theirs / our for theirs, our in zip(times, seconds[OURS], strict=True)
            ),
            "description": {k: v for k, v in descriptions[name].items() if k not in _LONG},
        }
    ratios = {name: value["ratio"] for name, value in implementations.items() if name != OURS}
    best = min(ratios, key=ratios.__getitem__, default=None)
    return {
        "work": ours.work,
        "batch_size": ours.batch_size,
        "dtype": ours.dtype,
        "flops_per_step": flops,
        "ceiling_flops_per_second": ceiling,
        "implementations": implementations,
        "best": best,
        "ratio": None if best is None else ratios[best],
    }


_LONG = ("unet", "scheduler", "flops_per_step")


def _processor() -> str:
    """Its name where the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor()
