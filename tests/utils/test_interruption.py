"""Signals as requests."""

import os
import signal
import threading

import pytest

from diffusion_tf.utils.interruption import Interrupted, StopSignals


@pytest.fixture
def handled():
    """What a handler that the program had set before was called with."""
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_the_first_signal_is_remembered_and_the_second_acts(handled):
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.received, handled) == (signal.SIGTERM, [])
        os.kill(os.getpid(), signal.SIGTERM)
        assert handled == [signal.SIGTERM]


def test_afterwards_everything_is_as_before(handled):
    with StopSignals() as signals:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert (signals.received, handled) == (None, [signal.SIGTERM])


def test_other_threads_hear_nothing(handled):
    def listen():
        with StopSignals() as signals:
            received.append(signals.received)

    received = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert received == [None]


def test_exit_codes_are_those_of_shells():
    assert Interrupted("", signal.SIGINT).exit_code == 130
    assert Interrupted("", signal.SIGTERM).exit_code == 143
