"""Says how far a run is: its step, loss and last checkpoint, and whether someone trains in it.

ddpm-status runs/digits
"""

import json
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
    step = complete[-1] if complete else 0
    path = os.path.join(checkpoint_dir(WORKDIR.value), name_of(step)) if complete else None
    losses, in_use = _losses(os.path.join(WORKDIR.value, "losses.csv")), _in_use(WORKDIR.value)
    if command_line.logs_json():
        status = {
            "run": WORKDIR.value,
            "dataset": config.dataset,
            "step": step,
            "steps": config.steps,
            "checkpoint": path,
            "saved": os.path.getmtime(f"{path}.index") if path else None,
            "logged_step": max(losses, default=None),
            "loss": losses[max(losses)] if losses else None,
            "in_training": in_use is not None,
        }
        sys.stdout.write(f"{json.dumps(status)}\n")
        return
    rows = {"Run": f"{WORKDIR.value}, on {config.dataset}"}
    if path:
        rows["Step"] = f"{step:,} of {config.steps:,}, at the last checkpoint"
        rows["Checkpoint"] = f"{path}, {_ago(os.path.getmtime(f'{path}.index'))}"
    else:
        rows["Step"] = f"none of {config.steps:,} is in a checkpoint yet"
    rows["Loss"] = _last_of(losses)
    rows["Training"] = f"yes: {in_use}" if in_use else "nobody trains in it now"
    sys.stdout.write("".join(f"{name:12}{what}\n" for name, what in rows.items()))


def _ago(moment: float) -> str:
    seconds = max(time.time() - moment, 0)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"


def _losses(path: str) -> dict[int, float]:
    from diffusion_tf.training.losses import read_losses

    return dict(read_losses(path)) if os.path.exists(path) else {}


def _last_of(losses: dict[int, float]) -> str:
    if not losses:
        return "none was logged"
    last = sorted(losses)[-20:]
    mean = sum(losses[step] for step in last) / len(last)
    return f"{losses[last[-1]]:.4g} at step {last[-1]:,}; {mean:.4g} on average since {last[0]:,}"


def _in_use(workdir: str) -> InUse | None:
    """The error that says who trains in it; None where nobody does."""
    try:
        check_free(lock_in(workdir), workdir)
    except InUse as error:
        return error
    return None


def command() -> None:
    """Runs this command."""
    command_line.run(main, positional=WORKDIR)
