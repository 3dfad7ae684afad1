"""metrics.json: what was measured and all that a reader needs to believe it."""

import datetime
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from diffusion_tf.datasets import SPLITS
from diffusion_tf.files import read_json_object, replacing

PARTIAL = tuple(f"bpd_{split}.partial.npz" for split in SPLITS)
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
        """
        self.folder = Path(folder)
        self._path = self.folder / "metrics.json"
        self.values: dict[str, Any] = {}
        if self._path.exists():
            self.values = read_json_object(self._path)
        elif self.folder.exists() and not self._is_ours():
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

    def measure(self, key: str, split: str | None, function: Callable[[], dict[str, Any]]) -> None:
        """Measures something, unless it has been measured before, and writes it down.

        Args:
            key: in metrics.json; with a split, it goes under that.
            split: of the data, or None.
            function: returns values of JSON.

        Raises:
            OSError: metrics.json cannot be written.
        """
        if self.has(key, split):
            return
        start = time.monotonic()
        value = function()
        seconds = self.values.setdefault("seconds", {})
        seconds[f"{key} {split}" if split else key] = round(time.monotonic() - start, 1)
        if split:
            self.values.setdefault(key, {})[split] = value
        else:
            self.values[key] = value
        self.save()

    def has(self, key: str, split: str | None = None) -> bool:
        """Whether something has been measured."""
        return split in self.values.get(key, {}) if split else key in self.values

    def save(self) -> None:
        """Writes metrics.json.

        Raises:
            OSError: it cannot be written.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.values |= {"created": now, "versions": versions(), "device": device()}
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")

    def _is_ours(self) -> bool:
        """Whether nothing but what an evaluation leaves when it is interrupted is in the folder."""
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else {""}
        return all(name.startswith(("samples.npz", ".")) or name in PARTIAL for name in names)

    def _throw_away(self) -> None:
        """Deletes what an evaluation leaves in its folder, the results last."""
        for name in (*PARTIAL, "samples.npz", "report.html", "metrics.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.values = {}


def versions() -> dict[str, str]:
    """Versions of what the numbers rest on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


def device() -> dict[str, Any]:
    """Kind, number and name of the devices that TensorFlow uses."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return {"kind": "CPU", "number": 1, "name": platform.processor() or platform.machine()}
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
    return {"kind": "GPU", "number": len(gpus), "name": name}


def _differences(section: str, there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    for key in {**there, **here}:
        if key != "path" and there.get(key) != here.get(key):
            yield f"{section} {key} {_short(there.get(key))} there, {_short(here.get(key))} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
