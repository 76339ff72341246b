"""One kernel connection pinned to a branch and, perhaps, a moment: what the driver talks to."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from dosql_core.command_execution import run_command
from dosql_core.command_result import CommandResult
from dosql_core.database import Database, open_database
from dosql_core.errors import (
    BranchInUseError,
    BranchNotFoundError,
    NoHistoryError,
    OperationalError,
    ReadOnlyMomentError,
    UncommittedChangesError,
    WaitTimeoutError,
)
from dosql_core.history.attachable_view import AttachableView
from dosql_core.history.log import walk_log
from dosql_core.history.moments import AsOf, Moment, format_time, moment_from, moment_of_clause
from dosql_core.history.periods import ResolvedPeriod, resolve_period
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.history_tables import HistoryTables
from dosql_core.identifiers import (
    EMPTY_LSN,
    MAIN_BRANCH,
    MAIN_BRANCH_ID,
    BranchId,
    Lsn,
    SqlValue,
)
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.change_causes import Effects
from dosql_core.kernel.conflict_table import register_conflict_table
from dosql_core.kernel.connection import (
    OPEN_CREATE,
    OPEN_READ_ONLY,
    OPEN_READ_WRITE,
    OPEN_URI,
    KernelConnection,
    callbacks_set_aside,
    copy_settings,
    run,
)
from dosql_core.kernel.empty_file import format_of
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.kernel.log_table import register_log_table
from dosql_core.kernel.past_guard import Authorizer, PastGuard
from dosql_core.kernel.past_vfs import CACHE_KIB_OF_A_CONNECTION, past_vfs, view_uri
from dosql_core.language.classify import Statement
from dosql_core.language.moments import MomentClause, MomentKind
from dosql_core.language.periods import PeriodClause
from dosql_core.merging.conflict_listing import ConflictListing
from dosql_core.options import Durability, SessionOptions
from dosql_core.pragmas import answer_pragma
from dosql_core.storage.segment_format import CommitFlag, CommitRecord
from dosql_core.triggers.row_triggers import RowTriggers
from dosql_core.triggers.schema_effects import effects_of_schema
from dosql_core.triggers.trigger_registry import TriggerRegistry

_LONGEST_LOOK_SECONDS = 0.005
# What a definition says that may change what SQLite changes by itself.
_CHANGES_EFFECTS = re.compile(
    r"\b(trigger|rename|alter|on\s+(delete|update)|foreign_keys)\b", re.IGNORECASE
)


class Session:
    """A connection without history: SQLite as it is (":memory:", temporary, history=False)."""

    gate_needed = False
    branch: str | None = None
    as_of: Lsn | None = None
    # What SET COMMIT said outside of a transaction, for the next commit of this session.
    waiting_description: dict[str, str | None] | None = None

    def __init__(self, kernel: KernelConnection, options: SessionOptions) -> None:
        self.kernel = kernel
        self.options = options
        self.read_only = options.read_only

    def enter_write(self) -> None:
        """Wait for this writer's turn; nothing to wait for without a shared head."""

    def leave_write(self) -> None:
        """Give the turn up once the connection is back in autocommit."""

    def begin_read(self) -> None:
        """Open the snapshot of an explicit DEFERRED transaction before its first SELECT."""

    def forget_commit(self) -> None:
        """A statement runs after the last commit."""

    @property
    def has_attached_the_past(self) -> bool:
        """Whether names may be looked for in the past that this connection has read."""
        return False

    def set_authorizer(self, authorizer: Authorizer | None) -> None:
        """Have SQLite ask a program's callback about every statement it compiles."""
        self.kernel.authorizer = authorizer

    def reading_the_past(self) -> contextlib.AbstractContextManager[None]:
        """A block in which what `rewrite_as_of` returned is compiled."""
        return contextlib.nullcontext()

    def take_the_past_away(self) -> bool:
        """After a refused statement: whether it was for the past that has been read.

        Then the past is out of the way, and the statement may be run again. A statement that only
        looks around may be run beside a past that is still being read: inside `reading_the_past`.
        Errors: OperationalError for a table that is there in a past that is still being read only.
        """
        return False

    def run_command(self, statement: Statement, parameters: Any) -> CommandResult:
        """Carry out one of our own statements."""
        raise NoHistoryError("branches, snapshots and restore need a database file with history")

    def rewrite_as_of(self, statement: Statement, parameters: Any) -> tuple[str, Any]:
        """The SQL and parameters to run instead of a statement with AS OF clauses."""
        raise NoHistoryError("FOR SYSTEM_TIME AS OF needs a database file with history")

    def check_pragma(self, statement: Statement) -> str | CommandResult | None:
        """None when the pragma may run as it is; else what to run or answer instead."""
        return None

    @property
    def lsn(self) -> Lsn:
        """The LSN this connection sees."""
        raise NoHistoryError("this database keeps no history, so its commits have no LSN")

    def wait_for(self, lsn: int, timeout_seconds: float | None = None) -> Lsn:
        """Wait until this connection's branch has reached `lsn`, and return how far it is."""
        raise NoHistoryError("this database keeps no history, so its commits have no LSN")

    def set_commit_metadata(self, author: str | None, message: str | None) -> None:
        """Author and message for the commit of the open write transaction."""
        raise NoHistoryError("this database keeps no history, so commits carry no message")

    def carry_description(self) -> None:
        """Put the waiting description into the open transaction, which has changed something."""
        raise NoHistoryError("this database keeps no history, so commits carry no message")

    @cached_property
    def triggers(self) -> TriggerRegistry:
        """Triggers written in Python, for what this connection changes."""

        def install() -> None:
            row_triggers.install()

        registry = TriggerRegistry(install)
        row_triggers = RowTriggers(self.kernel, (registry,))
        return registry

    def after_rollback_to(self) -> None:
        """The connection went back to a savepoint."""

    def note_definition(self, sql: str) -> None:
        """A statement that defines or sets something has run on this connection."""

    def content_mark(self) -> tuple[int, ...]:
        """Differs from an earlier one of the same transaction when that has changed something."""
        raise NoHistoryError("this database keeps no history, so commits carry no message")

    def close(self) -> None:
        """Close the kernel connection and let go of everything shared."""
        self.kernel.close(True)


class _HistorySession(Session):
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
        self._guard = PastGuard(self.kernel)
        self._views = AttachedViews(
            self.kernel,
            lambda branch_id, lsn: self.database.known(branch_id).view(lsn),
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


class HeadSession(_HistorySession):
    """A connection to the head of a branch."""

    gate_needed = True

    def __init__(self, database: Database, branch_id: BranchId, options: SessionOptions) -> None:
        self._head = database.use_head(branch_id)
        try:
            if not options.read_only:
                self._head.prepare_for_writers()
            self._connection = HeadConnection(self._head, options)
        except BaseException:
            database.release_head(branch_id)
            raise
        self.database = database
        self._bind_hot_calls()
        super().__init__(database, branch_id, self._connection.kernel, options)

    def _bind_hot_calls(self) -> None:
        self.enter_write = self._connection.enter_write  # type: ignore[method-assign]
        self.leave_write = self._connection.leave_write  # type: ignore[method-assign]
        self.begin_read = self._connection.begin_read  # type: ignore[method-assign]
        self.forget_commit = self._connection.forget_commit  # type: ignore[method-assign]
        this = weakref.ref(self)

        def find_effects() -> Effects:
            session = this()
            return Effects() if session is None else session._find_effects()

        self._connection.find_effects = find_effects
        self._row_triggers = RowTriggers(
            self._connection.kernel,
            (self.database.triggers, self.triggers),
            self._connection.tell_cause,
        )

    @cached_property
    def triggers(self) -> TriggerRegistry:
        this = weakref.ref(self)  # or a session would keep itself

        def look_again() -> None:
            session = this()
            if session is not None:
                session._connection.look_at_schema_again()

        return TriggerRegistry(look_again)

    def after_rollback_to(self) -> None:
        if len(self.triggers) or len(self.database.triggers):
            self._connection.look_at_schema_again()  # it may have taken TEMP triggers away

    def note_definition(self, sql: str) -> None:
        if _CHANGES_EFFECTS.search(sql) or len(self.triggers) or len(self.database.triggers):
            self._head.schema_mark[0] += 1

    def _find_effects(self) -> Effects:
        """Install Python triggers, and tell what triggers and foreign keys of the schema do."""
        kernel = self._connection.kernel
        with callbacks_set_aside(kernel):
            has_handlers = self._row_triggers.install()
            if not self.database.options.changes:
                return Effects()
            return effects_of_schema(kernel, has_handlers=has_handlers)

    @property
    def durability(self) -> Durability:
        """What a commit has survived when it returns."""
        return self._connection.durability

    def set_durability(self, durability: Durability) -> None:
        """Change the durability of this connection's commits."""
        self._connection.set_durability(durability)

    def set_timeout(self, seconds: float) -> None:
        """How long this connection waits for the write lock."""
        self._connection.timeout_seconds = seconds

    @property
    def timeout_seconds(self) -> float:
        """How long this connection waits for the write lock."""
        return self._connection.timeout_seconds

    def checkpoint(self) -> tuple[int, int, int]:
        """Capture and checkpoint; what PRAGMA wal_checkpoint answers: busy, frames, copied."""
        copied_all = self._head.checkpoint()
        frames = self._head.index.state().frames
        return (0 if copied_all else 1), frames, (frames if copied_all else 0)

    def check_pragma(self, statement: Statement) -> str | CommandResult | None:
        return answer_pragma(self, statement)

    @property
    def lsn(self) -> Lsn:
        return self._connection.lsn()

    def wait_for(self, lsn: int, timeout_seconds: float | None = None) -> Lsn:
        limit = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + limit
        pause = 0.0001
        while True:
            reached = self._head.newest_lsn()
            if reached >= lsn:
                self.forget_commit()
                return reached
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"branch {self.branch!r} is at LSN {reached}; LSN {lsn} did not come within "
                    f"{limit:g} s"
                )
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK_SECONDS)

    def set_commit_metadata(self, author: str | None, message: str | None) -> None:
        self._connection.write_metadata(author, message)

    def content_mark(self) -> tuple[int, ...]:
        return self._connection.content_mark()

    def describe_commit(self, **changes: str | None) -> None:
        """SET COMMIT AUTHOR and MESSAGE: into the open transaction, which writes from now on.

        Where none is open they wait for the next one that changes something.
        Shape: `changes` are `author`, `message` or both; None takes back what was said before.
        """
        if not self.kernel.in_transaction:
            described = {**(self.waiting_description or {}), **changes}
            is_said = any(text is not None for text in described.values())
            self.waiting_description = described if is_said else None
            return
        author, message = self._connection.planned_metadata()
        self._connection.write_metadata(
            changes.get("author", author), changes.get("message", message)
        )

    def carry_description(self) -> None:
        waiting, self.waiting_description = self.waiting_description, None
        if waiting is not None:
            self.describe_commit(**waiting)

    def use_branch(self, name: str) -> None:
        if self.kernel.in_transaction:
            raise UncommittedChangesError(f"a transaction is open; branch {name!r} cannot be used")
        branch_id = self.database.refs().branch(name).id
        if branch_id == self.branch_id:
            return
        head = self.database.use_head(branch_id)
        try:
            if not self.read_only:
                head.prepare_for_writers()
            options = replace(
                self.options, durability=self.durability, timeout_seconds=self.timeout_seconds
            )
            connection = HeadConnection(head, options)
            copy_settings(self.kernel, connection.kernel)
        except BaseException:
            self.database.release_head(branch_id)
            raise
        old, old_branch_id = self._connection, self.branch_id
        self._head, self._connection, self.branch_id = head, connection, branch_id
        self.kernel = connection.kernel
        self._bind_hot_calls()
        self._equip()
        old.close()
        self.database.release_head(old_branch_id)

    def choose_format(self, name: str, value: str) -> bool:
        """Page size, auto_vacuum mode or encoding of a database with nothing in it yet.

        False when SQLite may run the pragma, which does nothing: there is something in it already,
        or this process has it open elsewhere. Otherwise the kernel is another one afterwards.
        """
        head, database = self._head, self.database
        is_empty = self.branch_id == MAIN_BRANCH_ID and head.newest_lsn() == EMPTY_LSN
        if not is_empty or self.kernel.in_transaction or len(database.refs().branches) > 1:
            return False
        present = format_of(self.kernel)
        if str(present[name]).lower() == value or database.users_of(self.branch_id) > 1:
            return False
        kept = KernelConnection(":memory:")
        copy_settings(self.kernel, kept)
        options = replace(
            self.options, durability=self.durability, timeout_seconds=self.timeout_seconds
        )
        self._connection.close()
        database.release_head(self.branch_id)
        try:
            with contextlib.suppress(BranchInUseError):  # by another process: it stays as it is
                database.remake_empty({**present, name: value})
        finally:
            self._head = database.use_head(self.branch_id)
            self._connection = HeadConnection(self._head, options)
            self.kernel = self._connection.kernel
            copy_settings(kept, self.kernel)
            kept.close()
            self._bind_hot_calls()
            self._equip()
        return True

    def close(self) -> None:
        self._connection.close()
        self.database.release_head(self.branch_id)
        self.database.close()


class PastSession(_HistorySession):
    """A read-only connection to a branch as of one LSN."""

    def __init__(
        self, database: Database, resolved: ResolvedMoment, options: SessionOptions
    ) -> None:
        self.as_of = resolved.lsn
        name = past_vfs().register(database.known(resolved.branch_id).view(resolved.lsn))
        try:
            kernel = KernelConnection(
                view_uri(name),
                flags=OPEN_READ_ONLY | OPEN_URI,
                statementcachesize=options.cached_statements,
            )
            run(kernel, f"PRAGMA cache_size = -{CACHE_KIB_OF_A_CONNECTION}")
            run(kernel, "SELECT 1 FROM sqlite_schema LIMIT 1")
        finally:
            past_vfs().forget(name)
        super().__init__(database, resolved.branch_id, kernel, replace(options, read_only=True))

    @property
    def lsn(self) -> Lsn:
        assert self.as_of is not None
        return self.as_of

    def wait_for(self, lsn: int, timeout_seconds: float | None = None) -> Lsn:
        if lsn <= self.lsn:
            return self.lsn
        raise WaitTimeoutError(f"this connection reads LSN {self.lsn} for ever", hint="")

    def set_commit_metadata(self, author: str | None, message: str | None) -> None:
        raise ReadOnlyMomentError(
            "the past cannot be written", hint="use a connection without as_of"
        )

    def content_mark(self) -> tuple[int, ...]:
        return ()  # nothing ever changes here

    def describe_commit(self, **_changes: str | None) -> None:
        """Refuse SET COMMIT: nothing is ever committed here."""
        raise ReadOnlyMomentError(
            "the past cannot be written", hint="use a connection without as_of"
        )

    def close(self) -> None:
        self.kernel.close(True)
        self.database.close()


def open_session(
    path: str | os.PathLike[str],
    *,
    branch: str | None = None,
    as_of: AsOf | None = None,
    options: SessionOptions | None = None,
    uri: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Session:
    """Open a session on the database at `path`; `branch` and `as_of` need history."""
    options = options or SessionOptions()
    plain = os.fspath(path)
    if not options.database.history or uri or plain in (":memory:", ""):
        if branch is not None or as_of is not None:
            raise NoHistoryError(
                "branch= and as_of= need a database file with history",
                hint="give a plain path and history=True",
            )
        return _plain_session(plain, options, uri)
    database = open_database(plain, options.database, on_progress=on_progress)
    try:
        branch_id = database.refs().branch(branch or MAIN_BRANCH).id
        if as_of is None:
            return HeadSession(database, branch_id, options)
        return PastSession(database, resolve(moment_from(as_of), branch_id, database), options)
    except BaseException:
        database.close()
        raise


def _plain_session(path: str, options: SessionOptions, uri: bool) -> Session:
    flags = OPEN_READ_ONLY if options.read_only else OPEN_READ_WRITE
    if options.database.create and not options.read_only:
        flags |= OPEN_CREATE
    if uri:
        flags |= OPEN_URI
    kernel = KernelConnection(path, flags=flags, statementcachesize=options.cached_statements)
    kernel.set_busy_timeout(int(options.timeout_seconds * 1000))
    return Session(kernel, options)


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
