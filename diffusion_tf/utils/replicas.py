"""What samples or measures, compiled for one device or for every replica of a strategy."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from diffusion_tf.utils.keras_backend import keras


def compiled(
    function: Callable[..., Any],
    model: keras.Model,
    *,
    jit_compile: bool,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[..., Any]:
    """A function of a network and of tensors, compiled into one of the tensors alone.

    It computes with what the weights are when it is called. For XLA, weights that lie on several
    devices are read outside of what it compiles and handed in as tensors: inside, the variables of
    all devices but the first would be sought on the first. Those of one device stay variables,
    which XLA reads without a copy, and which need not be named one by one in every call. So do all
    without XLA: TensorFlow simplifies graphs of variables and of tensors to other orders of
    operations, and samples would differ in their last bits between one device and several.

    Args:
        function: `function(network, *tensors)`; the network is called as the model is.
        model: built in the scope of the strategy.
        jit_compile: compile with XLA.
        strategy: of this machine's devices; the first device alone if not given.

    Returns:
        `f(*tensors)`, whose arguments and results are one for each replica, see
        `devices.distribute`.
    """

    hand_in = jit_compile and _on_several_devices(model)
    run_replica = (_of_values if hand_in else _of_variables)(function, model, jit_compile)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return run_replica

    @tf.function(autograph=False)
    def run_replicas(*tensors: tf.Tensor) -> Any:
        return strategy.run(run_replica, args=tensors)

    return run_replicas


def _of_variables(function: Callable, model: keras.Model, jit_compile: bool) -> Callable:
    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(*tensors: tf.Tensor) -> Any:
        return function(model, *tensors)

    return run


def _of_values(function: Callable, model: keras.Model, jit_compile: bool) -> Callable:
    @tf.function(jit_compile=jit_compile, autograph=False)
    def run_with(weights: list, states: list, *tensors: tf.Tensor) -> Any:
        def network(inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
            return model.stateless_call(weights, states, inputs, training=training)[0]

        return function(network, *tensors)

    def run(*tensors: tf.Tensor) -> Any:
        variables = model.trainable_variables, model.non_trainable_variables
        return run_with(*map(_read, variables), *tensors)

    return run


def _on_several_devices(model: keras.Model) -> bool:
    """Whether a network was built in the scope of a strategy with several devices."""
    variables = getattr(model, "variables", ())
    return any(isinstance(v.value, tf.distribute.DistributedValues) for v in variables)


def _read(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """The values on this replica's device."""
    return [tf.convert_to_tensor(variable.value) for variable in variables]
