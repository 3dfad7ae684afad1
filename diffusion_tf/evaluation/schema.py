"""metrics.json written down: its sections as dataclasses, its version, how it is read and written.

A field with a default is left out of the file where it has nothing to say. Files without a version
are those of before it was written; they hold the same sections and are read as they are.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_tf.config import Config
from diffusion_tf.utils.numbers import is_real, is_whole

VERSION = 1  # raised when a file can no longer be read as those of before
FEATURES = ("inception", "pixels")  # what images are compared by, see `features`


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was evaluated.

    Attributes:
        kind: `workdir`, `original` (a run of the original) or `images`.
        path: of the run or the images.
        step: of the checkpoint.
        weights: `ema` or `raw`.
        network_sha256: of the weights and the process of training.
        config: the fields of the run's config.
    """

    kind: str
    path: str
    step: int | None
    weights: str | None
    network_sha256: str | None = None
    config: dict[str, Any] | None

    def parsed_config(self) -> Config | None:
        """The config of the run, None where it is not recorded.

        Raises:
            ValueError: the fields are not those of a config.
        """
        return Config.from_dict(self.config) if self.config else None


@dataclass(frozen=True)
class Split:
    """The real images of a split.

    Attributes:
        num_images, of: how many are used, of how many.
        fingerprint: hash of their content.
        classes: how many are used of each class, by its name; None where classes have no names.
    """

    num_images: int
    of: int
    fingerprint: str
    classes: dict[str, int] | None = None


@dataclass(frozen=True)
class Data:
    """The real images: name of the data set, and what is used of each split that it has."""

    name: str
    splits: dict[str, Split] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """The samples, and how they were drawn, as far as that is known.

    Attributes:
        path: of the file or folder.
        num_samples: how many there are.
        seed, batch_size, sampler, sampling_steps, eta: how they were drawn.
        clip_denoised: whether predictions of x_0 were clipped.
        T: number of diffusion steps of the training.
        variance: `model_var_type` of the config that they were drawn with.
        dtype: `float32`, or `uint8` where they are rounded to 8 bits.
        range: the numbers of black and white in the file.
        fingerprint: hash of their content.
        resized: true where the files are cropped and resized before they are measured.
    """

    path: str | None = None
    num_samples: int | None = None
    seed: int | None = None
    batch_size: int | None = None
    sampler: str | None = None
    sampling_steps: int | None = None
    eta: float | None = None
    clip_denoised: bool | None = None
    T: int | None = None
    variance: str | None = None
    dtype: str | None = None
    range: list[float] | None = None
    fingerprint: str | None = None
    resized: bool | None = None


@dataclass(frozen=True)
class Likelihoods:
    """How likelihoods are measured: seed of the noise, whether predictions of x_0 are clipped."""

    seed: int
    clip_denoised: bool


@dataclass(frozen=True)
class FeaturesUsed:
    """What images are compared by, see `features.Features`; whether samples were rounded first."""

    name: str
    preprocessing: str
    graph_sha256: str | None
    quantized: bool


@dataclass(frozen=True)
class Device:
    """Kind, number and name of the devices that TensorFlow used, and whether TF32 was allowed."""

    kind: str
    number: int
    name: str
    tf32: bool | None = None


@dataclass(frozen=True)
class Row:
    """A number that was measured, beside the paper's; see `comparison.compare`.

    Attributes:
        real, real_images: the same number of real images against others, so many on each side.
    """

    metric: str
    split: str | None
    measured: float
    paper: float | None
    source: str
    fair: bool
    sentence: str
    real: float | None = None
    real_images: int | None = None


@dataclass(kw_only=True)
class Evaluation:
    """Everything in metrics.json.

    Attributes:
        version: of this schema.
        source, data, samples, likelihoods, features: what was measured, and how. The last three
            are None where nothing needs them.
        created: time of the last change, ISO 8601 in UTC.
        versions: of what the numbers rest on, by package.
        device: what measured.
        seconds: that each part took.
        measured: by metric, its section of the file in values of JSON: a result, or a result for
            each split. `Metric.results` reads it.
        comparison: with the paper, when all is measured.
    """

    version: int = VERSION
    source: Source
    data: Data
    samples: Samples | None = None
    likelihoods: Likelihoods | None = None
    features: FeaturesUsed | None = None
    created: str
    versions: dict[str, str]
    device: Device
    seconds: dict[str, float] = field(default_factory=dict)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparison: list[Row] | None = None

    @classmethod
    def from_json(
        cls, values: Mapping[str, Any], path: str | Path = "metrics.json"
    ) -> "Evaluation":
        """Reads what `to_json` returned, also that of before there were versions.

        Args:
            values: what the file holds.
            path: of the file, for errors.

        Raises:
            ValueError: a later version, or values that are not those of an evaluation.
        """
        version = values.get("version", 0)
        if not is_whole(version) or not 0 <= version <= VERSION:
            raise ValueError(
                f"{path} has version {version!r}, and this program reads versions up to {VERSION};"
                " update diffusion_tf, or choose another --out."
            )
        own = {f.name for f in dataclasses.fields(cls)} - {"measured"}
        sections = {name: value for name, value in values.items() if name in own}
        measured = {name: value for name, value in values.items() if name not in own}
        return parse(cls, {**sections, "version": VERSION, "measured": measured}, str(path))

    def to_json(self) -> dict[str, Any]:
        """What the file holds, in values of JSON: the metrics stand beside the other sections."""
        values = plain(self)
        values |= values.pop("measured", {})
        if self.comparison is not None:
            values["comparison"] = values.pop("comparison")  # last, as it was made last
        return {"version": VERSION, **values}


def plain(value: Any) -> Any:
    """A dataclass in values of JSON, without what is as empty as its default.

    Raises:
        TypeError: a value that JSON does not have.
    """
    return json.loads(json.dumps(_without_defaults(value)))


def _without_defaults(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            f.name: _without_defaults(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if _is_required(f) or getattr(value, f.name) not in (None, {})
        }
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items()}
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def parse(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as what a type hint says: dataclasses, dicts, lists and simple values.

    Args:
        kind: the type.
        value: in values of JSON.
        where: it stands, for errors.

    Raises:
        ValueError: a field that is missing or not known, or a value of another type.
    """
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else parse(arguments[0], value, where)
    holds, what = _TYPES[origin or kind]
    if not holds(value):
        raise _wrong(where, f"is {_short(value)} and not {what}")
    if origin is dict:
        return {key: parse(arguments[1], item, f"{where}, {key}") for key, item in value.items()}
    if origin is list:
        return [parse(arguments[0], item, where) for item in value]
    return value


_TYPES: dict[Any, tuple[Callable[[Any], bool], str]] = {
    Any: (lambda value: True, ""),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_whole, "a whole number"),
    float: (is_real, "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
    dict: (lambda value: isinstance(value, dict), "an object"),
    list: (lambda value: isinstance(value, list | tuple), "a list"),
}


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(where, f"is {_short(value)} and not an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise _wrong(where, f"has {name!r}, which is not known")
    for name, f in fields.items():
        if name not in value and _is_required(f):
            raise _wrong(where, f"has no {name!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{k: parse(hints[k], item, f"{where}, {k}") for k, item in value.items()})


def _is_required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _wrong(where: str, what: str) -> ValueError:
    return ValueError(
        f"{where} {what}; restore the metrics.json of an evaluation, or choose another --out."
    )


def _short(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:37]}..."
