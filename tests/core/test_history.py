"""What history promises, told through the driver: moments, branches, snapshots, restore."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import (
    BranchInUseError,
    FutureMomentError,
    HistoryExpiredError,
    LsnNotAvailableError,
    MomentNotFoundError,
    RetentionPolicyError,
    SnapshotExistsError,
    SnapshotNotFoundError,
    TableNotFoundError,
    TimeTravelSyntaxError,
)
from dosql_core.options import DatabaseOptions, Retention


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@pytest.fixture
def con(path):
    connection = dosql_dbapi.connect(path)
    connection.execute("create table account(id integer primary key, owner text, balance real)")
    connection.execute("insert into account(owner, balance) values ('ann', 10), ('bob', 20)")
    connection.commit()
    yield connection
    connection.close()
    with open_database(path) as database:
        assert database.verify() == []


def change(connection, sql="update account set balance = balance + 1"):
    connection.execute(sql)
    connection.commit()
    return connection.lsn


def test_two_moments_join_in_one_statement(con):
    before = con.lsn
    change(con, "update account set balance = 15 where owner = 'bob'")
    rows = con.execute(
        """select a.owner, a.balance, old.balance
           from account a join account for system_time as of lsn ? old using (id)
           where a.balance <> old.balance""",
        (before,),
    ).fetchall()
    assert rows == [("bob", 15.0, 20.0)]


def test_a_dropped_table_is_readable_as_it_was(con):
    before = con.lsn
    change(con, "drop table account")
    assert con.execute(f"select count(*) from account as of lsn {before}").fetchone() == (2,)


def test_a_commit_counts_at_exactly_its_time(con):
    first = change(con)
    second = change(con)
    at = dict(con.execute("select lsn, committed_at from dosql_log").fetchall())
    read = "select balance from account for system_time as of timestamp ? where owner = 'ann'"
    assert con.execute(read, (at[first],)).fetchone() == (11.0,)
    assert con.execute(read, (at[second],)).fetchone() == (12.0,)
    just_before = datetime.datetime.fromisoformat(at[second]) - datetime.timedelta(microseconds=1)
    assert con.execute(read, (just_before.isoformat(" "),)).fetchone() == (11.0,)


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("timestamp '2999-01-01'", FutureMomentError),
        ("timestamp '1999-01-01'", MomentNotFoundError),
        ("lsn 1000", LsnNotAvailableError),
        ("snapshot 'nobody'", SnapshotNotFoundError),
    ],
)
def test_each_wrong_moment_has_its_own_error(con, moment, error):
    with pytest.raises(error) as raised:
        con.execute(f"select * from account for system_time as of {moment}")
    assert raised.value.code.startswith("TT_")


def test_the_past_cannot_be_written(con):
    with pytest.raises(TimeTravelSyntaxError):
        con.execute("update account for system_time as of lsn 1 set balance = 0")


def test_a_branch_goes_its_own_way(con, path):
    con.execute("create branch dev")
    fork = dosql_dbapi.connect(path, branch="dev")
    fork.execute("delete from account")
    fork.commit()
    assert fork.lsn == con.lsn + 1
    assert con.execute("select count(*) from account").fetchone() == (2,)
    assert con.execute("select count(*) from account as of branch 'dev'").fetchone() == (0,)
    with pytest.raises(BranchInUseError):
        con.execute("drop branch dev")
    fork.close()
    con.execute("drop branch dev")


def test_branches_of_branches_see_through_all_their_parents(con, path):
    parent = "main"
    for depth in range(10):
        con.execute(f"create branch b{depth} from {parent}")
        parent = f"b{depth}"
        fork = dosql_dbapi.connect(path, branch=parent)
        fork.execute("insert into account(owner, balance) values (?, 0)", (parent,))
        fork.commit()
        assert fork.execute("select count(*) from account").fetchone() == (3 + depth,)
        fork.close()
    deep = dosql_dbapi.connect(path, branch=parent)
    assert deep.execute("select count(*) from account as of lsn 2").fetchone() == (2,)
    deep.close()


def test_a_hydrated_branch_is_a_stock_file_with_its_rows(con, path):
    con.execute("create branch dev")
    (file,) = con.execute("hydrate branch dev").fetchone()
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "print(c.execute('select count(*) from account').fetchone())"
    )
    command = [sys.executable, "-c", code, file]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "(2,)"
    fork = dosql_dbapi.connect(path, branch="dev")
    assert fork.execute("select count(*) from account").fetchone() == (2,)
    fork.close()


def test_the_lsn_after_a_restore_is_that_of_the_restore(con):
    con.execute("insert into account(owner) values ('last')")
    con.commit()
    (restored,) = con.execute("restore to lsn 2").fetchone()
    assert con.lsn == restored


def test_a_restore_is_a_commit_and_can_be_undone(con):
    con.execute("create snapshot 'good'")
    wrong = change(con, "update account set owner = 'nobody'")
    con.execute("restore to snapshot 'good'")
    assert con.execute("select owner from account").fetchall() == [("ann",), ("bob",)]
    con.execute(f"restore to lsn {wrong}")
    assert con.execute("select distinct owner from account").fetchall() == [("nobody",)]


def test_one_table_goes_back_and_the_rest_stays(con):
    con.execute("create table other(x)")
    before = con.lsn
    change(con, "delete from account")
    change(con, "insert into other values (1)")
    con.execute(f"restore table account to lsn {before}")
    assert con.execute("select count(*) from account").fetchone() == (2,)
    assert con.execute("select count(*) from other").fetchone() == (1,)


def test_retention_drops_what_nothing_pins(con, path):
    con.execute("create snapshot 'kept'")
    kept = con.lsn
    for _ in range(30):
        newest = change(con)
    with open_database(path) as database:
        database.set_retention(Retention(commits_max=5))
        database.compact()
    with pytest.raises(HistoryExpiredError):
        con.execute(f"select * from account as of lsn {kept + 3}")
    assert con.execute("select balance from account as of snapshot 'kept'").fetchone() == (10.0,)
    assert con.execute(f"select count(*) from account as of lsn {newest - 4}").fetchone() == (2,)


@pytest.mark.parametrize("field", ["age_seconds", "commits_max", "history_bytes_max"])
def test_a_retention_nobody_can_follow_is_refused(con, path, field):
    with open_database(path) as database:
        with pytest.raises(RetentionPolicyError, match=f"{field} is -1"):
            database.set_retention(Retention(**{field: -1}))
        assert database.retention == Retention()


def test_an_expired_moment_names_the_oldest_there_is(con, path):
    for _ in range(20):
        change(con)
    reader = dosql_dbapi.connect(path, as_of=2)
    rows = reader.execute("select balance from account")
    with open_database(path) as database:
        database.set_retention(Retention(commits_max=5))
        database.compact()
    assert rows.fetchall() == [(10.0,), (20.0,)]  # what is open stays open
    reader.close()
    oldest = f"the oldest moment available is LSN {con.lsn - 5}"
    for sql in (
        "select * from account as of lsn 3",
        "select * from account as of timestamp '-1 hour'",
        "create branch old as of lsn 3",
        "create snapshot old as of lsn 3",
        "restore to lsn 3",
        "restore table account to lsn 3",
    ):
        with pytest.raises(HistoryExpiredError, match=oldest):
            con.execute(sql)
    with pytest.raises(HistoryExpiredError):
        dosql_dbapi.connect(path, as_of=3)
    assert con.execute("select min(lsn) from dosql_log").fetchone() == (con.lsn - 5,)


def test_what_was_not_there_is_told_as_it_was_asked_for(con, path):
    with pytest.raises(TableNotFoundError, match="no table 'nosuch' at that moment") as refused:
        con.execute("restore table nosuch to lsn 1")
    assert refused.value.hint
    with pytest.raises(
        MomentNotFoundError, match="'2' is not a moment: an LSN is given"
    ) as by_text:
        dosql_dbapi.connect(path, as_of="2")
    assert "lsn:2" in by_text.value.hint
    told = r"LSN -99, so many before the newest, is not .* its commits are 0 to \d"
    with pytest.raises(LsnNotAvailableError, match=told):
        dosql_dbapi.connect(path, as_of=-99)


def test_a_moment_becomes_a_stock_file_of_its_own(con, path, tmp_path):
    change(con, "delete from account")
    with open_database(path) as database:
        assert database.export(tmp_path / "then.db", 2).lsn == 2
        with pytest.raises(FileExistsError):
            database.export(tmp_path / "then.db", 2)
    plain = dosql_dbapi.connect(tmp_path / "then.db", history=False)
    assert plain.execute("select count(*) from account").fetchone() == (2,)
    assert plain.execute("pragma journal_mode").fetchone() == ("delete",)
    plain.close()


def test_snapshots_are_made_listed_and_dropped_by_name(con):
    con.execute("create snapshot 'v1'")
    con.execute("create snapshot if not exists 'v1'")
    change(con)
    con.execute("create snapshot 'before' as of lsn -1")
    with pytest.raises(SnapshotExistsError):
        con.execute("create snapshot 'v1'")
    shown = [row[:3] for row in con.execute("show snapshots").fetchall()]
    assert shown == [("v1", "main", 2), ("before", "main", 2)]
    assert len(con.execute("show snapshots like 'b%'").fetchall()) == 1
    con.execute("drop snapshot 'v1'")
    con.execute("drop snapshot if exists 'v1'")
    with pytest.raises(SnapshotNotFoundError, match="there is no snapshot 'v1'") as told:
        con.execute("drop snapshot 'v1'")
    assert "before" in told.value.hint


def test_a_dropped_table_comes_back_with_its_index_and_trigger(con):
    con.execute("create index by_owner on account(owner)")
    con.execute("create table seen(id)")
    con.execute(
        "create trigger note after insert on account begin insert into seen values (new.id); end"
    )
    before = con.lsn
    con.execute("drop table account")
    assert con.execute(f"restore table account to lsn {before}").fetchone() == (2,)
    assert con.execute("select count(*) from seen").fetchone() == (0,)  # no trigger fired
    names = con.execute("select name from sqlite_schema where tbl_name = 'account'").fetchall()
    assert sorted(names) == [("account",), ("by_owner",), ("note",)]
    con.execute(f"restore table account as account_then to lsn {before}")
    assert con.execute("select count(*) from account_then").fetchone() == (2,)


def test_an_existing_file_is_adopted_with_its_rows(tmp_path):
    path = str(tmp_path / "old.db")
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('pragma page_size = 1024'); c.execute('create table t(a)');"
        "c.executemany('insert into t values (?)', [(n,) for n in range(5000)]); c.commit()"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    con = dosql_dbapi.connect(path)
    assert con.lsn == 1
    change(con, "delete from t")
    assert con.execute("select count(*) from t as of lsn 1").fetchone() == (5000,)
    con.close()


def test_commits_of_other_programs_are_captured(con, path):
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute(\"insert into account(owner) values ('foreign')\"); c.commit(); c.close()"
    )
    before = con.lsn
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert con.lsn == before + 1
    assert con.execute(f"select count(*) from account as of lsn {before}").fetchone() == (2,)
    assert con.execute(f"select count(*) from account as of lsn {before + 1}").fetchone() == (3,)


def test_what_others_did_while_nobody_watched_is_one_gap(path):
    con = dosql_dbapi.connect(path)
    con.execute("create table t(a)")
    con.close()
    time.sleep(0.02)
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "[c.execute('insert into t values (1)') and c.commit() for n in range(5)]; c.close()"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    con = dosql_dbapi.connect(path)
    assert con.execute("select flags from dosql_log limit 1").fetchone() == (
        "estimated_time foreign gap",
    )
    assert con.execute("select count(*) from t").fetchone() == (5,)
    con.close()


def test_detach_leaves_a_plain_file(con, path, tmp_path):
    con.close()
    with_database = open_database(path)
    with_database.detach()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["app.db"]
    again = dosql_dbapi.connect(path)
    again.close()


def test_every_kept_moment_equals_what_was_there(tmp_path):
    path = str(tmp_path / "small.db")
    database = open_database(path, DatabaseOptions(wal_capture_bytes=100_000))
    con = dosql_dbapi.connect(path, durability="normal")
    con.execute("create table t(a integer primary key, b blob)")
    con.commit()
    seen = {}
    for n in range(300):
        con.execute(
            "insert or replace into t values (?, ?)", (n * 37 % 101, bytes([n % 256]) * 900)
        )
        con.commit()
        seen[con.lsn] = con.execute("select sum(a), count(*), max(b) from t").fetchone()
    for lsn, expected in seen.items():
        past = dosql_dbapi.connect(path, as_of=lsn)
        assert past.execute("select sum(a), count(*), max(b) from t").fetchone() == expected
        past.close()
    con.close()
    assert database.verify() == []
    database.close()
