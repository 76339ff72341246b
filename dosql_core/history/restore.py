"""Put a branch back to a moment as a new commit, and make a head again from its history."""

from __future__ import annotations

import os

from dosql_core.errors import CannotOpenError, DatabaseError
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.moments import AsOf, moment_from
from dosql_core.history.refs import directory_of
from dosql_core.history.time_travel import resolve
from dosql_core.identifiers import Lsn
from dosql_core.kernel.keeper import stamp_of
from dosql_core.kernel.page_restore import write_pages
from dosql_core.kernel.wal_position import CapturedPosition
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.database_export import write_database
from dosql_core.storage.page_history import PageHistory


def restore_branch(
    database: BranchedDatabase,
    moment: AsOf,
    branch: str,
    *,
    author: str | None = None,
    message: str | None = None,
) -> Lsn:
    """Make the branch what it was at `moment`; the restore is a commit and can be undone.

    Errors: those of looking the moment up; DatabaseLockedError when writers do not make room.
    """
    asked = moment_from(moment)
    branch_id = database.refs().branch(branch).id
    resolved = resolve(asked, branch_id, database)
    with database.opened_head(branch_id) as head:
        head.capture_now()
        view = database.known(resolved.branch_id).view(resolved.lsn)
        try:
            lsn = write_pages(
                head,
                view,
                author=author,
                message=message or f"restored to {asked} (LSN {resolved.lsn})",
            )
        finally:
            view.close()
    return lsn


def rebuild_head(path: str) -> Lsn:
    """Make the database file at `path` again from its history; returns the LSN it has then.

    The damaged file and its WAL are kept beside it, with `.damaged` added to their names. Nobody
    may have the database open.
    """
    directory = os.path.join(directory_of(os.path.realpath(path)), "branches", "main")
    history_directory = os.path.join(directory, "history")
    if not os.path.isdir(history_directory):
        raise CannotOpenError(f"there is no history beside {path} to rebuild it from")
    own = BranchHistory.open(history_directory)
    history = PageHistory(own, None)
    view = history.view(own.newest_lsn)
    rebuilt = path + ".rebuilt"
    if os.path.exists(rebuilt):
        os.remove(rebuilt)  # of an attempt that was cut short
    try:
        write_database(view, rebuilt)
    finally:
        view.close()
    try:
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.replace(path + suffix, f"{path}{suffix}.damaged")
        os.replace(rebuilt, path)
    except OSError as error:
        raise DatabaseError(f"{path} could not be replaced: {error}") from error
    captured = CapturedPosition.from_json(own.captured)
    position = CapturedPosition(
        is_complete=True, ring=captured.ring, checkpointed=own.newest_lsn, stamp=stamp_of(path)
    )
    own.seal([], (), captured=position.to_json(), predecessor=None)
    return own.newest_lsn
