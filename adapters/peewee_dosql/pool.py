"""A pool of connections; a block on another branch or moment opens its own beside it."""

from __future__ import annotations

from typing import Any

from playhouse.pool import PooledSqliteDatabase

import dosql_dbapi
from peewee_dosql.database import DoSQLDatabase


class PooledDoSQLDatabase(PooledSqliteDatabase, DoSQLDatabase):
    """A DoSQLDatabase that keeps closed connections for the next thread that asks.

    Takes what playhouse's pools take: `max_connections`, `stale_timeout`, `timeout` (of the wait
    for a connection). Connections may be used by any thread, one at a time.
    """

    def init(self, database: Any, **options: Any) -> None:
        """Set where the database is, and options of the pool and its connections."""
        self._home: str | None = None
        super().init(database, **{"check_same_thread": False, **options})

    def _connect(self) -> dosql_dbapi.Connection:
        if self._destination():
            return DoSQLDatabase._connect(self)
        connection: dosql_dbapi.Connection = super()._connect()
        if self._home is None:
            self._home = connection.branch
        return connection

    def _can_reuse(self, conn: dosql_dbapi.Connection) -> bool:
        """Not a connection that USE BRANCH left on another branch."""
        return conn.branch == self._home and super()._can_reuse(conn)

    def _close(self, conn: dosql_dbapi.Connection, close_conn: bool = False) -> None:
        if self._destination():
            conn.close()
        else:
            super()._close(conn, close_conn)
