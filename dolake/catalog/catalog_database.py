"""The DoSQL database that holds a catalog: its connections, its tables, its transactions.

A change of the catalog is one SQL transaction, and the database's own history is the catalog's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dosql_dbapi
from dolake.errors import CatalogReadOnlyError, LakeConfigurationError

_LOCK_WAIT_SECONDS = 30.0

_TABLES = (
    """
    create table if not exists lake_namespace(
        levels text primary key,      -- joined by the unit separator, 0x1F
        properties text not null      -- a JSON object of texts
    ) without rowid
    """,
    """
    create table if not exists lake_pointer(
        namespace text not null references lake_namespace(levels),
        name text not null,
        kind text not null check (kind in ('table', 'view')),
        uuid text not null,
        location text not null,
        metadata_location text not null,
        primary key (namespace, name)
    ) without rowid
    """,
)

_COUNT_OF_TABLES = """
select count(*) from sqlite_schema where name in ('lake_namespace', 'lake_pointer')
"""


class CatalogDatabase:
    """The database of one catalog, now or as of a moment. Safe for any number of threads.

    Errors: those of the database, such as OperationalError where another process holds the write
            lock for half a minute.
    """

    def __init__(self, database: str | Path, *, as_of: Any = None) -> None:
        self._database = str(database)
        self._as_of = as_of
        self._idle: list[dosql_dbapi.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        # Opened at once, so that a moment that is not kept is told here.
        with self.connection() as connection:
            (count,) = connection.execute(_COUNT_OF_TABLES).fetchone()
        if count == len(_TABLES):
            return
        if as_of is not None:
            self.close()
            raise LakeConfigurationError(f"there was no catalog yet as of {as_of!r}")
        with self.changing() as connection:
            for statement in _TABLES:
                connection.execute(statement)

    @property
    def is_read_only(self) -> bool:
        """Whether this is the catalog of a past moment."""
        return self._as_of is not None

    @property
    def lsn(self) -> int:
        """The LSN of the catalog's database, or that of the moment."""
        with self.connection() as connection:
            return int(connection.lsn)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def connection(self) -> Iterator[dosql_dbapi.Connection]:
        """A connection to read with, nobody else's until the end of the block."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = dosql_dbapi.connect(
                self._database,
                timeout=_LOCK_WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                as_of=self._as_of,
                create=self._as_of is None,
            )
        try:
            yield connection
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()

    @contextlib.contextmanager
    def changing(self) -> Iterator[dosql_dbapi.Connection]:
        """One transaction, committed at the end of the block unless it raises.

        Errors: CatalogReadOnlyError for a past moment.
        """
        if self.is_read_only:
            raise CatalogReadOnlyError(f"the catalog as of {self._as_of!r} takes no changes")
        with self.connection() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
