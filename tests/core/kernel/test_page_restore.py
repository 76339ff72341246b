"""A restore writes the pages that differ, wherever the WAL stands, whoever reads and writes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import Database, open_database
from dosql_core.storage.wal_writing import commit_frames, wal_checksum, wal_header
from fixtures.crash import child_environment
from fixtures.programs import run_sqlite

ROWS = 2000
PAGES_OF_A_SMALL_RESTORE = 12


@pytest.fixture
def filled(database_path: Path) -> Iterator[tuple[Any, Database]]:
    with (
        open_database(database_path) as database,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
    ):
        fill(con)
        yield con, database


def fill(con: Any) -> None:
    con.execute("create table t(a integer primary key, b)")
    con.execute("create index i on t(b)")
    con.execute("begin")
    con.executemany("insert into t(b) values (?)", [(f"row {n}" * 10,) for n in range(ROWS)])
    con.execute("commit")


def content(con: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = con.execute("select * from t order by a").fetchall()
    return rows


def wal_frames(database: Database) -> int:
    with database.opened_head(database.refs().branch("main").id) as head:
        return head.index.state().frames


def empty_wal(con: Any) -> None:
    con.execute("pragma wal_checkpoint").fetchone()


@pytest.mark.parametrize("before", ["in the wal", "checkpointed", "begun anew"])
def test_only_the_pages_that_differ_are_written(filled: Any, before: str) -> None:
    con, database = filled
    then, was = con.lsn, content(con)
    con.execute("update t set b = 'changed' where a in (1, 700, 1500)")
    if before != "in the wal":
        empty_wal(con)
    if before == "begun anew":
        con.execute("update t set b = 'again' where a = 5")
    frames, lsn = wal_frames(database), con.lsn
    assert database.restore(then, author="ann", message="undo") == lsn + 1
    assert wal_frames(database) - frames <= PAGES_OF_A_SMALL_RESTORE
    assert content(con) == was
    row = con.execute("select author, message, flags from dosql_log limit 1").fetchone()
    assert row == ("ann", "undo", "restore")
    con.execute("insert into t(b) values ('on')")
    assert con.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("auto_vacuum", [0, 1])
def test_a_database_opened_afresh_is_restored(
    database_path: Path, page_size: int, auto_vacuum: int
) -> None:
    with contextlib.closing(sqlite3.connect(database_path)) as plain:
        plain.execute(f"pragma page_size = {page_size}")
        plain.execute(f"pragma auto_vacuum = {auto_vacuum}")
        fill(plain)
        was = content(plain)
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        then = con.lsn
        con.execute("update t set b = 'changed' where a < 20")
        con.execute("delete from t where a > 1900")
    for _ in range(2):  # from an empty WAL; then from one that is there
        with open_database(database_path) as database:
            changed = database.lsn()
            database.restore(then)
            database.restore(changed)
            database.restore(then)
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        assert content(con) == was
    rows = run_sqlite(database_path, "pragma integrity_check", "select * from t order by a")
    assert rows == [[["ok"]], [list(row) for row in was]]


def test_a_schema_of_the_past_is_not_mistaken_for_one_that_is_remembered(filled: Any) -> None:
    con, database = filled
    path = database.path
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as other:
        then = con.lsn
        con.execute("create table u(x)")
        con.execute("create index j on t(a, b)")
        assert other.execute("select count(*) from u").fetchone() == (0,)
        database.restore(then)
        con.execute("create table v(y)")
        con.execute("create index k on t(b, a)")
        with pytest.raises(dosql_dbapi.OperationalError, match="no such table: u"):
            other.execute("select count(*) from u")
        assert other.execute("select count(*) from v").fetchone() == (0,)
        assert other.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_reader_stays_where_it_is_and_a_writer_goes_on(filled: Any) -> None:
    con, database = filled
    then, was = con.lsn, content(con)
    con.execute("delete from t where a = 7")
    with contextlib.closing(dosql_dbapi.connect(database.path, isolation_level=None)) as reader:
        reader.execute("begin")
        seen = content(reader)
        database.restore(then)
        assert content(reader) == seen != was
        con.execute("insert into t(b) values ('later')")
        assert content(reader) == seen
        reader.execute("commit")
        assert content(reader)[:-1] == was


def test_a_fork_is_restored(filled: Any) -> None:
    con, database = filled
    was = content(con)
    con.execute("create branch dev")
    with contextlib.closing(
        dosql_dbapi.connect(database.path, branch="dev", isolation_level=None)
    ) as dev:
        then = dev.lsn
        dev.execute("update t set b = 1 where a = 8")
        dev.execute("insert into t(b) select b from t limit 300")
        dev.execute("restore to lsn ?", (then,))
        assert content(dev) == was
        dev.execute("pragma wal_checkpoint").fetchone()
        assert content(dev) == was
        assert dev.execute("pragma integrity_check").fetchone() == ("ok",)


WRITES = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None, timeout=60)
for n in range(150):
    con.execute("insert into log values (?)", (n,))
    rows = con.execute("select count(*), count(distinct b), min(b) from t").fetchone()
    assert rows in ((2000, 2000, "row 0row 0row 0row 0row 0row 0row 0row 0row 0row 0"),
                    (2000, 1991, "changed")), rows
con.close()
"""
READS = """
import sys, sqlite3
con = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for n in range(400):
    assert con.execute("select count(*) from t").fetchone() == (2000,)
    if n % 100 == 0:
        assert con.execute("pragma integrity_check").fetchone() == ("ok",)
con.close()
"""


def test_processes_that_read_and_write_meanwhile_see_one_or_the_other(filled: Any) -> None:
    """A branch is put to and fro while others write to it; what they write goes with it."""
    con, database = filled
    con.execute("create table log(n)")
    good = con.lsn
    con.execute("update t set b = 'changed' where a <= 10")
    bad = con.lsn
    others = [
        subprocess.Popen(
            [sys.executable, "-c", program, database.path],
            stderr=subprocess.PIPE,
            env=child_environment(),
        )
        for program in (WRITES, READS)
    ]
    for turn in range(1000):
        database.restore(good if turn % 2 else bad)
        if all(other.poll() is not None for other in others):
            break
    for other in others:
        _out, errors = other.communicate(timeout=600)
        assert other.returncode == 0, errors.decode()
    database.restore(good)
    assert con.execute("pragma integrity_check").fetchone() == ("ok",)
    assert con.execute("select count(*) from t where b = 'changed'").fetchone() == (0,)


def test_threads_that_write_meanwhile_are_not_refused(filled: Any) -> None:
    con, database = filled
    con.execute("create table log(n)")
    then = con.lsn
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with contextlib.closing(
                dosql_dbapi.connect(database.path, isolation_level=None, timeout=60)
            ) as own:
                for n in range(60):
                    own.execute("insert into log values (?)", (n,))
                    own.execute("select count(*) from log as of lsn ?", (then,)).fetchone()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        database.restore(then)
    for thread in threads:
        thread.join()
    assert failures == []
    database.restore(then)
    assert con.execute("select count(*) from log").fetchone() == (0,)


DIES = """
import os, sys
from dosql_core.database import open_database
from dosql_core.kernel import page_restore, wal_index

def die(*arguments, **options):
    os.kill(os.getpid(), 9)

def then_die(function):
    def call(*arguments, **options):
        function(*arguments, **options)
        die()
    return call

if sys.argv[3] == "before it is committed":
    wal_index.WalIndex.invalidate = die
else:
    wal_index.WalIndex.invalidate = then_die(wal_index.WalIndex.invalidate)
open_database(sys.argv[1]).restore(int(sys.argv[2]))
"""


@pytest.mark.parametrize("somebody_lives", [False, True])
@pytest.mark.parametrize("when", ["before it is committed", "after it is committed"])
def test_a_kill_leaves_it_done_or_not_begun(
    database_path: Path, when: str, somebody_lives: bool
) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        fill(con)
        then, was = con.lsn, content(con)
        con.execute("delete from t where a between 100 and 110")
        changed, is_now = con.lsn, content(con)
    living = dosql_dbapi.connect(database_path, isolation_level=None) if somebody_lives else None
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(database_path), str(then), when],
        env=child_environment(),
        timeout=300,
        check=False,
    )
    assert died.returncode == -9
    if living is not None:  # what was not committed is written over
        found = content(living)
        assert found == (is_now if when.startswith("before") else was)
        living.execute("insert into t(a, b) values (100000, 'on')")
        assert content(living) == [*found, (100000, "on")]
        assert living.lsn == changed + (1 if when.startswith("before") else 2)
        living.close()
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        assert con.execute("pragma integrity_check").fetchone() == ("ok",)
        if not somebody_lives:  # SQLite's recovery makes whole frames count
            assert content(con) in (was, is_now)
            assert con.lsn == changed + (content(con) == was)


@pytest.mark.parametrize("is_big_endian", [False, True])
def test_sqlite_reads_the_frames_as_a_commit(tmp_path: Path, is_big_endian: bool) -> None:
    path = tmp_path / "plain.db"
    with contextlib.closing(sqlite3.connect(path)) as plain:
        plain.execute("pragma journal_mode = wal").fetchone()
        fill(plain)
        plain.commit()
        plain.execute("pragma wal_checkpoint(truncate)").fetchone()
        was = content(plain)
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + bytes(len(pages) - 4096))  # everything but the first page lost
    header, checksum = wal_header(4096, 0, (1, 2))
    if is_big_endian:  # as a machine of that kind writes it
        header = (0x377F0683).to_bytes(4, "big") + header[4:24]
        checksum = wal_checksum(header, (0, 0), is_big_endian=True)
        header += b"".join(part.to_bytes(4, "big") for part in checksum)
    numbered: Any = [(n + 1, pages[n * 4096 : (n + 1) * 4096]) for n in range(len(pages) // 4096)]
    frames = commit_frames(numbered, len(numbered), (1, 2), checksum, is_big_endian=is_big_endian)
    Path(f"{path}-wal").write_bytes(header + b"".join(frames))
    with contextlib.closing(sqlite3.connect(path)) as plain:
        assert content(plain) == was
    os.remove(path)
