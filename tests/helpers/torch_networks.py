"""PyTorch's networks beside ours: the same images in, outputs compared."""

import numpy as np
import pytest


def import_torch():
    """torch, or the test is skipped."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # beside TensorFlow's, more of them spend their time waiting
    return torch


def images(size, channels=3):
    x = np.random.RandomState(1).randn(2, size, size, channels).astype(np.float32)
    return x, np.array([3, 777])


def torch_output(module, x, t):
    """What a PyTorch network gives for NHWC images."""
    torch = import_torch()
    with torch.no_grad():
        output = module.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.tensor(t))
    return getattr(output, "sample", output).numpy().transpose(0, 2, 3, 1)


def assert_close(output, expected):
    """Within 2e-5 of the largest value, in float32."""
    assert output.shape == expected.shape
    assert np.abs(expected).max() > 0.5  # not the almost nothing that a new network returns
    np.testing.assert_allclose(output, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
