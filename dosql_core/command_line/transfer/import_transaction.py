"""All of an import, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dosql_core.command_line.opening import Connection


@contextmanager
def import_transaction(connection: Connection) -> Iterator[None]:
    """A transaction of our own, or a savepoint in the one that is open."""
    begin, commit, undo = "BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"]
    if connection.in_transaction:
        begin, commit = "SAVEPOINT dosql_import", "RELEASE dosql_import"
        undo = ["ROLLBACK TO dosql_import", "RELEASE dosql_import"]
    connection.execute(begin)
    try:
        yield
        connection.execute(commit)
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            for statement in undo:
                connection.execute(statement)
        raise
