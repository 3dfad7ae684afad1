"""The networks that DDPM is taught with, against PyTorch's layers put together as lessons say."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.config.sizes import num_weights
from diffusion_tf.models import get_model
from diffusion_tf.models.tutorials import cut_sinusoids
from helpers.torch_networks import import_torch

PRESETS = ["s_curve_tutorial", "sprites_tutorial", "embeddings_tutorial"]
WEIGHTS = {"s_curve_tutorial": 72_066, "sprites_tutorial": 1_480_771, "embeddings_tutorial": 12_480}


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_and_their_names(preset):
    config = get_config(preset)
    model = get_model(config)
    assert model.count_params() == num_weights(config) == WEIGHTS[preset]
    assert len({v.path for v in model.variables}) == len(model.variables)
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()


def test_mixing_layers_add_their_weights():
    config = get_config("embeddings_tutorial", model="scale_shift_mixing")
    assert get_model(config).count_params() == num_weights(config) == 12_480 + 2 * 16 * 17


def test_cut_sinusoids_by_hand():
    # Four numbers: sines of t 1, t / 100 and t / 10000, then a cosine; two cosines are cut off.
    expected = [np.sin(7), np.sin(0.07), np.sin(0.0007), np.cos(7)]
    np.testing.assert_allclose(cut_sinusoids(tf.constant([7]), 4)[0], expected, rtol=1e-5)
    assert cut_sinusoids(tf.constant([0, 3]), 7).shape == (2, 7)


def test_no_condition_is_a_context_of_zeros():
    model = get_model(get_config("sprites_tutorial", ch=32))
    x, t = tf.random.stateless_normal([2, 16, 16, 3], [0, 1]), tf.constant([3, 499])
    none, zeros, other = (
        model([x, t, tf.fill([2, 5], value)]) for value in (float("nan"), 0.0, 1.0)
    )
    np.testing.assert_array_equal(none, zeros)
    assert np.abs(none - other).max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": "s_curve_tutorial", "cond_dim": 3}, "cond_dim is 3; it must be 0 for the"),
        ({"config": "s_curve_tutorial", "dropout": 0.1}, "dropout is 0.1; it must be 0 for the"),
        ({"config": "s_curve_tutorial", "model": "unet"}, "model is 'unet'; it must be mlp or"),
        (
            {"config": "sprites_tutorial", "num_classes": 2, "cond_dim": 0},
            "num_classes is 2; it must be 0 for",
        ),
        (
            {"config": "sprites_tutorial", "model_var_type": "learned_range", "loss_type": "kl"},
            "model_var_type is 'learned_range'; it must be a fixed variance",
        ),
        ({"config": "sprites_tutorial", "image_size": (16, 24)}, "Images are 16x24; this network"),
        ({"config": "sprites_tutorial", "image_size": 18}, "Images are 18x18; this network needs"),
        (
            {"config": "embeddings_tutorial", "cond_dim": 0, "cond_drop_prob": 0.0},
            "cond_dim is 0; it must be at least 4",
        ),
    ],
)
def test_what_they_do_not_have_is_refused(changes, message):
    name = changes.pop("config")
    with pytest.raises(ValueError, match=message):
        get_model(get_config(name, **changes))


def test_a_condition_is_asked_for():
    model = get_model(get_config("embeddings_tutorial"))
    with pytest.raises(ValueError, match=r"Call this network with \[x, t, y\]"):
        model([tf.zeros([1, 16]), tf.constant([0])])


def torch_of(name):
    """The same network of PyTorch's layers, as a lesson describes it; and a call on NumPy."""
    torch = import_torch()
    from torch import nn

    def two(in_dim, units):
        return nn.Sequential(nn.Linear(in_dim, units), nn.GELU(), nn.Linear(units, units))

    def conv(in_ch, filters):
        parts = [nn.Conv2d(in_ch, filters, 3, padding=1), nn.GroupNorm(8, filters), nn.GELU()]
        return nn.Sequential(*parts)

    class SCurve(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.ModuleList(nn.Linear(a, 128) for a in (2, 128, 128))
            self.tables = nn.ModuleList(nn.Embedding(100, 128) for _ in range(3))
            self.last, self.relu = nn.Linear(128, 2), nn.ReLU()

        def forward(self, x, t):
            for layer, table in zip(self.dense, self.tables, strict=True):
                x = self.relu(layer(x) + table(t))
            return self.last(x)

        def order(self):
            yield from zip(self.dense, self.tables, strict=True)
            yield (self.last,)

    class Sprites(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.ModuleList([conv(3, 64), conv(64, 64)])
            self.down0, self.down1 = (
                nn.Sequential(conv(a, b), conv(b, b), conv(b, b), conv(b, b), nn.MaxPool2d(2))
                for a, b in ((64, 64), (64, 128))
            )
            self.time = nn.ModuleList(two(1, n) for n in (128, 64))
            self.context = nn.ModuleList(two(5, n) for n in (128, 64))
            self.bottom = nn.ConvTranspose2d(128, 128, 4, 4)
            self.bottom_norm = nn.GroupNorm(8, 128)
            self.up = nn.ModuleList(
                nn.Sequential(nn.ConvTranspose2d(a, 64, 2, 2), *(conv(64, 64) for _ in range(4)))
                for a in (256, 128)
            )
            self.last = nn.Conv2d(128, 64, 3, padding=1)
            self.last_norm = nn.GroupNorm(8, 64)
            self.out, self.relu = nn.Conv2d(64, 3, 3, padding=1), nn.ReLU()

        def forward(self, x, t, y):
            x = x.permute(0, 3, 1, 2)
            time = (t.float() + 1)[:, None] / 500
            one = self.first[0](x)
            first = (one + self.first[1](one)) / 2**0.5
            down0 = self.down0(first)
            down1 = self.down1(down0)
            h = nn.functional.gelu(nn.functional.avg_pool2d(down1, 4))
            h = self.relu(self.bottom_norm(self.bottom(h)))
            for i, skip in enumerate((down1, down0)):
                context, shift = self.context[i](y), self.time[i](time)
                h = context[:, :, None, None] * h + shift[:, :, None, None]
                h = self.up[i](torch.cat([h, skip], 1))
            h = self.relu(self.last_norm(self.last(torch.cat([h, first], 1))))
            return self.out(h).permute(0, 2, 3, 1)

        def order(self):
            yield self.first, self.down0, self.down1
            yield self.time, self.context, self.bottom, self.bottom_norm, self.up
            yield self.last, self.last_norm, self.out

    class Embeddings(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = two(64, 64)
            self.scales = nn.ModuleList(nn.Linear(64, 32) for _ in range(2))

        def forward(self, x, t, y):
            half = 64 // 2 + 1
            angles = t.float()[:, None] * 10_000.0 ** (-torch.arange(half) / (half - 1))
            embedding = torch.cat([angles.sin(), angles.cos()], 1)[:, :64]
            embedding = nn.functional.silu(self.time(embedding) + y)
            for layer in self.scales:
                scale, shift = layer(embedding).chunk(2, 1)
                x = (scale + 1) * x + shift
            return x

        def order(self):
            yield self.time, self.scales

    torch.manual_seed(0)
    return {"s_curve": SCurve, "sprites": Sprites, "embeddings": Embeddings}[name]()


def parameters(network):
    """Weights in the order of Keras's, each as Keras lays it out."""
    for modules in network.order():
        for module in modules:
            for part in module.modules():
                kind = type(part).__name__
                own = [p.detach().numpy() for p in part.parameters(recurse=False)]
                if kind == "Linear":
                    own[0] = own[0].T
                elif kind in ("Conv2d", "ConvTranspose2d"):  # [out, in, ...] and [in, out, ...]
                    own[0] = own[0].transpose(2, 3, 1, 0)
                yield from own


def least_margin(network, inputs):
    """How near its inputs bring a network to where a gradient jumps.

    There rounding, which differs from processor to processor, decides: at 0 of a ReLU, and where
    the two largest of what is pooled are the same.
    """
    from torch import nn

    margins = [np.inf]

    def note(module, given, _):
        x = given[0].detach()
        if isinstance(module, nn.MaxPool2d):
            windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).sort(-1).values
            x = windows[..., 3] - windows[..., 2]
        margins.append(float(x.abs().min()))

    kinds = (nn.ReLU, nn.MaxPool2d)
    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, kinds)]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return min(margins)


def draw_inputs(config, network):
    """Inputs x, t and perhaps y at which rounding does not decide between two gradients."""
    torch = import_torch()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(3, *config.sample_shape)).astype(np.float32)
        y = [rng.normal(size=(3, config.cond_dim)).astype(np.float32)] if config.cond_dim else []
        inputs = [x, np.array([0, 42, 99]), *y]
        if least_margin(network, [*map(torch.tensor, inputs)]) > 1e-5:
            return inputs
    raise AssertionError("No seed of 100 keeps clear of all ReLUs and pools.")


@pytest.mark.extras
@pytest.mark.parametrize("name", ["s_curve", "sprites", "embeddings"])
def test_output_and_gradients_are_those_of_torch(name):
    torch = import_torch()
    config, theirs = get_config(f"{name}_tutorial"), torch_of(name)
    ours = get_model(config)
    values = list(parameters(theirs))
    assert [v.shape for v in ours.trainable_variables] == [v.shape for v in values]
    for variable, value in zip(ours.trainable_variables, values, strict=True):
        variable.assign(value)
    inputs = draw_inputs(config, theirs)
    weight = np.random.default_rng(0).normal(size=inputs[0].shape).astype(np.float32)
    with tf.GradientTape() as tape:
        output = ours([tf.constant(inputs[0]), tf.constant(inputs[1], tf.int32), *inputs[2:]])
        total = tf.reduce_sum(output * weight)
    gradients = tape.gradient(total, [v.value for v in ours.trainable_variables])
    expected = theirs(*map(torch.tensor, inputs))
    (expected * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(output, expected.detach().numpy(), rtol=1e-4, atol=2e-5)
    for module in theirs.modules():
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.grad
    for ours_, theirs_ in zip(gradients, parameters(theirs), strict=True):
        scale = np.abs(theirs_).max()
        np.testing.assert_allclose(
            tf.convert_to_tensor(ours_), theirs_, atol=2e-5 * scale, rtol=1e-3
        )
