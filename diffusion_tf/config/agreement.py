"""Which values of a config go together: of its data and its network."""

from typing import Any

from diffusion_tf.utils.image_sizes import shown_size, sides
from diffusion_tf.utils.literals import ModelName
from diffusion_tf.utils.numbers import INT32_MAX, shown

_VECTORS: tuple[ModelName, ...] = ("mlp", "table_mlp", "scale_shift", "scale_shift_mixing")
_IMAGES: tuple[ModelName, ...] = ("unet", "context_unet")


def check_agreement(config: Any) -> None:
    """Fields that only make sense together."""
    vectors = config.data_dim > 0
    require(
        config, "model", (config.model in _VECTORS) == vectors,
        f"{' or '.join(_VECTORS)} for vectors (data_dim > 0) and {' or '.join(_IMAGES)} for"
        " images (data_dim 0)",
    )  # fmt: skip
    require(config, "random_flip", not (config.random_flip and vectors), "false for vectors")
    by_loss = config.timestep_sampling == "by_loss"
    what = "false with timestep_sampling by_loss, which draws each timestep alone"
    require(config, "antithetic", not (config.antithetic and by_loss), what)
    falls = config.lr_decay_steps
    what = f"more than warmup, {config.warmup}, or 0"
    require(config, "lr_decay_steps", not falls or falls > config.warmup, what)
    require(
        config, "cond_dim", not (config.cond_dim and config.num_classes),
        "0 with num_classes: a condition is a label or a vector",
    )  # fmt: skip
    may_drop = config.conditional or bool(config.labels)
    require(
        config, "cond_drop_prob", may_drop or not config.cond_drop_prob,
        "0 for a network without conditions (num_classes and cond_dim are 0)",
    )  # fmt: skip
    require(
        config, "test_fraction", not (config.test_fraction and config.test_dir),
        "0 with test_dir, which holds the data for testing",
    )  # fmt: skip


def check_steps(config: Any) -> None:
    """The learning rate is not 0 before the last step; that is checked where a run is trained.

    Raises:
        ValueError: it is.
    """
    falls = config.lr_decay_steps
    if falls and falls < config.steps:
        raise ValueError(
            f"From step lr_decay_steps={shown(falls)} on the learning rate is 0, and steps is"
            f" {shown(config.steps)}: nothing would be learned. Set steps to {shown(falls)} or"
            " less, or train a new run with larger lr_decay_steps, or 0, with which it does not"
            " fall; warm_start can begin it from this one."
        )


def check_network(config: Any) -> None:
    """Sizes that the network can have."""
    if config.model not in ("unet", "mlp"):
        _check_tutorial(config)
    if config.data_dim:
        good = config.ch % 4 == 0 and config.ch >= 16
        require(config, "ch", good, "a multiple of 4, at least 16")
        require(config, "attn_resolutions", not config.attn_resolutions, "empty for vectors")
        return
    require(config, "channels", config.channels in (1, 3), "1 (grey images) or 3 (RGB)")
    require(config, "ch", config.ch % 32 == 0, "a multiple of 32")
    good = bool(config.ch_mult) and all(1 <= mult <= INT32_MAX for mult in config.ch_mult)
    require(config, "ch_mult", good, "one or more whole numbers, each at least 1")
    divisor = config.block_size * 2 ** (len(config.ch_mult) - 1)
    if any(side % divisor for side in sides(config.image_size)):
        return  # `UNet` says which sizes it can halve
    finest = sides(config.image_size)[0] // config.block_size
    heights = [finest >> level for level in range(len(config.ch_mult))]
    require(
        config, "attn_resolutions", set(config.attn_resolutions) <= set(heights),
        f"some of {', '.join(map(str, heights))}, the heights at the resolutions of this"
        " network (image_size, block_size, ch_mult), or empty",
    )  # fmt: skip


def _check_tutorial(config: Any) -> None:
    """What a tutorial's network does not have."""
    what = f"for the network {config.model}"
    require(config, "dropout", not config.dropout, f"0 {what}")
    require(config, "num_classes", not config.num_classes, f"0 {what}, which takes vectors")
    require(config, "model_var_type", not config.learns_variance, f"a fixed variance {what}")
    if config.model == "table_mlp":
        require(config, "cond_dim", not config.cond_dim, f"0 {what}, which takes no conditions")
    if config.model in ("scale_shift", "scale_shift_mixing"):
        require(config, "cond_dim", config.cond_dim >= 4, f"at least 4 {what}")


def require(config: Any, name: str, holds: bool, what: str) -> None:
    """Raises a ValueError that names a field and its value unless something holds.

    Args:
        config: of the field.
        name: of the field.
        holds: whether its value can be used.
        what: what it must be.
    """
    if not holds:
        value = getattr(config, name)
        text = shown_size(value) if name == "image_size" else shown(value)
        raise ValueError(f"{name} is {text}; it must be {what}.")
