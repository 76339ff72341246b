"""One thread of the process that looks how long the WALs of its heads have become.

A commit of this process tells the head's own maintenance itself; this is for the commits of other
processes, which only the WAL tells of. So opening a database need not start a thread each time.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dosql_core.kernel.head import Head

_LOOK_SECONDS = 0.25
_LOOKS_IN_VAIN_MAX = 20


class HeadWatch:
    """Has a cycle run in each watched head whose WAL has grown long, whoever wrote it.

    The heads are those this process is the keeper of; the maintenance of others looks for itself.
    The thread outlives the last head a little, for the next one may come soon.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: set[Head] = set()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()  # of that thread

    def add(self, head: Head) -> None:
        """Look at a head from now on."""
        with self._lock:
            self._heads.add(head)
            if self._thread is None:
                self._end = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._end,), name="dosql-watch", daemon=True
                )
                self._thread.start()

    def remove(self, head: Head) -> None:
        """Do not look at it any more; on return nobody does."""
        with self._lock:
            self._heads.discard(head)

    def rest(self) -> None:
        """End the thread when there is nothing to look at."""
        with self._lock:
            if self._heads or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._end.set()
        thread.join()

    def _run(self, end: threading.Event) -> None:
        looks_in_vain = 0
        while not end.wait(_LOOK_SECONDS):
            with self._lock:
                heads = list(self._heads)
                looks_in_vain = 0 if heads else looks_in_vain + 1
                if looks_in_vain > _LOOKS_IN_VAIN_MAX:
                    self._thread = None
                    return
            for head in heads:
                self._look_at(head)

    def _look_at(self, head: Head) -> None:
        with self._lock:  # so that the head cannot be closed meanwhile
            if head in self._heads and head.pacing.is_due():
                head.maintenance.wake()


head_watch = HeadWatch()


def _watch_nothing() -> None:
    """In a child of fork(): heads and thread are the parent's."""
    head_watch.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    # Python warns of a fork beside a thread, and who has closed everything expects none
    os.register_at_fork(before=head_watch.rest, after_in_child=_watch_nothing)
