"""The cursor of connections that any thread may use (`check_same_thread=False`).

The kernel lets one thread at a time into a connection and, after a while, refuses the others. A
lock in front of it makes them wait instead, and keeps a statement together with the reading of its
rowcount. Connections that belong to one thread do not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dosql_core.kernel.connection import KernelCursor
from dosql_dbapi.cursor import Cursor


class SharedCursor(Cursor):
    """A cursor that takes the lock of its connection for every step."""

    __slots__ = ()

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:  # type: ignore[override]
        with self._connection._lock:
            return Cursor.execute(self, sql, parameters)

    def executemany(  # type: ignore[override]
        self, sql: str, parameters: Iterable[Any], /
    ) -> Cursor:
        with self._connection._lock:
            return Cursor.executemany(self, sql, parameters)

    def executescript(self, sql_script: str, /) -> Cursor:
        with self._connection._lock:
            return Cursor.executescript(self, sql_script)

    def fetchone(self) -> Any:
        with self._connection._lock:
            return Cursor.fetchone(self)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        with self._connection._lock:
            return Cursor.fetchmany(self, size)

    def fetchall(self) -> list[Any]:
        with self._connection._lock:
            return Cursor.fetchall(self)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        while (row := self.fetchone()) is not None:
            yield row

    def close(self, force: bool = True) -> None:
        with self._connection._lock:
            Cursor.close(self, force)


class FreshSharedCursor(SharedCursor):
    """What `Connection.cursor()` makes then; its `__init__` is the kernel's own, in C."""

    __slots__ = ()
    __init__ = KernelCursor.__init__

    def close(self, force: bool = True) -> None:
        """End the statement, also of a cursor whose deallocation was put off."""
        try:
            connection = self._connection
        except AttributeError:
            KernelCursor.close(self, True)
            return
        with connection._lock:
            if (
                self._shape is None
                and not connection._owner
                and not (connection._is_closed or connection._is_closing_cursors)
            ):
                self._is_closed = True
                self._row = None
                KernelCursor.close(self, True)
            else:
                Cursor.close(self, force)


FreshSharedCursor.__name__ = FreshSharedCursor.__qualname__ = "Cursor"
