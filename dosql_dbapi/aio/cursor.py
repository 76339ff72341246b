"""The asynchronous cursor: rows that wait here are handed out at once, others are fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from dosql_dbapi.aio.result import Result
from dosql_dbapi.aio.worker import Worker
from dosql_dbapi.connection import Connection as SynchronousConnection
from dosql_dbapi.results import Description
from dosql_dbapi.row import Row, names_holder, new_row

if TYPE_CHECKING:
    from dosql_dbapi.aio.connection import Connection

_NOT_SET: Final = object()


class Cursor:
    """One statement at a time on an asynchronous connection. `Connection.cursor()` makes them."""

    __slots__ = ("_arraysize", "_connection", "_lastrowid", "_result", "_row_factory")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._arraysize = 1
        self._lastrowid: int | None = None
        self._result: Result | None = None
        self._row_factory: Any = _NOT_SET

    # -- running a statement -----------------------------------------------------------------------

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Self:
        """Run one statement and fetch its first rows."""
        return await self._start("execute", sql, () if parameters is None else parameters)

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run one write for every set of parameters."""
        return await self._start("executemany", sql, parameters)

    async def executescript(self, sql_script: str) -> Self:
        """Run every statement of a script."""
        return await self._start("executescript", sql_script)

    async def _start(self, method: str, *arguments: Any) -> Self:
        connection = self._connection
        former, self._result = self._result, None
        result = await connection._execute(
            started,
            connection._conn,
            connection._worker,
            former,
            connection._iter_chunk_size,
            self._row_factory,
            method,
            *arguments,
        )
        self._result = result
        if result.lastrowid is not None:
            self._lastrowid = result.lastrowid
        return self

    # -- fetching ----------------------------------------------------------------------------------

    async def fetchone(self) -> Any:
        """The next row, or None after the last."""
        result = self._fetchable()
        if result is None:
            return None
        while not result.rows:
            if not await self._refill(result):
                return None
        return result.rows.popleft()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows (`arraysize` when not given), fewer at the end."""
        if size is None:
            size = self._arraysize
        if size < 0:
            return await self.fetchall()
        result = self._fetchable()
        if result is None:
            return []
        rows = [result.rows.popleft() for _ in range(min(size, len(result.rows)))]
        if len(rows) < size and self._has_more(result):
            rows += await self._connection._execute(result.fetch, size - len(rows))
        return rows

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        result = self._fetchable()
        if result is None:
            return []
        rows = list(result.rows)
        result.rows.clear()
        if self._has_more(result):
            rows += await self._connection._execute(result.fetch, None)
        return rows

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (result := self._fetchable()) is not None:
            while result.rows:
                yield result.rows.popleft()
            if not await self._refill(result):
                return

    def _fetchable(self) -> Result | None:
        self._connection._require_open()
        return self._result

    def _has_more(self, result: Result) -> bool:
        """Whether rows are left in the thread.

        Errors: what fetching ahead met, once.
        """
        failure, result.failure = result.failure, None
        if failure is not None:
            raise failure
        return result.cursor is not None

    async def _refill(self, result: Result) -> bool:
        if not self._has_more(result):
            return False
        connection = self._connection
        result.rows.extend(await connection._execute(result.fetch, connection._iter_chunk_size))
        return bool(result.rows)

    async def close(self) -> None:
        """End the statement. Its thread does so in passing; nothing is waited for."""
        result, self._result = self._result, None
        if result is not None and result.cursor is not None:
            self._connection._pass_on(result.close)

    def __del__(self) -> None:
        result = getattr(self, "_result", None)
        if result is not None and result.cursor is not None:
            self._connection._pass_on(result.close)

    # -- attributes --------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection that made this cursor."""
        return self._connection

    @property
    def description(self) -> Description | None:
        """Name and six Nones for each column of the result, or None when there is no result."""
        return None if self._result is None else self._result.description

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed; -1 for a SELECT and before any."""
        return -1 if self._result is None else self._result.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The rowid of the last row inserted, or None before any statement that writes."""
        return self._lastrowid

    @property
    def arraysize(self) -> int:
        """How many rows `fetchmany` fetches when it is not told."""
        return self._arraysize

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._arraysize = size

    @property
    def row_factory(self) -> Any:
        """What rows are made with; the connection's until it is set here."""
        return self._connection.row_factory if self._row_factory is _NOT_SET else self._row_factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        was = self.row_factory
        self._row_factory = factory
        result = self._result
        if result is None or factory is was:
            return
        if was is None and factory is not None and result.rows:
            result.remake(self._maker(factory))
        if result.cursor is not None:
            self._connection._pass_on(partial(_set_row_factory, result, factory))

    def _maker(self, factory: Any) -> Callable[[Any], Any]:
        if factory is Row:
            names = tuple([column[0] for column in self.description or ()])
            return partial(new_row, Row, names_holder(names))
        return partial(factory, self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def started(
    connection: SynchronousConnection,
    worker: Worker,
    former: Result | None,
    size: int,
    row_factory: Any,
    method: str,
    *arguments: Any,
) -> Result:
    """Run a statement, in the connection's thread, and fetch its first rows."""
    if former is not None:
        former.close()
    cursor = connection.cursor()
    if row_factory is not _NOT_SET:
        cursor.row_factory = row_factory
    getattr(cursor, method)(*arguments)
    return Result(worker).fetch_ahead(cursor, size)


def _set_row_factory(result: Result, factory: Any) -> None:
    if result.cursor is not None:
        result.cursor.row_factory = factory
