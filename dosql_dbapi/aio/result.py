"""Results fetched ahead: what a statement gave, and its first rows, in one trip to the thread.

The functions run in the connection's thread. A result whose rows were all fetched lets go of its
cursor there, so that an asynchronous cursor that is dropped or closed has nothing left to close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from dosql_dbapi.aio.worker import Worker
from dosql_dbapi.cursor import Cursor
from dosql_dbapi.results import Description, Held


class Result:
    """One result on its way to the event loop.

    `cursor` is None once every row is in `rows`; `failure` is what fetching ahead met, raised by
    the fetch that would have met it.
    """

    __slots__ = ("cursor", "description", "failure", "lastrowid", "rowcount", "rows", "worker")

    cursor: Cursor | None
    description: Description | None
    lastrowid: int | None
    rowcount: int

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.rows: deque[Any] = deque()
        self.failure: Exception | None = None

    def fetch_ahead(self, cursor: Cursor, size: int) -> Result:
        """Take what `cursor` has to tell and its first `size` rows."""
        self.description = cursor.description
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid
        self.cursor = None
        is_in_memory = type(getattr(cursor, "_described", None)) is Held
        if cursor._row is None and not is_in_memory:
            return self
        try:
            self.rows.extend(cursor.fetchall() if is_in_memory else cursor.fetchmany(size))
        except Exception as error:
            self.failure = error
            return self
        if cursor._row is not None:
            self.cursor = cursor
            self.worker.unfinished_count += 1
        return self

    def fetch(self, size: int | None) -> list[Any]:
        """The next `size` rows, all of them when it is None."""
        cursor = self.cursor
        if cursor is None:  # another task fetched the last of them
            return []
        try:
            rows = cursor.fetchall() if size is None else cursor.fetchmany(size)
        except BaseException:
            self.close()
            raise
        if cursor._row is None:
            self.close()
        return rows

    def close(self) -> None:
        """End the statement when it has rows left."""
        cursor, self.cursor = self.cursor, None
        if cursor is not None:
            self.worker.unfinished_count -= 1
            if not cursor._connection._is_closed:
                cursor.close()

    def remake(self, make: Callable[[Any], Any]) -> None:
        """Make something else of the rows that wait here."""
        self.rows = deque(map(make, self.rows))
