"""The database: Peewee's SqliteDatabase with our driver below it, on a branch, as of a moment.

Everything Peewee and playhouse do for SQLite is inherited; what differs is how a connection is
opened, that write transactions begin IMMEDIATE, and that a block can work somewhere else.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee
from peewee import SqliteDatabase, __exception_wrapper__

import dosql_dbapi
from peewee_dosql.errors import teach_peewee_our_errors
from peewee_dosql.time_travel import DoSQLModel

# What Peewee registers with the standard library's driver when it is imported; the last two from
# Python 3.12 on, where the driver's own are deprecated.
for _type in (decimal.Decimal, datetime.date, datetime.time):
    dosql_dbapi.register_adapter(_type, str)
dosql_dbapi.register_adapter(datetime.datetime, lambda moment: moment.isoformat(" "))
for _name in ("date", "timestamp"):
    if hasattr(peewee, f"convert_{_name}"):
        dosql_dbapi.register_converter(_name, getattr(peewee, f"convert_{_name}"))
teach_peewee_our_errors()


class DoSQLDatabase(SqliteDatabase):
    """A DoSQL database for Peewee.

    Takes what SqliteDatabase takes, and what `dosql_dbapi.connect` does: `branch`, `as_of`,
    `durability`, `history`, `changes`, `retention`, `companion`. Transactions begin IMMEDIATE
    unless `lock_type` says otherwise, so that writers wait for their turn and do not fail half way.
    """

    server_version = dosql_dbapi.sqlite_version_info

    def init(self, database: Any, **options: Any) -> None:
        """Set where the database is, and options of its connections."""
        if options.get("branch") is not None:
            options["branch"] = str(options["branch"])  # a URL's ?branch=7 arrives as a number
        as_of = options.get("as_of")
        if isinstance(as_of, str) and re.fullmatch(r"-\d+", as_of):
            options["as_of"] = int(as_of)  # and its ?as_of=-1 as text
        super().init(database, **options)

    # -- connections -------------------------------------------------------------------------------

    def _connect(self) -> dosql_dbapi.Connection:
        options = {**self.connect_params, **self._destination()}
        connection = dosql_dbapi.connect(
            self.database, timeout=self._timeout, isolation_level=None, **options
        )
        try:
            self._add_conn_hooks(connection)
        except Exception:
            connection.close()
            raise
        return connection

    def _destination(self) -> dict[str, Any]:
        """Where the block this thread is in works, when that is not where the database points."""
        destination: dict[str, Any] = self._state.__dict__.get("destination", {})
        return destination

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction: IMMEDIATE where writing is possible and nothing else was asked."""
        kind = lock_type or getattr(self, "_lock_type", None)  # Peewee 3 has none
        if kind is None:
            kind = "DEFERRED" if self.connection().read_only else "IMMEDIATE"
        super().begin(kind)

    # -- other branches and moments ----------------------------------------------------------------

    @contextmanager
    def branch(self, name: str) -> Iterator[DoSQLDatabase]:
        """A block in which this thread works on another branch, with a connection of its own.

        A transaction that is open outside goes on outside; the block's writes are not a part of it.
        Errors: OperationalError when there is no such branch.
        """
        with self._elsewhere({"branch": name}):
            yield self

    @contextmanager
    def as_of(self, moment: Any) -> Iterator[DoSQLDatabase]:
        """A block in which this thread reads everything as it was; writes are refused.

        `moment` is an LSN, a datetime (naive: UTC), or text: "-1 hour", "snapshot:name"...
        Errors: OperationalError when there is no such moment, or it is no longer kept.
        """
        with self._elsewhere({"as_of": moment}):
            yield self

    @contextmanager
    def _elsewhere(self, destination: dict[str, Any]) -> Iterator[None]:
        state: dict[str, Any] = (
            self._state.__dict__
        )  # of this thread alone, where the database is thread-safe
        outside = dict(state)
        inside = {**self._destination(), **destination}
        self._state.reset()
        state["destination"] = inside
        try:
            with __exception_wrapper__:
                connection = self._connect()
            self._state.set_connection(connection)
            try:
                yield
            finally:
                connection.close()
                if self._state.conn is not None:  # closed and connected again inside of the block
                    self._state.conn.close()
        finally:
            state.clear()
            state.update(outside)

    def get_tables(self, schema: str | None = None) -> list[str]:
        """The tables of the program: not the one in which descriptions of commits wait."""
        tables = super().get_tables(schema)
        return [name for name in tables if not name.startswith("sqlite_dosql_")]

    @property
    def lsn(self) -> int:
        """The LSN this thread's connection sees; after a commit, that commit's."""
        with __exception_wrapper__:
            lsn: int = self.connection().lsn
        return lsn

    @property
    def Model(self) -> type[DoSQLModel]:
        """A base class for models of this database, with `as_of`."""
        if not hasattr(self, "_Model"):
            meta = type("Meta", (), {"database": self})
            self._Model = type("BaseModel", (DoSQLModel,), {"Meta": meta})
        return self._Model
