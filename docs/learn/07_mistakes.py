# %% [markdown]
# # 7. Common mistakes, measured
#
# Lessons about DDPM, and ports of it, share a few mistakes. Each is one line here, and is run. The data are
# points on an S, T is 100, and the network is the best there is, in closed form: whatever goes wrong is the
# line's fault.

# %%
import matplotlib.pyplot as plt
import numpy as np
from diffusion_tf import get_beta_schedule
from diffusion_tf.datasets.points import s_curve
from scipy.spatial.distance import cdist

T, N = 100, 1000
points = s_curve(400, seed=0).astype(np.float64)  # each the middle of a small blob
WIDTH = 0.01**2
fresh, other = s_curve(N, seed=1), s_curve(N, seed=2)


def best_eps(x, abar):
    """The noise that is to be expected in x, when the data are blobs about the points."""
    variance = abar * WIDTH + 1 - abar
    log_p = -0.5 * cdist(x, np.sqrt(abar) * points, "sqeuclidean") / variance
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    middle = np.sqrt(abar) * (p @ points) / p.sum(axis=1, keepdims=True)
    return np.sqrt(1 - abar) * (x - middle) / variance


def sample(betas, *, start=None, mean=None, noise_at_the_end=False):
    """Algorithm 2, with sigma_t^2 = beta_t."""
    rng = np.random.default_rng(0)
    abars = np.cumprod(1 - betas)
    x = rng.normal(size=[N, 2]) * (1.0 if start is None else start)
    for t in reversed(range(len(betas))):
        beta, abar = betas[t], abars[t]
        rest = x - beta / np.sqrt(1 - abar) * best_eps(x, abar)
        x = rest / np.sqrt(1 - beta) if mean is None else mean(rest, beta)
        if t > 0 or noise_at_the_end:
            x = x + np.sqrt(beta) * rng.normal(size=x.shape)
    return x


def energy(a):
    """Energy distance to fresh points, less what chance alone leaves between two sets of as many."""
    pairs = N / (N - 1)  # a point is not its own neighbour
    within = (cdist(a, a).mean() + cdist(fresh, fresh).mean()) * pairs
    return 2 * cdist(a, fresh).mean() - within


right = get_beta_schedule("sigmoid", beta_start=1e-5, beta_end=0.04, num_diffusion_timesteps=T)
short = get_beta_schedule("sigmoid", beta_start=1e-5, beta_end=5e-3, num_diffusion_timesteps=T)
left = np.cumprod(1 - short)[-1]
at_end = np.sqrt(left * fresh.var(axis=0) + 1 - left)  # deviation of x_T, if nothing else is known
results = {
    "real points against real points": other,
    "as in the paper": sample(right),
    # The mean is (x_t - ...) / sqrt(1 - beta_t), Algorithm 2, line 4.
    "times 1 - sqrt(1 - beta), not over sqrt(1 - beta)": sample(
        right, mean=lambda rest, beta: rest * (1 - np.sqrt(1 - beta))
    ),
    # x_T is noise of variance 1 only if next to nothing of the signal is left.
    f"abar_T is {left:.2f}, x_T of variance 1": sample(short),
    "the same, x_T as wide as the data's": sample(short, start=at_end),
    "noise after the last step": sample(right, noise_at_the_end=True),
    "noise after the last step, beta_1 = 1e-3": sample(
        np.maximum(right, 1e-3), noise_at_the_end=True
    ),
}
distances = {}
print(f"{'':52}{'spread':>8}{'energy distance':>18}")
for name, found in results.items():
    distances[name] = energy(found)
    print(f"{name:52}{found.std():8.4f}{distances[name]:18.2e}")
assert distances["as in the paper"] < 2e-3
assert distances["times 1 - sqrt(1 - beta), not over sqrt(1 - beta)"] > 0.05
assert distances["noise after the last step, beta_1 = 1e-3"] > distances["as in the paper"]

# %%
figure, axes = plt.subplots(1, len(results), figsize=(13, 2.4), layout="constrained")
for axis, (name, found) in zip(axes, results.items()):
    axis.plot(*found.T, ".", markersize=1)
    axis.set(xlim=(-0.4, 0.4), ylim=(-0.4, 0.4), xticks=[], yticks=[], aspect="equal")
    axis.set_title("\n".join(name.replace(", ", ",\n").split("\n")), fontsize=7)
figure.savefig("07_mistakes.png", dpi=110)

# %% [markdown]
# ![Samples with each mistake](07_mistakes.png)
#
# A mean multiplied by the wrong factor ends in one point. Noise after the last step is as large as beta_1
# is: next to nothing at 1e-5; at 1e-3 it is 0.03, three times the points' own. An x_T that is too
# wide does no harm here: the best guess is right everywhere, also where no training point ever was, which
# nobody can promise of a trained network; and these points have their mean at 0.
#
# ## Betas that stop too early
#
# A zero too many: betas to 0.002 instead of 0.02. After 1,000 steps a third of the signal's variance is
# still there. Sampling begins without it: what all images share, a mean of 0.5 here, is missing in x_T. For
# data from a Gaussian the whole chain has a closed form, with the best guess again:

# %%
from diffusion_tf.gaussian_diffusion.exact import Gaussian, ancestral_chain

data = Gaussian(mean=[0.5], variance=0.04)
means = {}
for end in (0.02, 0.002):
    betas = get_beta_schedule("linear", beta_start=1e-4, beta_end=end, num_diffusion_timesteps=1000)
    levels = np.cumprod(1 - betas)
    chain = ancestral_chain(levels, data.denoiser(levels), "fixedlarge")
    means[end] = chain.mean[-1].item()
    print(
        f"betas to {end}: {levels[-1]:.3g} of the signal's variance is left;"
        f" samples have mean {means[end]:.4f} and variance {chain.variance[-1].item():.4f}, data 0.5 and 0.04"
    )
assert abs(means[0.02] - 0.5) < 1e-3 < abs(means[0.002] - 0.5)

# %% [markdown]
# ## Sentences that are not so
#
# *"Alpha is the share of noise."* It is the share of the signal: alpha_t = 1 - beta_t of the variance stays.

# %%
x, noise = np.random.default_rng(0).normal(size=[2, 100_000])
mixed = np.sqrt(0.9) * x + np.sqrt(0.1) * noise  # alpha = 0.9
print(f"correlation with the signal {np.corrcoef(mixed, x)[0, 1]:.3f}, sqrt(0.9) = {0.9**0.5:.3f}")
assert abs(np.corrcoef(mixed, x)[0, 1] - 0.9**0.5) < 0.01

# %% [markdown]
# *"The time is concatenated."* Its embedding is added to the features, the same at every pixel, after a
# dense layer: as many numbers as there are channels, and no channel more.
#
# *"Three tables embed t, t - 1 and t + 1."* All three are asked for the same t. They are three tables
# because each layer has its own.

# %%
import tensorflow as tf
from diffusion_tf import get_config
from diffusion_tf.models import get_model
from diffusion_tf.models.blocks import ResnetBlock

block = ResnetBlock(64)
h = block([tf.zeros([1, 8, 8, 64]), tf.zeros([1, 256])])
print("a residual block:", (1, 8, 8, 64), "and a time of 256 numbers give", tuple(h.shape))

model = get_model(get_config("s_curve_tutorial"))
at_3 = model([tf.ones([1, 2]), tf.constant([3])]).numpy()
for table in model.tables:
    others = tf.tensor_scatter_nd_update(table.embeddings.value, [[2], [4]], tf.ones([2, 128]))
    table.embeddings.assign(others)
np.testing.assert_array_equal(at_3, model([tf.ones([1, 2]), tf.constant([3])]))
print("rows 2 and 4 of all tables changed; at t = 3 the output is the same")

# %% [markdown]
# *"The embedding has 2d numbers, a sine and a cosine each."* The paper's has d, of d / 2 frequencies. At t = 0
# sines are 0 and cosines 1, and can be counted:

# %%
from diffusion_tf.models.tutorials import cut_sinusoids
from diffusion_tf.nn import get_timestep_embedding


def sines_and_cosines(embedding):
    return int((embedding.numpy() == 0).sum()), int((embedding.numpy() == 1).sum())


d = 8
print(f"d = {d}: {sines_and_cosines(get_timestep_embedding(tf.constant([0]), d))}")
assert sines_and_cosines(get_timestep_embedding(tf.constant([0]), d)) == (d // 2, d // 2)

# %% [markdown]
# A lesson on embeddings takes `half = d // 2 + 1` frequencies and has d + 2 numbers. What does not fit is cut
# off, and these are cosines, so that there are two more sines:

# %%
print(f"d = {d}, cut: {sines_and_cosines(cut_sinusoids(tf.constant([0]), d))}")
assert sines_and_cosines(cut_sinusoids(tf.constant([0]), d)) == (d // 2 + 1, d // 2 - 1)
