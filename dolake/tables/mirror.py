"""The mirror of one table of a source: staged changes, and the snapshot that they become.

A flush writes the rows that are new or changed into a file (one for each partition), and for every
file in which rows were replaced or deleted a new deletion vector. Nothing staged is let go before
the commit has succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.changes import ROWID_KEY, RowChange, SchemaChange, SqlValue, TableSchema
from dolake.tables.data_file import LINEAGE_FIELDS
from dolake.tables.key_coding import Key
from dolake.tables.key_index import (
    ABSENT,
    Integers,
    files_of,
    locations_of,
    positions_of,
)
from dolake.tables.lake_table import FIRST_LSN, KEY, LakeTable, SchemaUpdate, with_lineage
from dolake.tables.layout_changes import converted_rows, written_layout
from dolake.tables.manifests import DataFile, ManifestEntry, Status
from dolake.tables.mirrored_files import (
    FileChanges,
    MirroredFile,
    MirroredFiles,
    is_rowid_key,
)
from dolake.tables.position_deletes import packed_deletes
from dolake.tables.row_tables import batch_table, key_of, renumbered, row_table
from dolake.tables.schema_mapping import (
    UNASSIGNED,
    Layout,
    changed_layout,
    follow_change,
    layout_of_property,
    settled,
)
from dolake.tables.snapshot_commit import (
    PreparedSnapshot,
    SnapshotCommit,
    write_files,
)
from dolake.tables.snapshot_contents import SnapshotContents
from dolake.tables.value_conversion import MISFIT_COLUMN
from dolake.warehouse import Warehouse

Row = Mapping[str, SqlValue]

# What a staged row takes besides its texts and blobs: the dictionary, its numbers, the key.
_ROW_BYTES = 300


@dataclass(slots=True)
class Staged:
    """Changes of one table that are not committed yet.

    Shape: `rows` has the last state of every key that changed, None for a deleted one; `unexpected`
           keys are those whose first change was an insert: no row is expected to have them.
           `is_emptied` says that all rows of the table as it is committed are gone, `must_convert`
           that those that are not have to be written anew. `first_lsn` is that of the oldest.
    """

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


@dataclass(slots=True)
class _Prepared:
    snapshot: PreparedSnapshot
    layout: Layout
    changes: FileChanges
    keys: Integers
    locations: Integers
    new_paths: list[str]
    is_reset: bool


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of the files that were there. Shape: with `is_reset` none of them is left."""

    changes: FileChanges
    paths: list[str]
    is_reset: bool = False


class Mirror:
    """One branch of a mirror. Not safe for several threads."""

    def __init__(
        self,
        warehouse: Warehouse,
        loaded: LoadedTable,
        branch: str,
        types: Mapping[str, str],
        layout: Layout | None = None,
    ) -> None:
        self.table = LakeTable(warehouse, loaded, branch)
        self._warehouse = warehouse
        self._types = types
        self.layout = self.table.stored_layout() if layout is None else layout
        self.staged_layout = self.layout
        self.staged = Staged()
        self.files = MirroredFiles(warehouse, self.layout)
        self.foreign_commits = 0
        self._prepared: _Prepared | None = None
        self._take(loaded)

    # -- staging -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The table's name in the source."""
        return self.staged_layout.table

    @property
    def has_changes(self) -> bool:
        staged = self.staged
        return bool(staged.rows) or staged.is_emptied or self.staged_layout is not self.layout

    def stage_row(self, change: RowChange) -> None:
        """Take in a change of a row, whose key is that of the table, or was before it changed."""
        names = self.staged_layout.key_names
        staged = self.staged
        if staged.first_lsn is None:
            staged.first_lsn = change.lsn
        values = change.key
        if len(names) == 1 and names[0] in values:
            key: Key = values[names[0]]
        elif ROWID_KEY not in values and not all(name in values for name in names):
            return  # a delete: the row went with all others when the table changed its key
        else:
            key = key_of(values, names)
            if is_rowid_key(key) and self.staged_layout.rowid_id is None:
                self.staged_layout = replace(self.staged_layout, rowid_id=UNASSIGNED)
        after = change.after
        if change.operation == "insert" and key not in staged.rows:
            staged.unexpected.add(key)
        staged.rows[key] = after
        if after is not None:
            for value in after.values():
                if type(value) is str or type(value) is bytes:
                    staged.value_bytes += len(value)

    def stage_schema(self, change: SchemaChange) -> None:
        """Take in a change of the table's columns, its being dropped, or made again."""
        staged = self.staged
        if staged.first_lsn is None:
            staged.first_lsn = change.lsn
        if change.after is None:
            self._empty()
            self.staged.is_dropped = True
            return
        renamed = change.renamed
        shared = self._ids_of_other_branches()
        layout = follow_change(self.staged_layout, change, self._types, shared)
        if layout.key_names != self.staged_layout.key_names or staged.is_dropped:
            self._empty()  # its rows come, if it has any, as inserts
        staged = self.staged
        if staged.rows:
            added = {
                c.column.name: c.default
                for c in layout.columns
                if c.default is not None and c.origin_id is None
            }
            staged.rows = {
                key: None
                if row is None
                else {**added, **{renamed.get(name, name): value for name, value in row.items()}}
                for key, row in staged.rows.items()
            }
        self.staged_layout = layout
        # Misfits are told by the names of columns, so they are told anew when those change.
        staged.must_convert |= any(c.is_recomputed for c in layout.columns) or (
            bool(renamed) and layout.misfit_id is not None
        )

    def _empty(self) -> None:
        self.staged = Staged(is_emptied=True, first_lsn=self.staged.first_lsn)

    def _ids_of_other_branches(self) -> set[int]:
        own = self.table.layout_property()
        ids: set[int] = set()
        for name, text in (self.table.metadata.get("properties") or {}).items():
            if name.startswith("dosql.layout") and name != own:
                ids |= layout_of_property(text).field_ids
        return ids

    def pending(self) -> tuple[pa.Table, list[dict[str, SqlValue]]]:
        """The rows staged, and the keys of all rows of the committed table they stand in for.

        Shape: with `is_emptied` no committed row counts, whatever the keys.
        """
        rows = [row for row in self.staged.rows.values() if row is not None]
        rowids = self._rowids([k for k, row in self.staged.rows.items() if row is not None])
        table, _ = row_table(rows, rowids, self.staged_layout)
        return table, [self._key_values(key) for key in self.staged.rows]

    def _key_values(self, key: Key) -> dict[str, SqlValue]:
        names = self.staged_layout.key_names
        if is_rowid_key(key):
            return {ROWID_KEY: key[0][1]}
        return dict(zip(names, key if len(names) > 1 else (key,), strict=True))

    def _rowids(self, keys: Sequence[Key]) -> list[SqlValue] | None:
        if self.staged_layout.rowid_id is None:
            return None
        if self.staged_layout.is_rowid_required:
            return list(keys)
        return [key[0][1] if is_rowid_key(key) else None for key in keys]

    # -- the commit --------------------------------------------------------------------------------

    def prepare(self, summary: Mapping[str, str]) -> TableChange | None:
        """Write the files of a snapshot of what is staged; None when nothing is.

        Shape: `summary` goes into the snapshot's. Call `committed` or `failed` afterwards.
        """
        if not self.has_changes and not len(self.files.surplus):
            return None
        staged, table = self.staged, self.table
        if staged.must_convert and self.staged_layout.misfit_id is None:
            self.staged_layout = replace(self.staged_layout, misfit_id=UNASSIGNED)
        kept_keys = [key for key, row in staged.rows.items() if row is not None]
        rows, layout = row_table(
            [row for row in staged.rows.values() if row is not None],
            self._rowids(kept_keys),
            self.staged_layout,
        )
        layout, update = written_layout(
            table, self.layout, layout, kept_ids=self._ids_of_other_branches()
        )
        commit = SnapshotCommit(
            self._warehouse,
            self._metadata_with(update.schema),
            table.ref,
            table.contents,
            update.schema,
        )
        if staged.is_emptied:
            made = self._emptied(commit)
            keys, locations = np.empty(0, np.int64), np.empty(0, np.int64)
        else:
            keys, locations = self.files.find(list(staged.rows), staged.unexpected.__contains__)
            surplus = self.files.surplus
            found = np.concatenate((locations[locations != ABSENT], surplus))
            if staged.must_convert:
                made = self._written_anew(commit, found, layout)
            else:
                made = self._deleted_from(commit, found)
        is_kept = np.fromiter((row is not None for row in staged.rows.values()), np.bool_)
        row_ids = None
        if table.format_version >= 3 and not staged.is_emptied:
            row_ids = self.files.row_ids_at(locations[is_kept])
        rows = with_lineage(renumbered(rows, layout), row_ids, LINEAGE_FIELDS)
        new_locations = np.full(len(staged.rows), ABSENT, dtype=np.int64)
        kept_places = np.flatnonzero(is_kept)
        added = list(made.changes.added)
        written = table.write_rows(rows, update.schema)
        for file, places in written:
            number = self.files.next_number + len(added)
            new_locations[kept_places[places]] = locations_of(
                number, np.arange(len(places), dtype=np.int64)
            )
            added.append(MirroredFile(_added_entry(file)))
        commit.add(file for file, _ in written)
        if staged.first_lsn is not None:
            key = msgspec.json.encode(layout.key_ids).decode()
            summary = {**summary, FIRST_LSN: str(staged.first_lsn), KEY: key}
        snapshot = commit.write(commit.operation, summary)
        self._prepared = _Prepared(
            snapshot,
            layout,
            replace(made.changes, added=added),
            keys,
            new_locations if len(keys) else keys,
            [*made.paths, *(file.file_path for file, _ in written), *snapshot.paths],
            is_reset=made.is_reset,
        )
        return self._change(snapshot, update, layout)

    def prepare_copy(
        self,
        schema: TableSchema,
        batches: Iterable[pa.RecordBatch],
        summary: Mapping[str, str],
        rows_per_file_max: int,
    ) -> TableChange:
        """As `prepare`, of a whole table of the source, in place of what the mirror has."""
        table = self.table
        stream = iter(batches)
        first = next(stream, None)
        wanted = changed_layout(self.layout, schema, {}, self._types)
        if wanted.rowid_id is None and first is not None and ROWID_KEY in first.schema.names:
            wanted = replace(wanted, rowid_id=UNASSIGNED)
        had_misfits = wanted.misfit_id is not None
        # The ids must be known before the first file; the one of misfits comes last, and is only
        # taken if there are some.
        reserved = wanted if had_misfits else replace(wanted, misfit_id=UNASSIGNED)
        others = self._ids_of_other_branches()
        layout, update = written_layout(table, self.layout, reserved, kept_ids=others)
        written: list[DataFile] = []
        has_misfits = had_misfits
        gathered: list[pa.Table] = []
        for batch in chain([] if first is None else [first], stream, [None]):
            if batch is not None:
                gathered.append(batch_table(batch, reserved)[0])
            if gathered and (
                batch is None or sum(t.num_rows for t in gathered) >= rows_per_file_max
            ):
                rows = renumbered(pa.concat_tables(gathered), layout)
                gathered = []
                told = rows.column(MISFIT_COLUMN)
                if told.null_count == len(told):
                    rows = rows.drop_columns([MISFIT_COLUMN])
                else:
                    has_misfits = True
                written += [file for file, _ in table.write_rows(rows, update.schema)]
        if not has_misfits:
            layout, update = written_layout(table, self.layout, wanted, kept_ids=others)
        commit = SnapshotCommit(
            self._warehouse,
            self._metadata_with(update.schema),
            table.ref,
            table.contents,
            update.schema,
        )
        self._emptied(commit)
        commit.add(written)
        self.staged_layout = wanted
        self.staged = Staged(is_emptied=True)
        nothing = np.empty(0, np.int64)
        snapshot = commit.write(commit.operation, summary)
        self._prepared = _Prepared(
            snapshot,
            layout,
            FileChanges([MirroredFile(_added_entry(file)) for file in written], {}, []),
            nothing,
            nothing,
            [*(file.file_path for file in written), *snapshot.paths],
            is_reset=True,
        )
        return self._change(snapshot, update, layout)

    def _change(
        self, snapshot: PreparedSnapshot, update: SchemaUpdate, layout: Layout
    ) -> TableChange:
        return TableChange(
            self.table.identifier,
            [*snapshot.requirements, *update.requirements],
            [*update.updates, *snapshot.updates, *self.table.layout_updates(layout)],
        )

    def _metadata_with(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self.table.metadata, "schemas": [*self.table.metadata["schemas"], schema]}

    def _emptied(self, commit: SnapshotCommit) -> _Made:
        contents = self.table.contents
        commit.remove(e.data_file.file_path for e in contents.live(is_data=True))
        commit.remove(e.data_file.file_path for e in contents.live(is_data=False))
        return _Made(FileChanges([], {}, []), [], is_reset=True)

    def _written_anew(self, commit: SnapshotCommit, replaced: Integers, layout: Layout) -> _Made:
        """Every file once more in the new layout, without deleted and replaced rows."""
        numbers = files_of(replaced)
        added, paths = [], []
        for number, file in self.files.live():
            dead = file.deleted | _bitmap(positions_of(replaced[numbers == number]))
            commit.remove([file.path, *file.replaceable_deletes()])
            if len(dead) == file.row_count:
                continue
            rows = converted_rows(self._warehouse, file.path, self.layout, self.staged_layout)
            is_live = np.ones(file.row_count, dtype=np.bool_)
            is_live[np.array(dead.to_array(), dtype=np.int64)] = False
            rows = renumbered(rows, layout)
            if self.table.format_version >= 3:
                rows = self._with_old_lineage(rows, number)
            for described, _ in self.table.write_rows(
                rows.filter(pa.array(is_live)), commit.schema
            ):
                commit.add([described])
                added.append(MirroredFile(_added_entry(described)))
                paths.append(described.file_path)
        return _Made(FileChanges(added, {}, []), paths, is_reset=True)

    def _with_old_lineage(self, rows: pa.Table, number: int) -> pa.Table:
        """The rows of a file with their ids; that they are converted counts as an update."""
        ids = pa.array(self.files.row_ids_of(number))
        return rows.append_column(LINEAGE_FIELDS[0], ids).append_column(
            LINEAGE_FIELDS[1], pa.nulls(rows.num_rows, pa.int64())
        )

    def _deleted_from(self, commit: SnapshotCommit, locations: Integers) -> _Made:
        """New deletion vectors, or position-delete files, for the files that these rows are in."""
        order = np.argsort(locations, kind="stable")
        locations = locations[order]
        numbers = files_of(locations)
        deleted: dict[int, tuple[BitMap, list[ManifestEntry]]] = {}
        removed: list[int] = []
        written: list[tuple[str, bytes]] = []
        for number in np.unique(numbers).tolist():
            file = self.files.file(number)
            positions = file.deleted | _bitmap(positions_of(locations[numbers == number]))
            commit.remove(file.replaceable_deletes())
            if len(positions) == file.row_count:
                commit.remove([file.path])
                removed.append(number)
                continue
            described, data = packed_deletes(self.table, file.entry.data_file, positions)
            commit.add([described])
            written.append((described.file_path, data))
            shared = [e for e in file.deletes if e.data_file.referenced_data_file is None]
            deleted[number] = (positions, [*shared, _added_entry(described)])
        write_files(self._warehouse, written)
        return _Made(FileChanges([], deleted, removed), [path for path, _ in written])

    def committed(self, loaded: LoadedTable) -> None:
        """What was prepared is committed: hold it, and let go of what was staged."""
        prepared = self._prepared
        assert prepared is not None
        self.table.metadata = loaded.metadata
        self.table.contents = prepared.snapshot.contents
        self.layout = self.staged_layout = settled(prepared.layout)
        entries = {
            entry.data_file.file_path: entry
            for is_data in (True, False)
            for entry in prepared.snapshot.contents.live(is_data=is_data)
        }
        changes = prepared.changes
        for file in changes.added:  # now with the row ids and sequence numbers they inherit
            file.entry = entries[file.path]
        for _, deletes in changes.deleted.values():
            deletes[:] = [entries[entry.data_file.file_path] for entry in deletes]
        if prepared.is_reset:
            self.files.reset(self.layout, changes.added)
        else:
            self.files.layout = self.layout
            self.files.apply(changes, prepared.keys, prepared.locations)
        self.staged = Staged(is_dropped=self.staged.is_dropped)
        self._prepared = None

    @property
    def prepared_snapshot_id(self) -> int | None:
        """The snapshot that is prepared and neither committed nor known to have failed."""
        return None if self._prepared is None else self._prepared.snapshot.snapshot_id

    def failed(self, *, is_certain: bool) -> None:
        """What was prepared is not committed; its files go if that is certain."""
        if self._prepared is not None and is_certain:
            self.table.warehouse.forget(self._prepared.new_paths)
            self._prepared = None

    def follow(self, loaded: LoadedTable) -> bool:
        """Hold the table as it is now; whether somebody else's snapshot had come.

        Errors: ForeignDeletesError when it has equality deletes.
        """
        before = self.table.contents.snapshot_id
        self._take(loaded)
        is_foreign = before != self.table.contents.snapshot_id
        self.foreign_commits += is_foreign
        return is_foreign

    def _take(self, loaded: LoadedTable) -> None:
        contents: SnapshotContents = self.table.load(loaded)
        if contents is not self.table.contents or not self.table.contents.manifests:
            self.files.follow(contents)
            self.table.contents = contents


def _added_entry(file: DataFile) -> ManifestEntry:
    """An entry that stands for the file until its commit has given it its own."""
    return ManifestEntry(Status.ADDED, None, None, None, file)


def _bitmap(positions: Integers) -> BitMap:
    return BitMap(positions.astype(np.uint32))
