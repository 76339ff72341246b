"""A row that differs, with the names of its columns: what users are shown."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue
from dosql_core.rows.changed_leaves import TablePair
from dosql_core.rows.row_difference import RowDifference

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
    return RowChange(difference.table, *named_row_change(pair, difference))


def named_row_change(
    pair: TablePair, difference: RowDifference
) -> tuple[Operation, NamedValues, NamedValues | None, NamedValues | None]:
    """What happened to the row, its key, and what it was and is, by column."""
    _table, key, before, after = difference
    layout = pair.before if after is None else pair.after
    assert layout is not None
    row = before if after is None else after
    assert row is not None
    names = layout.key
    if not names or (layout.has_rowid and not layout.identity(row, None)[0]):
        names = (ROWID,)
    named_key = {names[0]: key[0]} if len(names) == 1 else dict(zip(names, key, strict=True))
    if before is None:
        return Operation.INSERT, named_key, None, dict(zip(layout.columns, row, strict=True))
    if after is None:
        return Operation.DELETE, named_key, dict(zip(layout.columns, row, strict=True)), None
    assert pair.before is not None
    return (
        Operation.UPDATE,
        named_key,
        dict(zip(pair.before.columns, before, strict=True)),
        dict(zip(layout.columns, after, strict=True)),
    )
