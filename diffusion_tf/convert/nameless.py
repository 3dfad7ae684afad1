"""Names for weights that are a list in the order of a port's parameters, found by their shapes.

Moving averages are often kept so: `[parameter.clone() for parameter in model.parameters()]`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
_MAX_LEVELS = 10  # of which each may have attention or not


def names_in_order(shapes: Sequence[Shape]) -> list[str] | None:
    """The names of pesser/pytorch_diffusion and ermongroup/ddim for tensors without names.

    Two orders are known: that of the port's `Model.parameters()`, and that of the state dict which
    is written here. No network has the same shapes in both.

    Args:
        shapes: of all tensors, in their order.

    Returns:
        A name for each; None where the shapes are of no such network.
    """
    there = list(shapes)
    for network in _candidates(there):
        for names in (network.in_order_of_port(), network.in_order_of_here()):
            if list(names.values()) == there:
                return list(names)
    return None


@dataclass(frozen=True)
class _Network:
    """What shapes tell of a network: channels, those of each level, blocks, attention."""

    in_ch: int
    out_ch: int
    ch: int
    widths: Sequence[int]
    num_res_blocks: int
    attends: Sequence[bool]

    def in_order_of_port(self) -> Shapes:
        """Names and shapes as the port's modules have them: attention behind all blocks."""
        levels = [blocks | attns | resample for blocks, attns, resample in self._levels()]
        return self._whole(levels)

    def in_order_of_here(self) -> Shapes:
        """Names and shapes as they are computed: attention behind each block."""
        levels = []
        for blocks, attns, resample in self._levels():
            per_attn = 10  # weight and bias of norm, q, k, v, proj_out
            groups: list[Shapes] = []
            for name, shape in blocks.items():
                if name.endswith("norm1.weight"):
                    groups.append({})
                groups[-1][name] = shape
            names = list(attns)
            for i, group in enumerate(groups):
                group |= {name: attns[name] for name in names[per_attn * i : per_attn * (i + 1)]}
            levels.append({k: v for group in [*groups, resample] for k, v in group.items()})
        number = len(self.widths)
        return self._whole([*levels[:number], *levels[: number - 1 : -1]])

    def _whole(self, levels: Sequence[Shapes]) -> Shapes:
        ch, number = self.ch, len(self.widths)
        down, up = levels[:number], levels[number:]
        top = self.widths[-1]
        parts = [
            _layer("temb.dense.0", 4 * ch, ch) | _layer("temb.dense.1", 4 * ch, 4 * ch),
            _layer("conv_in", ch, self.in_ch, 3, 3),
            *down,
            _block("mid.block_1", top, top, 4 * ch),
            _attention("mid.attn_1", top),
            _block("mid.block_2", top, top, 4 * ch),
            *up,
            _layer("norm_out", self.widths[0]),
            _layer("conv_out", self.out_ch, self.widths[0], 3, 3),
        ]
        return {name: shape for part in parts for name, shape in part.items()}

    def _levels(self) -> Iterator[tuple[Shapes, Shapes, Shapes]]:
        """Blocks, attention and resampling: of the way down, then of the way up, finest first."""
        skips, last = [self.ch], len(self.widths) - 1
        for level, width in enumerate(self.widths):
            ins = [skips[-1], *[width] * (self.num_res_blocks - 1)]
            skips += [width] * (self.num_res_blocks + (level < last))
            yield self._level(f"down.{level}", ins, "downsample" if level < last else "")
        ups, x = [], self.widths[-1]
        for level, width in reversed(list(enumerate(self.widths))):
            ins = [ch + skips.pop() for ch in [x, *[width] * self.num_res_blocks]]
            ups.append(self._level(f"up.{level}", ins, "upsample" if level else ""))
            x = width
        yield from reversed(ups)

    def _level(self, name: str, ins: Sequence[int], resample: str) -> tuple[Shapes, Shapes, Shapes]:
        level = int(name.split(".")[1])
        width, blocks, attns = self.widths[level], Shapes(), Shapes()
        for j, in_ch in enumerate(ins):
            blocks |= _block(f"{name}.block.{j}", in_ch, width, 4 * self.ch)
            attns |= _attention(f"{name}.attn.{j}", width) if self.attends[level] else {}
        conv = _layer(f"{name}.{resample}.conv", width, width, 3, 3) if resample else {}
        return blocks, attns, conv


def _candidates(shapes: Sequence[Shape]) -> Iterator[_Network]:
    """Networks that have as many layers of each kind, with attention at all or some levels."""
    matrices = [shape for shape in shapes if len(shape) == 2]  # of the time's embedding
    convs = [shape for shape in shapes if len(shape) == 4]
    blocks = len(matrices) - 2  # of which each has one
    resamples = sum(shape[2:] == (3, 3) for shape in convs) - 2 - 2 * blocks
    levels = resamples // 2 + 1
    if blocks < 5 or not 1 <= levels <= _MAX_LEVELS:
        return
    num_res_blocks = (blocks - levels - 2) // (2 * levels)
    if num_res_blocks < 1:
        return
    widths = [shape[0] for shape in matrices[2 : 2 + levels * num_res_blocks : num_res_blocks]]
    for attends in itertools.product((False, True), repeat=levels):
        yield _Network(convs[0][1], convs[-1][0], matrices[0][1], widths, num_res_blocks, attends)


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _block(name: str, in_ch: int, out_ch: int, temb_ch: int) -> Shapes:
    return (
        _layer(f"{name}.norm1", in_ch)
        | _layer(f"{name}.conv1", out_ch, in_ch, 3, 3)
        | _layer(f"{name}.temb_proj", out_ch, temb_ch)
        | _layer(f"{name}.norm2", out_ch)
        | _layer(f"{name}.conv2", out_ch, out_ch, 3, 3)
        | (_layer(f"{name}.nin_shortcut", out_ch, in_ch, 1, 1) if in_ch != out_ch else {})
    )


def _attention(name: str, ch: int) -> Shapes:
    layers = [_layer(f"{name}.{part}", ch, ch, 1, 1) for part in ("q", "k", "v", "proj_out")]
    norm = _layer(f"{name}.norm", ch)
    return {name: shape for layer in [norm, *layers] for name, shape in layer.items()}
