"""Statement: what calling a connection returns, a text that was checked and not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dosql_core.kernel.error_translation import KernelError
from dosql_dbapi import recovery

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection


class Statement:
    """A checked text of SQL; `str()` gives it back. Programs only ever make sure it exists."""

    __slots__ = ("_sql",)

    _sql: str

    def __new__(cls, *_arguments: Any, **_options: Any) -> Statement:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__qualname__}' instances")

    def __str__(self) -> str:
        return self._sql


def prepared(connection: Connection, sql: str) -> Statement:
    """A Statement for a text that SQLite can compile.

    Errors: those of `Cursor.execute` that need no execution.
    """
    cursor = connection.cursor()
    try:
        connection._plans[sql]
        sql.encode()
        connection._check_length(sql)
        connection._compile(sql)
    except (KernelError, UnicodeEncodeError) as error:
        recovery.raise_translated(cursor, (), error)
    statement = object.__new__(Statement)
    statement._sql = sql
    return statement
