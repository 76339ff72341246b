"""The log of a table's changes: a row for every change, and no row ever changed.

Columns are only added: one that is dropped in the source stays, one that gets another type goes on
under a new field, and its old values stay in `<column>__until_<lsn>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.changes import RowChange, SchemaChange, SqlValue, TableSchema
from dolake.tables.data_file import field_of
from dolake.tables.layout_changes import written_layout
from dolake.tables.row_tables import renumbered, row_table
from dolake.tables.schema_mapping import (
    UNASSIGNED,
    LaidOutColumn,
    Layout,
    follow_change,
    new_layout,
)
from dolake.tables.staged_table import StagedTable
from dolake.tables.value_conversion import as_unicode
from dolake.warehouse import Warehouse

CDC_FIELDS: tuple[tuple[str, str, pa.DataType, str], ...] = (
    ("_cdc_sequence", "long", pa.int64(), "the LSN of the commit"),
    ("_cdc_index", "long", pa.int64(), "the change's place in the commit"),
    ("_cdc_timestamp", "timestamptz", pa.timestamp("us", tz="UTC"), "when it was committed"),
    ("_cdc_operation", "string", pa.string(), "insert, update or delete"),
    ("_cdc_row_id", "string", pa.string(), "the row's key; a JSON list where of several columns"),
)
_ROW_BYTES = 400


def change_log_layout(table: TableSchema, types: Mapping[str, str]) -> Layout:
    """The columns of a new change log, but for its own: as in a mirror, but any may be NULL."""
    made = new_layout(table, types)
    columns = tuple(replace(c, is_required=False, default=None) for c in made.columns)
    return replace(made, columns=columns, rowid_id=None)


def cdc_schema_fields(first_id: int) -> list[dict[str, Any]]:
    """The log's own columns as fields of an Iceberg schema."""
    return [
        {"id": first_id + n, "name": name, "required": True, "type": kind, "doc": doc}
        for n, (name, kind, _, doc) in enumerate(CDC_FIELDS)
    ]


class ChangeLog(StagedTable):
    """One branch of a change log. Not safe for several threads."""

    def __init__(
        self,
        warehouse: Warehouse,
        loaded: LoadedTable,
        branch: str,
        types: Mapping[str, str],
        layout: Layout | None = None,
    ) -> None:
        super().__init__(warehouse, loaded, branch, types, layout)
        self.staged_layout = self.layout
        self.staged_bytes = 0
        self._staged: list[tuple[RowChange, Mapping[str, SqlValue]]] = []
        self.table.contents = self.table.load(loaded)

    @property
    def staged_rows(self) -> int:
        return len(self._staged)

    def stage_row(self, change: RowChange) -> None:
        """Take in a change: its row after it, or before it was deleted."""
        image = change.after if change.after is not None else change.before
        if image is None:
            image = change.key
        self._staged.append((change, image))
        self.staged_bytes += _ROW_BYTES

    def stage_schema(self, change: SchemaChange) -> None:
        """Take in a change of the table's columns."""
        if change.after is None:
            return
        now = {c.column.name for c in self.staged_layout.columns}
        layout = follow_change(self.staged_layout, change, self._types)
        earlier = {c.origin_id: c for c in self.staged_layout.columns}
        columns: list[LaidOutColumn] = []
        moved: dict[str, str] = {}
        for column in layout.columns:
            column = replace(column, is_required=False, default=None)
            if column.field_id == UNASSIGNED and column.origin_id is not None:
                before = earlier[column.origin_id]
                kept_name = f"{before.column.name}__until_{change.lsn}"
                moved[before.column.name] = kept_name
                columns.append(_under_another_name(before, kept_name))
                column = replace(column, origin_id=None)
            columns.append(column)
        named = {c.column.name for c in columns}
        gone = [
            c
            for c in self.staged_layout.columns
            if c.column.name not in moved
            and c.column.name not in change.renamed
            and c.column.name not in named
        ]
        if now & set(change.renamed) or moved:
            names = {**change.renamed, **moved}
            self._staged = [
                (told, {names.get(name, name): value for name, value in image.items()})
                for told, image in self._staged
            ]
        self.staged_layout = replace(layout, columns=(*columns, *gone), rowid_id=None)

    def prepare(self, summary: Mapping[str, str]) -> TableChange | None:
        """Write the files of a snapshot with the changes staged; None when there are none."""
        if not self._staged and self.staged_layout is self.layout:
            return None
        table = self.table
        rows, wanted = row_table([image for _, image in self._staged], None, self.staged_layout)
        layout, update = written_layout(table, self.layout, wanted, kept_ids=())
        rows = self._with_own_columns(renumbered(rows, layout), update.schema)
        commit = self._begin_commit(update.schema)
        written = [file for file, _ in table.write_rows(rows, update.schema)]
        commit.add(written)
        snapshot = commit.write("append", summary)
        return self._hold_prepared(snapshot, update, layout, [file.file_path for file in written])

    def _with_own_columns(self, rows: pa.Table, schema: Mapping[str, Any]) -> pa.Table:
        ids = {field["name"]: field["id"] for field in schema["fields"]}
        changes = [change for change, _ in self._staged]
        values: list[list[Any]] = [
            [change.lsn for change in changes],
            [change.index for change in changes],
            [change.committed_at for change in changes],
            [change.operation for change in changes],
            [row_id(change.key) for change in changes],
        ]
        for (name, _, kind, _), column in zip(CDC_FIELDS, values, strict=True):
            rows = rows.append_column(
                field_of(name, kind, ids[name], is_required=True), pa.array(column, kind)
            )
        return rows

    def committed(self, loaded: LoadedTable) -> None:
        """What was prepared is committed: let go of what was staged."""
        self._take_prepared(loaded)
        self.staged_layout = self.layout
        self._staged, self.staged_bytes = [], 0

    def follow(self, loaded: LoadedTable) -> bool:
        """Hold the table as it is now; whether somebody else's snapshot had come."""
        before = self.table.contents.snapshot_id
        self.table.contents = self.table.load(loaded)
        return before != self.table.contents.snapshot_id


def row_id(key: Mapping[str, SqlValue]) -> str:
    """The text of a row's key in `_cdc_row_id`."""
    values = [
        {"blob": value.hex()} if isinstance(value, bytes) else as_unicode(value)
        for value in key.values()
    ]
    if len(values) == 1 and not isinstance(values[0], dict):
        return str(values[0])
    return json.dumps(values)


def _under_another_name(column: LaidOutColumn, name: str) -> LaidOutColumn:
    """The column kept aside: it has another name, and is no part of the key any more."""
    renamed = type(column.column)(name, column.column.declared_type)
    return replace(column, column=renamed, field_name=name, is_required=False)
