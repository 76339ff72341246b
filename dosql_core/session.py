"""One kernel connection pinned to a branch and, perhaps, a moment: what the driver talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dosql_core.errors import NoHistoryError
from dosql_core.identifiers import Lsn
from dosql_core.kernel.connection import (
    OPEN_CREATE,
    OPEN_READ_ONLY,
    OPEN_READ_WRITE,
    OPEN_URI,
    KernelConnection,
)
from dosql_core.options import SessionOptions


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one of our own statements answers.

    Shape: `rows` are tuples as long as `columns`; a command without rows has no columns.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    message: str = ""


class Session:
    """A connection without history: SQLite as it is (":memory:", temporary, history=False)."""

    gate_needed = False
    branch: str | None = None
    as_of: Lsn | None = None

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

    def run_command(self, statement: Any, parameters: Any) -> CommandResult:
        """Carry out one of our own statements."""
        raise NoHistoryError("branches, snapshots and restore need a database file with history")

    def rewrite_as_of(self, statement: Any, parameters: Any) -> tuple[str, Any]:
        """The SQL and parameters to run instead of a statement with AS OF clauses."""
        raise NoHistoryError("FOR SYSTEM_TIME AS OF needs a database file with history")

    def check_pragma(self, statement: Any) -> str | CommandResult | None:
        """None when the pragma may run as it is; else what to run or answer instead."""
        return None

    @property
    def lsn(self) -> Lsn:
        """The LSN this connection sees."""
        raise NoHistoryError("this database keeps no history, so its commits have no LSN")

    def wait_for(self, lsn: Lsn, timeout_seconds: float | None = None) -> Lsn:
        """Wait until this connection's branch has reached `lsn`."""
        raise NoHistoryError("this database keeps no history, so its commits have no LSN")

    def set_commit_metadata(self, author: str | None, message: str | None) -> None:
        """Author and message for the next commit."""
        raise NoHistoryError("this database keeps no history, so commits carry no message")

    def close(self) -> None:
        """Close the kernel connection and let go of everything shared."""
        self.kernel.close(True)


def open_session(
    path: str | os.PathLike[str],
    *,
    branch: str | None = None,
    as_of: Any = None,
    options: SessionOptions | None = None,
    uri: bool = False,
    on_progress: Any = None,
) -> Session:
    """Open a session on the database at `path`."""
    options = options or SessionOptions()
    flags = OPEN_READ_ONLY if options.read_only else OPEN_READ_WRITE
    if options.database.create and not options.read_only:
        flags |= OPEN_CREATE
    if uri:
        flags |= OPEN_URI
    kernel = KernelConnection(
        os.fspath(path), flags=flags, statementcachesize=options.cached_statements
    )
    kernel.set_busy_timeout(int(options.timeout_seconds * 1000))
    return Session(kernel, options)
