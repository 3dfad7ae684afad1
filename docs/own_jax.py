"""An example for `scripts/crosscheck.py --module` in JAX: the paper's network in plain functions.

python scripts/crosscheck.py --module=docs/own_jax.py:Network --ch=64 --ch_mult=1,2
"""

import jax
import jax.numpy as jnp

from diffusion_tf.convert.maps import weights_of


def dense(w, name, x):
    return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]


def conv(w, name, x, stride=1):
    """3x3; with stride 2 padded below and on the right."""
    pad = (1, 1) if stride == 1 else (0, 1)
    h = jax.lax.conv_general_dilated(
        x, w[f"{name}/kernel"], (stride, stride), (pad, pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return h + w[f"{name}/bias"]


def norm(w, name, x):
    batch, height, width, channels = x.shape
    groups = x.reshape(batch, height * width, 32, channels // 32)
    mean = groups.mean(axis=(1, 3), keepdims=True)
    variance = groups.var(axis=(1, 3), keepdims=True)
    x = ((groups - mean) * jax.lax.rsqrt(variance + 1e-6)).reshape(x.shape)
    return x * w[f"{name}/gamma"] + w[f"{name}/beta"]


def block(w, name, x, temb):
    h = conv(w, f"{name}/conv1", jax.nn.silu(norm(w, f"{name}/norm1", x)))
    h = h + dense(w, f"{name}/temb_proj", jax.nn.silu(temb))[:, None, None]
    h = conv(w, f"{name}/conv2", jax.nn.silu(norm(w, f"{name}/norm2", h)))
    if f"{name}/nin_shortcut/kernel" in w:
        x = dense(w, f"{name}/nin_shortcut", x)
    return x + h


def attention(w, name, x):
    batch, channels = x.shape[0], x.shape[-1]
    h = norm(w, f"{name}/norm", x).reshape(batch, -1, channels)
    q, k, v = (dense(w, f"{name}/{part}", h) for part in "qkv")
    weights = jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2) / jnp.sqrt(channels))
    return x + dense(w, f"{name}/proj_out", weights @ v).reshape(x.shape)


def sinusoids(t, ch):
    half = ch // 2
    frequencies = jnp.exp(-jnp.log(10000) * jnp.arange(half) / (half - 1))
    angles = t[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def unet(w, x, t, config):
    """All stages of the network by this project's names; the last one is `output`."""
    stages = {}

    def keep(name, value):
        stages[name] = value
        return value

    def run(scope, i, h):
        h = keep(f"{scope}/block_{i}", block(w, f"{scope}/block_{i}", h, temb))
        if f"{scope}/attn_{i}/q/kernel" in w:
            h = keep(f"{scope}/attn_{i}", attention(w, f"{scope}/attn_{i}", h))
        return h

    temb = dense(w, "temb/dense0", keep("sinusoids", sinusoids(t, config.ch)))
    temb = keep("temb", dense(w, "temb/dense1", jax.nn.silu(temb)))
    hs, top = [keep("conv_in", conv(w, "conv_in", x))], len(config.ch_mult) - 1
    for level in range(top + 1):
        for i in range(config.num_res_blocks):
            hs.append(run(f"down_{level}", i, hs[-1]))
        if level < top:
            name = f"down_{level}/downsample"
            hs.append(keep(name, conv(w, f"{name}/conv", hs[-1], stride=2)))
    h = run("mid", 2, run("mid", 1, hs[-1]))
    for level in reversed(range(top + 1)):
        for i in range(config.num_res_blocks + 1):
            h = run(f"up_{level}", i, jnp.concatenate([h, hs.pop()], axis=-1))
        if level:
            name = f"up_{level}/upsample"
            h = keep(name, conv(w, f"{name}/conv", h.repeat(2, axis=1).repeat(2, axis=2)))
    keep("output", conv(w, "conv_out", jax.nn.silu(norm(w, "norm_out", h))))
    return stages


class Function:
    """What is compared: the output, the stages on the way to it, and the gradient by x."""

    def __init__(self, config):
        def loss(weights, x, t, target):
            return jnp.square(unet(weights, x, t, config)["output"] - target).mean()

        self.weights = {}
        self._stages = jax.jit(lambda weights, x, t: unet(weights, x, t, config))
        self._gradient = jax.jit(jax.grad(loss, argnums=1))

    def __call__(self, x, t):
        return self._stages(self.weights, x, t)["output"]

    def stages(self, x, t):
        return self._stages(self.weights, x, t)

    def gradient(self, x, t, target):
        return self._gradient(self.weights, x, t, target)


class Network:
    """An adapter of arrays; jax.Array and NumPy's are both taken."""

    layout = "NHWC"

    def __init__(self, config):
        self.network = Function(config)

    def load_weights(self, unet):
        self.network.weights = {name: jnp.asarray(v) for name, v in weights_of(unet).items()}
