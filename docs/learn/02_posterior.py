# %% [markdown]
# # 2. The way back, if x_0 were known
#
# One step back from x_t is a Gaussian, too, if x_0 is given (eq. 6 and 7):
#
#     q(x_{t-1} | x_t, x_0) = N(mean, variance)
#     mean     = sqrt(abar_{t-1}) beta_t / (1 - abar_t) x_0 + sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) x_t
#     variance = (1 - abar_{t-1}) / (1 - abar_t) beta_t
#
# It is Bayes' rule: what is likely before x_t is known, times how well it explains x_t. On a grid of
# values for x_{t-1} that can be checked without any algebra.

# %%
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from diffusion_tf import GaussianDiffusion, get_beta_schedule

T = 1000
betas = get_beta_schedule("linear", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=T)
diffusion = GaussianDiffusion(betas=betas)
abar, abar_before = diffusion.alphas_cumprod, diffusion.alphas_cumprod_prev


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))


t, x_0, x_t = 400, 0.7, -0.4
grid = np.linspace(-3, 3, 200_001)  # x_{t-1}
log_p = log_normal(grid, np.sqrt(abar_before[t]) * x_0, 1 - abar_before[t])  # eq. 4, one step less
log_p += log_normal(x_t, np.sqrt(1 - betas[t]) * grid, betas[t])  # eq. 2
p = np.exp(log_p - log_p.max())
p /= p.sum()
mean = (p * grid).sum()
variance = (p * (grid - mean) ** 2).sum()

ours = diffusion.q_posterior_mean_variance(
    tf.constant([[x_0]]), tf.constant([[x_t]]), tf.constant([t])
)
our_mean, our_variance = (value.numpy().item() for value in ours[:2])
print(f"mean {mean:.6f}, in closed form {our_mean:.6f}")
print(f"variance {variance:.6f}, in closed form {our_variance:.6f}")
np.testing.assert_allclose([mean, variance], [our_mean, our_variance], rtol=1e-4)

# %% [markdown]
# ## What the network predicts
#
# x_0 is not known when sampling; a network guesses it from x_t. It can say so in four ways, and each can
# be turned into the others, as x_t is known:
#
# | `model_mean_type` | the network's output | x_0 from it |
# |---|---|---|
# | `eps`, the paper's | the noise | (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) |
# | `xstart` | x_0 | itself |
# | `xprev` | the mean of x_{t-1} | from eq. 7 |
# | `v` | sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 | sqrt(abar_t) x_t - sqrt(1 - abar_t) v |
#
# They differ in what a mistake costs. Let the output be wrong by 0.01 and look at the x_0 that follows:

# %%
rng = np.random.default_rng(0)
x_0 = rng.uniform(-1, 1, [64, 1]).astype(np.float32)
eps = rng.normal(size=[64, 1]).astype(np.float32)
times = np.array([0, 9, 99, 249, 499, 749, 999])
costs = {}
for kind in ("eps", "xstart", "xprev", "v"):
    process = GaussianDiffusion(betas=betas, model_mean_type=kind)
    costs[kind] = []
    for t in times:
        steps = tf.fill([64], int(t))
        x_t = process.q_sample(x_0, steps, noise=eps)
        a, b = np.sqrt(abar[t]), np.sqrt(1 - abar[t])
        output = {
            "eps": eps,
            "xstart": x_0,
            "v": a * eps - b * x_0,
            "xprev": process.q_posterior_mean_variance(x_0, x_t, steps)[0],
        }[kind]
        guesses = [
            process.p_mean_variance(
                lambda x, t, y=output + wrong: y, x=x_t, t=steps, clip_denoised=False
            ).pred_xstart.numpy()
            for wrong in (0.0, np.float32(0.01))
        ]
        np.testing.assert_allclose(guesses[0], x_0, atol=0.02)
        costs[kind].append(np.abs(guesses[1] - guesses[0]).max() / 0.01)
for kind, values in costs.items():
    print(f"{kind:6}", "  ".join(f"t={t}: {value:9.3g}" for t, value in zip(times, values)))

# %%
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for kind, values in costs.items():
    axis.semilogy(times, values, marker="o", label=kind)
axis.axhline(1, color="0.8", zorder=0)
axis.set(xlabel="t", ylabel="error of x_0 / error of the output", title="What a mistake costs")
axis.legend(frameon=False)
figure.savefig("02_costs.png", dpi=100)

# %% [markdown]
# ![What a mistake costs](02_costs.png)
#
# A small error in eps is a huge one in x_0 where nearly all is noise: there the prediction is clipped to
# [-1, 1] (`clip_denoised`), or x_0 itself is predicted. In the original's code: `q_posterior_mean_variance`,
# `_predict_xstart_from_eps` and `_predict_xstart_from_xprev`.
