"""Group normalization against float64 and against Keras's layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.models.blocks import AttnBlock, conv3x3, group_norm


def arrays(size=32, offset=0.0, batch=2, channels=64):
    """x, upstream gradient, gamma, beta."""
    generator = np.random.RandomState(0)
    x = offset + generator.randn(batch, size, size, channels) * (1 + np.arange(channels) / channels)
    dy = generator.randn(*x.shape)
    return [a.astype(np.float32) for a in (x, dy, *(1 + 0.3 * generator.randn(2, channels)))]


def expected(x, gamma, beta, swish=False, epsilon=1e-6):
    """By the definition, in float64."""
    grouped = tf.reshape(x, [*x.shape[:3], 32, -1])
    mean, variance = tf.nn.moments(grouped, [1, 2, 4], keepdims=True)
    y = tf.reshape((grouped - mean) / tf.sqrt(variance + epsilon), x.shape) * gamma + beta
    return y * tf.sigmoid(y) if swish else y


def make(gamma, beta, make_layer=group_norm, **kwargs):
    layer = make_layer(name="norm", **kwargs)
    layer.build([None, None, None, len(gamma)])
    layer.set_weights([gamma, beta])
    return layer


def value_and_gradients(function, x, dy, *variables):
    with tf.GradientTape() as tape:
        tape.watch([x, *variables])
        y = function(x)
    return [y, *tape.gradient(y, [x, *variables], output_gradients=dy)]


# A float32 number near 100 is known to 4e-6, of which its square root in variance is made.
@pytest.mark.parametrize("swish", [False, True])
@pytest.mark.parametrize("size, offset, atol", [(32, 0, 3e-6), (256, 0, 3e-6), (32, 100, 8e-5)])
def test_value_and_gradients_equal_float64(size, offset, atol, swish):
    x, dy, gamma, beta = arrays(size, offset)
    layer = make(gamma, beta, swish=swish)
    ours = value_and_gradients(layer, tf.constant(x), dy, *[v.value for v in layer.weights])
    x, dy, gamma, beta = (tf.constant(a, tf.float64) for a in (x, dy, gamma, beta))
    theirs = value_and_gradients(lambda x: expected(x, gamma, beta, swish), x, dy, gamma, beta)
    for name, a, b in zip(("y", "dx", "dgamma", "dbeta"), ours, theirs, strict=True):
        scale = max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * scale, err_msg=name)


def test_an_offset_is_added_to_all_pixels_first():
    x, dy, gamma, beta = arrays()
    offset = np.random.RandomState(1).randn(2, 64).astype(np.float32)
    layer = make(gamma, beta, swish=True)
    ours = offset_gradients(layer, x, offset, dy)
    x, dy, gamma, beta, offset = (tf.constant(a, tf.float64) for a in (x, dy, gamma, beta, offset))
    theirs = offset_gradients(
        lambda x, offset: expected(x + offset[:, None, None], gamma, beta, True), x, offset, dy
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * max(1.0, np.abs(b).max()))


def offset_gradients(function, x, offset, dy):
    operands = [tf.constant(x), tf.constant(offset)]
    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = function(*operands)
    return [y, *tape.gradient(y, operands, output_gradients=dy)]


def test_constant_images_become_beta():
    layer = make(np.ones(64), np.arange(64.0))
    y = layer(tf.fill([1, 4, 4, 64], 7.0))
    np.testing.assert_allclose(y, np.broadcast_to(np.arange(64.0), y.shape), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_equals_the_layer_of_keras(dtype):
    x, dy, gamma, beta = arrays(offset=3.0)
    compute_dtype = keras.DTypePolicy(dtype).compute_dtype

    def keras_layer(**kwargs):
        return keras.layers.GroupNormalization(32, epsilon=1e-6, **kwargs)

    ours, theirs = make(gamma, beta, dtype=dtype), make(gamma, beta, keras_layer, dtype=dtype)
    assert [v.path for v in ours.weights] == [v.path for v in theirs.weights]
    assert {**theirs.get_config(), "name": "norm", "swish": False} == ours.get_config()
    x, dy = tf.cast(x, compute_dtype), tf.cast(dy, compute_dtype)
    results, references = (
        value_and_gradients(layer, x, dy, *[v.value for v in layer.weights])
        for layer in (ours, theirs)
    )
    # Both compute in float32 and round once: to the same number or to its neighbour.
    rtol = {"float32": 1e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}[dtype]
    for a, b in zip(results, references, strict=True):
        assert a.dtype == b.dtype
        a, b = np.array(tf.cast(a, tf.float32)), np.array(tf.cast(b, tf.float32))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5 * np.abs(b).max())


@pytest.mark.usefixtures("bfloat16_instructions")
def test_of_half_precision_no_float32_copy_is_kept_for_the_gradient():
    layer = make(*np.ones([2, 64]), dtype="mixed_bfloat16", swish=True)
    spec = tf.TensorSpec([2, 32, 32, 64], tf.bfloat16)
    function = tf.function(lambda x, dy: value_and_gradients(layer, x, dy))
    x = function.get_concrete_function(spec, spec).graph.inputs[0]
    _, *copies_of_gradient = [op for op in x.consumers() if op.type == "Cast"]
    assert copies_of_gradient and all(op.control_inputs for op in copies_of_gradient)  # on dy


def make_conv(dtype="float32"):
    """A convolution of 64 channels to 8, with a bias."""
    conv = conv3x3(8, "conv", dtype=dtype)
    conv.build([None, None, None, 64])
    conv.bias.assign(tf.range(8.0))
    return conv


def test_before_a_convolution_equals_float64():
    x, dy, gamma, beta = arrays()
    offset = np.random.RandomState(1).randn(2, 64).astype(np.float32)
    kept = np.random.RandomState(2).rand(*x.shape) > 0.1
    layer, conv = make(gamma, beta, swish=True), make_conv()
    operands = [tf.constant(x), tf.constant(offset)]
    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = layer.before(conv, *operands, dropout=lambda h: tf.where(kept, h / 0.9, 0))
    variables = [v.value for v in (*layer.weights, *conv.weights)]
    ours = [y, *tape.gradient(y, operands + variables, dy[..., :8])]

    wide = [tf.cast(a, tf.float64) for a in (*operands, *variables)]
    with tf.GradientTape() as tape:
        tape.watch(wide)
        x, offset, gamma, beta, kernel, bias = wide
        h = expected(x + offset[:, None, None], gamma, beta, swish=True)
        y = tf.nn.conv2d(tf.where(kept, h / 0.9, 0), kernel, 1, "SAME") + bias
    theirs = [y, *tape.gradient(y, wide, tf.cast(dy[..., :8], tf.float64))]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * max(1.0, np.abs(b).max()))


@pytest.mark.usefixtures("bfloat16_instructions")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_a_convolution_takes_is_not_kept_for_the_gradient(dtype):
    compute_dtype = keras.DTypePolicy(dtype).compute_dtype
    layer, conv = make(*np.ones([2, 64]), dtype=dtype, swish=True), make_conv(dtype)
    function = tf.function(
        lambda x, dy: value_and_gradients(lambda x: layer.before(conv, x), x, dy)
    )
    specs = [tf.TensorSpec([2, 32, 32, c], compute_dtype) for c in (64, 8)]
    graph = function.get_concrete_function(*specs).graph
    operations, upstream = graph.get_operations(), graph.inputs[1].op
    forward = next(op for op in operations if op.type == "Conv2D")
    assert consumers(forward.inputs[0]) == {forward.name}
    sigmoids = [op for op in operations if op.type == "Sigmoid"]
    # in the convolution's operand; in it again for the kernel's gradient; in swish's own gradient
    assert [waits_for(op, upstream) for op in sigmoids] == [False, True, True]


@pytest.mark.usefixtures("bfloat16_instructions")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_attention_computes_is_not_kept_for_the_gradient(dtype):
    block = AttnBlock(name="attn", dtype=dtype)
    block.build((None, 8, 8, 64))
    spec = tf.TensorSpec([2, 8, 8, 64], block.compute_dtype)
    function = tf.function(lambda x, dy: value_and_gradients(block, x, dy))
    graph = function.get_concrete_function(spec, spec).graph
    assert kept_for_gradient(graph, *graph.inputs[:2]) == {graph.inputs[0].name}


def consumers(tensor):
    """Names of operations that take a tensor, from where identities of many tensors hand it on."""
    names = set()
    for op in tensor.consumers():
        if op.type == "IdentityN":
            places = [i for i, operand in enumerate(op.inputs) if operand is tensor]
            names.update(*(consumers(op.outputs[i]) for i in places))
        else:
            names.add(op.name)
    return names


def kept_for_gradient(graph, x, upstream):
    """Names of tensors no smaller than x that operations on the upstream gradient take."""
    kept = set()
    for operation in graph.get_operations():
        if waits_for(operation, upstream.op):
            for tensor in operation.inputs:
                while tensor.op.type in ("Identity", "Reshape"):
                    tensor = tensor.op.inputs[0]
                is_small = (tensor.shape.num_elements() or np.inf) < x.shape.num_elements()
                if not (is_small or waits_for(tensor.op, upstream.op)):
                    kept.add(tensor.name)
    return kept


def waits_for(op, other):
    """Whether an operation comes after another in a graph."""
    seen, todo = set(), [op]
    while todo:
        last = todo.pop()
        if last.name not in seen:
            seen.add(last.name)
            todo += [*(operand.op for operand in last.inputs), *last.control_inputs]
    return other.name in seen


def test_statistics_of_half_precision_are_float32():
    """The squares of 300 overflow in float16."""
    x, _, gamma, beta = arrays()
    x = tf.cast(300 * x, tf.float16)
    y = make(gamma, beta, dtype="mixed_float16")(x)
    np.testing.assert_allclose(y, expected(tf.cast(x, tf.float64), gamma, beta), atol=4e-3)


def test_images_do_not_see_each_other():
    x, _, gamma, beta = arrays()
    layer = make(gamma, beta)
    np.testing.assert_allclose(layer(x)[1:], layer(x[1:]), atol=1e-6)


@pytest.mark.parametrize("swish", [False, True])
def test_xla_and_unknown_sizes(swish):
    x, dy, gamma, beta = arrays()
    layer = make(gamma, beta, swish=swish)

    def f(x):
        return value_and_gradients(layer, x, dy, layer.gamma.value, layer.beta.value)

    plain = f(tf.constant(x))
    with_xla = tf.function(f, jit_compile=True)(tf.constant(x))
    any_size = tf.function(f, input_signature=[tf.TensorSpec([None, None, None, 64])])(x)
    for a, b, c in zip(plain, with_xla, any_size, strict=True):
        atol = 2e-6 * max(1.0, np.abs(a).max())
        np.testing.assert_allclose(b, a, rtol=0, atol=atol)
        np.testing.assert_allclose(c, a, rtol=0, atol=atol)


def test_weights_are_used_as_they_are_stored():
    """Not rounded to the dtype of the computations, which Keras before 3.15 does unless told."""
    layer = group_norm("norm", dtype="mixed_bfloat16")
    layer.build((None, 2, 2, 32))
    for weight in (layer.gamma, layer.beta):
        with keras.src.backend.AutocastScope("bfloat16"):
            assert tf.convert_to_tensor(weight).dtype == tf.float32
