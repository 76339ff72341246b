"""The versions of rows as a query sees them: columns, then since when, until when and by what."""

from __future__ import annotations

from collections.abc import Sequence

from dosql_core.history.moments import format_time
from dosql_core.history.periods import NOTHING, ResolvedPeriod
from dosql_core.history.row_history import TableHistory, TableShape
from dosql_core.history.row_reader import RowReader, is_told_by_rowid
from dosql_core.history.row_versions import RowVersion
from dosql_core.identifiers import EMPTY_LSN, Lsn, SqlValue
from dosql_core.rows.row_change import ROWID, Operation
from dosql_core.rows.table_declaration import BINARY, DeclaredColumn
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_history import PageHistory

VERSION_COLUMNS = (
    "_dosql_lsn INTEGER",
    "_dosql_operation TEXT",
    "_dosql_valid_from TEXT",
    "_dosql_valid_to TEXT",
)
_ROWID = DeclaredColumn(ROWID, "INTEGER", BINARY)
_COMMITS_AT_ONCE = 256  # reading one costs nearly as much as reading its neighbours, too
END_COLUMNS = ("_dosql_end_lsn INTEGER", "_dosql_end_operation TEXT")


class PeriodRows:
    """The versions of a table's rows in a period, each as a row when it is asked for.

    Shape: behind the table's columns come VERSION_COLUMNS, END_COLUMNS, and the rowid as often as
           the table is registered with names for it.
    """

    def __init__(self, history: PageHistory, table: TableHistory, period: ResolvedPeriod) -> None:
        self._history = history
        self._table = table
        self._period = period
        self._shape = table.shape(history, period.shape_lsn, period.horizon)
        self._times: dict[Lsn, str] = {}
        # What was there at the oldest moment that is kept came from who knows where.
        oldest = history.oldest_lsn
        self._unknown_up_to = oldest if oldest > EMPTY_LSN else Lsn(-1)

    def asked_for(
        self, key: Sequence[SqlValue] | None
    ) -> tuple[list[RowVersion], RowReader | None]:
        """The versions, all or those of one key; and what reads their payloads."""
        period = self._period
        if period.high == NOTHING:
            return [], None
        bounds = period.low, period.high, period.horizon
        found_key = None if key is None else comparable_key(self._shape, key)
        if key is not None and found_key is not None:
            if not may_be_key(self._shape.layout, found_key):
                return [], None
            versions, reader = self._table.versions_of(self._history, found_key, *bounds)
        else:
            versions, reader = self._table.versions(self._history, *bounds)
        if period.is_contained:
            versions = [
                version
                for version in versions
                if version[2] >= period.low and version[3] is not None and version[3] <= period.high
            ]
        return versions, reader

    def row(self, version: RowVersion, reader: RowReader) -> list[SqlValue]:
        """The table's columns in a version."""
        identity, payload, first, *_ = version
        return list(map(storable, reader.row(identity, payload, first, self._shape.epoch)))

    def about(self, version: RowVersion, column: int) -> SqlValue:
        """What is known of a version, counted behind the table's columns."""
        identity, _, first, end, before, after = version
        if column == 0:
            return first
        if column == 1:
            return self._operation(first, before)
        if column == 2:
            return self._time(first)
        if column == 3:
            return None if end is None else self._time(end)
        if column == 4:
            return end
        if column == 5:
            if end is None:
                return None
            return (Operation.DELETE if after is None else Operation.UPDATE).value
        return identity if isinstance(identity, int) else None

    def _operation(self, first: Lsn, before: bytes | None) -> str | None:
        if first <= self._unknown_up_to:
            return None
        return (Operation.INSERT if before is None else Operation.UPDATE).value

    def _time(self, lsn: Lsn) -> str:
        known = self._times.get(lsn)
        if known is None:
            first = lsn - lsn % _COMMITS_AT_ONCE
            last = min(first + _COMMITS_AT_ONCE - 1, self._period.horizon)
            for record in self._history.commits(Lsn(first), Lsn(last)):
                self._times[record.lsn] = format_time(record.committed_at)
            known = self._times[lsn]
        return known


def comparable_key(shape: TableShape, key: Sequence[SqlValue]) -> tuple[SqlValue, ...] | None:
    """The key as SQLite compares it with what is stored; None where only SQLite knows."""
    layout, declaration = shape.layout, shape.declaration
    if not layout.key:
        return tuple(_whole(_ROWID.comparable(value)[1]) for value in key)
    comparable = []
    for column, value in zip(declaration.key_columns(layout), key, strict=True):
        is_known, value = column.comparable(value)
        if not is_known:
            return None
        comparable.append(value)
    return tuple(map(_whole, comparable)) if is_told_by_rowid(layout) else tuple(comparable)


def may_be_key(layout: TableLayout, key: Sequence[SqlValue]) -> bool:
    """Whether a row may have the key: a rowid is a whole number, and no key equals NULL."""
    if is_told_by_rowid(layout):
        return isinstance(key[0], int)
    return None not in key


def storable(value: SqlValue) -> SqlValue:
    """The value as SQLite takes it: text that is none in the database's encoding is bytes."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    return value


def _whole(value: SqlValue) -> SqlValue:
    return int(value) if isinstance(value, float) and value.is_integer() else value
