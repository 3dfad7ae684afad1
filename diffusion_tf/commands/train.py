"""Trains a DDPM, or goes on with a run; ends with pictures in the workdir.

ddpm-train --config=digits --workdir=runs/digits
ddpm-train --config=runs/digits/config.json --workdir=runs/again
"""

import dataclasses
import os
import sys

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.locks import check_free, lock_in

command_line.group("Run")
CONFIG = flags.DEFINE_string(
    "config",
    "digits",
    "what to start from: a preset (below; help lists them), a config.json, the original's"
    " kwargs.json, or a folder that holds one of these",
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "folder of the run; given again, the same command resumes the run that is there, and more"
    " --steps continue it [runs/CONFIG]",
)
DRY_RUN = flags.DEFINE_boolean(
    "dry_run",
    False,
    "say what would be done, and do nothing: data, devices, parameters, operations, memory, size of"
    " a checkpoint, where it would go on",
)
command_line.group("Devices and files")
STRATEGY: flags.FlagHolder = flags.DEFINE_enum(
    "strategy", "auto", ["auto", "single", "mirrored", "multi_worker", "tpu"], "devices to use"
)
DETERMINISTIC = command_line.define_shared_flag("deterministic")
PICTURES = flags.DEFINE_boolean("pictures", True, "draw pictures when the training is over")
DATA_DIR = command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")
command_line.define_config_flags()


def main() -> None:
    """Trains, then draws."""
    if not WORKDIR.value and command_line.is_path(CONFIG.value):
        raise ValueError(
            f"--config={CONFIG.value} is a path; name the folder of the new run with --workdir."
        )
    workdir = WORKDIR.value or os.path.join("runs", CONFIG.value)
    if STRATEGY.value in ("single", "mirrored") or "TF_CONFIG" not in os.environ:
        check_free(lock_in(workdir), workdir)  # of several machines the chief finds out later
    base = _base(workdir)
    config = command_line.get_config_from_flags(base)
    from diffusion_tf.command_line import early  # now: NumPy takes its time, TensorFlow more
    from diffusion_tf.command_line.plan import describe, newest_step

    early.check_training(config, workdir, DATA_DIR.value)
    if newest_step(workdir) > config.steps and not DRY_RUN.value:
        logging.info(
            "%s is at step %d, and steps is %d: there is nothing to do; more --steps continue it.",
            workdir, newest_step(workdir), config.steps,
        )  # fmt: skip
        return
    quiet.import_tensorflow()
    from diffusion_tf.config.sizes import check_training_fits
    from diffusion_tf.datasets import get_fitted_dataset, get_test_split
    from diffusion_tf.sampling import pictures, sampler
    from diffusion_tf.training import loop
    from diffusion_tf.training.log import load_losses
    from diffusion_tf.utils import devices

    strategy = devices.get_strategy(STRATEGY.value, deterministic=DETERMINISTIC.value)
    one = dataclasses.replace(config, batch_size=1, accumulation_steps=1)  # the whole batch later
    check_training_fits(one, accelerators=devices.num_accelerators())
    config, dataset = get_fitted_dataset(
        config, DATA_DIR.value, command_line.left_to_the_data(base)
    )
    if DRY_RUN.value:
        kinds = f"{STRATEGY.value}, {strategy.num_replicas_in_sync} x {devices.kind()}"
        sys.stdout.write(describe(config, workdir, num_examples=len(dataset), devices=kinds))
        return
    jit_compile = devices.use_xla(JIT_COMPILE.value, config.image_size)
    trainer = loop.Trainer(config, strategy, jit_compile=jit_compile)
    test = get_test_split(config, DATA_DIR.value) if config.grid_steps else None
    loop.train(trainer, dataset, workdir, test=test)
    if PICTURES.value and devices.is_chief(strategy):
        drawing = sampler.Sampler.of_run(
            config, trainer.ema_model, jit_compile=jit_compile, scaling=dataset.scaling
        )
        logging.info("Drawing pictures of the trained model.")
        written = pictures.write_pictures(workdir, config, drawing, dataset, load_losses(workdir))
        listed = "\n".join(f"  {path}" for path in written)
        logging.info("Pictures of the trained model:\n%s", listed)


def _base(workdir: str) -> command_line.Config | str:
    """What the flags change: the config of the run that is there, unless --config is given."""
    path = os.path.join(workdir, "config.json")
    if not CONFIG.present and os.path.exists(path):
        return command_line.Config.load(path)
    return CONFIG.value


def command() -> None:
    """Runs this command."""
    command_line.run(main)
