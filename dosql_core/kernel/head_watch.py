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

BACKGROUND = "dosql-"
_LOOK_SECONDS = 0.25
_LOOKS_IN_VAIN_MAX = 20


class HeadWatch:
    """Has a cycle run in each watched head whose WAL has grown long, whoever wrote it.

    The heads are those this process is the keeper of; the maintenance of others looks for itself.
    The thread outlives the last head a little, for the next one may come soon.

    Threads: any number, without a lock that one could wait for: the garbage collector may close a
    database, and so come here, from inside of anything, of this very class, too.
    """

    def __init__(self) -> None:
        self._heads: set[Head] = set()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()  # of that thread
        self._starting = threading.Lock()

    def add(self, head: Head) -> None:
        """Look at a head from now on."""
        self._heads.add(head)
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                self._end = threading.Event()
                thread = threading.Thread(
                    target=self._run, args=(self._end,), name=f"{BACKGROUND}watch", daemon=True
                )
                self._thread = thread
                thread.start()
            finally:
                self._starting.release()

    def remove(self, head: Head) -> None:
        """Do not look at it any more; it may be closed, also while it is looked at."""
        self._heads.discard(head)

    def rest(self) -> None:
        """End the thread when there is nothing to look at."""
        thread = self._thread
        if self._heads or thread is None or thread is threading.current_thread():
            return
        self._thread = None
        self._end.set()
        thread.join()

    def _run(self, end: threading.Event) -> None:
        looks_in_vain = 0
        while not end.wait(_LOOK_SECONDS):
            try:
                heads = list(self._heads)
            except RuntimeError:  # one came or went meanwhile
                continue
            looks_in_vain = 0 if heads else looks_in_vain + 1
            while heads:  # in no name of ours, which would keep a closed one until the next look
                self._look_at(heads.pop())
            if looks_in_vain > _LOOKS_IN_VAIN_MAX:
                self._thread = None
                if not self._heads:
                    return
                self._thread = threading.current_thread()  # one came just now

    def _look_at(self, head: Head) -> None:
        try:
            is_due = head.keeping.pacing.is_due()
        except ValueError:  # it was closed meanwhile
            return
        if is_due and head in self._heads:
            head.keeping.maintenance.wake()


def is_background_thread() -> bool:
    """Whether this is a thread of ours, which others wait for: it must not wait for them."""
    return threading.current_thread().name.startswith(BACKGROUND)


head_watch = HeadWatch()


def _watch_nothing() -> None:
    """In a child of fork(): heads and thread are the parent's."""
    head_watch.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    # Python warns of a fork beside a thread, and who has closed everything expects none
    os.register_at_fork(before=head_watch.rest, after_in_child=_watch_nothing)
