"""A program may delete its own database and begin anew; a file that vanished is another matter."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys

import pytest

import dosql_dbapi
from dosql_core.errors import CannotOpenError
from dosql_core.history.restore import rebuild_head
from fixtures.crash import child_environment
from fixtures.programs import run_program

MAKE = """
import contextlib, sys, dosql_dbapi
with contextlib.closing(dosql_dbapi.connect(sys.argv[1])) as con, con:
    con.execute("create table t(a)")
    con.execute("insert into t values (1)")
"""


def tables(path) -> list[str]:
    with contextlib.closing(dosql_dbapi.connect(path)) as con:
        return [name for (name,) in con.execute("select name from sqlite_schema")]


def make_table(path, name) -> None:
    with contextlib.closing(dosql_dbapi.connect(path)) as con:
        con.execute(f"create table {name}(a)")


def test_a_program_that_deletes_its_database_begins_anew(database_path):
    make_table(database_path, "old")
    database_path.unlink()
    assert tables(database_path) == []
    make_table(database_path, "new")
    assert tables(database_path) == ["new"]


def test_the_history_of_a_deleted_file_can_still_be_rebuilt(database_path, tmp_path):
    make_table(database_path, "old")
    database_path.unlink()
    make_table(database_path, "new")
    aside = tmp_path / "app.db-dosql.deleted"
    aside.rename(tmp_path / "back.db-dosql")
    rebuild_head(str(tmp_path / "back.db"))
    assert tables(tmp_path / "back.db") == ["old"]


def test_only_the_newest_deleted_history_is_kept(database_path, tmp_path):
    for _ in range(3):
        make_table(database_path, "t")
        database_path.unlink()
    make_table(database_path, "t")
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_dir()) == [
        "app.db-dosql",
        "app.db-dosql.deleted",
    ]


@pytest.mark.leaves_damage("the file of the database is gone")
def test_a_file_that_vanished_between_programs_is_refused(database_path):
    run_program(MAKE, database_path)
    database_path.unlink()
    with pytest.raises(CannotOpenError, match="is gone"):
        dosql_dbapi.connect(database_path)


@pytest.mark.leaves_damage("the file of the database is gone")
def test_a_deleted_database_made_anew_by_another_program_is_not_ours_to_set_aside(database_path):
    make_table(database_path, "ours")
    database_path.unlink()
    (database_path.parent / "app.db-dosql").rename(database_path.parent / "elsewhere")
    run_program(MAKE, database_path)
    database_path.unlink()
    with pytest.raises(CannotOpenError, match="is gone"):
        dosql_dbapi.connect(database_path)


@pytest.mark.leaves_damage("the file of the database is gone")
def test_nothing_is_made_anew_where_nothing_may_be_created(database_path):
    make_table(database_path, "old")
    database_path.unlink()
    with pytest.raises(CannotOpenError, match="is gone"):
        dosql_dbapi.connect(f"file:{database_path}?mode=rw", uri=True)


def test_a_connection_whose_file_was_deleted_closes(database_path, tmp_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(a)")
    database_path.unlink()
    con.execute("insert into t values (1)")
    con.close()
    assert tables(database_path) == []


def test_what_was_committed_after_the_deletion_is_in_the_history(database_path, tmp_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(a)")
    database_path.unlink()
    con.execute("insert into t values (1)")
    con.close()
    (tmp_path / "app.db-dosql").rename(tmp_path / "back.db-dosql")
    rebuild_head(str(tmp_path / "back.db"))
    with contextlib.closing(dosql_dbapi.connect(tmp_path / "back.db")) as back:
        assert back.execute("select a from t").fetchall() == [(1,)]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_connection_that_opened_no_other_yet_keeps_its_commits(database_path, tmp_path, replaced):
    make_table(database_path, "t")
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("insert into t values (1)")
    database_path.unlink()
    if replaced:
        with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
            other.execute("create table other(a)")
        (tmp_path / "other.db").rename(database_path)
    con.execute("insert into t values (2)")
    con.close()
    (tmp_path / "app.db-dosql").rename(tmp_path / "back.db-dosql")
    rebuild_head(str(tmp_path / "back.db"))
    with contextlib.closing(dosql_dbapi.connect(tmp_path / "back.db")) as back:
        assert back.execute("select a from t").fetchall() == [(1,), (2,)]


def test_a_connection_closes_after_everything_was_deleted(database_path, tmp_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(a)")
    database_path.unlink()
    shutil.rmtree(tmp_path / "app.db-dosql")
    con.close()
    assert tables(database_path) == []


@pytest.mark.parametrize("deletes_history_too", [False, True])
def test_a_program_begins_anew_while_its_former_connections_are_open(
    database_path, tmp_path, deletes_history_too
):
    former = dosql_dbapi.connect(database_path, isolation_level=None)
    former.execute("create table old(a)")
    former.execute("create branch dev")
    on_branch = dosql_dbapi.connect(database_path, branch="dev", isolation_level=None)
    database_path.unlink()
    if deletes_history_too:
        shutil.rmtree(tmp_path / "app.db-dosql")
    make_table(database_path, "new")
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        for n in range(300):  # each of them in its own files
            former.execute("insert into old values (?)", (n,))
            con.execute("insert into new values (?)", (n,))
        if not deletes_history_too:  # where the files of the branch are
            on_branch.execute("insert into old values (1)")
        former.execute("pragma wal_checkpoint").fetchone()
        assert former.execute("select count(*) from old").fetchone() == (300,)
        assert con.execute("select count(*) from new as of lsn 301").fetchone() == (300,)
        assert con.execute("show branches").fetchone()[0] == "main"
        former.close()
        assert con.execute("pragma integrity_check").fetchone() == ("ok",)
    on_branch.close()
    assert tables(database_path) == ["new"]
    database_path.unlink()
    assert tables(database_path) == []


def test_what_was_committed_before_the_deletion_is_in_the_history_set_aside(
    database_path, tmp_path
):
    former = dosql_dbapi.connect(database_path, isolation_level=None)
    former.execute("create table t as select 1 as a")
    database_path.unlink()
    make_table(database_path, "new")
    former.close()
    (tmp_path / "app.db-dosql.deleted").rename(tmp_path / "back.db-dosql")
    rebuild_head(str(tmp_path / "back.db"))
    with contextlib.closing(dosql_dbapi.connect(tmp_path / "back.db")) as back:
        assert back.execute("select a from t").fetchall() == [(1,)]


@pytest.mark.leaves_damage("the file of the database is gone")
def test_nothing_is_begun_anew_while_another_program_has_the_file_open(database_path):
    program = MAKE.replace("with contextlib.closing(dosql_dbapi.connect(sys.argv[1])) as con, con:",
        "con = dosql_dbapi.connect(sys.argv[1])\nif True:")  # fmt: skip
    program += "    con.commit()\nprint(flush=True)\nsys.stdin.readline()\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(database_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(),
    ) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        con = dosql_dbapi.connect(database_path)
        database_path.unlink()
        with pytest.raises(CannotOpenError, match="is gone"):
            dosql_dbapi.connect(database_path)
        con.close()
        other.communicate(b"\n")
