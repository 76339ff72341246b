"""A connection of its own on one moment, for reading what only SQLite understands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI
from dosql_core.kernel.past_vfs import VFS_NAME, Pages, past_vfs, view_uri


@contextmanager
def past_connection(pages: Pages) -> Iterator[apsw.Connection]:
    """A read-only connection on the pages, closed in the end."""
    name = past_vfs().register(pages)
    try:
        connection = apsw.Connection(view_uri(name), flags=OPEN_READ_ONLY | OPEN_URI, vfs=VFS_NAME)
    finally:
        past_vfs().forget(name)
    try:
        yield connection
    finally:
        connection.close(True)


def declared_column(connection: apsw.Connection, table: str, column: str) -> tuple[str, str]:
    """The type of a column as it was declared, '' for none, and its collation."""
    declared_type, collation, *_ = connection.column_metadata("main", table, column)
    return declared_type or "", collation or "BINARY"
