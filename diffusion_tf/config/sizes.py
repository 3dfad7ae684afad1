"""What a config needs in memory, at least: counted before any of it is asked for.

The counts leave out what an implementation may save, so that nothing is refused that could run.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

from diffusion_tf.config.fields import Config
from diffusion_tf.utils.decays import as_tuple
from diffusion_tf.utils.image_sizes import shown_size, sides
from diffusion_tf.utils.literals import LEARNED
from diffusion_tf.utils.memory import amount, available_bytes

_FLOAT32 = 4  # bytes; weights and their averages are kept in it, whatever the network computes in
_COPIES = 3  # of the weights in training: themselves, two moments; and averages
_LARGEST_ACCELERATOR = 2**40  # bytes; none has as many
# Fields that make a network or a step large, and their smallest values.
_SMALLEST = {
    "ch": 32, "ch_mult": 1, "num_res_blocks": 1, "num_classes": 1, "cond_dim": 1, "data_dim": 1,
    "num_diffusion_timesteps": 1, "image_size": 1, "batch_size": 1,
}  # fmt: skip


def check_network_fits(config: Config, *, accelerators: int = 0) -> None:
    """Refuses a network whose weights alone cannot be held.

    Args:
        config: of the network.
        accelerators: number of GPUs or TPUs that would hold it; 0 where this machine's memory does.

    Raises:
        ValueError: names the field that makes it too large, and the largest value that fits.
    """
    _check(config, _weights_bytes, "its weights need", accelerators)


def check_training_fits(config: Config, *, workers: int = 1, accelerators: int = 0) -> None:
    """Refuses a training whose steps cannot be held.

    Args:
        config: of the run.
        workers: machines that share the batch.
        accelerators: see `check_network_fits`.

    Raises:
        ValueError: as `check_network_fits`.
    """

    def needed(c: SimpleNamespace) -> int:
        return training_bytes(c, workers=workers)

    _check(config, needed, "a training step needs", accelerators)


def training_bytes(config: Config | SimpleNamespace, *, workers: int = 1) -> int:
    """Memory that a training step needs on each of so many machines, at least."""
    examples = -(-config.batch_size // (config.accumulation_steps * workers))
    return state_bytes(config) + examples * (_example_bytes(config) + _kept_bytes(config))


def state_bytes(config: Config | SimpleNamespace) -> int:
    """Of weights, their averages and the moments of Adam: what a checkpoint holds."""
    return (_COPIES + len(as_tuple(config.ema_decay))) * _weights_bytes(config)


def num_weights(config: Config | SimpleNamespace) -> int:
    """Numbers in the weights of a config's network."""
    if config.model in _WEIGHTS_OF_TUTORIALS:
        return _WEIGHTS_OF_TUTORIALS[config.model](config)
    if config.data_dim:
        outputs = 2 if config.model_var_type in LEARNED else 1
        return _mlp_weights(config, config.data_dim * outputs)
    return unet_weights(**unet_of(config)) + _condition_weights(config, 4 * config.ch)


def unet_of(config: Config | SimpleNamespace) -> dict[str, Any]:
    """What a config says of its U-Net, without conditions: see `convert.architecture`."""
    levels, pixels = range(len(config.ch_mult)), config.block_size**2
    height = sides(config.image_size)[0] // config.block_size
    outputs = 2 if config.model_var_type in LEARNED else 1
    return {
        "in_channels": config.channels * pixels,
        "out_channels": config.channels * pixels * outputs,
        "ch": config.ch,
        "ch_mult": config.ch_mult,
        "num_res_blocks": config.num_res_blocks,
        "attention": tuple(i for i in levels if height >> i in config.attn_resolutions),
        "resamp_with_conv": config.resamp_with_conv or len(levels) == 1,
    }


def unet_weights(
    *,
    in_channels: int,
    out_channels: int,
    ch: int,
    ch_mult: Sequence[int],
    num_res_blocks: int,
    attention: Collection[int],
    resamp_with_conv: bool,
) -> int:
    """Numbers in the weights of an unconditional U-Net; see `models.unet`.

    Args:
        in_channels, out_channels: of the first and the last convolution.
        ch, ch_mult, num_res_blocks, resamp_with_conv: see `Config`.
        attention: numbers of the resolutions that have it.
    """
    emb, top, channels = 4 * ch, len(ch_mult) - 1, ch
    resample = _conv if resamp_with_conv else (lambda a, b: 0)
    total = _dense(ch, emb) + _dense(emb, emb) + _conv(in_channels, ch)
    skips = [ch]
    for level, mult in enumerate(ch_mult):
        for _ in range(num_res_blocks):
            total += _block(channels, ch * mult, emb) + _attention(ch * mult, level in attention)
            channels = ch * mult
            skips.append(channels)
        if level != top:
            total += resample(channels, channels)
            skips.append(channels)
    total += 2 * _block(channels, channels, emb) + _attention(channels, True)
    for level, mult in reversed(list(enumerate(ch_mult))):
        for _ in range(num_res_blocks + 1):
            total += _block(channels + skips.pop(), ch * mult, emb)
            total += _attention(ch * mult, level in attention)
            channels = ch * mult
        total += resample(channels, channels) if level else 0
    return total + 2 * channels + _conv(channels, out_channels)


def _mlp_weights(c: Config | SimpleNamespace, out_dim: int) -> int:
    ch = c.ch
    learned = c.time_embedding == "learned"
    time = c.num_diffusion_timesteps * ch if learned else _dense(ch // 4, ch) + _dense(ch, ch)
    blocks = c.num_res_blocks * (2 * _dense(ch, ch) + _dense(ch, 2 * ch))
    ends = _dense(c.data_dim, ch) + _dense(ch, out_dim)
    return time + blocks + ends + _condition_weights(c, ch)


def _table_mlp_weights(c: Config | SimpleNamespace) -> int:
    hidden = _dense(c.data_dim, c.ch) + 2 * _dense(c.ch, c.ch)
    return hidden + 3 * c.num_diffusion_timesteps * c.ch + _dense(c.ch, c.data_dim)


def _context_unet_weights(c: Config | SimpleNamespace) -> int:
    ch, side = c.ch, sides(c.image_size)[0] // 4

    def block(a: int, b: int) -> int:  # two convolutions, two norms
        return _conv(a, b) + _conv(b, b) + 4 * b

    def embedding(length: int) -> int:
        return sum(_dense(length, n) + _dense(n, n) for n in (2 * ch, ch))

    down = block(c.channels, ch) + 2 * block(ch, ch) + block(ch, 2 * ch) + block(2 * ch, 2 * ch)
    bottom = side**2 * (2 * ch) ** 2 + 2 * ch + 4 * ch
    up = sum(4 * a * ch + ch + 2 * block(ch, ch) for a in (4 * ch, 2 * ch))
    conditions = embedding(c.cond_dim) if c.cond_dim else 0
    end = _conv(2 * ch, ch) + 2 * ch + _conv(ch, c.channels)
    return down + embedding(1) + conditions + bottom + up + end


def _scale_shift_weights(c: Config | SimpleNamespace) -> int:
    mixing = 2 * _dense(c.data_dim, c.data_dim) if c.model == "scale_shift_mixing" else 0
    return 2 * _dense(c.cond_dim, c.cond_dim) + 2 * _dense(c.cond_dim, 2 * c.data_dim) + mixing


_WEIGHTS_OF_TUTORIALS = {
    "table_mlp": _table_mlp_weights,
    "context_unet": _context_unet_weights,
    "scale_shift": _scale_shift_weights,
    "scale_shift_mixing": _scale_shift_weights,
}


def _condition_weights(c: Config | SimpleNamespace, units: int) -> int:
    vectors = _dense(c.cond_dim, units) + _dense(units, units) if c.cond_dim else 0
    return c.num_classes * units + vectors


def _dense(a: int, b: int) -> int:
    return a * b + b


def _conv(a: int, b: int) -> int:
    return 9 * a * b + b


def _block(a: int, b: int, emb: int) -> int:
    shortcut = _dense(a, b) if a != b else 0
    return 2 * a + _conv(a, b) + _dense(emb, b) + 2 * b + _conv(b, b) + shortcut


def _attention(c: int, there: bool) -> int:
    return (2 * c + 4 * _dense(c, c)) * there


def _weights_bytes(c: Config | SimpleNamespace) -> int:
    return num_weights(c) * _FLOAT32


def _example_bytes(c: Config | SimpleNamespace) -> int:
    """Of an example and its noise."""
    return 2 * _FLOAT32 * (c.data_dim or math.prod(sides(c.image_size)) * c.channels)


def _kept_bytes(c: Config | SimpleNamespace) -> int:
    """Of what is kept of an example for the gradient: two maps in each residual block."""
    itemsize = _FLOAT32 if c.dtype == "float32" else 2
    if c.data_dim:
        return itemsize * 2 * c.num_res_blocks * c.ch
    height, width = (side // c.block_size for side in sides(c.image_size))
    maps = sum((height >> i) * (width >> i) * c.ch * m for i, m in enumerate(c.ch_mult))
    return itemsize * 2 * (2 * c.num_res_blocks + 1) * maps


def _check(
    config: Config, needed: Callable[[SimpleNamespace], int], what: str, accelerators: int
) -> None:
    fields = dataclasses.asdict(config)
    there = max(available_bytes(), accelerators * _LARGEST_ACCELERATOR)
    asked = needed(SimpleNamespace(**fields))
    if asked <= there:
        return

    def with_value(name: str, value: int) -> int:
        whole = (value,) * len(config.ch_mult) if name == "ch_mult" else value
        return needed(SimpleNamespace(**{**fields, name: whole}))

    names = [name for name in _SMALLEST if fields[name]]
    name = min(names, key=lambda name: with_value(name, _SMALLEST[name]))
    largest = _largest(lambda value: with_value(name, value) <= there, _SMALLEST[name])
    hint = f"at most {largest} fits" if largest else "not even the smallest value fits"
    value = shown_size(fields[name]) if name == "image_size" else fields[name]
    raise ValueError(
        f"{name} is {value}: {what} at least {amount(asked)} of memory, and"
        f" {amount(there)} are free; choose a smaller {name}, of which {hint} here."
    )


def _largest(fits: Callable[[int], bool], smallest: int) -> int:
    """The largest multiple of the smallest value that fits, 0 if none does."""
    low, high = 0, 1  # in multiples; `low` fits, `high` does not
    while fits(high * smallest):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * smallest) else (low, middle)
    return low * smallest
