"""The asynchronous connection: aiosqlite's interface over a connection in a thread of its own.

Names with an underscore that aiosqlite has, too (`_conn`, `_tx`, `_thread`, `_running`, `_execute`)
are kept because libraries reach for them.
"""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from dosql_core.errors import (
    ClosedAsyncConnectionError,
    ForkedConnectionError,
    WaitTimeoutError,
)
from dosql_core.identifiers import Lsn
from dosql_dbapi.aio.awaitable import awaited_or_entered
from dosql_dbapi.aio.cursor import Cursor
from dosql_dbapi.aio.worker import Always, InterruptibleConnection, Request, Worker
from dosql_dbapi.connection import Connection as SynchronousConnection
from dosql_dbapi.connection import connect as connect_synchronously
from dosql_dbapi.connection_state import FORKED
from dosql_dbapi.connection_transactions import valid_level
from dosql_dbapi.hooks import Authorizer

_T = TypeVar("_T")

_ROWS_AHEAD = 64
_LINES_AHEAD = 64
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05


def connect(
    database: str | bytes | os.PathLike[Any], *, iter_chunk_size: int = _ROWS_AHEAD, **options: Any
) -> Connection:
    """A connection that opens when it is awaited, or entered with `async with`.

    Takes what `dosql_dbapi.connect` takes. `iter_chunk_size` is how many rows are fetched in one
    trip to the connection's thread, and with every statement ahead of being asked for.
    """
    if isinstance(database, bytes):
        location = os.fsdecode(database)
    elif isinstance(database, (str, os.PathLike)):
        location = os.fspath(database)
    else:  # as aiosqlite does with everything else
        location = str(database)
    options.setdefault("factory", InterruptibleConnection)
    return Connection(partial(connect_synchronously, location, **options), iter_chunk_size)


class Connection:
    """One database connection for coroutines; its calls run one after another in its own thread.

    A call whose task is cancelled is taken out of the queue, or ends where it is: a statement that
    runs is interrupted. Tasks may share a connection, but then they share its transaction.
    """

    def __init__(
        self, connector: Callable[[], SynchronousConnection], iter_chunk_size: int = _ROWS_AHEAD
    ) -> None:
        self._worker = Worker(connector)
        self._connection: SynchronousConnection | None = None
        self._iter_chunk_size = iter_chunk_size
        self._running = True
        self._asked_level: tuple[str | None] | None = None  # set, perhaps not yet by the thread

    # -- opening and closing -----------------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, Connection]:
        self._worker.thread.start()
        return self._connect().__await__()

    async def _connect(self) -> Connection:
        future = asyncio.get_running_loop().create_future()
        self._worker.requests.put((future, self._worker.connect))
        try:
            self._connection = await future
        except BaseException:
            self.stop()
            raise
        return self

    async def close(self) -> None:
        """Close the connection, after everything that was asked for before; again is no error."""
        if self._connection is None:
            return
        self._connection = None
        self._running = False
        future = asyncio.get_running_loop().create_future()
        self._worker.stop(future)
        await future

    def stop(self) -> asyncio.Future[Any] | None:
        """Close without waiting. Prefer `await close()`. The result may be awaited."""
        self._running = False
        self._connection = None
        try:
            future = asyncio.get_running_loop().create_future()
        except RuntimeError:
            future = None
        self._worker.stop(future)
        return future

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is None or connection._owner == FORKED:
            return
        warnings.warn(
            f"{self!r} was deleted before being closed; use 'async with' or 'await close()'",
            ResourceWarning,
            stacklevel=1,
            source=self,
        )
        self._worker.stop(None)

    async def __aenter__(self) -> Connection:
        return await self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- calls -------------------------------------------------------------------------------------

    async def run(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        """What `function(connection, ...)` returns, called in the thread of the connection.

        For what has no method here: `await con.run(Connection.explain, "select ...")`.
        """
        result: _T = await self._execute(function, self._conn, *arguments, **options)
        return result

    async def _execute(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._require_open()
        future = asyncio.get_running_loop().create_future()
        self._worker.requests.put((future, partial(function, *arguments, **options)))
        try:
            return await future
        except asyncio.CancelledError:
            self._worker.interrupt_call(future)
            raise

    async def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        return await self._execute(getattr(self._conn, method), *arguments, **options)

    def _pass_on(self, function: Callable[[], Any]) -> None:
        """Have the thread call this some time; nobody waits for it."""
        if self._connection is not None:
            self._worker.requests.put((None, function))

    def _require_open(self) -> SynchronousConnection:
        connection = self._connection
        if connection is None:
            raise ClosedAsyncConnectionError("Connection closed")
        if connection._owner == FORKED:
            raise ForkedConnectionError(
                "this connection was opened before fork(); the child must open its own"
            )
        return connection

    @property
    def _conn(self) -> SynchronousConnection:
        return self._require_open()

    @property
    def _tx(self) -> SimpleQueue[Request]:
        return self._worker.requests

    @property
    def _thread(self) -> Thread:
        return self._worker.thread

    # -- statements --------------------------------------------------------------------------------

    @awaited_or_entered
    async def cursor(self) -> Cursor:
        """A new cursor."""
        self._require_open()
        return Cursor(self)

    @awaited_or_entered
    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Cursor:
        """Make a cursor and run one statement with it."""
        return await Cursor(self).execute(sql, parameters)

    @awaited_or_entered
    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Cursor:
        """Make a cursor and run one write for every set of parameters."""
        return await Cursor(self).executemany(sql, parameters)

    @awaited_or_entered
    async def executescript(self, sql_script: str) -> Cursor:
        """Make a cursor and run every statement of a script."""
        return await Cursor(self).executescript(sql_script)

    @awaited_or_entered
    async def execute_fetchall(
        self, sql: str, parameters: Iterable[Any] | None = None
    ) -> list[Any]:
        """All rows of a statement, in one trip to the thread."""
        parameters = () if parameters is None else parameters
        rows: list[Any] = await self._execute(_fetch_all, self._conn, sql, parameters)
        return rows

    @awaited_or_entered
    async def execute_insert(self, sql: str, parameters: Iterable[Any] | None = None) -> Any:
        """Run an INSERT; returns a row that holds the rowid of what it inserted."""
        parameters = () if parameters is None else parameters
        return await self._execute(_insert, self._conn, sql, parameters)

    # -- transactions ------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit what is pending."""
        await self._ask("commit")

    async def rollback(self) -> None:
        """Undo what is pending."""
        await self._ask("rollback")

    @asynccontextmanager
    async def transaction(
        self,
        mode: Literal["deferred", "immediate", "exclusive"] = "immediate",
        *,
        read_only: bool = False,
        timeout: float | None = None,
        author: str | None = None,
        message: str | None = None,
    ) -> AsyncIterator[Self]:
        """A block that commits when it ends well and rolls back when it raises or is cancelled.

        Inside of another such block it is a savepoint. The parameters are those of the synchronous
        `Connection.transaction`.
        """
        block = self._conn.transaction(
            mode, read_only=read_only, timeout=timeout, author=author, message=message
        )
        await self._enter(block)
        try:
            yield self
        except BaseException as error:
            if not await self._leave(block, error):
                raise
        else:
            await self._leave(block, None)

    async def _enter(self, block: AbstractContextManager[Any]) -> None:
        is_entered = False

        def enter() -> None:
            nonlocal is_entered
            block.__enter__()
            is_entered = True

        def leave_again() -> None:
            if is_entered:
                block.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)

        try:
            await self._execute(enter)
        except asyncio.CancelledError:  # the thread may have begun nevertheless
            self._pass_on(leave_again)
            raise

    async def _leave(
        self, block: AbstractContextManager[Any], error: BaseException | None
    ) -> bool | None:
        self._require_open()
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        kind = None if error is None else type(error)
        leave = Always(block.__exit__, kind, error, None)
        self._worker.requests.put((future, leave))
        return await future

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was open after the last call that is done."""
        self._require_open()
        return self._worker.in_transaction

    @property
    def isolation_level(self) -> str | None:
        """How implicit transactions begin; None for none at all."""
        connection = self._conn
        return self._asked_level[0] if self._asked_level else connection._isolation_level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        connection = self._conn
        valid = valid_level(level)
        self._asked_level = (valid,)
        # Set by the thread, because None commits.
        self._pass_on(partial(setattr, connection, "isolation_level", valid))

    # -- attributes --------------------------------------------------------------------------------

    @property
    def row_factory(self) -> Any:
        """What new cursors make rows with: None for tuples, `Row`, or a function."""
        return self._conn.row_factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._conn.row_factory = factory

    @property
    def text_factory(self) -> Any:
        """What TEXT is made into: `str`, or a function of its UTF-8 bytes."""
        return self._conn.text_factory

    @text_factory.setter
    def text_factory(self, factory: Any) -> None:
        self._conn.text_factory = factory

    @property
    def total_changes(self) -> int:
        """How many rows were changed since the connection was opened, by calls that are done."""
        self._require_open()
        return self._worker.total_changes

    async def interrupt(self) -> None:
        """Stop every statement that runs on this connection."""
        self._conn.interrupt()

    # -- history -----------------------------------------------------------------------------------

    async def lsn(self) -> Lsn:
        """The LSN this connection sees: of its snapshot, of its last commit, else the newest."""
        lsn: Lsn = await self._execute(_attribute, self._conn, "lsn")
        return lsn

    async def branch(self) -> str | None:
        """The branch this connection works on; None without history."""
        name: str | None = await self._execute(_attribute, self._conn, "branch")
        return name

    async def as_of(self) -> Lsn | None:
        """The LSN this connection reads for ever, when it was opened with `as_of=`."""
        lsn: Lsn | None = await self._execute(_attribute, self._conn, "as_of")
        return lsn

    async def wait_for(self, lsn: int, timeout: float | None = None) -> Lsn:
        """Wait until what was committed as `lsn` can be read here; returns how far the branch is.

        The connection can be used meanwhile.
        Units:  `timeout` seconds; the connection's own when it is None.
        Errors: WaitTimeoutError when it does not come in time.
        """
        limit = self._conn._timeout_seconds if timeout is None else timeout
        deadline = time.monotonic() + limit
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                reached: Lsn = await self._ask("wait_for", lsn, 0.0)
            except WaitTimeoutError:
                if time.monotonic() >= deadline:
                    raise
            else:
                return reached
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def explain(self, sql: str, parameters: Any = ()) -> str:
        """How SQLite would run a statement, as an indented tree."""
        plan: str = await self._ask("explain", sql, parameters)
        return plan

    # -- the database as a whole -------------------------------------------------------------------

    async def iterdump(self) -> AsyncIterator[str]:
        """The SQL text that makes this database anew, line by line."""
        lines = await self._ask("iterdump")
        while batch := await self._execute(_next_of, lines):
            for line in batch:
                yield line

    async def backup(
        self,
        target: Connection | SynchronousConnection,
        *,
        pages: int = 0,
        progress: Callable[[int, int, int], Any] | None = None,
        name: str = "main",
        sleep: float = 0.250,
    ) -> None:
        """Copy this database into another connection's, asynchronous or not."""
        if isinstance(target, Connection):
            target = target._conn
        await self._ask("backup", target, pages=pages, progress=progress, name=name, sleep=sleep)

    # -- callbacks ---------------------------------------------------------------------------------

    async def create_function(
        self,
        name: str,
        num_params: int,
        func: Callable[..., Any] | None,
        deterministic: bool = False,
    ) -> None:
        """Make a Python function callable from SQL; it runs in the thread of the connection."""
        await self._ask("create_function", name, num_params, func, deterministic=deterministic)

    async def create_aggregate(
        self, name: str, num_params: int, aggregate_class: Callable[[], Any] | None
    ) -> None:
        """Make a class with `step` and `finalize` an aggregate function."""
        await self._ask("create_aggregate", name, num_params, aggregate_class)

    async def create_window_function(
        self, name: str, num_params: int, aggregate_class: Callable[[], Any] | None
    ) -> None:
        """Make a class with `step`, `inverse`, `value` and `finalize` a window function."""
        await self._ask("create_window_function", name, num_params, aggregate_class)

    async def create_collation(self, name: str, callback: Callable[[str, str], int] | None) -> None:
        """Make a function of two strings a collation."""
        await self._ask("create_collation", name, callback)

    async def set_authorizer(self, authorizer_callback: Authorizer | None) -> None:
        """Ask this callback whether each action of a statement is allowed."""
        await self._ask("set_authorizer", authorizer_callback)

    async def set_progress_handler(self, handler: Callable[[], Any] | None, n: int) -> None:
        """Call this every `n` instructions of SQLite's machine; a true result interrupts."""
        await self._ask("set_progress_handler", handler, n)

    async def set_trace_callback(self, handler: Callable[[str], Any] | None) -> None:
        """Call this with the text of every statement before it runs."""
        await self._ask("set_trace_callback", handler)

    async def enable_load_extension(self, value: bool) -> None:
        """Allow or forbid loading extensions."""
        await self._ask("enable_load_extension", value)

    async def load_extension(self, path: str) -> None:
        """Load an extension of SQLite from a shared library."""
        await self._ask("load_extension", path)


def _fetch_all(connection: SynchronousConnection, sql: str, parameters: Any) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def _insert(connection: SynchronousConnection, sql: str, parameters: Any) -> Any:
    cursor = connection.execute(sql, parameters)
    return cursor.execute("SELECT last_insert_rowid()").fetchone()


def _attribute(connection: SynchronousConnection, name: str) -> Any:
    return getattr(connection, name)


def _next_of(lines: Any) -> list[str]:
    return list(islice(lines, _LINES_AHEAD))
