"""Which session a path, a branch and a moment ask for."""

from __future__ import annotations

import os
from collections.abc import Callable

from dosql_core.database import open_database
from dosql_core.errors import NoHistoryError
from dosql_core.history.moments import AsOf, moment_from
from dosql_core.history.time_travel import resolve
from dosql_core.identifiers import MAIN_BRANCH
from dosql_core.kernel.connection import (
    OPEN_CREATE,
    OPEN_READ_ONLY,
    OPEN_READ_WRITE,
    OPEN_URI,
    KernelConnection,
    telling_too_many_files,
)
from dosql_core.options import SessionOptions
from dosql_core.sessions.head_session import HeadSession
from dosql_core.sessions.past_session import PastSession
from dosql_core.sessions.session import Session


def open_session(
    path: str | os.PathLike[str],
    *,
    branch: str | None = None,
    as_of: AsOf | None = None,
    options: SessionOptions | None = None,
    uri: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Session:
    """Open a session on the database at `path`; `branch` and `as_of` need history."""
    options = options or SessionOptions()
    plain = os.fspath(path)
    if not options.database.history or uri or plain in (":memory:", ""):
        if branch is not None or as_of is not None:
            raise NoHistoryError(
                "branch= and as_of= need a database file with history",
                hint="give a plain path and history=True",
            )
        return _plain_session(plain, options, uri)
    database = open_database(plain, options.database, on_progress=on_progress)
    try:
        branch_id = database.refs().branch(branch or MAIN_BRANCH).id
        if as_of is None:
            return HeadSession(database, branch_id, options)
        return PastSession(database, resolve(moment_from(as_of), branch_id, database), options)
    except BaseException:
        database.close()
        raise


@telling_too_many_files()
def _plain_session(path: str, options: SessionOptions, uri: bool) -> Session:
    flags = OPEN_READ_ONLY if options.read_only else OPEN_READ_WRITE
    if options.database.create and not options.read_only:
        flags |= OPEN_CREATE
    if uri:
        flags |= OPEN_URI
    kernel = KernelConnection(path, flags=flags, statementcachesize=options.cached_statements)
    kernel.set_busy_timeout(int(options.timeout_seconds * 1000))
    return Session(kernel, options)
