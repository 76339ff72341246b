"""A head or its WAL is damaged or lost: found where something recorded tells, always by `verify`,
and made again from history.

Nothing in a stock SQLite file vouches for its bytes, so an opening cannot know of a flipped one;
but history has a checksum of every page, and the last captured frame of the WAL is on record.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.command_line.entry import main as dosql
from dosql_core.database import open_database
from dosql_core.errors import BranchInUseError, CannotOpenError, LostCommitsError
from dosql_core.history.restore import rebuild_head
from dosql_core.options import DatabaseOptions
from fixtures.crash import CrashMoment, run_crash_child

FLIPS_EVERYDAY, FLIPS_LONG = 10, 500
# of page 1: the journal mode, the change counters and the library's version, which any opening
# may rewrite and which say nothing of the content
UNCOMPARED = {*range(18, 20), *range(24, 28), *range(92, 100)}
CONTENT = "select a, b from t order by a"


def make(path: Path, *, branch: bool = False) -> list[tuple[int, bytes]]:
    """A closed database of two moments, or with a fork that has pages of its own."""
    chance = random.Random(2)
    with open_database(path) as database:
        connection = dosql_dbapi.connect(path, isolation_level=None)
        connection.execute("create table t(a integer primary key, b blob)")
        write(connection, chance, 20)
        if branch:
            database.branches.create("dev")
            connection.close()
            connection = dosql_dbapi.connect(path, isolation_level=None, branch="dev")
            write(connection, chance, 20)
            connection.execute("pragma wal_checkpoint").fetchone()
        rows = connection.execute(CONTENT).fetchall()
        connection.close()
    return rows


def write(connection: dosql_dbapi.Connection, chance: random.Random, count: int) -> None:
    for _ in range(count):
        connection.execute("insert into t(b) values (?)", (chance.randbytes(900),))


def content(path: Path, **where: object) -> list[tuple[int, bytes]]:
    with contextlib.closing(dosql_dbapi.connect(path, **where)) as connection:
        return connection.execute(CONTENT).fetchall()


def findings(path: Path) -> list[str]:
    with open_database(path) as database:
        return [str(finding) for finding in database.verify()]


def overwrite(file: Path, at: int, content: bytes) -> None:
    """Change bytes as a failing disk does: the time of the file stays as it was."""
    stat = file.stat()
    with open(file, "r+b") as opened:
        opened.seek(at)
        opened.write(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.leaves_damage("flips bytes of the head, but puts them back")
@pytest.mark.parametrize("branch", ["main", "dev"])
def test_verify_finds_any_flipped_byte_of_a_head(
    branch: str, database_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    make(database_path, branch=branch == "dev")
    file = database_path
    if branch == "dev":
        (file,) = Path(f"{database_path}-dosql").glob("branches/dev-*/head.cow")
    whole = file.read_bytes()
    # a fork's file has holes where its pages are the parent's
    places = [at for at, byte in enumerate(whole) if at not in UNCOMPARED and (at < 100 or byte)]
    if branch == "dev":
        places = places[16:]  # its magic, without which it is no head: another test
    for _ in range(FLIPS_LONG if is_long_run else FLIPS_EVERYDAY):
        at = seeded_random.choice(places)
        overwrite(file, at, bytes([whole[at] ^ seeded_random.randrange(1, 256)]))
        try:
            found = findings(database_path)
        except dosql_dbapi.DatabaseError as error:
            found = [str(error)]
        assert found, f"byte {at} of {file.name}"
        for leftover in (f"{file}-wal", f"{file}-shm"):
            Path(leftover).unlink(missing_ok=True)
        overwrite(file, at, whole[at : at + 1])
    assert findings(database_path) == []


@pytest.mark.parametrize("branch", ["main", "dev"])
def test_a_damaged_head_is_made_again_from_history(branch: str, database_path: Path) -> None:
    rows = make(database_path, branch=branch == "dev")
    file = database_path
    if branch == "dev":
        (file,) = Path(f"{database_path}-dosql").glob("branches/dev-*/head.cow")
    overwrite(file, file.stat().st_size - 4000, b"rotten" * 100)
    assert findings(database_path) != []
    assert dosql(["restore", str(database_path), "--rebuild-head", "--branch", branch]) == 0
    assert findings(database_path) == []
    assert content(database_path, branch=branch) == rows
    assert b"rotten" in Path(f"{file}.damaged").read_bytes()
    with contextlib.closing(dosql_dbapi.connect(database_path, branch=branch)) as connection:
        connection.execute("insert into t(b) values ('after')")
        connection.commit()
    assert len(content(database_path, branch=branch)) == len(rows) + 1


def test_a_lost_file_is_told_and_made_again(database_path: Path) -> None:
    rows = make(database_path)
    database_path.unlink()
    with pytest.raises(CannotOpenError, match="is gone, but its history") as told:
        open_database(database_path, DatabaseOptions(create=False))
    assert "--rebuild-head" in told.value.hint
    rebuild_head(str(database_path))
    assert content(database_path) == rows


def test_a_head_in_use_is_not_made_again(database_path: Path) -> None:
    make(database_path)
    with open_database(database_path), pytest.raises(BranchInUseError, match="is open"):
        rebuild_head(str(database_path))


def test_what_a_rebuild_that_was_cut_short_left_is_no_hindrance(database_path: Path) -> None:
    rows = make(database_path)
    database_path.rename(f"{database_path}.damaged")
    Path(f"{database_path}.rebuilt").write_bytes(b"half")
    rebuild_head(str(database_path))
    assert content(database_path) == rows
    assert not Path(f"{database_path}.rebuilt").exists()


CAPTURING_CHILD = """
    import sys, time
    import dosql_dbapi
    connection = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
    connection.execute("create table if not exists t(a integer primary key, b blob)")
    for n in range(20):
        connection.execute("insert into t(b) values (randomblob(900))")
        if n == 14:
            connection.execute("select count(*) from t as of lsn ?", (connection.lsn,)).fetchone()
    acknowledge(connection.lsn)
    time.sleep(60)
"""
CAPTURED_ROWS = 15
FRAME_BYTES = 24 + 4096


@pytest.fixture
def killed_path(database_path: Path) -> Path:
    """A database whose WAL has captured frames, and some that are not, and no living process."""
    run_crash_child(CAPTURING_CHILD, (database_path,), moment=CrashMoment(1, 0.0))
    assert Path(f"{database_path}-wal").stat().st_size > 20 * FRAME_BYTES
    return database_path


@pytest.mark.leaves_damage("flips a byte of the WAL")
def test_a_damaged_wal_is_told_when_history_has_more(killed_path: Path) -> None:
    overwrite(Path(f"{killed_path}-wal"), 32 + 5 * FRAME_BYTES + 100, b"rotten")
    with pytest.raises(LostCommitsError, match="history has") as told:
        open_database(killed_path)
    assert "--rebuild-head" in told.value.hint
    rebuild_head(str(killed_path))
    assert len(content(killed_path)) >= CAPTURED_ROWS
    assert findings(killed_path) == []


@pytest.mark.leaves_damage("removes the WAL")
def test_a_lost_wal_is_told_when_history_has_more(killed_path: Path) -> None:
    Path(f"{killed_path}-wal").unlink()
    with pytest.raises(LostCommitsError, match="lost") as told:
        open_database(killed_path)
    assert "--rebuild-head" in told.value.hint
    rebuild_head(str(killed_path))
    assert len(content(killed_path)) >= CAPTURED_ROWS
    assert findings(killed_path) == []


def test_a_wal_whose_uncaptured_end_is_damaged_keeps_whole_commits(killed_path: Path) -> None:
    wal = Path(f"{killed_path}-wal")
    overwrite(wal, wal.stat().st_size - 2 * FRAME_BYTES + 300, b"rotten")
    rows = content(killed_path)
    assert CAPTURED_ROWS <= len(rows) < 20
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.leaves_damage("flips bytes of the schema, but puts them back")
def test_a_head_that_cannot_even_be_opened_is_an_error_of_ours(database_path: Path) -> None:
    """Damage to the first page reaches SQLite before anything of ours has looked."""
    rows = make(database_path)
    whole = database_path.read_bytes()
    for at in range(0, 4096, 13):
        overwrite(database_path, at, bytes([whole[at] ^ 0xFF]))
        with contextlib.suppress(dosql_dbapi.DatabaseError):
            findings(database_path)
        for leftover in (f"{database_path}-wal", f"{database_path}-shm"):
            Path(leftover).unlink(missing_ok=True)
        overwrite(database_path, 0, whole)
    assert content(database_path) == rows
