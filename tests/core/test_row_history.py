"""The history of rows in SQL: periods, what is said of each version, blame, differences."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import (
    Error,
    FutureMomentError,
    HistoryExpiredError,
    LsnNotAvailableError,
    NoHistoryError,
    ProgrammingError,
    TableNotFoundError,
    TimeTravelSyntaxError,
)
from dosql_core.options import Retention
from fixtures.programs import run_sqlite


@pytest.fixture
def con(database_path: Path) -> Iterator[Any]:
    """LSN 3 and 4 changed account 2; LSN 5 deleted account 1 and LSN 6 made it anew."""
    connection = dosql_dbapi.connect(database_path, isolation_level=None)
    for sql in (
        "create table account(id integer primary key, owner text, balance int)",
        "insert into account values (1, 'ann', 10), (2, 'bob', 20)",
        "update account set balance = 15 where id = 2",
        "update account set owner = 'bert' where id = 2",
        "delete from account where id = 1",
        "insert into account values (1, 'zoe', 99)",
    ):
        connection.execute(sql)
    assert connection.lsn == 6
    yield connection
    connection.close()


def lsns(con: Any, clause: str, *parameters: Any) -> list[tuple[int, int]]:
    """Id and LSN of each version."""
    sql = f"select id, _dosql_lsn from account for system_time {clause} order by 1, 2"
    found: list[tuple[int, int]] = con.execute(sql, parameters).fetchall()
    return found


ALL = [(1, 2), (1, 6), (2, 2), (2, 3), (2, 4)]


def test_all_shows_every_version_and_what_made_it(con: Any) -> None:
    cursor = con.execute("select * from account for system_time all order by id, _dosql_lsn")
    assert [column[0] for column in cursor.description] == [
        "id", "owner", "balance",
        "_dosql_lsn", "_dosql_operation", "_dosql_valid_from", "_dosql_valid_to",
    ]  # fmt: skip
    times = dict(con.execute("select lsn, committed_at from dosql_log"))
    assert cursor.fetchall() == [
        (1, "ann", 10, 2, "insert", times[2], times[5]),
        (1, "zoe", 99, 6, "insert", times[6], None),
        (2, "bob", 20, 2, "insert", times[2], times[3]),
        (2, "bob", 15, 3, "update", times[3], times[4]),
        (2, "bert", 15, 4, "update", times[4], None),
    ]


def test_how_a_version_ended_can_be_asked_for(con: Any) -> None:
    ended = con.execute(
        "select id, _dosql_lsn, _dosql_end_lsn, _dosql_end_operation "
        "from account for system_time all where _dosql_end_lsn is not null order by 1, 2"
    ).fetchall()
    assert ended == [(1, 2, 5, "delete"), (2, 2, 3, "update"), (2, 3, 4, "update")]


@pytest.mark.parametrize(
    ("clause", "parameters", "expected"),
    [
        ("all", (), ALL),
        ("between lsn 2 and lsn 3", (), [(1, 2), (2, 2), (2, 3)]),
        ("between lsn 3 and lsn 3", (), [(1, 2), (2, 3)]),
        ("between lsn ? and lsn ? + 1", (4, 4), [(1, 2), (2, 4)]),
        ("between lsn 0 and lsn 1", (), []),
        ("between lsn -1 and '-0 s'", (), [(1, 6), (2, 4)]),
        ("from lsn 2 to lsn 3", (), [(1, 2), (2, 2)]),
        ("from lsn 3 to lsn 3", (), []),
        ("from lsn 0 to lsn 6", (), [(1, 2), (2, 2), (2, 3), (2, 4)]),
        ("contained in (lsn 2, lsn 4)", (), [(2, 2), (2, 3)]),
        ("contained in (lsn 3, lsn 6)", (), [(2, 3)]),
        ("between '-1 hour' and 'now'", (), ALL),
        ("between '2001-01-01' and lsn 2", (), [(1, 2), (2, 2)]),
        ("between snapshot 'third' and branch 'main'", (), [(1, 2), (1, 6), (2, 3), (2, 4)]),
        ("between branch 'main' lsn 3 and branch 'main', lsn 4", (), [(1, 2), (2, 3), (2, 4)]),
    ],
)
def test_a_period_has_the_versions_that_were_current_in_it(
    con: Any, clause: str, parameters: tuple[Any, ...], expected: list[tuple[int, int]]
) -> None:
    con.execute("create snapshot third as of lsn 3")
    assert lsns(con, clause, *parameters) == expected


def test_between_ends_with_its_end_and_from_to_before_it(con: Any) -> None:
    times = dict(con.execute("select lsn, committed_at from dosql_log"))
    two, four = times[2], times[4]
    assert lsns(con, "between ? and ?", two, four) == [(1, 2), (2, 2), (2, 3), (2, 4)]
    assert lsns(con, "from ? to ?", two, four) == [(1, 2), (2, 2), (2, 3)]
    assert lsns(con, "from ? to ?", two, two) == []
    assert lsns(con, "contained in (?, ?)", two, four) == [(2, 2), (2, 3)]
    later = two[:-1] + str((int(two[-1]) + 1) % 10) if two[-1] != "9" else two
    if two < later < times[3]:  # a microsecond behind the commit, its versions began before
        assert lsns(con, "contained in (?, ?)", later, four) == [(2, 3)]
        assert lsns(con, "from ? to ?", two, later) == [(1, 2), (2, 2)]


def test_a_history_stands_wherever_a_table_does(con: Any) -> None:
    con.execute("create table owner(name text primary key, city text)")
    con.execute("insert into owner values ('ann', 'Ulm'), ('bert', 'Bonn')")
    assert con.execute(
        "select h.id, city from account for system_time all as h "
        "join owner on name = h.owner order by 1"
    ).fetchall() == [(1, "Ulm"), (2, "Bonn")]
    assert con.execute(
        "with versions as (select id, count(*) n from account for system_time all group by id) "
        "select * from versions order by n"
    ).fetchall() == [(1, 2), (2, 3)]
    assert con.execute(
        "select a.balance, b.balance from account for system_time all a "
        "join main.account for system_time all b on b.id = a.id and b._dosql_lsn = a._dosql_end_lsn"
    ).fetchall() == [(20, 15), (15, 15)]
    assert con.execute(
        "select id, (select count(*) from account for system_time all h where h.id = account.id), "
        "(select owner from account as of lsn 2 t where t.id = account.id) from account order by 1"
    ).fetchall() == [(1, 2, "ann"), (2, 3, "bob")]
    con.execute(
        "create table kept as select * from account for system_time between lsn 2 and lsn 3"
    )
    assert con.execute("select count(*) from kept").fetchone() == (3,)
    con.execute(
        "update account set balance = (select max(balance) from account for system_time all)"
    )
    assert con.execute("select balance from account").fetchall() == [(99,), (99,)]


@pytest.mark.parametrize(
    ("definition", "rows", "condition", "key"),
    [
        ("(id integer primary key, v)", [(1, "a"), (2, "b")], "id = ?", (2,)),
        ("(id integer primary key, v)", [(1, "a"), (2, "b")], "id = ?", ("2",)),
        ("(id integer primary key, v)", [(1, "a"), (2, "b")], "id = ?", (2.0,)),
        ("(id text primary key, v)", [("x", "a"), ("y", "b")], "id = ?", ("y",)),
        ("(id text primary key, v)", [("1", "a"), ("2", "b")], "id = ?", (2,)),
        ("(id text collate nocase primary key, v)", [("x", 1), ("Ab", 2)], "id = ?", ("aB",)),
        ("(id text, v, primary key (id)) without rowid", [("x", 1), ("y", 2)], "id = ?", ("y",)),
        ("(id int, v, primary key (v, id))", [(1, "x"), (2, "y")], "id = ? and v = ?", (2, "y")),
        ("(id real primary key, v)", [(1.5, "a"), (2.0, "b")], "id = ?", (2,)),
        ("(id blob primary key, v)", [(b"1", "a"), (b"2", "b")], "id = ?", (b"2",)),
        ("(id, v)", [("x", "a"), ("y", "b")], "rowid = ?", (2,)),
    ],
)
def test_one_key_is_found_however_it_is_compared(
    con: Any, definition: str, rows: list[Any], condition: str, key: tuple[Any, ...]
) -> None:
    con.execute(f"create table t{definition}")
    con.executemany("insert into t values (?, ?)", rows)
    sql = f"select id, v from t for system_time all where {condition}"
    assert con.execute(sql, key).fetchall() == [rows[1]]
    assert con.execute(sql, (None,) * len(key)).fetchall() == []
    plan = con.execute(f"explain query plan {sql}", key).fetchall()
    assert " k" in plan[0][3]


def test_other_conditions_on_a_key_are_answered_too(con: Any) -> None:
    sql = "select _dosql_lsn from account for system_time all where {} order by 1"
    for condition, expected in [
        ("id in (1, 7)", [2, 6]),
        ("id > 1", [2, 3, 4]),
        ("id is 1", [2, 6]),
        ("id = 1 or id = 2", [2, 2, 3, 4, 6]),
        ("id = 'two'", []),
        ("id = 1.5", []),
        ("owner = 'bob' collate nocase", [2, 3]),
        ("id = (select max(id) from account)", [2, 3, 4]),
    ]:
        assert [lsn for (lsn,) in con.execute(sql.format(condition))] == expected


def test_a_view_of_history_grows_with_what_is_committed(con: Any) -> None:
    assert lsns(con, "all") == ALL
    con.execute("update account set balance = 0 where id = 2")
    assert lsns(con, "all") == [*ALL, (2, 7)]
    assert lsns(con, "all where id = 2") == [(2, 2), (2, 3), (2, 4), (2, 7)]
    con.execute("begin immediate")
    con.execute("update account set balance = 1")
    assert lsns(con, "all") == [*ALL, (2, 7)]  # not committed
    con.execute("rollback")
    assert lsns(con, "all") == [*ALL, (2, 7)]


def test_commits_of_another_process_are_in_the_history(con: Any, database_path: Path) -> None:
    assert lsns(con, "all") == ALL
    run_sqlite(database_path, "update account set balance = 1 where id = 1")
    assert lsns(con, "all") == sorted([*ALL, (1, 7)])


# -- schemas ---------------------------------------------------------------------------------------


def test_columns_are_those_at_the_end_of_the_period(con: Any) -> None:
    con.execute("alter table account add column city text default 'Ulm'")
    con.execute("update account set city = 'Bonn' where id = 2")
    con.execute("alter table account rename column owner to holder")
    con.execute("alter table account drop column balance")
    cursor = con.execute("select * from account for system_time all where id = 2")
    assert [column[0] for column in cursor.description][:3] == ["id", "holder", "city"]
    assert [row[:4] for row in cursor] == [
        (2, "bob", "Ulm", 2),
        (2, "bob", "Ulm", 3),
        (2, "bert", "Ulm", 4),
        (2, "bert", "Bonn", 8),
    ]
    past = con.execute("select * from account for system_time between lsn 2 and lsn 6 where id = 2")
    assert [column[0] for column in past.description][:3] == ["id", "owner", "balance"]
    assert [row[:4] for row in past] == [
        (2, "bob", 20, 2),
        (2, "bob", 15, 3),
        (2, "bert", 15, 4),
    ]


def test_writing_what_a_row_holds_makes_no_version(con: Any) -> None:
    con.execute("alter table account add column city text default 'Ulm'")
    con.execute("update account set owner = owner")  # the rows are stored with the column now
    con.execute("update account set city = 'Ulm'")
    assert con.lsn > 7
    assert lsns(con, "all") == ALL
    assert lsns(con, "all where id = 2") == [(2, 2), (2, 3), (2, 4)]


def test_rows_stored_before_a_column_was_added_are_what_they_read_as(
    database_path: Path,
) -> None:
    run_sqlite(
        database_path,
        "create table t(id integer primary key, a)",
        "insert into t values (1, 'x'), (2, 'y')",
        "alter table t add column b default 7",
    )
    with closing(dosql_dbapi.connect(database_path, isolation_level=None)) as adopted:
        adopted.execute("update t set a = a")
        adopted.execute("update t set b = 8 where id = 2")
        versions = "select id, a, b, _dosql_lsn from t for system_time all {} order by 1, 4"
        found = adopted.execute(versions.format("")).fetchall()
        assert found == [(1, "x", 7, 1), (2, "y", 7, 1), (2, "y", 8, 3)]
        assert adopted.execute(versions.format("where id = 2")).fetchall() == found[1:]


def test_a_dropped_table_shows_what_it_was(con: Any) -> None:
    con.execute("drop table account")
    assert lsns(con, "all") == ALL
    ended = con.execute("select max(_dosql_end_lsn) from account for system_time all").fetchone()
    assert ended == (7,)
    con.execute("create table account(id text primary key, note)")
    con.execute("insert into account values ('1', 'new')")
    rows = con.execute("select id, note, _dosql_lsn from account for system_time all").fetchall()
    assert sorted(rows, key=repr) == sorted(
        [(id, None, lsn) for id, lsn in ALL] + [("1", "new", 9)], key=repr
    )


def test_a_table_rebuilt_by_a_migration_goes_on(con: Any) -> None:
    con.executescript(
        """begin;
           create table new_account(id integer primary key, owner text not null, balance int);
           insert into new_account select * from account;
           drop table account;
           alter table new_account rename to account;
           commit;"""
    )
    assert lsns(con, "all") == ALL


def test_vacuum_changes_no_row(con: Any) -> None:
    con.execute("vacuum")
    assert lsns(con, "all") == ALL


# -- branches and moments --------------------------------------------------------------------------


def test_a_fork_has_the_past_of_its_parent_up_to_the_fork(con: Any, database_path: Path) -> None:
    con.execute("create branch dev as of lsn 3")
    with closing(dosql_dbapi.connect(database_path, branch="dev", isolation_level=None)) as dev:
        assert lsns(dev, "all") == [(1, 2), (2, 2), (2, 3)]
        dev.execute("update account set balance = 5 where id = 1")
        assert lsns(dev, "all") == [(1, 2), (1, 4), (2, 2), (2, 3)]
        assert lsns(dev, "all where id = 1") == [(1, 2), (1, 4)]
        assert lsns(con, "between branch 'dev' lsn 4 and branch 'dev'") == [(1, 4), (2, 3)]
        assert lsns(dev, "between branch 'main' lsn 2 and lsn 4") == [
            (1, 2), (1, 4), (2, 2), (2, 3)
        ]  # fmt: skip
        with pytest.raises(TimeTravelSyntaxError, match="does not come from there"):
            lsns(dev, "between branch 'main' lsn 4 and lsn 4")


def test_a_connection_to_the_past_sees_history_up_to_its_moment(
    con: Any, database_path: Path
) -> None:
    past = dosql_dbapi.connect(database_path, as_of=3)
    assert lsns(past, "all") == [(1, 2), (2, 2), (2, 3)]
    assert lsns(past, "all where id = 2") == [(2, 2), (2, 3)]
    current = "select count(*) from account for system_time all where _dosql_valid_to is null"
    assert past.execute(current).fetchone() == (2,)
    blamed = past.execute("select value, lsn from dosql_blame('account', 2)").fetchall()
    assert blamed == [(2, 2), ("bob", 2), (15, 3)]
    assert past.execute("select count(*) from dosql_diff('account', 2)").fetchone() == (1,)
    past.close()


def test_an_unreadable_period_is_an_error(con: Any) -> None:
    for clause, error, code in [
        ("between lsn 4 and lsn 3", TimeTravelSyntaxError, "TT_INVALID_SYNTAX"),
        ("between '-1 s' and '-1 hour'", Error, "TT_POINT_NOT_FOUND"),
        ("from lsn 4 to lsn 3", TimeTravelSyntaxError, "TT_INVALID_SYNTAX"),
        ("between lsn 1 and lsn 70", LsnNotAvailableError, "TT_LSN_NOT_AVAILABLE"),
        ("between lsn 1 and '2999-01-01'", FutureMomentError, "TT_FUTURE_POINT"),
        ("between snapshot 'none' and lsn 1", Error, "TT_SNAPSHOT_NOT_FOUND"),
        ("between branch 'none' and lsn 1", Error, "TT_BRANCH_NOT_FOUND"),
        ("between 'yesterday' and lsn 1", Error, "TT_POINT_NOT_FOUND"),
    ]:
        with pytest.raises(error) as told:
            lsns(con, clause)
        assert told.value.code == code
    times = dict(con.execute("select lsn, committed_at from dosql_log"))
    with pytest.raises(TimeTravelSyntaxError, match="ends before it begins"):
        lsns(con, "between ? and ?", times[5], times[4])


def test_only_tables_have_a_history_of_rows(con: Any) -> None:
    con.execute("create view rich as select * from account")
    con.execute("create virtual table words using fts5(body)")
    for name in ("missing", "rich", "words", "sqlite_schema"):
        with pytest.raises(TableNotFoundError, match=f"no such table: {name}"):
            con.execute(f"select * from {name} for system_time all")
    with closing(dosql_dbapi.connect(":memory:")) as memory:
        memory.execute("create table t(x)")
        with pytest.raises(NoHistoryError):
            memory.execute("select * from t for system_time all")


def test_what_is_no_longer_kept_is_told(con: Any, database_path: Path) -> None:
    con.execute("create snapshot early as of lsn 2")
    assert lsns(con, "all") == ALL
    with open_database(database_path) as database:
        database.set_retention(Retention(commits_max=2))
        database.compact()
        oldest = database.known("main").oldest_lsn  # type: ignore[arg-type]
    assert oldest == 4
    found = con.execute(
        "select id, balance, _dosql_lsn, _dosql_operation from account for system_time all "
        "order by 1, 3"
    ).fetchall()
    assert found == [(1, 10, 4, None), (1, 99, 6, "insert"), (2, 15, 4, None)]
    assert lsns(con, "all where id = 2") == [(2, 4)]
    for clause in ("between lsn 3 and lsn 5", "between snapshot 'early' and lsn 5"):
        with pytest.raises(HistoryExpiredError, match="oldest moment available is LSN 4") as told:
            lsns(con, clause)
        assert told.value.code == "TT_DATA_GAP"
    assert lsns(con, "between lsn 4 and lsn 5") == [(1, 4), (2, 4)]
    blamed = con.execute("select \"column\", lsn from dosql_blame('account', 2)").fetchall()
    assert blamed == [("id", None), ("owner", None), ("balance", None)]


def test_histories_are_read_by_many_threads(con: Any, database_path: Path) -> None:
    failures: list[BaseException] = []

    def read() -> None:
        try:
            own = dosql_dbapi.connect(database_path, isolation_level=None, timeout=60)
            for _ in range(20):
                assert lsns(own, "all where id = 1")[:2] == ALL[:2]
                assert lsns(own, "between lsn 0 and lsn 6") == ALL
                own.execute("update account set balance = balance + 1 where id = 2")
            own.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(lsns(con, "all where id = 2")) == 3 + 80


# -- blame -----------------------------------------------------------------------------------------


def test_blame_tells_which_commit_set_each_column(con: Any) -> None:
    con.execute("begin immediate")
    con.execute("set commit author 'zoe'")
    con.execute("set commit message 'moved'")
    con.execute("update account set owner = 'bart' where id = 2")
    con.execute("commit")
    cursor = con.execute("select * from dosql_blame('account', 2)")
    assert [column[0] for column in cursor.description] == [
        "column", "value", "lsn", "committed_at", "author", "message",
    ]  # fmt: skip
    times = dict(con.execute("select lsn, committed_at from dosql_log"))
    assert cursor.fetchall() == [
        ("id", 2, 2, times[2], None, None),
        ("owner", "bart", con.lsn, times[con.lsn], "zoe", "moved"),
        ("balance", 15, 3, times[3], None, None),
    ]


def test_blame_begins_with_the_rows_last_life(con: Any) -> None:
    assert con.execute("select lsn from dosql_blame('account', 1)").fetchall() == [(6,)] * 3
    con.execute("delete from account where id = 1")
    assert con.execute("select lsn from dosql_blame('account', 1)").fetchall() == []
    assert con.execute("select lsn from dosql_blame('account', 'one')").fetchall() == []


def test_blame_takes_keys_of_several_columns(con: Any) -> None:
    con.execute("create table line(receipt int, number int, text, primary key (receipt, number))")
    con.execute("insert into line values (1, 1, 'x'), (1, 2, 'y')")
    con.execute("update line set text = 'z' where number = 2")
    found = con.execute("select value, lsn from dosql_blame('line', 1, 2)").fetchall()
    assert found == [(1, 8), (2, 8), ("z", 9)]
    joined = con.execute(
        "select number, b.lsn from line, dosql_blame('line', receipt, number) b "
        "where b.\"column\" = 'text' order by 1"
    ).fetchall()
    assert joined == [(1, 8), (2, 9)]
    with pytest.raises(ProgrammingError, match=r"2 columns \(receipt, number\), and 1 value"):
        con.execute("select * from dosql_blame('line', 1)")
    with pytest.raises(TableNotFoundError):
        con.execute("select * from dosql_blame('nothing', 1)")


# -- differences -----------------------------------------------------------------------------------


def test_a_difference_has_the_columns_of_its_table_before_and_after(con: Any) -> None:
    cursor = con.execute("select * from dosql_diff('account', 2, ?)", (5,))
    assert [column[0] for column in cursor.description] == [
        "operation", "key", "before_id", "before_owner", "before_balance",
        "after_id", "after_owner", "after_balance",
    ]  # fmt: skip
    assert sorted(cursor) == [
        ("delete", 1, 1, "ann", 10, None, None, None),
        ("update", 2, 2, "bob", 20, 2, "bert", 15),
    ]


def test_a_difference_compares_any_two_moments(con: Any, database_path: Path) -> None:
    con.execute("create snapshot third as of lsn 3")
    con.execute("create branch dev")
    with closing(dosql_dbapi.connect(database_path, branch="dev", isolation_level=None)) as dev:
        dev.execute("update account set balance = 1 where id = 2")
    sql = "select operation, key, after_balance from dosql_diff('account', ?, ?)"
    for begin, end, expected in [
        ("snapshot:third", "lsn:4", [("update", 2, 15)]),
        ("branch:main", "branch:dev", [("update", 2, 1)]),
        ("branch:dev", "branch:main", [("update", 2, 15)]),
        ("branch:dev@lsn:6", 6, []),
        (5, None, [("insert", 1, 99)]),
    ]:
        assert con.execute(sql, (begin, end)).fetchall() == expected
    each = con.execute(
        "select lsn, key, before_balance, after_balance from dosql_log "
        "join dosql_diff('account', lsn - 1, lsn) where operation = 'update' order by lsn"
    ).fetchall()
    assert each == [(3, 2, 20, 15), (4, 2, 15, 15)]


def test_a_difference_of_a_table_given_as_a_value_is_json(con: Any) -> None:
    con.execute("create table pair(a, b, primary key (a, b)) without rowid")
    con.execute("insert into pair values (1, x'00ff')")
    found = con.execute("select * from dosql_diff(?, 2)", ("pair",)).fetchall()
    ((table, operation, key, before, after),) = found
    assert (table, operation, before) == ("pair", "insert", None)
    assert json.loads(key) == [1, {"base16": "00ff"}]
    assert json.loads(after) == {"a": 1, "b": {"base16": "00ff"}}
    tables = con.execute("select distinct table_name from dosql_diff(null, 2)").fetchall()
    assert sorted(tables) == [("account",), ("pair",)]
    con.execute("create view changed as select * from dosql_diff('account', 2, 3)")
    assert con.execute("select operation from changed").fetchall() == [("update",)]
    with pytest.raises(ProgrammingError, match="needs the moment"):
        con.execute("select * from dosql_diff('account', null)")


def test_a_difference_shows_the_columns_that_the_table_has_now(con: Any) -> None:
    con.execute("alter table account add column city text default 'Ulm'")
    con.execute("update account set city = 'Bonn' where id = 2")
    row = con.execute(
        "select before_city, after_city from dosql_diff('account', 6) where key = 2"
    ).fetchone()
    assert row == (None, "Bonn")
