# %% [markdown]
# # 1. From data to noise
#
# The forward process mixes a little noise into an image, T times (eq. 2 of
# [the paper](https://arxiv.org/abs/2006.11239)):
#
#     q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)
#
# Mixed Gaussians are Gaussian, so that any step can be reached at once (eq. 4). With
# abar_t = (1 - beta_1) ... (1 - beta_t):
#
#     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps
#
# In code t counts from 0: t = 0 is one step of noise, t = T - 1 is nearly nothing but noise.

# %%
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from diffusion_tf import GaussianDiffusion, get_beta_schedule, get_config, get_dataset
from diffusion_tf.gaussian_diffusion.exact import empirical

T = 1000


def process_of(schedule):
    betas = get_beta_schedule(schedule, beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=T)
    return GaussianDiffusion(betas=betas)


processes = {name: process_of(name) for name in ("linear", "cosine")}

# %% [markdown]
# Step by step or at once: both have the same mean and variance. Of a pixel with the value 0.5, after
# 300 steps:

# %%
linear = processes["linear"]
rng = np.random.default_rng(0)
x = np.full(20_000, 0.5)
for beta in linear.betas[:300]:
    x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
at_once = linear.q_sample(
    tf.fill([20_000, 1], 0.5),
    tf.fill([20_000], 299),
    noise=tf.random.stateless_normal([20_000, 1], [0, 1]),
).numpy()
print(
    f"mean {x.mean():.3f} and {at_once.mean():.3f}, exact {0.5 * linear.sqrt_alphas_cumprod[299]:.3f}"
)
print(f"variance {x.var():.3f} and {at_once.var():.3f}, exact {1 - linear.alphas_cumprod[299]:.3f}")
assert abs(x.mean() - at_once.mean()) < 0.03 and abs(x.var() - at_once.var()) < 0.03

# %% [markdown]
# ## What is left of a small image halfway
#
# The linear schedule was made for 256x256 pixels, where neighbours tell what noise has covered. Of an
# 8x8 image it leaves next to nothing halfway. The cosine schedule (Nichol & Dhariwal 2021) leaves more.
#
# How much can anybody know of x_0 from x_t? For a data set that is given, the optimal guess has a closed
# form, `empirical`. Its error, as a share of the data's variance:

# %%
digits = get_dataset(get_config("digits"))
images = digits.examples[:400].astype(np.float32) / 127.5 - 1
flat = images.reshape(len(images), -1)
best = empirical(flat)
times = np.arange(0, T, 50)
errors = {}
for name, process in processes.items():
    errors[name] = []
    for t in times:
        noise = rng.normal(size=flat.shape)
        abar = process.alphas_cumprod[t]
        mean, _ = best.posterior(np.sqrt(abar) * flat + np.sqrt(1 - abar) * noise, abar)
        errors[name].append(np.mean((mean - flat) ** 2) / flat.var(axis=0).mean())
    print(f"{name}: halfway {errors[name][10]:.3f} of the variance cannot be known")
assert errors["linear"][10] > 4 * errors["cosine"][10]

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for name, process in processes.items():
    axes[0].plot(process.alphas_cumprod, label=name)
    axes[1].plot(times, errors[name], label=name)
axes[0].set(xlabel="t", title="abar_t, what is left of the signal")
axes[1].set(xlabel="t", ylabel="share of the variance", title="error of the best guess of x_0")
for axis in axes:
    axis.axvline(T // 2, color="0.8", zorder=0)
    axis.legend(frameon=False)
figure.savefig("01_schedules.png", dpi=100)

# %%
shown = [0, 99, 249, 499, 749, 999]
figure, axes = plt.subplots(2, len(shown) + 1, figsize=(8, 2.7), layout="constrained")
noise = tf.random.stateless_normal([1, 8, 8, 1], [3, 1])
for row, (name, process) in zip(axes, processes.items()):
    columns = [images[5:6]] + [
        process.q_sample(images[5:6], tf.constant([t]), noise=noise).numpy() for t in shown
    ]
    for axis, column, t in zip(row, columns, ["x_0", *(f"t = {t}" for t in shown)]):
        axis.imshow(column[0, ..., 0], cmap="gray", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_title(t, fontsize=9)
    row[0].set_ylabel(name)
figure.savefig("01_digit.png", dpi=100)

# %% [markdown]
# ![The schedules, and what can be known](01_schedules.png)
#
# ![A digit on its way to noise](01_digit.png)
#
# In the original's code: `get_beta_schedule`, and `q_sample` of `GaussianDiffusion2`. The presets for
# digits take the cosine schedule for this reason; those of the paper take the linear one.
