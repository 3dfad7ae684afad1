"""Converts checkpoints: the original's, this project's, diffusers' and those of other ports.

ddpm-convert --source=runs/cifar10 --target=ddpm --format=diffusers
ddpm-convert --source=logs/model.ckpt-790000 --config=cifar10 --target=runs/cifar10
ddpm-convert --source=runs/cifar10 --target=cifar10.onnx

What is written is read back before it takes its place: checkpoints are compared bit for bit, and
exports for other programs are run and must give the same numbers.
"""

from collections.abc import Callable
from typing import Any

from absl import flags

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.convert.exports import EXPORTS
from diffusion_tf.convert.target_names import format_of, targets
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
    + ", ".join(name for name, row in targets().items() if row.files is None),
)
FORMAT = flags.DEFINE_string(
    "format",
    None,
    "format of the target; "
    + "; ".join(f"{name}: {row.what} ({row.written})" for name, row in targets().items())
    + " [what the ending of --target says, or workdir]",
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
command_line.group("What samples, in an export")
SAMPLING = [
    command_line.define_shared_flag(name)
    for name in ("sampler", "sampling_steps", "eta", "guidance_scale")
]


def main() -> None:
    """Reads, writes, compares."""
    source, target = (command_line.required(flag, "a file or folder") for flag in (SOURCE, TARGET))
    format = format_of(target, FORMAT.value)
    sampling = _sampling(format)
    check_free(lock_beside(target), target)
    config = command_line.named_config(CONFIG.value) if CONFIG.value else None

    quiet.import_tensorflow()
    # After the flags: TensorFlow takes its time.
    from diffusion_tf.convert import convert, export

    write: Callable[..., None] = export if format in EXPORTS else convert
    write(
        source,
        target,
        format=format,
        weights=WEIGHTS.value,
        config=config,
        overwrite=OVERWRITE.value,
        **sampling,
    )


def _sampling(format: str) -> dict[str, Any]:
    """The values of the flags of sampling, for a format that holds more than weights."""
    if format in EXPORTS and EXPORTS[format].has_process:
        return {flag.name: flag.value for flag in SAMPLING}
    for flag in SAMPLING:
        if flag.present:
            having = [name for name, row in EXPORTS.items() if row.has_process]
            raise ValueError(
                f"--{flag.name} is for exports that sample, --format={' or '.join(having)};"
                f" --format={format} holds no sampler, so leave it out."
            )
    return {}


def command() -> None:
    """Runs this command."""
    command_line.run(main)
