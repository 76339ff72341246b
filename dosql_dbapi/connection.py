"""The connection: one session, its transactions, and the way to cursors.

It wraps the kernel's connection instead of being one, because `USE BRANCH` replaces that under it.
What runs for every statement is kept in slots: methods of the kernel already bound, and flags.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import RLock, get_ident
from typing import Any, ClassVar, NoReturn

from dosql_core import errors
from dosql_core.errors import ConnectionClosedError
from dosql_core.identifiers import MAIN_BRANCH
from dosql_core.kernel.connection import KernelConnection, KernelCursor
from dosql_core.kernel.error_translation import (
    KernelBusyErrors,
    KernelError,
    KernelTraceAbort,
    translate,
)
from dosql_core.kernel.head_watch import is_background_thread
from dosql_core.kernel.sqlite_library import NULL_BINDINGS, SQLITE_LIMIT_SQL_LENGTH
from dosql_core.options import DatabaseOptions, Durability, Retention, SessionOptions
from dosql_core.sessions.opening import open_session
from dosql_core.sessions.session import Session
from dosql_dbapi import execution
from dosql_dbapi.adaptation import BaseTypes, bind_converted
from dosql_dbapi.commit_description import follow_session
from dosql_dbapi.connection_callbacks import ConnectionCallbacks
from dosql_dbapi.connection_history import ConnectionHistory
from dosql_dbapi.connection_state import ANY_THREAD, FORKED
from dosql_dbapi.connection_tools import ConnectionTools
from dosql_dbapi.connection_transactions import (
    LEGACY_TRANSACTION_CONTROL,
    valid_autocommit,
    valid_level,
)
from dosql_dbapi.cursor import Cursor, FreshCursor
from dosql_dbapi.deprecations import warn_of_positional_options
from dosql_dbapi.location import locate
from dosql_dbapi.plans import PlanBook
from dosql_dbapi.recovery import CLOSED_CONNECTION
from dosql_dbapi.remembered_texts import RememberedTexts
from dosql_dbapi.results import Described
from dosql_dbapi.shared_cursor import FreshSharedCursor
from dosql_dbapi.statement import Statement, prepared
from dosql_dbapi.user_functions import Callbacks

_COMPANION_AFTER_SECONDS = DatabaseOptions().companion_after_seconds
_CURSORS_KNOWN = 64
_WARNS_WHEN_NOT_CLOSED = sys.version_info >= (3, 13)  # as the standard library's does

_run = KernelCursor.execute


def connect(*arguments: Any, **options: Any) -> Connection:
    """Open a connection; takes what `Connection` takes.

    Like sqlite3's, it passes everything on to `factory`, a subclass of Connection or a function.
    """
    if len(arguments) > 1:
        warn_of_positional_options()
    factory = options.get("factory", arguments[5] if len(arguments) > 5 else Connection)
    connection: Connection = factory(*arguments, **options)
    return connection


class Connection(ConnectionHistory, ConnectionCallbacks, ConnectionTools):
    """A connection to one database, on one branch and perhaps as of one moment.

    The first eight parameters and `autocommit` are sqlite3's. `branch` is the branch to work on;
    `as_of` a moment (an LSN, a datetime, "snapshot:name"...), which makes the connection read-only.
    `durability`, `history`, `changes`, `retention` and `create` are those of options.py.
    `companion` False keeps the capture of commits in this process, however fast they come.
    `on_progress(done, total)` is told how far the adoption of an existing file is.

    Threads: with `check_same_thread` (the default) only the thread that opened it may use it;
    without, any thread may, one statement at a time: the others wait.
    """

    __slots__ = ()

    # Optional extension of PEP 249: the exceptions, for code that has only the connection at hand.
    Warning: ClassVar[type[errors.Warning]] = errors.Warning
    Error: ClassVar[type[errors.Error]] = errors.Error
    InterfaceError: ClassVar[type[errors.InterfaceError]] = errors.InterfaceError
    DatabaseError: ClassVar[type[errors.DatabaseError]] = errors.DatabaseError
    DataError: ClassVar[type[errors.DataError]] = errors.DataError
    OperationalError: ClassVar[type[errors.OperationalError]] = errors.OperationalError
    IntegrityError: ClassVar[type[errors.IntegrityError]] = errors.IntegrityError
    InternalError: ClassVar[type[errors.InternalError]] = errors.InternalError
    ProgrammingError: ClassVar[type[errors.ProgrammingError]] = errors.ProgrammingError
    NotSupportedError: ClassVar[type[errors.NotSupportedError]] = errors.NotSupportedError

    def __init__(
        self,
        database: str | bytes | os.PathLike[Any],
        timeout: float = 5.0,
        detect_types: int = 0,
        isolation_level: str | None = "",
        check_same_thread: bool = True,
        factory: Any = None,
        cached_statements: int = 128,
        uri: bool = False,
        *,
        autocommit: bool | int = LEGACY_TRANSACTION_CONTROL,
        branch: str | None = None,
        as_of: Any = None,
        durability: str | Durability = Durability.FULL,
        history: bool = True,
        changes: bool = True,
        retention: Retention | None = None,
        create: bool = True,
        on_progress: Callable[[int, int], None] | None = None,
        read_only: bool = False,
        companion: bool = True,
    ) -> None:
        _close_what_was_left()
        location = locate(database, uri=uri, history=history)
        level = valid_level(isolation_level)
        mode = valid_autocommit(autocommit)
        self._let_go_of_former_database()
        branch = location.branch if branch is None else branch
        as_of = location.as_of if as_of is None else as_of
        _check_types(timeout, branch, retention)
        read_only = read_only if location.read_only is None else location.read_only
        needs_what_is_there = read_only or branch not in (None, MAIN_BRANCH) or as_of is not None
        create = create and not needs_what_is_there if location.create is None else location.create
        options = SessionOptions(
            durability=_valid_durability(durability),
            timeout_seconds=timeout,
            read_only=read_only,
            cached_statements=cached_statements,
            database=DatabaseOptions(
                history=history,
                changes=changes,
                create=create,
                retention=retention,
                companion_after_seconds=_COMPANION_AFTER_SECONDS if companion else None,
            ),
        )
        try:
            session = open_session(
                location.path,
                branch=branch,
                as_of=as_of,
                options=options,
                uri=location.is_uri,
                on_progress=on_progress,
            )
        except KernelError as error:
            raise translate(error) from error
        self._owner = get_ident() if check_same_thread else ANY_THREAD
        self._lock = RLock()  # statements of several threads, one after another
        self._is_closed = False
        self._is_closing_cursors = False
        self._is_in_block = False
        self._is_in_memory = location.is_in_memory
        self._timeout_seconds = timeout
        self._thread_wait: tuple[float, float, float] | None = None
        self._detect_types = detect_types
        self._text_factory: Any = str
        self._row_factory: Any = None
        self._shape = execution.converting if detect_types else None
        self._isolation_level = level
        self._autocommit = mode
        self._callbacks = Callbacks()
        self._cursors: list[weakref.ref[Cursor]] = []
        self._cursors_max = _CURSORS_KNOWN
        self._registrations: dict[Any, Callable[[KernelConnection], None]] = {}
        self._plans = PlanBook(BaseTypes.are_adapted)
        self._probed: Any = None
        self._session: Session = session
        self._use_kernel(session.kernel)
        _open_connections.add(self)
        if mode is False:
            self._begin("BEGIN", None)

    def _use_kernel(self, kernel: KernelConnection) -> None:
        """Work on this connection of the kernel from now on."""
        # Made by the kernel, these two are closed with it even when a statement of theirs is open.
        self._control: KernelCursor = kernel.cursor()
        self._probe: KernelCursor = kernel.cursor()
        self._probe.exec_trace = self._note_columns()
        kernel.cursor_factory = FreshCursor if self._owner else FreshSharedCursor
        kernel.convert_binding = bind_converted
        for register in self._registrations.values():
            register(kernel)
        self._kernel = kernel
        self._new_cursor: Callable[[], Any] = kernel.cursor
        self._changes = kernel.changes
        self._data_version = kernel.data_version
        self._columns_of: RememberedTexts[tuple[int, Described | None]] = RememberedTexts()
        self._last_insert_rowid = kernel.last_insert_rowid
        self._in_autocommit = kernel.get_autocommit
        self._transaction_state = kernel.txn_state
        self._enter_write = self._session.enter_write
        self._leave_write = self._session.leave_write
        self._has_gate = self._session.gate_needed
        self._is_next_read_noted = False
        self._is_turn_due = self._is_just_begun = False
        self._is_outlasting_keeper = False
        self._begin_sql = self._implicit_begin()

    # -- cursors -----------------------------------------------------------------------------------

    def cursor(self, factory: Callable[[Connection], Any] = Cursor) -> Cursor:
        """A new cursor; `factory` is a subclass of Cursor or a function that makes one."""
        owner = self._owner
        if (owner and owner != get_ident()) or self._is_closed:
            self._check_usable()
        cursor: Cursor
        if factory is Cursor:
            cursor = self._new_cursor()
        elif isinstance(factory, type) and factory.__init__ is Cursor.__init__:  # type: ignore[misc]
            cursor = KernelCursor.__new__(factory)  # what that would do, in fewer steps
            KernelCursor.__init__(cursor, self._kernel)
            self._remember(cursor)
        else:
            cursor = factory(self)
            if not issubclass(type(cursor), Cursor):
                raise TypeError(
                    f"factory must return a dosql_dbapi Cursor, not {type(cursor).__name__}"
                )
            if self._row_factory is not None:
                cursor._factory = self._row_factory
                cursor._shape = self._shape
            return cursor
        cursor._connection = self
        cursor._row = cursor._described = cursor._lastrowid = None
        cursor._rowcount = -1
        cursor._is_closed = cursor._is_shaping = False
        cursor._factory = self._row_factory
        cursor._shape = self._shape
        return cursor

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        """Make a cursor and run one statement with it."""
        cursor: Cursor = self._new_cursor()
        cursor._connection = self
        cursor._lastrowid = None
        cursor._is_closed = cursor._is_shaping = False
        cursor._factory = self._row_factory
        cursor._shape = self._shape
        return cursor.execute(sql, parameters)

    def __call__(self, *arguments: str) -> Statement:
        """Check a statement without running it, as calling a sqlite3 connection does."""
        self._check_usable()  # before the arguments are looked at, as there
        return prepared(self, *arguments)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:
        """Make a cursor and run one write for every set of parameters."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Cursor:
        """Make a cursor and run every statement of a script."""
        return self.cursor().executescript(sql_script)

    def _adopt(self, cursor: Cursor) -> None:
        """Make a cursor that was not made by the kernel one of this connection's."""
        self._remember(cursor)
        cursor._factory = self._row_factory
        cursor._shape = self._shape

    def _remember(self, cursor: Cursor) -> None:
        """Remember a cursor that was not made by the kernel, to close it before the kernel."""
        known = self._cursors
        if len(known) >= self._cursors_max:
            known = self._cursors = [reference for reference in known if reference() is not None]
            self._cursors_max = _CURSORS_KNOWN + 2 * len(known)
        known.append(weakref.ref(cursor))

    def _shape_for(self, factory: Any) -> Any:
        if self._detect_types or self._text_factory is not str:
            return execution.converting
        return factory

    # -- attributes --------------------------------------------------------------------------------

    @property
    def total_changes(self) -> int:
        """How many rows were changed since the connection was opened."""
        self._check_open()
        return self._kernel.total_changes()

    @property
    def row_factory(self) -> Any:
        """What new cursors make rows with: None for tuples, `Row`, or a function."""
        return self._row_factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._row_factory = factory
        self._shape = self._shape_for(factory)

    @property
    def text_factory(self) -> Any:
        """What TEXT is made into: `str`, or a function of its UTF-8 bytes."""
        return self._text_factory

    @text_factory.setter
    def text_factory(self, factory: Any) -> None:
        self._text_factory = factory
        self._shape = self._shape_for(self._row_factory)
        # Cursors made before this learn of it with their next statement.
        self._plans = PlanBook(
            BaseTypes.are_adapted or factory is not str, self._plans.describes_commit
        )

    # -- closing and what is refused ---------------------------------------------------------------

    def close(self) -> None:
        """Close the connection and its cursors; what was not committed is rolled back."""
        owner = self._owner
        if owner == FORKED:
            self._is_closed = True  # the parent goes on using what this would close
            return
        if owner and owner != get_ident():
            self._refuse_thread()
        with self._lock:
            if not self._is_closed:
                if self._autocommit is False and not self._in_autocommit():
                    _run(self._control, "ROLLBACK")
                try:
                    self._release()
                except KernelError as error:  # all that was committed is in the WAL
                    raise translate(error) from error

    def _release(self) -> None:
        self._is_closing_cursors = True
        for reference in self._cursors:
            cursor = reference()
            if cursor is not None:
                cursor.close()
        self._cursors = []
        try:
            self._session.close()
        finally:
            self._is_closed = True
            self._new_cursor = _refuse_closed
            _open_connections.discard(self)

    def _let_go_of_former_database(self) -> None:
        """Make way for a second `__init__`; cursors of an in-memory database may fetch on."""
        if not self._is_closed and not self._is_in_memory:
            self._release()
        self._be_not_opened()  # until the new database is open, there is none

    def _has_moved(self, cursor: Cursor) -> bool:
        """Whether a cursor is closed only because `USE BRANCH` closed the kernel below it."""
        return not self._is_closed and not cursor._is_closed

    def __del__(self) -> None:
        if self._is_closed or self._owner == FORKED:
            return
        if _WARNS_WHEN_NOT_CLOSED:
            warnings.warn(
                f"unclosed database in {self!r}", ResourceWarning, stacklevel=2, source=self
            )
        if is_background_thread():
            # Closing may wait for this very thread, or for what it holds.
            _left_to_close.append(self._session)
            start_new_thread(_close_what_was_left, ())
            return
        try:
            self._release()
        except KernelBusyErrors:
            # The collector frees a running cursor together with its connection, and has hidden the
            # cursor from the kernel already: it is gone in a moment, so close again then.
            _left_to_close.append(self._session)

    # -- for the driver itself ---------------------------------------------------------------------

    def _run_command(self, statement: Any, parameters: Any) -> Any:
        """Carry out one of our own statements; the kernel may be another one afterwards."""
        answer = self._answered(self._session.run_command, statement, parameters)
        follow_session(self)
        return answer

    def _check_pragma(self, statement: Any) -> Any:
        """What the session says of a pragma; the kernel may be another one afterwards."""
        return self._answered(self._session.check_pragma, statement)

    def _answered(self, answering: Callable[..., Any], *arguments: Any) -> Any:
        self._is_closing_cursors = True
        try:
            answer = answering(*arguments)
        finally:
            self._is_closing_cursors = False
            if self._session.kernel is not self._kernel:
                self._use_kernel(self._session.kernel)
        return answer

    def _remember_columns(self, sql: str, version: int, columns: Described | None) -> None:
        """Remember what the columns of a text are while the database stays at this version.

        The version changes with every commit, of other processes, too, so a schema that somebody
        else changed is never described as it was.
        """
        self._columns_of.make_room(sql)
        self._columns_of[sql] = (version, columns)

    def _forget_columns(self) -> None:
        self._columns_of.clear()

    def _probe_columns(self, sql: str) -> Any:
        """Names and declared types of the columns a statement would return; nothing is run."""
        try:
            with self._session.reading_the_past():
                self._compile(sql)
        except KernelError:
            return None
        return self._probed

    def _compile(self, sql: str) -> None:
        self._probed = None
        with suppress(KernelTraceAbort):
            _run(self._probe, sql, NULL_BINDINGS)

    def _note_columns(self) -> Callable[[Any, str, Any], bool]:
        # A weak reference: the connection owns the cursor that owns this function.
        this = weakref.ref(self)

        def note(cursor: Any, _sql: str, _parameters: Any) -> bool:
            connection = this()
            if connection is not None:
                connection._probed = cursor.get_description()
            return False  # which keeps the statement from running

        return note

    def _is_text_too_long(self, error: Exception) -> bool:
        return "too big" in str(error) and self._kernel.limit(SQLITE_LIMIT_SQL_LENGTH) < (1 << 20)

    def _check_length(self, sql: str) -> None:
        if len(sql) > self._kernel.limit(SQLITE_LIMIT_SQL_LENGTH):
            raise errors.ValueTooLargeError("query string is too large")


def _refuse_closed() -> NoReturn:
    raise ConnectionClosedError(CLOSED_CONNECTION)


def _check_types(timeout: Any, branch: Any, retention: Any) -> None:
    if not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a real number, not {type(timeout).__name__}")
    if not isinstance(branch, str | None):
        raise TypeError(f"branch must be a name, not {type(branch).__name__}")
    if not isinstance(retention, Retention | None):
        raise TypeError(f"retention must be a Retention, not {type(retention).__name__}")


def _valid_durability(durability: str | Durability) -> Durability:
    try:
        return Durability(durability)
    except ValueError:
        known = ", ".join(repr(value.value) for value in Durability)
        raise errors.ConfigurationError(
            f"durability is {durability!r}; it must be one of {known}"
        ) from None


_open_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_left_to_close: list[Session] = []


def _close_what_was_left() -> None:
    """Close the sessions that the garbage collector found with a statement running."""
    while _left_to_close:
        _left_to_close.pop().close()


@atexit.register
def _close_what_is_open() -> None:
    """Before the interpreter takes its modules apart, which closing still needs."""
    for connection in list(_open_connections):
        if connection._owner != FORKED:
            with suppress(Exception):  # a daemon thread may still use it
                connection._release()
    with suppress(Exception):
        _close_what_was_left()


_inherited: list[Session] = []


def _refuse_in_child() -> None:
    """After fork(): no connection may be used, nor closed by the garbage collector."""
    for connection in list(_open_connections):
        connection._owner = FORKED
        _inherited.append(connection._session)
    _inherited.extend(_left_to_close)
    _left_to_close.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refuse_in_child)
