"""What went wrong, in one sentence for the person at the terminal.

Those who raise an error of ours have written the sentence. All else is translated here, and where
nobody has thought of an error, that is said.
"""

import errno
import os
import re
import traceback

_HOW_TO_SEE = "--debug shows the traceback"
_MEMORY = "Take a smaller batch, network or set of data, or a machine with more"
_REMEDIES = {
    errno.EACCES: "allow it, or name another place",
    errno.EPERM: "allow it, or name another place",
    errno.EROFS: "name another place",
    errno.ENOSPC: "make room, or name another place",
    errno.EDQUOT: "make room, or name another place",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the links there lead in a circle, so name another place",
    errno.EIO: "look at the disk",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
# Without links, as tracebacks may name a file by any of its paths.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_SCRIPTS = os.path.realpath(os.path.join(os.path.dirname(_PACKAGE), "scripts"))


def sentence(error: Exception) -> str:
    """An error in a sentence that ends with a full stop.

    Args:
        error: that was raised, with its traceback.
    """
    text = _text(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        reason = f" ({shown_text(text)})" if text else ""
        return f"There is not enough memory{reason}. {_MEMORY}; {_HOW_TO_SEE}."
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return _of_system(error)
    if isinstance(error, ImportError):
        return f"A package is missing or broken ({shown_text(text)}); install it; {_HOW_TO_SEE}."
    if _is_ours(error):
        return text if text.endswith((".", "!", "?")) else f"{text}."
    return (
        f"This is a fault of the program, or an input that it does not check:"
        f" {type(error).__name__}: {shown_text(text) or 'no more is said'}. Report it with the"
        f" traceback; {_HOW_TO_SEE}."
    )


def shown_text(text: str, length: int = 300) -> str:
    """The beginning of a text, without a full stop."""
    text = text.rstrip(".")
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _text(error: Exception) -> str:
    """What an error says, on one line; of TensorFlow's without where in the graph it was."""
    try:
        text = str(getattr(error, "message", None) or error)
    except Exception as broken:  # of a foreign class, whose own text cannot be made
        return f"it cannot say what ({type(broken).__name__})"
    if _module(error).startswith("tensorflow"):
        text = re.sub(r"{{[^{}]*}}", "", text.strip().split("\n\n")[-1])
    return " ".join(text.split())


def _of_system(error: OSError) -> str:
    """The system's words, with the file and what to do."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_path(name)]
    place = f"{' and '.join(map(shown_path, names))}: " if names else ""
    remedy = _REMEDIES.get(error.errno or 0, "see whether it is there and may be used")
    return f"{place}{error.strerror}; {remedy}."


def shown_path(name: str) -> str:
    """A path for a message, cut in the middle where it is long."""
    return name if len(name) <= 300 else f"{name[:150]}...{name[-100:]}"


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


def _is_ours(error: Exception) -> bool:
    """Whether an error was written for people: of a kind that is, and raised by a line of here."""
    is_for_people = isinstance(error, ValueError | OSError | FloatingPointError)
    if not is_for_people or isinstance(error, UnicodeError):
        return False
    if _module(error).startswith("diffusion_tf"):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    where = os.path.realpath(frames[-1].filename) if frames else _PACKAGE
    return where.startswith((_PACKAGE + os.sep, _SCRIPTS + os.sep)) or where == _PACKAGE


def _module(error: Exception) -> str:
    return type(error).__module__
