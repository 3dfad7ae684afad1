"""One frozen dataclass that says everything about a run, and its JSON."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from diffusion_tf.config.agreement import check_agreement, check_network, require
from diffusion_tf.utils.decays import Decays, as_tuple, parse_decays
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.image_sizes import Size, parse_size, sides
from diffusion_tf.utils.json_files import is_usable_text, read_json_object
from diffusion_tf.utils.literals import (
    LEARNED,
    BetaSchedule,
    LossType,
    ModelMeanType,
    ModelName,
    ModelVarType,
    TimestepSampling,
)
from diffusion_tf.utils.numbers import (
    INT32_MAX,
    INT64_MAX,
    MAX_RES_BLOCKS,
    MAX_TIMESTEPS,
    check_rate,
    checked_seed,
    finite,
    is_real,
    is_whole,
    shown,
    whole,
)
from diffusion_tf.utils.weight_sets import name_of_average

Dtype = Literal["float32", "mixed_bfloat16", "mixed_float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
MODELS: tuple[ModelName, ...] = get_args(ModelName)
LrDecay = Literal["linear", "cosine"]
LR_DECAYS: tuple[LrDecay, ...] = get_args(LrDecay)
OptimizerName = Literal["adam", "rmsprop"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
TIMESTEP_SAMPLINGS: tuple[TimestepSampling, ...] = get_args(TimestepSampling)
TimeEmbeddingName = Literal["sinusoidal", "learned"]
TIME_EMBEDDINGS: tuple[TimeEmbeddingName, ...] = get_args(TimeEmbeddingName)
Clipping = Literal["auto", "on", "off"]
CLIPPINGS: tuple[Clipping, ...] = get_args(Clipping)
Unreadable = Literal["refuse", "skip"]
UNREADABLE: tuple[Unreadable, ...] = get_args(Unreadable)


_TEXT = "a text, without NUL or half a character"
# Type of a field: whether a value is of it, and what to ask for if it is not.
_TYPES: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_whole, "a whole number"),
    float: (is_real, "a number"),
    str: (lambda value: isinstance(value, str) and is_usable_text(value), _TEXT),
    Size: (
        lambda value: parse_size(value) is not None,
        "a whole number, or height and width, such as 48x64",
    ),
    Decays: (
        lambda value: parse_decays(value) is not None,
        "a number, or several, such as 0.999,0.9999",
    ),
    tuple[int, ...]: (
        lambda value: isinstance(value, tuple) and all(map(is_whole, value)),
        "a list of whole numbers",
    ),
}


# What a run counts up to; all other whole numbers are sizes, which TensorFlow keeps in int32.
_COUNTS = (
    "steps", "warmup", "lr_decay_steps", "log_steps", "checkpoint_steps", "grid_steps",
    "max_images",
)  # fmt: skip
_AT_LEAST_1 = (
    "channels", "num_diffusion_timesteps", "ch", "num_res_blocks", "block_size",
    "batch_size", "steps", "accumulation_steps", "steps_per_call", "log_steps", "checkpoint_steps",
    "keep_checkpoints",
)  # fmt: skip
_AT_MOST = {
    "num_diffusion_timesteps": MAX_TIMESTEPS, "num_res_blocks": MAX_RES_BLOCKS,
    "steps_per_call": 100_000,
}  # fmt: skip
_MAX_SIDE = 2**15  # pixels
_AT_LEAST_0 = (
    "max_images", "data_dim", "num_classes", "cond_dim", "warmup", "lr_decay_steps", "grid_steps",
)  # fmt: skip


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
    image_size: Size = _option(
        8, "size of the images in pixels: 32, or height and width, such as 48x64"
    )
    channels: int = _option(1, "channels of the images: 1 grey, 3 RGB")
    labels: str = _option(
        "",
        "where the labels of own data are, from which num_classes or cond_dim follow: auto, as the"
        " data have them; of a folder, subfolders or the name of a .csv or .jsonl file in it",
    )
    test_fraction: float = _option(
        0.0, "chance of each of one's own examples to be kept for testing; 0: none is"
    )
    test_dir: str = _option(
        "", "data for testing, as data_dir has those for training", changes_run=False
    )
    standardize: float = _option(
        0.0,
        "standard deviation that each dimension of own vectors is brought to, with mean 0; 0: they"
        " stay as they are, in [-1, 1]",
    )
    random_flip: bool = _option(False, "mirror each training image with probability 1/2")
    unreadable: Unreadable = _option(
        "refuse", "files of an image folder that cannot be read: refuse to train, or skip them"
    )

    # Diffusion process
    num_diffusion_timesteps: int = _option(1000, "T, number of diffusion steps")
    beta_schedule: BetaSchedule = _option(
        "linear", "noise schedule, by its name in diffusion_tf.schedules"
    )
    beta_start: float = _option(1e-4, "variance of the first diffusion step")
    beta_end: float = _option(0.02, "variance of the last diffusion step")
    model_mean_type: ModelMeanType = _option(
        "eps", "what the network predicts: xprev, xstart, eps or v"
    )
    model_var_type: ModelVarType = _option(
        "fixedlarge",
        "variance of the reverse process: learned, learned_range, fixedsmall or fixedlarge",
    )
    loss_type: LossType = _option(
        "mse",
        "training loss: mse (simple loss), kl (variational bound), rescaled_kl (T times kl), hybrid"
        " (mse, and kl for the learned variance), l1 or huber",
    )
    antithetic: bool = _option(False, "draw timesteps in pairs, t and T - 1 - t")
    timestep_sampling: TimestepSampling = _option(
        "uniform",
        "how timesteps are drawn in training: uniform, or by_loss, those with a large loss more"
        " often and with less weight",
    )
    clipping: Clipping = _option(
        "auto",
        "clip predictions of x_0 to [-1, 1] when sampling: on, off, or auto, which is on for images"
        " and off for vectors",
        changes_run=False,
    )

    # Network
    model: ModelName = _option(
        "unet",
        "network: unet for images, mlp for vectors; or one of a tutorial's: context_unet for"
        " images, table_mlp, scale_shift and scale_shift_mixing for vectors",
    )
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
    time_embedding: TimeEmbeddingName = _option(
        "sinusoidal", "of mlp: sinusoidal, or learned for each step"
    )
    num_classes: int = _option(0, "classes, whose labels 0, 1, ... condition the network; 0: none")
    cond_dim: int = _option(0, "length of the vectors that condition the network; 0: none")
    cond_drop_prob: float = _option(
        0.0, "probability of training an example without its condition, for guidance"
    )

    # Training
    batch_size: int = _option(32, "examples per step, over all replicas")
    steps: int = _option(3900, "training steps", changes_run=False)
    optimizer: OptimizerName = _option("adam", f"optimizer: {' or '.join(OPTIMIZERS)}")
    lr: float = _option(2e-3, "learning rate after the warmup")
    warmup: int = _option(100, "steps over which the learning rate rises from 0")
    lr_decay: LrDecay = _option("linear", "how the learning rate falls over lr_decay_steps")
    lr_decay_steps: int = _option(
        0, "step at which the learning rate, falling since the warmup, is 0; 0: it does not fall"
    )
    grad_clip: float = _option(1.0, "largest norm of the gradient")
    ema_decay: Decays = _option(
        0.998,
        "decay per step of the averaged weights; several, such as 0.999,0.9999, give an average"
        " each, of which the first is used where none is named",
    )
    seed: int = _option(0, "seed of everything random in a run, from -2**63 to 2**63 - 1")
    dtype: Dtype = _option("float32", f"precision of the network: {', '.join(DTYPES)}")
    tf32: bool = _option(
        True, "train float32 in TF32 where a GPU has it, as TensorFlow does; faster, 10 bits"
    )
    accumulation_steps: int = _option(
        1, "micro-batches each replica splits its batch into, to save memory", changes_run=False
    )
    steps_per_call: int = _option(
        10, "steps per call, before control returns to the host", changes_run=False
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
        1000, "steps between two pictures of samples in TensorBoard; 0: none", changes_run=False
    )

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(self):
            object.__setattr__(self, field_.name, _of_type(field_, getattr(self, field_.name)))
        checked_seed(self.seed)
        for side in sides(self.image_size):
            whole(side, "image_size", 1)
            require(self, "image_size", side <= _MAX_SIDE, f"at most {_MAX_SIDE}")
        for name in _AT_LEAST_1:
            whole(getattr(self, name), name, 1, INT64_MAX if name in _COUNTS else INT32_MAX)
            most = _AT_MOST.get(name, INT64_MAX)
            require(self, name, getattr(self, name) <= most, f"at most {most}")
        for name in _AT_LEAST_0:
            require(self, name, getattr(self, name) >= 0, "0 or more")
            whole(getattr(self, name), name, 0, INT64_MAX if name in _COUNTS else INT32_MAX)
        for name in ("lr", "grad_clip"):
            require(self, name, getattr(self, name) > 0, "a number > 0")
        require(self, "standardize", self.standardize >= 0, "0 or more")
        require(self, "checkpoint_minutes", self.checkpoint_minutes >= 0, "0 or more")
        for name in ("beta_start", "beta_end"):
            require(self, name, 0 < getattr(self, name) <= 1, "in (0, 1], a variance")
        for name in ("dropout", "cond_drop_prob", "test_fraction"):
            check_rate(getattr(self, name), name)
        for decay in self.decays:
            check_rate(decay, "ema_decay")
        require(self, "ema_decay", len(set(self.decays)) == len(self.decays), "each decay once")
        for name, choices in (
            ("clipping", CLIPPINGS),
            ("dtype", DTYPES),
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
            ("lr_decay", LR_DECAYS),
            ("time_embedding", TIME_EMBEDDINGS),
            ("timestep_sampling", TIMESTEP_SAMPLINGS),
            ("unreadable", UNREADABLE),
        ):
            require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        check_agreement(self)
        check_network(self)

    @property
    def learns_variance(self) -> bool:
        """Whether the network has a second half of outputs, for the variance."""
        return self.model_var_type in LEARNED

    @property
    def decays(self) -> tuple[float, ...]:
        """Decays of the averaged weights, the one that is used where none is named first."""
        return as_tuple(self.ema_decay)

    @property
    def averages(self) -> dict[str, float]:
        """Decays of the averaged weights by their names: `ema` the first, `ema_0.9999` others."""
        first, *others = self.decays
        return {"ema": first, **{name_of_average(decay): decay for decay in others}}

    @property
    def conditional(self) -> bool:
        """Whether the network is given conditions."""
        return self.num_classes > 0 or self.cond_dim > 0

    @property
    def clip_denoised(self) -> bool:
        """Whether predictions of x_0 are clipped to [-1, 1] where nobody chooses.

        With `auto` those of images are, as the original does; vectors may lie anywhere.
        """
        return self.clipping == "on" or (self.clipping == "auto" and not self.data_dim)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one example: that of an image, or (data_dim,)."""
        return (self.data_dim,) if self.data_dim else self.image_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (height, width, channels)."""
        return (*sides(self.image_size), self.channels)

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
        fields = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"A config has no field {shown(name)}.{hint}")
        return cls(**values)

    @classmethod
    def load(cls, path: str) -> "Config":
        """Reads the JSON that `save` wrote.

        Raises:
            ValueError: the file is not JSON, or its fields are not those of a config.
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


def type_of(field_: dataclasses.Field) -> Any:
    """The type of a field's values, one of those that JSON and flags have; options are texts."""
    return str if get_origin(field_.type) is Literal else field_.type


def _of_type(field_: dataclasses.Field, value: Any) -> Any:
    """The value of a field as JSON has it: numbers of NumPy become Python's, lists tuples."""
    value = tuple(value) if isinstance(value, list) else value
    kind = type_of(field_)
    is_of_type, what = _TYPES[kind]
    if not is_of_type(value):
        raise ValueError(f"{field_.name} is {shown(value)}; it must be {what}.")
    if kind == Size:
        return parse_size(value)
    if kind == Decays:
        return parse_decays(value)
    if kind is float:
        number = finite(value, field_.name)
        return value if type(value) is int else number  # 27 stays 27 in a file
    return tuple(map(int, value)) if isinstance(value, tuple) else kind(value)
