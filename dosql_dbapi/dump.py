"""The SQL text of a whole database, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection


def dump_statements(connection: Connection, name_pattern: str | None) -> Iterator[str]:
    """Every statement that makes the database anew, in an order that works.

    Tables come with their rows, then virtual tables, then what needs tables to be there: indexes,
    triggers, views. The result runs in a transaction.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    yield "BEGIN TRANSACTION;"
    entries = cursor.execute(
        "SELECT name, type, sql FROM sqlite_schema WHERE sql NOT NULL"
        " AND (? IS NULL OR name LIKE ?) ORDER BY type = 'table' DESC, name",
        (name_pattern, name_pattern),
    ).fetchall()
    tables = [(name, sql) for name, kind, sql in entries if kind == "table"]
    virtual_tables = []
    for name, sql in tables:
        if name == "sqlite_sequence" or name.startswith("sqlite_stat"):
            continue
        if name.startswith("sqlite_"):
            continue
        if sql.upper().startswith("CREATE VIRTUAL TABLE"):
            virtual_tables.append((name, sql))
            continue
        yield f"{sql};"
        yield from _rows(connection, name)
    yield from _virtual_tables(virtual_tables)
    yield from _statistics(connection, [name for name, _sql in tables])
    for _name, kind, sql in entries:
        if kind != "table":
            yield f"{sql};"
    yield "COMMIT;"


def _rows(connection: Connection, table: str) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.row_factory = None
    # A generated column cannot be written, and table_info leaves it out.
    columns = [row[1] for row in cursor.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()]
    values = "||','||".join(f"quote({_quoted(column)})" for column in columns)
    if values:
        for (text,) in cursor.execute(f"SELECT {values} FROM {_quoted(table)}"):
            yield f"INSERT INTO {_quoted(table)} VALUES({text});"


def _virtual_tables(tables: list[tuple[str, str]]) -> Iterator[str]:
    if not tables:
        return
    # Their shadow tables are dumped as ordinary tables; only the entry in the schema is missing.
    yield "PRAGMA writable_schema=ON;"
    for name, sql in tables:
        yield (
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)"
            f" VALUES('table',{_text(name)},{_text(name)},0,{_text(sql)});"
        )
    yield "PRAGMA writable_schema=OFF;"


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
