"""PEP 249's promises, held to by the driver in memory and on a file with history."""

from __future__ import annotations

import pytest

import dosql_dbapi

PLACES = {"memory": lambda folder: ":memory:", "file": lambda folder: str(folder / "app.db")}


@pytest.fixture(params=PLACES)
def con(request, tmp_path):
    connection = dosql_dbapi.connect(PLACES[request.param](tmp_path))
    connection.execute("create table t(id integer primary key, word text unique)")
    connection.commit()
    yield connection
    connection.close()


def test_the_module_says_what_it_is():
    assert dosql_dbapi.apilevel == "2.0"
    assert dosql_dbapi.paramstyle in ("qmark", "named")
    assert issubclass(dosql_dbapi.IntegrityError, dosql_dbapi.DatabaseError)


def test_what_is_committed_is_read_back(con):
    cursor = con.cursor()
    cursor.executemany("insert into t(word) values (?)", [("one",), ("two",)])
    con.commit()
    assert cursor.rowcount == 2
    cursor.execute("select word from t order by id")
    assert [column[0] for column in cursor.description] == ["word"]
    assert cursor.fetchone() == ("one",)
    assert cursor.fetchmany(5) == [("two",)]
    assert cursor.fetchone() is None


def test_what_is_rolled_back_is_gone(con):
    con.execute("insert into t(word) values ('never')")
    con.rollback()
    assert con.execute("select count(*) from t").fetchone() == (0,)


def test_a_broken_constraint_is_an_integrity_error_with_codes(con):
    con.execute("insert into t(word) values ('once')")
    with pytest.raises(dosql_dbapi.IntegrityError) as raised:
        con.execute("insert into t(word) values ('once')")
    assert raised.value.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"
    assert raised.value.code


def test_named_and_numbered_parameters_bind(con):
    assert con.execute("select :a + :b", {"a": 1, "b": 2}).fetchone() == (3,)
    assert con.execute("select ?2 - ?1", (1, 5)).fetchone() == (4,)


def test_a_closed_connection_refuses(con):
    con.close()
    with pytest.raises(dosql_dbapi.ProgrammingError):
        con.execute("select 1")
