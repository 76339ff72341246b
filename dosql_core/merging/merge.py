"""Carry a merge out: both sides put together, tried, committed once, and remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from dosql_core.errors import MergeConflictError, NotFastForwardError
from dosql_core.history.ancestry import is_contained
from dosql_core.history.attachable_view import AttachableView
from dosql_core.history.refs import MergeRef
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.connection import ENABLE_TRIGGER, KernelError, run
from dosql_core.kernel.error_translation import translate
from dosql_core.kernel.head import Head
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.merging.attached_rows import AttachedRows
from dosql_core.merging.conflict import Conflict, Decide, Side
from dosql_core.merging.merge_commit import MergeTransaction
from dosql_core.merging.merge_task import (
    MergedDatabase,
    MergeResult,
    MergeTask,
    TaskKind,
    present_of,
)
from dosql_core.merging.three_moments import ThreeMoments
from dosql_core.options import SessionOptions

_HASTY_TRIES = 3
_SAID = {
    TaskKind.MERGE: "merged branch {source} (LSN {lsn})",
    TaskKind.SQUASH: "merged branch {source} (LSN {lsn}), squashed",
    TaskKind.REVERT: "reverted {source}",
    TaskKind.CHERRY_PICK: "picked {source}",
}


def carry_out(
    database: MergedDatabase,
    task: MergeTask,
    decide: Decide,
    *,
    dry_run: bool = False,
    must_be_fast_forward: bool = False,
) -> MergeResult:
    """Do the task as one commit of its target; a dry run tries it and takes it back.

    Errors: MergeConflictError with the conflicts left, when nothing is done.
    """
    settle_merges(database)
    with database.opened_head(task.target_id) as head:
        connection = HeadConnection(head, SessionOptions())
        try:
            # A merge repeats what happened elsewhere, triggers and foreign-key actions included.
            connection.kernel.config(ENABLE_TRIGGER, 0)
            run(connection.kernel, "PRAGMA foreign_keys = OFF")
            run(connection.kernel, "PRAGMA legacy_alter_table = ON")
            views = AttachedViews(
                connection.kernel, lambda of, at: database.known(of).view(at), AttachableView
            )
            for _ in range(_HASTY_TRIES):
                attempt = _Attempt(database, task, decide, connection, head, views)
                done = attempt.made(dry_run=dry_run, only_forward=must_be_fast_forward)
                if done is not None:
                    return done
            with _written(connection):  # writers are too many to outrun: keep them out
                attempt = _Attempt(database, task, decide, connection, head, views)
                done = attempt.made(dry_run=dry_run, only_forward=must_be_fast_forward)
            assert done is not None
            return done
        except KernelError as cause:  # such as a CHECK with a function that a program has
            raise translate(cause) from cause
        finally:
            connection.leave_write()
            connection.close()


@contextlib.contextmanager
def _written(connection: HeadConnection) -> Iterator[None]:
    """A write transaction within the block, rolled back unless it was committed."""
    kernel = connection.kernel
    if kernel.in_transaction:
        yield
        return
    connection.enter_write()
    try:
        run(kernel, "BEGIN IMMEDIATE")
        yield
    finally:
        if kernel.in_transaction:
            run(kernel, "ROLLBACK")
        connection.leave_write()


class _Attempt:
    """One try at a task, from the present of the target as it is found."""

    def __init__(
        self,
        database: MergedDatabase,
        task: MergeTask,
        decide: Decide,
        connection: HeadConnection,
        head: Head,
        views: AttachedViews,
    ) -> None:
        self._database, self._task, self._decide = database, task, decide
        self._views = views
        self._connection, self._head = connection, head
        self._ours = present_of(database, task.target_id)

    def made(self, *, dry_run: bool, only_forward: bool) -> MergeResult | None:
        """What came of it; None when the target has moved meanwhile."""
        task, ours = self._task, self._ours
        with ThreeMoments(self._database, task.bases, ours, task.theirs, task.roots) as moments:
            places = {Side.BASE: task.bases[0], Side.OURS: ours, Side.THEIRS: task.theirs}
            rows = AttachedRows(self._connection.kernel, self._views, places)
            transaction = MergeTransaction(rows, moments, self._decide)
            is_forward = not moments.we_changed
            name = self._database.refs().branches[task.target_id].name
            found = MergeResult(
                name, task.source, task.bases[0], None, transaction.row_count, is_forward
            )
            if only_forward and not is_forward:
                raise NotFastForwardError(
                    f"branch {name!r} has changed since LSN {task.bases[0].lsn}, "
                    f"so {task.source} is no fast forward"
                )
            if transaction.is_empty and not transaction.conflicts:  # all of it is there already
                if not dry_run:
                    self._remember(ours.lsn, is_equal=is_forward, committed_at=None)
                return found
            if dry_run and is_forward:
                return found
            rows.attach_all()
            with _written(self._connection):
                if self._head.newest_lsn() != ours.lsn:
                    return None
                if not dry_run:
                    self._describe()
                transaction.write()
                found = replace(
                    found, rows=transaction.row_count, conflicts=tuple(transaction.conflicts)
                )
                if dry_run:
                    return found
                if found.conflicts:
                    raise refusal(name, task, found.conflicts)
                return replace(found, conflicts=(), lsn=self._commit(is_forward))

    def _describe(self) -> None:
        """Write author and message; its table may have to be made, before moments are attached."""
        task = self._task
        told = _SAID[task.kind].format(source=task.source, lsn=task.theirs.lsn)
        self._connection.write_metadata(task.author, task.message or told)

    def _commit(self, is_forward: bool) -> Lsn:
        task, connection = self._task, self._connection
        at = connection.planned_time
        expected = Lsn(self._ours.lsn + 1)
        # A crash behind this leaves a note of a merge whose time tells whether it was made.
        self._remember(expected, is_equal=is_forward, committed_at=at)
        run(connection.kernel, "COMMIT")
        lsn = connection.lsn()
        if task.kind is TaskKind.MERGE:
            self._confirm(at)
        return lsn

    def _confirm(self, at: Microseconds | None) -> None:
        """Note that the commit planned for that time was made."""
        with self._database.updated_refs() as refs:
            refs.merges = [
                replace(merge, committed_at=None) if merge.committed_at == at else merge
                for merge in refs.merges
            ]

    def _remember(self, lsn: Lsn, *, is_equal: bool, committed_at: Microseconds | None) -> None:
        task = self._task
        if task.kind is TaskKind.MERGE:
            present = ResolvedMoment(task.target_id, self._ours.lsn)
            is_made_now = lsn > self._ours.lsn
            if not is_made_now and is_contained(
                self._database.refs(), task.theirs, in_moment=present
            ):
                return
            note = MergeRef(
                task.target_id,
                lsn,
                task.theirs.branch_id,
                task.theirs.lsn,
                task.source if is_made_now else "",
                is_equal,
                committed_at,
            )
            with self._database.updated_refs() as refs:
                refs.merges.append(note)
        elif task.undoes is not None:
            first, last = task.undoes
            with self._database.updated_refs() as refs:
                refs.merges = [
                    replace(merge, is_undone=True)
                    if merge.target_id == task.target_id and first <= merge.target_lsn <= last
                    else merge
                    for merge in refs.merges
                ]


def settle_merges(database: MergedDatabase) -> None:
    """Find out of merges noted as about to be made whether they were.

    A commit at that LSN is the merge exactly when it has the time that was planned for it.
    """
    if all(merge.committed_at is None for merge in database.refs().merges):
        return
    settled: dict[MergeRef, MergeRef | None] = {}
    for merge in database.refs().merges:
        if merge.committed_at is None:
            continue
        if merge.target_id not in database.refs().branches:
            settled[merge] = None
            continue
        history = database.sealed(merge.target_id)
        if history.newest_lsn < merge.target_lsn:
            continue  # somebody may be about to commit it
        is_made = history.commit(merge.target_lsn).committed_at == merge.committed_at
        settled[merge] = replace(merge, committed_at=None) if is_made else None
    if settled:
        with database.updated_refs() as refs:
            found = (settled.get(merge, merge) for merge in refs.merges)
            refs.merges = [merge for merge in found if merge is not None]


def refusal(
    target: str, task: MergeTask, conflicts: tuple[Conflict, ...], *, is_kept: bool = True
) -> MergeConflictError:
    """The error that has the conflicts, which stay for others to see only if they are kept."""
    count, first = len(conflicts), conflicts[0]
    return MergeConflictError(
        f"{count} conflict{'s' if count > 1 else ''} between {task.source} and {target}; "
        f"the first: {first.kind} in {first.table} at {first.key} {first.detail}".rstrip(),
        conflicts,
        hint=None if is_kept else "another policy may decide them; without one they are kept",
    )
