"""Messages in JSON: every row names its columns.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from dolake.changes import Change, RowChange, SchemaChange, Values
from dolake.ingest.messages import (
    BatchMessage,
    ControlMessage,
    CopyRows,
    LakeMessage,
    SourceMessage,
    WireCopyRows,
    encoded,
)
from dolake.ingest.schema_messages import SchemaMessage, schema_change, schema_change_message
from dolake.ingest.wire_values import (
    Integer,
    JsonValue,
    Lsn,
    Name,
    PlainValue,
    text_as_json,
    value_as_json,
    value_of_json,
)


class PlainRow(RowChange, frozen=True, tag="row"):
    """A RowChange of plain values, as it is decoded."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Literal["insert", "update", "delete"]
    table: Name
    key: dict[str, PlainValue]  # type: ignore[assignment]
    before: dict[str, PlainValue] | None = None  # type: ignore[assignment]
    after: dict[str, PlainValue] | None = None  # type: ignore[assignment]


class SpecialRow(msgspec.Struct, frozen=True, tag="row"):
    """A row of JSON that may hold values that are wrapped, as blobs are."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Literal["insert", "update", "delete"]
    table: Name
    key: dict[str, JsonValue]
    before: dict[str, JsonValue] | None = None
    after: dict[str, JsonValue] | None = None


Row = TypeVar("Row", PlainRow, SpecialRow)


class JsonBatch(msgspec.Struct, Generic[Row], tag="batch", frozen=True):
    """Consecutive commits; with `more`, the only one goes on in a message with the next `part`."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    changes: tuple[Row | SchemaMessage, ...] = ()
    more: bool = False
    part: Lsn = 0


_decode_plain: Callable[[bytes | str], Any] = msgspec.json.Decoder(
    ControlMessage | JsonBatch[PlainRow] | WireCopyRows[PlainValue]
).decode
_decode_special: Callable[[bytes | str], Any] = msgspec.json.Decoder(
    ControlMessage | JsonBatch[SpecialRow] | WireCopyRows[JsonValue]
).decode
_encode = msgspec.json.Encoder().encode


def decode_json(raw: bytes | str) -> SourceMessage:
    """What a source sent. Errors: those of msgspec, ValueError."""
    try:
        message = _decode_plain(raw)
        is_plain = True
    except msgspec.ValidationError:
        message = _decode_special(raw)
        is_plain = False
    if isinstance(message, JsonBatch):
        changes = message.changes
        if not is_plain or any(type(change) is SchemaMessage for change in changes):
            changes = tuple(_change_of(change) for change in changes)
        return BatchMessage(
            message.sequence,
            message.after_lsn,
            message.last_lsn,
            changes,  # type: ignore[arg-type]
            message.more,
            message.part,
        )
    if isinstance(message, WireCopyRows):
        rows = message.rows
        if not is_plain:
            rows = tuple(tuple(map(value_of_json, row)) for row in rows)
        return CopyRows(message.sequence, message.table, rows)
    return message  # type: ignore[no-any-return]


def encode_json(message: SourceMessage | LakeMessage) -> bytes:
    """A message as it is sent."""
    return encoded(
        message,
        encode=_encode,
        as_batch=_batch,
        as_value=value_as_json,
        as_text=text_as_json,
    )


def _change_of(change: PlainRow | SpecialRow | SchemaMessage) -> Change:
    if isinstance(change, SchemaMessage):
        return schema_change(change)
    if isinstance(change, PlainRow):
        return change
    return RowChange(
        change.lsn,
        change.index,
        change.committed_at,
        change.operation,
        change.table,
        _values_of(change.key) or {},
        _values_of(change.before),
        _values_of(change.after),
    )


def _values_of(values: dict[str, Any] | None) -> Values | None:
    if values is None:
        return None
    return {name: value_of_json(value) for name, value in values.items()}


def _batch(batch: BatchMessage) -> dict[str, Any]:
    return {
        "type": "batch",
        "sequence": batch.sequence,
        "after_lsn": batch.after_lsn,
        "last_lsn": batch.last_lsn,
        "more": batch.more,
        "part": batch.part,
        "changes": [_change(change) for change in batch.changes],
    }


def _change(change: Change) -> Any:
    if isinstance(change, SchemaChange):
        return schema_change_message(change)
    return {
        "type": "row",
        "lsn": change.lsn,
        "index": change.index,
        "committed_at": change.committed_at,
        "operation": change.operation,
        "table": change.table,
        "key": _named(change.key),
        "before": _named(change.before),
        "after": _named(change.after),
    }


def _named(values: Values | None) -> Any:
    if values is None:
        return None
    return {name: value_as_json(value) for name, value in values.items()}
