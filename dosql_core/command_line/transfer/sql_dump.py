"""A database as SQL that makes it again, in the form sqlite3's `.dump` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dosql_core.command_line.opening import Connection
from dosql_core.command_line.schema import describe_table
from dosql_core.command_line.sql_words import identifier, name_for_sql
from dosql_core.command_line.values import sql_literal, text_literal

_ROWS_A_FETCH = 512


def dump(connection: Connection, patterns: Sequence[str] = ()) -> Iterator[str]:
    """Lines of SQL that make the database again, or the objects LIKE one of the patterns.

    All of it is read in one transaction, so it is one moment's database.
    """
    is_nested = connection.in_transaction
    if not is_nested:
        connection.execute("BEGIN")
    try:
        yield "PRAGMA foreign_keys=OFF;\n"
        yield "BEGIN TRANSACTION;\n"
        yield from _objects(connection, patterns)
        yield "COMMIT;\n"
    finally:
        if not is_nested:
            connection.execute("ROLLBACK")


def _objects(connection: Connection, patterns: Sequence[str]) -> Iterator[str]:
    matches, values = _like_any(patterns)
    shadows = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
        )
    }
    tables = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL"
        f" AND {matches} ORDER BY tbl_name = 'sqlite_sequence', rowid",
        values,
    ).fetchall()
    writes_schema = False
    for name, sql in tables:
        if name == "sqlite_sequence":
            yield "DELETE FROM sqlite_sequence;\n"
        elif name.startswith("sqlite_stat"):
            yield "ANALYZE sqlite_schema;\n"
        elif name.startswith("sqlite_"):
            continue
        elif sql.upper().startswith("CREATE VIRTUAL TABLE"):
            # Running the statement would make the shadow tables, whose rows come below, anew.
            if not writes_schema:
                writes_schema = True
                yield "PRAGMA writable_schema=ON;\n"
            yield (
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',"
                f"{text_literal(name)},{text_literal(name)},0,{text_literal(sql)});\n"
            )
            continue
        elif name in shadows:
            yield "CREATE TABLE IF NOT EXISTS" + sql[len("CREATE TABLE") :] + ";\n"
        else:
            yield f"{sql};\n"
        yield from _rows(connection, name)
    others = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL"
        f" AND {matches} ORDER BY type = 'view' DESC, type = 'index' DESC, rowid",
        values,
    ).fetchall()
    for (sql,) in others:
        yield f"{sql};\n"
    if writes_schema:
        yield "PRAGMA writable_schema=OFF;\n"


def _rows(connection: Connection, table: str) -> Iterator[str]:
    columns = describe_table(connection, table).stored_columns
    names = ",".join(identifier(column.name) for column in columns)
    all_columns = describe_table(connection, table).columns
    # Generated columns cannot be inserted, so the others must be named where there are any.
    named = f"({names})" if len(columns) < len(all_columns) else ""
    start = f"INSERT INTO {name_for_sql(table)}{named} VALUES("
    cursor = connection.execute(f"SELECT {names} FROM {identifier(table)}")
    while rows := cursor.fetchmany(_ROWS_A_FETCH):
        for row in rows:
            yield f"{start}{','.join(map(sql_literal, row))});\n"


def _like_any(patterns: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """SQL for "the name is like one of them", and its values."""
    chosen = tuple(patterns)
    if not chosen:
        return "1", ()
    tests = " OR ".join("name LIKE ? OR tbl_name LIKE ?" for _ in chosen)
    return f"({tests})", tuple(pattern for pattern in chosen for _ in range(2))
