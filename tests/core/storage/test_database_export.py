"""A moment written out is a stock SQLite file, or no file at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn
from dosql_core.storage.database_export import write_database
from fixtures.histories import CommitPlan, RememberedBranch

PAGE_SIZE = 1024


def sqlite_pages(path: Path, *statements: str) -> dict[int, bytes]:
    """The pages of a real database after some more statements, marked as a WAL database's are."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    raw = bytearray(path.read_bytes())
    raw[18:20] = b"\x02\x02"
    starts = range(0, len(raw), PAGE_SIZE)
    return {page: bytes(raw[at : at + PAGE_SIZE]) for page, at in enumerate(starts, 1)}


@pytest.fixture
def branch(tmp_path: Path) -> RememberedBranch:
    branch = RememberedBranch(tmp_path / "history", PAGE_SIZE)
    source = tmp_path / "source.db"
    for statement in (
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text)",
        "INSERT INTO notes (text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 500) SELECT 'note ' || i FROM n",
        "DELETE FROM notes WHERE id > 3",
    ):
        pages = sqlite_pages(source, statement)
        branch.seal([CommitPlan(len(pages), pages)])
    return branch


def test_sqlite_opens_every_moment_written_out(branch: RememberedBranch, tmp_path: Path) -> None:
    counts = []
    for lsn in (1, 2, 3):
        path = tmp_path / f"moment-{lsn}.db"
        write_database(branch.page_history.view(Lsn(lsn)), str(path))
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        counts.append(connection.execute("SELECT count(*) FROM notes").fetchone()[0])
        connection.close()
    assert counts == [0, 500, 3]


def test_an_existing_file_is_left_alone(branch: RememberedBranch, tmp_path: Path) -> None:
    path = tmp_path / "precious.db"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_database(branch.page_history.view(Lsn(1)), str(path))
    assert path.read_bytes() == b"precious"


def test_an_export_that_fails_leaves_no_file(branch: RememberedBranch, tmp_path: Path) -> None:
    segment = next(branch.directory.glob("2-2-*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[200] ^= 1
    segment.write_bytes(raw)
    branch.reopen()
    with pytest.raises(CorruptStoreError, match=segment.name):
        write_database(branch.page_history.view(Lsn(2)), str(tmp_path / "out.db"))
    assert not (tmp_path / "out.db").exists()


def test_an_empty_database_is_an_empty_file(branch: RememberedBranch, tmp_path: Path) -> None:
    write_database(branch.page_history.view(Lsn(0)), str(tmp_path / "empty.db"))
    assert (tmp_path / "empty.db").read_bytes() == b""


def test_progress_is_told(branch: RememberedBranch, tmp_path: Path) -> None:
    told = []
    view = branch.page_history.view(Lsn(1))
    write_database(view, str(tmp_path / "out.db"), lambda *now: told.append(now))
    assert told == [(view.page_count, view.page_count)]
