"""The same numbers with the instructions of every processor that this one can stand for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusion_tf.utils.devices import computes_in_bfloat16
from helpers.processor_numbers import all_numbers

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="module")
def expected():
    return all_numbers()


def distance(a, b):
    """Of two arrays, relative to the second."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def check(numbers, expected):
    for what in ("output", "gradient"):
        reference = expected[f"float32 {what}"]
        assert distance(numbers[f"float32 {what}"], reference) < 1e-5, what
        for way in ("instructions", "copies"):
            # bfloat16 has 8 bits; the difference is not 0, or it was not used.
            assert 1e-4 < distance(numbers[f"{way} {what}"], reference) < 0.05, (way, what)


def test_both_ways_to_multiply_in_bfloat16(expected):
    check(expected, expected)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE", "DEFAULT"])
def test_instructions_that_onednn_may_use(isa, expected, tmp_path):
    """Read when a process begins; what the processor has not is not used."""
    if isa == "AVX2" and computes_in_bfloat16():
        pytest.skip("TensorFlow hands oneDNN bfloat16 by the processor's flags, and crashes")
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "TF_ENABLE_ONEDNN_OPTS": "1"}
    command = [sys.executable, HELPERS / "processor_numbers.py", tmp_path / "numbers.npz"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "numbers.npz", allow_pickle=False) as saved:
        check(dict(saved), expected)
