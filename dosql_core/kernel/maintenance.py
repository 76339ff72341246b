"""The thread of a head that captures and recycles the WAL, and takes over from a dead keeper."""

from __future__ import annotations

import threading
from typing import Protocol

_LOOK_SECONDS = 0.25


class Look(Protocol):
    """What the thread does each time; `asked` says that it was woken."""

    def __call__(self, *, asked: bool) -> None: ...


class Maintenance:
    """One thread a head, which sleeps but for a look at the WAL's length four times a second."""

    def __init__(self, look: Look, *, name: str) -> None:
        self._look = look
        self._name = name
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._cycled = threading.Condition()
        self.failure: BaseException | None = None

    def wake(self) -> None:
        """Have a cycle run soon."""
        self._wake.set()
        if self._thread is None:
            self.start()

    def wait_for_a_cycle(self, timeout_seconds: float) -> None:
        """Have a cycle run and wait until one has ended, or for that long."""
        with self._cycled:
            self.wake()
            self._cycled.wait(timeout_seconds)

    def start(self) -> None:
        """Start the thread unless it runs."""
        with self._start_lock:
            if self._thread is None and not self._stop:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread; a cycle that runs is finished first."""
        self._stop = True
        self._wake.set()
        with self._start_lock:  # somebody may be about to start it
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._look = _look_at_nothing  # whose look it was has us, too

    def _run(self) -> None:
        while not self._stop:
            # nobody else can tell that the keeper has died, or that another process has written
            asked = self._wake.wait(_LOOK_SECONDS)
            if self._stop:
                return
            self._wake.clear()
            try:
                self._look(asked=asked)
                self.failure = None
            except Exception as error:  # told by `info` and by the next close, which tries again
                self.failure = error
            with self._cycled:
                self._cycled.notify_all()


def _look_at_nothing(*, asked: bool) -> None:
    """The thread has ended, or is about to."""
