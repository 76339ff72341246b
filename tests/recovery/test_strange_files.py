"""What lies at the path is no database, may not be written, or stands in the way: a clear error.

Whatever is refused is left as it was, and nothing is left beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import CannotOpenError, ForeignDirectoryError, NotADatabaseError
from dosql_core.options import DatabaseOptions
from fixtures.crash import run_crash_child


def write_a_row(path: Path) -> list[str]:
    with contextlib.closing(dosql_dbapi.connect(path)) as connection:
        connection.execute("create table if not exists t(a)")
        connection.execute("insert into t values (1)")
        connection.commit()
    return sorted(file.name for file in path.parent.iterdir())


@pytest.mark.parametrize("content", [b"no database\n" * 400, b"SQLite format 3\0", b"\0" * 4096])
def test_another_file_is_refused_and_left_alone(content: bytes, database_path: Path) -> None:
    database_path.write_bytes(content)
    with pytest.raises(NotADatabaseError) as told:
        write_a_row(database_path)
    assert told.value.code == "DB_NOT_A_DATABASE"
    assert database_path.read_bytes() == content
    assert [file.name for file in database_path.parent.iterdir()] == ["app.db"]


def test_an_empty_file_is_a_new_database(database_path: Path) -> None:
    database_path.touch()
    assert write_a_row(database_path) == ["app.db", "app.db-dosql"]


def test_a_directory_at_the_path_is_refused(database_path: Path) -> None:
    database_path.mkdir()
    with pytest.raises(CannotOpenError, match="is a directory"):
        write_a_row(database_path)


def test_a_file_where_the_history_would_go_is_refused_and_left_alone(database_path: Path) -> None:
    in_the_way = Path(f"{database_path}-dosql")
    in_the_way.write_text("mine")
    with pytest.raises(CannotOpenError, match="unable to open database file: File exists"):
        write_a_row(database_path)
    assert in_the_way.read_text() == "mine"
    assert not database_path.exists()


def test_a_directory_of_something_else_is_refused_and_left_alone(database_path: Path) -> None:
    in_the_way = Path(f"{database_path}-dosql")
    in_the_way.mkdir()
    (in_the_way / "precious.txt").write_text("mine")
    with pytest.raises(ForeignDirectoryError, match=r"precious\.txt"):
        write_a_row(database_path)
    assert (in_the_way / "precious.txt").read_text() == "mine"
    assert not database_path.exists()


def test_a_path_below_a_file_is_refused(database_path: Path) -> None:
    database_path.write_text("")
    with pytest.raises(CannotOpenError, match="unable to open database file"):
        open_database(database_path / "inner.db")


def test_a_name_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotOpenError, match="File name too long"):
        write_a_row(tmp_path / ("x" * 300))


def test_a_zero_byte_in_a_path_is_refused_as_sqlite3_does(tmp_path: Path) -> None:
    for connect in (dosql_dbapi.connect, sqlite3.connect):
        with pytest.raises(ValueError, match="embedded null"):
            connect(f"{tmp_path}/a\0b.db")
    assert list(tmp_path.iterdir()) == []


def test_quotes_and_signs_of_uris_in_a_path_mean_themselves(tmp_path: Path) -> None:
    path = tmp_path / "ü ' \" %41 ?mode=ro #x;.db"
    write_a_row(path)
    assert path.exists()
    with contextlib.closing(dosql_dbapi.connect(path, as_of=2)) as past:
        assert past.execute("select a from t").fetchall() == [(1,)]


def test_a_link_leads_to_the_history_of_the_file_it_names(tmp_path: Path) -> None:
    link, real = tmp_path / "link.db", tmp_path / "real.db"
    link.symlink_to(real)
    write_a_row(link)
    assert write_a_row(real) == ["link.db", "real.db", "real.db-dosql"]
    with open_database(link) as database:
        assert database.lsn() == 3


def test_a_file_that_is_not_there_is_not_made_when_not_asked_for(database_path: Path) -> None:
    with pytest.raises(dosql_dbapi.OperationalError, match="there is no database"):
        open_database(database_path, DatabaseOptions(create=False))
    assert list(database_path.parent.iterdir()) == []


AS_NOBODY = """
    import contextlib, os, sys
    import dosql_dbapi
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    path, history = sys.argv[1], sys.argv[2] == "history"
    try:
        with contextlib.closing(dosql_dbapi.connect(path, history=history)) as connection:
            connection.execute("select a from t").fetchall()
            acknowledge("read")
            connection.execute("insert into t values (2)")
            acknowledge("written")
    except dosql_dbapi.Error as error:
        acknowledge(f"{error.code}: {bool(error.hint)}")
"""


def what_nobody_may(path: Path, *, history: bool = True) -> tuple[str, ...]:
    arguments = (path, "history" if history else "none")
    while True:
        opened = []
        for folder in [path.parent, *path.parent.parents]:  # a test's folders are its user's alone
            with contextlib.suppress(PermissionError):
                os.chmod(folder, folder.stat().st_mode | 0o055)
                opened.append(folder)
        told = run_crash_child(AS_NOBODY, arguments, moment=None).acknowledgements
        # Every run of pytest that begins closes the folder that they all share.
        if all(folder.stat().st_mode & 0o055 == 0o055 for folder in opened):
            return told


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_directory_that_may_not_be_written_is_told(is_adopted: bool, database_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(database_path)) as plain:
        plain.execute("create table t(a)")
    if is_adopted:
        write_a_row(database_path)
    os.chmod(database_path.parent, 0o555)
    try:
        assert what_nobody_may(database_path) == ("DB_CONNECTION_FAILED: True",)
    finally:
        os.chmod(database_path.parent, 0o755)


def test_a_file_that_may_not_be_written_can_be_read_without_history(database_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(database_path)) as plain:
        plain.execute("create table t(a)")
    os.chmod(database_path, 0o444)
    assert what_nobody_may(database_path, history=False) == ("read", "DB_READ_ONLY: True")
    assert [file.name for file in database_path.parent.iterdir()] == ["app.db"]
