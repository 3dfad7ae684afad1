"""The results in a folder: metrics.json grows in it, and is not mixed with another's."""

import contextlib
import dataclasses
import datetime
import functools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import tensorflow as tf

from diffusion_tf.datasets import SPLITS
from diffusion_tf.evaluation.metric import METRICS, get_metric
from diffusion_tf.evaluation.schema import (
    Data,
    Device,
    Evaluation,
    FeaturesUsed,
    Likelihoods,
    Samples,
    Source,
    plain,
)
from diffusion_tf.utils.devices import tf32_is_allowed
from diffusion_tf.utils.files import delete_leftovers_in, is_empty, replacing
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.locks import lock_in, locked

PACKAGES = ("diffusion_tf", "tensorflow", "keras", "numpy", "scipy")
CONDITIONS = ("source", "data", "samples", "likelihoods", "features")  # that may not change
# What held for all before it was written down.
_BEFORE: dict[str, dict[str, Any]] = {"samples": {"clip_denoised": True}}

P = ParamSpec("P")
T = TypeVar("T")
_OTHER = "{} holds something other than an evaluation; choose another --out."


def writing_alone(
    evaluate: Callable[Concatenate[str | Path, P], T],
) -> Callable[Concatenate[str | Path, P], T]:
    """Lets no other process write into the folder of an evaluation, the first argument, meanwhile.

    What killed processes left behind in it is deleted.

    Raises:
        InUse: another process is writing there.
        ValueError: it is not a folder.
    """

    @functools.wraps(evaluate)
    def alone(out: str | Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if os.path.exists(out) and not os.path.isdir(out):
            raise ValueError(_OTHER.format(out))
        with locked(lock_in(out), out):
            delete_leftovers_in(out)
            return evaluate(out, *args, **kwargs)

    return alone


class Results:
    """The results in a folder. They grow as measurements are finished, and outlive the process.

    Attributes:
        folder: where they are.
        evaluation: everything in metrics.json.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        source: Source,
        data: Data,
        samples: Samples | None = None,
        likelihoods: Likelihoods | None = None,
        features: FeaturesUsed | None = None,
        overwrite: bool = False,
    ):
        """Begins with nothing, or with what is there and was measured under the same conditions.

        Args:
            folder: made if it is not there.
            source, data, samples, likelihoods, features: the conditions; the last three None where
                they are not needed. The path of source and samples may change.
            overwrite: throw away what was measured under other conditions.

        Raises:
            ValueError: the folder holds results of other conditions, or something else.
            OSError: metrics.json cannot be written.
        """
        self.folder = Path(folder)
        self._path = self.folder / "metrics.json"
        here = Evaluation(
            source=source, data=data, samples=samples, likelihoods=likelihoods, features=features,
            **_now(),
        )  # fmt: skip
        here = Evaluation.from_json(here.to_json())  # in values of JSON, as in the file
        there = self._read()
        differences = "; ".join(_differences(there, here)) if there else ""
        if differences and not overwrite:
            raise ValueError(
                f"{folder} holds an evaluation under other conditions ({differences}); choose"
                " another --out, or add --overwrite."
            )
        if differences:
            self._throw_away()
        if there and not differences:
            given = {k: v for k in CONDITIONS if (v := getattr(here, k)) is not None}
            self.evaluation = dataclasses.replace(there, **given)
        else:
            self.evaluation = here
        self.save()  # before anything else: whatever comes into the folder is of these conditions

    def _read(self) -> Evaluation | None:
        """What is there, None if nothing is."""
        if self._path.exists():
            evaluation = Evaluation.from_json(read_json_object(self._path), self._path)
            for name in METRICS:
                get_metric(name).results(evaluation)  # refuses what is not one
            return evaluation
        if self.folder.exists() and not is_empty(self.folder):
            raise ValueError(_OTHER.format(self.folder))
        return None

    def add(self, split: str | None, results: Mapping[str, Any]) -> None:
        """Writes results down.

        Args:
            split: of the data that they belong to, None if to none.
            results: by metric, see `Metric.result`.

        Raises:
            OSError: metrics.json cannot be written.
        """
        for name, result in results.items():
            if split is None:
                self.evaluation.measured[name] = plain(result)
            else:
                self.evaluation.measured.setdefault(name, {})[split] = plain(result)
        self.save()

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds the seconds that a block takes to those that are there for the same."""
        start, seconds = time.monotonic(), self.evaluation.seconds
        yield
        seconds[what] = round(seconds.get(what, 0.0) + time.monotonic() - start, 1)

    def has(self, metric: str, split: str | None = None) -> bool:
        """Whether something has been measured."""
        section = self.evaluation.measured.get(metric)
        return section is not None and (split is None or split in section)

    def partial_path(self, split: str) -> Path:
        """Where unfinished likelihoods of a split are kept."""
        return self.folder / f"bpd_{split}.partial.npz"

    def save(self) -> None:
        """Writes metrics.json.

        Raises:
            OSError: it cannot be written.
        """
        self.evaluation = dataclasses.replace(self.evaluation, **_now())
        with replacing(self._path) as temporary:
            text = json.dumps(self.evaluation.to_json(), indent=1)
            temporary.write_text(f"{text}\n", encoding="utf-8")

    def _throw_away(self) -> None:
        """Deletes what an evaluation leaves in its folder, but for its results.

        They tell that this folder is one's own, until others take their place.
        """
        paths = [self.folder / name for name in ("samples.npz", "report.html")]
        for path in (*map(self.partial_path, SPLITS), *paths):
            path.unlink(missing_ok=True)


def _now() -> dict[str, Any]:
    """When, with what and on what something is written down."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"created": now, "versions": versions(), "device": device()}


def versions() -> dict[str, str]:
    """Versions of what the numbers rest on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


def device() -> Device:
    """Kind, number and name of the devices that TensorFlow uses, and whether TF32 is allowed."""
    gpus = tf.config.list_physical_devices("GPU")
    tf32 = tf32_is_allowed()
    if not gpus:
        return Device("CPU", 1, platform.processor() or platform.machine(), tf32)
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
    return Device("GPU", len(gpus), name, tf32)


def _differences(there: Evaluation, here: Evaluation) -> Iterator[str]:
    """Conditions that are known of both and differ; what differs in two sections is said once."""
    said = set()
    for section in CONDITIONS:
        if getattr(there, section) is None or getattr(here, section) is None:
            continue
        old, new = (plain(getattr(evaluation, section)) for evaluation in (there, here))
        old = {**_BEFORE.get(section, {}), **old}
        for key in new:
            difference = f"{key} {_short(old.get(key))} there, {_short(new[key])} here"
            if key != "path" and old.get(key) != new[key] and difference not in said:
                said.add(difference)
                yield f"{section} {difference}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
