"""Whose turn it is, among the threads of this process, to commit to a table."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from dolake.catalog.identifiers import TableIdentifier


class CommitTurns:
    """Who of this process commits to a table waits for the one before, so that nobody starves.

    Between processes the pointer's compare-and-swap decides; this only spares work.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[TableIdentifier, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def of(self, identifiers: Sequence[TableIdentifier]) -> Iterator[None]:
        """Hold the turns of all of these tables until the end of the block."""
        with contextlib.ExitStack() as stack:
            for identifier in sorted(identifiers):  # in one order, so that nobody waits in a circle
                stack.enter_context(self._turn(identifier))
            yield

    @contextlib.contextmanager
    def _turn(self, identifier: TableIdentifier) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.get(identifier, (threading.Lock(), 0))
            self._locks[identifier] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks[identifier]
                if users == 1:
                    del self._locks[identifier]
                else:
                    self._locks[identifier] = (lock, users - 1)
