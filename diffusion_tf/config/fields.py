"""One frozen dataclass that says everything about a run, and its JSON."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from diffusion_tf.files import read_json_object, replacing

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
MODELS = ("unet", "mlp")
OPTIMIZERS = ("adam", "rmsprop")
TIME_EMBEDDINGS = ("sinusoidal", "learned")
UNREADABLE = ("refuse", "skip")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


# Type of a field: whether a value is of it, and what to ask for if it is not.
_TYPES: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
    tuple[int, ...]: (
        lambda value: isinstance(value, tuple) and all(map(_is_whole, value)),
        "a list of whole numbers",
    ),
}


def _option(default: Any, help: str, *, changes_run: bool = True) -> Any:
    """A field with its documentation. `changes_run=False`: may differ when a run is resumed."""
    return field(default=default, metadata={"help": help, "changes_run": changes_run})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run. Fields are command-line flags of the same name.

    Raises:
        ValueError: a value that no run could use.
    """

    # Data
    dataset: str = _option("digits", "data set, by its name in diffusion_tf.datasets")
    max_images: int = _option(0, "use only so many images, the first ones; 0: all")
    data_dim: int = _option(0, "length of the vectors where data are vectors; 0: images")
    image_size: int = _option(8, "height and width of the images, in pixels")
    channels: int = _option(1, "channels of the images: 1 grey, 3 RGB")
    random_flip: bool = _option(False, "mirror each training image with probability 1/2")
    unreadable: str = _option(
        "refuse", "files of an image folder that cannot be read: refuse to train, or skip them"
    )

    # Diffusion process
    num_diffusion_timesteps: int = _option(1000, "T, number of diffusion steps")
    beta_schedule: str = _option("linear", "noise schedule, by its name in diffusion_tf.schedules")
    beta_start: float = _option(1e-4, "variance of the first diffusion step")
    beta_end: float = _option(0.02, "variance of the last diffusion step")
    model_mean_type: str = _option("eps", "what the network predicts: xprev, xstart or eps")
    model_var_type: str = _option(
        "fixedlarge", "variance of the reverse process: learned, fixedsmall or fixedlarge"
    )
    loss_type: str = _option(
        "mse", "training loss: mse (simple loss), kl (variational bound), l1 or huber"
    )
    antithetic: bool = _option(False, "draw timesteps in pairs, t and T - 1 - t")

    # Network
    model: str = _option("unet", "network: unet for images, mlp for vectors")
    ch: int = _option(32, "channels at full resolution, a multiple of 32; of mlp, its width")
    ch_mult: tuple[int, ...] = _option((1, 2), "multiple of ch at each resolution, finest first")
    num_res_blocks: int = _option(
        1, "residual blocks per resolution on the way down; of mlp, in all"
    )
    attn_resolutions: tuple[int, ...] = _option(
        (), "heights, in pixels after block_size, that get attention"
    )
    dropout: float = _option(0.0, "dropout rate inside the residual blocks")
    resamp_with_conv: bool = _option(True, "convolve when changing resolution")
    block_size: int = _option(1, "pixels per side that become channels, to save memory")
    time_embedding: str = _option("sinusoidal", "of mlp: sinusoidal, or learned for each step")
    num_classes: int = _option(0, "classes, whose labels 0, 1, ... condition the network; 0: none")
    cond_dim: int = _option(0, "length of the vectors that condition the network; 0: none")
    cond_drop_prob: float = _option(
        0.0, "probability of training an example without its condition, for guidance"
    )

    # Training
    batch_size: int = _option(32, "examples per step, over all replicas")
    steps: int = _option(3900, "training steps", changes_run=False)
    optimizer: str = _option("adam", f"optimizer: {' or '.join(OPTIMIZERS)}")
    lr: float = _option(2e-3, "learning rate after the warmup")
    warmup: int = _option(100, "steps over which the learning rate rises from 0")
    grad_clip: float = _option(1.0, "largest norm of the gradient")
    ema_decay: float = _option(0.998, "decay per step of the averaged weights")
    seed: int = _option(0, "seed of everything random in a run")
    dtype: str = _option("float32", f"precision of the network: {', '.join(DTYPES)}")

    accumulation_steps: int = _option(
        1, "parts that a replica works off its batch in, to save memory", changes_run=False
    )
    steps_per_call: int = _option(
        10, "training steps that run on the devices without asking the host", changes_run=False
    )
    warm_start: str = _option(
        "", "workdir whose weights, averages, optimizer and step a new run begins with"
    )

    # Bookkeeping
    log_steps: int = _option(10, "steps between two points of the loss curve", changes_run=False)
    checkpoint_steps: int = _option(1000, "steps between two checkpoints", changes_run=False)
    checkpoint_minutes: float = _option(
        27, "minutes between two checkpoints at most; 0: by steps alone", changes_run=False
    )
    keep_checkpoints: int = _option(2, "number of checkpoints kept", changes_run=False)
    grid_steps: int = _option(
        1000, "steps between two grids of samples in TensorBoard; 0: none", changes_run=False
    )

    def __post_init__(self):
        for name in (
            "image_size", "channels", "batch_size", "steps", "log_steps", "checkpoint_steps",
            "keep_checkpoints", "num_res_blocks", "block_size", "accumulation_steps",
            "steps_per_call",
        ):  # fmt: skip
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "warmup", "checkpoint_minutes", "grid_steps", "max_images", "data_dim", "num_classes",
            "cond_dim",
        ):  # fmt: skip
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        _require(self, "lr", 0 < self.lr < float("inf"), "a number > 0")
        _require(self, "grad_clip", self.grad_clip > 0, "> 0")
        for name in ("dropout", "ema_decay", "cond_drop_prob"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name, choices in (
            ("dtype", DTYPES),
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
            ("time_embedding", TIME_EMBEDDINGS),
            ("unreadable", UNREADABLE),
        ):
            _require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        self._require_agreement()

    def _require_agreement(self) -> None:
        """Fields that only make sense together."""
        vectors = self.data_dim > 0
        _require(
            self, "model", (self.model == "mlp") == vectors,
            "mlp for vectors (data_dim > 0) and unet for images (data_dim 0)",
        )  # fmt: skip
        _require(self, "random_flip", not (self.random_flip and vectors), "false for vectors")
        _require(self, "grid_steps", not (self.grid_steps and vectors), "0 for vectors")
        _require(
            self, "cond_dim", not (self.cond_dim and self.num_classes),
            "0 with num_classes: a condition is a label or a vector",
        )  # fmt: skip
        _require(
            self, "cond_drop_prob", self.conditional or not self.cond_drop_prob,
            "0 for a network without conditions (num_classes and cond_dim are 0)",
        )  # fmt: skip

    @property
    def conditional(self) -> bool:
        """Whether the network is given conditions."""
        return self.num_classes > 0 or self.cond_dim > 0

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one example: that of an image, or (data_dim,)."""
        return (self.data_dim,) if self.data_dim else self.image_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (height, width, channels)."""
        return (self.image_size, self.image_size, self.channels)

    def to_json(self) -> str:
        """The config as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The inverse of `dataclasses.asdict`, also after a journey through JSON.

        Raises:
            ValueError: a field that does not exist, named with the closest one that does, or a
                value of another type than the field's.
        """
        fields = {f.name: f.type for f in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"A config has no field {name!r}.{hint}")
        tuples = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        values = {**values, **tuples}
        for name, value in values.items():
            is_of_type, what = _TYPES[fields[name]]
            if not is_of_type(value):
                raise ValueError(f"{name} is {value!r}; it must be {what}.")
        return cls(**values)

    @classmethod
    def load(cls, path: str) -> "Config":
        """Reads the JSON that `save` wrote.

        Raises:
            ValueError: the file is no JSON, or its fields are not those of a config.
        """
        return cls.from_dict(read_json_object(path))

    def save(self, path: str) -> None:
        """Writes the config as JSON."""
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(self.to_json())

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The fields that make another run of it: {name: (own value, other's value)}."""
        return {
            f.name: (getattr(self, f.name), getattr(other, f.name))
            for f in dataclasses.fields(self)
            if f.metadata["changes_run"] and getattr(self, f.name) != getattr(other, f.name)
        }


def _require(config: Config, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {getattr(config, name)!r}; it must be {what}.")
