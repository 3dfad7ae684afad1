"""Measures a trained run, or images made by anything, and writes metrics.json and report.html.

python scripts/evaluate.py --workdir=runs/digits
python scripts/evaluate.py --images=samples.npz --config=cifar10 --metrics=fid,is

Interrupted in whatever way, it goes on when the same command is given again.
"""

import dataclasses
import os

from absl import flags

from diffusion_tf import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run, also of one of the original's")
IMAGES = flags.DEFINE_string(
    "images", None, "instead of a run: images made by anything, *.npz (arr_0) or a folder"
)
CONFIG = flags.DEFINE_string(
    "config", None, "with --images: a preset, or a run's folder, whose data they are compared with"
)

# Fields of evaluation.request.Request
flags.DEFINE_list(
    "metrics",
    [],
    "what to measure, comma-separated: bpd, fid, is, rate_distortion [all that are possible]",
)
flags.DEFINE_list("splits", [], "real images, comma-separated: train, test [all there are]")
flags.DEFINE_integer(
    "num_samples", 0, "number of samples, exactly [that of the training images, 50000 at most]"
)
flags.DEFINE_integer(
    "num_images", 0, "use only so many real images of each split, the first ones; 0: all"
)
flags.DEFINE_integer("batch_size", 64, "images at once on each device")
flags.DEFINE_integer("seed", 0, "seed of all noise, from -2**63 to 2**63 - 1")
STEP = flags.DEFINE_integer("step", None, "step of the checkpoint [the newest]")
WEIGHTS = command_line.define_shared_flag("weights")
OUT = flags.DEFINE_string("out", None, "folder to write [WORKDIR/evaluation]")
command_line.define_shared_flag("overwrite")
command_line.define_shared_flag("sampler")
command_line.define_shared_flag("eta")
command_line.define_shared_flag("sampling_steps")
flags.DEFINE_enum(
    "features",
    "auto",
    ["auto", "inception", "pixels"],
    "what FID compares; auto: pixels for digits, the Inception network for all else",
)
flags.DEFINE_boolean(
    "quantize", False, "round samples to 8 bits before they are measured; the original does not"
)
flags.DEFINE_string(
    "inception_path", None, "frozen Inception graph, *.pb or its tarball [downloaded once]"
)
flags.DEFINE_string(
    "inception_sha256", None, "refuse another Inception graph than this, in hexadecimal"
)
flags.DEFINE_string(
    "cache_dir", None, "where statistics of real images are kept [~/.cache/diffusion_tf]"
)
RANGE = flags.DEFINE_list(
    "range",
    [],
    "with --images: the numbers of black and white in an array of floats, such as 0,1 or -1,1 [-1,1"
    " where the whole set leaves no doubt]",
)
flags.DEFINE_boolean("pictures", True, "draw pictures for the report")
WATCH = flags.DEFINE_boolean(
    "watch", False, "follow a training: evaluate checkpoints as they come, until its last step"
)
STRATEGY = command_line.define_shared_flag("strategy")
DETERMINISTIC = command_line.define_shared_flag("deterministic")
command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Measures and writes."""
    if bool(WORKDIR.value) == bool(IMAGES.value):
        raise ValueError("Give either --workdir, of a run, or --images.")
    if IMAGES.value and not (CONFIG.value and OUT.value):
        raise ValueError("--images needs --config, whose data they are compared with, and --out.")
    if WATCH.value and not (WORKDIR.value and STEP.value is None):
        raise ValueError("--watch needs --workdir, and goes without --step.")
    if RANGE.value and not IMAGES.value:
        raise ValueError("--range needs --images; the range of a run's samples is known.")
    out = OUT.value or os.path.join(WORKDIR.value, "evaluation")
    command_line.check_one_machine(STRATEGY.value)

    from diffusion_tf.devices import get_strategy  # after the flags: TensorFlow takes its time
    from diffusion_tf.evaluation.request import Request, parse_range
    from diffusion_tf.evaluation.run import evaluate_images, evaluate_run
    from diffusion_tf.evaluation.watch import watch

    values = {f.name: flags.FLAGS[f.name].value for f in dataclasses.fields(Request)}
    values["range"] = parse_range(RANGE.value)
    request = Request(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    if IMAGES.value:
        evaluate_images(out, IMAGES.value, command_line.load_config(CONFIG.value), request)
        return
    strategy = get_strategy(STRATEGY.value, deterministic=DETERMINISTIC.value)

    def evaluate(folder: str | os.PathLike, step: int | None) -> dict:
        return evaluate_run(
            folder, WORKDIR.value, request, weights=WEIGHTS.value, step=step, strategy=strategy,
            jit_compile=JIT_COMPILE.value,
        )  # fmt: skip

    if WATCH.value:
        watch(WORKDIR.value, out, evaluate)
    else:
        evaluate(out, STEP.value)


if __name__ == "__main__":
    command_line.run(main)
