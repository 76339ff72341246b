"""The half of a connection that begins and ends transactions, the implicit ones too."""

from __future__ import annotations

from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from dosql_core.errors import CursorClosedError, DatabaseLockedError
from dosql_core.kernel.connection import TRANSACTION_WRITES, KernelCursor
from dosql_core.kernel.error_translation import KernelError, translate
from dosql_dbapi.commit_description import follow_session
from dosql_dbapi.connection_state import ConnectionState
from dosql_dbapi.recovery import translated_for

if TYPE_CHECKING:
    from dosql_dbapi.cursor import Cursor

LEGACY_TRANSACTION_CONTROL = -1

_LEVELS = ("", "DEFERRED", "IMMEDIATE", "EXCLUSIVE")
_LOCKING_LEVELS = ("IMMEDIATE", "EXCLUSIVE")

_run = KernelCursor.execute


class ConnectionTransactions(ConnectionState):
    """commit, rollback, isolation levels, and whose turn it is to write."""

    __slots__ = ()

    def commit(self) -> None:
        """Commit what is pending; nothing happens when nothing is."""
        if self._owner == get_ident() and not self._is_closed:
            if self._autocommit is not True and not self._in_autocommit():
                self._end("COMMIT")
            return
        if self._owner or self._is_closed:
            self._check_usable()
        with self._lock:  # any thread may use it
            if self._autocommit is not True and not self._in_autocommit():
                self._end("COMMIT")

    def rollback(self) -> None:
        """Undo what is pending, and forget what SET COMMIT said of the next commit."""
        if self._owner != get_ident() or self._is_closed:
            self._check_usable()
        with self._lock:
            if self._autocommit is not True and not self._in_autocommit():
                self._end("ROLLBACK")
        if self._plans.describes_commit:
            self._session.waiting_description = None
            follow_session(self)

    def _end(self, sql: str) -> None:
        try:
            _run(self._control, sql)
        except KernelError as error:
            self._after_failure()
            raise translate(error) from error
        if self._has_gate:
            self._is_turn_due = False
            self._is_next_read_noted = True
            self._leave_write()
        if self._autocommit is False:
            self._begin("BEGIN", None)

    def _begin(self, sql: str, mode: str | None) -> None:
        """Begin a transaction the program asked for, or that `autocommit=False` implies."""
        is_writing = mode in ("immediate", "exclusive")
        if is_writing and self._has_gate:
            self._enter_write(None)
        try:
            _run(self._control, sql)
        except KernelError as error:
            self._after_failure()
            raise translated_for(self, error) from error
        if not is_writing:
            self._mark_deferred()

    def _begin_write(self, cursor: Cursor, sql: str) -> None:
        """Begin the implicit transaction of a write: in its turn, where it writes a shared head.

        Errors: CursorClosedError, before anything is begun; DatabaseLockedError, and then the
                transaction is open unless beginning it was to take the lock.
        """
        if cursor._is_closed:
            raise CursorClosedError("Cannot operate on a closed cursor.")
        if self._has_gate:
            is_locking = self._isolation_level in _LOCKING_LEVELS
            try:
                self._enter_write(None if is_locking else sql)
            except DatabaseLockedError:
                if is_locking:
                    self._refuse_mistakes(sql)
                else:
                    self._begin("BEGIN", None)
                raise
        try:
            _run(self._control, self._begin_sql or "BEGIN")
        except KernelError as error:
            if not self._in_autocommit():  # another thread of this connection was faster
                return
            self._after_failure()
            self._refuse_mistakes(sql)
            raise translated_for(self, error) from error
        self._is_just_begun = True
        self._is_turn_due = self._is_next_read_noted = self._has_gate
        self._session.has_savepoint = False

    def _refuse_mistakes(self, sql: str) -> None:
        """What is wrong with a statement itself comes before what is wrong with its transaction."""
        try:
            self._compile(sql)
        except KernelError as error:
            raise translated_for(self, error) from error

    def _undo_beginning(self, sql: str) -> None:
        """A write failed that has begun the open transaction; sqlite3 compiles before it begins."""
        try:
            self._compile(sql)
        except (KernelError, UnicodeEncodeError):
            _run(self._control, "ROLLBACK")

    def _implicit_begin(self) -> str | None:
        if self._autocommit != LEGACY_TRANSACTION_CONTROL or self._isolation_level is None:
            return None
        return f"BEGIN {self._isolation_level}"

    def _mark_deferred(self) -> None:
        """The transaction that has just begun takes the write lock when it first writes main."""
        self._is_next_read_noted = self._is_turn_due = self._has_gate
        self._session.has_savepoint = False

    def _note_read(self) -> None:
        """The first read of a deferred transaction, or since a commit of this connection.

        The one opens its snapshot so that its LSN is known; the other sees the present again, and
        no longer the LSN of that commit.
        """
        self._is_next_read_noted = False
        if self._in_autocommit():
            self._session.forget_commit()
        else:
            self._session.begin_read()

    def _begin_statement_that_may_write(self, sql: str | None = None) -> None:
        """Wait for a turn, unless the statement is known to write only other databases."""
        if self._has_gate and (self._is_turn_due or self._in_autocommit()):
            self._enter_write(sql)

    def _settle_turn(self) -> None:
        """After a write in a transaction: keep the turn only with the lock it is for."""
        if self._transaction_state("main") == TRANSACTION_WRITES:
            self._is_next_read_noted = self._is_turn_due = False
        else:
            self._leave_write()

    def _after_statement(self) -> None:
        """Give the turn up when the statement ended the transaction, or was one itself."""
        if self._has_gate:
            if self._in_autocommit():
                self._is_turn_due = False
                self._is_next_read_noted = True
                self._leave_write()
            elif self._is_turn_due:
                self._settle_turn()

    def _after_failure(self) -> None:
        if not self._is_closed:
            self._after_statement()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        self._check_open()
        return not self._in_autocommit()

    @property
    def isolation_level(self) -> str | None:
        """How implicit transactions begin; None for none at all. Setting None commits."""
        self._check_open()
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        valid = valid_level(level)
        self._check_usable()
        if valid is None and not self._in_autocommit():
            self._end("COMMIT")
        self._isolation_level = valid
        self._begin_sql = self._implicit_begin()

    @property
    def autocommit(self) -> bool | int:
        """True, False (a transaction is always open) or LEGACY_TRANSACTION_CONTROL."""
        self._check_usable()
        return self._autocommit

    @autocommit.setter
    def autocommit(self, mode: bool | int) -> None:
        valid = valid_autocommit(mode)
        self._check_usable()
        if valid is True and not self._in_autocommit():
            self._autocommit = valid
            self._end("COMMIT")
        elif valid is False and self._in_autocommit():
            self._begin("BEGIN", None)
        self._autocommit = valid
        self._begin_sql = self._implicit_begin()

    @property
    def _is_legacy(self) -> bool:
        return self._autocommit == LEGACY_TRANSACTION_CONTROL

    def __enter__(self) -> Self:
        """Nothing begins here: a transaction does with the first write."""
        self._check_usable()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        """Commit when the block ended well, else roll back. The connection stays open."""
        if exception_type is None:
            try:
                self.commit()
            except BaseException:
                self.rollback()
                raise
        else:
            self.rollback()
        return False


def valid_level(level: str | None) -> str | None:
    if level is None:
        return None
    if not isinstance(level, str):
        raise TypeError(f"isolation_level must be str or None, not {type(level).__name__}")
    upper = str.upper(level)
    if upper not in _LEVELS:
        raise ValueError(
            "isolation_level string must be '', 'DEFERRED', 'IMMEDIATE', or 'EXCLUSIVE'"
        )
    return upper


def valid_autocommit(mode: bool | int) -> bool | int:
    if mode is True or mode is False or mode == LEGACY_TRANSACTION_CONTROL:
        return mode
    raise ValueError("autocommit must be True, False, or sqlite3.LEGACY_TRANSACTION_CONTROL")
