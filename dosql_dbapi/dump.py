"""The SQL text of a whole database, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dosql_core.errors import OperationalError

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection
    from dosql_dbapi.cursor import Cursor


def dump_statements(connection: Connection, name_pattern: str | None) -> Iterator[str]:
    """Every statement that makes the database anew, in an order that works.

    Tables come with their rows, then what needs them to be there: indexes, triggers, views. The
    text runs in one transaction.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    if _has_violated_keys(cursor):
        yield "PRAGMA foreign_keys=OFF;"  # rows that violate a key must go in as they are
    yield "BEGIN TRANSACTION;"
    entries = cursor.execute(
        "SELECT name, type, sql FROM sqlite_schema WHERE sql NOT NULL"
        " AND (? IS NULL OR name LIKE ?)"
        # What is no table may need what was made before it: a trigger its view, say.
        " ORDER BY type = 'table' DESC, CASE type WHEN 'table' THEN name END, rowid",
        (name_pattern, name_pattern),
    ).fetchall()
    is_schema_writable = False
    for name, kind, sql in entries:
        if kind != "table" or name.startswith("sqlite_"):
            continue
        if sql.upper().startswith("CREATE VIRTUAL TABLE"):
            # Its shadow tables come by themselves; only the entry in the schema is missing.
            if not is_schema_writable:
                is_schema_writable = True
                yield "PRAGMA writable_schema=ON;"
            yield (
                "INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql)"
                f"VALUES('table',{_text(name)},{_text(name)},0,{_text(sql)});"
            )
            continue
        yield f"{sql};"
        yield from _rows(connection, name)
    yield from _statistics(connection, [name for name, _kind, _sql in entries])
    for _name, kind, sql in entries:
        if kind != "table":
            yield f"{sql};"
    if is_schema_writable:
        yield "PRAGMA writable_schema=OFF;"
    yield "COMMIT;"


def _has_violated_keys(cursor: Cursor) -> bool:
    try:
        return cursor.execute("PRAGMA foreign_key_check").fetchone() is not None
    except OperationalError:  # a key that refers to what it may not: SQLite checks none of them
        return False


def _rows(connection: Connection, table: str) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.row_factory = None
    # A generated column cannot be written, and table_info leaves it out.
    columns = [row[1] for row in cursor.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()]
    values = "||','||".join(f"quote({_quoted(column)})" for column in columns)
    if values:
        for (text,) in cursor.execute(f"SELECT {values} FROM {_quoted(table)}"):
            yield f"INSERT INTO {_quoted(table)} VALUES({text});"


def _statistics(connection: Connection, names: list[str]) -> Iterator[str]:
    if "sqlite_sequence" in names:
        yield 'DELETE FROM "sqlite_sequence";'
        yield from _rows(connection, "sqlite_sequence")
    if any(name.startswith("sqlite_stat") for name in names):
        yield 'ANALYZE "sqlite_schema";'
        if "sqlite_stat1" in names:
            yield 'DELETE FROM "sqlite_stat1";'
            yield from _rows(connection, "sqlite_stat1")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
