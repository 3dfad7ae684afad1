"""Configs: one frozen dataclass that says everything about a run, its JSON, and the presets."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from diffusion_tf.files import read_json_object, replacing

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("adam", "rmsprop")
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
    loss_type: str = _option("mse", "training loss: mse (simple loss) or kl (variational bound)")

    # Network
    ch: int = _option(32, "channels at full resolution, a multiple of 32")
    ch_mult: tuple[int, ...] = _option((1, 2), "multiple of ch at each resolution, finest first")
    num_res_blocks: int = _option(1, "residual blocks per resolution on the way down")
    attn_resolutions: tuple[int, ...] = _option(
        (), "heights, in pixels after block_size, that get attention"
    )
    dropout: float = _option(0.0, "dropout rate inside the residual blocks")
    resamp_with_conv: bool = _option(True, "convolve when changing resolution")
    block_size: int = _option(1, "pixels per side that become channels, to save memory")

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
        for name in ("image_size", "channels", "batch_size", "steps", "log_steps"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("checkpoint_steps", "keep_checkpoints", "num_res_blocks", "block_size"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("accumulation_steps", "steps_per_call"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup", "checkpoint_minutes", "grid_steps", "max_images"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        _require(self, "lr", 0 < self.lr < float("inf"), "a number > 0")
        _require(self, "grad_clip", self.grad_clip > 0, "> 0")
        _require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        _require(self, "ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        for name, choices in (
            ("dtype", DTYPES),
            ("optimizer", OPTIMIZERS),
            ("unreadable", UNREADABLE),
        ):
            _require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one example: (height, width, channels)."""
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


def digits() -> Config:
    """Scikit-learn's handwritten digits: 1,797 real 8x8 images, in the package, no download.

    `python scripts/train.py --config=digits`: five minutes on two CPU cores. The cosine schedule,
    because the paper's linear one leaves next to nothing of so small an image halfway through
    (Nichol & Dhariwal 2021, section 3.2): after equal training, samples are closer to the data.
    """
    return Config(beta_schedule="cosine")


def _paper(**fields: Any) -> Config:
    """What the paper's experiments share, besides the defaults (appendix B, `run_training`)."""
    common = {
        "channels": 3,
        "ch": 128,
        "num_res_blocks": 2,
        "attn_resolutions": (16,),
        "warmup": 5000,
        "ema_decay": 0.9999,
        "log_steps": 100,
        "steps_per_call": 100,
        "checkpoint_steps": 10_000,
        "checkpoint_minutes": 27,
        "grid_steps": 10_000,
    }
    return Config(**{**common, **fields})


def _paper_256(**fields: Any) -> Config:
    """What CelebA-HQ and LSUN share: `unet2d16b2c112244` at 256x256, the script's defaults."""
    common = {
        "image_size": 256,
        "model_var_type": "fixedsmall",
        "ch_mult": (1, 1, 2, 2, 4, 4),
        "batch_size": 64,
        "lr": 2e-5,
    }
    return _paper(**{**common, **fields})


def cifar10() -> Config:
    """CIFAR-10 as in the paper, 35.7M parameters: the defaults of the original's `run_cifar.py`.

    `python scripts/train.py --config=cifar10`. To expect, from 50,000 samples with the averaged
    weights (table 1, L_simple): FID 3.17 against the training set, 5.24 against the test set, IS
    9.46 +- 0.11, and at most 3.75 bits/dim on the test set (3.72 on the training set). The paper
    trains for 10.6 hours, 21 steps/s on a TPU v3-8, and reports the point of the lowest FID
    (appendix B).
    """
    return _paper(
        dataset="cifar10",
        image_size=32,
        random_flip=True,
        ch_mult=(1, 2, 2, 2),
        dropout=0.1,
        batch_size=128,
        steps=800_000,
        lr=2e-4,
    )


def celebahq256() -> Config:
    """CelebA-HQ at 256x256, 114M parameters: the defaults of the original's `run_celebahq.py`.

    `python scripts/train.py --config=celebahq256`. The paper shows samples and interpolations, but
    no FID. At its 2.2 steps/s on a TPU v3-8 (appendix B), 500,000 steps take 63 hours.
    """
    return _paper_256(dataset="celebahq256", random_flip=True, steps=500_000)


def lsun_church() -> Config:
    """LSUN Church at 256x256, 114M parameters: the defaults of the original's `run_lsun.py`.

    `python scripts/train.py --config=lsun_church --data_dir=church-r08.tfrecords`. To expect: FID
    7.89 from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8 (appendix B),
    1,200,000 steps take 152 hours.
    """
    return _paper_256(dataset="lsun", random_flip=True, steps=1_200_000)


def lsun_bedroom() -> Config:
    """LSUN Bedroom at 256x256, 114M parameters.

    `python scripts/train.py --config=lsun_bedroom --data_dir=bedroom-full-r08.tfrecords`. To
    expect: FID 6.36 from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8
    (appendix B), 2,400,000 steps take 303 hours. No image is mirrored, as appendix B says; the
    original's command for it mirrors them.
    """
    return _paper_256(dataset="lsun", steps=2_400_000)


def lsun_bedroom_large() -> Config:
    """LSUN Bedroom with 255,677,955 parameters; appendix B says about 256 million.

    `python scripts/train.py --config=lsun_bedroom_large --data_dir=bedroom-full-r08.tfrecords`. To
    expect: FID 4.90 from 50,000 samples (table 3). Appendix B says no more than that there are more
    filters; that ch is 192 follows from the number of parameters, and the rest is as in
    `lsun_bedroom`. The paper gives no speed for it, and the original no script.
    """
    return dataclasses.replace(lsun_bedroom(), ch=192, steps=1_150_000)


def lsun_cat() -> Config:
    """LSUN Cat at 256x256, 114M parameters.

    `python scripts/train.py --config=lsun_cat --data_dir=cat-r08.tfrecords`. To expect: FID 19.75
    from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8 (appendix B), 1,800,000
    steps take 227 hours. No image is mirrored, as in the original's command (`--randflip 0`);
    appendix B says that they are.
    """
    return _paper_256(dataset="lsun", steps=1_800_000)


def folder() -> Config:
    """Any folder of images, at 64x64: the paper's network for CIFAR-10 with a gentler training.

    `python scripts/train.py --config=folder --data_dir=FOLDER --workdir=runs/NAME`, with whatever
    differs: `--image_size`, `--channels=1` for grey ones, `--random_flip` where a mirrored image
    is as good. A place to start from, not an experiment of the paper: it has no result to expect.
    """
    return _paper(
        dataset="folder",
        image_size=64,
        ch_mult=(1, 2, 2, 2),
        dropout=0.1,
        batch_size=64,
        steps=200_000,
        lr=1e-4,
    )


_PRESETS = (
    digits, cifar10, celebahq256, lsun_church, lsun_bedroom, lsun_bedroom_large, lsun_cat, folder,
)  # fmt: skip
PRESETS: dict[str, Callable[[], Config]] = {preset.__name__: preset for preset in _PRESETS}


def get_config(name: str, **overrides: Any) -> Config:
    """Returns a preset, with fields replaced.

    Args:
        name: one of `PRESETS`.
        **overrides: fields of `Config` and their values.

    Raises:
        ValueError: unknown preset or field, or a value that no run could use.
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown config {name!r}; choose one of {', '.join(sorted(PRESETS))}.")
    return Config.from_dict({**dataclasses.asdict(PRESETS[name]()), **overrides})
