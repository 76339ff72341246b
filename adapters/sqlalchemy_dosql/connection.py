"""SQLAlchemy's connection with what DoSQL adds: the LSN it sees, its branch, its moment."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.exc import InvalidRequestError


class Connection(sqlalchemy.Connection):
    """What `engine.connect()` and `session.connection()` return."""

    @property
    def lsn(self) -> int:
        """The LSN this connection sees: of its snapshot, of its last commit, else the newest."""
        return int(self._driver_connection.lsn)

    @property
    def branch(self) -> str | None:
        """The branch this connection works on; None for a database without history."""
        name: str | None = self._driver_connection.branch
        return name

    @property
    def as_of(self) -> int | None:
        """The LSN this connection reads for ever, if it is one to the past."""
        lsn: int | None = self._driver_connection.as_of
        return lsn

    @property
    def _driver_connection(self) -> Any:
        return self.connection.dbapi_connection


def lsn_of(source: Any) -> int:
    """The LSN that a connection or a session of SQLAlchemy sees.

    With asyncio: `await session.run_sync(lsn_of)`.
    """
    return _connection_of(source).lsn


def branch_of(source: Any) -> str | None:
    """The branch that a connection or a session of SQLAlchemy works on."""
    return _connection_of(source).branch


def _connection_of(source: Any) -> Connection:
    connection = source.connection() if hasattr(source, "get_bind") else source
    if not isinstance(connection, Connection):
        raise InvalidRequestError(
            f"{source!r} is not a connection to a DoSQL database, nor a session on one"
        )
    return connection
