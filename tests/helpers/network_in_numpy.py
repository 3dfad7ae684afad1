"""The network of the paper in NumPy, NHWC, from weights by the original's names: slow and plain."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


def dense(w, name, x):
    return x @ w[f"{name}/W"] + w[f"{name}/b"]


def conv(w, name, x, stride=1):
    kernel = w[f"{name}/W"]
    _, height, width, _ = x.shape
    pad = (1, 1) if stride == 1 else (0, 1)
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    total = sum(
        x[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )
    return total + w[f"{name}/b"]


def norm(w, name, x):
    batch, height, width, channels = x.shape
    groups = x.reshape(batch, height * width, 32, channels // 32)
    mean = groups.mean(axis=(1, 3), keepdims=True)
    variance = groups.var(axis=(1, 3), keepdims=True)
    x = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    return x * w[f"{name}/gamma"] + w[f"{name}/beta"]


def block(w, name, x, temb):
    h = conv(w, f"{name}/conv1", swish(norm(w, f"{name}/norm1", x)))
    h = h + dense(w, f"{name}/temb_proj", swish(temb))[:, None, None]
    h = conv(w, f"{name}/conv2", swish(norm(w, f"{name}/norm2", h)))
    if f"{name}/nin_shortcut/W" in w:
        x = dense(w, f"{name}/nin_shortcut", x)
    return x + h


def attention(w, name, x):
    batch, _, _, channels = x.shape
    h = norm(w, f"{name}/norm", x).reshape(batch, -1, channels)
    q, k, v = (dense(w, f"{name}/{part}", h) for part in "qkv")
    scores = q @ np.swapaxes(k, 1, 2) / np.sqrt(channels)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    h = scores / scores.sum(axis=-1, keepdims=True) @ v
    return x + dense(w, f"{name}/proj_out", h).reshape(x.shape)


def network_stages(w, x, t, config):
    """Every stage of the network, by its name."""
    w = {name.removeprefix("model/"): np.float64(value) for name, value in w.items()}
    half, levels = config.ch // 2, len(config.ch_mult)
    stages = {}

    def keep(name, value):
        stages[name] = value
        return value

    def run(scope, i, h, temb):
        h = keep(f"{scope}/block_{i}", block(w, f"{scope}/block_{i}", h, temb))
        if f"{scope}/attn_{i}/q/W" in w:
            h = keep(f"{scope}/attn_{i}", attention(w, f"{scope}/attn_{i}", h))
        return h

    angles = t[:, None] * np.exp(-np.log(10000) * np.arange(half) / (half - 1))
    temb = keep("sinusoids", np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
    temb = keep("temb", dense(w, "temb/dense1", swish(dense(w, "temb/dense0", temb))))
    hs = [keep("conv_in", conv(w, "conv_in", x))]
    for level in range(levels):
        for i in range(config.num_res_blocks):
            hs.append(run(f"down_{level}", i, hs[-1], temb))
        if level < levels - 1:
            name = f"down_{level}/downsample"
            hs.append(keep(name, conv(w, f"{name}/conv", hs[-1], stride=2)))
    h = run("mid", 1, hs[-1], temb)
    h = run("mid", 2, h, temb)
    for level in reversed(range(levels)):
        for i in range(config.num_res_blocks + 1):
            h = run(f"up_{level}", i, np.concatenate([h, hs.pop()], axis=-1), temb)
        if level:
            name = f"up_{level}/upsample"
            h = keep(name, conv(w, f"{name}/conv", h.repeat(2, axis=1).repeat(2, axis=2)))
    keep("output", conv(w, "conv_out", swish(norm(w, "norm_out", h))))
    return stages
