"""Holds a PyTorch implementation against this one, stage by stage, and says where they differ.

ddpm-crosscheck --against=diffusers
ddpm-crosscheck --module=my_unet.py:make --ch=64 --ch_mult=1,2

Same weights, same inputs, same noise on both sides. Exits with 1 if a stage differs.
"""

import dataclasses
import os
import sys

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.json_files import NotJSON, parse_json

command_line.group("What to compare: --against or --module is required")
AGAINST: flags.FlagHolder = flags.DEFINE_enum(
    "against",
    None,
    ["diffusers", "pytorch_diffusion", "denoising_diffusion_pytorch"],
    "implementation to compare with: diffusers' UNet2DModel and DDPMScheduler, pesser's port, or"
    " the GaussianDiffusion of denoising_diffusion_pytorch",
)
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
    "checkout", None, "folder of a checkout of github.com/pesser/pytorch_diffusion"
)
OPTIONS = flags.DEFINE_string(
    "options",
    "{}",
    "arguments of the other implementation to change, as JSON: '{\"norm_eps\": 1e-5}'",
)
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
    config = command_line.get_config_from_flags(CONFIG.value)

    # Threads of torch that wait by spinning would take the processors from TensorFlow's.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    quiet.import_tensorflow()
    # After the flags: TensorFlow takes its time.
    from diffusion_tf import crosscheck
    from diffusion_tf.crosscheck.stage_table import table

    if WEIGHTS.value and not CONFIG.present:
        config = command_line.get_config_from_flags(crosscheck.config_of(WEIGHTS.value))
    if AGAINST.value == "denoising_diffusion_pytorch" and not flags.FLAGS["model_var_type"].present:
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
    logging.info("diffusion_tf beside %s.", counterpart.name)
    sys.stdout.write(f"{table(comparison.rows)}\n{comparison.summary()}")
    sys.exit(0 if comparison.agrees else 1)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
