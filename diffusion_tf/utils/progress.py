"""Progress bars for long work: how far, how fast, how long still."""

import sys
from typing import Any

from tqdm import tqdm

from diffusion_tf.utils.streams import Unfailing


def progress_bar(desc: str, unit: str, *, total: int, done: int = 0, **options: Any) -> tqdm:
    """A bar on standard error; in a log file, a line every 20 seconds.

    Where standard error is closed or full nothing is shown, and the work goes on.

    Args:
        desc: what is being done.
        unit: what is counted.
        total: number of units.
        done: those that were done before; they count for the bar, but not for the rate.
        **options: of tqdm.
    """
    stderr = Unfailing(sys.stderr)
    return tqdm(
        file=stderr,
        desc=desc,
        unit=unit,
        total=total,
        initial=done,
        mininterval=0.5 if stderr.isatty() else 20,
        **options,
    )
