"""Another file is put where an open database was: the two are never mixed, and it is noticed.

Nothing of the old database may go into the new file, and its history must not be taken for that
of the new one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import CannotOpenError


def put_another_file_there(path: Path) -> None:
    other = path.with_name("other.db")
    with contextlib.closing(sqlite3.connect(other)) as con:
        con.execute("create table t(x)")
        con.execute("insert into t values ('new')")
        con.commit()
    os.replace(other, path)


def rows(con: Any) -> list[Any]:
    return [x for (x,) in con.execute("select x from t")]


@pytest.mark.parametrize("captured_before", [False, True])
def test_what_was_open_is_not_mixed_into_the_new_file(
    database_path: Path, captured_before: bool
) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        con.execute("create table t(x)")
        con.execute("insert into t values ('old')")
        con.commit()
        if captured_before:
            con.execute("pragma wal_checkpoint")
            con.execute("insert into t values ('older')")
            con.commit()
        put_another_file_there(database_path)
        con.execute("insert into t values ('into the old file')")
        con.commit()
        kept = con.lsn
        con.execute("pragma wal_checkpoint")
        with pytest.raises(CannotOpenError, match="another file has been put at"):
            dosql_dbapi.connect(database_path)
    assert not Path(f"{database_path}-wal").exists()
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        assert rows(con) == ["new"]
        newest = con.execute("select lsn, flags from dosql_log limit 1").fetchone()
        assert newest == (kept + 1, "estimated_time foreign gap")
        of_the_old = con.execute(f"select x from t as of lsn {kept}").fetchall()
        assert of_the_old[-1] == ("into the old file",)
        con.execute("insert into t values ('goes on')")
        con.commit()
    with contextlib.closing(sqlite3.connect(database_path)) as plain:
        assert rows(plain) == ["new", "goes on"]
        assert plain.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_a_file_moved_while_open_goes_on_and_loses_nothing(database_path: Path) -> None:
    moved = database_path.with_name("moved.db")
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        con.execute("create table t(a)")
        database_path.rename(moved)
        con.execute("insert into t values (1)")
        con.execute("vacuum")
        assert con.execute("select count(*) from t as of lsn 2").fetchall() == [(1,)]
        with pytest.raises(dosql_dbapi.OperationalError, match="has been moved") as refused:
            con.execute("pragma wal_checkpoint")
        assert refused.value.code == "DB_NOT_FOUND"
    moved.rename(database_path)
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        assert con.execute("select count(*) from t").fetchall() == [(1,)]
        assert con.execute("select count(*) from t as of lsn 1").fetchall() == [(0,)]
