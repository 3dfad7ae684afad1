import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.models import get_model
from diffusion_tf.models.blocks import (
    AttnBlock,
    Downsample,
    ResnetBlock,
    Upsample,
    conv3x3_of_repeated_pixels,
    group_norm,
)
from diffusion_tf.models.unet import UNet
from helpers import golden_arrays
from helpers.golden_arrays import load_weights, tf1_name
from helpers.unets import SMALL, build, randomise

GOLDEN_NETWORKS = {"unet": SMALL, "unet_learned": {**SMALL, "out_ch": 6, "resamp_with_conv": False}}


def inputs(size=16, batch=2):
    x = np.random.RandomState(1).randn(batch, size, size, 3).astype(np.float32)
    return [tf.constant(x), tf.constant([3, 777][:batch])]


@pytest.fixture(scope="module", params=GOLDEN_NETWORKS)
def golden_network(request):
    """(arrays, network with the original's weights)."""
    golden, model = golden_arrays.load(request.param), build(**GOLDEN_NETWORKS[request.param])
    load_weights(model, golden)
    return golden, model


# --- Blocks against the original


@pytest.mark.parametrize(
    "name, make, arguments",
    [
        ("resnet_nin", ResnetBlock, {"out_ch": 64}),
        ("resnet_conv_shortcut", ResnetBlock, {"out_ch": 64, "conv_shortcut": True}),
        ("resnet_same", ResnetBlock, {}),
        ("normalize", group_norm, {}),
        ("attn", AttnBlock, {}),
        ("down_conv", Downsample, {"with_conv": True}),
        ("down_pool", Downsample, {"with_conv": False}),
        ("up_conv", Upsample, {"with_conv": True}),
        ("up_nearest", Upsample, {"with_conv": False}),
    ],
)
def test_block_equals_original(name, make, arguments):
    golden = golden_arrays.load("nn_pieces")
    x32, x64, temb = golden["x32"], golden["x64"], golden["temb"]
    block_inputs = {"normalize": 3 * x64 + 5, "attn": x64}.get(name, x32)
    if name.startswith("resnet"):
        block_inputs = [x32, temb]
    block = make(name=name, **arguments)
    block.build(tf.nest.map_structure(np.shape, block_inputs))
    load_weights(block, golden, prefix="var/")
    output = block(tf.nest.map_structure(tf.constant, block_inputs))
    assert output.shape == golden[f"out_{name}"].shape
    np.testing.assert_allclose(output, golden[f"out_{name}"], rtol=0, atol=2e-5)


def test_upsampling_at_once_is_repeating_and_convolving():
    block = Upsample(name="upsample")
    block.build((None, 8, 8, 4))
    randomise(block)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(block(x), block.conv(block.repeat(x)), rtol=0, atol=1e-5)


def test_attention_is_that_of_queries_keys_and_values():
    block = AttnBlock(name="attn")
    block.build((None, 4, 4, 64))
    rng = np.random.default_rng(0)
    for weight in block.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape) + weight.path.endswith("gamma"))
    x = tf.constant(rng.normal(size=[2, 4, 4, 64]), tf.float32)
    layers = block.q, block.k, block.v, block.proj_out
    weights = [weight.value for layer in layers for weight in layer.weights]
    wide = [tf.cast(weight, tf.float64) for weight in weights]

    def attend(q, bq, k, bk, v, bv, p, bp):
        h = tf.reshape(tf.cast(block.norm(x), tf.float64), [2, 16, 64])
        scores = tf.matmul(h @ q + bq, h @ k + bk, transpose_b=True) / 8
        return x.numpy() + tf.reshape(tf.nn.softmax(scores) @ (h @ v + bv) @ p + bp, x.shape)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(wide)
        ours, theirs = block(x), attend(*wide)
        losses = [tf.reduce_sum(tf.sin(y)) for y in (ours, theirs)]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)
    gradients = tape.gradient(losses[0], weights), tape.gradient(losses[1], wide)
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
    # The bias of the keys has no influence: it adds the same to all scores of a query.
    np.testing.assert_array_equal(tape.gradient(losses[0], block.k.bias.value), np.zeros(64))


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5)])
def test_convolution_of_repeated_pixels(height, width):
    rng = np.random.default_rng(0)
    shapes = [2, height, width, 3], [3, 3, 3, 4], [4]
    arguments = [tf.constant(rng.normal(size=shape)) for shape in shapes]

    def repeat_then_convolve(x, kernel, bias):
        x = tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
        return tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def value_and_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y = function(*arguments)
            weighted = tf.reduce_sum(y * weights)
        return [y, *tape.gradient(weighted, arguments)]

    weights = rng.normal(size=[2, 2 * height, 2 * width, 4])
    actual = value_and_gradients(conv3x3_of_repeated_pixels)
    expected = value_and_gradients(repeat_then_convolve)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_dropout_comes_before_the_second_convolution():
    keras.utils.set_random_seed(0)
    block = ResnetBlock(dropout=1 - 1e-7, name="block")
    x, temb = tf.ones([2, 6, 6, 32]), tf.ones([2, 128])
    block.build([x.shape, temb.shape])
    randomise(block)
    everything_dropped = block([x, temb], training=True)
    np.testing.assert_allclose(everything_dropped, x + block.conv2.bias, atol=1e-6)
    assert np.abs(block([x, temb], training=False) - everything_dropped).max() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dropout_sets_a_share_to_zero_and_enlarges_the_rest(dtype):
    keras.utils.set_random_seed(0)
    block = ResnetBlock(dropout=0.1, name="block", dtype=dtype)
    x, temb = tf.random.normal([8, 32, 32, 32]), tf.ones([8, 128])
    block.build([x.shape, temb.shape])
    block.conv2.kernel.assign(np.pad(np.eye(32)[None, None], [(1, 1), (1, 1), (0, 0), (0, 0)]))
    whole, dropped = (
        tf.cast(block([x, temb], training=training), tf.float32) - x for training in (False, True)
    )
    ratio = (dropped / whole)[tf.abs(whole) > 0.1]
    rounding = {"float32": 1e-4, "mixed_bfloat16": 0.2}[dtype]  # of x + h, near 4, for h near 0.1
    is_zero, is_larger = (np.abs(ratio - a) < rounding for a in (0, 1 / 0.9))
    assert np.all(is_zero | is_larger)
    assert 0.098 < is_zero.mean() < 0.102  # a standard deviation is 0.0006 or less


# --- The network against the original


def test_output_equals_original(golden_network):
    golden, model = golden_network
    output = model([golden["x"], golden["t"]])
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, golden["output"], rtol=0, atol=2e-5)


def test_gradients_equal_original(golden_network):
    golden, model = golden_network
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model([golden["x"], golden["t"]], training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-5)
    norm = tf.linalg.global_norm(gradients)
    np.testing.assert_allclose(norm, golden["grad_global_norm"], rtol=5e-5)
    names = [tf1_name(variable.path) for variable in model.trainable_variables]
    gradients = dict(zip(names, gradients, strict=True))
    stored = {name.removeprefix("grad/"): g for name, g in golden.items() if "grad/" in name}
    assert len(stored) == 6
    for name, expected in stored.items():
        atol = 5e-5 * np.abs(expected).max()
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("golden_network", ["unet", "unet_learned"], indirect=True)
def test_xla_equals_no_xla(golden_network):
    golden, model = golden_network
    output = tf.function(model, jit_compile=True)([golden["x"], golden["t"]])
    np.testing.assert_allclose(output, golden["output"], rtol=0, atol=2e-5)


def test_variables_of_small_networks_are_the_original_ones(golden_network):
    golden, model = golden_network
    names = {tf1_name(variable.path) for variable in model.trainable_variables}
    assert names == set(golden["variable_order"].tolist())


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
@pytest.mark.parametrize("name", ["cifar_variables", "celebahq_lsun_variables"])
def test_variables_of_the_paper_are_the_original_ones(monkeypatch, name, dropout):
    # Values do not matter here, and drawing a hundred million takes time.
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
    expected = golden_arrays.load_json(name)
    model = build(size=expected["image_size"], dropout=dropout, **expected["config"])
    assert sum(np.prod(w.shape) for w in model.weights) == expected["num_params"]
    assert len(model.trainable_variables) == len(model.weights) == expected["num_variables"]
    shapes = {tf1_name(v.path): list(v.shape) for v in model.trainable_variables}
    assert shapes == {variable: shape for variable, shape in expected["variables"]}


def zeros(initializer, shape, dtype=None):
    return tf.zeros(shape, dtype)


@pytest.mark.parametrize(
    "name, count",
    [
        ("cifar10", 35_746_307),
        ("celebahq256", 113_673_219),
        ("lsun_church", 113_673_219),
        ("lsun_bedroom", 113_673_219),
        ("lsun_bedroom_large", 255_677_955),
        ("lsun_cat", 113_673_219),
    ],
)
def test_parameter_counts_of_the_paper(name, count):
    with keras.StatelessScope(initialize_variables=False):  # shapes, without the memory
        model = get_model(get_config(name))
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == count
    stored = {"cifar10": "cifar", "celebahq256": "celebahq_lsun"}
    if name in stored:
        assert golden_arrays.load_json(f"{stored[name]}_variables")["num_params"] == count


# --- Behaviour


def test_output_depends_on_t():
    model = randomise(build(ch=64, ch_mult=(1,), attn_resolutions=(), size=8))
    x, _ = inputs(size=8)
    early, late = model([x, tf.constant([1, 1])]), model([x, tf.constant([900, 900])])
    assert np.abs(early - late).max() > 1e-2


def test_each_example_sees_its_own_t(golden_network):
    golden, model = golden_network
    single = model([golden["x"][1:], golden["t"][1:]])
    np.testing.assert_allclose(single, golden["output"][1:], rtol=0, atol=2e-5)


@pytest.mark.parametrize("resamp_with_conv", [True, False])
def test_initial_weights_are_the_original_ones(resamp_with_conv):
    for variable in build(resamp_with_conv=resamp_with_conv).trainable_variables:
        values, name = np.asarray(variable), variable.path.split("/")[-1]
        if name in ("bias", "beta", "gamma"):
            expected = np.full_like(values, name == "gamma")
            np.testing.assert_array_equal(values, expected, err_msg=variable.path)
            continue
        # Layers that end a residual branch, and the last one, start at almost 0.
        is_zero = variable.path.split("/")[-2] in ("conv2", "proj_out", "conv_out")
        fan_avg = np.prod(values.shape[:-2]) * np.mean(values.shape[-2:])
        limit = np.sqrt(3 * (1e-10 if is_zero else 1) / fan_avg)
        assert 0.95 * limit < np.abs(values).max() <= limit * (1 + 1e-6), variable.path


def test_new_network_returns_almost_zero():
    output = build()(inputs())
    assert 0 < np.abs(output).max() < 1e-3


def test_batch_size_and_integer_type_are_free():
    model = randomise(build())
    x, t = inputs()
    expected = model([x, t])
    np.testing.assert_array_equal(model([x, tf.cast(t, tf.int64)]), expected)
    function = tf.function(
        model, input_signature=[[tf.TensorSpec([None, 16, 16, 3]), tf.TensorSpec([None], tf.int32)]]
    )
    np.testing.assert_allclose(function([x, t]), expected, atol=2e-5)


def test_dropout_acts_in_training_only():
    model = randomise(build(dropout=0.5))
    np.testing.assert_array_equal(model(inputs()), model(inputs(), training=False))
    first, other = model(inputs(), training=True), model(inputs(), training=True)
    assert np.abs(first - other).max() > 1e-2


@pytest.mark.usefixtures("bfloat16_instructions")
def test_mixed_bfloat16_is_near_float32():
    model, mixed = randomise(build()), randomise(build(dtype="mixed_bfloat16"))
    assert all(v.dtype == "float32" for v in mixed.trainable_variables)
    assert mixed.conv_in.compute_dtype == "bfloat16"
    expected, output = model(inputs()), mixed(inputs())
    assert output.dtype == tf.float32
    # bfloat16 has 8 bits; the difference is not 0, or it was not used.
    difference = np.abs(output - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.05


@pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "mixed_bfloat16"]
)
def test_saved_network_is_the_same_bit_for_bit(tmp_path, dtype):
    model = randomise(build(dropout=0.1, resamp_with_conv=False, dtype=dtype))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert [v.path for v in loaded.weights] == [v.path for v in model.weights]
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded(inputs()), model(inputs()))


def space_to_depth(x, block):
    """[B, S, S, C] -> [B, S/b, S/b, b*b*C], rows of a block first, then columns, then channels."""
    batch, size, _, channels = x.shape
    x = x.reshape(batch, size // block, block, size // block, block, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, size // block, size // block, -1)


@pytest.mark.parametrize("out_ch", [3, 6])
def test_blocks_of_pixels_become_channels_and_pixels_again(out_ch):
    inner = randomise(build(size=8, channels=12, out_ch=4 * out_ch))  # attention at its 8 pixels
    model = build(size=16, out_ch=out_ch, block_size=2)
    assert [v.path for v in model.weights] == [v.path for v in inner.weights]
    assert hasattr(model.down[0], "attn_0") and not hasattr(model.down[1], "attn_0")
    model.set_weights(inner.get_weights())
    x, t = inputs(size=16)
    expected = inner([space_to_depth(x.numpy(), 2), t]).numpy()
    output = model([x, t])
    assert output.shape == (2, 16, 16, out_ch)
    np.testing.assert_array_equal(space_to_depth(output.numpy(), 2), expected)
    assert not np.array_equal(expected[0, 0, 0, :out_ch], expected[0, 0, 0, out_ch : 2 * out_ch])


def test_blocks_of_pixels_come_back_from_a_file(tmp_path):
    model = randomise(build(block_size=2))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config()["block_size"] == 2
    np.testing.assert_array_equal(loaded(inputs()), model(inputs()))


@pytest.mark.parametrize("var, out_channels", [("fixedlarge", 3), ("learned", 6)])
def test_get_model(var, out_channels):
    config = Config(
        image_size=8,
        channels=3,
        ch=32,
        ch_mult=(1, 2),
        attn_resolutions=(4,),
        dropout=0.2,
        resamp_with_conv=False,
        block_size=2,
        model_var_type=var,
        loss_type="kl",
        dtype="mixed_bfloat16",
    )
    model = get_model(config)
    assert model.built and model(inputs(size=8)).shape == (2, 8, 8, out_channels)
    names = ("ch", "ch_mult", "num_res_blocks", "attn_resolutions", "dropout")
    names += ("resamp_with_conv", "block_size")
    values = model.get_config()
    assert {n: values[n] for n in names} == {n: getattr(config, n) for n in names}
    assert model.dtype_policy.name == "mixed_bfloat16"


# --- Mistakes


@pytest.mark.parametrize("arguments", [{"ch": 48}, {"ch": 0}, {"ch": -32}, {"ch_mult": (1, 0)}])
def test_channels_must_be_multiples_of_32(arguments):
    with pytest.raises(ValueError, match="must be a multiple of 32"):
        UNet(**{**SMALL, **arguments})


@pytest.mark.parametrize("arguments", [{"ch_mult": ()}, {"num_res_blocks": 0}])
def test_network_needs_a_resolution_and_a_block(arguments):
    with pytest.raises(ValueError, match="at least one resolution and one block"):
        UNet(**{**SMALL, **arguments})


@pytest.mark.parametrize("shape", [(None, 16, None, 3), (None, None, None, 3), (None, 16, 3)])
def test_images_must_be_of_known_size(shape):
    with pytest.raises(ValueError, match="images of one size"):
        UNet(**SMALL).build([shape, (None,)])


def test_images_may_have_any_height_and_width():
    """Attention is at heights; height and width are halved alike, or refused."""
    unet = UNet(**SMALL, block_size=2)  # resolutions of 8x12, 4x6 and 2x3
    x, t = np.zeros((2, 16, 24, 3), np.float32), np.array([0, 5])
    assert unet([x, t]).shape == (2, 16, 24, 3)
    assert unet.image_size == (16, 24)
    assert [hasattr(scope, "attn_0") for scope in unet.down] == [True, False, False]
    with pytest.raises(ValueError, match=r"built for images of 16x24 pixels"):
        unet([x.swapaxes(1, 2), t])
    with pytest.raises(
        ValueError, match="images of 16x12 pixels .* height and width must be a mul"
    ):
        UNet(**SMALL, block_size=2).build([(None, 16, 12, 3), (None,)])
    with pytest.raises(ValueError, match="images of 24x16 pixels, .* must be some of 12, 6, 3, or"):
        UNet(**SMALL, block_size=2).build([(None, 24, 16, 3), (None,)])


@pytest.mark.parametrize("size", [6, 15, 18])
def test_size_must_be_divisible(size):
    with pytest.raises(ValueError, match=r"halved 2 times.*must be a multiple of 4"):
        build(size=size)


@pytest.mark.parametrize("size", [4, 20, 15])
def test_size_must_be_divisible_by_blocks(size):
    with pytest.raises(ValueError, match="blocks of 2 and halved 2 times.*a multiple of 8"):
        build(size=size, block_size=2)


def test_a_block_has_at_least_one_pixel():
    with pytest.raises(ValueError, match="block_size is 0; it must be at least 1"):
        build(block_size=0)


def test_network_is_of_one_image_size():
    with pytest.raises(ValueError, match="built for images of 16x16 pixels"):
        build()(inputs(size=8))
