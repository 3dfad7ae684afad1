"""The kit in files: inputs, weights and what is expected, for any program in any language."""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.convert.maps import assign, weights_of
from diffusion_tf.crosscheck import stage_table
from diffusion_tf.crosscheck.array_side import draw_step_noise
from diffusion_tf.crosscheck.comparison import Comparer, Comparison
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import Inputs, make_inputs
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.stage_table import Value, read_arrays
from diffusion_tf.crosscheck.stages import GROUPS, Stage, stage_of
from diffusion_tf.crosscheck.training_loop import START
from diffusion_tf.crosscheck.training_stages import TrainingInputs
from diffusion_tf.gaussian_diffusion.process import SEE_THE_VARIANCE
from diffusion_tf.models import get_model
from diffusion_tf.models.unet import UNet

STAND_IN = (
    "0.8 x + 0.3 sin(3 x + 0.01 t), elementwise, in place of the network; where the variance is"
    " learned, beside it sin(2 x + 0.02 t) for learned_range, 0.5 sin(2 x + 0.02 t) - 4 for learned"
)
VERSION = 2
# What a program reads, by name.
INPUTS = {
    "x_start": "images, 8-bit pixels in [-1, 1]",
    "noise": "standard normal, shaped like x_start; the eps of q_sample and the target of the loss",
    "t": "a timestep for each example, counted from 0",
    "x_t": "x_start diffused to t; the network's input",
    "outputs": "what a network says about x_t and t; p_mean_variance and the bound start from it",
    "x_first": "where the last ten steps of sampling start from",
    "steps": "their timesteps",
    "step_noise": "their noise, one for each step",
    "chain_first": "where the whole chain starts from; what a sampler would draw first",
    "chain_noise": "the noise of its steps, one for each step; none where there are many",
    "conditional": "what a network says with a condition, for guidance",
    "unconditional": "what it says without",
    "weights": "weights that Adam moves",
    "gradients": "their gradients in three steps",
    "training/steps": "steps whose learning rate is asked for, counted from 0",
    "training/gradients": "two gradients, one by one, each in three equal parts of three weights",
    "training/weights": "weights before training and after each step, for their average",
    "training/numbers": "numbers that become pixels",
    "training/losses": "of all timesteps in turn, by which timesteps are then drawn",
    "training/pixels": "batches of ten training steps, 0..255",
    "training/t": "their timesteps",
    "training/noise": "their noise",
}


class OriginalNames:
    """The names of the original's checkpoints: kernel is W there, bias is b."""

    def state_dict(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Weights under the original's names."""
        return {_name(path): np.asarray(value) for path, value in weights.items()}


def _name(path: str) -> str:
    return "model/" + re.sub("/bias$", "/b", re.sub("/kernel$", "/W", path))


def export(config: Config, kit: str, unet: UNet | None = None) -> Path:
    """Writes a kit.

    Args:
        config: of the process, the network and the seed.
        kit: a folder; created.
        unet: the network; one with random weights if not given.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(kit)
    folder.mkdir(parents=True, exist_ok=True)
    unet = random_unet(config) if unet is None else unet
    inputs = make_inputs(config, draw_step_noise)
    arrays = _arrays_of(inputs)
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    np.savez(
        folder / "inputs_nchw.npz",
        **{name: _nchw(name, array) for name, array in arrays.items()},  # type: ignore[arg-type]
    )
    weights = OriginalNames().state_dict(weights_of(unet))
    np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
    _write_safetensors(folder / "weights.safetensors", weights)
    _write_expected(folder, config, Reference(config, inputs, unet, names=OriginalNames()))  # type: ignore[arg-type]
    shutil.copyfile(stage_table.__file__, folder / "check.py")
    return folder


def _nchw(name: str, array: np.ndarray) -> np.ndarray:
    if name in ("step_noise", "chain_noise", "training/pixels", "training/noise"):
        return np.moveaxis(array, -1, 2)
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


def _arrays_of(inputs: Inputs) -> dict[str, np.ndarray]:
    arrays = {}
    for name in INPUTS:
        head, _, tail = name.partition("/")
        thing = getattr(inputs, head)
        arrays[name] = np.asarray(getattr(thing, tail) if tail else thing)
    arrays["outputs"] = inputs.guess(inputs.x_t, inputs.t)
    arrays["outputs in float64"], arrays["off"] = inputs.outputs, inputs.off
    return arrays


def _write_expected(folder: Path, config: Config, ours: Reference) -> None:
    """expected.npz and stages.json."""
    expected: dict[str, np.ndarray] = {}
    stages: list[dict[str, Any]] = []
    for group in GROUPS:
        if group == "weights":
            continue
        values = ours.values(group)
        for name, value in values.items():
            of_bound = group == "loss" and ours.loss_is_bound
            stage = stage_of(name, "bpd" if of_bound else group, rests_on=_before(name, values))
            if config.learns_variance and name in (
                "p_mean_variance: log variance",
                "respaced log variance",
            ):
                stage = dataclasses.replace(stage, shape=stage.shape.replace("[B]", "[B, H, W, C]"))
            stages.append(_entry(stage, value))
            for key, array in _flat(name, value).items():
                expected[key] = np.asarray(array, np.float32)
    np.savez(folder / "expected.npz", **expected)  # type: ignore[arg-type]
    description = {
        "version": VERSION,
        "layout": "NHWC; inputs_nchw.npz and answers with an array layout = 'NCHW' are NCHW",
        "network in sampling and loss": STAND_IN,
        "inputs": INPUTS,
        "settings": {"learning rate": config.lr, "warmup": config.warmup,
                     "grad_clip": config.grad_clip, "ema_decay": config.decays[0],
                     "weights before ten training steps": START.tolist()},
        "config": json.loads(config.to_json()),
        "stages": stages,
    }  # fmt: skip
    (folder / "stages.json").write_text(json.dumps(description, indent=1) + "\n")


def _entry(stage: Stage, value: Value) -> dict[str, Any]:
    sizes = (
        {name: list(array.shape) for name, array in value.items()}
        if isinstance(value, Mapping)
        else list(np.shape(value))
    )
    return {**dataclasses.asdict(stage), "sizes": sizes}


def _flat(name: str, value: Value) -> dict[str, np.ndarray]:
    """Arrays by the names that they have in a file."""
    if isinstance(value, Mapping):
        return {f"{name}/{key}": array for key, array in value.items()}
    return {name: value}


def _before(name: str, values: Mapping[str, Value]) -> tuple[str, ...]:
    """Stages of the network that go into one: the one before it, the time embedding, the skip."""
    names = list(values)
    i = names.index(name)
    if name in ("sinusoids", "conv_in") or "sinusoids" not in names:
        return ()
    before = [names[i - 1]]
    if "/block_" in name:
        before.append("temb")
    if name.startswith("up_") and "/block_" in name:
        before.append(_skip(name, names))
    return tuple(dict.fromkeys(before))


def _skip(name: str, names: list[str]) -> str:
    """The stage on the way down that goes into a block on the way up."""
    down = [n for n in names if n == "conv_in" or n.startswith("down_")]
    left = [n for n, after in zip(down, [*down[1:], ""], strict=True) if "/attn_" not in after]
    blocks = [n for n in names if n.startswith("up_") and "/block_" in n]
    return left[-1 - blocks.index(name)]


def _write_safetensors(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """The format is a length, a header in JSON, and the numbers one after the other."""
    header, end = {}, 0
    for name, value in weights.items():
        begin, end = end, end + value.nbytes
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in weights.values():
            file.write(np.ascontiguousarray(value, "<f4").tobytes())


class FileSide:
    """The other side of a comparison, as a file says it."""

    def __init__(self, values: Mapping[str, Value], ours: Reference):
        self._values = values
        self._ours = ours

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS` that were answered."""
        if group == "weights":
            return {}
        return {
            stage: self._values[stage] for stage in self._ours.values(group)
            if stage in self._values
        }  # fmt: skip


def compare_answers(kit: str, answers: str) -> tuple[Counterpart, Comparison]:
    """The comparison with what a program answered, with reasons as in a live one.

    Raises:
        ValueError, OSError: the files do not fit together.
    """
    folder = Path(kit)
    for name in ("stages.json", "inputs.npz", "weights.npz"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}; --kit names what --export wrote.")
    if not Path(answers).is_file():
        raise FileNotFoundError(f"There is no file {answers}; --answers names what was computed.")
    description = json.loads((folder / "stages.json").read_text())
    if description["version"] != VERSION:
        raise ValueError(
            f"{folder} is a kit of version {description['version']}, and {VERSION} is read here;"
            " write it anew with --export."
        )
    config = Config.from_dict(description["config"])
    found = read_arrays(Path(answers))
    known = {stage["name"] for stage in description["stages"]}
    for name in sorted(found.keys() - known):
        raise ValueError(f"{answers} has {name!r}, which is not a stage of the kit.")
    unet = get_model(dataclasses.replace(config, dtype="float32"))
    with np.load(folder / "weights.npz") as file:
        assign(unet, {path: file[_name(path)] for path in weights_of(unet)})
    ours = Reference(config, _inputs_of(folder, config), unet, names=OriginalNames())  # type: ignore[arg-type]
    counterpart = Counterpart(name=answers)
    return counterpart, Comparer(ours, FileSide(found, ours), counterpart).run()


def _inputs_of(folder: Path, config: Config) -> Inputs:
    """The inputs as they were written."""
    with np.load(folder / "inputs.npz") as file:
        arrays = {name: file[name] for name in file.files}
    training = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith("training/")}
    fields = {name: arrays[name] for name in INPUTS if "/" not in name}
    fields |= {"outputs": arrays["outputs in float64"], "off": arrays["off"]}
    fields["steps"] = tuple(int(step) for step in arrays["steps"])
    training["steps"] = tuple(int(step) for step in training["steps"])
    return Inputs(
        **fields,
        lr=config.lr,
        loss_is_bound=config.loss_type in SEE_THE_VARIANCE,
        training=TrainingInputs(**training),
        num_timesteps=config.num_diffusion_timesteps,
        model_var_type=config.model_var_type,
    )
