"""The half of a connection that sqlite3 does not have: moments, branches, managed transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from dosql_core.errors import (
    Error,
    InterruptedStatementError,
    ProgrammingError,
    TransactionTimeoutError,
)
from dosql_core.identifiers import Lsn
from dosql_core.kernel.connection import KernelConnection
from dosql_core.triggers.trigger_registry import TriggerRegistry
from dosql_dbapi.connection_transactions import ConnectionTransactions

_MODES = ("deferred", "immediate", "exclusive")
_DEADLINE = "deadline of a transaction"
_INSTRUCTIONS_BETWEEN_LOOKS = 1000


class ConnectionHistory(ConnectionTransactions):
    """Methods of Connection; they use its `_session`."""

    __slots__ = ()

    @property
    def lsn(self) -> Lsn:
        """The LSN this connection sees: of its snapshot, of its last commit, else the newest.

        Errors: NoHistoryError for a database that keeps no history.
        """
        self._check_usable()
        return self._session.lsn

    @property
    def branch(self) -> str | None:
        """The branch this connection works on; None without history."""
        self._check_usable()
        return self._session.branch

    @property
    def triggers(self) -> TriggerRegistry:
        """Triggers written in Python, for what this connection changes (docs/triggers.md)."""
        self._check_usable()
        return self._session.triggers

    @property
    def as_of(self) -> Lsn | None:
        """The LSN this connection reads for ever, when it was opened with `as_of=`."""
        self._check_usable()
        return self._session.as_of

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        self._check_usable()
        return self._session.read_only

    def wait_for(self, lsn: int, timeout: float | None = None) -> Lsn:
        """Wait until what was committed as `lsn` can be read here; returns how far the branch is.

        Units:  `timeout` seconds; the connection's own when it is None.
        Errors: WaitTimeoutError when it does not come in time.
        """
        self._check_usable()
        return self._session.wait_for(lsn, timeout)

    @contextmanager
    def transaction(
        self,
        mode: Literal["deferred", "immediate", "exclusive"] = "immediate",
        *,
        read_only: bool = False,
        timeout: float | None = None,
        author: str | None = None,
        message: str | None = None,
    ) -> Iterator[Any]:
        """A block that commits when it ends well and rolls back when it raises.

        Inside of another such block, or of a transaction that was begun before, it is a savepoint.
        `author` and `message` are kept with the commit and shown by `dosql log`, unless the block
        changed nothing; `read_only` refuses writes inside the block.
        Units:  `timeout` seconds for the whole block.
        Errors: TransactionTimeoutError when it took longer, rolled back.
        """
        self._check_usable()
        if mode not in _MODES:
            raise ProgrammingError(f"transaction mode is {mode!r}; it must be one of {_MODES}")
        is_always_open = self._autocommit is False  # then the transaction began long ago
        if self._is_in_block or not (is_always_open or self._in_autocommit()):
            with self._savepoint():
                yield self
            return
        if not is_always_open:
            mode = "deferred" if read_only else mode
            self._begin(f"BEGIN {mode.upper()}", mode)
        deadline = _Deadline(self._kernel, timeout)
        is_described = author is not None or message is not None
        self._is_in_block = True
        try:
            before = self._session.content_mark() if is_described else ()
            with deadline, self._writes_refused(read_only):
                yield self
            deadline.check()
            if is_described and self._session.content_mark() != before:
                self._session.set_commit_metadata(author, message)
            self.commit()
        except BaseException as error:
            with suppress(Error):
                self.rollback()
            if isinstance(error, InterruptedStatementError):
                deadline.check()
            raise
        finally:
            self._is_in_block = False

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        self.execute("SAVEPOINT dosql_transaction")
        try:
            yield
        except BaseException:
            with suppress(Error):  # the whole transaction may be gone already
                self.execute("ROLLBACK TO dosql_transaction")
                self.execute("RELEASE dosql_transaction")
            raise
        self.execute("RELEASE dosql_transaction")

    @contextmanager
    def _writes_refused(self, read_only: bool) -> Iterator[None]:
        if not read_only:
            yield
            return
        ((was,),) = self.execute("PRAGMA query_only").fetchall()
        self.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            self.execute(f"PRAGMA query_only = {was}")

    def explain(self, sql: str, parameters: Any = ()) -> str:
        """How SQLite would run a statement, as an indented tree."""
        depth_of: dict[int, int] = {0: -1}
        lines = []
        for identifier, parent, _unused, text in self.execute(
            f"EXPLAIN QUERY PLAN {sql}", parameters
        ).fetchall():
            depth_of[identifier] = depth_of.get(parent, -1) + 1
            lines.append("  " * depth_of[identifier] + text)
        return "\n".join(lines)


class _Deadline:
    """Interrupts whatever statement runs when the time is over."""

    def __init__(self, kernel: KernelConnection, timeout_seconds: float | None) -> None:
        self._kernel = kernel
        self._timeout_seconds = timeout_seconds
        self._started = time.monotonic()

    def _is_over(self) -> bool:
        assert self._timeout_seconds is not None
        return time.monotonic() - self._started > self._timeout_seconds

    def check(self) -> None:
        """Errors: TransactionTimeoutError when the time is over."""
        if self._timeout_seconds is not None and self._is_over():
            raise TransactionTimeoutError(
                f"the transaction took longer than {self._timeout_seconds:g} s and was rolled back"
            )

    def __enter__(self) -> None:
        if self._timeout_seconds is not None:
            self._kernel.set_progress_handler(
                self._is_over, _INSTRUCTIONS_BETWEEN_LOOKS, id=_DEADLINE
            )

    def __exit__(self, *_exception: object) -> None:
        if self._timeout_seconds is not None:
            self._kernel.set_progress_handler(None, id=_DEADLINE)
