"""A process that keeps one head's WAL for another process, its parent, whose commits keep it busy.

To everybody else it is a process that has the database open. It does as the lines of its standard
input say, one after another, and ends with its parent: at once, as if both had been killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue

from dosql_core.database import open_database
from dosql_core.identifiers import BranchId
from dosql_core.kernel.companion import (
    CHECKPOINT,
    COPIED_ALL,
    COPIED_SOME,
    KEEP,
    KEPT,
    MAINTAIN,
    READY,
    RESIGN,
)
from dosql_core.kernel.head import Head
from dosql_core.kernel.keeping import Keeping
from dosql_core.options import DatabaseOptions

_PARENT_SECONDS = 0.25


def main(
    path: str, branch_id: str, wal_capture_bytes: str, parent: str, lock_descriptor: str
) -> None:
    """Open the head of a branch, say so, and follow orders.

    Shape: `parent` is its process id, which `getppid` tells no more when it has ended already, and
    `lock_descriptor` an opening of the lock of keepers, which is the parent's as well.
    """
    for typed in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(typed, signal.SIG_IGN)  # Ctrl-C and its like are for the parent to deal with
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    Keeping.is_volunteer = False
    options = DatabaseOptions(
        create=False,
        wal_capture_bytes=int(wal_capture_bytes),
        companion_after_seconds=None,
    )
    try:
        head = open_database(path, options).use_head(BranchId(branch_id))
        _say(READY)
        while (order := orders.get()) != RESIGN:
            _say(_follow(order, head, int(lock_descriptor)))
            head.keeping.tidy()
        head.keeping.stop()
    except Exception as error:  # whatever it is, the parent does the work itself then
        _say(f"{type(error).__name__}: {error}")
    # Nothing is closed as a last user would do it, for the parent goes on.
    os._exit(0)


def _follow(order: str, head: Head, lock_descriptor: int) -> str:
    if order == KEEP and head.keeping.succeed(lock_descriptor):
        return KEPT
    if order == MAINTAIN:
        return COPIED_ALL if head.keeping.maintain(at_once=True) else COPIED_SOME
    if order == CHECKPOINT:
        return COPIED_ALL if head.keeping.checkpoint() else COPIED_SOME
    return f"{order} cannot be done"


def _say(answer: str) -> None:
    line = " ".join(answer.split()) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


def _listen(orders: SimpleQueue[str]) -> None:
    try:
        for line in sys.stdin:
            orders.put(line.strip())
    finally:
        os._exit(0)  # the parent has gone


def _end_with(parent: int) -> None:
    """End with the parent, also when a child of its own holds our standard input open."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
