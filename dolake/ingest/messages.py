"""The messages between a source and the lake: their fields, and what a field may hold.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec

from dolake.changes import Change, RowChange, SqlValue

_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 63) - 1
Integer = Annotated[int, msgspec.Meta(ge=_INTEGER_MIN, le=_INTEGER_MAX)]
Lsn = Annotated[int, msgspec.Meta(ge=0, le=_INTEGER_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

# SQLite's values but blobs and infinities, and those as well. Almost no message needs the second
# kind, and telling blobs from text is what costs, so it is tried only where the first one fails.
PlainValue = None | Integer | float | str


class JsonSpecial(msgspec.Struct, forbid_unknown_fields=True):
    """What JSON has no value for: a blob in hexadecimal digits, or an infinite real."""

    base16: str | None = None
    real: Literal["inf", "-inf"] | None = None


class PackedBlob(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A blob in msgpack: an array of one binary, so that no text is mistaken for one."""

    data: bytes


JsonValue = None | Integer | float | str | JsonSpecial
PackedValue = None | Integer | float | str | PackedBlob


# -- what a source sends ---------------------------------------------------------------------------


class Connect(msgspec.Struct, tag="connect", frozen=True):
    """The first message: who sends, and up to where it knows its changes to be kept."""

    source: Name
    branch: Name = "main"
    token: str | None = None
    last_acknowledged_lsn: Lsn = 0
    database_id: str | None = None
    tier: Literal["P0", "P1", "P2", "P3"] | None = None
    sent_at: Integer | None = None


class CopyBegin(msgspec.Struct, tag="copy_begin", frozen=True):
    """The tables as of one LSN follow; they replace what the lake has of the source.

    Shape: with `keeps_others` the tables that are not among them stay as they are in the lake.
    """

    sequence: Lsn
    lsn: Lsn
    tables: tuple[TableSchemaMessage, ...]
    keeps_others: bool = False
    committed_at: Integer | None = None


class CopyEnd(msgspec.Struct, tag="copy_end", frozen=True):
    """Every row of the copy was sent."""

    sequence: Lsn


class Heartbeat(msgspec.Struct, tag="heartbeat", frozen=True):
    """I am there; answered with one of these."""

    sent_at: Integer | None = None
    committed_lsn: Lsn | None = None


class FlushRequest(msgspec.Struct, tag="flush", frozen=True):
    """Put what was sent into a snapshot now; answered when it is in one."""

    sequence: Lsn


class Disconnect(msgspec.Struct, tag="disconnect", frozen=True):
    """Nothing more will come on this connection."""


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


class PlainRow(RowChange, frozen=True, tag="row"):
    """A RowChange without blobs, as it is decoded."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Literal["insert", "update", "delete"]
    table: Name
    key: dict[str, PlainValue]  # type: ignore[assignment]
    before: dict[str, PlainValue] | None = None  # type: ignore[assignment]
    after: dict[str, PlainValue] | None = None  # type: ignore[assignment]


class SpecialRow(msgspec.Struct, frozen=True, tag="row"):
    """A row of JSON that may hold blobs."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Literal["insert", "update", "delete"]
    table: Name
    key: dict[str, JsonValue]
    before: dict[str, JsonValue] | None = None
    after: dict[str, JsonValue] | None = None


class PlainBatch(msgspec.Struct, tag="batch", frozen=True):
    """Consecutive commits; with `more`, the only one goes on in a message with the next `part`."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    changes: tuple[PlainRow | SchemaMessage, ...] = ()
    more: bool = False
    part: Lsn = 0


class SpecialBatch(msgspec.Struct, tag="batch", frozen=True):
    """The same where rows may hold blobs."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    changes: tuple[SpecialRow | SchemaMessage, ...] = ()
    more: bool = False
    part: Lsn = 0


class PlainCopyRows(msgspec.Struct, tag="copy_rows", frozen=True):
    """Some rows of one table of the copy, each an array in the order of the columns.

    Shape: of a table without a primary key, each row has its rowid in front.
    """

    sequence: Lsn
    table: Name
    rows: tuple[tuple[PlainValue, ...], ...]


class SpecialCopyRows(msgspec.Struct, tag="copy_rows", frozen=True):
    """The same where rows may hold blobs, in JSON."""

    sequence: Lsn
    table: Name
    rows: tuple[tuple[JsonValue, ...], ...]


class PackedCopyRows(msgspec.Struct, tag="copy_rows", frozen=True):
    """The same where rows may hold blobs, in msgpack."""

    sequence: Lsn
    table: Name
    rows: tuple[tuple[PackedValue, ...], ...]


class PackedTable(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A table that the rows of a compact batch name by its number."""

    table: Name
    columns: tuple[str, ...]
    key: tuple[str, ...]


class PackedPlainRow(msgspec.Struct, array_like=True, tag=0, forbid_unknown_fields=True):
    """A row of a compact batch; `key` is nil where the image holds its columns."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Annotated[int, msgspec.Meta(ge=0, le=2)]
    table: Lsn
    key: tuple[PlainValue, ...] | None
    before: tuple[PlainValue, ...] | None
    after: tuple[PlainValue, ...] | None


class PackedRow(msgspec.Struct, array_like=True, tag=0, forbid_unknown_fields=True):
    """The same where values may be blobs."""

    lsn: Lsn
    index: Lsn
    committed_at: Integer
    operation: Annotated[int, msgspec.Meta(ge=0, le=2)]
    table: Lsn
    key: tuple[PackedValue, ...] | None
    before: tuple[PackedValue, ...] | None
    after: tuple[PackedValue, ...] | None


class PackedSchema(msgspec.Struct, array_like=True, tag=1, forbid_unknown_fields=True):
    """A schema change among compact rows."""

    change: SchemaMessage


class PackedPlainBatch(msgspec.Struct, tag="batch", frozen=True):
    """A batch in msgpack: names of tables and columns once, rows as arrays of values."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    tables: tuple[PackedTable, ...] = ()
    changes: tuple[PackedPlainRow | PackedSchema, ...] = ()
    more: bool = False
    part: Lsn = 0


class PackedBatch(msgspec.Struct, tag="batch", frozen=True):
    """The same where values may be blobs."""

    sequence: Lsn
    after_lsn: Lsn
    last_lsn: Lsn
    tables: tuple[PackedTable, ...] = ()
    changes: tuple[PackedRow | PackedSchema, ...] = ()
    more: bool = False
    part: Lsn = 0


class BatchMessage(msgspec.Struct, frozen=True):
    """A batch as either form gives it."""

    sequence: int
    after_lsn: int
    last_lsn: int
    changes: tuple[Change, ...] = ()
    more: bool = False
    part: Lsn = 0


class CopyRows(msgspec.Struct, frozen=True):
    """Rows of a copy as either form gives them."""

    sequence: int
    table: str
    rows: tuple[tuple[SqlValue, ...], ...]


SourceMessage = (
    Connect | BatchMessage | CopyBegin | CopyRows | CopyEnd | Heartbeat | FlushRequest | Disconnect
)


# -- what the lake answers -------------------------------------------------------------------------


class Welcome(msgspec.Struct, tag="welcome", frozen=True):
    """Answers `connect`: go on after `accepted_lsn`; a copy is wanted where `needs_copy`.

    Shape: `last_commit` is the LSN and the time of a commit that the lake has, by which the source
           sees whether it is the one that made it.
    """

    session: str
    accepted_lsn: int
    committed_lsn: int
    needs_copy: bool
    tier: str
    heartbeat_seconds: float
    message_bytes_max: int
    event_bytes_max: int
    messages_per_second: float
    last_commit: tuple[int, int] | None = None


class Ack(msgspec.Struct, tag="ack", frozen=True):
    """What became of the message `sequence`.

    Shape: `status` is one of: ok, in a snapshot; persisted, on the lake's disk; buffered, in its
           memory; fallback, on its disk while the object store is away; duplicate, there already.
           Everything up to `lsn` is accepted, and up to `committed_lsn` in a snapshot.
    """

    sequence: int
    status: Literal["ok", "persisted", "buffered", "fallback", "duplicate"]
    lsn: int
    committed_lsn: int


class Nack(msgspec.Struct, tag="nack", frozen=True):
    """The message `sequence` was refused; null where it is not about one."""

    sequence: int | None
    reason: str
    code: str
    message: str
    expected_lsn: int | None = None
    retry_after_seconds: float | None = None


LakeMessage = Welcome | Ack | Nack | Heartbeat


class Form(enum.IntEnum):
    """How a message is written; the number is stored in the event log."""

    JSON = 1
    MSGPACK = 2
