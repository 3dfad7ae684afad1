# %% [markdown]
# # 5. Points on an S, from scratch
#
# Now a network has to learn the guess. Everything is here in the open: the data, a small network, the loss,
# and Algorithms 1 and 2, with the package's process for the coefficients alone.

# %%
import matplotlib.pyplot as plt
import tensorflow as tf
from diffusion_tf import GaussianDiffusion, get_beta_schedule
from diffusion_tf.datasets.points import s_curve
from scipy.spatial.distance import cdist
from tensorflow import keras

T = 100
betas = get_beta_schedule("sigmoid", beta_start=1e-5, beta_end=0.04, num_diffusion_timesteps=T)
diffusion = GaussianDiffusion(betas=betas, model_var_type="fixedsmall")
points = s_curve(10_000, seed=0)
print(f"data: {points.shape}, deviation {points.std(axis=0).round(3)}")
print(f"at the end {diffusion.alphas_cumprod[-1]:.3f} of the signal's variance is left")

# %% [markdown]
# A table of numbers for each t, added to the hidden layers, tells the network how much noise there is.

# %%
keras.utils.set_random_seed(0)


class Network(keras.Model):
    def __init__(self, width=128):
        super().__init__()
        # With biases of 0 all units would bend at the origin, about which the points are.
        spread = keras.initializers.RandomUniform(-1.0, 1.0)
        self.hidden = [
            keras.layers.Dense(
                width, "linear", kernel_initializer="he_normal", bias_initializer=spread
            )
            for _ in range(3)
        ]
        self.tables = [keras.layers.Embedding(T, width) for _ in range(3)]
        self.out = keras.layers.Dense(2)

    def call(self, inputs):
        x, t = inputs
        for layer, table in zip(self.hidden, self.tables):
            x = tf.nn.silu(layer(x) + table(t))
        return self.out(x)


network = Network()
average = Network()
for each in (network, average):
    each([tf.zeros([1, 2]), tf.zeros([1], tf.int32)])
average.set_weights(network.get_weights())
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, 8000))
optimizer.build(network.trainable_variables)

# %% [markdown]
# Algorithm 1, a thousand steps to a call:

# %%
data = tf.constant(points)


@tf.function(jit_compile=True)
def train(number, seed):
    def step(i, total):
        rows, t, noise = (tf.random.split(tf.stack([seed, i]), 3)[k] for k in range(3))
        x_0 = tf.gather(data, tf.random.stateless_uniform([256], rows, 0, 10_000, tf.int32))
        t = tf.random.stateless_uniform([256], t, 0, T, tf.int32)
        eps = tf.random.stateless_normal([256, 2], noise)
        with tf.GradientTape() as tape:
            x_t = diffusion.q_sample(x_0, t, noise=eps)
            loss = tf.reduce_mean((eps - network([x_t, t])) ** 2)  # eq. 14
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        for slow, fast in zip(average.trainable_variables, network.trainable_variables):
            slow.assign(slow + 0.002 * (fast - slow))
        return i + 1, total + loss

    _, total = tf.while_loop(lambda i, _: i < number, step, (0, 0.0))
    return total / tf.cast(number, tf.float32)


losses = [float(train(tf.constant(500), tf.constant(i))) for i in range(16)]
print("mean loss of every 500 steps:", " ".join(f"{loss:.3f}" for loss in losses))

# %% [markdown]
# Algorithm 2 gives new points. The energy distance says how far two sets of points are from being drawn
# alike; that of two fresh sets of real points is what chance alone leaves.

# %%
draw = tf.function(
    lambda: diffusion.p_sample_loop(
        lambda x, t: average([x, t]), shape=(2000, 2), seed=0, clip_denoised=False
    ),
    jit_compile=True,
)
samples = draw().numpy()


def energy(a, b):
    return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()


fresh, other = s_curve(2000, seed=1), s_curve(2000, seed=2)
ours, chance = energy(samples, fresh), energy(other, fresh)
print(f"energy distance {ours:.2e}; of two sets of real points {chance:.2e}")
assert ours < 0.002

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 3.2), layout="constrained")
for axis, shown, title in zip(axes, (fresh, samples), ("real", "samples")):
    axis.plot(*shown.T, ".", markersize=1.5)
    axis.set(xlim=(-0.2, 0.2), ylim=(-0.3, 0.3), aspect="equal", title=title)
figure.savefig("05_s_curve.png", dpi=100)

# %% [markdown]
# ![Real points and samples](05_s_curve.png)
#
# `python scripts/train.py --config=s_curve` does the same with a checkpoint, a loss curve, an animation and
# a run that can be resumed; `--config=s_curve_tutorial` has the network and the numbers that lessons use.
