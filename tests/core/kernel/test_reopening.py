"""What a database finds when it is opened again: after a crash, after other programs, elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.errors import (
    CannotOpenError,
    CorruptStoreError,
    ForeignDirectoryError,
    LostCommitsError,
)
from dosql_core.history.restore import rebuild_head
from fixtures.programs import run_and_die, run_program, run_sqlite

FIVE_COMMITS_THEN_DEATH = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
con.execute("create table if not exists t(a)")
for number in range(5):
    con.execute("insert into t values (?)", (number,))
    print(con.lsn, number)
"""


def connect(path: Path, **options: object) -> dosql_dbapi.Connection:
    return dosql_dbapi.connect(path, isolation_level=None, **options)


def newest_lsn(con: dosql_dbapi.Connection) -> int:
    con.execute("select 1").fetchall()  # until a statement runs, `lsn` is that of our last commit
    return con.lsn


def log(con: dosql_dbapi.Connection) -> list[tuple[int, str]]:
    return con.execute("select lsn, flags from dosql_log order by lsn").fetchall()


def count_at(con: dosql_dbapi.Connection, lsn: int) -> int:
    return con.execute("select count(*) from t for system_time as of lsn ?", (lsn,)).fetchone()[0]


def test_a_new_database_killed_before_its_first_capture_keeps_every_lsn(database_path):
    told = run_and_die(FIVE_COMMITS_THEN_DEATH, database_path).split()
    assert told[::2] == ["2", "3", "4", "5", "6"]
    con = connect(database_path)
    assert log(con) == [(lsn, "") for lsn in range(1, 7)]
    assert [count_at(con, lsn) for lsn in range(1, 7)] == [0, 1, 2, 3, 4, 5]
    con.close()


def test_every_commit_of_a_killed_process_is_there_at_its_lsn_and_time(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    before = time.time()
    run_and_die(FIVE_COMMITS_THEN_DEATH, database_path)
    after = time.time()
    con = connect(database_path)
    assert log(con) == [(lsn, "") for lsn in range(1, 7)]
    times = con.execute("select unixepoch(committed_at, 'subsec') from dosql_log where lsn > 1")
    assert all(before <= at <= after for (at,) in times)
    con.close()


def test_a_process_that_dies_twice_loses_nothing(database_path):
    for _ in range(3):
        run_and_die(FIVE_COMMITS_THEN_DEATH, database_path)
    con = connect(database_path)
    assert con.lsn == 16
    assert [count_at(con, lsn) for lsn in range(1, 17)] == list(range(16))
    con.close()


def test_commits_of_other_programs_are_captured_while_the_database_is_open(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    run_sqlite(database_path, "insert into t values (1)", "insert into t values (2)")
    assert newest_lsn(con) == 3
    assert [count_at(con, lsn) for lsn in (1, 2, 3)] == [0, 1, 2]
    con.close()


def test_another_programs_checkpoints_cost_nothing_while_the_database_is_open(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    program = """
        import sqlite3, sys
        con = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
        con.execute("pragma wal_autocheckpoint=5")
        for number in range(100):
            con.execute("insert into t values (?)", (number,))
            if number % 10 == 0:
                con.execute("pragma wal_checkpoint(truncate)").fetchall()
    """
    run_program(program, database_path)
    assert newest_lsn(con) == 101
    assert [count_at(con, lsn) for lsn in range(1, 102)] == list(range(101))
    con.close()


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_what_others_did_while_it_was_closed_is_one_gap(database_path, journal_mode):
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    run_sqlite(
        database_path,
        f"pragma journal_mode={journal_mode}",
        "insert into t values (1)",
        "insert into t values (2)",
    )
    con = connect(database_path)
    assert log(con)[:-1] == [(1, "")]
    assert log(con)[-1] == (2, "estimated_time foreign gap")
    assert (count_at(con, 1), count_at(con, 2)) == (0, 2)
    con.execute("insert into t values (3)")
    run_sqlite(database_path, "insert into t values (4)")
    assert newest_lsn(con) == 4
    assert [count_at(con, lsn) for lsn in (1, 2, 3, 4)] == [0, 2, 3, 4]
    con.close()
    con = connect(database_path)
    assert [count_at(con, lsn) for lsn in (1, 2, 3, 4)] == [0, 2, 3, 4]
    con.close()


def test_reading_by_another_program_while_it_was_closed_leaves_no_gap(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    assert run_sqlite(database_path, "select count(*) from t") == [[[0]]]
    con = connect(database_path)
    assert log(con) == [(1, "")]
    con.close()


def test_frames_left_in_the_wal_by_a_killed_foreign_program_are_no_gap(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    program = """
        import sqlite3, sys
        con = sqlite3.connect(sys.argv[1], isolation_level=None)
        for number in range(3):
            con.execute("insert into t values (?)", (number,))
    """
    run_and_die(program, database_path)
    con = connect(database_path)
    assert [lsn for lsn, _ in log(con)] == [1, 2, 3, 4]
    assert [count_at(con, lsn) for lsn in (1, 2, 3, 4)] == [0, 1, 2, 3]
    con.close()


def test_a_restarted_foreign_wal_does_not_hide_what_was_checkpointed_before(database_path):
    """Two foreign connections: one empties the WAL, the other then begins it as if it were new."""
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    program = """
        import sqlite3, sys
        one = sqlite3.connect(sys.argv[1], isolation_level=None)
        two = sqlite3.connect(sys.argv[1], isolation_level=None)
        two.execute("select count(*) from t").fetchall()
        for number in range(10):
            one.execute("insert into t values (?)", (number,))
        one.execute("pragma wal_checkpoint(truncate)").fetchall()
        two.execute("insert into t values (10)")
    """
    run_and_die(program, database_path)
    con = connect(database_path)
    assert con.execute("select count(*) from t").fetchone() == (11,)
    assert count_at(con, newest_lsn(con)) == 11
    assert log(con)[-1][1] == "estimated_time foreign gap"
    con.close()


def test_a_crash_then_a_foreign_checkpoint_is_a_gap_and_not_a_wrong_past(database_path):
    run_and_die(FIVE_COMMITS_THEN_DEATH, database_path)
    program = """
        import sqlite3, sys
        con = sqlite3.connect(sys.argv[1], isolation_level=None)
        con.execute("insert into t values (77)")
        con.close()
        con = sqlite3.connect(sys.argv[1], isolation_level=None)
        con.execute("insert into t values (78)")
    """
    run_and_die(program, database_path)
    con = connect(database_path)
    assert con.execute("select count(*) from t").fetchone() == (7,)
    assert count_at(con, newest_lsn(con)) == 7
    assert log(con)[-1][1] == "estimated_time foreign gap"
    con.close()


def test_a_moved_database_keeps_its_past(tmp_path):
    (tmp_path / "old").mkdir()
    con = connect(tmp_path / "old" / "app.db")
    con.execute("create table t(a)")
    con.execute("insert into t values (1)")
    con.execute("create branch dev")
    con.close()
    os.rename(tmp_path / "old", tmp_path / "new")
    con = connect(tmp_path / "new" / "app.db", branch="dev")
    con.execute("insert into t values (2)")
    assert [count_at(con, lsn) for lsn in (1, 2, 3)] == [0, 1, 2]
    con.close()


def test_a_copy_of_file_and_directory_is_a_database_of_its_own(tmp_path):
    con = connect(tmp_path / "app.db")
    con.execute("create table t(a)")
    con.close()
    shutil.copy(tmp_path / "app.db", tmp_path / "copy.db")
    shutil.copytree(tmp_path / "app.db-dosql", tmp_path / "copy.db-dosql")
    con = connect(tmp_path / "copy.db")
    con.execute("insert into t values (1)")
    assert log(con) == [(1, ""), (2, "")]
    con.close()


def test_a_copy_of_the_file_alone_is_a_database_without_a_past(tmp_path):
    con = connect(tmp_path / "app.db")
    con.execute("create table t(a)")
    con.execute("insert into t values (1)")
    con.close()
    shutil.copy(tmp_path / "app.db", tmp_path / "copy.db")
    con = connect(tmp_path / "copy.db")
    assert log(con) == [(1, "base")]
    assert con.execute("select a from t").fetchall() == [(1,)]
    con.close()


@pytest.mark.leaves_damage("another database's file in place of ours")
def test_another_database_in_its_place_is_refused(tmp_path):
    for name in ("app.db", "other.db"):
        con = connect(tmp_path / name)
        con.execute("create table t(a, b)")
        con.executemany(
            "insert into t values (?, ?)", [(name, os.urandom(2000)) for _ in range(100)]
        )
        con.close()
    os.replace(tmp_path / "other.db", tmp_path / "app.db")
    with pytest.raises(ForeignDirectoryError, match="another database"):
        connect(tmp_path / "app.db")


@pytest.mark.leaves_damage("the file of the database is gone")
def test_a_history_without_its_file_is_refused(database_path):
    run_program(
        """
        import sys, dosql_dbapi
        con = dosql_dbapi.connect(sys.argv[1])
        con.execute("create table t(a)")
        con.close()
        """,
        database_path,
    )
    database_path.unlink()
    with pytest.raises(CannotOpenError, match="is gone"):
        connect(database_path)
    rebuild_head(str(database_path))
    con = connect(database_path)
    assert con.execute("select count(*) from t").fetchone() == (0,)
    con.close()


CAPTURED_THEN_DEATH = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
con.execute("create table t(a)")
for number in range(40):
    con.execute("insert into t values (randomblob(3000))")
con.execute("select count(*) from dosql_log").fetchall()
print(con.lsn)
"""


@pytest.mark.parametrize("damage", ["removed", "cut short", "a flipped byte"])
def test_a_lost_wal_is_found_and_the_head_rebuilt(database_path, damage):
    run_and_die(CAPTURED_THEN_DEATH, database_path)
    wal = Path(f"{database_path}-wal")
    if damage == "removed":
        wal.unlink()
    elif damage == "cut short":
        os.truncate(wal, wal.stat().st_size // 2)
    else:
        content = bytearray(wal.read_bytes())
        content[len(content) // 2] ^= 1
        wal.write_bytes(content)
    with pytest.raises(LostCommitsError):
        connect(database_path)
    assert rebuild_head(str(database_path)) == 41
    con = connect(database_path)
    assert con.execute("select count(*) from t").fetchone() == (40,)
    assert [count_at(con, lsn) for lsn in range(1, 42)] == list(range(41))
    con.close()


def test_an_identity_that_is_gone_is_an_error(database_path):
    con = connect(database_path)
    con.execute("create table t(a)")
    con.close()
    identity = Path(f"{database_path}-dosql/dosql.json")
    content = identity.read_bytes()
    identity.unlink()
    with pytest.raises(CorruptStoreError, match="is missing"):
        connect(database_path)
    identity.write_bytes(content)
