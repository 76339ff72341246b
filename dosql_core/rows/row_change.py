"""A row that differs, with the names of its columns: what users are shown."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue
from dosql_core.rows.row_difference import Row, RowDifference, TablePair
from dosql_core.rows.table_layout import TableLayout

ROWID = "rowid"
NamedValues = dict[str, SqlValue]


class Operation(enum.StrEnum):
    """What happened to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row inserted, updated or deleted between two moments.

    Shape: `key` is the primary key by column, or `{"rowid": n}` where there is none. `before` and
           `after` hold every column but generated ones, by name; an inserted row has no `before`,
           a deleted one no `after`.
    """

    table: str
    operation: Operation
    key: NamedValues
    before: NamedValues | None
    after: NamedValues | None

    @property
    def changed_columns(self) -> tuple[str, ...]:
        """The columns of an update that do not hold what they held."""
        if self.before is None or self.after is None:
            return ()
        before = self.before
        return tuple(
            name
            for name, value in self.after.items()
            if name not in before or before[name] != value or type(before[name]) is not type(value)
        )


def is_same_value(one: SqlValue, other: SqlValue) -> bool:
    """Whether two values are one to SQLite: to Python 1 equals 1.0, to SQLite they differ."""
    return one == other and type(one) is type(other)


def row_change(pair: TablePair, difference: RowDifference) -> RowChange:
    """The difference with names."""
    if difference.before is None:
        operation = Operation.INSERT
    elif difference.after is None:
        operation = Operation.DELETE
    else:
        operation = Operation.UPDATE
    layout = pair.before if difference.after is None else pair.after
    assert layout is not None
    row = difference.after if difference.after is not None else difference.before
    assert row is not None
    has_key, _ = layout.identity(row, None)
    names = layout.key if has_key else (ROWID,)
    return RowChange(
        difference.table,
        operation,
        dict(zip(names, difference.key, strict=True)),
        _named(pair.before, difference.before),
        _named(pair.after, difference.after),
    )


def _named(layout: TableLayout | None, row: Row | None) -> NamedValues | None:
    if layout is None or row is None:
        return None
    return dict(zip(layout.columns, row, strict=True))
