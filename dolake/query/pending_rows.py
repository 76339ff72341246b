"""Changes that stand beside a snapshot in a query: its rows less those replaced, and new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from dolake.catalog.identifiers import TableIdentifier
from dolake.query.column_types import quoted_name, quoted_text
from dolake.query.query_result import TableRead
from dolake.query.query_text import SCHEMA, TableReference
from dolake.tables.value_conversion import MISFIT_COLUMN, as_unicode


@dataclass(frozen=True, slots=True)
class Pending:
    """What is not committed yet of a table.

    Shape: `rows` has the table's columns; `replaced` the keys of the committed rows that no longer
           count, values by column; with `is_emptied` none of them counts.
    """

    rows: pa.Table
    replaced: Sequence[Mapping[str, Any]] = ()
    is_emptied: bool = False


PendingChanges = Callable[[TableIdentifier], Pending | None]
"""Gives what is pending of a table, None where nothing is. It is called from any thread."""


def with_pending(
    connection: duckdb.DuckDBPyConnection,
    table: TableRead,
    reference: TableReference,
    pending: Pending,
) -> str:
    """The committed rows, less those that pending ones replace, and the pending ones."""
    rows, names = pending.rows, [item["name"] for item in table.plan.schema["fields"]]
    about = ".".join(reference.relation)
    staged = f"{SCHEMA}.{quoted_name('pending of ' + about)}"
    store_rows(connection, staged, rows)
    committed = f"SELECT * FROM ({table.plan.sql}) AS committed"
    if pending.is_emptied:
        committed += " WHERE false"
    elif pending.replaced:
        replaced = f"{SCHEMA}.{quoted_name('replaced of ' + about)}"
        keys, conditions = {}, []
        for name in pending.replaced[0]:
            values = [as_unicode(key[name]) for key in pending.replaced]
            unicode = [None if isinstance(value, dict) else value for value in values]
            keys[name], column = _key_column(unicode, name)
            condition = f"replaced.{quoted_name(name)} = {column}"
            if unicode != values and MISFIT_COLUMN in names:
                misfit = f"{name} as stored"
                keys[misfit] = pa.array(
                    [value["text"] if isinstance(value, dict) else None for value in values]
                )
                condition += f" OR replaced.{quoted_name(misfit)} = {_text_among_misfits(name)}"
            conditions.append(f"({condition})")
        store_rows(connection, replaced, pa.table(keys))
        committed += (
            f" WHERE NOT EXISTS (SELECT 1 FROM {replaced} AS replaced "
            f"WHERE {' AND '.join(conditions)})"
        )
    chosen = ", ".join(
        quoted_name(name) if name in rows.column_names else f"NULL AS {quoted_name(name)}"
        for name in names
    )
    return f"{committed} UNION ALL SELECT {chosen} FROM {staged}"


def _key_column(values: list[Any], name: str) -> tuple[pa.Array, str]:
    """Values of one column of a key, and the committed column as it is compared with them.

    DuckDB converts what it compares, such as a date written as text; a column of SQLite's that
    holds values of several types is compared as text.
    """
    column = f"committed.{quoted_name(name)}"
    if values.count(None) == len(values):
        return pa.array(values, pa.string()), column  # NULL of a type that all others convert from
    try:
        return pa.array(values), column
    except pa.ArrowException:
        return pa.array([str(value) for value in values]), f"{column}::VARCHAR"


def _text_among_misfits(name: str) -> str:
    """The digits of a committed text that is no Unicode: its own column is NULL."""
    pointer = "/" + name.replace("~", "~0").replace("/", "~1") + "/text"
    column = f"committed.{quoted_name(MISFIT_COLUMN)}"
    return f"json_extract_string({column}, {quoted_text(pointer)})"


def store_rows(connection: duckdb.DuckDBPyConnection, relation: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {relation} AS SELECT * FROM incoming")
    connection.unregister("incoming")
