"""Progress of long work: a bar in a terminal, lines in a log file, objects of JSON."""

import json
import math
import sys
import time
from typing import Any

from tqdm import tqdm

from diffusion_tf.utils.streams import Unfailing

SECONDS = 20  # between two lines of a log file
_LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}{postfix}]"
_as_json = False


def use_json() -> None:
    """From here on progress is an object of JSON a line, wherever it goes."""
    global _as_json
    _as_json = True


class Bar(tqdm):
    """A bar of which the first units may be left out of the rate, as they compile.

    Attributes:
        first_compiles: whether those of the first `update` are, from which no time is told.
    """

    disable: bool
    first_compiles = False

    def update(self, n: float | None = 1) -> bool | None:
        """Counts units that were done."""
        if not self.first_compiles:
            return super().update(n)
        self.first_compiles = False
        self.begin_at(self.n + int(n or 0))
        return None

    def begin_at(self, done: int) -> None:
        """Says that so many units are done, and counts time and rate from here."""
        if not self.disable:
            self._count_from(done)

    def _count_from(self, done: int) -> None:
        self.n = self.last_print_n = self.initial = done
        self.start_t = self.last_print_t = self._time()


class _Lines(Bar):
    """What a bar says, on lines of their own."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._stream = kwargs["file"]
        self._shown: int | None = None
        super().__init__(*args, **kwargs, bar_format=_LINE)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Writes a line, unless nothing has been done since the last."""
        if self.n != self._shown and not self.disable:
            self._shown = self.n
            self._stream.write(f"{self._json() if _as_json else str(self)}\n")
            self._stream.flush()
        return True

    def close(self) -> None:
        """Writes the last line."""
        if not self.disable:
            self.display()
        self.leave, self.disable = False, True

    def _json(self) -> str:
        """What, how far, how fast, how long still in seconds, and what else is known."""
        seconds = self.format_dict["elapsed"]
        rate = (self.n - self.initial) / seconds if seconds and self.n > self.initial else None
        values = dict(part.split("=") for part in (self.postfix or "").split(", ") if "=" in part)
        return json.dumps(
            {
                "time": round(time.time(), 3),
                "progress": self.desc.removesuffix(": "),
                "done": self.n,
                "total": self.total,
                "unit": self.unit,
                "per_second": rate and round(rate, 3),
                "seconds_left": rate and round((self.total - self.n) / rate, 1),
                **{name: float(v) for name, v in values.items() if math.isfinite(float(v))},
            }
        )


def progress_bar(
    desc: str,
    unit: str,
    *,
    total: int,
    done: int = 0,
    first_compiles: bool = False,
    **options: Any,
) -> Bar:
    """A bar on standard error; in a log file, a line every 20 seconds.

    Where standard error is closed or full nothing is shown, and the work goes on.

    Args:
        desc: what is being done.
        unit: what is counted.
        total: number of units.
        done: those that were done before; they count for the bar, but not for the rate.
        first_compiles: no time left follows from the first units, which take longer than others.
        **options: of tqdm.
    """
    stderr = Unfailing(sys.stderr)
    lines = _as_json or not stderr.isatty()
    bar = (_Lines if lines else Bar)(
        file=stderr,
        desc=desc,
        unit=unit,
        total=total,
        initial=done,
        mininterval=SECONDS if lines else 0.5,
        **options,
    )
    bar.first_compiles = first_compiles
    return bar
