# %% [markdown]
# # 6. From here to the paper
#
# The paper's network is a U-Net: the same guess, for images. What it is made of, the original's names say,
# and so do ours: `ResnetBlock`, `AttnBlock`, `temb`. The presets are the paper's experiments; here are their
# networks, counted without building them.

# %%
from diffusion_tf import get_config, get_dataset
from diffusion_tf.config.sizes import num_weights

for name in ("cifar10", "celebahq256", "lsun_bedroom_large", "digits", "s_curve"):
    config = get_config(name)
    print(
        f"{name:20} {num_weights(config):>11,} weights, {config.steps:>9,} steps,"
        f" batches of {config.batch_size}"
    )
assert num_weights(get_config("cifar10")) == 35_746_307

# %% [markdown]
# `Trainer` makes the updates of the original's training step: Adam, a warmup, clipped gradients, averaged
# weights. A few of them, with a network small enough to wait for:

# %%
import matplotlib.pyplot as plt
import tensorflow as tf
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import get_strategy

config = get_config("digits", ch_mult=(1,), steps=60, warmup=10, lr=2e-3, ema_decay=0.9)
trainer = Trainer(config, get_strategy("single"), jit_compile=False)
batches = iter(
    trainer.strategy.distribute_datasets_from_function(
        lambda context: get_dataset(config).train_batches(
            config.batch_size, seed=config.seed, first_step=0, context=context
        )
    )
)
loss = trainer.train_steps(batches, tf.constant(config.steps))["loss"].numpy()
print(f"loss {loss[:5].mean():.3f} at first, {loss[-5:].mean():.3f} after {config.steps} steps")
assert loss[-5:].mean() < 0.7 * loss[:5].mean()

# %% [markdown]
# And a few samples on their way out of noise, in 50 steps. They are not digits yet: the preset trains
# a hundred times as long.

# %%
process = get_sampling_process(get_diffusion(config), "ancestral", 50)
sampler = Sampler.of_run(config, trainer.ema_model, process=process, jit_compile=False)
steps, frames = sampler.trajectory(8, [49, 24, 4, -1])
names = [f"t = {process.timesteps[step]}" for step in steps[:-1]] + ["samples"]
figure, axes = plt.subplots(4, 8, figsize=(6, 3.2), layout="constrained")
for row, images, name in zip(axes, frames, names):
    row[0].set_ylabel(name)
    for axis, image in zip(row, images):
        axis.imshow(image[..., 0], cmap="gray", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
figure.savefig("06_digits.png", dpi=100)

# %% [markdown]
# ![Samples after 60 steps](06_digits.png)
#
# | what you want | the command |
# |---|---|
# | these digits, well | `python scripts/train.py` |
# | CIFAR-10 as in the paper | `python scripts/train.py --config=cifar10` |
# | your own images | `python scripts/train.py --config=folder --data_dir=FOLDER` |
# | FID and bits/dim beside the paper's | `python scripts/evaluate.py --workdir=RUN` |
# | where another implementation differs | `python scripts/crosscheck.py` |
