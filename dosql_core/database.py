"""One database in this process: composes heads, histories and refs; `open_database` returns it."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator

from dosql_core.changes.change_streams import ChangeStreams
from dosql_core.errors import (
    BranchInUseError,
    CannotOpenError,
    CorruptStoreError,
    DatabaseNotFoundError,
    ForeignDirectoryError,
    ForkedConnectionError,
    MissingSegmentError,
)
from dosql_core.history import deletion
from dosql_core.history.differences import Difference
from dosql_core.history.inspection import DatabaseInfo, inspect
from dosql_core.history.log import LoggedCommit, log_of
from dosql_core.history.moments import AsOf, moment_from
from dosql_core.history.refs import BranchRef, Refs, RefsContent, directory_of
from dosql_core.history.restore import rebuild_head, restore_branch
from dosql_core.history.retention import (
    CompactionTotals,
    check_policy,
    compact_branches,
    compact_head,
    lose_lagging_slots,
)
from dosql_core.history.settling import wait_until_settled
from dosql_core.history.snapshots import Snapshots
from dosql_core.history.table_restore import restore_table
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.history.verification import Finding, verify_database
from dosql_core.identifiers import MAIN_BRANCH, MAIN_BRANCH_ID, BranchId, Lsn
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.empty_file import remake_empty_file
from dosql_core.kernel.error_translation import KernelError, translate
from dosql_core.kernel.head import Head, HeadPlace
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.merging.mergeable_branches import MergeableBranches
from dosql_core.options import DatabaseOptions, Retention, SessionOptions
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.checked_document import read_document, write_document
from dosql_core.storage.database_export import write_database
from dosql_core.storage.durable_files import make_directory
from dosql_core.storage.file_lock import exclusive_lock
from dosql_core.storage.page_history import PageHistory

Progress = Callable[[int, int], None]
FORMAT_VERSION = 1
_IDENTITY_KIND = "dosql database"
_IDENTITY_NAME = "dosql.json"
_NAMES_AT_FIRST = {"identity.lock", "refs.json", "refs.json.tmp", "dosql.json.tmp"}

_registry: dict[str, Database] = {}
_registry_lock = threading.RLock()
_open_at_fork: dict[str, Database] = {}  # kept, for closing them would be the parent's business


def open_database(
    path: str | os.PathLike[str],
    options: DatabaseOptions | None = None,
    *,
    on_progress: Progress | None = None,
) -> Database:
    """Open a database: a new file, a DoSQL database, or an existing SQLite file, adopted in place.

    All openings of one file in a process share one Database; each has to be closed.
    `on_progress(done, total)` is called with pages while a large file is adopted.
    Errors: ForkedConnectionError for a database that was open when this process was forked.
    """
    real_path = os.path.realpath(os.fspath(path))
    with _registry_lock:
        if real_path in _open_at_fork:
            raise ForkedConnectionError(
                f"{real_path} was open when this process was forked from its parent",
                hint="close every connection before the fork; SQLite takes the parent's locks for "
                "its own in a child that opens the same file again",
            )
        database = _registry.get(real_path)
        if database is None:
            try:
                database = Database(real_path, options or DatabaseOptions(), on_progress)
            except OSError as error:
                raise CannotOpenError(
                    f"unable to open database file: {error.strerror}: {error.filename}",
                    hint="history needs a directory beside the file that may be written; "
                    "history=False does without",
                ) from error
            except KernelError as error:
                raise translate(error) from error
            _registry[real_path] = database
        database._users += 1
        return database


def detach_unopened(path: str | os.PathLike[str]) -> None:
    """Remove the history beside a SQLite file without opening either; they may not fit together.

    Errors: BranchInUseError when somebody has it open; CannotOpenError when there is none.
    """
    directory = directory_of(os.path.realpath(path))
    if not os.path.isdir(os.path.join(directory, "branches")):
        raise CannotOpenError(f"there is no history beside {path}")
    deletion.remove_history(directory)


class Database:
    """A database file and its past, as this process has it open."""

    def __init__(self, path: str, options: DatabaseOptions, on_progress: Progress | None) -> None:
        self.path = path
        self.directory = directory_of(path)
        self.options = options
        self._users = 0
        self._heads: dict[BranchId, Head] = {}
        self._head_users: dict[BranchId, int] = {}
        self._histories: dict[BranchId, PageHistory] = {}
        self._lock = threading.RLock()
        self._refuse_impossible_path()
        is_new_directory = not os.path.isdir(self.directory)
        make_directory(self.directory)
        deletion.remove_leftovers(self.directory)
        try:
            self.database_id = self._read_or_make_identity()
            self._refs = Refs(self.directory)
            with self._opened_head(MAIN_BRANCH_ID, on_progress):
                pass
            deletion.remove_orphans(self.directory, self._refs)
        except BaseException:
            self._close_heads()
            if is_new_directory:
                shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self.branches = MergeableBranches(self)
        self.snapshots = Snapshots(self)
        self.changes = ChangeStreams(self)
        if options.retention is not None and options.retention != self.retention:
            self.set_retention(options.retention)

    # -- opening -----------------------------------------------------------------------------------

    def _refuse_impossible_path(self) -> None:
        if os.path.isdir(self.path):
            raise CannotOpenError(f"unable to open database file: {self.path} is a directory")
        if os.path.exists(self.path):
            return
        history = os.path.join(self.branch_directory(MAIN_BRANCH_ID), "history", "manifest.json")
        if os.path.exists(history) and not (self.options.create and self._set_aside()):
            raise CannotOpenError(
                f"{self.path} is gone, but its history is still in {self.directory}",
                hint="put the file back, run `dosql restore --rebuild-head` to make it from "
                "history, or remove the directory to begin anew",
            )
        if not self.options.create:
            raise DatabaseNotFoundError(
                f"there is no database at {self.path}",
                hint="check the path; create=True makes a new one",
            )
        parent = os.path.dirname(self.path)
        if not os.path.isdir(parent):
            raise CannotOpenError(
                f"unable to open database file: there is no directory {parent}",
                hint="make the directory first",
            )

    def _set_aside(self) -> bool:
        identity = read_document(
            os.path.join(self.directory, _IDENTITY_NAME), _IDENTITY_KIND, FORMAT_VERSION
        )
        return deletion.set_aside(self.path, self.directory, identity.get("database_id"))

    def _read_or_make_identity(self) -> str:
        path = os.path.join(self.directory, _IDENTITY_NAME)
        with exclusive_lock(os.path.join(self.directory, "identity.lock")):
            if not os.path.exists(path):
                # refs alone are what a crash in the middle of this block left
                if os.path.exists(os.path.join(self.directory, "branches")):
                    raise MissingSegmentError(f"{path} is missing, though there is a history")
                strange = set(os.listdir(self.directory)) - _NAMES_AT_FIRST
                if strange:
                    raise ForeignDirectoryError(
                        f"{self.directory} is there already and holds {min(strange)!r}, "
                        "which is none of ours",
                        hint="move it out of the way, or give the database another name",
                    )
                Refs.create(self.directory)
                identity = {"database_id": uuid.uuid4().hex}
                write_document(path, _IDENTITY_KIND, FORMAT_VERSION, identity)
            identity = read_document(path, _IDENTITY_KIND, FORMAT_VERSION)
        try:
            return str(identity["database_id"])
        except KeyError:
            raise CorruptStoreError(f"{path} names no database_id") from None

    # -- heads and histories -----------------------------------------------------------------------

    def branch_directory(self, branch_id: BranchId) -> str:
        """Where a branch lives."""
        return os.path.join(self.directory, "branches", branch_id)

    def head_path(self, branch: BranchRef) -> str:
        """The file that SQLite opens as the head of a branch."""
        if branch.parent_id is None:
            return self.path
        name = "head.cow" if branch.is_overlay else "head.db"
        return os.path.join(self.branch_directory(branch.id), name)

    def is_open(self, branch_id: BranchId) -> bool:
        """Whether this process has the head of a branch open."""
        return branch_id in self._heads

    def _place(self, branch: BranchRef) -> HeadPlace:
        directory = self.branch_directory(branch.id)
        if branch.parent_id is None:
            return HeadPlace(branch.id, self.path, directory)
        return HeadPlace(
            branch.id,
            self.head_path(branch),
            directory,
            self.known(branch.parent_id),
            branch.fork_lsn,
            branch.is_overlay,
        )

    def use_head(self, branch_id: BranchId, on_progress: Progress | None = None) -> Head:
        """The head of a branch, opened if need be; give it back with `release_head`."""
        with self._lock:
            head = self._heads.get(branch_id)
            if head is None:
                place = self._place(self.refs().branches[branch_id])
                head = Head(
                    place,
                    create=branch_id == MAIN_BRANCH_ID,
                    capture_bytes=self.options.wal_capture_bytes,
                    on_progress=on_progress,
                    on_cycle=self._keep_history_small,
                )
                self._heads[branch_id] = head
                self._histories[branch_id] = head.history
            self._head_users[branch_id] = self._head_users.get(branch_id, 0) + 1
            return head

    def release_head(self, branch_id: BranchId) -> None:
        """Give a head back; forks nobody uses are closed, main stays until the database closes."""
        with self._lock:
            self._head_users[branch_id] -= 1
            if self._head_users[branch_id] == 0 and branch_id != MAIN_BRANCH_ID:
                self._close_head(branch_id)

    def users_of(self, branch_id: BranchId) -> int:
        """How many sessions and operations of this process use the head of a branch."""
        return self._head_users.get(branch_id, 0)

    def remake_empty(self, chosen: dict[str, object]) -> None:
        """Make main's file again with these settings; it must be empty, and its only user gone.

        Errors: BranchInUseError when another process has it open.
        """
        with self._lock:
            if self._head_users.get(MAIN_BRANCH_ID, 0):
                raise BranchInUseError(f"{self.path} is open in other places of this process")
            self._close_head(MAIN_BRANCH_ID)
            directory = self.branch_directory(MAIN_BRANCH_ID)
            in_use = os.path.join(directory, "in_use.lock")
            with exclusive_lock(in_use, refusal="the database is open in another process"):
                remake_empty_file(self.path, directory, chosen)

    def _close_head(self, branch_id: BranchId) -> None:
        head = self._heads.pop(branch_id)
        self._histories.pop(branch_id, None)
        try:
            head.close()
        finally:
            head.own_history.close()

    @contextlib.contextmanager
    def _opened_head(
        self, branch_id: BranchId, on_progress: Progress | None = None
    ) -> Iterator[Head]:
        head = self.use_head(branch_id, on_progress)
        try:
            yield head
        finally:
            self.release_head(branch_id)

    opened_head = _opened_head

    @contextlib.contextmanager
    def unused_head(self, branch_id: BranchId, name: str) -> Iterator[None]:
        """Hold a branch that nobody has open, here or in another process.

        Errors: BranchInUseError.
        """
        with self._lock:
            if self._head_users.get(branch_id, 0):
                raise BranchInUseError(
                    f"branch {name!r} is open in this process",
                    hint="close its connections first, or move them with USE BRANCH",
                )
            with exclusive_lock(
                os.path.join(self.branch_directory(branch_id), "in_use.lock"),
                refusal=f"branch {name!r} is open in another process",
            ):
                yield

    def refs(self) -> RefsContent:
        """The present refs."""
        return self._refs.content

    def updated_refs(self) -> contextlib.AbstractContextManager[RefsContent]:
        """Change the refs within a `with` block, which must not use heads or histories."""
        return self._refs.update()

    def held_refs(self) -> contextlib.AbstractContextManager[RefsContent]:
        """The refs, which nobody changes within a `with` block."""
        return self._refs.held()

    def known(self, branch_id: BranchId) -> PageHistory:
        """History of a branch as it was sealed last."""
        with self._lock:
            history = self._histories.get(branch_id)
            if history is None:
                branch = self.refs().branches[branch_id]
                parent = None if branch.parent_id is None else self.known(branch.parent_id)
                own = BranchHistory.open(os.path.join(self.branch_directory(branch_id), "history"))
                history = self._histories[branch_id] = PageHistory(own, parent)
        history.refresh()
        return history

    def sealed(self, branch_id: BranchId, *, settled: bool = False) -> PageHistory:
        """History of a branch with every commit made so far sealed in it."""
        with self._opened_head(branch_id) as head:
            if settled:
                wait_until_settled(head)
            head.capture_now()
            return head.history

    def forget_history(self, branch_id: BranchId) -> None:
        """Do not serve that branch's history from memory any more."""
        with self._lock:
            self._histories.pop(branch_id, None)

    def compaction_stopped(self) -> contextlib.AbstractContextManager[None]:
        """No other process compacts a history within the block."""
        return exclusive_lock(os.path.join(self.directory, "compaction.lock"))

    # -- what users do -----------------------------------------------------------------------------

    def resolve(self, moment: AsOf, branch: str = MAIN_BRANCH) -> ResolvedMoment:
        """Look a moment up, on `branch` unless it names one."""
        return resolve(moment_from(moment), self.refs().branch(branch).id, self)

    def lsn(self, branch: str = MAIN_BRANCH) -> Lsn:
        """The LSN of the last commit of a branch."""
        with self._opened_head(self.refs().branch(branch).id) as head:
            return head.newest_lsn()

    def log(
        self,
        branch: str = MAIN_BRANCH,
        *,
        limit: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> list[LoggedCommit]:
        """Commits of a branch, newest first, those before its fork included."""
        branch_id = self.refs().branch(branch).id
        return log_of(self.sealed(branch_id), limit=limit, first=first, last=last)

    def diff(
        self, before: AsOf, after: AsOf | None = None, branch: str = MAIN_BRANCH
    ) -> Difference:
        """What differs between two moments, which may be on two branches; `after` None is now.

        Close what is returned. Costs as much as what changed, whatever the size of the database.
        """
        branch_id = self.refs().branch(branch).id
        present = ResolvedMoment(branch_id, self.sealed(branch_id).newest_lsn)
        return Difference(
            self,
            self.resolve(before, branch),
            present if after is None else self.resolve(after, branch),
        )

    def restore(
        self,
        moment: AsOf,
        branch: str = MAIN_BRANCH,
        *,
        author: str | None = None,
        message: str | None = None,
    ) -> Lsn:
        """Put a whole branch back to a moment, as a new commit; returns that commit's LSN."""
        return restore_branch(self, moment, branch, author=author, message=message)

    def restore_table(
        self, table: str, moment: AsOf, branch: str = MAIN_BRANCH, *, into: str | None = None
    ) -> int:
        """Put one table back to a moment, in one commit; returns its number of rows."""
        resolved = self.resolve(moment, branch)
        with self._opened_head(self.refs().branch(branch).id) as head:
            connection = HeadConnection(head, SessionOptions())
            try:
                views = AttachedViews(connection.kernel, lambda of, at: self.known(of).view(at))
                past = views.schema_of(resolved.branch_id, resolved.lsn)
                return restore_table(connection, past, table, into=into)
            finally:
                connection.close()

    def export(
        self,
        path: str | os.PathLike[str],
        moment: AsOf | None = None,
        branch: str = MAIN_BRANCH,
        progress: Progress | None = None,
    ) -> ResolvedMoment:
        """Write a branch as of a moment (or now) into a new, stock SQLite file."""
        branch_id = self.refs().branch(branch).id
        if moment is None:
            resolved = ResolvedMoment(branch_id, self.sealed(branch_id).newest_lsn)
        else:
            resolved = self.resolve(moment, branch)
        view = self.known(resolved.branch_id).view(resolved.lsn)
        try:
            write_database(view, os.fspath(path), progress)
        finally:
            view.close()
        return resolved

    @property
    def retention(self) -> Retention:
        """How much of the past is kept."""
        return self.refs().retention

    def set_retention(self, retention: Retention) -> None:
        """Keep this much of the past from the next compaction on.

        Errors: RetentionPolicyError for a limit below 0.
        """
        check_policy(retention)
        with self._refs.update() as refs:
            refs.retention = retention

    def compact(self, progress: Progress | None = None) -> CompactionTotals:
        """Drop what retention no longer keeps, merge segments, and recycle the WALs."""
        for branch_id in list(self.refs().branches):
            with self._opened_head(branch_id) as head:
                head.checkpoint(then_tidies=False)
        return compact_branches(self, list(self.refs().branches), progress)

    def _keep_history_small(self, head: Head) -> None:
        """After a cycle of the keeper: merge segments and follow retention, in the background.

        Runs in the head's own thread while the head may be closing, so it takes no lock of ours.
        """
        with self.compaction_stopped():
            lose_lagging_slots(self._refs.update, self._refs.content, head)
            compact_head(head, self.held_refs, None, only_when_due=True)

    def verify(self, progress: Progress | None = None, *, deep: bool = True) -> list[Finding]:
        """Check everything; an empty list says that nothing is wrong."""
        return verify_database(self, progress, deep=deep)

    def info(self) -> DatabaseInfo:
        """Sizes, counts and settings, for people and programs."""
        return inspect(self)

    def detach(self) -> None:
        """Leave the plain SQLite file and remove everything else; history is gone.

        Errors: BranchInUseError when the database is open elsewhere, here or in another process.
        """
        with _registry_lock:
            if self._users > 1 or any(self._head_users.values()):
                raise BranchInUseError(
                    f"{self.path} is open in other places of this process",
                    hint="close every connection first",
                )
            self.close()
            deletion.remove_history(self.directory)

    # -- closing -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go; the last to do so captures, checkpoints and closes the file."""
        with _registry_lock:
            self._users -= 1
            if self._users > 0:
                return
            if _registry.get(self.path) is self:
                del _registry[self.path]
            self._close_heads()
            deletion.remember_closed(self.path, self.database_id)

    def _close_heads(self) -> None:
        with self._lock:
            heads = list(self._heads.values())
            histories = list(self._histories.values())
            self._heads.clear()
            self._histories.clear()
        with contextlib.ExitStack() as closing:
            for history in histories:
                closing.callback(history.own.close)
            for head in heads:
                closing.callback(head.close)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _leave_to_parent() -> None:
    """In a child of fork(): what is open, and the threads that look after it, are the parent's."""
    global _registry_lock
    _registry_lock = threading.RLock()
    _open_at_fork.update(_registry)
    _registry.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


__all__ = ["Database", "detach_unopened", "open_database", "rebuild_head"]
