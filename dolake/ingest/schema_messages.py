"""Tables and changes of tables on the wire, the same in both forms.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from dolake.changes import Column, SchemaChange, SqlValue, TableSchema
from dolake.ingest.wire_values import (
    Integer,
    JsonSpecial,
    Lsn,
    Name,
    PackedBlob,
    text_as_json,
    value_as_json,
    value_of_json,
    value_of_packed,
)


class ColumnMessage(msgspec.Struct, frozen=True):
    """A Column on the wire."""

    name: str
    declared_type: str
    is_not_null: bool = False
    key_position: Annotated[int, msgspec.Meta(ge=0, le=32767)] = 0
    default: Any = None


class TableSchemaMessage(msgspec.Struct, frozen=True):
    """A TableSchema on the wire."""

    table: Name
    columns: tuple[ColumnMessage, ...]


class SchemaMessage(msgspec.Struct, tag="schema", frozen=True):
    """A SchemaChange on the wire."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    table: Name
    before: TableSchemaMessage | None = None
    after: TableSchemaMessage | None = None
    renamed: dict[str, str] = {}


def table_schema(message: TableSchemaMessage) -> TableSchema:
    """The table that a message describes. Errors: ValueError for a default that is no value."""
    return TableSchema(
        message.table,
        tuple(
            Column(
                column.name,
                column.declared_type,
                column.is_not_null,
                column.key_position,
                _default_value(column.default),
            )
            for column in message.columns
        ),
    )


def schema_message(schema: TableSchema) -> TableSchemaMessage:
    """A table as CopyBegin and schema changes tell it, in either form."""
    return TableSchemaMessage(
        schema.table,
        tuple(
            ColumnMessage(
                column.name,
                column.declared_type,
                column.is_not_null,
                column.key_position,
                text_as_json(value_as_json(column.default)),
            )
            for column in schema.columns
        ),
    )


def schema_change(change: SchemaMessage) -> SchemaChange:
    """The change that a message tells of."""
    return SchemaChange(
        change.lsn,
        change.index,
        change.committed_at,
        change.table,
        None if change.before is None else table_schema(change.before),
        None if change.after is None else table_schema(change.after),
        change.renamed,
    )


def schema_change_message(change: SchemaChange) -> SchemaMessage:
    """A change of a table as it is told."""
    return SchemaMessage(
        change.lsn,
        change.index,
        change.committed_at,
        change.table,
        None if change.before is None else schema_message(change.before),
        None if change.after is None else schema_message(change.after),
        change.renamed,
    )


def _default_value(told: Any) -> SqlValue:
    if told is None or type(told) in (int, float, str):
        return told  # type: ignore[no-any-return]
    if isinstance(told, dict):
        return value_of_json(msgspec.convert(told, JsonSpecial))
    if isinstance(told, list):
        return value_of_packed(msgspec.convert(told, PackedBlob))
    raise ValueError(f"{told!r} is no default of a column")
