"""The strict driver holds to PEP 249 where sqlite3, and so the driver, is more lenient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import dosql_dbapi
from dosql_dbapi import strict


@pytest.fixture
def connection(database_path) -> Iterator[dosql_dbapi.Connection]:
    opened = strict.connect(database_path)
    opened.execute("create table t(name varchar(20), n integer, blob_ blob)")
    yield opened
    with contextlib.suppress(strict.ProgrammingError):
        opened.close()


@pytest.mark.parametrize("fetch", ["fetchone", "fetchmany", "fetchall"])
def test_a_fetch_without_a_result_set_is_an_error(connection, fetch):
    cursor = connection.cursor()
    with pytest.raises(strict.ProgrammingError, match="no result set"):
        getattr(cursor, fetch)()
    cursor.execute("insert into t(n) values (1)")
    with pytest.raises(strict.ProgrammingError, match="no result set"):
        getattr(cursor, fetch)()


def test_an_empty_result_set_is_none_the_less_one(connection):
    cursor = connection.execute("select * from t")
    assert (cursor.fetchone(), cursor.fetchmany(3), cursor.fetchall()) == (None, [], [])


def test_the_description_tells_the_type_of_a_column(connection):
    connection.execute("insert into t values ('a', 1, x'00')")
    columns = connection.execute("select name, n, blob_, n + 1 from t").description
    assert [column[0] for column in columns] == ["name", "n", "blob_", "n + 1"]
    assert columns[0][1] == strict.STRING != columns[1][1]
    assert columns[1][1] == strict.NUMBER
    assert columns[2][1] == strict.BINARY
    assert columns[3][1] is None


def test_a_connection_closes_once(connection):
    connection.close()
    with pytest.raises(strict.Error, match="closed"):
        connection.close()


def test_rows_of_a_returning_clause_are_a_result_set(connection):
    cursor = connection.execute("insert into t(n) values (7) returning n")
    assert cursor.fetchall() == [(7,)]
