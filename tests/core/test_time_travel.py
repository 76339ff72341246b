"""AS OF as users meet it: where it may stand, what it reads, and what is said when it cannot."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import (
    MomentNotFoundError,
    NotSupportedError,
    OperationalError,
    ReadOnlyMomentError,
)
from dosql_core.history import settling


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@pytest.fixture
def con(path: str) -> Iterator[Any]:
    """LSN 1 and 2 make the tables, LSN 3 adds 100 to every balance."""
    connection = dosql_dbapi.connect(path)
    connection.execute("create table account(id integer primary key, owner text, balance int)")
    connection.execute("create view rich as select owner, balance * 10 as tenfold from account")
    connection.execute("insert into account values (1, 'ann', 1), (2, 'bob', 2)")
    connection.commit()
    assert connection.lsn == 3
    connection.execute("update account set balance = balance + 100")
    connection.commit()
    yield connection
    connection.close()


READS = [
    ("select sum(balance) from account as of lsn 3", 3),
    ("select sum(balance) from account for system_time as of lsn 3", 3),
    ("select sum(old.balance) from account as of lsn 3 as old", 3),
    ("select sum(old.balance) from account old as of lsn 3", 3),
    ("select sum(balance) from main.account as of lsn 3", 3),
    ('select sum("balance") from "account" as of lsn 3', 3),
    ("select sum(balance) from account as of version 3", 3),
    ("select sum(balance) from account as of lsn 1 + 2", 3),
    ("select sum(balance) from account as of lsn -1", 3),
    ("select sum(balance) from account as of snapshot 'main@3'", 3),
    ("select sum(balance) from account as of branch main lsn 3", 3),
    ("select sum(balance) from account as of branch 'main', lsn 3", 3),
    ("select sum(balance) from account as of branch main", 203),
    ("select sum(balance) from account for system_time as of 'now'", 203),
    ("select sum(balance) from account as of timestamp '-0 seconds'", 203),
    ("select sum(balance) from account as of system time '0 seconds ago'", 203),
    ("with a as (select * from account as of lsn 3) select sum(balance) from a", 3),
    ("select (select sum(balance) from account as of lsn 3)", 3),
    ("select sum(balance) from account where id in (select id from account as of lsn 3)", 203),
    ("select sum(balance) from account where balance not in account as of lsn 3", None),
    ("select sum(b.balance - a.balance) from account as of lsn 3 a join account b using (id)", 200),
    ("select sum(a.balance) from (account as of lsn 3 a cross join account b)", 6),
    ("select sum(tenfold) from rich as of lsn 3", 30),
    ("select count(*) from sqlite_schema as of lsn 1", 1),
    ("select sum(n) from (select count(*) n from account as of lsn 3 union all values (5))", 7),
    ("select sum(balance) over () from account as of lsn 3 limit 1", 3),
    ("select count(*) from account as of lsn 3 indexed by none_such", None),
]


@pytest.mark.parametrize(("sql", "answer"), READS)
def test_a_moment_stands_behind_any_table_that_is_read(con: Any, sql: str, answer: int) -> None:
    if answer is None:  # SQLite's own complaint, about what it is asked: nothing is lost on the way
        with pytest.raises(OperationalError):
            con.execute(sql)
    else:
        assert con.execute(sql).fetchone() == (answer,)


WRITES = [
    "insert into copy select * from account as of lsn 3",
    "insert into copy select * from account as of lsn ?",
    "insert into copy values (1, '', 0), (2, '', 0) on conflict (id) do update set"
    " balance = (select balance from account as of lsn 3 old where old.id = excluded.id)"
    ";insert into copy select * from account as of lsn 3 where true on conflict (id) do update set"
    " owner = excluded.owner, balance = excluded.balance",
    "insert into copy select * from account"
    ";update copy set balance = (select balance from account as of lsn 3 a where a.id = copy.id)",
    "insert into copy select * from account"
    ";update copy set balance = old.balance from account as of lsn 3 old where old.id = copy.id",
    "insert into copy select * from account as of lsn 3 union all values (3, 'eve', 9)"
    ";delete from copy where id not in (select id from account as of lsn 3)",
]


@pytest.mark.parametrize("script", WRITES)
def test_a_write_may_read_the_past(con: Any, script: str) -> None:
    con.execute("create table copy(id integer primary key, owner text, balance int)")
    for sql in script.split(";"):
        con.execute(sql, (3,) if "?" in sql else ())
    con.commit()
    copied = con.execute("select * from copy order by id").fetchall()
    assert copied == [(1, "ann", 1), (2, "bob", 2)]


def test_a_table_is_made_of_the_past(con: Any) -> None:
    con.execute("create table copy as select * from account as of lsn 3")
    assert con.execute("select sum(balance) from copy").fetchone() == (3,)


def test_returning_and_many_parameters_work_with_the_past(con: Any) -> None:
    con.execute("create table copy(id, balance)")
    sql = "insert into copy select id + ?, balance from account as of lsn ?"
    con.executemany(sql, [(10, 3), (20, 4)])
    changed = "update copy set balance = 0 where id in (select id + 10 from account as of lsn 3)"
    rows = con.execute(f"{changed} returning id").fetchall()
    assert sorted(rows) == [(11,), (12,)]
    con.commit()


def test_the_plan_of_a_read_of_the_past_is_told(con: Any) -> None:
    assert con.explain("select * from account as of lsn 3 where id = 1").startswith("SEARCH")
    assert con.execute("explain select * from account as of lsn 3").fetchone()[1] == "Init"


def test_a_view_is_read_as_it_was_defined_then(con: Any) -> None:
    con.execute("drop view rich")
    con.execute("create view rich as select owner from account")
    then = con.execute("select * from rich as of lsn 3").fetchall()
    assert then == [("ann", 10), ("bob", 20)]


def test_an_altered_table_is_read_as_it_was(con: Any) -> None:
    con.execute("drop view rich")
    con.execute("alter table account add column note text default 'new'")
    con.execute("alter table account drop column balance")
    con.execute("alter table account rename to customer")
    old = con.execute("select * from account as of lsn 3").fetchall()
    assert old == [(1, "ann", 1), (2, "bob", 2)]


def test_full_text_of_the_past_is_searched_with_its_own_index(con: Any) -> None:
    con.execute("create virtual table note using fts5(body)")
    con.execute("insert into note values ('buy milk'), ('sell car')")
    con.commit()
    before = con.lsn
    con.execute("update note set body = 'buy car' where body match 'milk'")
    con.commit()
    sql = "select body, highlight(note, 0, '[', ']') from note as of lsn ? where note match 'buy'"
    assert con.execute(sql, (before,)).fetchall() == [("buy milk", "[buy] milk")]


def test_a_moment_may_be_computed_of_parameters(con: Any) -> None:
    sql = "select sum(balance) from account as of lsn {} where id <= {}"
    assert con.execute(sql.format("? - ?", "?"), (5, 2, 1)).fetchone() == (1,)
    assert con.execute(sql.format("?2", "?1"), (1, 3)).fetchone() == (1,)
    assert con.execute(sql.format(":then", ":id"), {"then": 3, "id": 1}).fetchone() == (1,)


def test_times_are_utc_however_they_are_told(con: Any) -> None:
    ((text,),) = con.execute("select committed_at from dosql_log where lsn = 3").fetchall()
    naive = datetime.datetime.fromisoformat(text)
    aware = naive.replace(tzinfo=datetime.UTC)
    there = aware.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    sql = "select sum(balance) from account for system_time as of ?"
    for told in (text, naive, aware, there, there.isoformat(), f"{text}Z", aware.timestamp()):
        assert con.execute(sql, (told,)).fetchone() == (3,), told


def test_a_past_is_read_inside_of_a_transaction(con: Any) -> None:
    con.execute("begin immediate")
    con.execute("insert into account values (3, 'eve', 0)")
    assert con.execute("select count(*) from account as of lsn 3").fetchone() == (2,)
    assert con.execute("select count(*) from account as of timestamp 'now'").fetchone() == (2,)
    assert con.execute("select max(lsn) from dosql_log").fetchone() == (4,)
    con.execute("create snapshot 'before eve'")
    con.commit()
    assert con.execute("select count(*) from account as of snapshot 'before eve'").fetchone() == (
        2,
    )


def test_a_temporary_table_does_not_hide_the_past_of_a_real_one(con: Any) -> None:
    con.execute("create temp table account(x)")
    assert con.execute("select sum(balance) from account as of lsn 3").fetchone() == (3,)


def test_a_table_that_was_not_there_is_called_by_its_own_name(con: Any) -> None:
    with pytest.raises(OperationalError, match=r"^no such table: nobody \(as of LSN 3\)$") as told:
        con.execute("select * from nobody as of lsn 3")
    assert told.value.code == "STMT_TABLE_NOT_FOUND"


def test_a_past_that_cannot_stand_beside_the_present_is_read_alone(con: Any, path: str) -> None:
    con.execute("create view spelled_out as select main.balance from main.account as main")
    lsn = con.lsn
    with pytest.raises(NotSupportedError, match="spelled_out") as told:
        con.execute("select * from account as of lsn ?", (lsn,))
    assert f"as_of={lsn}" in told.value.hint
    past = dosql_dbapi.connect(path, as_of=lsn)
    assert past.execute("select sum(balance) from spelled_out").fetchone() == (203,)
    past.close()
    assert con.execute("select sum(balance) from account as of lsn 3").fetchone() == (3,)


@pytest.mark.parametrize(
    "time", [float("nan"), float("inf"), 1e30, -1e30, "-99999999999 weeks", b"now", "", "yesterday"]
)
def test_what_is_no_time_is_told_so(con: Any, path: str, time: Any) -> None:
    for ask in (
        lambda: con.execute("select * from account as of timestamp ?", (time,)),
        lambda: dosql_dbapi.connect(path, as_of=time),
    ):
        with pytest.raises(MomentNotFoundError) as told:
            ask()
        assert told.value.code == "TT_POINT_NOT_FOUND"


# -- a whole connection in the past ----------------------------------------------------------------


def test_a_connection_may_stand_at_any_moment(con: Any, path: str) -> None:
    con.execute("create snapshot 'then' as of lsn 3")
    con.execute("create branch side as of lsn 3")
    now = datetime.datetime.now(datetime.UTC)
    moments: list[tuple[Any, int]] = [
        (3, 3), (-1, 3), ("lsn:3", 3), ("version:3", 3), ("snapshot:then", 3), ("branch:side", 3),
        ("branch:main@lsn:2", 2), ("branch:main@lsn:-2", 2), (now, 4), (now.isoformat(), 4),
        ("now", 4), ("0 s ago", 4), ("timestamp:now", 4),
    ]  # fmt: skip
    for moment, lsn in moments:
        past = dosql_dbapi.connect(path, as_of=moment)
        assert (past.lsn, past.as_of, past.read_only) == (lsn, lsn, True), moment
        past.close()


def test_a_connection_in_the_past_writes_nothing_and_says_why(con: Any, path: str) -> None:
    past = dosql_dbapi.connect(path, as_of=3, isolation_level=None)
    for sql in ("insert into account values (9, '', 0)", "drop table account", "vacuum"):
        with pytest.raises(ReadOnlyMomentError, match="this connection reads LSN 3") as told:
            past.execute(sql)
        assert "CREATE BRANCH" in told.value.hint
    for sql in ("use branch main", "set commit message 'x'"):
        if sql.startswith("set"):
            past.execute("begin")
        with pytest.raises(ReadOnlyMomentError):
            past.execute(sql)
    past.execute("create temp table notes as select * from account")
    assert past.execute("select sum(balance) from notes").fetchone() == (3,)
    past.close()


def test_a_connection_in_the_past_logs_and_names_what_it_sees(con: Any, path: str) -> None:
    past = dosql_dbapi.connect(path, as_of=3)
    assert past.execute("select max(lsn) from dosql_log").fetchone() == (3,)
    assert past.execute("select count(*) from dosql_log where lsn > 3").fetchone() == (0,)
    assert past.execute("show log limit 1").fetchone()[0] == 3
    past.execute("create snapshot 'here'")
    past.execute("create branch onward")
    past.close()
    assert con.execute("select sum(balance) from account as of snapshot 'here'").fetchone() == (3,)
    assert con.execute("select sum(balance) from account as of branch onward").fetchone() == (3,)


# -- what the log tells ----------------------------------------------------------------------------


def descriptions(con: Any, first: int) -> list[tuple[str | None, str | None]]:
    sql = "select author, message from dosql_log where lsn >= ? order by lsn"
    return list(con.execute(sql, (first,)).fetchall())


def insert(con: Any, number: int) -> None:
    con.execute("insert into account values (?, '', 0)", (number,))


def test_a_commit_is_described_by_its_own_transaction_only(con: Any) -> None:
    con.execute("begin immediate")
    con.execute("set commit author 'ann'")
    con.execute("set commit message = 'first'")
    insert(con, 10)
    con.commit()
    con.execute("begin immediate")
    con.execute("set commit message ?", ("second",))
    insert(con, 11)
    con.commit()
    con.execute("begin immediate")
    con.execute("set commit author 'eve'")
    con.execute("set commit message 'taken back'")
    con.execute("set commit message null")
    insert(con, 12)
    con.commit()
    insert(con, 13)
    con.commit()
    assert descriptions(con, 5) == [("ann", "first"), (None, "second"), ("eve", None), (None, None)]


def test_a_description_rolled_back_is_gone_with_its_time(con: Any) -> None:
    con.execute("begin immediate")
    con.execute("set commit message 'never'")
    con.rollback()
    con.execute("begin immediate")
    con.execute("set commit author 'ann'")
    insert(con, 10)
    con.commit()
    con.execute("begin immediate")
    con.execute("set commit message 'never'")
    con.rollback()
    began = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    insert(con, 11)
    con.commit()
    assert descriptions(con, 5) == [("ann", None), (None, None)]
    ((at,),) = con.execute("select committed_at from dosql_log where lsn = 6").fetchall()
    assert datetime.datetime.fromisoformat(at) >= began


def test_a_block_describes_its_commit_unless_it_changed_nothing(con: Any) -> None:
    with con.transaction(author="ann", message="nothing"):
        con.execute("select * from account").fetchall()
    with con.transaction("deferred", author="ann", message="nothing"):
        con.execute("select * from account").fetchall()
    assert con.lsn == 4
    with con.transaction(author="ann", message="a row"):
        insert(con, 10)
    with con.transaction(author="ann", message="a table"):
        con.execute("create table other(x)")
    assert descriptions(con, 5) == [("ann", "a row"), ("ann", "a table")]


def test_descriptions_stay_out_of_sight(con: Any, path: str) -> None:
    with con.transaction(author="ann"):
        insert(con, 10)
    con.execute("vacuum")
    listed = "select name from sqlite_schema where type = 'table' and name not like 'sqlite~_%'"
    assert con.execute(f"{listed} escape '~'").fetchall() == [("account",)]
    assert not any("dosql" in line for line in con.iterdump())
    with pytest.raises(OperationalError, match="reserved for internal use"):
        con.execute("create table sqlite_mine(x)")
    con.rollback()
    dump = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.iterdump());"
        "print(c.execute('pragma integrity_check').fetchone()[0])"
    )
    told = subprocess.run(
        [sys.executable, "-c", dump, path], capture_output=True, text=True, check=True
    )
    assert "dosql" not in told.stdout
    assert told.stdout.endswith("ok\n")
    assert con.execute("select author from dosql_log where lsn = 5").fetchone() == ("ann",)


def test_the_log_of_another_branch_is_a_function(con: Any) -> None:
    con.execute("create branch side as of lsn 3")
    assert con.execute("select max(lsn) from dosql_log('side')").fetchone() == (3,)
    assert con.execute("select max(lsn) from dosql_log('main')").fetchone() == (4,)
    between = "select group_concat(lsn) from dosql_log where lsn between 2 and 3"
    assert con.execute(between).fetchone() == ("3,2",)


# -- across processes ------------------------------------------------------------------------------

WRITER = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1])
con.execute("insert into account values (50, 'other process', 0)")
con.commit()
print(con.lsn)
con.close()
"""


def test_what_another_process_committed_is_waited_for_by_its_lsn(con: Any, path: str) -> None:
    writer = subprocess.run(
        [sys.executable, "-c", WRITER, path], capture_output=True, text=True, check=True
    )
    lsn = int(writer.stdout)
    assert con.wait_for(lsn, timeout=30) == lsn == 5
    assert con.execute("select owner from account where id = 50").fetchone() == ("other process",)


def test_what_nobody_commits_is_waited_for_in_vain(con: Any) -> None:
    with pytest.raises(dosql_dbapi.OperationalError, match="LSN 99 did not come") as told:
        con.wait_for(99, timeout=0.01)
    assert told.value.code == "TT_TIMEOUT"
    assert told.value.is_retryable


def test_a_time_means_the_same_before_and_after_a_described_commit(
    con: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit's time is taken when it is described, so asking about a later one has to wait."""
    monkeypatch.setattr(settling, "_SETTLES_SECONDS", 60.0)  # the commit below may be slow to come
    began = threading.Event()

    def commit_slowly() -> None:
        writer = dosql_dbapi.connect(path)
        writer.execute("begin immediate")
        insert(writer, 10)
        writer.execute("set commit message 'slow'")
        began.set()
        time.sleep(0.05)
        writer.commit()
        writer.close()

    thread = threading.Thread(target=commit_slowly)
    thread.start()
    began.wait()
    at = datetime.datetime.now(datetime.UTC)
    sql = "select count(*) from account as of timestamp ?"
    first = con.execute(sql, (at,)).fetchone()
    thread.join()
    assert con.execute(sql, (at,)).fetchone() == first == (3,)


def test_more_moments_than_stay_attached_are_read_in_one_statement(database_path) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        con.execute("create table t(x)")
        for number in range(40):
            con.execute("insert into t values (?)", (number,))
        first = con.lsn - 39
        moments = [f"select count(*) from t as of lsn {first + number}" for number in range(40)]
        counts = con.execute(" union all ".join(moments)).fetchall()
        assert counts == [(number,) for number in range(1, 41)]


def test_a_snapshot_may_be_called_as_a_moment_of_a_branch_is(database_path) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        con.execute("create table t(x)")
        con.execute("insert into t values (1)")
        assert con.execute("select count(*) from t as of snapshot 'main@1'").fetchone() == (0,)
        con.execute("create snapshot 'main@1' as of lsn 2")
        assert con.execute("select count(*) from t as of snapshot 'main@1'").fetchone() == (1,)
