"""What differs between two moments as rows of a query."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dosql_core.history.period_rows import storable
from dosql_core.identifiers import SqlValue
from dosql_core.rows.row_change import NamedValues, RowChange


def wide_row(change: RowChange, columns: Sequence[str]) -> tuple[SqlValue, ...]:
    """Operation and key, then the columns as they were, then as they are; NULL where there is none.

    The key is the value itself where the key has one column, else a JSON array.
    """
    return (
        change.operation.value,
        _key_value(change.key),
        *_values(change.before, columns),
        *_values(change.after, columns),
    )


def json_row(change: RowChange) -> tuple[SqlValue, ...]:
    """Table, operation, key, and the row before and after as JSON objects."""
    return (
        change.table,
        change.operation.value,
        _key_value(change.key),
        None if change.before is None else as_json(change.before),
        None if change.after is None else as_json(change.after),
    )


def as_json(value: object) -> str:
    """JSON in which a blob is `{"base16": ...}`."""
    return json.dumps(value, ensure_ascii=False, default=_blob_as_json)


def _key_value(key: NamedValues) -> SqlValue:
    if len(key) == 1:
        return storable(next(iter(key.values())))
    return as_json(list(key.values()))


def _values(row: NamedValues | None, columns: Sequence[str]) -> list[SqlValue]:
    if row is None:
        return [None] * len(columns)
    return [storable(row.get(column)) for column in columns]


def _blob_as_json(value: object) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"base16": value.hex()}
