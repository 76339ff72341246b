"""One database in this process: composes heads, histories and refs; `open_database` returns it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from dosql_core.changes.change_streams import ChangeStreams
from dosql_core.errors import (
    BranchInUseError,
    CannotOpenError,
    ForkedConnectionError,
    TooManyOpenFilesError,
)
from dosql_core.history import deletion
from dosql_core.history.attachable_view import AttachableView
from dosql_core.history.differences import Difference
from dosql_core.history.identity import read_or_make_identity, refuse_impossible_path
from dosql_core.history.inspection import DatabaseInfo, inspect
from dosql_core.history.log import LoggedCommit, log_of
from dosql_core.history.moments import AsOf, moment_from
from dosql_core.history.refs import Refs, directory_of
from dosql_core.history.restore import rebuild_head, restore_branch
from dosql_core.history.retention import (
    CompactionTotals,
    check_policy,
    compact_branches,
    compact_head,
    lose_lagging_slots,
)
from dosql_core.history.snapshots import Snapshots
from dosql_core.history.table_restore import restore_table
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.history.verification import Finding, verify_database
from dosql_core.identifiers import MAIN_BRANCH, MAIN_BRANCH_ID, Lsn
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.error_translation import KernelError, translate
from dosql_core.kernel.head import Head
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.kernel.keeper import CLOSE_THE_REPLACED, replaced_while_open
from dosql_core.merging.mergeable_branches import MergeableBranches
from dosql_core.open_branches import OpenBranches
from dosql_core.options import DatabaseOptions, Retention, SessionOptions
from dosql_core.storage.database_export import write_database
from dosql_core.storage.durable_files import is_for_want_of_descriptors, make_directory
from dosql_core.storage.tiering import LIVE_SEGMENTS_MAX
from dosql_core.triggers.database_triggers import DatabaseTriggers

Progress = Callable[[int, int], None]
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
    given = os.fspath(path)
    with _registry_lock:
        database = _registry.get(given)  # most often that is the real path
        if database is None or not database.is_in_place():
            database = _at(os.path.realpath(given), options or DatabaseOptions(), on_progress)
        database._users += 1
        return database


def _at(real_path: str, options: DatabaseOptions, on_progress: Progress | None) -> Database:
    if real_path in _open_at_fork:
        raise ForkedConnectionError(
            f"{real_path} was open when this process was forked from its parent",
            hint="close every connection before the fork; SQLite takes the parent's locks for "
            "its own in a child that opens the same file again",
        )
    database = _registry.get(real_path)
    if database is not None and options.create and not os.path.exists(real_path):
        database._let_go_of_deleted_file()
        database = None
    if database is not None and database.is_replaced():
        raise CannotOpenError(replaced_while_open(real_path), hint=CLOSE_THE_REPLACED)
    if database is None:
        try:
            database = Database(real_path, options, on_progress)
        except OSError as error:
            if is_for_want_of_descriptors(error):
                raise TooManyOpenFilesError(f"too many open files: {real_path}") from error
            raise CannotOpenError(
                f"unable to open database file: {error.strerror}: {error.filename}",
                hint="history needs a directory beside the file that may be written; "
                "history=False does without",
            ) from error
        except KernelError as error:
            raise translate(error) from error
        _registry[real_path] = database
    return database


def detach_unopened(path: str | os.PathLike[str]) -> None:
    """Remove the history beside a SQLite file without opening either; they may not fit together.

    Errors: BranchInUseError when somebody has it open; CannotOpenError when there is none.
    """
    directory = directory_of(os.path.realpath(path))
    if not os.path.isdir(os.path.join(directory, "branches")):
        raise CannotOpenError(f"there is no history beside {path}")
    deletion.remove_history(directory)


class Database(OpenBranches):
    """A database file and its past, as this process has it open."""

    def __init__(self, path: str, options: DatabaseOptions, on_progress: Progress | None) -> None:
        super().__init__()
        self.path = path
        self.directory = directory_of(path)
        self.options = options
        self._users = 0
        self._is_let_go = False
        refuse_impossible_path(path, self.directory, create=options.create)
        is_new_directory = not os.path.isdir(self.directory)
        make_directory(self.directory)
        deletion.remove_leftovers(self.directory)
        try:
            self.database_id = read_or_make_identity(self.directory)
            self._refs = Refs(self.directory)
            with self.opened_head(MAIN_BRANCH_ID, on_progress):
                pass
            deletion.remove_orphans(self.directory, self._refs)
        except BaseException:
            self._close_heads()
            if is_new_directory:
                deletion.undo_beginning(self.directory)
            raise
        self.triggers = DatabaseTriggers(self)
        if options.retention is not None and options.retention != self.retention:
            self.set_retention(options.retention)

    # -- what users do -----------------------------------------------------------------------------

    # Made when asked for: as attributes they would keep the database until the collector comes.

    @property
    def branches(self) -> MergeableBranches:
        """The branches: made, merged, dropped."""
        return MergeableBranches(self)

    @property
    def snapshots(self) -> Snapshots:
        """The moments that have a name."""
        return Snapshots(self)

    @property
    def changes(self) -> ChangeStreams:
        """The row changes of every commit, as streams and through slots."""
        return ChangeStreams(self)

    def resolve(self, moment: AsOf, branch: str = MAIN_BRANCH) -> ResolvedMoment:
        """Look a moment up, on `branch` unless it names one."""
        return resolve(moment_from(moment), self.refs().branch(branch).id, self)

    def lsn(self, branch: str = MAIN_BRANCH) -> Lsn:
        """The LSN of the last commit of a branch."""
        with self.opened_head(self.refs().branch(branch).id) as head:
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
        parents = self.branches.log_parents(branch_id)
        return log_of(self.sealed(branch_id), limit=limit, first=first, last=last, parents=parents)

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
        with self.opened_head(self.refs().branch(branch).id) as head:
            connection = HeadConnection(head, SessionOptions())
            try:
                views = AttachedViews(
                    connection.kernel, lambda of, at: self.known(of).view(at), AttachableView
                )
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
            with self.opened_head(branch_id) as head:
                head.keeping.checkpoint()
        return compact_branches(self, list(self.refs().branches), progress)

    def _keep_history_small(self, head: Head) -> None:
        """After a cycle of the keeper: merge segments and follow retention, in the background.

        Runs in the head's own thread while the head may be closing, so it takes no lock of ours.
        """
        with self.compaction_stopped():
            lose_lagging_slots(self._refs.update, self._refs.content, head)
            live_max = LIVE_SEGMENTS_MAX * (3 if head.keeping.pacing.is_hurried else 1)
            compact_head(head, self.held_refs, None, only_when_due=True, live_max=live_max)

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
            self.triggers.close()
            self._close_heads()
            if not self._is_let_go:
                deletion.remember_closed(self.path, self.database_id)

    def is_in_place(self) -> bool:
        """Whether the file at our path is the one that this process has open."""
        head = self._heads.get(MAIN_BRANCH_ID)
        return head is not None and head.is_in_place()

    def is_replaced(self) -> bool:
        """Whether another file has been put at our path while this process has ours open."""
        head = self._heads.get(MAIN_BRANCH_ID)
        return head is not None and head.is_replaced()

    def _let_go_of_deleted_file(self) -> None:
        """Make way for another database at our path: the program has deleted ours and begins anew.

        Connections to it that are still open work on in the files without a name, as with SQLite.
        """
        self._let_go_of_heads()
        self._is_let_go = True
        del _registry[self.path]
        deletion.remember_closed(self.path, self.database_id)

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
