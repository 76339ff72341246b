"""A session on the head of a branch: it writes, and may go on with another branch."""

from __future__ import annotations

import contextlib
import os
import re
import time
import weakref
from dataclasses import replace
from functools import cached_property

from dosql_core.database import Database
from dosql_core.errors import (
    BranchInUseError,
    DatabaseNotFoundError,
    TableLockedError,
    UncommittedChangesError,
    WaitTimeoutError,
)
from dosql_core.identifiers import EMPTY_LSN, MAIN_BRANCH_ID, BranchId, Lsn
from dosql_core.kernel.change_causes import Effects
from dosql_core.kernel.connection import KernelConnection, callbacks_set_aside, copy_settings
from dosql_core.kernel.empty_file import format_of
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.language.classify import Statement
from dosql_core.options import Durability, SessionOptions
from dosql_core.sessions.command_result import CommandResult
from dosql_core.sessions.history_session import HistorySession
from dosql_core.sessions.pragmas import answer_pragma
from dosql_core.triggers.row_triggers import RowTriggers
from dosql_core.triggers.schema_effects import effects_of_schema
from dosql_core.triggers.trigger_registry import Relations, TriggerRegistry, relations_of

_LONGEST_LOOK_SECONDS = 0.005
# What a definition says that may change what SQLite changes by itself.
_CHANGES_EFFECTS = re.compile(
    r"\b(trigger|rename|alter|on\s+(delete|update)|foreign_keys)\b", re.IGNORECASE
)


class HeadSession(HistorySession):
    """A connection to the head of a branch."""

    gate_needed = True

    def __init__(self, database: Database, branch_id: BranchId, options: SessionOptions) -> None:
        self._head = database.use_head(branch_id)
        try:
            if not options.read_only:
                self._head.keeping.prepare_for_writers()
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
        self.outlast_keeper = self._connection.outlast_keeper  # type: ignore[method-assign]
        self.forget_commit = self._connection.forget_commit  # type: ignore[method-assign]
        this = weakref.ref(self)

        def find_effects() -> Effects:
            session = this()
            return Effects() if session is None else session._find_effects()

        def has_savepoint() -> bool:
            session = this()
            return session is None or session.has_savepoint

        self._connection.find_effects = find_effects
        self._connection.has_savepoint = has_savepoint
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

        def find_relations() -> Relations:
            session = this()
            return {} if session is None else relations_of(session.kernel)

        return TriggerRegistry(look_again, find_relations)

    def after_rollback_to(self) -> None:
        if len(self.triggers) or len(self.database.triggers):
            self._connection.look_at_schema_again()  # it may have taken TEMP triggers away
        self._connection.write_targets.forget()

    def note_definition(self, sql: str) -> None:
        self._connection.write_targets.forget()
        if _CHANGES_EFFECTS.search(sql) or len(self.triggers) or len(self.database.triggers):
            self._head.schema_mark[0] += 1

    def after_vacuum(self, sql: str) -> None:
        path = self._head.place.database_path
        if os.path.exists(path) and self._connection.write_targets.includes_main(sql):
            self.checkpoint()  # until then the WAL alone tells of the pages that are gone

    def note_setting(self, sql: str) -> None:
        self._connection.write_targets.forget()  # it may have attached a database
        if _CHANGES_EFFECTS.search(sql):
            self._connection.look_at_schema_again()  # whether foreign keys act is its own choice

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
        """Capture and checkpoint; what PRAGMA wal_checkpoint answers: busy, frames, copied.

        Errors: TableLockedError within a transaction, as in SQLite: it would wait for its own end;
                DatabaseNotFoundError when the file was moved.
        """
        if self.kernel.in_transaction:
            raise TableLockedError(
                "database table is locked: a checkpoint cannot run within a transaction",
                hint="commit first",
            )
        path = self._head.place.database_path
        if not os.path.exists(path):
            raise DatabaseNotFoundError(
                f"{path} has been moved or removed while it was open: nothing can be checkpointed",
                hint="put it back; what was committed is in its WAL or in history until then",
            )
        copied_all = self._head.keeping.checkpoint()
        self._head.keeping.tidy()
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
                head.keeping.prepare_for_writers()
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
