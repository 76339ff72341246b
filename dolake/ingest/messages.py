"""The messages between a source and the lake, as a program has them whatever their form.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from dolake.changes import Change, RowChange, SqlValue, Values
from dolake.ingest.schema_messages import TableSchemaMessage
from dolake.ingest.wire_values import Integer, Lsn, Name

WireValue = TypeVar("WireValue")
"""The values that rows of a message may hold: plain ones, or those that are wrapped as well."""

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


class CopyRows(msgspec.Struct, frozen=True):
    """Rows of a copy as either form gives them."""

    sequence: int
    table: str
    rows: tuple[tuple[SqlValue, ...], ...]


class WireCopyRows(msgspec.Struct, Generic[WireValue], tag="copy_rows", frozen=True):
    """Some rows of one table of the copy, each an array in the order of the columns.

    Shape: of a table without a primary key, each row has its rowid in front.
    """

    sequence: Lsn
    table: Name
    rows: tuple[tuple[WireValue, ...], ...]


class CopyEnd(msgspec.Struct, tag="copy_end", frozen=True):
    """Every row of the copy was sent."""

    sequence: Lsn


class BatchMessage(msgspec.Struct, frozen=True):
    """A batch as either form gives it."""

    sequence: int
    after_lsn: int
    last_lsn: int
    changes: tuple[Change, ...] = ()
    more: bool = False
    part: Lsn = 0


def with_each_value(
    message: BatchMessage | CopyRows, of: Callable[[SqlValue], Any]
) -> BatchMessage | CopyRows:
    """The message with `of` applied to every value of its rows."""
    if isinstance(message, CopyRows):
        rows = tuple(tuple(map(of, row)) for row in message.rows)
        return msgspec.structs.replace(message, rows=rows)

    def image(values: Values | None) -> Any:
        return None if values is None else {name: of(value) for name, value in values.items()}

    changes = tuple(
        msgspec.structs.replace(
            change, key=image(change.key), before=image(change.before), after=image(change.after)
        )
        if isinstance(change, RowChange)
        else change
        for change in message.changes
    )
    return msgspec.structs.replace(message, changes=changes)


class Heartbeat(msgspec.Struct, tag="heartbeat", frozen=True):
    """I am there; answered with one of these."""

    sent_at: Integer | None = None
    committed_lsn: Lsn | None = None


class FlushRequest(msgspec.Struct, tag="flush", frozen=True):
    """Put what was sent into a snapshot now; answered when it is in one."""

    sequence: Lsn


class Disconnect(msgspec.Struct, tag="disconnect", frozen=True):
    """Nothing more will come on this connection."""


ControlMessage = Connect | CopyBegin | CopyEnd | Heartbeat | FlushRequest | Disconnect
"""Those that are written as they are in either form."""

SourceMessage = ControlMessage | BatchMessage | CopyRows


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


def encoded(
    message: SourceMessage | LakeMessage,
    *,
    encode: Callable[[Any], bytes],
    as_batch: Callable[[BatchMessage], Any],
    as_value: Callable[[SqlValue], Any],
    as_text: Callable[[SqlValue], Any],
) -> bytes:
    """A message as it is sent in one of the forms.

    Shape: `as_batch` gives a batch, `as_value` a value of a copied row, as `encode` takes them;
           `as_text` wraps text that is no Unicode, for the messages that have some.
    """

    def wire(message: SourceMessage | LakeMessage) -> Any:
        if isinstance(message, BatchMessage):
            return as_batch(message)
        if isinstance(message, CopyRows):
            rows = [[as_value(value) for value in row] for row in message.rows]
            return {
                "type": "copy_rows",
                "sequence": message.sequence,
                "table": message.table,
                "rows": rows,
            }
        return message

    try:
        return encode(wire(message))
    except UnicodeEncodeError:
        if not isinstance(message, BatchMessage | CopyRows):
            raise
        return encode(wire(with_each_value(message, as_text)))
