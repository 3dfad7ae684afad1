"""Devices: the tf.distribute strategy, whether to compile with XLA, and how to multiply float32."""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import tensorflow as tf
from absl import logging

from diffusion_tf.utils.cluster import check_resolves, parse_cluster, waiting
from diffusion_tf.utils.image_sizes import Size, sides
from diffusion_tf.utils.numbers import shown

StrategyName = Literal["auto", "single", "mirrored", "multi_worker", "tpu"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
JitCompile = Literal["auto", "on", "off"]
JIT_COMPILE: tuple[JitCompile, ...] = get_args(JitCompile)
CPUINFO = Path("/proc/cpuinfo")  # on Linux
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # its names on x86 and ARM
SMALL_IMAGE = 16  # pixels; up to here XLA pays on CPUs


def get_strategy(name: StrategyName, *, deterministic: bool = False) -> tf.distribute.Strategy:
    """Returns the strategy of a name, and says which devices it uses.

    Args:
        name: `single` one device; `mirrored` all GPUs of this machine (or its logical CPU
            devices, where more than one is configured); `multi_worker` the machines in TF_CONFIG;
            `tpu`; `auto` the widest of them that is there.
        deterministic: let every operation give the same bits each time, on GPUs at some cost.

    Raises:
        ValueError: unknown name, devices that are not there, or a TF_CONFIG that is not valid.
        OSError: the machines of a cluster do not come together.
    """
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}; choose one of {', '.join(STRATEGIES)}.")
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if name == "auto":
        name = _widest()
    strategy = {
        "single": tf.distribute.get_strategy,
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
    }[name]()
    logging.info("Devices: %s, %d x %s.", name, strategy.num_replicas_in_sync, kind())
    return strategy


def kind() -> str:
    """The fastest kind of device that there is: TPU, GPU or CPU."""
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return next(kind for kind in ("TPU", "GPU", "CPU") if kind in kinds)


def num_accelerators() -> int:
    """Number of GPUs or TPUs that TensorFlow sees."""
    return max(len(tf.config.list_physical_devices(kind)) for kind in ("GPU", "TPU"))


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Number of machines that train together."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 1
    cluster = resolver.cluster_spec().as_dict()
    return max(sum(len(cluster.get(role, ())) for role in ("chief", "worker")), 1)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this worker is the chief, the one that writes."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def distribute(strategy: tf.distribute.Strategy, values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Gives each replica its value, for `strategy.run`.

    Args:
        strategy: of this machine's devices.
        values: one for each replica.
    """
    if strategy.num_replicas_in_sync == 1:
        return values[0]
    return strategy.experimental_distribute_values_from_function(
        lambda context: values[context.replica_id_in_sync_group]
    )


def _widest() -> StrategyName:
    """The strategy that uses everything there is."""
    if "TF_CONFIG" in os.environ:  # first: nothing may ask for devices before it has been set up
        return "multi_worker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "single"


def _mirrored() -> tf.distribute.Strategy:
    gpus, cpus = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    if not gpus and len(cpus) < 2:
        raise ValueError(
            "Strategy 'mirrored' needs GPUs and TensorFlow sees none; install the 'gpu' extra and"
            " the driver, or use --strategy=single."
        )
    return tf.distribute.MirroredStrategy([device.name for device in gpus or cpus])


def _multi_worker() -> tf.distribute.Strategy:
    cluster = parse_cluster(os.environ.get("TF_CONFIG", ""))
    check_resolves(cluster)
    try:
        with waiting(cluster):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise OSError(
            f"The machines of TF_CONFIG did not come together ({shown(error.message)}); see whether"
            " all of them run and reach each other, and start all of them again."
        ) from None


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(f"Strategy 'tpu' found no TPU ({error}); use another strategy.") from None
    return tf.distribute.TPUStrategy(resolver)


def use_xla(jit_compile: JitCompile, image_size: Size) -> bool:
    """Whether to compile with XLA.

    Args:
        jit_compile: `on`, `off` or `auto`: on GPUs and TPUs; on CPUs where images are small. There
            it halves a training step at 8x8 pixels, and gains nothing at 32x32.
        image_size: of the images in pixels; the longer side counts.

    Raises:
        ValueError: another word.
    """
    if jit_compile not in JIT_COMPILE:
        raise ValueError(
            f"Unknown jit_compile {jit_compile!r}; choose one of {', '.join(JIT_COMPILE)}."
        )
    if jit_compile == "auto":
        accelerators = tf.config.list_logical_devices("GPU") + tf.config.list_logical_devices("TPU")
        return bool(accelerators) or max(sides(image_size)) <= SMALL_IMAGE
    return jit_compile == "on"


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Lets GPUs since Ampere multiply float32 in TF32, with 10 bits after the point, or forbids it.

    As a block or as the decorator of a function: `@tf32(False)` stands over whatever measures,
    compares or draws, so that float32 is float32 there. TensorFlow's own choice is to allow it.
    What was chosen before holds again afterwards.
    """
    before = tf32_is_allowed()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def tf32_is_allowed() -> bool:
    """Whether GPUs may multiply float32 in TF32 now."""
    return tf.config.experimental.tensor_float_32_execution_enabled()


@functools.cache
def computes_in_bfloat16() -> bool:
    """Whether this machine has instructions for bfloat16; yes where the system does not tell.

    Any GPU or TPU counts as having them: on those without, nobody would choose bfloat16.
    """
    if tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"):
        return True
    return not CPUINFO.exists() or not BFLOAT16_FLAGS.isdisjoint(CPUINFO.read_text().split())
