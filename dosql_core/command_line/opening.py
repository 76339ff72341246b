"""The one place where the command line opens a database.

Everything above works with a `dosql_dbapi` connection or a `Database`, and with nothing below them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import dosql_dbapi
from dosql_core.command_line.moments import Moment
from dosql_core.command_line.reporting import UsageError
from dosql_core.database import Database, detach_unopened, open_database, rebuild_head
from dosql_core.errors import NoHistoryError
from dosql_core.options import DatabaseOptions

Connection: TypeAlias = dosql_dbapi.Connection
Cursor: TypeAlias = dosql_dbapi.Cursor
OnProgress = Callable[[int, int], None]

IN_MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Target:
    """Which database, which branch of it, and when."""

    path: str
    branch: str | None = None
    as_of: Moment | None = None
    read_only: bool = False
    create: bool = True
    history: bool = True
    durability: str = "full"
    timeout_seconds: float = 5.0

    @property
    def is_in_memory(self) -> bool:
        """Whether the database is gone when its connection is closed."""
        return self.path in ("", IN_MEMORY)

    def at(self, *, branch: str | None, as_of: Moment | None) -> Target:
        """The same database on another branch, at another moment."""
        return replace(self, branch=branch, as_of=as_of)


def connect(target: Target, on_progress: OnProgress | None = None) -> Connection:
    """Open a connection in autocommit: a statement is a transaction unless BEGIN says otherwise.

    Errors: UsageError when the file must exist and does not; what `dosql_dbapi.connect` raises.
    """
    if target.is_in_memory:
        return dosql_dbapi.connect(IN_MEMORY, isolation_level=None, check_same_thread=False)
    if not target.create or target.as_of is not None:
        require_database(target.path)
    return dosql_dbapi.connect(
        target.path,
        isolation_level=None,
        check_same_thread=False,
        timeout=target.timeout_seconds,
        branch=target.branch,
        as_of=target.as_of,
        read_only=target.read_only,
        history=target.history,
        durability=target.durability,
        create=target.create,
        on_progress=on_progress,
    )


def open_existing(path: str, on_progress: OnProgress | None = None) -> Database:
    """Open a database that is there, for what concerns all of it; close it in the end.

    Errors: UsageError when there is none; what `open_database` raises.
    """
    require_database(path)
    return open_database(path, DatabaseOptions(create=False), on_progress=on_progress)


def rebuild_lost_head(path: str, branch: str) -> int:
    """Make the file of a branch's head again from its history; the LSN it then has.

    Errors: what `rebuild_head` raises.
    """
    return rebuild_head(path, branch)


def detach(path: str, *, is_sound: bool) -> None:
    """Leave the plain file; a history that cannot be opened is removed as it is.

    Errors: what `Database.detach` and `detach_unopened` raise.
    """
    if is_sound:
        open_existing(path).detach()
    else:
        detach_unopened(path)


@contextmanager
def nothing_left_of_failure(path: str) -> Iterator[None]:
    """Remove the database at `path` when the block made it, failed, and committed nothing."""
    target = Target(path)
    is_new = would_be_made(target)
    try:
        yield
    except BaseException:
        if is_new:
            remove_if_empty(target)
        raise


def would_be_made(target: Target) -> bool:
    """Whether connecting makes a database file that is not there yet."""
    return not (target.is_in_memory or os.path.lexists(target.path))


def remove_if_empty(target: Target) -> None:
    """Remove a database to which nothing was ever committed, unless somebody has it open."""
    path = target.path
    with suppress(dosql_dbapi.Error, OSError):  # then it stays, which harms nobody
        if not os.path.getsize(path):  # SQLite alone writes nothing before the first commit
            _unlink_unless_open(path)
        elif target.history:
            _remove_without_commits(path)


def _remove_without_commits(path: str) -> None:
    database = open_database(path, DatabaseOptions(create=False))
    if database.lsn() > 0:
        database.close()
        return
    database.detach()
    _unlink_unless_open(path)


def _unlink_unless_open(path: str) -> None:
    if not any(os.path.lexists(path + ending) for ending in ("-wal", "-shm", "-journal")):
        os.unlink(path)


def require_database(path: str) -> None:
    """Refuse a path that is no file: reading commands must not make databases out of typos.

    Errors: UsageError.
    """
    if not Path(path).exists():
        similar = _similar_file(path)
        raise UsageError(
            f"there is no database at {path}",
            f"did you mean {similar}?" if similar else "",
        )
    if Path(path).is_dir():
        raise UsageError(f"{path} is a directory", "name the database file itself")


def current_branch(connection: Connection) -> str | None:
    """The branch the connection is on; None where no history is kept."""
    return connection.branch


def current_lsn(connection: Connection) -> int | None:
    """The LSN the connection sees; None where no history is kept."""
    try:
        return connection.lsn
    except NoHistoryError:
        return None


def _similar_file(path: str) -> str | None:
    import difflib

    folder = Path(path).parent
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return None
    close = difflib.get_close_matches(Path(path).name, names, n=1, cutoff=0.75)
    return str(folder / close[0]) if close else None
