"""Whatever is raised, the person at the terminal reads one sentence."""

import errno
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.utils.cluster import parse_cluster
from diffusion_tf.utils.sentences import sentence


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def recursion():
    return recursion()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def raise_(error):
    raise error


FAULTS = {
    "RecursionError": recursion,
    "ZeroDivisionError": lambda: 1 / 0,
    "NotImplementedError": lambda: raise_(NotImplementedError()),
    "RuntimeError": lambda: raise_(RuntimeError("two\nlines")),
    "KeyError": lambda: {}["a"],
    "TypeError": lambda: len(5),
    "AssertionError": lambda: raise_(AssertionError()),
    "InvalidArgumentError": lambda: tf.reshape(tf.zeros([3]), [2]),
    "UnicodeDecodeError": lambda: b"\xff".decode("utf-8", errors="strict"),
    "ValueError": lambda: np.stack([]),  # of a library, which means something else
    "Mute": lambda: raise_(Mute()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_nobody_expected_is_called_a_fault_and_named(name):
    text = sentence(raised(FAULTS[name]))
    assert text.startswith("This is a fault of the program, or an input that it does not check: ")
    assert f" {name}: " in text and text.endswith("--debug shows the traceback.")
    assert "\n" not in text and "{{" not in text and len(text) < 600


@pytest.mark.parametrize(
    "function",
    [
        lambda: raise_(MemoryError()),
        lambda: np.zeros(2**55),
        lambda: raise_(tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating")),
    ],
)
def test_too_little_memory_is_called_so(function):
    text = sentence(raised(function))
    assert text.startswith("There is not enough memory") and "smaller batch" in text
    assert "fault" not in text and "\n" not in text


def test_what_was_written_for_people_stays_as_it_is():
    arguments = {"beta_start": 0.1, "beta_end": 0.2, "num_diffusion_timesteps": 0}
    for function in (
        lambda: get_beta_schedule("linear", **arguments),
        lambda: parse_cluster("no JSON"),
    ):
        error = raised(function)
        assert sentence(error) == str(error)


@pytest.mark.parametrize(
    "code, remedy",
    [
        (errno.EACCES, "allow it, or name another place"),
        (errno.EROFS, "name another place"),
        (errno.ENOSPC, "make room"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EXDEV, "see whether it is there"),
    ],
)
def test_the_systems_errors_get_the_file_and_a_remedy(code, remedy):
    text = sentence(OSError(code, "No luck", "/some/where"))
    assert text.startswith("/some/where: No luck; ") and remedy in text and text.endswith(".")
    assert "[Errno" not in text
    assert sentence(OSError(code, "No luck", "/a", None, "/b")).startswith("/a and /b: No luck")
    assert sentence(OSError(code, "No luck")).startswith("No luck; ")


def test_a_missing_package_is_not_called_a_fault():
    text = sentence(raised(lambda: __import__("nothing_of_this_name")))
    assert "package is missing" in text and "nothing_of_this_name" in text and "fault" not in text


@pytest.mark.parametrize("link", ["scripts", "script"])
def test_a_script_is_of_here_whatever_link_leads_to_it(link, tmp_path):
    scripts = Path(__file__).parents[2] / "scripts"
    (tmp_path / "scripts").symlink_to(scripts)
    (tmp_path / "script.py").symlink_to(scripts / "sample.py")
    path = tmp_path / ("scripts/sample.py" if link == "scripts" else "script.py")
    refuse = compile("raise ValueError('It is wrong; mend it.')", str(path), "exec")
    assert sentence(raised(lambda: exec(refuse))) == "It is wrong; mend it."
    other = compile("raise ValueError('It is wrong.')", str(tmp_path / "other.py"), "exec")
    assert sentence(raised(lambda: exec(other))).startswith("This is a fault of the program")
