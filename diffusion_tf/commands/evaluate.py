"""Measures a trained run, or images made by anything, and writes metrics.json and report.html.

ddpm-evaluate --workdir=runs/digits
ddpm-evaluate --images=samples.npz --config=cifar10 --metrics=fid,is

Interrupted in whatever way, it goes on when the same command is given again.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from absl import flags

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.config.original import read_folder
from diffusion_tf.evaluation.options import Request, parse_range
from diffusion_tf.utils.locks import check_free, lock_in
from diffusion_tf.utils.output_names import check_name

command_line.group("What to measure: --workdir or --images is required")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run, also of one of the original's")
IMAGES = flags.DEFINE_string(
    "images", None, "instead of a run: images made by anything, *.npz (arr_0) or a folder"
)
CONFIG = flags.DEFINE_string(
    "config", None, "with --images: a preset, or a run's folder, whose data they are compared with"
)

STEP = flags.DEFINE_integer("step", None, "step of the checkpoint [the newest]")
WEIGHTS = command_line.define_shared_flag("weights")
command_line.group("What to write")
OUT = flags.DEFINE_string("out", None, "folder to write [WORKDIR/evaluation]")
WATCH = flags.DEFINE_boolean(
    "watch", False, "follow a training: evaluate checkpoints as they come, until its last step"
)
command_line.group("Devices")
STRATEGY = command_line.define_shared_flag("strategy")
DETERMINISTIC = command_line.define_shared_flag("deterministic")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")
command_line.group("How to measure")
command_line.define_flags_of(Request)

ONLY_OF_RUNS = (
    "step", "weights", "sampler", "sampling_steps", "eta", "clip_denoised", "quantize",
    "num_samples",
)  # fmt: skip


def main() -> None:
    """Measures and writes."""
    if bool(WORKDIR.value) == bool(IMAGES.value):
        raise ValueError("Give either --workdir, of a run, or --images.")
    if IMAGES.value and not (CONFIG.value and OUT.value):
        raise ValueError("--images needs --config, whose data they are compared with, and --out.")
    if WATCH.value and not (WORKDIR.value and STEP.value is None):
        raise ValueError("--watch needs --workdir, and goes without --step.")
    values: dict[str, Any] = {
        f.name: flags.FLAGS[f.name].value for f in dataclasses.fields(Request)
    }
    if values["range"] and not IMAGES.value:
        raise ValueError("--range needs --images; the range of a run's samples is known.")
    if values["resize"] and not IMAGES.value:
        raise ValueError("--resize needs --images; a run's samples have the size of its images.")
    for name in ONLY_OF_RUNS if IMAGES.value else ():
        if flags.FLAGS[name].present:
            raise ValueError(
                f"--{name} is for samples that are drawn from a run; with --images leave it out."
            )
    out = OUT.value or os.path.join(WORKDIR.value or "", "evaluation")
    check_name(out, ("folder",), "a folder")
    command_line.check_one_machine(STRATEGY.value)
    check_free(lock_in(out), out)

    values["range"] = parse_range(values["range"])
    values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    request = Request(**values)
    if WORKDIR.value and not WATCH.value:
        from diffusion_tf.command_line import early

        early.check_run(WORKDIR.value, STEP.value)
        early.check_drawing(WORKDIR.value, request.sampler, request.sampling_steps, eta=request.eta)
    quiet.import_tensorflow()
    from diffusion_tf.evaluation.run import evaluate_images  # now: TensorFlow takes its time

    if IMAGES.value and CONFIG.value:
        evaluate_images(out, IMAGES.value, command_line.named_config(CONFIG.value), request)
    elif WORKDIR.value:
        _evaluate(out, WORKDIR.value, request)


def _evaluate(out: str, workdir: str, request: Request) -> None:
    """Evaluates a checkpoint of a run, or with --watch one after the other."""
    from diffusion_tf.evaluation.run import evaluate_run
    from diffusion_tf.evaluation.watch import watch
    from diffusion_tf.utils.devices import get_strategy, use_xla

    strategy = get_strategy(STRATEGY.value, deterministic=DETERMINISTIC.value)

    def evaluate(folder: str | Path, step: int | None) -> dict[str, Any]:
        image_size = read_folder(workdir).image_size
        return evaluate_run(
            folder, workdir, request, weights=WEIGHTS.value, step=step, strategy=strategy,
            jit_compile=use_xla(JIT_COMPILE.value, image_size),
        )  # fmt: skip

    if WATCH.value:
        watch(workdir, out, evaluate)
    else:
        evaluate(out, STEP.value)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
