"""Ctrl-C at moments in which there is nothing to stop, or nothing any more."""

from __future__ import annotations

import signal
import threading

import pytest

from dosql_core.command_line.shell.interruption import (
    InterruptedByUserError,
    Interruption,
    nothing_to_interrupt,
)


def press_control_c() -> None:
    """As the terminal does it; the handler has run on return."""
    signal.raise_signal(signal.SIGINT)


def test_the_first_asks_and_the_second_throws() -> None:
    interruption, interrupted = Interruption(), threading.Event()
    with interruption.watching(interrupted.set):
        press_control_c()
        assert interrupted.wait(60)
        with pytest.raises(InterruptedByUserError):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            press_control_c()


def test_what_has_stopped_is_not_stopped_again() -> None:
    interruption = Interruption()
    with interruption.watching(lambda: None):
        press_control_c()
        interruption.end()
        press_control_c()
        press_control_c()


def test_between_two_statements_it_does_nothing() -> None:
    interruption = Interruption()
    before = signal.getsignal(signal.SIGINT)
    with nothing_to_interrupt():
        press_control_c()
        with interruption.watching(lambda: None):
            pass
        press_control_c()
    assert signal.getsignal(signal.SIGINT) is before
    assert not interruption.is_requested
