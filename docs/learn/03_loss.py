# %% [markdown]
# # 3. What is minimized
#
# The variational bound (eq. 5) is a sum over steps. Each term compares two Gaussians: the posterior of
# page 2, which knows x_0, and the model's step, which guesses it. With the noise as the network's output
# a term is a weighted square error (eq. 12):
#
#     L_t = beta_t^2 / (2 sigma_t^2 alpha_t (1 - abar_t)) |eps - eps_guess|^2 + terms that do not learn
#
# The paper trains without the weights, L_simple (eq. 14). What does that change?

# %%
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from diffusion_tf import GaussianDiffusion, get_beta_schedule
from diffusion_tf.gaussian_diffusion.exact import Gaussian

T = 1000
betas = get_beta_schedule("linear", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=T)
simple, bound = (GaussianDiffusion(betas=betas, loss_type=kind) for kind in ("mse", "kl"))
abar = simple.alphas_cumprod
weights = betas / (2 * (1 - betas) * (1 - abar))  # with sigma_t^2 = beta_t
print("weight of a square error in the bound:", {t: f"{weights[t]:.2g}" for t in (1, 10, 100, 999)})

# %% [markdown]
# The bound looks at the first steps, where what is to be seen is finer than a grey level. L_simple looks
# at all steps alike, and so more at those that decide what the picture shows.
#
# With data from one Gaussian the best network is known, and so are its losses. Both of the classes' losses
# at three steps, from 4,096 draws, beside the formula:

# %%
rng = np.random.default_rng(0)
levels = np.linspace(-1, 1, 256)
data = Gaussian(mean=[0.0], variance=0.04)
x_0 = levels[np.abs(levels[:, None] - rng.normal(0, 0.2, 4096)).argmin(axis=0)][:, None]
x_0 = x_0.astype(np.float32)
eps = rng.normal(size=x_0.shape).astype(np.float32)
for t in (10, 100, 500):
    steps = tf.fill([len(x_0)], t)
    losses = {}
    for process in (simple, bound):
        denoise = data.denoise_fn(process)
        losses[process.loss_type] = float(
            tf.reduce_mean(process.p_losses(denoise, x_0, steps, noise=eps))
        )
    v = data.variance.item()
    exact = abar[t] * v / (abar[t] * v + 1 - abar[t])  # what noise cannot be known
    small = (1 - simple.alphas_cumprod_prev[t]) / (1 - abar[t]) * betas[t]
    rest = 0.5 * (small / betas[t] - 1 - np.log(small / betas[t]))
    in_bits = (weights[t] * exact + rest) / np.log(2)
    print(
        f"t = {t}: L_simple {losses['mse']:.4f} (exact {exact:.4f}),"
        f" bound {losses['kl']:.5f} bits/dim (exact {in_bits:.5f})"
    )
    np.testing.assert_allclose(losses["mse"], exact, rtol=0.1)
    np.testing.assert_allclose(losses["kl"], in_bits, rtol=0.1)

# %% [markdown]
# ## The whole bound
#
# Summed over all steps it is an upper bound of the number of bits that a pixel takes; `bits_per_dim` is
# that number itself. The distance is paid for steps that are too long, and most of it for the last one: the
# paper's beta_1 of 1e-4 is noise of 0.01, and grey levels are 2/255 = 0.008 apart. With more and shorter
# steps that part goes away. Another one stays: the noise of the first steps doubles, and grows by a half,
# however small it is.

# %%
entropy = data.bits_per_dim(x_0[:256], pixels=True).mean()
above = {}
for steps in (1000, 4000, 16_000):
    shorter = np.linspace(1e-4, 0.02, steps) * 1000 / steps
    terms, prior = data.bound(np.cumprod(1 - shorter), x_0[:256], "fixedsmall")
    above[steps] = terms.sum(axis=1).mean() + prior.mean() - entropy
    print(
        f"{steps:6} steps: {entropy + above[steps]:.4f} bits/dim, {above[steps]:.4f} above the data's,"
        f" {terms[:, 0].mean():.4f} in the last step"
    )
assert above[1000] > above[4000] > above[16_000] > 0

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
axes[0].semilogy(weights, label="the bound's (eq. 12)")
axes[0].axhline(1, color="C1", label="L_simple's (eq. 14)")
axes[0].set(xlabel="t", title="weight of the square error")
axes[0].legend(frameon=False)
terms, _ = data.bound(abar, x_0[:256], "fixedlarge")
axes[1].semilogy(terms.mean(axis=0))
axes[1].set(xlabel="t", ylabel="bits/dim", title="terms of the bound, with the best network")
figure.savefig("03_loss.png", dpi=100)

# %% [markdown]
# ![Weights and terms](03_loss.png)
#
# In the original's code: `training_losses` of `GaussianDiffusion2` with `loss_type` `mse` and `kl`, and
# `calc_bpd_loop` for the whole bound.
