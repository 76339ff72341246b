"""Merge one branch into another: find the common moment, put both sides together, commit once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dosql_core.errors import BranchNotFoundError, MergeConflictError, ProgrammingError
from dosql_core.history.attachable_view import AttachableView
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.differences import Difference
from dosql_core.history.refs import MergeRef, RefsContent
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import BranchId, BranchName, Lsn
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.connection import ENABLE_TRIGGER, run
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.row_application import (
    apply_rows,
    broken_references,
    reference_conflicts,
)
from dosql_core.merging.schema_merge import SchemaPlan, merge_schemas
from dosql_core.merging.three_way import (
    Conflict,
    Policy,
    RowResult,
    decide_nothing,
    keep_ours,
    merge_rows,
    take_theirs,
)
from dosql_core.options import SessionOptions
from dosql_core.rows.row_change import RowChange

_TRIES = 10
POLICIES: dict[str, Policy] = {
    "abort": decide_nothing,
    "ours": keep_ours,
    "theirs": take_theirs,
}


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did, or a dry run would do.

    Shape: `lsn` is the merge's commit, None when nothing had to be done or it was a dry run;
           `is_fast_forward`: the target had not changed since the common moment. `rows` counts the
           rows of the target that change. Only a dry run comes back with `conflicts`.
    """

    target: BranchName
    source: BranchName
    base: ResolvedMoment
    lsn: Lsn | None
    rows: int
    is_fast_forward: bool
    conflicts: tuple[Conflict, ...]


class MergedDatabase(BranchedDatabase, Protocol):
    """What merging needs of a database."""

    def updated_refs(self) -> AbstractContextManager[RefsContent]:
        """Change the refs."""


def merge_branches(
    database: MergedDatabase,
    source: str,
    target: str,
    using: str | Policy = "abort",
    *,
    dry_run: bool = False,
    author: str | None = None,
    message: str | None = None,
) -> MergeResult:
    """Bring what `source` did since the best common moment to `target`, as one commit.

    `using` decides rows in conflict: "abort", "ours", "theirs", or a function of the conflict that
    returns the row, or None for no row.
    Errors: MergeConflictError with the conflicts left, when nothing is merged; BranchNotFoundError.
    """
    policy = POLICIES.get(using) if isinstance(using, str) else using
    if policy is None:
        raise ProgrammingError(f"{using!r} is no way to merge", hint=f"ways: {', '.join(POLICIES)}")
    refs = database.refs()
    their_branch, our_branch = refs.branch(source), refs.branch(target)
    if their_branch.id == our_branch.id:
        raise ProgrammingError(f"branch {target!r} cannot be merged into itself")
    theirs = _present(database, their_branch.id)
    base = common_moment(refs, our_branch.id, their_branch.id, theirs.lsn)
    with database.opened_head(our_branch.id) as head:
        for _ in range(_TRIES):
            ours = _present(database, our_branch.id)
            with _Sides(database, base, ours, theirs) as sides:
                results, plan, conflicts = sides.put_together(policy)
                is_fast_forward = not sides.we_changed
            found = MergeResult(
                our_branch.name,
                their_branch.name,
                base,
                None,
                len(results),
                is_fast_forward,
                tuple(conflicts),
            )
            if conflicts and not dry_run:
                raise _refusal(found)
            if dry_run:
                return found
            if not results and plan.is_empty:  # all of it is there already
                _remember(database, ours, theirs)
                return found
            told = message or f"merged branch {their_branch.name} (LSN {theirs.lsn})"
            lsn = _Commit(database, head, theirs, author, told).make(ours.lsn, results, plan, found)
            if lsn is not None:
                _remember(database, ResolvedMoment(our_branch.id, lsn), theirs)
                return replace(found, lsn=lsn)
    raise MergeConflictError(f"branch {target!r} changed {_TRIES} times while it was merged into")


def _remember(database: MergedDatabase, merged: ResolvedMoment, theirs: ResolvedMoment) -> None:
    """Note that `merged` contains `theirs`, so that the next merge begins there.

    A crash before this is no harm: the next merge finds the same changes on both sides.
    """
    with database.updated_refs() as refs:
        refs.merges = [
            merge
            for merge in refs.merges
            if {merge.target_id, merge.source_id} != {merged.branch_id, theirs.branch_id}
        ]
        refs.merges.append(MergeRef(merged.branch_id, merged.lsn, theirs.branch_id, theirs.lsn))


def common_moment(
    refs: RefsContent, our_id: BranchId, their_id: BranchId, their_lsn: Lsn
) -> ResolvedMoment:
    """The newest moment that both branches contain.

    It is the newest of the last merge between the two, whatever its direction, and of where their
    lines of descent part.
    Errors: BranchNotFoundError when they have nothing in common, as after a root was dropped.
    """
    for merge in reversed(refs.merges):
        if {merge.target_id, merge.source_id} == {our_id, their_id}:
            return ResolvedMoment(merge.source_id, merge.source_lsn)
    ours = dict(_lineage(refs, our_id, None))
    for branch_id, lsn in _lineage(refs, their_id, their_lsn):
        if branch_id in ours:
            our_lsn = ours[branch_id]
            common = [at for at in (lsn, our_lsn) if at is not None]
            return ResolvedMoment(branch_id, min(common))
    raise BranchNotFoundError("the two branches have no common ancestor")


def _lineage(
    refs: RefsContent, branch_id: BranchId, lsn: Lsn | None
) -> list[tuple[BranchId, Lsn | None]]:
    """A branch and its ancestors, with the LSN of each up to which it is inherited."""
    line: list[tuple[BranchId, Lsn | None]] = [(branch_id, lsn)]
    branch = refs.branches[branch_id]
    while branch.parent_id is not None:
        line.append((branch.parent_id, branch.fork_lsn))
        branch = refs.branches[branch.parent_id]
    return line


def _present(database: MergedDatabase, branch_id: BranchId) -> ResolvedMoment:
    return ResolvedMoment(branch_id, database.sealed(branch_id).newest_lsn)


def _refusal(found: MergeResult) -> MergeConflictError:
    count = len(found.conflicts)
    first = found.conflicts[0]
    return MergeConflictError(
        f"{count} conflict{'s' if count > 1 else ''} between {found.source} and {found.target}; "
        f"the first: {first.kind} in {first.table} at {first.key} {first.detail}".rstrip(),
        found.conflicts,
    )


class _Sides:
    """What each side did since the common moment."""

    def __init__(
        self,
        database: MergedDatabase,
        base: ResolvedMoment,
        ours: ResolvedMoment,
        theirs: ResolvedMoment,
    ) -> None:
        self._our_difference = Difference(database, base, ours)
        self._their_difference = Difference(database, base, theirs)

    def __enter__(self) -> _Sides:
        self._ours = list(self._our_difference.rows())
        self._theirs = list(self._their_difference.rows())
        return self

    def __exit__(self, *_exception: object) -> None:
        self._our_difference.close()
        self._their_difference.close()

    @property
    def we_changed(self) -> bool:
        """Whether our side did anything."""
        return bool(self._ours or self._our_difference.schema_changes())

    def put_together(self, policy: Policy) -> tuple[list[RowResult], SchemaPlan, list[Conflict]]:
        plan = merge_schemas(
            self._our_difference.schema_changes(),
            self._their_difference.schema_changes(),
            {change.table for change in self._ours},
            {change.table for change in self._theirs},
        )
        settled = {*plan.replaced_tables, *plan.dropped_tables}
        disputed = {conflict.table for conflict in plan.conflicts}

        def counts(change: RowChange) -> bool:
            return change.table not in settled and change.table not in disputed

        results, conflicts = merge_rows(
            filter(counts, self._ours), filter(counts, self._theirs), policy
        )
        return results, plan, [*plan.conflicts, *conflicts]


class _Commit:
    """The one transaction of a merge."""

    def __init__(
        self,
        database: MergedDatabase,
        head: Any,
        theirs: ResolvedMoment,
        author: str | None,
        message: str,
    ) -> None:
        self._database = database
        self._head = head
        self._theirs = theirs
        self._author = author
        self._message = message

    def make(
        self, our_lsn: Lsn, results: list[RowResult], plan: SchemaPlan, found: MergeResult
    ) -> Lsn | None:
        """Carry the merge out; None when our branch is not at `our_lsn` any more.

        Errors: MergeConflictError when constraints of the merged whole are broken.
        """
        connection = HeadConnection(self._head, SessionOptions())
        kernel = connection.kernel
        try:
            connection.enter_write()
            # A merge repeats what happened elsewhere, triggers and foreign-key actions included.
            kernel.config(ENABLE_TRIGGER, 0)
            run(kernel, "PRAGMA foreign_keys = OFF")
            run(kernel, "BEGIN IMMEDIATE")
            if self._head.newest_lsn() != our_lsn:
                run(kernel, "ROLLBACK")
                return None
            try:
                conflicts = self._write(connection, results, plan, our_lsn)
                if conflicts:
                    raise _refusal(replace(found, conflicts=tuple(conflicts)))
                connection.write_metadata(self._author, self._message)
                run(kernel, "COMMIT")
            except BaseException:
                if kernel.in_transaction:
                    run(kernel, "ROLLBACK")
                raise
            return connection.lsn()
        finally:
            connection.leave_write()
            connection.close()

    def _write(
        self,
        connection: HeadConnection,
        results: list[RowResult],
        plan: SchemaPlan,
        our_lsn: Lsn,
    ) -> list[Conflict]:
        kernel = connection.kernel
        for sql in plan.before_rows:
            run(kernel, sql)
        if plan.replaced_tables:
            past = self._views(kernel).schema_of(self._theirs.branch_id, self._theirs.lsn)
            for table in plan.replaced_tables:
                _take_over(kernel, past, table)
        conflicts = apply_rows(kernel, results)
        for sql in plan.after_rows:
            run(kernel, sql)
        touched = {result.table for result in results} | set(plan.replaced_tables)
        return conflicts or self._orphans(kernel, touched, our_lsn)

    def _orphans(self, kernel: Any, tables: set[str], our_lsn: Lsn) -> list[Conflict]:
        """Rows whose parent is missing now, but was missing on neither side alone.

        Foreign keys are off in SQLite unless a connection turns them on, so either side may have
        had such rows for long; that is not the merge's doing.
        """
        broken = broken_references(kernel, "main", tables)
        if broken:
            views = self._views(kernel)
            for moment in (self._theirs, ResolvedMoment(self._head.place.branch_id, our_lsn)):
                schema = quoted_name(views.schema_of(moment.branch_id, moment.lsn, keep=3))
                broken -= broken_references(kernel, schema, tables)
        return reference_conflicts(broken)

    def _views(self, kernel: Any) -> AttachedViews:
        return AttachedViews(
            kernel, lambda of, at: self._database.known(of).view(at), AttachableView
        )


def _take_over(kernel: Any, past: str, table: str) -> None:
    """Make a table of ours what it is on their side, rows, indexes and triggers."""
    objects = run(
        kernel,
        f"SELECT sql FROM {quoted_name(past)}.sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL"
        " ORDER BY type <> 'table', rowid",
        (table,),
    )
    run(kernel, f"DROP TABLE IF EXISTS main.{quoted_name(table)}")
    run(kernel, objects[0][0])
    columns = ", ".join(
        quoted_name(column[1])
        for column in run(kernel, f"PRAGMA main.table_xinfo({quoted_name(table)})")
        if column[6] == 0  # neither hidden nor generated
    )
    run(
        kernel,
        f"INSERT INTO main.{quoted_name(table)}({columns})"
        f" SELECT {columns} FROM {quoted_name(past)}.{quoted_name(table)}",
    )
    for (sql,) in objects[1:]:
        run(kernel, sql)
