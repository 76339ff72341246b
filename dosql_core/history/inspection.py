"""What there is to know about a database at a glance."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dosql_core.history.branching import BranchedDatabase, disk_bytes
from dosql_core.history.log import utc
from dosql_core.identifiers import MAIN_BRANCH_ID
from dosql_core.options import Retention


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """Sizes, counts and settings of a database.

    Shape: `opening_note` tells what was found when this process opened the file, if it was not
           as history left it: moved, copied, restored or written by another program.
    Units: `*_bytes` are bytes on disk; `oldest_lsn` and `lsn` are main's; times are UTC text.
           `oldest_reader_lsn` is that of the oldest snapshot the WAL has to keep frames for, ours
           included; `readers_need_the_wal` is whether there is any.
    """

    path: str
    database_id: str
    page_size: int
    lsn: int
    oldest_lsn: int
    last_commit_at: str | None
    database_bytes: int
    history_bytes: int
    wal_bytes: int
    directory_bytes: int
    branches: int
    snapshots: int
    retention: Retention
    is_keeper: bool
    readers_need_the_wal: bool
    oldest_reader_lsn: int | None
    opening_note: str | None
    maintenance_failure: str | None


def inspect(database: BranchedDatabase) -> DatabaseInfo:
    """Look at a database; its present commits are captured first."""
    refs = database.refs()
    with database.opened_head(MAIN_BRANCH_ID) as head:
        oldest_reader_lsn = head.oldest_reader_lsn()
        lsn = head.capture_now()
        failure = head.keeping.maintenance.failure
        path = head.place.database_path
        last = utc(head.history.commit(lsn).committed_at).isoformat() if lsn else None
        return DatabaseInfo(
            path,
            database.database_id,
            head.page_size,
            lsn,
            head.own_history.oldest_lsn,
            last,
            os.stat(path).st_size,
            head.own_history.stored_bytes,
            head.wal_bytes(),
            disk_bytes(path + "-dosql"),
            len(refs.branches),
            len(refs.snapshots),
            refs.retention,
            head.keeping.is_keeper,
            oldest_reader_lsn is not None,
            oldest_reader_lsn,
            head.opening_note,
            str(failure) if failure else None,
        )
