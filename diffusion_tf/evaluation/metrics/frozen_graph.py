"""Frozen graphs from elsewhere: they may compute, and nothing else.

TensorFlow has operations that read and write files, open connections and run code. A graph is
looked through, its functions included, before any of it is imported.
"""

import math
from collections.abc import Iterable, Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError

from diffusion_tf.utils.numbers import shown

MAX_CONSTANTS = 2**30  # bytes of all constants together; the Inception network has 95 MB
# What the network of 2015 is made of, and what tools that rewrite such graphs put into its place.
OPERATIONS = {
    "Const", "Identity", "NoOp", "Placeholder", "PlaceholderV2", "PlaceholderWithDefault",
    "CheckNumerics", "StopGradient", "Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul",
    "BatchMatMulV2", "BiasAdd", "BiasAddV1", "MaxPool", "MaxPoolV2", "AvgPool", "LRN", "Relu",
    "Relu6", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "BatchNormWithGlobalNormalization",
    "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Concat", "ConcatV2", "Pack",
    "Unpack", "Split", "SplitV", "Pad", "PadV2", "ResizeBilinear", "ResizeNearestNeighbor",
    "ResizeBicubic", "Add", "AddN", "AddV2", "Sub", "Mul", "Div", "RealDiv", "Maximum", "Minimum",
    "Neg", "Inv", "Reciprocal", "Abs", "Pow", "Exp", "Log", "Square", "SquaredDifference", "Sqrt",
    "Rsqrt", "Mean", "Sum", "Max", "Min", "Prod", "Cast", "Shape", "Rank", "Size", "Reshape",
    "Squeeze", "ExpandDims", "Transpose", "Slice", "StridedSlice", "Gather", "GatherV2",
}  # fmt: skip


def parse_graph(data: bytes, name: str) -> tf.compat.v1.GraphDef:
    """A graph of allowed operations.

    Args:
        data: a serialized GraphDef.
        name: of the file, for messages.

    Raises:
        ValueError: it is not a graph, has an operation that is not one of `OPERATIONS`, or
            constants that expand to more than `MAX_CONSTANTS`.
    """
    try:
        graph_def = tf.compat.v1.GraphDef.FromString(data)
    except DecodeError:
        raise ValueError(f"{name} holds no TensorFlow graph") from None
    for node in _nodes(graph_def):
        if node.op not in OPERATIONS:
            raise ValueError(
                f"The graph in {name} has the operation {shown(node.op)} (node {shown(node.name)}),"
                " which the Inception network does not need; nothing of it was run"
            )
    size = sum(_constant_bytes(node) for node in _nodes(graph_def))
    if size > MAX_CONSTANTS:
        raise ValueError(
            f"The graph in {name} has constants of {size:,} bytes, more than {MAX_CONSTANTS:,}"
        )
    return graph_def


def _nodes(graph_def: tf.compat.v1.GraphDef) -> Iterator[tf.compat.v1.NodeDef]:
    """Those of the graph and of all its functions, which are what they are called for."""
    for function in graph_def.library.function:
        yield from function.node_def
    yield from graph_def.node


def _constant_bytes(node: tf.compat.v1.NodeDef) -> int:
    """Bytes that a constant becomes: one number in the file may stand for any number of them."""
    tensor = node.attr["value"].tensor if "value" in node.attr else None
    if tensor is None:
        return 0
    return _elements(dim.size for dim in tensor.tensor_shape.dim) * 8


def _elements(shape: Iterable[int]) -> int:
    return math.prod(max(size, 0) for size in shape)
