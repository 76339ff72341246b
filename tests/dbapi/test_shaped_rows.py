"""Rows of RETURNING, rows with converters, and cursors the program makes itself: beside sqlite3."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import dosql_dbapi
from dosql_dbapi import conversion

DRIVERS = (sqlite3, dosql_dbapi)

RETURNING = (
    "insert into t(a) values (1) returning id, a",
    "insert into t(a) values (2), (3), (4) returning id",
    "update t set a = a + 1 where a > 2 returning a as 'b [upper]'",
    "update t set a = 0 where a > 1000 returning id, a",
    "delete from t where a < 3 returning *",
    "insert into t(id, a) values (1, 1) on conflict do nothing returning id",
)
FETCHES: tuple[Callable[[Any], Any], ...] = (
    lambda cursor: cursor.fetchall(),
    lambda cursor: (cursor.fetchone(), cursor.fetchone(), cursor.fetchall()),
    lambda cursor: (cursor.fetchmany(2), cursor.fetchmany(2), cursor.fetchmany(2)),
    lambda cursor: list(cursor),
)


@pytest.fixture(params=[0, sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES])
def both(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    with contextlib.ExitStack() as closing:
        connections = []
        for driver in DRIVERS:
            driver.register_converter("upper", lambda stored: stored.decode().upper())
            connection = driver.connect(":memory:", detect_types=request.param)
            closing.callback(connection.close)
            connection.execute("create table t(id integer primary key, a upper)")
            connections.append(connection)
        yield connections


@pytest.mark.parametrize("fetch", FETCHES)
def test_returning_gives_what_sqlite3_gives(both: list[Any], fetch: Callable[[Any], Any]) -> None:
    seen: list[list[Any]] = [[], []]
    for sql in RETURNING:
        for told, connection in zip(seen, both, strict=True):
            cursor = connection.execute(sql)
            told.append((sql, cursor.description, fetch(cursor), connection.in_transaction))
            told.append((cursor.description, cursor.rowcount, cursor.lastrowid))
            cursor.close()
    assert seen[1] == seen[0]


def test_returning_in_autocommit_is_committed_before_it_is_fetched(database_path: Any) -> None:
    with (
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as one,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as other,
    ):
        one.execute("create table t(id integer primary key, a)")
        cursor = one.execute("insert into t(a) values (7) returning id")
        assert other.execute("select a from t").fetchall() == [(7,)]
        other.execute("insert into t(a) values (8)")  # the lock is free
        assert (cursor.fetchone(), cursor.fetchone()) == ((1,), None)


def test_a_converter_registered_later_is_used(both: list[Any]) -> None:
    for driver, connection in zip(DRIVERS, both, strict=True):
        connection.execute("insert into t(a) values ('x')")
        sql = "select a from t"
        first = connection.execute(sql).fetchone()
        driver.register_converter("upper", lambda stored: stored * 2)
        is_converted = first == ("X",)
        assert connection.execute(sql).fetchall() == [(b"xx",) if is_converted else ("x",)]


def test_a_converter_that_uses_its_cursor_is_refused() -> None:
    uses: list[Any] = []
    dosql_dbapi.register_converter("recursive", lambda _stored: uses[0]())
    try:
        connection = dosql_dbapi.connect(":memory:", detect_types=dosql_dbapi.PARSE_COLNAMES)
        with contextlib.closing(connection):
            cursor = connection.cursor()
            for use in (cursor.fetchone, cursor.fetchall, cursor.close):
                uses[:] = [use]
                for fetch in FETCHES:
                    cursor.execute("select 1 as 'a [recursive]' union all select 2")
                    with pytest.raises(dosql_dbapi.ProgrammingError, match="Recursive use"):
                        fetch(cursor)
    finally:
        del conversion.converters["RECURSIVE"]


def test_cursors_that_a_program_made_are_closed_with_their_connection() -> None:
    class Own(dosql_dbapi.Cursor):
        pass

    connection = dosql_dbapi.connect(":memory:")
    kept = [connection.cursor(factory=Own) for _ in range(300)]
    for _ in range(3000):
        connection.cursor(factory=Own).execute("select 1")
    gc.collect()
    assert len(connection._cursors) < 1000  # those that are gone are forgotten
    for cursor in kept:
        cursor.execute("select 1 union all select 2")
    connection.close()
    for cursor in kept:
        with pytest.raises(dosql_dbapi.ProgrammingError):
            cursor.fetchone()
