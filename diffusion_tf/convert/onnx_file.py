"""ONNX files: a network and one step of sampling, for onnxruntime and others."""

import importlib
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.convert.serving import Outputs, Serving
from diffusion_tf.convert.serving import difference as difference_of
from diffusion_tf.models.recomputation import plain_gradients
from diffusion_tf.models.saving import input_specs

OPSET = 18  # which every onnxruntime since 1.14 knows
_OUTPUTS = ("output", "mean", "std", "pred_xstart")  # in the order of the file


def write(target: str, serving: Serving) -> None:
    """Writes a graph with the inputs x, t (int64) and, of a conditional network, y.

    Args:
        target: `*.onnx`.
        serving: the network, and the process that samples from it.

    Raises:
        ValueError: a sampler whose steps need what the one before has left, or operations that
            ONNX does not have.
        OSError: tf2onnx or onnxruntime is not installed, or the file cannot be written.
    """
    tf2onnx, onnx = (_package(name) for name in ("tf2onnx", "onnx"))
    _package("onnxruntime")  # with which the file is tried
    specs = input_specs(serving.model, tf.int64)

    @tf.function(input_signature=specs, autograph=False)
    def step(x: tf.Tensor, t: tf.Tensor, *y: tf.Tensor) -> Outputs:
        return serving.step(x, t, *y)

    with plain_gradients():
        model, _ = tf2onnx.convert.from_function(
            step, input_signature=specs, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    outputs = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in _OUTPUTS)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    steps = serving.steps_of.num_timesteps
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"The network has something that ONNX has not: {error}") from None
    onnx.helper.set_model_props(model, {"sampling_steps": str(steps)})
    onnx.save(model, target)


def difference(target: str, serving: Serving) -> float:
    """Of all outputs; see `exports.Code`."""
    onnxruntime = _package("onnxruntime")
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    inputs = serving.inputs(tf.int64)
    found = dict(zip(_OUTPUTS, session.run(_OUTPUTS, inputs), strict=True))
    expected = serving.step(*map(tf.constant, inputs.values()))
    rest = [1] * (inputs["x"].ndim - 1)
    weight = serving.tolerance(inputs["t"]).reshape([-1, *rest])
    names = ("mean", "pred_xstart")
    weighed = (
        {n: np.asarray(a) / (weight if n in names else 1.0) for n, a in values.items()}
        for values in (found, expected)
    )
    return difference_of(*weighed)


def _erfc(graph: Any, node: Any, name: str, _: list) -> None:
    """1 - erf(x), as ONNX has no erfc, of which TensorFlow makes GELU."""
    output, given = node.output[0], node.input
    shapes, dtypes = [graph.get_shape(output)], [graph.get_dtype(output)]
    graph.remove_node(name)
    one = graph.make_const(f"{name}/one", np.array(1.0, np.float32))
    erf = graph.make_node("Erf", given)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=[output], name=name, shapes=shapes,
        dtypes=dtypes,
    )  # fmt: skip


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise OSError(
            f"--format=onnx needs the package {name}; pip install 'diffusion_tf[export]'."
        ) from None
