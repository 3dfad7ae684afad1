"""The same training on one device, on two of one machine, and on two machines."""

import subprocess
import sys

import numpy as np
import pytest

from helpers.processes import cluster
from helpers.replicas import replicas

TRAIN = """
import sys
import numpy as np
import tensorflow as tf
from diffusion_tf import Trainer, get_config, get_dataset
from diffusion_tf.utils.devices import get_strategy, is_chief
from diffusion_tf.training.loop import train

if sys.argv[1] == "mirrored":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = get_strategy(sys.argv[1])
config = get_config(
    "digits", ch=32, ch_mult=(2,), batch_size=8, steps=20, warmup=1, grad_clip=1e9, log_steps=1,
    random_flip=True, grid_steps=0,
)
trainer = Trainer(config, strategy, jit_compile=False)
train(trainer, get_dataset(config), "run")
if is_chief(strategy):
    weights = [*trainer.model.get_weights(), *trainer.ema_model.get_weights()]
    np.savez("weights.npz", np.array(strategy.num_replicas_in_sync), *weights)
    # The graph of a step, wherever TensorFlow put it.
    (traced,) = trainer.train_steps._list_all_concrete_functions()
    functions = traced.graph.as_graph_def().library.function
    nodes = [node for function in functions for node in function.node_def]
    reduced = [node.name for node in nodes if node.op.startswith("CollectiveReduce")]
    open("all_reduces.txt", "w").write("\\n".join(reduced))
"""


def train(name, folder, environment=None):
    return subprocess.Popen([sys.executable, "-c", TRAIN, name], cwd=folder, env=environment)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each strategy, with what 20 steps left there."""
    folders = {
        name: tmp_path_factory.mktemp(name) for name in ("single", "mirrored", "multi_worker")
    }
    for name in ("single", "mirrored"):
        assert train(name, folders[name]).wait(1800) == 0
    workers = [
        train("multi_worker", folders["multi_worker"], environment) for environment in cluster(2)
    ]
    assert [worker.wait(1800) for worker in workers] == [0, 0]
    return folders


def weights(folder):
    with np.load(folder / "weights.npz", allow_pickle=False) as saved:
        replicas, *arrays = (saved[key] for key in saved.files)
    return int(replicas), arrays


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_two_replicas_give_the_weights_of_one(folders, name):
    (one, single), (two, others) = weights(folders["single"]), weights(folders[name])
    assert (one, two) == (1, 2)
    for a, b in zip(single, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_gradient_is_reduced_once_a_step(folders):
    names = (folders["multi_worker"] / "all_reduces.txt").read_text().split()
    gradient = [name for name in names if "adam" in name]
    assert len(gradient) == 1
    assert len(names) == 2  # and loss and norm together, to be logged


@pytest.mark.slow
def test_only_the_chief_writes(folders):
    folder = folders["multi_worker"] / "run"
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert (folder / "checkpoints" / "ckpt-20.index").exists()
    names = {"config.json", "data.json", "checkpoints", "tensorboard", "losses.csv"}
    assert {p.name for p in folder.iterdir()} == names


@pytest.mark.slow
def test_a_drawn_grid_sees_the_weights_of_all_devices():
    """Mirrored weights can be sampled from without leaving the strategy's devices."""
    from diffusion_tf.config import get_config
    from diffusion_tf.sampling.pictures import grid_drawer
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.training.trainer import Trainer

    config = get_config("digits", ch_mult=(1,), num_diffusion_timesteps=4, batch_size=8)
    grids = []
    for number in (1, 2):
        trainer = Trainer(config, replicas(number), jit_compile=False)
        draw = grid_drawer(Sampler.of_run(config, trainer.ema_model, seed=0, jit_compile=True))
        grids.append(draw())
    np.testing.assert_array_equal(*grids)
