"""Write every page of a view into a head, as one commit."""

from __future__ import annotations

import apsw

from dosql_core.errors import DatabaseLockedError
from dosql_core.identifiers import Lsn
from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI, open_internal
from dosql_core.kernel.head import Head
from dosql_core.kernel.past_vfs import Pages, past_vfs, view_uri
from dosql_core.storage.segment_format import CommitFlag

_GATE_SECONDS = 30.0


def write_pages(head: Head, pages: Pages, *, author: str | None, message: str | None) -> Lsn:
    """Make the head equal to `pages` and return the LSN of the commit that did it.

    SQLite's backup writes into the head's WAL within one transaction, so a crash leaves the head
    as it was. Its commit runs no commit hook: the time is noted here.
    """
    name = past_vfs().register(pages)
    source = apsw.Connection(view_uri(name), flags=OPEN_READ_ONLY | OPEN_URI)
    target = open_internal(head.place.database_path, vfs=head.vfs)
    target.set_busy_timeout(int(_GATE_SECONDS * 1000))
    try:
        head.gate.enter(_GATE_SECONDS)
        try:
            with head.pin_lock, head.capture:
                at = head.times.next_time()
                with target.backup("main", source, "main") as backup:
                    try:
                        backup.step(1)
                        at = head.times.next_time()
                        head.times.record(head.index, at)
                        while not backup.done:
                            backup.step(-1)
                    except (apsw.BusyError, apsw.LockedError) as error:
                        raise DatabaseLockedError("database is locked") from error
                head.capture.describe(at, CommitFlag.RESTORE, author, message)
                lsn = head.capture_now()
        finally:
            head.gate.leave()
    finally:
        source.close()
        past_vfs().forget(name)
        target.close()
    return lsn
