"""What the driver adds to sqlite3's interface on a file with history."""

from __future__ import annotations

import threading

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
            mine = dosql_dbapi.connect(path, isolation_level=None)
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
