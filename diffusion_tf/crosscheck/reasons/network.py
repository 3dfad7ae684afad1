"""What networks do differently, one row each, in the order in which it shows."""

import dataclasses

from diffusion_tf.crosscheck.reasons.reason import Reason

_TIME = "Ho et al. 2020, appendix B: the sinusoids of Vaswani et al. 2017, section 3.5"
_CONV = "Ho et al. 2020, appendix B: convolutions of 3x3, zeros around the image"
_NORM = "Wu & He 2018, eq. 1 and 2: (x - mean) / sqrt(variance + epsilon), in 32 groups"
_SWISH = "Ho et al. 2020, appendix B: swish, x sigmoid(x), in every place"
_BLOCK = "Ho et al. 2020, appendix B: conv(swish(norm(conv(swish(norm(x))) + temb))) + x"
_ATTENTION = "Vaswani et al. 2017, eq. 1: softmax(q k^T / sqrt(channels)) v, one head, plus x"
_RESAMPLING = (
    "Ho et al. 2020, appendix B: convolutions with stride 2, padded below and on the right"
)
_UP = "Ho et al. 2020, appendix B: pixels repeated, then a convolution"
_OUTPUT = "Ho et al. 2020, appendix B: conv(swish(norm(h)))"
_SKIPS = "Ho et al. 2020, appendix B: what comes from below, then what the way down left"
_NORMED = ("attention", "output")
_CONVS = ("block", "downsample", "upsample", "output")

WEIGHTS = (
    Reason("raw weights on one side, averaged ones on the other", "weights",
           {"other_weights": True}, "Ho et al. 2020, appendix B: an average with decay 0.9999",
           ("sinusoids", "temb", "conv_in", "block", "output"), True),
)  # fmt: skip
SINUSOIDS = tuple(
    Reason(name, "sinusoids", put, _TIME)
    for name, put in {
        "cosines before sines in the time embedding": {"cos_first": True},
        "frequencies of the time embedding divided by half instead of half - 1": {
            "frequencies": "half"
        },
        "frequencies of the time embedding starting at the second, divided by half": {
            "frequencies": "half + 1"
        },
        "sines and cosines of the time embedding interleaved instead of one after the other": {
            "interleaved": True
        },
        "frequencies of the time embedding falling twice as fast": {"frequencies": "pairs"},
        "t counted from 1 in the time embedding": {"t_offset": 1},
        "t counted from -1 in the time embedding": {"t_offset": -1},
        "t / T instead of t in the time embedding": {"t_scale": "1 / T"},
        "t scaled to 1000 in the time embedding": {"t_scale": "1000 / T"},
        "1000 t instead of t in the time embedding": {"t_scale": "1000"},
        "2 pi t instead of t in the time embedding": {"t_scale": "2 pi"},
        "log(t + 1) instead of t in the time embedding": {"t_log": True},
        **{
            f"frequencies of the time embedding down to 1/{period:.0f} instead of 1/10000": {
                "max_period": period
            }
            for period in (100.0, 1000.0, 100_000.0)
        },
    }.items()
)
_NAMES = {
    "relu": "ReLU", "gelu": "GELU", "gelu_tanh": "GELU by its tanh formula", "mish": "Mish",
    "elu": "ELU", "leaky_relu": "leaky ReLU", "none": "no activation", "swish twice": "swish twice",
}  # fmt: skip
ACTIVATIONS = tuple(
    Reason(f"{name} instead of swish", "temb", {"activation": key}, _SWISH, ("block", "output"))
    for key, name in _NAMES.items()
)
TEMB = (
    Reason("swish after the last layer of the time embedding, too", "temb",
           {"temb_last_activation": True}, "Ho et al. 2020, appendix B: dense(swish(dense(.)))"),
    *(
        Reason(f"{name} instead of swish on the time embedding in the blocks", "block",
               {"temb_activation": key}, _SWISH)
        for key, name in _NAMES.items()
    ),
)  # fmt: skip
CONVOLUTIONS = (
    Reason("images in [0, 1] into the network instead of [-1, 1]", "conv_in",
           {"input_scale": (0.5, 0.5)}, "Ho et al. 2020, section 3.3: pixels in [-1, 1]"),
    Reason("images scaled by 2x - 1 once more on their way into the network", "conv_in",
           {"input_scale": (2.0, -1.0)}, "Ho et al. 2020, section 3.3: pixels in [-1, 1]"),
    *(
        Reason(name, "conv_in", put, _CONV, _CONVS)
        for name, put in {
            "kernels with height and width exchanged": {"kernel": "transposed"},
            "kernels turned by 180 degrees, a convolution proper": {"kernel": "flipped"},
            "kernels turned by 90 degrees": {"kernel": "turned"},
            "reflected pixels around the image instead of zeros": {"padding": "REFLECT"},
            "pixels from the other end around the image instead of zeros": {"padding": "circular"},
            "the outermost pixels repeated around the image instead of zeros": {"padding": "edge"},
        }.items()
    ),
    Reason("no biases", "temb", {"bias": False}, _CONV, ("conv_in", "block", "attention",
           "downsample", "upsample", "output")),
    Reason("square matrices transposed", "temb", {"matrix_transposed": True},
           "A dense layer is x W + b", ("block", "attention")),
)  # fmt: skip
NORMS = (
    *(
        Reason(f"group normalization with epsilon {name} instead of 1e-6", "block",
               {"group_norm_epsilon": float(name)}, _NORM, _NORMED)
        for name in ("1e-5", "1e-3", "1e-4", "1e-2", "1e-7", "1e-8", "1e-12", "0")
    ),
    *(
        Reason(f"group normalization in {number} groups instead of 32", "block",
               {"norm_groups": number}, _NORM, _NORMED)
        for number in (8, 16, 4, 2, 64)
    ),
    *(
        Reason(name, "block", put, _NORM, _NORMED)
        for name, put in {
            "epsilon beside the root in the normalization instead of under it": {
                "epsilon_outside": True
            },
            "the variance of the normalization divided by n - 1 instead of n": {
                "norm_unbiased": True
            },
            "groups of every 32nd channel instead of neighbours": {"norm_interleaved": True},
            "normalization of all channels at once (one group)": {"norm": "layer"},
            "normalization over the channels of each pixel": {"norm": "pixel"},
            "no normalization, only its scale and shift": {"norm": "none"},
            "normalization without its scale": {"norm": "not scaled"},
            "normalization without its shift": {"norm": "not shifted"},
            "instance normalization, each channel by itself": {"norm_groups": 1 << 20},
            "the activation before the normalization": {"activation_first": True},
        }.items()
    ),
)  # fmt: skip
BLOCKS = (
    *(
        Reason(f"the time embedding added {name} instead of before the second normalization",
               "block", {"temb_at": at}, _BLOCK)
        for name, at in {
            "after the second normalization": "after norm2",
            "before the second convolution": "before conv2",
            "after the second convolution": "after conv2",
            "twice": "twice",
        }.items()
    ),
    Reason("the time embedding as a factor, 1 + temb, instead of added", "block",
           {"temb_at": "as a factor"}, _BLOCK),
    Reason("the time embedding as a factor after the second normalization", "block",
           {"temb_at": "as a factor after norm2"}, _BLOCK),
    Reason("no time embedding in the blocks", "block", {"temb_at": "nowhere"}, _BLOCK),
    Reason("the time embedding subtracted", "block", {"temb_sign": -1.0}, _BLOCK),
    *(
        Reason(f"{name} instead of swish before the {which} convolution", "block",
               {f"{which}_activation": key}, _SWISH)
        for which in ("first", "second")
        for key, name in _NAMES.items()
    ),
    Reason("the result of residual blocks divided by sqrt(2)", "block",
           {"residual_scale": 2**-0.5}, _BLOCK, ("attention",)),
    Reason("the result of residual blocks halved", "block", {"residual_scale": 0.5}, _BLOCK,
           ("attention",)),
    Reason("blocks without their residual", "block", {"residual": "none", "shortcut_of": "none"},
           _BLOCK),
    Reason("blocks without residual where the number of channels stays", "block",
           {"residual": "none"}, _BLOCK),
    Reason("the residual of a block taken after its normalization", "block",
           {"residual": "normed", "shortcut_of": "normed"}, _BLOCK),
    Reason("the residual of a block taken after its first activation", "block",
           {"residual": "activated", "shortcut_of": "activated"}, _BLOCK),
    Reason("the shortcut of a block taken after its normalization", "block",
           {"shortcut_of": "normed"}, _BLOCK),
    Reason("the shortcut of a block taken after its first activation", "block",
           {"shortcut_of": "activated"}, _BLOCK),
    Reason("no shortcut where the number of channels changes", "block", {"shortcut_of": "none"},
           _BLOCK),
    Reason("what the way down left before what comes from below", "block", {"skip_first": True},
           _SKIPS),
    Reason("skips divided by sqrt(2)", "block", {"skip_scale": 2**-0.5}, _SKIPS),
    Reason("skips left out, zeros in their place", "block", {"skip_scale": 0.0}, _SKIPS),
)  # fmt: skip
ATTENTION = (
    *(
        Reason(f"attention in heads of {dim} channels instead of one head", "attention",
               {"attention_head_dim": dim}, _ATTENTION)
        for dim in (8, 64, 32, 16)
    ),
    *(
        Reason(f"attention in {number} heads instead of one", "attention", {"heads": number},
               _ATTENTION)
        for number in (2, 4, 8)
    ),
    *(
        Reason(name, "attention", put, _ATTENTION)
        for name, put in {
            "no scale in the attention": {"attention_scale": "none"},
            "attention scaled by 1 / channels instead of their root": {
                "attention_scale": "channels"
            },
            "attention scaled by the root of the number of pixels": {
                "attention_scale": "root of pixels"
            },
            "attention scaled by the fourth root of the channels": {
                "attention_scale": "fourth root"
            },
            "attention multiplied by the root of the channels": {"attention_scale": "times root"},
            "attention without normalization": {"attention_norm": False},
            "attention without its residual": {"residual": "none"},
            "the residual of the attention taken after its normalization": {"residual": "normed"},
            "softmax over queries instead of keys": {"softmax_over": "queries"},
            "no softmax in the attention": {"softmax_over": "nothing"},
            "attention between channels instead of pixels": {"softmax_over": "channels"},
            "queries and keys exchanged in the attention": {"attention_of": "kqv"},
            "queries and values exchanged in the attention": {"attention_of": "vkq"},
            "keys and values exchanged in the attention": {"attention_of": "qvk"},
            "attention without its last projection": {"attention_projection": False},
            "pixels out of the attention in the order of columns": {"attention_columns": True},
        }.items()
    ),
)  # fmt: skip
RESAMPLING = (
    *(
        Reason(name, "downsample", {"downsample": how}, _RESAMPLING)
        for name, how in {
            "stride-2 convolutions padded on all sides instead of bottom and right": "all sides",
            "average pooling, then a convolution, instead of one with stride 2": "pool then conv",
            "a convolution, then average pooling, instead of one with stride 2": "conv then pool",
            "maximum pooling, then a convolution, instead of one with stride 2": (
                "max pool then conv"
            ),
            "a convolution, then maximum pooling, instead of one with stride 2": (
                "conv then max pool"
            ),
            "every second pixel, then a convolution, instead of one with stride 2": (
                "nearest then conv"
            ),
        }.items()
    ),
    *(
        Reason(name, "upsample", {"upsample": how}, _UP)
        for name, how in {
            "bilinear interpolation instead of repeated pixels": "bilinear",
            "bilinear interpolation with aligned corners instead of repeated pixels": (
                "bilinear, corners aligned"
            ),
            "bicubic interpolation instead of repeated pixels": "bicubic",
            "the convolution before the pixels are repeated": "conv then nearest",
            "zeros between the pixels instead of repeated ones": "zeros between",
        }.items()
    ),
)
OUTPUT = tuple(
    Reason(name, "output", {"output": how}, _OUTPUT)
    for name, how in {
        "tanh after the network": "tanh",
        "the network's output clipped to [-1, 1]": "clipped",
        "x minus the output instead of the output": "x - output",
        "x added to the output": "x + output",
    }.items()
)
# What is tried two at a time whatever comes of each alone.
_COMMON = (
    {"group_norm_epsilon": 1e-5}, {"norm_groups": 8}, {"norm_groups": 16}, {"norm": "layer"},
    {"activation": "relu"}, {"activation": "gelu"}, {"first_activation": "relu"},
    {"second_activation": "relu"}, {"temb_activation": "none"}, {"temb_activation": "swish twice"},
    {"temb_at": "before conv2"}, {"temb_at": "after conv2"}, {"residual_scale": 2**-0.5},
    {"skip_first": True}, {"skip_scale": 2**-0.5}, {"activation_first": True},
    {"padding": "REFLECT"}, {"kernel": "transposed"}, {"heads": 4}, {"attention_head_dim": 8},
    {"attention_scale": "none"}, {"attention_scale": "channels"}, {"residual": "none"},
    {"softmax_over": "queries"}, {"attention_norm": False}, {"downsample": "all sides"},
    {"upsample": "bilinear"}, {"upsample": "conv then nearest"},
)  # fmt: skip
IN_NETWORK = tuple(
    dataclasses.replace(reason, common=dict(reason.put) in _COMMON)
    for reason in (
        *SINUSOIDS, *ACTIVATIONS, *TEMB, *CONVOLUTIONS, *NORMS, *BLOCKS, *ATTENTION, *RESAMPLING,
        *OUTPUT,
    )
)  # fmt: skip
