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


@pytest.mark.usefixtures("listening_to_its_terminal")
def test_a_closed_terminal_is_a_request_that_may_be_repeated():
    before = signal.getsignal(signal.SIGHUP)
    with StopSignals() as signals:
        for _ in range(3):  # the shell says it, and the system
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) is before
    assert Interrupted("", signal.SIGHUP).exit_code == 129


def test_under_nohup_a_closed_terminal_is_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
