"""What a training would do: sizes, operations, memory and where it would go on."""

import dataclasses

from diffusion_tf.config import Config
from diffusion_tf.config.fields import DTYPES
from diffusion_tf.config.sizes import num_weights, state_bytes, training_bytes
from diffusion_tf.training.checkpoint_files import checkpoint_dir, find, name_of
from diffusion_tf.utils.memory import amount


def describe(config: Config, workdir: str, *, num_examples: int, devices: str) -> str:
    """A table of what a training would do, without doing it.

    Args:
        config: of the run.
        workdir: of the run.
        num_examples: of the training data.
        devices: in words.
    """
    rows = {
        "Run": _run(config, workdir),
        "Data": _data(config, num_examples),
        "Devices": devices,
        "Parameters": f"{num_weights(config):,}",
        "Operations": _operations(config),
        "Memory": _memory(config),
        "Checkpoints": _checkpoints(config),
    }
    lines = [f"  {name:12}{what}\n" for name, what in rows.items()]
    return f"A dry run: nothing is written.\n{''.join(lines)}"


def _run(config: Config, workdir: str) -> str:
    reached = newest_step(workdir)
    if not reached:
        return f"{workdir}, new, up to step {config.steps:,}"
    path = f"{checkpoint_dir(workdir)}/{name_of(reached)}"
    if reached >= config.steps:
        return f"{workdir}, finished: at step {reached:,} ({path})"
    return f"{workdir}, resumed from step {reached:,} ({path}), up to step {config.steps:,}"


def newest_step(workdir: str) -> int:
    """The step of the newest whole checkpoint of a workdir, 0 if there is none."""
    complete = find(checkpoint_dir(workdir)).complete
    return complete[-1] if complete else 0


def _data(config: Config, num_examples: int) -> str:
    per_epoch = num_examples / config.batch_size
    return (
        f"{config.dataset}, {num_examples:,} examples: {per_epoch:,.1f} steps of"
        f" {config.batch_size} are an epoch, {config.steps:,} steps {config.steps / per_epoch:,.1f}"
    )


def _operations(config: Config) -> str:
    from diffusion_tf.benchmark.flops import BACKWARD, forward_flops
    from diffusion_tf.models import get_model

    if config.data_dim:
        forward = 2 * num_weights(config)  # dense layers: each weight once
    else:
        plain = dataclasses.replace(
            config, num_classes=0, cond_dim=0, cond_drop_prob=0.0, labels="", dtype="float32"
        )
        forward = forward_flops(get_model(plain), plain)
    step = forward * (1 + BACKWARD) * config.batch_size
    return f"{_flops(forward)} for one example through the network, {_flops(step)} for a step"


def _flops(number: float) -> str:
    units = ["", "K", "M", "G", "T", "P"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.3g} {units[0]}FLOP"


def _memory(config: Config) -> str:
    each = (
        f"{amount(training_bytes(dataclasses.replace(config, dtype=dtype)))} in {dtype}"
        for dtype in DTYPES
    )
    return f"at least {', '.join(each)}"


def _checkpoints(config: Config) -> str:
    size = state_bytes(config)
    minutes = f" or {config.checkpoint_minutes:g} minutes" if config.checkpoint_minutes else ""
    return (
        f"{amount(size)} each, every {config.checkpoint_steps:,} steps{minutes};"
        f" {config.keep_checkpoints} are kept, {amount(config.keep_checkpoints * size)}"
    )
