"""`python -m diffusion_tf COMMAND`: the commands where none are on the path."""

import diffusion_tf.utils.ctrl_c  # noqa: F401, I001 - before all that takes time
import difflib
import importlib
import sys
import textwrap

from diffusion_tf.command_line.help import version
from diffusion_tf.commands import COMMANDS


def main() -> None:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "--version":
        sys.stdout.write(version())
    elif name in ("-h", "--help", "help"):
        sys.stdout.write(usage())
    elif name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        sys.exit(f"Error: There is no command {name!r}; choose one of {', '.join(COMMANDS)}.{hint}")
    else:
        sys.argv[1:] = arguments
        importlib.import_module(f"diffusion_tf.commands.{name}").command()


def usage() -> str:
    """What the commands are."""
    rows = [
        textwrap.fill(what, 88, initial_indent=f"  {name:12}", subsequent_indent=" " * 14)
        for name, what in COMMANDS.items()
    ]
    return "\n".join(
        [
            "Usage: python -m diffusion_tf COMMAND [--flag=value ...]\n",
            *rows,
            "\nCOMMAND --help shows the flags of one. Installed, they are also ddpm-COMMAND.\n",
        ]
    )


if __name__ == "__main__":
    main()
