"""Branches of one database: create, drop, rename, protect, list, hydrate."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from dosql_core.errors import (
    BranchInUseError,
    BranchProtectedError,
    HistoryExpiredError,
    InvalidBranchNameError,
    NotSupportedError,
)
from dosql_core.history.ancestry import contained_lsns, merges_without
from dosql_core.history.moments import AsOf, moment_from, now
from dosql_core.history.refs import BranchRef, RefsContent, check_branch_name
from dosql_core.history.time_travel import ResolvedMoment, SealedHistory, resolve
from dosql_core.identifiers import MAIN_BRANCH, BranchId, BranchName, Lsn
from dosql_core.kernel.head import Head
from dosql_core.kernel.keeper import stamp_of
from dosql_core.kernel.overlay_map import create_overlay_map
from dosql_core.kernel.wal_position import CapturedPosition
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.database_export import write_database
from dosql_core.storage.durable_files import make_directory, sync_directory
from dosql_core.storage.page_history import PageHistory

Progress = Callable[[int, int], None]
_TRIES = 5


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """A branch as a list shows it.

    Shape: `is_merged` when its parent has all of it.
    Units: `ahead` counts the commits on it that its parent does not have, `behind` those on the
           parent that it does not have, merges being counted in; `own_bytes` is what it takes on
           disk itself: its pages, its WAL and its history.
    """

    name: BranchName
    parent: BranchName | None
    fork_lsn: Lsn
    lsn: Lsn
    ahead: int
    behind: int
    own_bytes: int
    is_protected: bool
    is_hydrated: bool
    id: BranchId
    is_merged: bool


class BranchedDatabase(SealedHistory, Protocol):
    """What branching needs of a database."""

    database_id: str

    def branch_directory(self, branch_id: BranchId) -> str:
        """Where a branch lives."""

    def updated_refs(self) -> AbstractContextManager[RefsContent]:
        """Change the refs."""

    def held_refs(self) -> AbstractContextManager[RefsContent]:
        """The refs, which nobody changes within the block."""

    def head_path(self, branch: BranchRef) -> str:
        """The file that SQLite opens as the head of a branch."""

    def is_open(self, branch_id: BranchId) -> bool:
        """Whether this process has the head of a branch open."""

    def opened_head(self, branch_id: BranchId) -> AbstractContextManager[Head]:
        """A branch's head, open within the block."""

    def unused_head(self, branch_id: BranchId, name: str) -> AbstractContextManager[None]:
        """A branch that nobody has open within the block."""

    def forget_history(self, branch_id: BranchId) -> None:
        """Do not serve that branch's history from memory any more."""

    def compaction_stopped(self) -> AbstractContextManager[None]:
        """Nothing is dropped from history within the block."""


class Branches:
    """The branches of one database."""

    def __init__(self, database: BranchedDatabase) -> None:
        self._database = database

    def create(
        self,
        name: str,
        source: str = MAIN_BRANCH,
        as_of: AsOf | None = None,
        *,
        if_not_exists: bool = False,
    ) -> BranchInfo:
        """Fork a branch off `source`, now or as of a moment; costs the same for every size.

        Errors: BranchExistsError, InvalidBranchNameError, BranchNotFoundError, the TT_* family.
        """
        check_branch_name(name)
        database = self._database
        parent = database.refs().branch(source)
        if if_not_exists and database.refs().find_branch(name) is not None:
            return self.get(name)
        for tries_left in reversed(range(_TRIES)):
            if as_of is None:
                resolved = ResolvedMoment(parent.id, database.sealed(parent.id).newest_lsn)
            else:
                resolved = resolve(moment_from(as_of), parent.id, database)
            history = database.known(resolved.branch_id)
            with database.updated_refs() as refs:
                if if_not_exists and refs.find_branch(name) is not None:
                    break  # somebody else was faster
                refs.refuse_taken_name(name)
                branch = BranchRef(
                    refs.new_branch_id(name),
                    BranchName(name),
                    resolved.branch_id,
                    resolved.lsn,
                    now(),
                    is_overlay=True,
                )
                try:
                    self._make_files(branch, history)
                except HistoryExpiredError:  # dropped since it was looked up
                    if tries_left:
                        continue
                    raise
                refs.add_branch(branch)
            break
        return self.get(name)

    def _make_files(self, branch: BranchRef, parent: PageHistory) -> None:
        directory = self._database.branch_directory(branch.id)
        make_directory(directory)
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            parent.refresh()
            view = parent.view(branch.fork_lsn)
            try:
                create_overlay_map(
                    os.path.join(directory, "overlay.map"),
                    page_size=view.page_size,
                    page_count=view.page_count,
                )
                BranchHistory.create(
                    os.path.join(directory, "history"),
                    page_size=view.page_size,
                    branch_id=branch.id,
                    fork_lsn=branch.fork_lsn,
                )
            finally:
                view.close()
            with open(os.path.join(directory, "head.cow"), "xb"):
                pass
            sync_directory(directory)
            undo.pop_all()

    def drop(self, name: str, *, force: bool = False, if_exists: bool = False) -> None:
        """Remove a branch and its history; `force` also drops the snapshots on it.

        Errors: BranchNotFoundError; BranchProtectedError; BranchInUseError when it is open, others
                fork from it, or snapshots name it.
        """
        database = self._database
        refs = database.refs()
        if if_exists and refs.find_branch(name) is None:
            return
        branch = refs.branch(name)
        if branch.parent_id is None:
            raise BranchProtectedError(
                f"branch {name!r} is the database itself, so it cannot be dropped",
                hint="only forks can be dropped; SHOW BRANCHES lists them",
            )
        with database.unused_head(branch.id, name):
            with database.updated_refs() as refs:
                self._refuse_to_drop(refs, refs.branches[branch.id], force)
                for snapshot in list(refs.snapshots.values()):
                    if snapshot.branch_id == branch.id:
                        del refs.snapshots[snapshot.name]
                for slot in list(refs.slots.values()):
                    if slot.branch_id == branch.id:
                        del refs.slots[slot.name]
                refs.merges = merges_without(refs, branch.id)
                refs.pending_merges.pop(branch.id, None)
                del refs.branches[branch.id]
            database.forget_history(branch.id)
            # what cannot be removed now, the next opening removes: no ref names it any more
            shutil.rmtree(database.branch_directory(branch.id), ignore_errors=True)

    def _refuse_to_drop(self, refs: RefsContent, branch: BranchRef, force: bool) -> None:
        if branch.is_protected:
            raise BranchProtectedError(
                f"branch {branch.name!r} is protected",
                hint=f"ALTER BRANCH {branch.name} UNPROTECT first",
            )
        children = [child.name for child in refs.children(branch.id)]
        if children:
            raise BranchInUseError(
                f"branch {branch.name!r} is the parent of {', '.join(map(repr, children))}",
                hint="drop those first",
            )
        named = [s.name for s in refs.snapshots.values() if s.branch_id == branch.id]
        if named and not force:
            raise BranchInUseError(
                f"snapshots name moments of branch {branch.name!r}: {', '.join(named)}",
                hint="drop them first, or drop the branch with force",
            )
        for pending in refs.pending_merges.values():
            if pending.target_id != branch.id and branch.id in dict(pending.moments):
                into = refs.branches[pending.target_id].name
                raise BranchInUseError(
                    f"a merge of branch {branch.name!r} into {into!r} is pending",
                    hint="COMMIT MERGE or ABORT MERGE first",
                )

    def rename(self, name: str, new_name: str) -> None:
        """Give a branch another name; connections to it stay open.

        Errors: BranchNotFoundError, BranchExistsError, InvalidBranchNameError.
        """
        check_branch_name(new_name)
        with self._database.updated_refs() as refs:
            branch = refs.branch(name)
            if branch.parent_id is None:
                raise InvalidBranchNameError(
                    f"branch {name!r} is the database itself; it keeps its name",
                    hint=f"CREATE BRANCH {new_name!r} makes a branch of that name",
                )
            if new_name.casefold() != name.casefold():
                refs.refuse_taken_name(new_name)
            refs.replace_branch(branch.id, name=BranchName(new_name))

    def protect(self, name: str, protected: bool = True) -> None:
        """Have a branch refused to `drop`, or not any more."""
        with self._database.updated_refs() as refs:
            refs.replace_branch(refs.branch(name).id, is_protected=protected)

    def get(self, name: str) -> BranchInfo:
        """One branch."""
        return self._info(self._database.refs().branch(name))

    def list(self, pattern: str | None = None) -> list[BranchInfo]:
        """All branches, parents first; `pattern` is a glob over names."""
        branches = self._database.refs().branches.values()
        return [
            self._info(branch)
            for branch in sorted(branches, key=lambda branch: branch.created_at)
            if pattern is None or fnmatch.fnmatchcase(branch.name, pattern)
        ]

    def _info(self, branch: BranchRef) -> BranchInfo:
        database = self._database
        lsn = self._newest(branch)
        directory = database.branch_directory(branch.id)
        parent = database.refs().branches[branch.parent_id] if branch.parent_id else None
        ahead = behind = 0
        if parent is not None:
            parent_lsn = self._newest(parent)
            refs = database.refs()
            there = contained_lsns(refs, parent.id, parent_lsn).get(branch.id, Lsn(0))
            here = contained_lsns(refs, branch.id, lsn)[parent.id]
            ahead = max(lsn - max(there, branch.fork_lsn), 0)
            behind = max(parent_lsn - here, 0)
        return BranchInfo(
            branch.name,
            parent.name if parent else None,
            branch.fork_lsn,
            lsn,
            ahead,
            behind,
            disk_bytes(directory),
            branch.is_protected,
            not branch.is_overlay,
            branch.id,
            parent is not None and ahead == 0,
        )

    def _newest(self, branch: BranchRef) -> Lsn:
        database = self._database
        if branch.parent_id is not None and not database.is_open(branch.id):
            # a fork that was closed properly left nothing in its WAL that history does not have
            wal = database.head_path(branch) + "-wal"
            if not os.path.exists(wal) or os.stat(wal).st_size == 0:
                return database.known(branch.id).newest_lsn
        with database.opened_head(branch.id) as head:
            return head.newest_lsn()

    def hydrate(self, name: str, progress: Progress | None = None) -> str:
        """Turn a fork's head into a stock SQLite file and return its path.

        Errors: NotSupportedError when it is one; BranchInUseError when it is open anywhere.
        """
        database = self._database
        branch = database.refs().branch(name)
        if not branch.is_overlay:
            raise NotSupportedError(f"branch {name!r} is a stock SQLite file already")
        directory = database.branch_directory(branch.id)
        history = database.sealed(branch.id)
        with database.unused_head(branch.id, name):
            target = os.path.join(directory, "head.db")
            for leftover in (target, target + "-wal", target + "-shm"):
                if os.path.exists(leftover):  # of a hydration that was cut short
                    os.remove(leftover)
            history.refresh()
            view = history.view(history.newest_lsn)
            try:
                write_database(view, target, progress)
            finally:
                view.close()
            own = BranchHistory.open(os.path.join(directory, "history"))
            captured = CapturedPosition.from_json(own.captured)
            position = CapturedPosition(
                is_complete=True,
                ring=captured.ring,
                checkpointed=own.newest_lsn,
                stamp=stamp_of(target),
            )
            own.seal([], (), captured=position.to_json(), predecessor=None)
            with database.updated_refs() as refs:
                refs.replace_branch(branch.id, is_overlay=False)
            database.forget_history(branch.id)
            for name_of_file in ("head.cow", "head.cow-wal", "head.cow-shm", "overlay.map"):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(directory, name_of_file))
        return target


def disk_bytes(directory: str) -> int:
    """Bytes on disk below a directory; a sparse file counts what it really takes."""
    total = 0
    for folder, _folders, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total
