"""What a CREATE TABLE of a source says about columns and keys, as SQLite itself understands it."""

from __future__ import annotations

import contextlib
import functools

import dosql_dbapi
from dolake.changes import Column, SqlValue, TableSchema

_VIRTUAL, _STORED = 2, 3  # `hidden` of pragma_table_xinfo for generated columns


def is_virtual(sql: str | None) -> bool:
    """Whether a schema entry's SQL makes a virtual table, which has no rows of its own."""
    return sql is not None and sql[:32].upper().split()[:2] == ["CREATE", "VIRTUAL"]


@functools.lru_cache(maxsize=512)
def schema_of_sql(table: str, sql: str) -> TableSchema:
    """The table that a CREATE TABLE makes, without its generated columns."""
    with contextlib.closing(
        dosql_dbapi.connect(":memory:", isolation_level=None, history=False)
    ) as scratch:
        scratch.execute(sql)
        (name,) = scratch.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid LIMIT 1"
        ).fetchone()
        described = scratch.execute(
            'SELECT name, type, "notnull", pk, hidden, dflt_value FROM pragma_table_xinfo(?)',
            (name,),
        ).fetchall()
        return TableSchema(
            table,
            tuple(
                Column(column, declared, bool(not_null), key, _default(scratch, declared, default))
                for column, declared, not_null, key, hidden, default in described
                if hidden not in (_VIRTUAL, _STORED)
            ),
        )


def renamed_columns(before: TableSchema, after: TableSchema) -> dict[str, str]:
    """Columns that are the same under another name: in the same place, with the same declaration.

    ALTER TABLE RENAME COLUMN changes nothing else; dropping and adding one moves it to the end.
    """
    old_names = {column.name for column in before.columns}
    new_names = {column.name for column in after.columns}
    if len(before.columns) != len(after.columns):
        return {}
    return {
        old.name: new.name
        for old, new in zip(before.columns, after.columns, strict=True)
        if old.name != new.name
        and old.name not in new_names
        and new.name not in old_names
        and (old.declared_type, old.is_not_null, old.key_position, old.default)
        == (new.declared_type, new.is_not_null, new.key_position, new.default)
    }


def _default(scratch: dosql_dbapi.Connection, declared: str, default: str | None) -> SqlValue:
    """What rows older than the column hold in it, with the affinity of the column."""
    if default is None:
        return None
    scratch.execute("DROP TABLE IF EXISTS temp._dolake_default")
    try:
        scratch.execute(
            f"CREATE TEMP TABLE _dolake_default(one, value {declared} DEFAULT {default})"
        )
        scratch.execute("INSERT INTO temp._dolake_default(one) VALUES (1)")
    except dosql_dbapi.Error:
        return None  # no constant: then the column was there from the beginning
    value: SqlValue = scratch.execute("SELECT value FROM temp._dolake_default").fetchone()[0]
    return value
