"""Measures this project beside diffusers and PyTorch, on the same work in the same run.

ddpm-benchmark --batch_size=8,32 --dtype=float32,bfloat16 --out=benchmark.json

Every implementation is a process of its own that stays; they work in turns, round by round, and
what counts is the median of the rounds' ratios.
"""

import os
import sys

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.benchmark.task import DTYPES, VARIANTS, WORK
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.output_names import check_name

command_line.group("What to measure")
CONFIG = flags.DEFINE_string(
    "config", "cifar10", "the network: a preset, a config.json, or a folder that holds one"
)
BATCH_SIZE = flags.DEFINE_list("batch_size", ["8", "32"], "images at once, comma-separated")
DTYPE = flags.DEFINE_list(
    "dtype", list(DTYPES), f"of the arithmetic, comma-separated: {', '.join(DTYPES)}"
)
WORK_FLAG = flags.DEFINE_list("work", list(WORK), f"comma-separated: {', '.join(WORK)}")
VARIANTS_FLAG = flags.DEFINE_list(
    "variants",
    list(VARIANTS),
    f"of PyTorch, comma-separated: {', '.join(VARIANTS)}; empty: measure this project alone",
)
SCALING = flags.DEFINE_boolean(
    "scaling",
    False,
    "measure this project's sampling alone, in the first --dtype: its cost for an image and step,"
    " with 100, 1000 and 4000 timesteps and with 16, 32 and 64 images at once",
)
ROUNDS = flags.DEFINE_integer("rounds", 5, "turns of every implementation")
SECONDS = flags.DEFINE_float("seconds", 5.0, "length of a turn in seconds; at least one step")
command_line.group("What to write")
OUT = flags.DEFINE_string("out", "benchmark.json", "file to write, *.json")
OVERWRITE = command_line.define_shared_flag("overwrite")
command_line.group("Devices")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Measures, writes, shows."""
    check_name(OUT.value, ("json",), "a file for JSON")
    if os.path.exists(OUT.value) and not OVERWRITE.value:
        raise ValueError(f"{OUT.value} is there already; give another --out, or --overwrite.")
    quiet.import_tensorflow()
    from diffusion_tf.benchmark.cases import BenchmarkRequest, measure_cases
    from diffusion_tf.benchmark.scaling import measure_scaling, scaling_table
    from diffusion_tf.benchmark.table import table
    from diffusion_tf.convert.architecture import check_known_elsewhere
    from diffusion_tf.utils.files import write_json

    config = command_line.named_config(CONFIG.value)
    check_known_elsewhere(config)
    request = BenchmarkRequest(
        work=tuple(WORK_FLAG.value),
        batch_size=command_line.parse_ints("batch_size", BATCH_SIZE.value),
        dtype=tuple(DTYPE.value),
        variants=() if SCALING.value else tuple(VARIANTS_FLAG.value),
        rounds=ROUNDS.value,
        seconds=SECONDS.value,
        jit_compile=JIT_COMPILE.value,
    )
    results = (measure_scaling if SCALING.value else measure_cases)(config, request)
    write_json(OUT.value, results)
    sys.stdout.write((scaling_table if SCALING.value else table)(results))
    logging.info("Wrote %s.", OUT.value)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
