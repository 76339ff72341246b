"""Messages in msgpack, the compact form: a batch names tables and columns once.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal

import msgspec

from dolake.changes import ROWID_KEY, Change, RowChange, SchemaChange, Values
from dolake.ingest.messages import (
    BatchMessage,
    ControlMessage,
    CopyRows,
    LakeMessage,
    SourceMessage,
    WireCopyRows,
    WireValue,
    encoded,
)
from dolake.ingest.schema_messages import SchemaMessage, schema_change, schema_change_message
from dolake.ingest.wire_values import (
    Integer,
    Lsn,
    Name,
    PackedValue,
    PlainValue,
    text_as_packed,
    value_as_packed,
    value_of_packed,
)

_OPERATIONS: tuple[Literal["insert", "update", "delete"], ...] = ("insert", "update", "delete")


class PackedTable(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A table that the rows of a compact batch name by its number."""

    table: Name
    columns: tuple[str, ...]
    key: tuple[str, ...]


class PackedRow(
    msgspec.Struct, Generic[WireValue], array_like=True, tag=0, forbid_unknown_fields=True
):
    """A row of a compact batch; `key` is nil where the image holds its columns."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Annotated[int, msgspec.Meta(ge=0, le=2)]
    table: Lsn
    key: tuple[WireValue, ...] | None
    before: tuple[WireValue, ...] | None
    after: tuple[WireValue, ...] | None


class PackedSchema(msgspec.Struct, array_like=True, tag=1, forbid_unknown_fields=True):
    """A schema change among compact rows."""

    change: SchemaMessage


class PackedBatch(msgspec.Struct, Generic[WireValue], tag="batch", frozen=True):
    """A batch in msgpack: names of tables and columns once, rows as arrays of values."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    tables: tuple[PackedTable, ...] = ()
    changes: tuple[PackedRow[WireValue] | PackedSchema, ...] = ()
    more: bool = False
    part: Lsn = 0


_decode_plain: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    ControlMessage | PackedBatch[PlainValue] | WireCopyRows[PlainValue]
).decode
_decode_special: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    ControlMessage | PackedBatch[PackedValue] | WireCopyRows[PackedValue]
).decode
_encode = msgspec.msgpack.Encoder().encode


def decode_packed(raw: bytes) -> SourceMessage:
    """What a source sent. Errors: those of msgspec, ValueError, IndexError."""
    try:
        message = _decode_plain(raw)
        is_plain = True
    except msgspec.ValidationError:
        message = _decode_special(raw)
        is_plain = False
    if isinstance(message, PackedBatch):
        unpack = _unpacker(message.tables, is_plain=is_plain)
        return BatchMessage(
            message.sequence,
            message.after_lsn,
            message.last_lsn,
            tuple(map(unpack, message.changes)),
            message.more,
            message.part,
        )
    if isinstance(message, WireCopyRows):
        rows = message.rows
        if not is_plain:
            rows = tuple(tuple(map(value_of_packed, row)) for row in rows)
        return CopyRows(message.sequence, message.table, rows)
    return message  # type: ignore[no-any-return]


def encode_packed(message: SourceMessage | LakeMessage) -> bytes:
    """A message as it is sent."""
    return encoded(
        message,
        encode=_encode,
        as_batch=_batch,
        as_value=value_as_packed,
        as_text=text_as_packed,
    )


def _unpacker(
    tables: tuple[PackedTable, ...], *, is_plain: bool
) -> Callable[[PackedRow[Any] | PackedSchema], Change]:
    def unpack(change: PackedRow[Any] | PackedSchema) -> Change:
        if type(change) is PackedSchema:
            return schema_change(change.change)
        table = tables[change.table]  # type: ignore[union-attr]
        before: Any = change.before  # type: ignore[union-attr]
        after: Any = change.after  # type: ignore[union-attr]
        key: Any = change.key  # type: ignore[union-attr]
        if not is_plain:
            before = None if before is None else tuple(map(value_of_packed, before))
            after = None if after is None else tuple(map(value_of_packed, after))
            key = None if key is None else tuple(map(value_of_packed, key))
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


def _batch(batch: BatchMessage) -> dict[str, Any]:
    numbers: dict[tuple[str, tuple[str, ...], tuple[str, ...]], int] = {}
    changes: list[Any] = []
    for change in batch.changes:
        if isinstance(change, SchemaChange):
            changes.append(PackedSchema(schema_change_message(change)))
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
                None if is_in_image else _values(change.key),
                _values(before),
                _values(change.after),
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


def _values(values: Values | None) -> list[Any] | None:
    return None if values is None else [value_as_packed(value) for value in values.values()]
