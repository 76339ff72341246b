"""Bring a table of an attached moment into the present: its definition and its rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from dosql_core.kernel.connection import run
from dosql_core.language.tokens import quoted_name

ROWID_NAMES = ("rowid", "_rowid_", "oid")
NO_NAME = ""
"""Stands for the name of the rowid where columns have taken all of its names."""


class TableObject(NamedTuple):
    """A table, or an index or trigger that stands on it, with the SQL that makes it."""

    kind: str
    name: str
    sql: str


def table_objects(kernel: Any, schema: str, table: str) -> list[TableObject]:
    """The table, then its indexes and triggers; empty when the schema has no such table."""
    found = run(
        kernel,
        f"SELECT type, name, sql FROM {quoted_name(schema)}.sqlite_schema "
        "WHERE tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL ORDER BY type <> 'table', rowid",
        (table,),
    )
    return [TableObject(*row) for row in found] if found and found[0][0] == "table" else []


def copy_rows(kernel: Any, source: str, into: str) -> None:
    """Put all rows of a table, given as SQL, into one of ours that is defined the same and empty.

    Rows that have nothing but their rowid to tell them apart keep it.
    """
    columns = [
        column[1]
        for column in run(kernel, f"PRAGMA main.table_xinfo({quoted_name(into)})")
        if column[6] == 0  # neither hidden nor generated
    ]
    copied = ", ".join([*_rowid_of(kernel, into, columns), *map(quoted_name, columns)])
    run(
        kernel,
        f"INSERT INTO main.{quoted_name(into)} ({copied}) SELECT {copied} FROM {source}",
    )


def _rowid_of(kernel: Any, table: str, columns: list[str]) -> list[str]:
    """What to call the rowid of a table that has one which no column holds."""
    name = rowid_name(columns)
    if name is None or run(
        kernel,
        "SELECT 1 FROM pragma_table_list(?) WHERE schema = 'main' AND (wr OR type <> 'table')"
        " UNION ALL SELECT 1 FROM pragma_table_info(?, 'main') WHERE pk",
        (table, table),
    ):
        return []
    return [name]


def rowid_name(columns: list[str]) -> str | None:
    """A name by which the rowid can be reached beside these columns; None when all are taken."""
    taken = {column.casefold() for column in columns}
    return next((name for name in ROWID_NAMES if name not in taken), None)
