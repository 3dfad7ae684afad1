"""Workdirs of this project, as one format among the others."""

import dataclasses
import os
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import tf1
from diffusion_tf.convert.architecture import check_known_elsewhere
from diffusion_tf.convert.contents import Contents, needed_config
from diffusion_tf.convert.maps import assign, variables_of, weights_of
from diffusion_tf.models import get_model
from diffusion_tf.models.unet import UNet
from diffusion_tf.training.checkpoint_files import checkpoint_dir, doubts_about, find
from diffusion_tf.training.checkpoint_reading import parts_of
from diffusion_tf.training.checkpoints import (
    Checkpoints,
    claim_workdir,
    config_path,
    load_config,
    load_network,
    restore_run,
)
from diffusion_tf.training.optimizers import get_optimizer
from diffusion_tf.training.timesteps import LossHistory
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.weight_sets import WeightsKind


class _Run(NamedTuple):
    """What a checkpoint of a workdir holds."""

    model: UNet
    averages: dict[str, UNet]
    optimizer: keras.optimizers.Optimizer
    history: LossHistory | None
    step: tf.Variable

    @property
    def parts(self) -> dict[str, dict[str, tf.Variable]]:
        """As `Trainer.parts`."""
        return parts_of(self.model, self.averages, self.optimizer, self.history)


def recognizes(path: str) -> bool:
    """Whether a path is a workdir; one with a checkpoint of the original in it is the original's.

    Raises:
        ValueError: a `config.json` that is damaged.
    """
    config = config_path(path)
    if not os.path.isfile(config) or tf1.is_checkpoint(path):
        return False
    return "_class_name" not in read_json_object(config)  # that would be of diffusers


def read(path: str) -> Contents:
    """Everything in the newest checkpoint of a workdir.

    Raises:
        FileNotFoundError: no run or no checkpoint there.
        ValueError: damaged files, tensors that are not finite, or a network that no other format
            knows.
    """
    config = load_config(path)
    check_known_elsewhere(config)
    run = _new_run(config)
    restore_run(path, run.parts, run.step)
    if run.history:
        logging.info("The losses by which timesteps are drawn are left out; they begin anew.")
    slots = {}
    if int(_inner(run.optimizer).iterations) > 0:
        slots = {
            slot: {name: variable.numpy() for name, variable in variables.items()}
            for slot, variables in _slots(run).items()
        }
    weights = {name: weights_of(average) for name, average in run.averages.items()}
    weights["raw"] = weights_of(run.model)
    for kind, values in (weights | slots).items():
        for name, value in values.items():
            as_float32(value, f"{name} ({kind}) in {path}")
    return Contents(
        path=path,
        weights=weights,
        slots=slots,
        step=int(run.step),
        fields=dataclasses.asdict(config),
    )


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network in the newest checkpoint of a workdir.

    Raises:
        FileNotFoundError: no run or no checkpoint there.
        ValueError: unknown weights, weights that are not finite, or a checkpoint that cannot be
            read.
    """
    return load_network(path, load_config(path), weights=weights)[0]


def write(target: str, contents: Contents, config: Config | None) -> None:
    """Writes a workdir that every script takes, and that train.py goes on with.

    Where there is no optimizer's state, training goes on with a new one, its warmup included.

    Args:
        target: a new workdir.
        contents: with both sets of weights.
        config: of the run.

    Raises:
        ValueError: no config, weights or optimizer of another one, or a workdir that holds another
            run.
        OSError: it cannot be written.
    """
    config = needed_config(contents, config)
    contents.architecture.check_config(config)
    run = _new_run(config)
    slots = _slots(run)
    if contents.slots and contents.slots.keys() != slots.keys():
        raise ValueError(
            f"{contents.path} holds the optimizer's state {', '.join(contents.slots)}, and the"
            f" config's optimizer {config.optimizer!r} has {', '.join(slots)}; choose another"
            " config."
        )
    assign(run.model, contents.weights["raw"])
    for name, average in run.averages.items():
        assign(average, contents.weights.get(name, contents.weights["ema"]))
    for name, values in contents.slots.items():
        for path, variable in slots[name].items():
            variable.assign(values[path])
    run.step.assign(contents.step or 0)
    if contents.slots:
        _inner(run.optimizer).iterations.assign(contents.step)
    claim_workdir(target, config)
    Checkpoints(target, run.parts, run.step, keep=config.keep_checkpoints).save()
    folder = checkpoint_dir(target)
    doubts = doubts_about(folder, find(folder))
    if doubts:
        raise OSError(f"{'; '.join(doubts)}. Make room, or mend the disk.")


def _new_run(config: Config) -> _Run:
    model, averages = get_model(config), {name: get_model(config) for name in config.averages}
    optimizer = get_optimizer(config, num_replicas=1)
    optimizer.build(model.trainable_variables)
    by_loss = config.timestep_sampling == "by_loss"
    history = LossHistory(config.num_diffusion_timesteps) if by_loss else None
    return _Run(model, averages, optimizer, history, tf.Variable(0, dtype=tf.int64))


def _inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer itself, without what scales its loss in float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _slots(run: _Run) -> dict[str, dict[str, keras.Variable]]:
    """The optimizer's state, under the original's names, by the paths of the weights."""
    paths = variables_of(run.model)
    return {
        name: dict(zip(paths, state, strict=True))
        for name, state in _inner(run.optimizer).tf1_slots.items()
    }
