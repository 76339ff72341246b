"""What the driver adds to sqlite3's interface on a file with history."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

import dosql_dbapi
from fixtures.programs import run_sqlite


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


def test_use_branch_takes_cursors_along(path):
    con = dosql_dbapi.connect(path, isolation_level=None)
    con.execute("create table t(a)")
    con.execute("create branch dev")
    cursor = con.cursor()
    cursor.execute("use branch dev")
    cursor.execute("insert into t values (1)")
    assert con.branch == "dev"
    assert cursor.execute("select count(*) from t").fetchone() == (1,)
    cursor.execute("use branch main")
    assert cursor.execute("select count(*) from t").fetchone() == (0,)
    con.close()


def test_a_token_of_one_connection_can_be_waited_for_on_another(path):
    one, two = dosql_dbapi.connect(path), dosql_dbapi.connect(path)
    one.execute("create table t(a)")
    one.commit()
    token = one.lsn
    assert two.wait_for(token) >= token
    with pytest.raises(dosql_dbapi.OperationalError):
        two.wait_for(token + 1, 0.01)
    one.close()
    two.close()


def test_threads_write_one_database_without_a_lock_error(path):
    con = dosql_dbapi.connect(path)
    con.execute("create table t(a)")
    con.commit()
    errors = []

    def write(number):
        try:
            mine = dosql_dbapi.connect(path, isolation_level=None, timeout=60)
            for _ in range(40):
                mine.execute("insert into t values (?)", (number,))
            mine.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert con.execute("select count(*) from t").fetchone() == (640,)
    assert con.execute("select count(*) from dosql_log").fetchone() == (641,)
    con.close()


def test_journal_mode_stays_wal(path):
    con = dosql_dbapi.connect(path)
    assert con.execute("pragma journal_mode").fetchone() == ("wal",)
    for mode in ("delete", "truncate", "'off'", "memory"):  # as where SQLite cannot change it
        assert con.execute(f"pragma journal_mode = {mode}").fetchone() == ("wal",)
    assert con.execute("pragma locking_mode = exclusive").fetchone() == ("normal",)
    con.execute("create table t(a)")
    con.commit()
    con.close()
    stock = run_sqlite(path, "pragma journal_mode", "select name from sqlite_schema")
    assert stock == [[["wal"]], [["t"]]]


# Each on a connection of its own, while another holds the write lock.
WHILE_ANOTHER_WRITES = (
    "pragma foreign_keys = on",  # the first thing that Django says on every connection
    "pragma table_info(t)",
    "pragma table_xinfo('t')",
    "pragma foreign_key_list(t)",
    "pragma foreign_key_check(t)",
    "pragma index_list(t)",
    "pragma integrity_check(1)",
    "pragma cache_size = -2000",
    "pragma temp_store = memory",
    "pragma recursive_triggers = on",
    "pragma query_only = on",
    "pragma case_sensitive_like = on",
    "pragma user_version = 3",
    "pragma application_id = 3",
    "attach ':memory:' as beside",
)


def test_a_statement_waits_for_a_writer_only_where_sqlite_waits(path, tmp_path):
    outcomes: list[dict[str, object]] = []
    for driver, place in (sqlite3, tmp_path / "stock.db"), (dosql_dbapi, path):
        outcomes.append({})
        with closing(driver.connect(place, isolation_level=None)) as writer:
            writer.execute("pragma journal_mode = wal")
            writer.execute("create table t(a)")
            writer.execute("begin immediate")
            writer.execute("insert into t values (1)")
            for statement in WHILE_ANOTHER_WRITES:
                with closing(driver.connect(place, isolation_level=None, timeout=0)) as other:
                    try:
                        outcomes[-1][statement] = other.execute(statement).fetchall()
                    except driver.OperationalError as error:
                        outcomes[-1][statement] = str(error)
            writer.execute("commit")
    assert outcomes[0] == outcomes[1]


def test_a_setting_in_a_transaction_takes_neither_the_write_lock_nor_a_snapshot(path):
    with (
        closing(dosql_dbapi.connect(path, isolation_level=None)) as one,
        closing(dosql_dbapi.connect(path, isolation_level=None, timeout=0)) as two,
    ):
        one.execute("create table t(a)")
        two.execute("begin")
        two.execute("pragma defer_foreign_keys = on")
        one.execute("insert into t values (1)")
        two.execute("insert into t values (2)")
        two.execute("commit")
        assert one.execute("select a from t order by a").fetchall() == [(1,), (2,)]


def test_a_pragma_that_reads_opens_the_snapshot_of_its_transaction(path):
    with (
        closing(dosql_dbapi.connect(path, isolation_level=None)) as one,
        closing(dosql_dbapi.connect(path, isolation_level=None)) as two,
    ):
        one.execute("create table t(a)")
        two.execute("begin")
        assert len(two.execute("pragma table_info(t)").fetchall()) == 1
        seen = two.lsn
        one.execute("alter table t add column b")
        assert one.lsn > seen
        assert two.lsn == seen
        assert len(two.execute("pragma table_info(t)").fetchall()) == 1
        two.execute("rollback")
        assert len(two.execute("pragma table_info(t)").fetchall()) == 2


def test_what_a_file_serializes_to_can_be_deserialized_into_memory(path):
    with (
        closing(dosql_dbapi.connect(path)) as con,
        closing(dosql_dbapi.connect(":memory:")) as memory,
    ):
        con.execute("create table t(a)")
        con.execute("insert into t values (1)")
        con.commit()
        memory.deserialize(con.serialize())
        memory.execute("insert into t values (2)")
        assert memory.execute("select a from t order by a").fetchall() == [(1,), (2,)]


def test_a_copy_in_memory_of_a_file_with_history_serializes_and_comes_back(path):
    with (
        closing(dosql_dbapi.connect(path)) as con,
        closing(dosql_dbapi.connect(":memory:")) as copy,
    ):
        con.execute("create table t(a)")
        con.commit()
        con.backup(copy)
        copy.deserialize(copy.serialize())
        assert copy.execute("select count(*) from t").fetchone() == (0,)


def test_vacuum_makes_the_file_smaller_at_once(tmp_path):
    file = tmp_path / "app.db"
    with closing(dosql_dbapi.connect(file, isolation_level=None)) as con:
        con.execute("create table t(a)")
        con.executemany("insert into t values (zeroblob(?))", [(2000,)] * 500)
        con.execute("delete from t where rowid > 5")
    before = file.stat().st_size
    with closing(dosql_dbapi.connect(file)) as con:
        con.execute("vacuum")
        assert file.stat().st_size < before / 10
