"""Conditions in SQL choose events as SQLite would choose rows."""

from __future__ import annotations

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import SubscriptionFailedError


@pytest.fixture
def told(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute('create table t(id integer primary key, "the name" text, n)')
    start = con.lsn
    con.execute("insert into t values (1, 'Ann', 5), (2, 'bob', null), (3, 'cid', 20)")
    con.execute("update t set n = 30 where id = 1")
    con.execute("delete from t where id = 3")
    con.execute("create table other(x)")
    con.execute("insert into other values (1)")
    with open_database(database_path) as database:

        def told(where, **options):
            return [
                (event.operation.value, event.key and event.key["id"])
                for event in database.changes.subscribe(start, where=where, **options)
            ]

        yield told
    con.close()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("n > 10", [("insert", 3), ("update", 1), ("delete", 3)]),
        ("n IS NULL", [("insert", 2)]),
        ("\"the name\" LIKE 'a%'", [("insert", 1), ("update", 1)]),
        ("before.n < after.n", [("update", 1)]),
        ("before.id IS NULL AND id IN (1, 2)", [("insert", 1), ("insert", 2)]),
    ],
)
def test_columns_and_images_can_be_named(told, where, expected):
    assert told(where, tables=["t"]) == expected


def test_a_condition_that_a_table_has_no_column_for_is_an_error(told):
    with pytest.raises(SubscriptionFailedError, match=r"of table 'other'.*no such column"):
        told("id > 0", operations=["insert"])
    assert told("rowid IS NOT", tables=["nosuch"], operations=["insert"]) == []
