"""PEP 249 to the letter, where sqlite3 is more lenient: `import dosql_dbapi.strict` instead.

A fetch without a result set and a second `close()` raise, and `description` tells the declared type
of each column, which equals the type objects (`description[0][1] == STRING`). Everything else is as
in dosql_dbapi, and its connections take the same options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dosql_core.errors import ProgrammingError
from dosql_dbapi import *  # noqa: F403 - the same module, but for what is defined below
from dosql_dbapi import __all__ as _ALL_OF_DRIVER
from dosql_dbapi.connection import Connection as _Connection
from dosql_dbapi.cursor import Cursor as _Cursor
from dosql_dbapi.execution import described
from dosql_dbapi.shared_cursor import SharedCursor

__all__ = list(_ALL_OF_DRIVER)


class Cursor(SharedCursor):  # type: ignore[no-redef]
    """A cursor that says so when there is nothing to fetch from."""

    __slots__ = ()

    @property
    def description(self) -> Any:  # type: ignore[override]
        """Name and declared type of each column of the result, or None when there is no result.

        The type is None for a column that is not one of a table; the other five places always are.
        """
        result = described(self)
        if result is None:
            return None
        names = [column[0] for column in result.description]
        types = [declared_type for _name, declared_type in result.columns]
        return tuple(
            [
                (name, declared_type, None, None, None, None, None)
                for name, declared_type in zip(names, types, strict=True)
            ]
        )

    def fetchone(self) -> Any:
        self._require_result()
        return SharedCursor.fetchone(self)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        self._require_result()
        return SharedCursor.fetchmany(self, size)

    def fetchall(self) -> list[Any]:
        self._require_result()
        return SharedCursor.fetchall(self)

    def _require_result(self) -> None:
        self.connection._check_usable()
        if self.description is None:
            raise ProgrammingError(
                "the last statement has no result set",
                hint="fetch after a SELECT, a PRAGMA or a RETURNING clause",
            )


class Connection(_Connection):  # type: ignore[no-redef]
    """A connection whose cursors are strict, and which can be closed once."""

    __slots__ = ()

    def cursor(self, factory: Callable[[Any], Any] = Cursor) -> _Cursor:
        return _Connection.cursor(self, factory)

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        return self.cursor().execute(sql, parameters)

    def close(self) -> None:
        """Close the connection and its cursors; what was not committed is rolled back.

        Errors: ConnectionClosedError when that happened before.
        """
        self._check_usable()
        _Connection.close(self)


def connect(  # type: ignore[no-redef]
    *arguments: Any, **options: Any
) -> _Connection:
    """Open a strict connection; takes what `dosql_dbapi.connect` takes."""
    factory = options.get("factory", Connection)
    connection: _Connection = factory(*arguments, **options)
    return connection
