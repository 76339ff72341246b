"""The fair queue of the writers of one head inside this process: first come, first served."""

from __future__ import annotations

import threading
from collections import deque

from dosql_core.errors import DatabaseLockedError
from dosql_core.kernel.turnstile import Turnstile

_LOOK_SECONDS = 0.05
_SHORT_LOOK_SECONDS = 0.001


class WriteGate:
    """Lets one writer of this process at a time through to SQLite's write lock.

    A plain lock lets the thread that just released it take it again; here the turn is handed to
    whoever waits longest. Between processes the turnstile decides. While nobody waits the gate
    costs no more than a lock does; `take` and `give_back` are the fast halves of it.
    """

    __slots__ = ("_mutex", "_turn", "give_back", "is_maintained", "take", "turnstile", "waiters")

    def __init__(self, turnstile: Turnstile) -> None:
        self._mutex = threading.Lock()
        self._turn = threading.Lock()
        self.waiters: deque[threading.Lock] = deque()
        self.turnstile = turnstile
        self.is_maintained = False
        """Whether the keeper has the turn: it gives it back, so nobody gives up waiting for it."""
        self.take = self._turn.acquire
        self.give_back = self._turn.release

    def enter(self, timeout_seconds: float) -> None:
        """Wait for the turn.

        Errors: DatabaseLockedError when it does not come in time.
        """
        if self.waiters or not self.take(False):
            self._wait(timeout_seconds)
        if self.turnstile.is_contended():
            self.enter_turnstile(timeout_seconds)

    def enter_turnstile(self, timeout_seconds: float) -> None:
        """Having the turn in this process, wait for this process's turn.

        Errors: DatabaseLockedError when it does not come in time; then the turn is given back.
        """
        try:
            self.turnstile.enter(timeout_seconds)
        except BaseException:
            self.leave()
            raise

    def _wait(self, timeout_seconds: float) -> None:
        ticket = threading.Lock()
        ticket.acquire()
        with self._mutex:
            self.waiters.append(ticket)
            self._pass_on_if_free()
        try:
            # Counted in looks, as SQLite counts its sleeps: time in which this process does not run
            # is nobody's patience.
            left = timeout_seconds
            while not ticket.acquire(timeout=min(max(left, _SHORT_LOOK_SECONDS), _LOOK_SECONDS)):
                if self.is_maintained or self.turnstile.is_kept():
                    continue  # also without any patience: SQLite's checkpoints lock nobody out
                left -= _LOOK_SECONDS
                if left > 0:
                    continue
                with self._mutex:
                    if ticket not in self.waiters:
                        return  # the turn was handed over before we had the mutex: it is ours
                    self.waiters.remove(ticket)
                    raise DatabaseLockedError("database is locked")
        except DatabaseLockedError:
            raise
        except BaseException:  # Ctrl-C: nobody must be handed a turn that nobody takes
            self._give_up(ticket)
            raise

    def _give_up(self, ticket: threading.Lock) -> None:
        with self._mutex:
            is_waiting = ticket in self.waiters
            if is_waiting:
                self.waiters.remove(ticket)
        if not is_waiting:
            self.leave()

    def leave(self) -> None:
        """Hand the turn to whoever waits longest, or leave the gate open."""
        self.turnstile.leave(others_wait=bool(self.waiters))
        if self.waiters:
            with self._mutex:
                if self.waiters:
                    self.waiters.popleft().release()
                    return
        self.give_back()
        self.look_again()

    def look_again(self) -> None:
        """After `give_back`: somebody may have begun to wait just before it."""
        if self.waiters:
            with self._mutex:
                self._pass_on_if_free()

    def _pass_on_if_free(self) -> None:
        if self.waiters and self.take(False):
            self.waiters.popleft().release()
