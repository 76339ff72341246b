"""The disk is full: a clear error, the database as it was before, and on as soon as there is room.

The programs run on a real file system of three megabytes (`fixtures/full_disk.py`) and assert by
themselves; a failed one fails the test with its traceback.
"""

from __future__ import annotations

import pytest

from fixtures.full_disk import RunOnFullDisk

BEGIN = """
import contextlib
import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import DiskFullError
from dosql_core.options import DatabaseOptions

PATH = ROOT + "/app.db"
database = open_database(PATH, DatabaseOptions(wal_capture_bytes=1 << 30))
connection = dosql_dbapi.connect(PATH, durability={durability!r}, isolation_level=None)
connection.execute("create table t(a integer primary key, b blob)")
for n in range(50):
    connection.execute("insert into t(b) values (randomblob(1000))")

def state():
    return connection.execute("select count(*), sum(length(b)), max(a) from t").fetchone()

@contextlib.contextmanager
def refused():
    try:
        yield
    except DiskFullError as error:
        assert error.code == "DB_DISK_FULL" and error.hint and error.is_retryable
    else:
        raise AssertionError("there was room")

def leftovers():
    return [
        name
        for _folder, _folders, names in os.walk(PATH + "-dosql")
        for name in names
        if name.endswith(".tmp")
    ]
"""

END = """
connection.close()
database.close()
with open_database(PATH) as database:
    assert database.verify() == [], database.verify()
    newest = database.lsn()
with contextlib.closing(dosql_dbapi.connect(PATH)) as connection:
    assert state() == expected, (state(), expected)
with contextlib.closing(dosql_dbapi.connect(PATH, as_of=newest)) as connection:
    assert state() == expected, (state(), expected)
"""


def after(durability: str, program: str) -> str:
    return BEGIN.format(durability=durability) + program + END


@pytest.mark.parametrize("durability", ["full", "strict", "normal", "off"])
def test_a_commit_without_room_is_rolled_back(
    durability: str, run_on_small_disk: RunOnFullDisk
) -> None:
    run_on_small_disk(
        after(
            durability,
            """
before = state()
fill()
for attempt in range(3):
    with refused():
        connection.execute("insert into t(b) values (randomblob(60000))")
    assert not connection.in_transaction
assert state() == before
connection.execute("begin immediate")
connection.execute("insert into t(b) values (randomblob(1000000))")
with refused():
    connection.execute("commit")
if connection.in_transaction:
    connection.execute("rollback")
assert state() == before
free()
connection.execute("insert into t(b) values (randomblob(60000))")
expected = state()
assert expected[0] == before[0] + 1
""",
        )
    )


def test_capture_branches_snapshots_and_compaction_without_room_change_nothing(
    run_on_small_disk: RunOnFullDisk,
) -> None:
    run_on_small_disk(
        after(
            "full",
            """
expected = state()
fill()
with refused():
    database.sealed(database.refs().branch("main").id)
with refused():
    connection.execute("pragma wal_checkpoint").fetchone()
with refused():
    connection.execute("create branch b")
with refused():
    connection.execute("create snapshot 's'")
with refused():
    database.compact()
with refused():
    database.export(ROOT + "/copy.db")
assert not os.path.exists(ROOT + "/copy.db")
assert leftovers() == []
assert state() == expected
free()
assert [branch.name for branch in database.branches.list()] == ["main"]
connection.execute("create branch b")
connection.execute("create snapshot 's'")
database.compact()
""",
        )
    )


def test_closing_without_room_says_so_and_loses_nothing(run_on_small_disk: RunOnFullDisk) -> None:
    run_on_small_disk(
        after(
            "full",
            """
expected = state()
connection.close()
fill()
with refused():
    database.close()
with refused():
    dosql_dbapi.connect(PATH)
free()
database = open_database(PATH)
connection = dosql_dbapi.connect(PATH)
assert state() == expected
""",
        )
    )


def test_what_the_wal_holds_can_be_read_without_room(run_on_small_disk: RunOnFullDisk) -> None:
    """Opening wants to capture it first; a reader does without, and writers wait for room."""
    run_on_small_disk(
        after(
            "full",
            """
connection.execute("pragma wal_checkpoint").fetchone()
sealed = connection.lsn
then = state()
connection.execute("insert into t(b) values (randomblob(1000))")
expected = state()
connection.close()
fill()
with refused():
    database.close()
for attempt in range(2):
    with contextlib.closing(dosql_dbapi.connect(PATH, read_only=True)) as connection:
        assert state() == expected
        with refused():
            dosql_dbapi.connect(PATH)
    with contextlib.closing(dosql_dbapi.connect(PATH, as_of=sealed)) as connection:
        assert state() == then
with contextlib.closing(dosql_dbapi.connect(PATH, read_only=True)) as reader:
    free()
    database = open_database(PATH)
    connection = dosql_dbapi.connect(PATH)
    connection.execute("insert into t(b) values (randomblob(1000))")
    connection.commit()
    then, expected = expected, state()
    assert expected[0] == then[0] + 1
    connection.execute("pragma wal_checkpoint").fetchone()
""",
        )
    )


def test_commits_that_need_no_room_go_on(run_on_small_disk: RunOnFullDisk) -> None:
    """A WAL that begins anew has room; what we note in maps of our own must not need any.

    A write to a hole of a mapped file on a full disk would end the process with SIGBUS.
    """
    run_on_small_disk(
        after(
            "normal",
            """
for n in range(400):
    connection.execute("update t set b = randomblob(1000) where a = ?", (n % 50 + 1,))
connection.execute("pragma wal_checkpoint").fetchone()
fill()
for n in range(350):
    connection.execute("update t set b = randomblob(900) where a = ?", (n % 50 + 1,))
expected = state()
free()
""",
        )
    )
