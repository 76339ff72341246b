"""Batches of a source read by a thread of their own, a few ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from dolake.changes import Batch

_BATCHES_AHEAD = 8


class ReadAhead:
    """Takes batches from an iterator that may wait for long; `end_waits` ends that waiting.

    Threads: one takes; `close` may come from any.
    """

    def __init__(self, batches: Iterator[Batch], end_waits: Callable[[], None]) -> None:
        self._batches = batches
        self._end_waits = end_waits
        self._ahead: queue.Queue[Batch | BaseException | None] = queue.Queue(_BATCHES_AHEAD)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="lake source", daemon=True)
        self._thread.start()
        self.is_at_end = False

    def take(self, timeout_seconds: float) -> Batch | None:
        """The next batch, or None when there is none in time, or at the end.

        Errors: those of reading.
        """
        if self.is_at_end:
            return None
        try:
            found = self._ahead.get(timeout=max(timeout_seconds, 0.0))
        except queue.Empty:
            return None
        if found is None:
            self.is_at_end = True
        elif isinstance(found, BaseException):
            self.is_at_end = True
            raise found
        return found

    def close(self) -> None:
        """Have the reader end, and wait until it has."""
        self._is_closed.set()
        while self._thread.is_alive():
            self._end_waits()  # again and again: it may be about to begin to wait
            try:
                self._ahead.get(timeout=0.01)
            except queue.Empty:
                continue

    def _read(self) -> None:
        last: BaseException | None = None
        try:
            for batch in self._batches:
                self._ahead.put(batch)
                if self._is_closed.is_set():
                    break
        except BaseException as error:
            last = error
        self._ahead.put(last)
