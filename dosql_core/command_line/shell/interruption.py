"""Ctrl-C stops the statement that runs, not the shell.

Python runs signal handlers between its own instructions, so a handler alone would wait until
SQLite comes back from a query that may never end. The interpreter's C code, however, writes to a
"wakeup" pipe at once; a thread that reads it interrupts the connection while the main thread is
still inside SQLite. It does so until the work has stopped, for SQLite forgets an interruption that
comes between two statements. The handler itself only takes a note: no exception is thrown into the
middle of the driver. A second Ctrl-C does throw, in case it is not SQLite that keeps us.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_INTERRUPTED_AGAIN_SECONDS = 0.05


class InterruptedByUserError(Exception):
    """The user stopped what the shell was doing."""

    def __str__(self) -> str:
        return "interrupted"


class Interruption:
    """Whether the user pressed Ctrl-C since the work began."""

    def __init__(self) -> None:
        self.is_requested = False
        self._is_over = threading.Event()

    def check(self) -> None:
        """Stop here if the user asked for it.

        Errors: InterruptedByUserError.
        """
        if self.is_requested:
            raise InterruptedByUserError

    def end(self) -> None:
        """What was to be stopped has stopped."""
        self._is_over.set()

    @contextmanager
    def watching(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While inside, Ctrl-C calls `interrupt` from another thread until `end` is called."""
        self.is_requested = False
        self._is_over = is_over = threading.Event()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        watcher = threading.Thread(
            target=_pass_signals_on,
            args=(read_end, interrupt, is_over),
            name="dosql-interrupt",
            daemon=True,
        )
        previous_handler = signal.signal(signal.SIGINT, self._note)
        previous_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            signal.set_wakeup_fd(previous_wakeup)
            signal.signal(signal.SIGINT, previous_handler)
            os.close(write_end)  # the watcher reads the end of the pipe and leaves
            watcher.join()
            os.close(read_end)

    def _note(self, signal_number: int, frame: FrameType | None) -> None:
        if self.is_requested and not self._is_over.is_set():
            raise KeyboardInterrupt
        self.is_requested = True


@contextmanager
def nothing_to_interrupt() -> Iterator[None]:
    """While inside, Ctrl-C does nothing, but where somebody else watches for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def _pass_signals_on(
    read_end: int, interrupt: Callable[[], None], is_over: threading.Event
) -> None:
    while received := os.read(read_end, 64):
        if signal.SIGINT in received:
            interrupt()
            while not is_over.wait(_INTERRUPTED_AGAIN_SECONDS):
                interrupt()
