"""A parameter of LIMIT gets a `+`, and nothing else in the text changes."""

from __future__ import annotations

import contextlib

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dosql_dbapi
from dosql_core.language import limits
from dosql_core.language.limits import steady_limits

STEADIED = {
    "select a from t limit ?": "select a from t limit +?",
    "select a from t LIMIT ? OFFSET ?": "select a from t LIMIT +? OFFSET ?",
    "select a from t limit ?, ?;": "select a from t limit +?, +?;",
    "select a from t limit 5, :count": "select a from t limit 5, +:count",
    "select * from (select a from t limit ?2) limit ?1": (
        "select * from (select a from t limit +?2) limit +?1"
    ),
    "select a from t limit/* ? */ $n -- the end": "select a from t limit/* ? */ +$n -- the end",
}
LEFT = (
    "select a from t limit 10 offset ?",
    "select a from t limit ? + 1",
    "select a from t limit (?)",
    "select 'limit ?' from t",
    'select "limit ?" from t',
    "select a from t -- limit ?",
    "select a from t limit",
)


@pytest.mark.parametrize("sql", STEADIED)
def test_a_parameter_that_is_a_whole_limit_gets_a_sign(sql: str) -> None:
    assert steady_limits(sql) == STEADIED[sql]


@pytest.mark.parametrize("sql", LEFT)
def test_other_texts_stay_as_they_are(sql: str) -> None:
    assert steady_limits(sql) is None


PIECES = (
    "limit",
    "LIMIT",
    " ",
    "\n",
    "?",
    ":n",
    "@n",
    "$n",
    "?2",
    "5",
    ",",
    "offset",
    "(",
    ")",
    "+",
)
COMMENTS = ("/* limit ? */", "-- limit ?\n", "/**/", "--\n", "'limit ?'", ";", "select a from t ")


@given(st.lists(st.sampled_from(PIECES + COMMENTS), max_size=12).map("".join))
def test_a_text_that_is_not_looked_at_closely_has_nothing_to_find(sql: str) -> None:
    for text in (sql, f"limit{sql}"):
        assert steady_limits(text) == limits._found(text)


def test_a_limit_means_what_it_meant() -> None:
    with contextlib.closing(dosql_dbapi.connect(":memory:")) as ours:
        plain = apsw.Connection(":memory:")
        for connection in (ours, plain):
            connection.execute("create table t(a)")
            connection.execute("insert into t values (1), (2), (3), (4)")
        for sql in ("select a from t limit ?1", "select a from t limit 1, ?1"):
            for limit in (0, 1, 3, -1, "2", 2.0, None, "x", 1.5):
                told: list[object] = []
                for connection in (ours, plain):
                    try:
                        told.append(connection.execute(sql, (limit,)).fetchall())
                    except (apsw.Error, dosql_dbapi.Error) as error:
                        told.append(str(error))
                assert told[0] == told[1], (sql, limit)
        plain.close()


def test_a_statement_with_a_limit_is_compiled_once() -> None:
    asked: list[int] = []  # SQLite asks the authorizer whenever it compiles
    with contextlib.closing(dosql_dbapi.connect(":memory:")) as connection:
        connection.execute("create table t(id integer primary key, a)")
        connection.executemany("insert into t(a) values (?)", [(n,) for n in range(10)])

        def authorize(*_about: object) -> int:
            asked.append(1)
            return dosql_dbapi.SQLITE_OK

        connection.set_authorizer(authorize)
        sql = "select a from t where id > ? limit ? offset ?"
        assert len(connection.execute(sql, (2, 1, 1)).fetchall()) == 1
        assert asked
        asked.clear()
        for count in (1, 2, 3, 1):
            assert len(connection.execute(sql, (2, count, 1)).fetchall()) == count
        assert not asked
