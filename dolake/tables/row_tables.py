"""Rows of the source as Arrow tables of a mirror's or a change log's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolake.changes import ROWID_KEY, SqlValue
from dolake.tables.column_types import ColumnType
from dolake.tables.key_coding import Key
from dolake.tables.schema_mapping import UNASSIGNED, LaidOutColumn, Layout
from dolake.tables.value_conversion import (
    misfits_as_json,
    misfits_of_json,
    plain_value,
    to_array,
)

Row = Mapping[str, SqlValue]

STORED_TEXT = "text as stored"
"""The name of a union's field of binaries that are texts: Arrow's own texts are Unicode."""


def key_of(values: Row, key_names: tuple[str, ...]) -> Key:
    """The key as the index knows it: a value, or a tuple of those of several columns.

    Shape: a row of a table with a primary key that is keyed by its rowid, for the primary key is
           NULL, has a tuple of one, which no other key is.
    """
    if len(key_names) == 1 and key_names[0] in values:
        return values[key_names[0]]
    if ROWID_KEY in values:
        return ((ROWID_KEY, values[ROWID_KEY]),)
    return tuple(values[name] for name in key_names)


def is_rowid_key(key: Any) -> bool:
    """Whether a row is keyed by its rowid although its table has a primary key (`key_of`)."""
    return isinstance(key, tuple) and len(key) == 1 and key[0][0] == ROWID_KEY


def row_table(
    rows: Sequence[Row], rowids: Sequence[SqlValue] | None, layout: Layout
) -> tuple[pa.Table, Layout]:
    """The rows as a table of the layout's fields, misfits in their column.

    Shape: the layout that comes back has a misfit column if one was needed. Fields without an id
           yet have 0 for it: the table is renumbered when the ids are known.
    """
    arrays, misfits = [], dict[int, dict[str, SqlValue]]()
    for column in layout.columns:
        name = column.column.name
        values = [row.get(name) for row in rows]
        arrays.append(_converted(values, column, misfits))
    return _finished(arrays, rowids, len(rows), misfits, layout)


def _converted(
    values: Sequence[SqlValue], column: LaidOutColumn, misfits: dict[int, dict[str, SqlValue]]
) -> pa.Array:
    array, at = to_array(values, column.type)
    for position in at:
        misfits.setdefault(position, {})[column.column.name] = values[position]
    return array


def _finished(
    arrays: list[pa.Array],
    rowids: Sequence[SqlValue] | pa.Array | None,
    count: int,
    misfits: Mapping[int, Mapping[str, SqlValue]],
    layout: Layout,
) -> tuple[pa.Table, Layout]:
    if layout.rowid_id is not None:
        if rowids is None:
            arrays.append(pa.nulls(count, pa.int64()))
        else:
            arrays.append(rowids if isinstance(rowids, pa.Array) else pa.array(rowids, pa.int64()))
    if misfits and layout.misfit_id is None:
        layout = replace(layout, misfit_id=UNASSIGNED)
    if layout.misfit_id is not None:
        told = (
            [None] * count
            if not misfits
            else [misfits_as_json(dict(misfits[n])) if n in misfits else None for n in range(count)]
        )
        arrays.append(pa.array(told, pa.string()))
    relaxed = [f.with_nullable(True) for f in layout.arrow_fields()]
    return pa.table(arrays, schema=pa.schema(relaxed)), layout


def batch_table(batch: pa.RecordBatch, layout: Layout) -> tuple[pa.Table, Layout]:
    """As `row_table`, of rows that come as Arrow: an initial copy.

    Shape: columns by their name in the source, of SQLite's values in any Arrow type (STORED_TEXT
           for texts that may be no Unicode), and `_rowid_` for a table without a primary key, or
           with one that is NULL somewhere.
    """
    arrays, misfits = [], dict[int, dict[str, SqlValue]]()
    for column in layout.columns:
        name = column.column.name
        if batch.schema.get_field_index(name) < 0:
            arrays.append(pa.nulls(batch.num_rows, column.type.arrow))
            continue
        array = batch.column(name)
        if _holds_exactly(array.type, column.type):
            arrays.append(array.cast(column.type.arrow))
        else:
            arrays.append(_converted(_sql_values(array), column, misfits))
    return _finished(arrays, _rowids(batch, layout), batch.num_rows, misfits, layout)


def _rowids(batch: pa.RecordBatch, layout: Layout) -> pa.Array | None:
    """The rowids that are keys: all of them without a primary key, else those where it is NULL."""
    if layout.rowid_id is None or batch.schema.get_field_index(ROWID_KEY) < 0:
        return None
    rowids = batch.column(ROWID_KEY).cast(pa.int64())
    if layout.is_rowid_required:
        return rowids
    is_null = pa.repeat(pa.scalar(False), batch.num_rows)
    for name in layout.key_names:
        is_null = pc.or_(is_null, pc.is_null(batch.column(name)))
    return pc.if_else(is_null, rowids, pa.scalar(None, pa.int64()))


def _holds_exactly(stored: pa.DataType, of: ColumnType) -> bool:
    """Whether every value of an Arrow column is one of the mirror's column."""
    if of.kind in ("string", "any", "json"):
        return stored in (pa.string(), pa.large_string(), pa.null())
    if of.kind == "binary":
        return stored in (pa.binary(), pa.large_binary(), pa.null())
    return stored in (of.arrow, pa.null())


def _sql_values(array: pa.Array) -> list[SqlValue]:
    values = [plain_value(value) for value in array.to_pylist()]
    if pa.types.is_union(array.type):
        names = [array.type.field(number).name for number in range(array.type.num_fields)]
        if STORED_TEXT in names:
            is_text = pc.equal(array.type_codes, names.index(STORED_TEXT)).to_pylist()
            for place, value in enumerate(values):
                if is_text[place] and isinstance(value, bytes):
                    values[place] = value.decode("utf-8", "surrogateescape")
    return values


def keys_of_table(table: pa.Table, layout: Layout) -> list[Key]:
    """The keys of rows read back from a mirror, as they were when the rows were written.

    Shape: the table has the columns of `key_fields`, in their order.
    """
    names = layout.key_names
    misfit_texts: list[str | None] | None = None
    if layout.misfit_id is not None:
        misfit_texts = table.column(table.num_columns - 1).to_pylist()
    by_rowid = layout.rowid_id is not None and not layout.is_rowid_required
    columns = [
        [plain_value(value) for value in table.column(number).to_pylist()]
        for number in range(len(names))
    ]
    if misfit_texts is not None:
        for row, text in enumerate(misfit_texts):
            if text is not None:
                for name, value in misfits_of_json(text).items():
                    if name in names:
                        columns[names.index(name)][row] = value
    keys: list[Key] = columns[0] if len(names) == 1 else list(zip(*columns, strict=True))
    if by_rowid:
        rowids = table.column(len(names)).to_pylist()
        keys = [
            key if rowid is None else ((ROWID_KEY, rowid),)
            for key, rowid in zip(keys, rowids, strict=True)
        ]
    return keys


def key_fields(layout: Layout) -> list[pa.Field]:
    """The fields of a data file from which `keys_of_table` tells the keys."""
    fields = layout.arrow_fields()
    by_name = {c.column.name: field for c, field in zip(layout.columns, fields, strict=False)}
    chosen = [by_name[name] for name in layout.key_names if name in by_name]
    extra = fields[len(layout.columns) :]
    return [f.with_nullable(True) for f in [*chosen, *extra]]


def original_value(value: Any, misfits: Row, name: str) -> SqlValue:
    """A column's value in a row read from a mirror, as SQLite had it."""
    return misfits[name] if name in misfits else plain_value(value)


def renumbered(table: pa.Table, layout: Layout) -> pa.Table:
    """The table with the field ids of a layout that has them all; more columns stay as they are."""
    fields = layout.arrow_fields()
    return pa.table(table.columns, schema=pa.schema([*fields, *list(table.schema)[len(fields) :]]))
