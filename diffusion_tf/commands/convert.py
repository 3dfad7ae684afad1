"""Converts checkpoints: the original's, this project's, diffusers' and those of other ports.

ddpm-convert --source=runs/cifar10 --target=ddpm --format=diffusers
ddpm-convert --source=logs/model.ckpt-790000 --config=cifar10 --target=runs/cifar10

What is written is read back and compared bit for bit before it takes its place.
"""

from absl import flags

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.convert import FORMATS
from diffusion_tf.utils.locks import check_free, lock_beside

command_line.group("From where, to what")
SOURCE = flags.DEFINE_string(
    "source",
    None,
    "what to convert; its format, one of those of --format or another port's, is found out",
)
TARGET = flags.DEFINE_string(
    "target",
    None,
    "where to: a folder; a file for "
    + ", ".join(name for name, format in FORMATS.items() if format.files is None),
)
FORMAT = flags.DEFINE_enum(
    "format",
    "keras",
    list(FORMATS),
    "format of the target; "
    + "; ".join(f"{name}: {format.what} ({format.written})" for name, format in FORMATS.items()),
)
command_line.mark_required(SOURCE, TARGET)
WEIGHTS = command_line.define_shared_flag("weights")
CONFIG = flags.DEFINE_string(
    "config",
    None,
    "the run's config, where the source does not say it and the target needs it: a preset, a"
    " config.json, the original's kwargs.json, or a folder that holds one of these",
)
OVERWRITE = command_line.define_shared_flag("overwrite")


def main() -> None:
    """Reads, writes, compares."""
    source, target = (command_line.required(flag, "a file or folder") for flag in (SOURCE, TARGET))
    check_free(lock_beside(target), target)
    config = command_line.named_config(CONFIG.value) if CONFIG.value else None

    quiet.import_tensorflow()
    # After the flags: TensorFlow takes its time.
    from diffusion_tf.convert import convert

    convert(
        source,
        target,
        format=FORMAT.value,
        weights=WEIGHTS.value,
        config=config,
        overwrite=OVERWRITE.value,
    )


def command() -> None:
    """Runs this command."""
    command_line.run(main)
