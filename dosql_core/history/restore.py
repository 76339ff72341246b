"""Put a branch back to a moment as a new commit, and make a head again from its history."""

from __future__ import annotations

import os

from dosql_core.errors import CannotOpenError
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.moments import AsOf, moment_from
from dosql_core.history.refs import Refs, RefsContent, directory_of
from dosql_core.history.time_travel import resolve
from dosql_core.identifiers import MAIN_BRANCH, MAIN_BRANCH_ID, BranchId, Lsn
from dosql_core.kernel.keeper import stamp_of
from dosql_core.kernel.page_restore import restore_pages
from dosql_core.kernel.wal_position import CapturedPosition
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.database_export import write_database
from dosql_core.storage.durable_files import publish_file, remove_quietly
from dosql_core.storage.lock_files import exclusive_lock
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
            lsn = restore_pages(
                head,
                view,
                author=author,
                message=message or f"restored to {asked} (LSN {resolved.lsn})",
            )
        finally:
            view.close()
    if resolved.branch_id == branch_id and any(
        merge.target_id == branch_id and merge.target_lsn > resolved.lsn
        for merge in database.refs().merges
    ):
        with database.updated_refs() as refs:  # so that it can be merged again
            refs.forget_merges_after(branch_id, resolved.lsn)
    return lsn


def rebuild_head(path: str, branch: str = MAIN_BRANCH) -> Lsn:
    """Make the head of a branch again from its history; returns the LSN it has then.

    For main that is the database file at `path`; the head of a fork becomes a stock file, as
    hydrated. The damaged files are kept beside it, with `.damaged` added to their names. Commits
    that only the lost WAL had are gone.

    Errors: BranchInUseError when somebody has the branch open; CannotOpenError when there is no
            history; CorruptStoreError when that is damaged, too.
    """
    path = os.path.realpath(path)
    directory = directory_of(path)
    if not os.path.isdir(os.path.join(directory, "branches")):
        raise CannotOpenError(f"there is no history beside {path} to rebuild it from")
    if branch == MAIN_BRANCH:  # whose refs may be damaged as well
        branch_id, own_directory = MAIN_BRANCH_ID, os.path.join(directory, "branches", "main")
        history = PageHistory(BranchHistory.open(os.path.join(own_directory, "history")), None)
        target, replaced = path, _with_wal(path)
    else:
        refs = Refs(directory).content
        branch_id = refs.branch(branch).id
        own_directory = os.path.join(directory, "branches", branch_id)
        history = _history_of(directory, refs, branch_id)
        target = os.path.join(own_directory, "head.db")
        overlay = os.path.join(own_directory, "head.cow")
        replaced = [*_with_wal(target), *_with_wal(overlay)]
        replaced.append(os.path.join(own_directory, "overlay.map"))
    in_use = os.path.join(own_directory, "in_use.lock")
    with exclusive_lock(in_use, refusal=f"branch {branch!r} is open"):
        _replace_head(history, target, replaced)
        if branch_id != MAIN_BRANCH_ID:
            with Refs(directory).update() as refs:
                refs.replace_branch(branch_id, is_overlay=False)
    return history.newest_lsn


def _with_wal(path: str) -> list[str]:
    return [path, path + "-wal", path + "-shm"]


def _history_of(directory: str, refs: RefsContent, branch_id: BranchId) -> PageHistory:
    parent_id = refs.branches[branch_id].parent_id
    parent = None if parent_id is None else _history_of(directory, refs, parent_id)
    own = BranchHistory.open(os.path.join(directory, "branches", branch_id, "history"))
    return PageHistory(own, parent)


def _replace_head(history: PageHistory, target: str, replaced: list[str]) -> None:
    """Write the newest moment in the place of `target`; a crash leaves what can be done again."""
    rebuilt = target + ".rebuilt"
    remove_quietly(rebuilt)  # of an attempt that was cut short
    view = history.view(history.newest_lsn)
    try:
        write_database(view, rebuilt)
    finally:
        view.close()
    try:
        for damaged in replaced:
            if os.path.exists(damaged):
                os.replace(damaged, damaged + ".damaged")
        publish_file(rebuilt, target)
    except OSError as error:
        raise CannotOpenError(f"{target} could not be replaced: {error}") from error
    own = history.own
    captured = CapturedPosition.from_json(own.captured)
    position = CapturedPosition(
        is_complete=True, ring=captured.ring, checkpointed=own.newest_lsn, stamp=stamp_of(target)
    )
    own.seal([], (), captured=position.to_json(), predecessor=None)
