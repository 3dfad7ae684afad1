"""Holds a PyTorch implementation against this one, stage by stage, and says where they differ.

ddpm-crosscheck --against=diffusers
ddpm-crosscheck --module=my_unet.py:make --ch=64 --ch_mult=1,2

Same weights, same inputs, same noise on both sides. Or through files:

ddpm-crosscheck --export=KIT
ddpm-crosscheck --kit=KIT --answers=answers.npz

Exits with 0 if all stages compared agree, with 1 if one differs or nothing could be compared, and
after a mistake in what was given, which the last line then says. --report writes a page with the
reasons, --json the same for machines.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.json_files import NotJSON, parse_json

if TYPE_CHECKING:
    from diffusion_tf.crosscheck.comparison import Comparison

command_line.group("What to compare: one of --against, --module, --export, --answers")
AGAINST: flags.FlagHolder = flags.DEFINE_enum(
    "against",
    None,
    ["diffusers", "pytorch_diffusion", "denoising_diffusion_pytorch", "lucidrains",
     "improved_diffusion", "w86763777", "tqch"],
    "implementation to compare with: diffusers' UNet2DModel and DDPMScheduler; the ports of pesser"
    " (pytorch_diffusion), w86763777 and tqch, whole; or the GaussianDiffusion of lucidrains"
    " (denoising_diffusion_pytorch) and of improved_diffusion",
)  # fmt: skip
MODULE = flags.DEFINE_string(
    "module",
    None,
    "instead of --against, FILE.py:NAME of an own torch.nn.Module, diffusion object, or adapter, or"
    " of a function of the config that returns one (diffusion_tf/crosscheck/module.py)",
)
WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "weights of the network, in any format that ddpm-convert reads [random, none zero]",
)
KIND: flags.FlagHolder = flags.DEFINE_enum(
    "kind", "ema", ["ema", "raw"], "of --weights: averaged or raw ones"
)
CHECKOUT = flags.DEFINE_string(
    "checkout", None, "folder of a checkout of what --against names, where that is not a package"
)
OPTIONS = flags.DEFINE_string(
    "options",
    "{}",
    "arguments of the other implementation to change, as JSON: '{\"norm_eps\": 1e-5}'",
)
EXPORT = flags.DEFINE_string(
    "export", None, "folder to write a kit to: inputs, weights and what is expected at every stage"
)
KIT = flags.DEFINE_string("kit", None, "folder of the kit that --answers are about")
ANSWERS = flags.DEFINE_string("answers", None, "file of stages that a program computed of a kit")
REPORT = flags.DEFINE_string("report", None, "page to write, such as page.html")
JSON = flags.DEFINE_string("json", None, "file to write the comparison to, as JSON")
OVERWRITE = command_line.define_shared_flag("overwrite")
CONFIG = flags.DEFINE_string(
    "config",
    "cifar10",
    "process and network, if --weights does not tell: a preset, a"
    " config.json, the original's kwargs.json, or a folder that holds one of these",
)
command_line.define_config_flags()


def main() -> None:
    """Compares, shows the table, and exits."""
    try:
        options = parse_json(OPTIONS.value)
    except NotJSON as error:
        raise ValueError(f"--options={OPTIONS.value:.100} is not JSON: {error}.") from None
    if not isinstance(options, dict):
        raise ValueError(f"--options={OPTIONS.value} is not a JSON object of arguments.")
    check_outputs()
    config = command_line.get_config_from_flags(CONFIG.value)

    # Threads of torch that wait by spinning would take the processors from TensorFlow's.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    quiet.import_tensorflow()
    # After the flags: TensorFlow takes its time.
    from diffusion_tf import crosscheck

    if ANSWERS.value or KIT.value:
        if not (ANSWERS.value and KIT.value):
            raise ValueError("--answers and --kit go together.")
        counterpart, comparison = crosscheck.compare_answers(KIT.value, ANSWERS.value)
        finish(counterpart.name, comparison)
    if WEIGHTS.value and not CONFIG.present:
        config = command_line.get_config_from_flags(crosscheck.config_of(WEIGHTS.value))
    if EXPORT.value:
        folder = crosscheck.export(config, EXPORT.value, weights=WEIGHTS.value, kind=KIND.value)
        logging.info("Wrote the kit %s; its stages.json says what is in it.", folder)
        return
    its_variance_is_small = AGAINST.value in ("denoising_diffusion_pytorch", "lucidrains")
    if its_variance_is_small and not flags.FLAGS["model_var_type"].present:
        logging.info("Its variance is fixedsmall alone, so ours is that, too.")
        config = dataclasses.replace(config, model_var_type="fixedsmall")
    counterpart, comparison = crosscheck.crosscheck(
        config,
        against=AGAINST.value,
        own=MODULE.value,
        weights=WEIGHTS.value,
        kind=KIND.value,
        checkout=CHECKOUT.value,
        options=options,
    )
    finish(counterpart.name, comparison)


def check_outputs() -> None:
    """ValueError for a file that is there already, before anything is computed."""
    kit = Path(EXPORT.value) / "stages.json" if EXPORT.value else None
    paths = {"report": REPORT.value, "json": JSON.value, "export": kit}
    for flag, path in paths.items():
        if path and Path(path).exists() and not OVERWRITE.value:
            raise ValueError(f"{path} is there already; give another --{flag}, or --overwrite.")


def finish(name: str, comparison: "Comparison") -> NoReturn:
    """Shows the table, writes what was asked for, and exits."""
    from diffusion_tf.crosscheck import result_page as report
    from diffusion_tf.crosscheck.stage_table import table

    logging.info("diffusion_tf beside %s.", name)
    sys.stdout.write(f"{table(comparison.rows)}\n{comparison.summary()}")
    command = shlex.join(["python", *sys.argv])
    for path, write in ((REPORT.value, report.to_html), (JSON.value, report.to_json)):
        if path:
            Path(path).write_text(write(name, comparison, command), encoding="utf-8")
    sys.exit(0 if comparison.agrees else 1)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
