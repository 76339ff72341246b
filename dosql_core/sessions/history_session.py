"""What a session on a head and one on a moment of the past have in common: they read the past."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from dosql_core.database import Database
from dosql_core.errors import BranchNotFoundError, OperationalError, ReadOnlyMomentError
from dosql_core.history.attachable_view import AttachableView
from dosql_core.history.log import walk_log
from dosql_core.history.moments import Moment, format_time, moment_from, moment_of_clause
from dosql_core.history.periods import ResolvedPeriod, resolve_period
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.identifiers import BranchId, Lsn, SqlValue
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.conflict_table import register_conflict_table
from dosql_core.kernel.connection import KernelConnection, run
from dosql_core.kernel.log_table import register_log_table
from dosql_core.kernel.past_guard import Authorizer, PastGuard
from dosql_core.language.classify import Statement
from dosql_core.language.moments import MomentClause, MomentKind
from dosql_core.language.periods import PeriodClause
from dosql_core.merging.conflict_listing import ConflictListing
from dosql_core.options import SessionOptions
from dosql_core.sessions.command_execution import run_command
from dosql_core.sessions.command_result import CommandResult
from dosql_core.sessions.history_tables import HistoryTables
from dosql_core.sessions.session import Session
from dosql_core.storage.segment_format import CommitFlag, CommitRecord


class HistorySession(Session):
    """What sessions on a head and on a moment of the past have in common."""

    def __init__(
        self,
        database: Database,
        branch_id: BranchId,
        kernel: KernelConnection,
        options: SessionOptions,
    ) -> None:
        super().__init__(kernel, options)
        self.database = database
        self.branch_id = branch_id
        self._equip()

    def _equip(self) -> None:
        """Give the kernel connection what belongs to history."""
        database = self.database  # without the session, which has the views
        self._guard = PastGuard(self.kernel)
        self._views = AttachedViews(
            self.kernel,
            lambda branch_id, lsn: database.known(branch_id).view(lsn),
            AttachableView,
            self._guard,
        )
        self._tables = HistoryTables(self.kernel, self.database, self.branch_id, self.as_of)
        register_log_table(self.kernel, self._walk_log)
        register_conflict_table(
            self.kernel, ConflictListing(self.database.branches, lambda: self.branch)
        )

    def _walk_log(
        self, branch: str | None, first: int | None, last: int | None
    ) -> Iterator[tuple[SqlValue, ...]]:
        branch_id = self.database.refs().branch(branch).id if branch else self.branch_id
        history = self.database.sealed(branch_id)
        if self.as_of is not None and branch_id == self.branch_id:
            last = self.as_of if last is None else min(last, self.as_of)
        parents = self.database.branches.log_parents(branch_id)
        for record in walk_log(history, first=first, last=last):
            yield _log_row(record, parents(record.lsn))

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The present name of the branch this session is on."""
        found = self.database.refs().branches.get(self.branch_id)
        if found is None:
            raise BranchNotFoundError(f"the branch {self.branch_id!r} has been dropped")
        return found.name

    def resolve(self, moment: Moment) -> ResolvedMoment:
        """Look a moment up, seen from this session."""
        if moment.kind is MomentKind.LSN:
            lsn = Lsn(int(moment.value))
            if self._views.has(self.branch_id, lsn):  # it was looked up to be attached
                return ResolvedMoment(self.branch_id, lsn)
        return resolve(moment, self.branch_id, self.database)

    def attach_moment(self, moment: Moment) -> str:
        """The schema name under which the state of a moment can be read by this connection."""
        resolved = self.resolve(moment)
        return self._views.schema_of(resolved.branch_id, resolved.lsn)

    @property
    def has_attached_the_past(self) -> bool:
        return self._views.any

    def set_authorizer(self, authorizer: Authorizer | None) -> None:
        self._guard.set_program(authorizer)

    def reading_the_past(self) -> contextlib.AbstractContextManager[None]:
        return self._guard

    def take_the_past_away(self) -> bool:
        guard = self._guard
        strayed, guard.strayed = guard.strayed, None
        if strayed is None:
            return False
        if not self._views.detach_all() and guard.misses_a_table:
            raise OperationalError(
                f"no such table: {strayed}",
                code="STMT_TABLE_NOT_FOUND",
                hint="it is in the past that this connection reads; for DROP ... IF EXISTS, end "
                "the transaction or close the cursor that reads it",
            )
        return True

    def moment_of(self, clause: MomentClause, values: tuple[SqlValue, ...]) -> Moment:
        """The moment a clause means with these values for its parameters."""
        inner = None
        own = values[: len(clause.parameters)]
        if clause.inner is not None:
            inner = self.moment_of(clause.inner, values[len(clause.parameters) :])
        value: Any
        if clause.literal is not None:
            value = clause.literal
        elif clause.is_parameter:
            value = own[0]
        else:
            ((value,),) = run(self.kernel, f"SELECT {clause.value_sql}", own)
        if isinstance(value, datetime.date) and clause.kind is MomentKind.TIMESTAMP:
            return moment_from(value)  # also a datetime
        return moment_of_clause(clause.kind, value, inner)

    def rewrite_as_of(self, statement: Statement, parameters: Any) -> tuple[str, Any]:
        query = statement.as_of
        assert query is not None
        per_clause, remaining = query.split_parameters(parameters)
        moments = [
            self.resolve(self.moment_of(clause, values))
            for clause, values in zip(query.clauses, per_clause, strict=True)
            if isinstance(clause, MomentClause)
        ]
        schemas = iter(
            [
                self._views.schema_of(moment.branch_id, moment.lsn, keep=len(moments))
                for moment in moments
            ]
        )
        sources = []
        for clause, values in zip(query.clauses, per_clause, strict=True):
            if isinstance(clause, MomentClause):
                sources.append(next(schemas))
            elif isinstance(clause, PeriodClause):
                period = self._period_of(clause, values)
                sources.append(self._tables.period_source(clause.table, period))
            else:
                sources.append(self._tables.difference_source(clause.table))
        return query.render(sources), remaining

    def _period_of(self, clause: PeriodClause, values: tuple[SqlValue, ...]) -> ResolvedPeriod:
        moments = []
        for moment in clause.moments:
            count = len(moment.all_parameters)
            moments.append(self.moment_of(moment, values[:count]))
            values = values[count:]
        return resolve_period(clause.kind, moments, self.branch_id, self.as_of, self.database)

    def run_command(self, statement: Statement, parameters: Any) -> CommandResult:
        try:
            with self._guard:
                return run_command(self, statement, parameters)
        finally:
            self.forget_commit()  # a merge or a restore is the newest commit now, not our last one

    def use_branch(self, name: str) -> None:
        """Go on with another branch; everything registered on the old kernel is gone."""
        raise ReadOnlyMomentError(
            f"a connection to the past stays where it is, and this one reads LSN {self.as_of}",
            hint="connect with branch=, or read the branch with AS OF BRANCH",
        )


def _log_row(record: CommitRecord, parents: tuple[str, ...]) -> tuple[SqlValue, ...]:
    flags = [
        flag.name.lower() for flag in CommitFlag if flag and flag in record.flags and flag.name
    ]
    return (
        record.lsn,
        format_time(record.committed_at),
        record.version_count,
        record.stored_bytes,
        record.author,
        record.message,
        " ".join(flags),
        record.page_count,
        " ".join(parents),
    )
