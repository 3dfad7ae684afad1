"""metrics.json: what was measured and all that a reader needs to believe it."""

import contextlib
import datetime
import json
import platform
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from diffusion_tf.datasets import SPLITS
from diffusion_tf.devices import tf32_is_allowed
from diffusion_tf.files import read_json_object, replacing

PACKAGES = ("diffusion_tf", "tensorflow", "keras", "numpy", "scipy")


class Results:
    """The results in a folder. They grow as measurements are finished, and outlive the process.

    Attributes:
        values: all of metrics.json.
    """

    def __init__(
        self,
        folder: str | Path,
        conditions: Mapping[str, Mapping[str, Any]],
        *,
        overwrite: bool = False,
    ):
        """Begins with nothing, or with what is there and was measured under the same conditions.

        Args:
            folder: made if it is not there.
            conditions: sections of metrics.json, in values of JSON. `path` in them may change.
            overwrite: throw away what was measured under other conditions.

        Raises:
            ValueError: the folder holds results of other conditions, or something else.
            OSError: metrics.json cannot be written.
        """
        self.folder = Path(folder)
        self._path = self.folder / "metrics.json"
        self.values: dict[str, Any] = {}
        if self._path.exists():
            self.values = read_json_object(self._path)
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ValueError(
                f"{folder} holds something other than an evaluation; choose another --out."
            )
        conditions = json.loads(json.dumps(conditions))
        differences = "; ".join(
            difference
            for section, values in conditions.items()
            for difference in _differences(section, self.values.get(section, values), values)
        )
        if differences and not overwrite:
            raise ValueError(
                f"{folder} holds an evaluation under other conditions ({differences}); choose"
                " another --out, or add --overwrite."
            )
        if differences:
            self._throw_away()
        self.values |= conditions
        self.save()  # before anything else: whatever comes into the folder is of these conditions

    def add(self, split: str | None = None, **values: dict[str, Any]) -> None:
        """Writes results down.

        Args:
            split: of the data that they belong to, None if to none.
            **values: by their key in metrics.json, in values of JSON.

        Raises:
            OSError: metrics.json cannot be written.
        """
        for key, value in values.items():
            if split:
                self.values.setdefault(key, {})[split] = value
            else:
                self.values[key] = value
        self.save()

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds the seconds that a block takes to those that are there for the same."""
        start, seconds = time.monotonic(), self.values.setdefault("seconds", {})
        yield
        seconds[what] = round(seconds.get(what, 0.0) + time.monotonic() - start, 1)

    def has(self, key: str, split: str | None = None) -> bool:
        """Whether something has been measured."""
        return split in self.values.get(key, {}) if split else key in self.values

    def partial_path(self, split: str) -> Path:
        """Where unfinished likelihoods of a split are kept."""
        return self.folder / f"bpd_{split}.partial.npz"

    def save(self) -> None:
        """Writes metrics.json.

        Raises:
            OSError: it cannot be written.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.values |= {"created": now, "versions": versions(), "device": device()}
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")

    def _throw_away(self) -> None:
        """Deletes what an evaluation leaves in its folder, the results last."""
        paths = [self.folder / name for name in ("samples.npz", "report.html", "metrics.json")]
        for path in (*map(self.partial_path, SPLITS), *paths):
            path.unlink(missing_ok=True)
        self.values = {}


def versions() -> dict[str, str]:
    """Versions of what the numbers rest on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


def device() -> dict[str, Any]:
    """Kind, number and name of the devices that TensorFlow uses, and whether TF32 is allowed."""
    gpus = tf.config.list_physical_devices("GPU")
    tf32 = tf32_is_allowed()
    if not gpus:
        name = platform.processor() or platform.machine()
        return {"kind": "CPU", "number": 1, "name": name, "tf32": tf32}
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
    return {"kind": "GPU", "number": len(gpus), "name": name, "tf32": tf32}


def _differences(section: str, there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    for key in here:
        if key != "path" and there.get(key) != here.get(key):
            yield f"{section} {key} {_short(there.get(key))} there, {_short(here.get(key))} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
