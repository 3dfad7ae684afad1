"""Numbers of every part that Keras has a hand in: `python keras_numbers.py OUT.npz`."""

import sys

import diffusion_tf  # noqa: F401  before TensorFlow, which imports Keras

# isort: split
import numpy as np
import tensorflow as tf

from diffusion_tf import UNet, get_config, get_diffusion, get_model
from diffusion_tf.models.mlp import MLP
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.random_numbers import normal

TINY = {"num_diffusion_timesteps": 2, "batch_size": 2, "warmup": 0, "ch": 32}
RUNS = {
    "images": (
        "digits_conditional", {
            "ch_mult": (1, 1), "num_res_blocks": 1, "dropout": 0.5, "resamp_with_conv": False,
        },
    ),
    "vectors": (
        "embeddings",
        {
            "num_res_blocks": 1, "time_embedding": "learned", "optimizer": "rmsprop",
            "dtype": "mixed_float16", "dropout": 0.5,
        },
    ),
}  # fmt: skip


def all_numbers():
    """{name: array} of weights at the start, of training, of sampling and of bare networks."""
    numbers = {}
    for name, (preset, fields) in RUNS.items():
        run = _of_run(get_config(preset, **TINY, **fields))
        numbers |= {f"{name}: {what}": array for what, array in run.items()}
    x, t = normal([2, 8, 8, 1], [1, 2]), tf.constant([0, 1])
    unet = UNet(ch=32, out_ch=1, ch_mult=(1, 1), num_res_blocks=1, attn_resolutions=(4,))
    mlp = MLP(ch=32, out_dim=5, num_res_blocks=1)
    for network, given in ((unet, x), (mlp, x[:, 0, :5, 0])):
        network([given, t])
        rng = np.random.default_rng(0)
        network.set_weights([rng.normal(0, 0.1, w.shape) for w in network.get_weights()])
        numbers[f"output of {type(network).__name__}"] = network([given, t]).numpy()
    return numbers


def _of_run(config):
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    numbers = {"start": _flat(trainer.model)}
    x = normal([2, *config.sample_shape], [3, 4])
    y = []
    if config.num_classes:
        y = [tf.constant([3, -1])]
    elif config.cond_dim:
        y = [normal([2, config.cond_dim], [5, 6])]
    for _ in range(2):
        metrics = trainer.train_step(x, tf.constant([0, 1]), x[::-1], *y)
    numbers |= {name: value.numpy() for name, value in metrics.items()}
    numbers |= {"weights": _flat(trainer.model), "averages": _flat(trainer.ema_model)}
    numbers["state"] = np.concatenate([v.numpy().ravel() for v in trainer.optimizer.variables])
    network = get_model(config)
    network.set_weights(trainer.ema_model.get_weights())
    numbers["samples"] = get_diffusion(config).p_sample_loop(
        lambda x, t: network([x, t, *y]), shape=x.shape, seed=0
    ).numpy()  # fmt: skip
    return numbers


def _flat(model):
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


if __name__ == "__main__":
    np.savez(sys.argv[1], **all_numbers())
