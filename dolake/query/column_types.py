"""Iceberg's types as DuckDB names them, and defaults as it reads them."""

from __future__ import annotations

from typing import Any

from dolake.errors import LakeQueryError

_PRIMITIVES = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "timestamp_ns": "TIMESTAMP_NS",
    "timestamptz_ns": "TIMESTAMPTZ",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
    "unknown": "INTEGER",
}


def duckdb_type(type_: Any) -> str:
    """DuckDB's name of a type given as Iceberg's JSON.

    Errors: LakeQueryError for a type that DuckDB has not.
    """
    if isinstance(type_, str):
        if type_ in _PRIMITIVES:
            return _PRIMITIVES[type_]
        if type_.startswith("decimal"):
            return type_.upper()
        if type_.startswith("fixed"):
            return "BLOB"
        raise LakeQueryError(f"a column is of the type {type_}, which queries cannot read")
    if type_["type"] == "struct":
        inner = ", ".join(
            f"{quoted_name(item['name'])} {duckdb_type(item['type'])}" for item in type_["fields"]
        )
        return f"STRUCT({inner})"
    if type_["type"] == "list":
        return f"{duckdb_type(type_['element'])}[]"
    return f"MAP({duckdb_type(type_['key'])}, {duckdb_type(type_['value'])})"


def quoted_name(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def default_literal(value: Any, type_: Any) -> str:
    """The value that rows have which were written before their column was there."""
    if value is None or not isinstance(type_, str):
        return "NULL"
    if type_ in ("binary", "uuid") or type_.startswith("fixed"):
        raise LakeQueryError(f"a column of the type {type_} has a default: queries cannot read it")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return quoted_text(text)
