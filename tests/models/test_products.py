"""Products of bfloat16 numbers through float32 copies: where, and that they are the same."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from diffusion_tf.models import products
from diffusion_tf.models.products import Conv2D, Dense, conv2d_transpose, matmul
from diffusion_tf.utils import devices

ROUNDING = 2.0**-8  # the largest relative error of one rounding to the eight bits of bfloat16

# The product, the one of TensorFlow that it is, its operation, and shapes.
CASES = {
    "matmul": (matmul, tf.matmul, "MatMul", (5, 40), (40, 7)),
    "conv2d": (
        lambda x, kernel: Conv2D(4, 3, padding="same").convolution_op(x, kernel),
        lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"),
        "Conv2D", (2, 6, 6, 8), (3, 3, 8, 4),
    ),
    "conv2d_transpose": (
        lambda x, kernel: conv2d_transpose(x, kernel, [2, 12, 12, 4], 2, "SAME"),
        lambda x, kernel: tf.nn.conv2d_transpose(x, kernel, [2, 12, 12, 4], 2, "SAME"),
        "Conv2DBackpropInput", (2, 6, 6, 8), (4, 4, 4, 8),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    product, plain, operation, *shapes = CASES[request.param]
    random = np.random.RandomState(0)
    return product, plain, operation, [tf.cast(random.randn(*s), tf.bfloat16) for s in shapes]


@pytest.fixture
def no_instructions(monkeypatch):
    monkeypatch.setattr(products, "computes_in_bfloat16", lambda: False)


def with_gradients(product, operands):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = product(*operands)
    return [y, *tape.gradient(y, operands, tf.ones_like(y))]


def test_products_of_copies_are_exact_and_rounded_once(case, no_instructions):
    product, plain, _, operands = case
    exact = with_gradients(plain, [tf.cast(operand, tf.float64) for operand in operands])
    for value, expected in zip(with_gradients(product, operands), exact, strict=True):
        assert value.dtype == tf.bfloat16
        # where terms cancel, sums in float32 leave something over
        np.testing.assert_allclose(tf.cast(value, tf.float64), expected, ROUNDING, atol=1e-5)


def operand_dtype(product, operation, operands):
    graph = tf.function(product).get_concrete_function(*operands).graph
    return next(op for op in graph.get_operations() if op.type == operation).inputs[1].dtype


@pytest.mark.parametrize("instructions", [True, False])
def test_copies_are_made_of_bfloat16_without_instructions_alone(case, instructions, monkeypatch):
    monkeypatch.setattr(products, "computes_in_bfloat16", lambda: instructions)
    product, _, operation, operands = case
    expected = tf.bfloat16 if instructions else tf.float32
    assert operand_dtype(product, operation, operands) == expected
    for dtype in (tf.float16, tf.float64):
        others = [tf.cast(operand, dtype) for operand in operands]
        assert operand_dtype(product, operation, others) == dtype


def test_copies_are_not_kept_for_the_gradient(case, no_instructions):
    product, _, operation, operands = case
    function = tf.function(lambda *operands: with_gradients(product, operands))
    operations = function.get_concrete_function(*operands).graph.get_operations()
    forward = next(op for op in operations if op.type == operation)
    copies = [tensor for tensor in forward.inputs if tensor.dtype == tf.float32]
    assert len(copies) == 2
    assert [copy.consumers() for copy in copies] == [[forward], [forward]]


@pytest.mark.usefixtures("bfloat16_instructions")
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("mixed_bfloat16", 2 * ROUNDING)])
def test_the_dense_layer_is_that_of_keras(dtype, rtol):
    ours, theirs = Dense(7, dtype=dtype), layers.Dense(7, dtype=dtype)
    random = np.random.RandomState(0)
    x = tf.cast(random.randn(5, 40), ours.compute_dtype)
    ours.build(x.shape), theirs.build(x.shape)
    # The product is rounded before the bias is added, which must not take it away again.
    ours.set_weights([0.2 * random.randn(40, 7), 8.0 + np.arange(7)])
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(
        tf.cast(ours(x), tf.float32), tf.cast(theirs(x), tf.float32), rtol, atol=rtol
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        (None, True),  # a system without that file
    ],
)
def test_instructions_are_those_that_linux_lists(text, expected, tmp_path, monkeypatch):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("with a GPU the processor does not matter")
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(devices, "CPUINFO", file)
    assert devices.computes_in_bfloat16.__wrapped__() == expected  # not the answer that is kept
