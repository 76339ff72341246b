"""A sync or a write fails: the outcome is told to be unknown, and nothing more is written.

The child process has a disk whose syncs and writes of one file fail from a chosen moment on: the
group commit's `fdatasync`, or SQLite's own through a VFS. Nothing real fails on demand without
rights over the machine.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.crash import run_crash_child

FAILING_DISK = """
    import errno, os, sys, threading
    import apsw

    class Disk:
        fails_sync = fails_write = fails_sqlite_sync = ""

    _fdatasync = os.fdatasync
    def fdatasync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if Disk.fails_sync and path.endswith(Disk.fails_sync):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        _fdatasync(descriptor)
    os.fdatasync = fdatasync

    class File(apsw.VFSFile):
        def __init__(self, name, flags):
            self.path = name.filename() if isinstance(name, apsw.URIFilename) else name
            super().__init__("unix", name, flags)
        def xWrite(self, data, offset):
            if Disk.fails_write and self.path.endswith(Disk.fails_write):
                raise apsw.IOError("disk I/O error")
            super().xWrite(data, offset)
        def xSync(self, flags):
            if Disk.fails_sqlite_sync and self.path.endswith(Disk.fails_sqlite_sync):
                raise apsw.IOError("disk I/O error")
            super().xSync(flags)

    class VFS(apsw.VFS):
        def __init__(self):
            super().__init__("failing", "unix", makedefault=True)
        def xOpen(self, name, flags):
            return super().xOpen(name, flags) if name is None else File(name, flags)
    vfs = VFS()

    import dosql_dbapi
    from dosql_core.database import open_database
    from dosql_core.errors import DatabasePoisonedError, DiskError
    path = sys.argv[1]

    def code_of(call):
        try:
            call()
        except dosql_dbapi.Error as error:
            return error.code
        return None
"""


def run(program: str, path: Path) -> tuple[str, ...]:
    return run_crash_child(FAILING_DISK + program, (path,), moment=None).acknowledgements


def rows_of(path: Path) -> set[int]:
    with open_database(path) as database:
        assert database.verify() == []
    with contextlib.closing(dosql_dbapi.connect(path)) as connection:
        return {row[0] for row in connection.execute("select a from t")}


def test_a_failed_sync_closes_the_branch_until_it_is_opened_again(database_path: Path) -> None:
    told = run(
        """
    first = dosql_dbapi.connect(path, isolation_level=None)
    second = dosql_dbapi.connect(path, isolation_level=None, durability="normal")
    first.execute("create table t(a)")
    first.execute("insert into t values (1)")
    Disk.fails_sync = "-wal"
    acknowledge(code_of(lambda: first.execute("insert into t values (2)")))
    Disk.fails_sync = ""  # a sync that is tried again says nothing about the bytes that were lost
    acknowledge(code_of(lambda: first.execute("insert into t values (3)")))
    acknowledge(code_of(lambda: second.execute("insert into t values (4)")))
    first.execute("begin immediate")
    first.execute("insert into t values (5)")
    acknowledge(code_of(lambda: first.execute("commit")))
    acknowledge(code_of(lambda: first.execute("select * from t as of lsn -1")))
    acknowledge(sorted(row[0] for row in second.execute("select a from t")))
    first.close()
    second.close()
    again = dosql_dbapi.connect(path, isolation_level=None)
    again.execute("insert into t values (6)")
    again.close()
    """,
        database_path,
    )
    assert told == (*["TXN_WAL_FAILURE"] * 5, "[1, 2]")
    assert rows_of(database_path) == {1, 2, 6}


def test_history_does_not_get_ahead_of_a_failed_sync(database_path: Path) -> None:
    told = run(
        """
    writer = dosql_dbapi.connect(path, isolation_level=None, durability="normal")
    writer.execute("create table t(a)")
    with open_database(path) as database, database.opened_head("main") as head:
        head.capture_now()
        for number in range(900):  # many: the sync runs beside the reading and the packing
            writer.execute("insert into t values (?)", (number,))
        Disk.fails_sync = "-wal"
        acknowledge(code_of(head.capture_now))
        acknowledge(code_of(head.capture_now))
        head.own_history.refresh()
        acknowledge(head.own_history.newest_lsn)
    writer.close()
    """,
        database_path,
    )
    assert told == ("TXN_WAL_FAILURE", "TXN_WAL_FAILURE", "1")
    assert rows_of(database_path) == set(range(900))


def test_a_cycle_that_cannot_be_recorded_leaves_no_gap(database_path: Path) -> None:
    told = run(
        """
    from dosql_core.errors import DiskFullError
    writer = dosql_dbapi.connect(path, isolation_level=None, durability="normal")
    writer.execute("create table t(a)")
    with open_database(path) as database, database.opened_head("main") as head:
        record = head.capture.record_position
        def refuse(position):
            raise DiskFullError("no space left")
        for round in range(3):
            for number in range(10):
                writer.execute("insert into t values (?)", (10 * round + number,))
            head.capture.record_position = refuse
            for _ in range(3):  # what is in the file already must be held as well
                acknowledge(code_of(head.keeping.checkpoint))
            head.capture.record_position = record
        writer.execute("insert into t values (30)")
        acknowledge(head.capture_now())
        acknowledge(head.keeping.checkpoint())
        writer.execute("insert into t values (31)")
        acknowledge(head.capture_now())
    writer.close()
    """,
        database_path,
    )
    assert told == ("DB_DISK_FULL",) * 9 + ("32", "True", "33")
    assert rows_of(database_path) == set(range(32))


def test_everybody_who_shared_the_failed_sync_is_told(database_path: Path) -> None:
    told = run(
        """
    first = dosql_dbapi.connect(path, isolation_level=None)
    first.execute("create table t(a)")
    Disk.fails_sync = "-wal"
    codes = []
    def write(number):
        connection = dosql_dbapi.connect(path, isolation_level=None)
        codes.append(code_of(lambda: connection.execute("insert into t values (?)", (number,))))
        connection.close()
    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    acknowledge(*[set(codes)])
    first.close()
    """,
        database_path,
    )
    assert told == ("{'TXN_WAL_FAILURE'}",)
    assert len(rows_of(database_path)) <= 6


def test_a_strict_commit_that_cannot_be_synced_is_not_made(database_path: Path) -> None:
    told = run(
        """
    connection = dosql_dbapi.connect(path, isolation_level=None, durability="strict")
    connection.execute("create table t(a)")
    Disk.fails_sqlite_sync = "-wal"
    acknowledge(code_of(lambda: connection.execute("insert into t values (1)")))
    Disk.fails_sqlite_sync = ""
    acknowledge(connection.execute("select count(*) from t").fetchone()[0])
    connection.execute("insert into t values (2)")
    connection.close()
    """,
        database_path,
    )
    assert told == ("DB_IO_ERROR", "0")
    assert rows_of(database_path) == {2}


def test_a_commit_that_cannot_be_written_is_not_made(database_path: Path) -> None:
    told = run(
        """
    connection = dosql_dbapi.connect(path, isolation_level=None)
    connection.execute("create table t(a)")
    connection.execute("insert into t values (1)")
    Disk.fails_write = "-wal"
    acknowledge(code_of(lambda: connection.execute("insert into t values (2)")))
    Disk.fails_write = ""
    connection.execute("insert into t values (3)")
    connection.close()
    """,
        database_path,
    )
    assert told == ("DB_IO_ERROR",)
    assert rows_of(database_path) == {1, 3}


def test_a_checkpoint_that_fails_half_way_is_done_again(database_path: Path) -> None:
    for failing in ("fails_write", "fails_sqlite_sync"):
        told = run(
            f"""
    connection = dosql_dbapi.connect(path, isolation_level=None)
    connection.execute("create table if not exists t(a)")
    for n in range(20):
        connection.execute("insert into t values (?)", (n,))
    Disk.{failing} = "app.db"
    acknowledge(code_of(lambda: connection.execute("pragma wal_checkpoint").fetchone()))
    connection.execute("insert into t values (20)")
    Disk.{failing} = ""
    acknowledge(connection.execute("pragma wal_checkpoint").fetchone()[0])
    connection.close()
    """,
            database_path,
        )
        assert told == ("DB_IO_ERROR", "0")
        assert rows_of(database_path) == set(range(21))
