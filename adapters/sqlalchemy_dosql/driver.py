"""The DB-API connection as the dialect needs it: where it is, and how its transactions begin."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import dosql_dbapi

READ_COMMITTED = "READ COMMITTED"
SERIALIZABLE = "SERIALIZABLE"
READ_UNCOMMITTED = "READ UNCOMMITTED"
AUTOCOMMIT = "AUTOCOMMIT"
ISOLATION_LEVELS = (READ_COMMITTED, SERIALIZABLE, READ_UNCOMMITTED, AUTOCOMMIT)


@dataclass(frozen=True, slots=True)
class Place:
    """A branch and a moment to be at; None for what the engine's URL says."""

    branch: str | None = None
    as_of: Any = None

    @property
    def is_moving(self) -> bool:
        """Whether the moment is another one later on, as that of "-1 hour" is."""
        if isinstance(self.as_of, int):
            return self.as_of < 0
        return isinstance(self.as_of, str)

    def __str__(self) -> str:
        moment = f"LSN {self.as_of}" if isinstance(self.as_of, int) else str(self.as_of or "now")
        return moment if self.branch is None else f"{moment} on branch {self.branch}"


HERE = Place()


class DriverConnection(dosql_dbapi.Connection):
    """What the pool holds: a connection that knows its place and its isolation level.

    The levels differ in when a transaction of SQLAlchemy becomes one of the database. At READ
    COMMITTED that is with its first write, at once with the write lock; what is read before sees
    the newest commit each time. At SERIALIZABLE it is with its first statement, so that all of it
    reads one snapshot, and a write after somebody else's commit fails. SQLite has no dirty reads,
    so READ UNCOMMITTED is READ COMMITTED under the name the stock dialect knows.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.place = HERE
        self.level = READ_COMMITTED
        self.visited: OrderedDict[Place, Any] = OrderedDict()
        super().__init__(*arguments, **options)

    def begin(self) -> None:
        """Open the transaction before its first statement, as SERIALIZABLE has it."""
        if not self.in_transaction:
            self.execute("BEGIN")

    def begin_definition(self) -> None:
        """Open the transaction before DDL, which does not begin one by itself but takes the lock.

        One begun IMMEDIATE would lock everything attached, and the file for a temporary table.
        """
        if self.isolation_level is not None:
            self.begin()

    def begin_write(self) -> None:
        """Open the transaction before a SAVEPOINT, which takes no lock for what follows it."""
        if self.isolation_level is not None and not self.in_transaction:
            self.execute("BEGIN" if self.read_only else "BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close this connection, and those it looks at other places with."""
        while self.visited:
            self.visited.popitem()[1].close()
        super().close()
