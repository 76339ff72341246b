"""What the driver talks to: one kernel connection; this one is without history."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import Any

from dosql_core.errors import NoHistoryError
from dosql_core.identifiers import Lsn
from dosql_core.kernel.connection import KernelConnection
from dosql_core.kernel.past_guard import Authorizer
from dosql_core.language.classify import Statement
from dosql_core.options import SessionOptions
from dosql_core.sessions.command_result import CommandResult
from dosql_core.triggers.row_triggers import RowTriggers
from dosql_core.triggers.trigger_registry import TriggerRegistry, relations_of


class Session:
    """A connection without history: SQLite as it is (":memory:", temporary, history=False)."""

    gate_needed = False
    branch: str | None = None
    as_of: Lsn | None = None
    # What SET COMMIT said outside of a transaction, for the next commit of this session.
    waiting_description: dict[str, str | None] | None = None
    # Of the open transaction; kept by who runs the statements.
    has_savepoint = False

    def __init__(self, kernel: KernelConnection, options: SessionOptions) -> None:
        self.kernel = kernel
        self.options = options
        self.read_only = options.read_only

    def enter_write(self, statement: str | None = None) -> None:
        """Wait for this writer's turn; nothing to wait for without a shared head.

        With the text of the `statement` to be run it does not wait where that writes only other
        databases: TEMP tables, what is attached.
        """

    def leave_write(self) -> None:
        """Give the turn up unless the open transaction has the write lock."""

    def outlast_keeper(self) -> bool:
        """Whether to run a write again that found main locked, after a read of its transaction."""
        return False

    def begin_read(self) -> None:
        """Open the snapshot of a deferred transaction before its first SELECT."""

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

        kernel = self.kernel
        registry = TriggerRegistry(install, lambda: relations_of(kernel))
        row_triggers = RowTriggers(kernel, (registry,))
        return registry

    def after_rollback_to(self) -> None:
        """The connection went back to a savepoint."""

    def note_definition(self, sql: str) -> None:
        """A statement that defines something has run on this connection."""

    def after_vacuum(self, sql: str) -> None:
        """VACUUM has run on this connection; the file should be smaller now."""

    def note_setting(self, sql: str) -> None:
        """A statement that sets something of this connection alone has run on it."""

    def content_mark(self) -> tuple[int, ...]:
        """Differs from an earlier one of the same transaction when that has changed something."""
        raise NoHistoryError("this database keeps no history, so commits carry no message")

    def close(self) -> None:
        """Close the kernel connection and let go of everything shared."""
        self.kernel.close(True)
