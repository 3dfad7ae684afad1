"""Training on several replicas; in processes of their own, which have two logical CPU devices."""

import subprocess
import sys

import numpy as np
import pytest

TRAIN = """
import sys
import numpy as np
import tensorflow as tf
from diffusion_tf import Trainer, get_config, get_dataset
from diffusion_tf.devices import get_strategy
from diffusion_tf.training import train

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = get_strategy(sys.argv[1])
config = get_config(
    "digits", ch=32, ch_mult=(2,), batch_size=8, steps=5, warmup=1, grad_clip=1e9, log_steps=1
)
trainer = Trainer(config, strategy, jit_compile=False)
train(trainer, get_dataset(config), "run")
weights = [*trainer.model.get_weights(), *trainer.ema_model.get_weights()]
np.savez("weights.npz", np.array(strategy.num_replicas_in_sync), *weights)
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """By strategy: the number of replicas, then raw and averaged weights after five steps."""
    arrays = {}
    for name in ("single", "mirrored"):
        folder = tmp_path_factory.mktemp(name)
        subprocess.run([sys.executable, "-c", TRAIN, name], cwd=folder, check=True)
        with np.load(folder / "weights.npz", allow_pickle=False) as saved:
            arrays[name] = [saved[key] for key in saved.files]
    return arrays


def test_two_replicas_give_the_weights_of_one(weights):
    (one, *single), (two, *mirrored) = weights["single"], weights["mirrored"]
    assert (one, two) == (1, 2)
    for a, b in zip(single, mirrored, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
