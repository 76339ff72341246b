"""`dosql+aio://`: the dialect for asyncio, on the driver's asynchronous connection.

Each connection has a thread of its own, and what costs is the way there and back. So a statement
runs and its rows are fetched in one trip, and a commit or rollback of nothing makes none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import pool
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.util.concurrency import await_only, in_greenlet

import dosql_dbapi
from dosql_dbapi import aio
from dosql_dbapi.aio.worker import InterruptibleConnection
from sqlalchemy_dosql.dialect import DoSQLDialect, DoSQLExecutionContext
from sqlalchemy_dosql.driver import HERE, DriverConnection, Place


class AsyncDriverConnection(InterruptibleConnection, DriverConnection):
    """The connection in the thread; cancelling a task ends its statement."""


class AsyncCursor:
    """A cursor whose rows have all been fetched when `execute` returns."""

    server_side = False

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: Sequence[Any] = ()
        self._position = 0

    def execute(self, operation: str, parameters: Any = ()) -> AsyncCursor:
        self._take(self._connection.run(_execute_and_fetch, operation, parameters))
        return self

    def executemany(self, operation: str, parameters: Any) -> AsyncCursor:
        self._take(self._connection.run(_execute_many, operation, parameters))
        return self

    def _take(self, result: tuple[Any, Sequence[Any], int, int | None]) -> None:
        self.description, self._rows, self.rowcount, self.lastrowid = result
        self._position = 0

    def fetchone(self) -> Any:
        position = self._position
        if position >= len(self._rows):
            return None
        self._position = position + 1
        return self._rows[position]

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        start = self._position
        self._position = min(start + (self.arraysize if size is None else size), len(self._rows))
        return self._rows[start : self._position]

    def fetchall(self) -> Sequence[Any]:
        start, self._position = self._position, len(self._rows)
        return self._rows[start:] if start else self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    def setinputsizes(self, *_sizes: Any) -> None:
        """Nothing to do, as with any SQLite."""

    def close(self) -> None:
        self._rows = ()
        self._position = 0

    async def _async_soft_close(self) -> None:
        """The cursor in the thread was closed when its rows were fetched."""


class AsyncStreamCursor(AsyncCursor):
    """A cursor that fetches as its rows are asked for."""

    server_side = True
    _cursor: Any = None

    def execute(self, operation: str, parameters: Any = ()) -> AsyncCursor:
        self._cursor, *result = self._connection.run(_execute, operation, parameters)
        self.description, self.rowcount, self.lastrowid = result
        return self

    def fetchone(self) -> Any:
        return self._fetch(dosql_dbapi.Cursor.fetchone)

    def fetchmany(self, size: int | None = None) -> Any:
        return self._fetch(dosql_dbapi.Cursor.fetchmany, self.arraysize if size is None else size)

    def fetchall(self) -> Any:
        return self._fetch(dosql_dbapi.Cursor.fetchall)

    def _fetch(self, method: Callable[..., Any], *arguments: Any) -> Any:
        cursor = self._cursor
        return self._connection.run(lambda _connection: method(cursor, *arguments))

    def close(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None and in_greenlet():
            self._connection.run(lambda _connection: cursor.close())


def _execute_and_fetch(connection: Any, operation: str, parameters: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute(operation, parameters)
    description = cursor.description
    rows = () if description is None else cursor.fetchall()
    return description, rows, cursor.rowcount, cursor.lastrowid


def _execute_many(connection: Any, operation: str, parameters: Any) -> Any:
    cursor = connection.cursor()
    cursor.executemany(operation, parameters)
    return None, (), cursor.rowcount, cursor.lastrowid


def _execute(connection: Any, operation: str, parameters: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute(operation, parameters)
    return cursor, cursor.description, cursor.rowcount, cursor.lastrowid


class AsyncConnection(AdaptedConnection):
    """What the pool holds: an asynchronous connection that looks like a synchronous one.

    Every method of the driver's connection can be called, as events do: it runs in the thread.
    """

    def __init__(self, connection: aio.Connection, driver: DriverConnection) -> None:
        self._connection: Any = connection
        self._driver = driver
        self.visited: OrderedDict[Place, Any] = OrderedDict()
        self.place = HERE

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(connection, *arguments)` returns, called in the thread."""
        return await_only(self._connection.run(function, *arguments))

    def cursor(self, server_side: bool = False) -> AsyncCursor:
        return AsyncStreamCursor(self) if server_side else AsyncCursor(self)

    def execute(self, operation: str, parameters: Any = ()) -> AsyncCursor:
        return self.cursor().execute(operation, parameters)

    def commit(self) -> None:
        if self._connection.in_transaction:
            self.run(DriverConnection.commit)

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.run(DriverConnection.rollback)

    @property
    def level(self) -> str:
        return self._driver.level

    @level.setter
    def level(self, level: str) -> None:
        self._driver.level = level

    @property
    def isolation_level(self) -> str | None:
        level: str | None = self.run(lambda connection: connection.isolation_level)
        return level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self.run(lambda connection: setattr(connection, "isolation_level", level))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if not callable(getattr(DriverConnection, name, None)):
            return self.run(lambda connection: getattr(connection, name))
        return lambda *arguments, **options: self.run(
            lambda connection: getattr(connection, name)(*arguments, **options)
        )

    def close(self) -> None:
        while self.visited:
            self.visited.popitem()[1].close()
        await_only(self._connection.close())

    def terminate(self) -> None:
        """Close without waiting, from where nothing can be awaited."""
        if in_greenlet():
            self.close()
            return
        while self.visited:
            view = self.visited.popitem()[1]
            connection = view.dbapi_connection
            view.detach()
            connection.terminate()
        self._connection.stop()


class _AsyncModule:
    """dosql_dbapi, but for `connect`."""

    def __init__(self) -> None:
        self.exceptions_module = dosql_dbapi

    def __getattr__(self, name: str) -> Any:
        return getattr(dosql_dbapi, name)

    def connect(self, *arguments: Any, **options: Any) -> AsyncConnection:
        creator = options.pop("async_creator_fn", aio.connect)
        connection = await_only(creator(*arguments, **options))
        driver = await_only(connection.run(lambda driver: driver))
        return AsyncConnection(connection, driver)


class DoSQLAsyncExecutionContext(DoSQLExecutionContext):
    """One execution; results that are streamed keep their cursor in the thread."""

    def create_server_side_cursor(self) -> Any:
        return self._cursor(server_side=True)


class DoSQLAsyncDialect(DoSQLDialect):
    """`dosql+aio://`."""

    driver = "aio"
    supports_statement_cache = True
    is_async = True
    has_terminate = True
    supports_server_side_cursors = True
    execution_ctx_cls = DoSQLAsyncExecutionContext
    connection_factory = AsyncDriverConnection

    @classmethod
    def import_dbapi(cls) -> Any:
        return _AsyncModule()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        return pool.AsyncAdaptedQueuePool if cls._is_url_file_db(url) else pool.StaticPool

    def get_driver_connection(self, connection: Any) -> Any:
        return connection._connection

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()
