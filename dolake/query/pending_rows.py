"""Changes that stand beside a snapshot in a query: its rows less those replaced, and new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from dolake.catalog.pointers import TableIdentifier
from dolake.query.column_types import quoted_name
from dolake.query.query_result import TableRead
from dolake.query.query_text import SCHEMA, TableReference


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
            keys[name], column = _key_column([key[name] for key in pending.replaced], name)
            conditions.append(f"replaced.{quoted_name(name)} = {column}")
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
    try:
        return pa.array(values), column
    except pa.ArrowException:
        return pa.array([str(value) for value in values]), f"{column}::VARCHAR"


def store_rows(connection: duckdb.DuckDBPyConnection, relation: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {relation} AS SELECT * FROM incoming")
    connection.unregister("incoming")
