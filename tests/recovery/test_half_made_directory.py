"""What a crash leaves while a `-dosql` directory is made or removed never stands in the way."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import MissingSegmentError


def rows_of(path: Path) -> list[tuple[int]]:
    with contextlib.closing(dosql_dbapi.connect(path)) as connection:
        return connection.execute("select a from t").fetchall()


@pytest.fixture
def plain_path(database_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(database_path)) as plain:
        plain.execute("create table t as select 7 as a")
    return database_path


def test_refs_without_an_identity_are_a_beginning_and_begun_again(plain_path: Path) -> None:
    directory = Path(f"{plain_path}-dosql")
    open_database(plain_path).close()
    (directory / "dosql.json").unlink()
    shutil.rmtree(directory / "branches")
    assert rows_of(plain_path) == [(7,)]


@pytest.mark.leaves_damage("removes the identity")
def test_a_history_without_an_identity_is_refused(plain_path: Path) -> None:
    open_database(plain_path).close()
    (Path(f"{plain_path}-dosql") / "dosql.json").unlink()
    with pytest.raises(MissingSegmentError, match=r"dosql\.json is missing"):
        open_database(plain_path)


def test_what_a_detach_left_is_swept_by_the_next_opening(plain_path: Path) -> None:
    open_database(plain_path).close()
    removed = Path(f"{plain_path}-dosql.removed")
    Path(f"{plain_path}-dosql").rename(removed)
    (removed / "refs.json").unlink()
    assert rows_of(plain_path) == [(7,)]
    assert not removed.exists()


def test_a_detached_database_is_an_ordinary_file(plain_path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(plain_path)) as connection:
        connection.execute("insert into t values (8)")
        connection.commit()
    open_database(plain_path).detach()
    assert [path.name for path in plain_path.parent.iterdir()] == ["app.db"]
    with contextlib.closing(sqlite3.connect(plain_path)) as plain:
        assert plain.execute("select a from t").fetchall() == [(7,), (8,)]
