"""How much memory there is, so that what cannot fit is refused before it is asked for."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")  # on Linux
_STATM = Path("/proc/self/statm")
_CGROUPS = (  # limits of a container, of the two kinds there are
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_bytes() -> int:
    """Bytes that this process could still get; `sys.maxsize` where the system does not tell."""
    return max(min(_free_bytes(), _container_bytes(), _left_by_limits()), 0)


def amount(number: float) -> str:
    """A number of bytes for people: `1.5 GB`."""
    for unit in ("bytes", "KB", "MB", "GB", "TB", "PB"):
        if number < 1000 or unit == "PB":
            return f"{number:.3g} {unit}"
        number /= 1000
    raise AssertionError


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Refuses what cannot fit into memory.

    Args:
        needed: bytes, at least.
        what: needs them, for the error.
        remedy: what to do, for the error.

    Raises:
        ValueError: so many bytes cannot be had.
    """
    there = available_bytes()
    if needed > there:
        raise ValueError(
            f"{what} needs at least {amount(needed)} of memory, and {amount(there)} are free;"
            f" {remedy}."
        )


def _free_bytes() -> int:
    values = _meminfo()
    if "MemAvailable" not in values:
        return sys.maxsize
    return values["MemAvailable"] + values.get("SwapFree", 0)


def _meminfo() -> Mapping[str, int]:
    if not _MEMINFO.exists():
        return {}
    lines = (line.split() for line in _MEMINFO.read_text().splitlines())
    return {name.rstrip(":"): int(number) * 1024 for name, number, *_ in lines}


def _container_bytes() -> int:
    for path in _CGROUPS:
        with contextlib.suppress(OSError):
            text = path.read_text().strip()
            return int(text) if text.isdecimal() else sys.maxsize
    return sys.maxsize


def _left_by_limits() -> int:
    """What `ulimit -v` leaves."""
    if not _STATM.exists():
        return sys.maxsize
    import resource  # not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return limit - int(_STATM.read_text().split()[0]) * resource.getpagesize()
