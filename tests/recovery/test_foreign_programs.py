"""Other programs use the file with a SQLite of their own, while it is open here and while not.

Each is a process with the standard library's `sqlite3`. What they commit is captured; what cannot
be followed is refused with a way out.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.command_line.entry import main as dosql
from dosql_core.database import open_database
from dosql_core.errors import CannotOpenError, ForeignDirectoryError

PROLOGUE = """
import sqlite3, sys
plain = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1)
def run(sql, *parameters):
    return plain.execute(sql, parameters).fetchall()
"""
WRITER = """
for n in range(int(sys.argv[2])):
    run("insert into t(who, b) values ('foreign', randomblob(2000))")
"""


def start(script: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + script, str(path), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def foreign(script: str, path: Path, *arguments: object) -> str:
    """What another program printed; how it failed, when it did."""
    output, errors = start(script, path, *arguments).communicate()
    return errors.strip().splitlines()[-1] if errors else output.strip()


@pytest.fixture
def path(database_path: Path) -> Path:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as own:
        own.execute("create table t(a integer primary key, who text, b blob)")
        for _ in range(50):
            own.execute("insert into t(who, b) values ('own', randomblob(500))")
    return database_path


def gaps(path: Path) -> list[str]:
    with open_database(path) as database:
        return [
            str(commit.message) for commit in database.log() if "outside" in str(commit.message)
        ]


@pytest.mark.parametrize("mode", ["passive", "full", "restart", "truncate"])
def test_a_foreign_checkpoint_takes_nothing_from_history(mode: str, path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as own:
        before = own.lsn
        for _ in range(3):
            foreign(WRITER + f"run('pragma wal_checkpoint({mode})')", path, 20)
            own.execute("insert into t(who) values ('own')")
        for step in range(63):
            asked = f"select count(*) from t as of lsn {before + step}"
            assert own.execute(asked).fetchone() == (50 + step,)
    assert gaps(path) == []


def test_a_foreign_vacuum_is_one_commit(path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as own:
        before = own.lsn
        assert foreign("run('delete from t where a % 2'); run('vacuum')", path) == ""
        own.execute("insert into t(who) values ('own')")
        assert own.lsn == before + 3
        counts = [
            own.execute(f"select count(*) from t as of lsn {before + step}").fetchone()[0]
            for step in range(4)
        ]
        assert counts == [50, 25, 25, 26]


@pytest.mark.parametrize(
    "script",
    [
        "run('pragma journal_mode = delete')",
        "run('pragma locking_mode = exclusive'); run('insert into t(who) values (1)')",
    ],
)
def test_what_would_take_the_file_from_us_is_refused_by_sqlite(script: str, path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as own:
        assert "database is locked" in foreign(script, path)
        own.execute("insert into t(who) values ('own')")
        assert own.execute("select count(*) from t").fetchone() == (51,)


def test_programs_that_write_at_once_lose_nothing(path: Path, is_long_run: bool) -> None:
    commits = 5000 if is_long_run else 200
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None, timeout=60)) as own:
        before = own.lsn
        others = [
            start(WRITER, path, commits),
            start("plain.execute('pragma busy_timeout = 60000')\n" + WRITER, path, commits),
        ]
        for _ in range(commits):
            own.execute("insert into t(who, b) values ('own', randomblob(900))")
        failed = [other.communicate()[1] for other in others]
        written = dict(own.execute("select who, count(*) from t group by who"))
        assert written["own"] == 50 + commits
        # one that waits for a second only may give up; what it was told of is there all the same
        assert failed[1] == ""
        assert written["foreign"] >= commits
        newest = own.execute("select max(lsn) from dosql_log").fetchone()[0]
        assert newest == before + sum(written.values()) - 50
    assert gaps(path) == []


def test_a_file_put_back_from_an_older_copy_is_a_gap_and_the_past_stays(path: Path) -> None:
    copy = path.with_name("older.db")
    shutil.copy(path, copy)
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as own:
        for _ in range(10):
            own.execute("insert into t(who) values ('own')")
        newest = own.lsn
    path.write_bytes(copy.read_bytes())
    with contextlib.closing(dosql_dbapi.connect(path)) as own:
        assert own.execute("select count(*) from t").fetchone() == (50,)
        asked = f"select count(*) from t as of lsn {newest}"
        assert own.execute(asked).fetchone() == (60,)
    assert len(gaps(path)) == 1


def test_another_page_size_is_refused_and_can_be_detached(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "run('pragma journal_mode = delete'); run('pragma page_size = 8192'); run('vacuum')"
    assert foreign(script, path) == ""
    with pytest.raises(CannotOpenError, match="pages of 8192 bytes") as told:
        open_database(path)
    assert "dosql detach" in told.value.hint
    check_detaching(path, capsys)


def test_another_database_in_its_place_is_refused_and_can_be_detached(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.unlink()
    script = """
run("create table t(a integer primary key, who text, b blob)")
for n in range(50): run("insert into t(b) values (randomblob(4000))")
"""
    assert foreign(script, path) == ""
    with pytest.raises(ForeignDirectoryError, match="it is another database") as told:
        open_database(path)
    assert "dosql detach" in told.value.hint
    check_detaching(path, capsys)


def check_detaching(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`dosql detach` keeps the file, removes what does not fit, and then it can be opened."""
    assert dosql(["detach", str(path)]) != 0
    assert "cannot be opened" in capsys.readouterr().err
    assert dosql(["detach", str(path), "--yes"]) == 0
    with contextlib.closing(dosql_dbapi.connect(path)) as own:
        assert own.execute("select count(*) from t").fetchone() == (50,)
