"""Messages as bytes and back: JSON, and msgpack that names columns once; no I/O.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from dolake.changes import (
    ROWID_KEY,
    Batch,
    Change,
    Column,
    RowChange,
    SchemaChange,
    SqlValue,
    TableSchema,
    Values,
)
from dolake.errors import MalformedMessageError
from dolake.ingest.messages import (
    BatchMessage,
    ColumnMessage,
    Connect,
    CopyBegin,
    CopyEnd,
    CopyRows,
    Disconnect,
    FlushRequest,
    Form,
    Heartbeat,
    JsonSpecial,
    LakeMessage,
    PackedBatch,
    PackedBlob,
    PackedCopyRows,
    PackedPlainBatch,
    PackedPlainRow,
    PackedRow,
    PackedSchema,
    PackedTable,
    PlainBatch,
    PlainCopyRows,
    PlainRow,
    SchemaMessage,
    SourceMessage,
    SpecialBatch,
    SpecialCopyRows,
    SpecialRow,
    TableSchemaMessage,
)

# -- reading ---------------------------------------------------------------------------------------

_Control = Connect | CopyBegin | CopyEnd | Heartbeat | FlushRequest | Disconnect
_decode_plain_json: Callable[[bytes | str], Any] = msgspec.json.Decoder(
    _Control | PlainBatch | PlainCopyRows
).decode
_decode_special_json: Callable[[bytes | str], Any] = msgspec.json.Decoder(
    _Control | SpecialBatch | SpecialCopyRows
).decode
_decode_plain_packed: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    _Control | PackedPlainBatch | PlainCopyRows
).decode
_decode_special_packed: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    _Control | PackedBatch | PackedCopyRows
).decode
_decode_json_answer: Callable[[str], LakeMessage] = msgspec.json.Decoder(LakeMessage).decode
_decode_packed_answer: Callable[[bytes], LakeMessage] = msgspec.msgpack.Decoder(LakeMessage).decode
_OPERATIONS: tuple[Literal["insert", "update", "delete"], ...] = ("insert", "update", "delete")


def decode_message(raw: bytes | str, form: Form) -> SourceMessage:
    """What a source sent.

    Errors: MalformedMessageError.
    """
    try:
        if form is Form.JSON:
            return _decode_json(raw)
        assert isinstance(raw, bytes)
        return _decode_packed(raw)
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError, TypeError) as error:
        raise MalformedMessageError(f"the message makes no sense: {error}") from error


def decode_answer(raw: bytes | str) -> LakeMessage:
    """What the lake answered: text is JSON, bytes are msgpack. Errors: MalformedMessageError."""
    try:
        if isinstance(raw, str):
            return _decode_json_answer(raw)
        return _decode_packed_answer(raw)
    except msgspec.MsgspecError as error:
        raise MalformedMessageError(f"the lake's answer makes no sense: {error}") from error


def _decode_json(raw: bytes | str) -> SourceMessage:
    try:
        message = _decode_plain_json(raw)
        is_plain = True
    except msgspec.ValidationError:
        message = _decode_special_json(raw)
        is_plain = False
    if isinstance(message, PlainBatch | SpecialBatch):
        changes = message.changes
        if not is_plain or any(type(change) is SchemaMessage for change in changes):
            changes = tuple(_change_of_json(change) for change in changes)  # type: ignore[assignment]
        return BatchMessage(
            message.sequence,
            message.after_lsn,
            message.last_lsn,
            changes,  # type: ignore[arg-type]
            message.more,
            message.part,
        )
    if isinstance(message, PlainCopyRows):
        return CopyRows(message.sequence, message.table, message.rows)
    if isinstance(message, SpecialCopyRows):
        rows = tuple(tuple(map(_value_of_json, row)) for row in message.rows)
        return CopyRows(message.sequence, message.table, rows)
    return message  # type: ignore[no-any-return]


def _decode_packed(raw: bytes) -> SourceMessage:
    try:
        message = _decode_plain_packed(raw)
    except msgspec.ValidationError:
        message = _decode_special_packed(raw)
    if isinstance(message, PackedPlainBatch | PackedBatch):
        unpack = _unpacker(message.tables, is_plain=isinstance(message, PackedPlainBatch))
        return BatchMessage(
            message.sequence,
            message.after_lsn,
            message.last_lsn,
            tuple(map(unpack, message.changes)),
            message.more,
            message.part,
        )
    if isinstance(message, PlainCopyRows):
        return CopyRows(message.sequence, message.table, message.rows)
    if isinstance(message, PackedCopyRows):
        rows = tuple(tuple(map(_value_of_packed, row)) for row in message.rows)
        return CopyRows(message.sequence, message.table, rows)
    return message  # type: ignore[no-any-return]


def _value_of_json(value: Any) -> SqlValue:
    if type(value) is not JsonSpecial:
        return value  # type: ignore[no-any-return]
    if value.base16 is not None and value.real is None:
        return bytes.fromhex(value.base16)
    if value.real is not None and value.base16 is None:
        return float(value.real)
    raise ValueError('a special value is {"base16": digits} or {"real": "inf"}')


def _value_of_packed(value: Any) -> SqlValue:
    return value.data if type(value) is PackedBlob else value


def _values_of_json(values: dict[str, Any] | None) -> Values | None:
    if values is None:
        return None
    return {name: _value_of_json(value) for name, value in values.items()}


def _change_of_json(change: PlainRow | SpecialRow | SchemaMessage) -> Change:
    if isinstance(change, SchemaMessage):
        return _schema_change(change)
    if isinstance(change, PlainRow):
        return change
    return RowChange(
        change.lsn,
        change.index,
        change.committed_at,
        change.operation,
        change.table,
        _values_of_json(change.key) or {},
        _values_of_json(change.before),
        _values_of_json(change.after),
    )


def _schema_change(change: SchemaMessage) -> SchemaChange:
    return SchemaChange(
        change.lsn,
        change.index,
        change.committed_at,
        change.table,
        None if change.before is None else table_schema(change.before),
        None if change.after is None else table_schema(change.after),
        change.renamed,
    )


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


def _default_value(told: Any) -> SqlValue:
    if told is None or type(told) in (int, float, str):
        return told  # type: ignore[no-any-return]
    if isinstance(told, dict):
        return _value_of_json(msgspec.convert(told, JsonSpecial))
    if isinstance(told, list):
        return msgspec.convert(told, PackedBlob).data
    raise ValueError(f"{told!r} is no default of a column")


def _unpacker(
    tables: tuple[PackedTable, ...], *, is_plain: bool
) -> Callable[[PackedPlainRow | PackedRow | PackedSchema], Change]:
    def unpack(change: PackedPlainRow | PackedRow | PackedSchema) -> Change:
        if type(change) is PackedSchema:
            return _schema_change(change.change)
        table = tables[change.table]  # type: ignore[union-attr]
        before: Any = change.before  # type: ignore[union-attr]
        after: Any = change.after  # type: ignore[union-attr]
        key: Any = change.key  # type: ignore[union-attr]
        if not is_plain:
            before = None if before is None else tuple(map(_value_of_packed, before))
            after = None if after is None else tuple(map(_value_of_packed, after))
            key = None if key is None else tuple(map(_value_of_packed, key))
        if before is not None:
            before = dict(zip(table.columns, before, strict=True))
        if after is not None:
            after = dict(zip(table.columns, after, strict=True))
        if key is not None:
            names = table.key if len(key) == len(table.key) else (ROWID_KEY,)
            named_key = dict(zip(names, key, strict=True))
        else:
            image = before if after is None else after
            if image is None:
                raise ValueError("a row has neither a key nor an image")
            try:
                named_key = {name: image[name] for name in table.key}
            except KeyError as missing:
                raise ValueError(f"no column of the row is its key's {missing}") from None
        return RowChange(
            change.lsn,  # type: ignore[union-attr]
            change.index,  # type: ignore[union-attr]
            change.committed_at,  # type: ignore[union-attr]
            _OPERATIONS[change.operation],  # type: ignore[union-attr]
            table.table,
            named_key,
            before,
            after,
        )

    return unpack


# -- writing ---------------------------------------------------------------------------------------

_json = msgspec.json.Encoder()
_packed = msgspec.msgpack.Encoder()


def encode_message(message: SourceMessage | LakeMessage, form: Form) -> bytes:
    """A message as it is sent; what a Form.JSON socket sends is the text of these bytes."""
    if form is Form.JSON:
        if isinstance(message, BatchMessage):
            return _json.encode(_json_batch(message))
        if isinstance(message, CopyRows):
            rows = [[_value_as_json(value) for value in row] for row in message.rows]
            return _json.encode({"type": "copy_rows", **_fields(message), "rows": rows})
        return _json.encode(message)
    if isinstance(message, BatchMessage):
        return _packed.encode(_packed_batch(message))
    if isinstance(message, CopyRows):
        packed = [[_value_as_packed(value) for value in row] for row in message.rows]
        return _packed.encode({"type": "copy_rows", **_fields(message), "rows": packed})
    return _packed.encode(message)


def _fields(message: CopyRows) -> dict[str, Any]:
    return {"sequence": message.sequence, "table": message.table}


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
                _value_as_json(column.default),
            )
            for column in schema.columns
        ),
    )


def _value_as_json(value: SqlValue) -> Any:
    if isinstance(value, bytes):
        return {"base16": value.hex()}
    if isinstance(value, float) and math.isinf(value):
        return {"real": "inf" if value > 0 else "-inf"}
    return value


def _value_as_packed(value: SqlValue) -> Any:
    return (value,) if isinstance(value, bytes) else value


def _named_as_json(values: Values | None) -> Any:
    if values is None:
        return None
    return {name: _value_as_json(value) for name, value in values.items()}


def _json_batch(batch: BatchMessage) -> dict[str, Any]:
    return {
        "type": "batch",
        "sequence": batch.sequence,
        "after_lsn": batch.after_lsn,
        "last_lsn": batch.last_lsn,
        "more": batch.more,
        "part": batch.part,
        "changes": [_change_as_json(change) for change in batch.changes],
    }


def _change_as_json(change: Change) -> Any:
    if isinstance(change, SchemaChange):
        return _schema_as_message(change)
    return {
        "type": "row",
        "lsn": change.lsn,
        "index": change.index,
        "committed_at": change.committed_at,
        "operation": change.operation,
        "table": change.table,
        "key": _named_as_json(change.key),
        "before": _named_as_json(change.before),
        "after": _named_as_json(change.after),
    }


def _schema_as_message(change: SchemaChange) -> SchemaMessage:
    return SchemaMessage(
        change.lsn,
        change.index,
        change.committed_at,
        change.table,
        None if change.before is None else schema_message(change.before),
        None if change.after is None else schema_message(change.after),
        change.renamed,
    )


def _packed_batch(batch: BatchMessage) -> dict[str, Any]:
    numbers: dict[tuple[str, tuple[str, ...], tuple[str, ...]], int] = {}
    changes: list[Any] = []
    for change in batch.changes:
        if isinstance(change, SchemaChange):
            changes.append(PackedSchema(_schema_as_message(change)))
            continue
        image = change.after if change.after is not None else change.before
        columns = tuple(image or ())
        key_columns = tuple(change.key)
        number = numbers.setdefault((change.table, columns, key_columns), len(numbers))
        is_in_image = image is not None and all(
            name in image and image[name] == value and type(image[name]) is type(value)
            for name, value in change.key.items()
        )
        before = change.before
        if before is not None and tuple(before) != columns:
            # Columns differ within one change: the image before goes in its own order, which only
            # a schema change in the same commit brings about; then it is left out.
            before = None
        changes.append(
            (
                0,
                change.lsn,
                change.index,
                change.committed_at,
                _OPERATIONS.index(change.operation),
                number,
                None if is_in_image else _packed_values(change.key),
                _packed_values(before),
                _packed_values(change.after),
            )
        )
    return {
        "type": "batch",
        "sequence": batch.sequence,
        "after_lsn": batch.after_lsn,
        "last_lsn": batch.last_lsn,
        "more": batch.more,
        "part": batch.part,
        "tables": list(numbers),
        "changes": changes,
    }


def _packed_values(values: Values | None) -> list[Any] | None:
    return None if values is None else [_value_as_packed(value) for value in values.values()]


def batch_of(message: BatchMessage, source: str, branch: str) -> Batch:
    """The batch that a message carries."""
    return Batch(source, branch, message.after_lsn, message.last_lsn, message.changes)
