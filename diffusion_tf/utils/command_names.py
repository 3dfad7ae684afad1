"""What a command is called by the person at the terminal, so that messages can name it."""

import sys
from pathlib import Path


def command_name(name: str) -> str:
    """A command as this process was started: installed, as a script, or by `python -m`.

    Args:
        name: of the command, such as `train`.

    Returns:
        `ddpm-train`; in a script of a clone its path, `scripts/train.py`; below
        `python -m diffusion_tf` that, with the name.
    """
    program = Path(sys.argv[0] or "python")
    if program.name == "__main__.py" and program.parent.name == "diffusion_tf":
        return f"python -m diffusion_tf {name}"
    script = program.with_name(f"{name}.py")
    is_script = program.suffix == ".py" and program.parent.name in ("scripts", "")
    return str(script) if is_script and script.exists() else f"ddpm-{name}"
