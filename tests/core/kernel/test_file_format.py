"""Page size, auto_vacuum and encoding of a new database, chosen as in sqlite3: before any table."""

from __future__ import annotations

import contextlib

import pytest

import dosql_dbapi
from fixtures.programs import run_sqlite

PRAGMAS = ("page_size", "auto_vacuum", "encoding")


def connect(path):
    return contextlib.closing(dosql_dbapi.connect(path, isolation_level=None))


def format_of(con) -> list[object]:
    return [con.execute(f"pragma {name}").fetchone()[0] for name in PRAGMAS]


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16be"])
def test_what_is_chosen_before_the_first_table_holds(database_path, page_size, encoding):
    with connect(database_path) as con:
        con.execute("pragma foreign_keys = on")
        cursor = con.cursor()
        cursor.execute(f"pragma encoding = '{encoding}'")
        cursor.execute(f"pragma page_size = {page_size}")
        cursor.execute("pragma auto_vacuum = incremental")
        cursor.execute("create table t(a)")
        assert con.lsn == 1
        con.execute("insert into t values ('ä')")
        assert con.execute("pragma foreign_keys").fetchone() == (1,)
        past = con.execute("select count(*) from t for system_time as of lsn 1").fetchone()
        assert past == (0,)
        assert format_of(con) == [page_size, 2, encoding]
    with connect(database_path) as con:
        assert format_of(con) == [page_size, 2, encoding]
        assert con.execute("select a from t").fetchall() == [("ä",)]
    assert run_sqlite(database_path, *(f"pragma {name}" for name in PRAGMAS)) == [
        [[page_size]],
        [[2]],
        [[encoding]],
    ]


def test_a_database_with_a_table_keeps_what_it_has(database_path):
    with connect(database_path) as con:
        con.execute("create table t(a)")
        for pragma in ("page_size = 512", "encoding = 'UTF-16le'"):
            con.execute(f"pragma {pragma}")
        assert format_of(con) == [4096, 0, "UTF-8"]
        assert con.lsn == 1


def test_a_database_that_is_open_elsewhere_keeps_what_it_has(database_path):
    with connect(database_path) as con, connect(database_path) as other:
        con.execute("pragma page_size = 512")
        con.execute("create table t(a)")
        assert format_of(con) == format_of(other) == [4096, 0, "UTF-8"]


def test_an_encoding_that_does_not_exist_is_refused_and_changes_nothing(database_path):
    with connect(database_path) as con:
        with pytest.raises(dosql_dbapi.Error):
            con.execute("pragma encoding = 'EBCDIC'")
        con.execute("create table t(a)")
        assert format_of(con) == [4096, 0, "UTF-8"]
