"""SET COMMIT outside of a transaction describes what this connection commits next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi

Connect = Callable[..., Any]


@pytest.fixture
def connect(database_path: Path) -> Iterator[Connect]:
    with contextlib.ExitStack() as closing:

        def open_one(**options: Any) -> Any:
            return closing.enter_context(
                contextlib.closing(dosql_dbapi.connect(database_path, **options))
            )

        with contextlib.closing(dosql_dbapi.connect(database_path)) as first:
            first.execute("create table t(a integer primary key, b)")
        yield open_one


def told(con: Any) -> list[tuple[str | None, str | None]]:
    """Author and message of the commits after the first, oldest first."""
    rows = con.execute("select author, message from dosql_log where lsn > 1").fetchall()
    return rows[::-1]


def test_an_implicit_transaction_is_described(connect: Connect) -> None:
    con = connect()
    con.execute("set commit author 'ann'")
    con.execute("set commit message ?", ("why",))
    con.execute("insert into t values (1, 1)")
    con.execute("insert into t values (2, 2)")
    con.commit()
    con.execute("insert into t values (3, 3)")
    con.commit()
    assert told(con) == [("ann", "why"), (None, None)]


WRITES = {
    "insert": ("insert into t(b) values (?)", (1,)),
    "returning": ("insert into t(b) values (?) returning a", (1,)),
    "with": ("with x as (select ? as b) insert into t(b) select b from x", (1,)),
    "definition": ("create table u(a)", ()),
    "past": ("insert into t(b) select max(a) from t as of lsn 1", ()),
}


@pytest.mark.parametrize("level", [None, ""])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_its_own_transaction_is_described(
    connect: Connect, write: str, level: str | None
) -> None:
    con = connect(isolation_level=level)
    con.execute("set commit message 'why'")
    con.execute(*WRITES[write])
    con.commit()
    assert not con.in_transaction
    con.execute("insert into t(b) values (1)")
    con.commit()
    assert told(con) == [(None, "why"), (None, None)]


def test_the_rows_of_returning_are_there_after_the_commit(connect: Connect) -> None:
    con = connect(isolation_level=None)
    con.execute("set commit message 'why'")
    assert con.execute("insert into t values (7, 1), (8, 1) returning a").fetchall() == [(7,), (8,)]
    assert not con.in_transaction


def test_many_rows_are_one_described_commit(connect: Connect) -> None:
    con = connect(isolation_level=None)
    con.execute("set commit message 'why'")
    assert con.executemany("insert into t(b) values (?)", [(1,), (2,)]).rowcount == 2
    assert told(con) == [(None, "why")]


def test_a_script_is_described_by_its_first_commit(connect: Connect) -> None:
    con = connect()
    con.executescript(
        "set commit message 'why'; begin; insert into t(b) values (1); commit; create table u(a)"
    )
    assert told(con) == [(None, "why"), (None, None)]


def test_an_explicit_transaction_is_described_by_its_first_change(connect: Connect) -> None:
    con = connect(isolation_level=None)
    con.execute("set commit message 'why'")
    con.execute("begin")
    con.execute("select * from t").fetchall()
    con.execute("commit")
    con.execute("begin immediate")
    con.execute("delete from t where a = 5")  # changes nothing
    con.execute("insert into t values (1, 1)")
    con.execute("commit")
    assert told(con) == [(None, "why")]


def test_what_changed_nothing_or_failed_leaves_the_description_waiting(connect: Connect) -> None:
    con = connect(isolation_level=None)
    con.execute("insert into t values (1, 1)")
    con.execute("set commit message 'why'")
    con.execute("update t set b = 2 where a = 5")
    with pytest.raises(dosql_dbapi.IntegrityError):
        con.execute("insert into t values (1, 2)")
    assert not con.in_transaction
    con.execute("update t set b = 2")
    assert told(con) == [(None, None), (None, "why")]


@pytest.mark.parametrize("options", [{}, {"isolation_level": None}, {"autocommit": True}])
def test_rollback_takes_back_what_was_said(connect: Connect, options: dict[str, Any]) -> None:
    con = connect(**options)
    con.execute("set commit message 'never'")
    con.rollback()
    con.execute("insert into t values (1, 1)")
    con.commit()
    con.execute("set commit message 'never'")
    con.execute("set commit message null")
    con.execute("insert into t values (2, 2)")
    con.commit()
    assert told(con) == [(None, None), (None, None)]


def test_a_description_with_a_transaction_rolled_back_is_gone_with_it(connect: Connect) -> None:
    con = connect()
    con.execute("set commit message 'never'")
    con.execute("insert into t values (1, 1)")
    con.rollback()
    con.execute("insert into t values (2, 2)")
    con.commit()
    assert told(con) == [(None, None)]


def test_a_description_goes_along_to_another_branch_and_past_a_text_factory(
    connect: Connect,
) -> None:
    con = connect()
    con.execute("create branch dev")
    con.execute("set commit message 'why'")
    con.execute("use branch dev")
    con.text_factory = bytes
    con.execute("insert into t values (1, 1)")
    con.commit()
    con.text_factory = str
    assert told(con) == [(None, "why")]
    con.execute("use branch main")
    assert told(con) == []


def test_a_description_is_of_one_connection(connect: Connect) -> None:
    con, other = connect(isolation_level=None), connect(isolation_level=None)
    con.execute("set commit message 'why'")
    other.execute("insert into t values (1, 1)")
    con.execute("insert into t values (2, 2)")
    assert told(con) == [(None, None), (None, "why")]
