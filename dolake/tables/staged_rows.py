"""The changes of one table that are staged for its mirror: the last state of every row changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from dolake.changes import ROWID_KEY, RowChange, SchemaChange, SqlValue
from dolake.tables.key_coding import Key
from dolake.tables.row_tables import Row, is_rowid_key, key_of, row_table
from dolake.tables.schema_mapping import UNASSIGNED, Layout, follow_change

# What a staged row takes besides its texts and blobs: the dictionary, its numbers, the key.
_ROW_BYTES = 300


@dataclass(slots=True)
class StagedRows:
    """Changes of one table that are not committed yet, in the columns that it has after them.

    Shape: `rows` has the last state of every key that changed, None for a deleted one; `unexpected`
           keys are those whose first change was an insert: no row is expected to have them.
           `is_emptied` says that all rows of the table as it is committed are gone, `must_convert`
           that those that are not have to be written anew. `first_lsn` is that of the oldest.
    """

    layout: Layout
    rows: dict[Key, Row | None] = field(default_factory=dict)
    unexpected: set[Key] = field(default_factory=set)
    is_emptied: bool = False
    is_dropped: bool = False
    must_convert: bool = False
    value_bytes: int = 0
    first_lsn: int | None = None

    @property
    def nbytes(self) -> int:
        return self.value_bytes + _ROW_BYTES * len(self.rows)

    @property
    def kept_rows(self) -> list[Row]:
        """The rows that are new or changed."""
        return [row for row in self.rows.values() if row is not None]

    def stage_row(self, change: RowChange) -> None:
        """Take in a change of a row, whose key is that of the table, or was before it changed."""
        names = self.layout.key_names
        if self.first_lsn is None:
            self.first_lsn = change.lsn
        values = change.key
        if len(names) == 1 and names[0] in values:
            key: Key = values[names[0]]
        elif ROWID_KEY not in values and not all(name in values for name in names):
            return  # a delete: the row went with all others when the table changed its key
        else:
            key = key_of(values, names)
            if is_rowid_key(key) and self.layout.rowid_id is None:
                self.layout = replace(self.layout, rowid_id=UNASSIGNED)
        after = change.after
        if change.operation == "insert" and key not in self.rows:
            self.unexpected.add(key)
        self.rows[key] = after
        if after is not None:
            for value in after.values():
                if type(value) is str or type(value) is bytes:
                    self.value_bytes += len(value)

    def stage_schema(
        self, change: SchemaChange, types: Mapping[str, str], shared_ids: Collection[int]
    ) -> None:
        """Take in a change of the table's columns, its being dropped, or made again.

        Shape: `types` are the column types that were asked for; `shared_ids` are of fields that
               other branches have, too.
        """
        if self.first_lsn is None:
            self.first_lsn = change.lsn
        if change.after is None:
            self._empty()
            self.is_dropped = True
            return
        renamed = change.renamed
        layout = follow_change(self.layout, change, types, shared_ids)
        if layout.key_names != self.layout.key_names or self.is_dropped:
            self._empty()  # its rows come, if it has any, as inserts
        if self.rows:
            added = {
                c.column.name: c.default
                for c in layout.columns
                if c.default is not None and c.origin_id is None
            }
            self.rows = {
                key: None
                if row is None
                else {**added, **{renamed.get(name, name): value for name, value in row.items()}}
                for key, row in self.rows.items()
            }
        self.layout = layout
        # Misfits are told by the names of columns, so they are told anew when those change.
        self.must_convert |= any(c.is_recomputed for c in layout.columns) or (
            bool(renamed) and layout.misfit_id is not None
        )

    def _empty(self) -> None:
        self.rows, self.unexpected, self.value_bytes = {}, set(), 0
        self.is_emptied, self.is_dropped, self.must_convert = True, False, False

    def table(self) -> tuple[pa.Table, Layout]:
        """The rows that are new or changed as a table, and the layout that their values ask for."""
        rowids = self._rowids([key for key, row in self.rows.items() if row is not None])
        return row_table(self.kept_rows, rowids, self.layout)

    def pending(self) -> tuple[pa.Table, list[dict[str, SqlValue]]]:
        """The rows staged, and the keys of all rows of the committed table they stand in for.

        Shape: with `is_emptied` no committed row counts, whatever the keys.
        """
        table, _ = self.table()
        return table, [self._key_values(key) for key in self.rows]

    def _key_values(self, key: Key) -> dict[str, SqlValue]:
        names = self.layout.key_names
        if is_rowid_key(key):
            return {ROWID_KEY: key[0][1]}
        return dict(zip(names, key if len(names) > 1 else (key,), strict=True))

    def _rowids(self, keys: Sequence[Key]) -> list[SqlValue] | None:
        if self.layout.rowid_id is None:
            return None
        if self.layout.is_rowid_required:
            return list(keys)
        return [key[0][1] if is_rowid_key(key) else None for key in keys]
