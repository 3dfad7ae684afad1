"""Floating-point operations of a network, counted from shapes."""

import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.utils.keras_backend import keras

BACKWARD = 2  # the gradients of inputs and of weights cost what the values cost, each


def forward_flops(model: keras.Model, config: Config) -> int:
    """Operations of a network for one image, a multiplication and an addition counting as two.

    Convolutions and matrix products (dense layers, attention) are counted as the architecture has
    them, whatever a layer saves of them; what is not counted works off each number a few times.
    """
    x, t = tf.TensorSpec([1, *config.image_shape]), tf.TensorSpec([1], tf.int32)
    function = tf.function(lambda x, t: model([x, t], training=False), autograph=False)
    function = function.get_concrete_function(x, t)
    of_image = {tensor.op for tensor in function.inputs[:2]}
    flops = 0
    for operation in function.graph.get_operations():
        if not of_image.isdisjoint(tensor.op for tensor in operation.inputs):
            of_image.add(operation)
            flops += _flops(operation)
    return flops


def _flops(operation: tf.Operation) -> int:
    """Twice the length of the sum behind each number of the output, times these numbers."""
    if operation.type == "Conv2D":
        kernel = operation.inputs[1].shape  # [height, width, in, out]
        length = kernel.num_elements() // kernel[-1]
    elif operation.type == "Conv2DBackpropInput":  # 3x3 on repeated pixels, done with fewer of them
        length = 9 * operation.inputs[1].shape[-1]
    elif operation.type in ("MatMul", "BatchMatMulV2"):
        name = "transpose_a" if operation.type == "MatMul" else "adj_x"
        length = operation.inputs[0].shape[-2 if operation.get_attr(name) else -1]
        kernel = operation.inputs[1].op
        while kernel.type in ("Cast", "Identity"):
            kernel = kernel.inputs[0].op
        if kernel.type == "MatMul":  # two kernels, multiplied with each other first
            length *= 2
    else:
        return 0
    return 2 * length * operation.outputs[0].shape.num_elements()
