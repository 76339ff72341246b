"""What a change of columns means for the Iceberg schema, and for rows written before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dolake.changes import SqlValue
from dolake.tables.data_file import read_columns
from dolake.tables.lake_table import LakeTable, SchemaUpdate
from dolake.tables.schema_mapping import UNASSIGNED, Layout, assign_ids
from dolake.tables.snapshot_contents import current_schema
from dolake.tables.value_conversion import (
    misfits_as_json,
    misfits_of_json,
    plain_value,
    to_array,
)
from dolake.warehouse import Warehouse


def written_layout(
    table: LakeTable, committed: Layout, wanted: Layout, *, kept_ids: Iterable[int]
) -> tuple[Layout, SchemaUpdate]:
    """The layout with all its ids, and the schema that makes the table have them.

    Shape: `kept_ids` are fields of other branches; what other engines added stays as well, and what
           the table is partitioned or sorted by.
    """
    schema = current_schema(table.metadata)
    foreign = {field["id"] for field in schema["fields"]} - committed.field_ids
    layout, made, last_id = assign_ids(
        wanted,
        schema,
        int(table.metadata["last-column-id"]),
        foreign | set(kept_ids) | table.fields_in_use(),
    )
    return layout, table.schema_update(made, last_id)


def converted_rows(warehouse: Warehouse, path: str, committed: Layout, staged: Layout) -> pa.Table:
    """The rows of a data file with the columns of a layout that is not committed yet.

    Shape: the staged layout has a misfit column, for a value may not fit its column's new type.
    """
    fields = [f.with_nullable(True) for f in committed.arrow_fields()]
    stored = read_columns(warehouse, path, fields)
    by_id: dict[int | None, Any] = {
        c.field_id: stored.column(n) for n, c in enumerate(committed.columns)
    }
    names = {c.field_id: c.column.name for c in committed.columns}
    misfits = _stored_misfits(stored, committed)
    told: dict[int, dict[str, SqlValue]] = {}
    arrays = []
    for column in staged.columns:
        name = column.column.name
        if column.field_id != UNASSIGNED:
            arrays.append(by_id[column.field_id].cast(column.type.arrow))
            values: list[SqlValue] = []
            at = [n for n, had in misfits.items() if names[column.field_id] in had]
            for row in at:
                told.setdefault(row, {})[name] = misfits[row][names[column.field_id]]
            continue
        if column.origin_id is None:
            values = [column.default] * stored.num_rows
        else:
            old_name = names[column.origin_id]
            values = [plain_value(value) for value in by_id[column.origin_id].to_pylist()]
            for row, had in misfits.items():
                if old_name in had:
                    values[row] = had[old_name]
        array, at = to_array(values, column.type)
        arrays.append(array)
        for row in at:
            told.setdefault(row, {})[name] = values[row]
    if staged.rowid_id is not None:
        place = len(committed.columns)
        arrays.append(
            stored.column(place)
            if committed.rowid_id is not None
            else pa.nulls(stored.num_rows, pa.int64())
        )
    texts = [misfits_as_json(told[n]) if n in told else None for n in range(stored.num_rows)]
    arrays.append(pa.array(texts, pa.string()))
    fields = [f.with_nullable(True) for f in staged.arrow_fields()]
    return pa.table(arrays, schema=pa.schema(fields))


def _stored_misfits(stored: pa.Table, layout: Layout) -> dict[int, dict[str, SqlValue]]:
    if layout.misfit_id is None:
        return {}
    texts = stored.column(stored.num_columns - 1).to_pylist()
    return {n: misfits_of_json(text) for n, text in enumerate(texts) if text is not None}
