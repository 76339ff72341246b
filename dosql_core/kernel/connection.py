"""Open, configure and close one SQLite connection; the names of apsw the layers above may use."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw

from dosql_core.errors import TooManyOpenFilesError
from dosql_core.storage.durable_files import may_open_no_more

KernelCursor = apsw.Cursor
KernelError = apsw.Error
ENABLE_TRIGGER = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER
TRANSACTION_WRITES = apsw.SQLITE_TXN_WRITE
"""What `KernelConnection.txn_state` says of a database whose write lock is held."""

OPEN_READ_WRITE = apsw.SQLITE_OPEN_READWRITE
OPEN_READ_ONLY = apsw.SQLITE_OPEN_READONLY
OPEN_CREATE = apsw.SQLITE_OPEN_CREATE
OPEN_URI = apsw.SQLITE_OPEN_URI
DISK_VFS = "unix"
"""SQLite's own VFS for files, the default one."""
_OPENING_MILLISECONDS = 10_000
_FILES_OF_A_DATABASE = 4  # with the directory, which is synced for a new file


# What SQLite keeps for a connection rather than in the file, and what changes an answer, a check or
# how much memory is used.
_CHOSEN_BY_PROGRAMS = (
    "foreign_keys", "ignore_check_constraints", "recursive_triggers", "query_only",
    "reverse_unordered_selects", "legacy_alter_table", "trusted_schema", "cell_size_check",
    "automatic_index", "cache_size", "cache_spill", "temp_store",
)  # fmt: skip


class KernelConnection(apsw.Connection):
    """A connection of apsw's that remembers nothing of ours; sessions configure it."""


_REFERENCES_TO_SPARE = 1 << 28


def survive_late_deallocation(cursor_type: type[KernelCursor]) -> None:
    """See to it that a subclass of KernelCursor outlives all of its cursors.

    Where a cursor is dropped while another thread is inside of its connection, apsw puts the
    closing off and deallocates the cursor a second time, which takes two references from its class
    for the one it had. When a class has none left the process crashes, so it gets some to spare.
    """
    # The count is the first word of an object.
    ctypes.c_ssize_t.from_address(id(cursor_type)).value += _REFERENCES_TO_SPARE


def run(
    connection: apsw.Connection, sql: str, parameters: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Run one statement to its end and return its rows.

    apsw runs a statement only as far as its rows are fetched, so nothing may use a bare `execute`;
    and a user's connection makes cursors of the driver's class, which is not ours to use.
    """
    cursor = apsw.Cursor(connection)
    try:
        return cursor.execute(sql, tuple(parameters)).fetchall()
    finally:
        cursor.close(True)


def run_untraced(connection: apsw.Connection, sql: str, parameters: Any = ()) -> list[Any]:
    """Run one statement of ours, of which a program's trace hears nothing; returns its rows."""
    cursor = apsw.Cursor(connection)
    cursor.exec_trace = _go_on  # instead of that of the connection
    try:
        return cursor.execute(sql, parameters).fetchall()
    finally:
        cursor.close(True)


def _go_on(_cursor: apsw.Cursor, _sql: str, _parameters: Any) -> bool:
    return True


def run_many(connection: apsw.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run one statement with each of the parameters; it is prepared once."""
    cursor = apsw.Cursor(connection)
    try:
        cursor.executemany(sql, rows)
    finally:
        cursor.close(True)


@contextlib.contextmanager
def callbacks_set_aside(connection: apsw.Connection) -> Iterator[None]:
    """The block runs statements of ours, of which a program's authorizer and trace hear nothing."""
    authorizer, trace = connection.authorizer, connection.exec_trace
    if authorizer is None and trace is None:
        yield
        return
    connection.authorizer = connection.exec_trace = None
    try:
        yield
    finally:
        connection.authorizer, connection.exec_trace = authorizer, trace


def pragma_value(connection: apsw.Connection, name: str) -> Any:
    """The single value `PRAGMA name` returns, or None when it returns no row."""
    rows = run(connection, f"PRAGMA {name}")
    return rows[0][0] if rows else None


def copy_settings(source: apsw.Connection, target: apsw.Connection) -> None:
    """Give `target` the settings that a program chose by PRAGMA for `source`."""
    for name in _CHOSEN_BY_PROGRAMS:
        chosen = pragma_value(source, name)
        if chosen is not None and chosen != pragma_value(target, name):
            run(target, f"PRAGMA {name} = {chosen}")


def keep_off_the_wal(connection: apsw.Connection) -> None:
    """See to it that this connection never checkpoints by itself.

    A connection that lacks this and closes last would delete the WAL before it was captured.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.wal_autocheckpoint(0)


@contextlib.contextmanager
def telling_too_many_files() -> Iterator[None]:
    """The block opens a database, for which SQLite says no more than that it could not.

    Errors: TooManyOpenFilesError where that is why.
    """
    try:
        yield
    except apsw.CantOpenError as error:
        if may_open_no_more(_FILES_OF_A_DATABASE):
            raise TooManyOpenFilesError(f"{error}: too many open files") from error
        raise


@telling_too_many_files()
def open_internal(path: str, *, vfs: str | None = None, read_only: bool = False) -> apsw.Connection:
    """A connection for our own use on a head: never checkpoints by itself, synchronous=FULL."""
    flags = OPEN_READ_ONLY if read_only else OPEN_READ_WRITE
    connection = apsw.Connection(path, flags=flags, vfs=vfs)
    try:
        keep_off_the_wal(connection)
        connection.set_busy_timeout(_OPENING_MILLISECONDS)  # somebody may be building its index
        run(connection, "PRAGMA synchronous=FULL")
        connection.set_busy_timeout(0)
    except BaseException:
        connection.close()
        raise
    return connection
