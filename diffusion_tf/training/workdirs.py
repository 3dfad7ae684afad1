"""Whether a folder is that of a run: asked before TensorFlow is imported."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from diffusion_tf.config import Config
from diffusion_tf.config.original import read_folder
from diffusion_tf.utils.files import is_empty

# Fields of the weights or the optimizer's state: a run that differs in them cannot begin with both.
OF_WEIGHTS = {
    "model", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resamp_with_conv",
    "block_size", "channels", "data_dim", "time_embedding", "num_classes", "cond_dim",
    "model_var_type", "optimizer",
}  # fmt: skip


def config_path(workdir: str) -> str:
    """Where a workdir keeps its config."""
    return os.path.join(workdir, "config.json")


def check_of_run(workdir: str, config: Config, *, unknown: Collection[str] = ()) -> None:
    """Makes sure that a workdir holds the run of a config, or nothing yet.

    Args:
        workdir: of the run.
        config: of the run.
        unknown: fields that do not count, as they are not known yet.

    Raises:
        ValueError: it holds another run, or something else, such as a run of the original.
    """
    if os.path.exists(config_path(workdir)):
        differences = read_folder(workdir).differences(config)
        differences = {k: v for k, v in differences.items() if k not in unknown}
        if differences:
            raise ValueError(_other_config(workdir, differences))
    elif os.path.lexists(workdir) and not (os.path.isdir(workdir) and is_empty(workdir)):
        raise no_run(workdir)


def _other_config(workdir: str, differences: Mapping[str, tuple[Any, Any]]) -> str:
    """A sentence about a run that is not the one in a workdir, and how to begin it."""
    listed = "; ".join(f"{k} {old} there, {new} here" for k, (old, new) in differences.items())
    weights = f", and --warm_start={workdir} to begin it with the weights and the step of that run"
    if differences.keys() & OF_WEIGHTS:
        weights = ""
    return (
        f"{workdir} holds a run of another config ({listed}), and a run goes on as it began;"
        f" choose another --workdir{weights}."
    )


def no_run(workdir: str) -> ValueError:
    """The error of a workdir that holds something else."""
    return ValueError(
        f"{workdir} exists and holds something other than a run; choose another --workdir."
    )
