"""The fair queue of the writers of one head inside this process: first come, first served."""

from __future__ import annotations

import threading
from collections import deque

from dosql_core.errors import DatabaseLockedError
from dosql_core.kernel.turnstile import Turnstile


class WriteGate:
    """Lets one writer of this process at a time through to SQLite's write lock.

    A plain lock lets the thread that just released it take it again; here the turn is handed to
    whoever waits longest. Between processes the turnstile decides.
    """

    __slots__ = ("_is_taken", "_mutex", "_waiters", "turnstile")

    def __init__(self, turnstile: Turnstile) -> None:
        self._mutex = threading.Lock()
        self._waiters: deque[threading.Lock] = deque()
        self._is_taken = False
        self.turnstile = turnstile

    def enter(self, timeout_seconds: float) -> None:
        """Wait for the turn.

        Errors: DatabaseLockedError when it does not come in time.
        """
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                ticket = None
            else:
                ticket = threading.Lock()
                ticket.acquire()
                self._waiters.append(ticket)
        if ticket is not None and not ticket.acquire(timeout=max(timeout_seconds, 0.0)):
            with self._mutex:
                if ticket in self._waiters:
                    self._waiters.remove(ticket)
                    raise DatabaseLockedError("database is locked")
            # the turn was handed over between the timeout and the mutex: it is ours
        if self.turnstile.is_contended():
            try:
                self.turnstile.enter(timeout_seconds)
            except BaseException:
                self.leave()
                raise

    def leave(self) -> None:
        """Hand the turn to whoever waits longest, or leave the gate open."""
        self.turnstile.leave(others_wait=bool(self._waiters))
        with self._mutex:
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._is_taken = False
