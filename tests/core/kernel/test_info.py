"""What `info` tells about the WAL, its readers, and what was found at opening."""

from __future__ import annotations

import shutil

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.programs import run_sqlite


@pytest.fixture
def writer(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(a)")
    yield con
    con.close()


def test_the_oldest_reader_of_the_wal_is_told(database_path, writer):
    writer.execute("pragma wal_checkpoint")
    with open_database(database_path) as database:
        assert database.info().oldest_reader_lsn is None
        writer.execute("insert into t values (1)")
        reader = dosql_dbapi.connect(database_path, isolation_level=None)
        reader.execute("begin")
        reader.execute("select * from t").fetchall()
        writer.execute("insert into t values (2)")
        found = database.info()
        assert (found.oldest_reader_lsn, found.lsn) == (2, 3)
        assert found.readers_need_the_wal
        assert found.wal_bytes > 0
        reader.close()


def test_a_copy_that_nobody_changed_is_told_and_keeps_its_history(database_path, writer):
    writer.execute("insert into t values (1)")
    writer.close()
    copy = database_path.with_name("copy.db")
    shutil.copy(database_path, copy)
    shutil.copytree(f"{database_path}-dosql", f"{copy}-dosql")
    for path, note in ((database_path, None), (copy, "its pages are those history has")):
        with open_database(path) as database:
            found = database.info()
            assert (found.opening_note or "").endswith(note or "")
            assert (found.opening_note is None) == (note is None)
            assert found.lsn == 2


def test_a_file_written_by_another_program_is_told(database_path, writer):
    writer.close()
    run_sqlite(database_path, "insert into t values (1)")
    with open_database(database_path) as database:
        note = database.info().opening_note
        assert note is not None
        assert note.endswith("see LSN 2")
