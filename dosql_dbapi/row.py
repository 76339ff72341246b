"""Row: a result row that is reached by position and by column name.

It is the standard library's own C type, because nothing written in Python is as fast. That type
takes its column names from a cursor of the standard library, so each list of names gets one such
cursor, made once on an empty in-memory database and kept.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Any

from dosql_core.kernel.connection import KernelCursor


class Row(sqlite3.Row):
    """A row of a result; `row_factory = Row` makes a connection or a cursor return them."""

    __slots__ = ()

    def __new__(cls, cursor: Any, data: tuple[Any, ...], /) -> Row:
        if not issubclass(type(cursor), KernelCursor):
            raise TypeError(
                f"Row() argument 1 must be a dosql_dbapi Cursor, not {type(cursor).__name__}"
            )
        names = tuple([column[0] for column in cursor.description or ()])
        return new_row(cls, names_holder(names), data)


new_row = sqlite3.Row.__new__


@lru_cache(maxsize=512)
def names_holder(names: tuple[str, ...]) -> sqlite3.Cursor:
    """A cursor of the standard library whose description has exactly these column names."""
    columns = ", ".join('1 AS "' + name.replace('"', '""') + '"' for name in names)
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        return connection.execute(f"SELECT {columns or 1}")
    finally:
        connection.close()
