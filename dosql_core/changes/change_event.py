"""What happened to a row, to the schema or to the stream itself, at one LSN."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Any, NamedTuple

from dosql_core.identifiers import BranchName, Lsn
from dosql_core.rows.row_change import NamedValues


class EventKind(enum.StrEnum):
    """What an event tells."""

    BEGIN = "begin"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    SCHEMA = "schema"
    GAP = "gap"
    COMMIT = "commit"


ROW_EVENTS = frozenset((EventKind.INSERT, EventKind.UPDATE, EventKind.DELETE))
MARKER_EVENTS = frozenset((EventKind.BEGIN, EventKind.COMMIT))


class ChangeEvent(NamedTuple):
    """One thing that a commit did.

    Shape: `index` counts the events of a commit from 0, so that (branch, lsn, index) names an event
           for ever. Row events have `table`, `key` and the images `before` and `after`, which hold
           every column but generated ones; `cause` is "trigger NAME" or "foreign key" where it is
           known that the statement itself did not name the row. A schema event has `object_kind`
           and `table` (the name of the object), and its SQL in `before` and `after` under "sql". A
           gap event precedes the net difference of commits of which nobody saw the single ones.
    Units:  `committed_at` is UTC.
    """

    branch: BranchName
    lsn: Lsn
    index: int  # type: ignore[assignment]  # a tuple's method, which nobody misses
    committed_at: datetime.datetime
    operation: EventKind
    table: str | None = None
    key: NamedValues | None = None
    before: NamedValues | None = None
    after: NamedValues | None = None
    cause: str | None = None
    object_kind: str | None = None
    author: str | None = None
    message: str | None = None

    @property
    def token(self) -> tuple[str, int, int]:
        """What makes applying an event twice avoidable: no other event ever has it."""
        return (self.branch, self.lsn, self.index)

    def to_json(self) -> str:
        """The event as one line of JSON; a blob is `{"base16": ...}`."""
        values: dict[str, Any] = {
            "branch": self.branch,
            "lsn": self.lsn,
            "index": self.index,
            "committed_at": self.committed_at.isoformat(),
            "operation": self.operation.value,
        }
        for name in (
            "table",
            "object_kind",
            "key",
            "before",
            "after",
            "cause",
            "author",
            "message",
        ):
            value = getattr(self, name)
            if value is not None:
                values[name] = value
        return json.dumps(values, ensure_ascii=False, default=_blob_as_json)


def _blob_as_json(value: Any) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"base16": value.hex()}
