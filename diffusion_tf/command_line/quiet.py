"""TensorFlow's import without what it says of GPUs on a machine that has none."""

import contextlib
import glob
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# What it says before it can be told to be quiet, though nothing is wrong.
_NOISE = re.compile(
    r"All log messages before absl::InitializeLog|Could not find cuda drivers|failed call to cuInit"
    r"|oneDNN custom operations are on|To enable the following instructions|rebuild TensorFlow"
    r"|no NVIDIA GPU device is present|Unable to register cu\w+ factory"
)
_GPUS = ("/dev/nvidia*", "/dev/dxg", "/proc/driver/nvidia")  # with drivers; dxg: below Windows


def import_tensorflow() -> None:
    """Imports TensorFlow and lets it look for devices.

    Where there is no GPU, its messages about that are left out; all others are shown when that is
    over. Machines of a cluster and those with a GPU hear everything at once.
    """
    has_gpu = any(glob.glob(pattern) for pattern in _GPUS)
    quiet = contextlib.nullcontext() if has_gpu or "TF_CONFIG" in os.environ else _without_noise()
    with quiet:
        tf = importlib.import_module("tensorflow")
        if "TF_CONFIG" not in os.environ:
            tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Holds back what is written to descriptor 2, and shows it afterwards without the noise."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(keepends=True):
                if not _NOISE.search(line):
                    sys.stderr.write(line)
