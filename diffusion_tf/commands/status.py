"""Says how far a run is: its step, loss and last checkpoint, and whether someone trains in it.

ddpm-status runs/digits
"""

import os
import sys
import time

from absl import flags

from diffusion_tf import command_line
from diffusion_tf.config.original import read_folder
from diffusion_tf.utils.locks import InUse, check_free, lock_in

command_line.group("Which run")
WORKDIR = flags.DEFINE_string(
    "workdir", "runs/digits", "folder of the run; also without --workdir="
)


def main() -> None:
    """Reads and says; nothing is changed."""
    config = read_folder(WORKDIR.value)
    from diffusion_tf.training.checkpoint_files import checkpoint_dir, find, name_of

    complete = find(checkpoint_dir(WORKDIR.value)).complete
    rows = {"Run": f"{WORKDIR.value}, on {config.dataset}"}
    if complete:
        rows["Step"] = f"{complete[-1]:,} of {config.steps:,}, at the last checkpoint"
        path = os.path.join(checkpoint_dir(WORKDIR.value), f"{name_of(complete[-1])}.index")
        rows["Checkpoint"] = f"{path.removesuffix('.index')}, {_ago(os.path.getmtime(path))}"
    else:
        rows["Step"] = f"none of {config.steps:,} is in a checkpoint yet"
    rows["Loss"] = _loss(os.path.join(WORKDIR.value, "losses.csv"))
    rows["Training"] = _training(WORKDIR.value)
    sys.stdout.write("".join(f"{name:12}{what}\n" for name, what in rows.items()))


def _ago(moment: float) -> str:
    seconds = max(time.time() - moment, 0)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"


def _loss(path: str) -> str:
    from diffusion_tf.training.losses import read_losses

    try:
        losses = read_losses(path)
    except FileNotFoundError:
        return "none was logged"
    if not losses:
        return "none was logged"
    last = sorted(losses)[-20:]
    mean = sum(losses[step] for step in last) / len(last)
    return f"{losses[last[-1]]:.4g} at step {last[-1]:,}; {mean:.4g} on average since {last[0]:,}"


def _training(workdir: str) -> str:
    try:
        check_free(lock_in(workdir), workdir)
    except InUse as error:
        return f"yes: {error}"
    return "nobody trains in it now"


def command() -> None:
    """Runs this command."""
    command_line.run(main, positional=WORKDIR)
