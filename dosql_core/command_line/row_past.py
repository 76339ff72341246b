"""What one row was and who made it so, as the shell and the subcommands show it."""

from __future__ import annotations

from collections.abc import Sequence

from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.sql_words import identifier, name_for_sql
from dosql_core.identifiers import SqlValue
from dosql_dbapi import Connection

Table = tuple[list[str], list[tuple[SqlValue, ...]]]
"""Names of columns, and rows."""


def row_history(connection: Connection, table: str, key: Sequence[SqlValue]) -> Table:
    """The versions of a row, the oldest first, and its deletions among them.

    Errors: UsageError for a table that is not there, or a key of another number of columns.
    """
    described = connection.execute(
        "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (table,)
    ).fetchall()
    if not described:
        raise UsageError(f"there is no table {table}")
    columns = [name for name, _ in described]
    names = [name for name, place in sorted(described, key=lambda c: c[1]) if place] or ["rowid"]
    if len(key) != len(names):
        raise UsageError(f"the key of {table} is {', '.join(names)}: {len(names)} values")
    condition = " AND ".join(f"{name_for_sql(name)} = ?" for name in names)
    versions = connection.execute(
        f"SELECT {', '.join(map(identifier, columns))}, _dosql_lsn, _dosql_operation, "
        "_dosql_valid_from, _dosql_end_lsn, _dosql_end_operation, _dosql_valid_to "
        f"FROM {identifier(table)} FOR SYSTEM_TIME ALL WHERE {condition} ORDER BY _dosql_lsn",
        tuple(key),
    ).fetchall()
    authors = {
        lsn: (author, message)
        for lsn, author, message in connection.execute("SELECT lsn, author, message FROM dosql_log")
        if author is not None or message is not None
    }
    rows: list[tuple[SqlValue, ...]] = []
    for *values, lsn, operation, since, end_lsn, end_operation, until in versions:
        rows.append((lsn, since, operation, *authors.get(lsn, (None, None)), *values))
        if end_operation == "delete":
            nothing = [None] * len(columns)
            told = authors.get(end_lsn, (None, None))
            rows.append((end_lsn, until, end_operation, *told, *nothing))
    return ["lsn", "committed_at", "operation", "author", "message", *columns], rows


def blame(connection: Connection, table: str, key: Sequence[SqlValue]) -> Table:
    """Each column of a row, and the commit that set it."""
    places = ", ".join("?" * len(key))
    cursor = connection.execute(f"SELECT * FROM dosql_blame(?, {places})", (table, *key))
    return [column[0] for column in cursor.description or ()], cursor.fetchall()
