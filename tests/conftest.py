"""Shared by all tests."""

import gc
import os
import signal

import pytest

pytest.register_assert_rewrite("helpers")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is first imported
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else this machine prefers
# Threads of torch that wait by spinning would take the processors from TensorFlow's.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Test files side by side share the processors: more threads would only wait for each other.
SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE)))
# Of files side by side those with long tests begin, so that none is left to one worker at the end.
LONG = (
    "test_learn.py", "evaluation/test_run.py", "scripts/test_scripts.py", "training/test_loop.py",
    "training/test_trainer.py", "gaussian_diffusion/test_loops.py", "exact/test_samplers.py",
    "convert/test_convert.py", "convert/test_export.py", "crosscheck/test_module.py",
    "crosscheck/test_verdicts.py", "models/test_unet.py",
)  # fmt: skip


def pytest_configure(config):
    import tensorflow as tf

    config.option.loadscopereorder = False  # or files of many tests begin, however short
    # The tolerances are those of float32, which TF32 on a GPU would not meet.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    # For tests with several replicas; whatever asks for none of them runs on the first.
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


def pytest_collection_finish():
    gc.freeze()  # what all these modules hold stays: no collection walks through it again


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))
    for item in items:
        for marker, seconds in (("slow", 1800), ("training", 3600)):
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.timeout(seconds))


@pytest.fixture(params=[True, False], ids=["instructions", "copies"])
def bfloat16_instructions(request, monkeypatch):
    """Both ways to multiply in bfloat16, whatever the processor has: with instructions, or copies.

    Without instructions TensorFlow emulates what they do.
    """
    from diffusion_tf.models import products

    monkeypatch.setattr(products, "computes_in_bfloat16", lambda: request.param)
    return request.param


@pytest.fixture(params=["eager", "graph", "jit"])
def compiled(request):
    """Wraps a function for each way of running it."""
    import tensorflow as tf

    return {
        "eager": lambda function: function,
        "graph": tf.function,
        "jit": lambda function: tf.function(function, jit_compile=True),
    }[request.param]


@pytest.fixture
def listening_to_its_terminal():
    """A closed terminal is told of, although nohup may have started these tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
