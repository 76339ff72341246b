"""A connection that has read the past goes on in the present: names mean what is there now.

SQLite looks for a name without a schema in every attached database, and the moments a connection
has read are attached.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi


@pytest.fixture
def con(database_path: Path) -> Iterator[Any]:
    """A connection that has read a table, a view and a virtual table that are gone."""
    connection = dosql_dbapi.connect(database_path, isolation_level=None)
    connection.execute("create table t(a)")
    connection.execute("insert into t values (1), (2)")
    connection.execute("create table kept(b)")
    connection.execute("create view v as select a from t")
    connection.execute("create virtual table f using fts5(body)")
    connection.execute("insert into f values ('hello world')")
    connection.execute("create snapshot before")
    for what in ("view v", "table t", "table f"):
        connection.execute(f"drop {what}")
    read_the_past(connection)
    yield connection
    connection.close()


def read_the_past(con: Any) -> None:
    assert con.execute("select a from t as of snapshot before").fetchall() == [(1,), (2,)]
    assert con.execute("select a from v as of snapshot before").fetchall() == [(1,), (2,)]
    found = con.execute("select body from f as of snapshot before where f match 'hello'")
    assert found.fetchall() == [("hello world",)]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from t",
        "select * from v",
        "select * from f where f match 'hello'",
        "insert into t values (3)",
        "update t set a = 0",
        "delete from t",
        "drop table t",
        "drop view v",
        "alter table t rename to u",
        "explain select * from t",
        "with c as (select * from t) select * from c",
        "select * from (select a from t) s",
        "select (select max(a) from t)",
    ],
)
def test_what_is_gone_is_gone_as_in_sqlite(con: Any, sql: str) -> None:
    plain = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as wanted:
        plain.execute(sql)
    plain.close()
    with pytest.raises(dosql_dbapi.OperationalError) as told:
        con.execute(sql)
    assert str(told.value) == str(wanted.value)
    read_the_past(con)


def test_what_is_made_again_is_the_one_that_is_read(con: Any) -> None:
    con.execute("drop table if exists t")
    con.execute("create table if not exists t(a)")
    read_the_past(con)
    assert con.execute("select * from t").fetchall() == []
    con.executemany("insert into t values (?)", iter([(7,), (8,)]))
    read_the_past(con)
    assert con.execute("select * from t").fetchall() == [(7,), (8,)]


def test_many_rows_cannot_go_into_a_table_that_is_gone(con: Any) -> None:
    with pytest.raises(dosql_dbapi.OperationalError, match="no such table: t"):
        con.executemany("insert into t values (?)", [(7,)])


@pytest.mark.parametrize(
    "sql",
    [
        "pragma table_info(t)",
        "pragma table_xinfo(t)",
        "select * from pragma_table_info('t')",
        "select * from pragma_table_list where name in ('t', 'v', 'f')",
        "pragma index_list(t)",
    ],
)
def test_looking_around_shows_the_present(con: Any, sql: str) -> None:
    assert con.execute(sql).fetchall() == []
    assert con.execute("pragma table_info(kept)").fetchall() == [(0, "b", "", 0, None, 0)]


@pytest.mark.parametrize("sql", ["analyze", "reindex", "pragma optimize"])
def test_what_goes_through_every_database_leaves_the_past_out(con: Any, sql: str) -> None:
    con.execute("create index by_b on kept(b)")
    con.execute("insert into kept values (1)")
    read_the_past(con)
    con.execute(sql)
    read_the_past(con)


def test_a_past_that_is_being_read_hides_nothing(con: Any) -> None:
    con.execute("begin")
    read_the_past(con)
    with pytest.raises(dosql_dbapi.OperationalError, match="no such table: t") as told:
        con.execute("select * from t")
    assert told.value.code == "STMT_TABLE_NOT_FOUND"
    assert con.execute("pragma table_info(kept)").fetchall() == [(0, "b", "", 0, None, 0)]
    con.execute("create table t(c)")
    con.execute("insert into t values ('mine')")
    assert con.execute("select * from t").fetchall() == [("mine",)]
    read_the_past(con)
    con.rollback()
    half_read = con.execute("select a from t as of snapshot before")
    assert half_read.fetchone() == (1,)
    with pytest.raises(dosql_dbapi.OperationalError, match="no such table: t"):
        con.execute("select * from t")
    assert half_read.fetchall() == [(2,)]


def test_columns_of_an_empty_past_are_known(con: Any) -> None:
    cursor = con.execute("select a from t as of snapshot before where a > 5")
    assert [column[0] for column in cursor.description] == ["a"]


def test_the_programs_own_authorizer_is_asked_as_well(con: Any) -> None:
    asked = []

    def authorize(action: int, *about: Any) -> int:
        asked.append(about)
        return dosql_dbapi.SQLITE_DENY if about[0] == "kept" else dosql_dbapi.SQLITE_OK

    con.set_authorizer(authorize)
    read_the_past(con)
    assert any(about[0] == "t" for about in asked)
    with pytest.raises(dosql_dbapi.DatabaseError) as told:
        con.execute("select b from kept")
    assert told.value.code == "DB_NOT_AUTHORIZED"
    with pytest.raises(dosql_dbapi.OperationalError, match="no such table: t"):
        con.execute("select * from t")
    con.set_authorizer(None)
    assert con.execute("select b from kept").fetchall() == []
    with pytest.raises(dosql_dbapi.OperationalError, match="no such table: t"):
        con.execute("select * from t")
