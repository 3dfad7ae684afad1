# %% [markdown]
# # 4. Sampling, step by step
#
# Algorithm 2: begin with noise, and go back one step at a time. Each step guesses x_0, takes the posterior's
# mean (page 2) and adds noise, the last step excepted. Here the guess is the best there is, in closed form,
# so that nothing has to be trained and nothing is the network's fault: the data are three blobs.

# %%
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from diffusion_tf import GaussianDiffusion, get_beta_schedule
from diffusion_tf.gaussian_diffusion.exact import Gaussian, Mixture, ancestral_chain, ddim_chain
from diffusion_tf.sampling.registry import get_sampling_process

T, N = 1000, 2000
betas = get_beta_schedule("linear", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=T)
diffusion = GaussianDiffusion(betas=betas, model_var_type="fixedlarge")
data = Mixture(
    means=[[-0.6, -0.4], [0.6, -0.4], [0.0, 0.6]], variances=[[0.01, 0.01]] * 3, weights=[1 / 3] * 3
)
denoise = data.denoise_fn(diffusion)


@tf.function
def step(x, t):
    p = diffusion.p_mean_variance(denoise, x=x, t=tf.fill([N], t), clip_denoised=False)
    noise = tf.random.stateless_normal([N, 2], [t, 2])
    return p.mean + tf.where(t > 0, tf.sqrt(p.variance), 0.0) * noise  # Algorithm 2, line 4


x = tf.random.stateless_normal([N, 2], [0, 1])
kept = {T - 1: x.numpy()}
for t in reversed(range(T)):
    x = step(x, tf.constant(t))
    if t in (749, 499, 249, 99, 0):
        kept[t - 1] = x.numpy()
near = np.linalg.norm(x.numpy()[:, None] - data.means, axis=2)
print("samples of each blob:", np.bincount(near.argmin(axis=1), minlength=3))
print(f"standard deviation about it: {np.sqrt((near.min(axis=1) ** 2).mean() / 2):.4f}, data's 0.1")
assert np.bincount(near.argmin(axis=1), minlength=3).min() > 0.28 * N

# %%
figure, axes = plt.subplots(1, len(kept), figsize=(10, 2.1), layout="constrained")
for axis, (t, points) in zip(axes, kept.items()):
    axis.plot(*points.T, ".", markersize=1)
    axis.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
    axis.set_title(f"t = {t}" if t >= 0 else "samples", fontsize=9)
figure.savefig("04_steps.png", dpi=100)

# %% [markdown]
# ## Which noise, how many steps
#
# For a single Gaussian the whole chain has a closed form: mean and variance of what comes out. The two
# variances of section 3.2 are upper and lower bounds: `fixedlarge` is best for data that are noise
# themselves, `fixedsmall` for data that are a single point. With all steps both are near; with few they are not.
# DDIM (Song et al. 2021) adds no noise on the way and needs fewer steps.

# %%
gaussian = Gaussian(mean=[0.0], variance=0.04)
counts = (10, 20, 50, 100, 200, 500, 1000)
errors = {"fixedlarge": [], "fixedsmall": [], "ddim": []}
for count in counts:
    levels = diffusion.alphas_cumprod[np.rint(np.linspace(0, T - 1, count)).astype(int)]
    for kind in errors:
        denoiser = gaussian.denoiser(levels)
        chain = (
            ddim_chain(levels, denoiser)
            if kind == "ddim"
            else ancestral_chain(levels, denoiser, kind)
        )
        errors[kind].append(abs(chain.variance[-1].item() / 0.04 - 1))
for kind, values in errors.items():
    print(f"{kind:10}", "  ".join(f"{n}: {value:.3f}" for n, value in zip(counts, values)))
assert errors["ddim"][2] < errors["fixedlarge"][2]

# %%
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for kind, values in errors.items():
    axis.loglog(counts, values, marker="o", label=kind)
axis.set(xlabel="steps", ylabel="relative error", title="Variance of the samples, data's 0.04")
axis.legend(frameon=False)
figure.savefig("04_errors.png", dpi=100)

# %% [markdown]
# ![From noise to three blobs](04_steps.png)
#
# ![Errors by number of steps](04_errors.png)
#
# The same loops inside one graph, as `tf.while_loop`s:

# %%
ddim = get_sampling_process(diffusion, "ddim", sampling_steps=50)
draw = tf.function(
    lambda: ddim.p_sample_loop(
        data.denoise_fn(diffusion), shape=(N, 2), seed=0, clip_denoised=False
    )
)
near = np.linalg.norm(draw().numpy()[:, None] - data.means, axis=2)
print("DDIM in 50 steps, samples of each blob:", np.bincount(near.argmin(axis=1), minlength=3))

# %% [markdown]
# In the original's code: `p_sample` and `p_sample_loop`. It has neither DDIM nor fewer steps.
