"""The mirror of one table of a source: staged changes, and the snapshot that they become.

A flush writes the rows that are new or changed into a file (one for each partition), and for every
file in which rows were replaced or deleted a new deletion vector. Nothing staged is let go before
the commit has succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.changes import ROWID_KEY, SchemaChange, TableSchema
from dolake.tables.data_file import LINEAGE_FIELDS
from dolake.tables.key_index import (
    ABSENT,
    Integers,
    files_of,
    locations_of,
    positions_of,
)
from dolake.tables.lake_table import FIRST_LSN, KEY, LAYOUT, layout_property, with_lineage
from dolake.tables.layout_changes import converted_rows, written_layout
from dolake.tables.manifests import DataFile, ManifestEntry, Status
from dolake.tables.mirrored_files import FileChanges, MirroredFile, MirroredFiles
from dolake.tables.position_deletes import packed_deletes
from dolake.tables.row_tables import batch_table, renumbered
from dolake.tables.schema_mapping import (
    UNASSIGNED,
    Layout,
    changed_layout,
    layout_of_property,
)
from dolake.tables.snapshot_commit import SnapshotCommit, write_files
from dolake.tables.snapshot_contents import SnapshotContents
from dolake.tables.staged_rows import StagedRows
from dolake.tables.staged_table import StagedTable
from dolake.tables.value_conversion import MISFIT_COLUMN
from dolake.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class _Indexing:
    """What a commit will change of the files and their index. Shape: new locations of the keys."""

    changes: FileChanges
    keys: Integers
    locations: Integers
    is_reset: bool


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of the files that were there. Shape: with `is_reset` none of them is left."""

    changes: FileChanges
    paths: list[str]
    is_reset: bool = False


class Mirror(StagedTable):
    """One branch of a mirror. Not safe for several threads."""

    def __init__(
        self,
        warehouse: Warehouse,
        loaded: LoadedTable,
        branch: str,
        types: Mapping[str, str],
        layout: Layout | None = None,
    ) -> None:
        super().__init__(warehouse, loaded, branch, types, layout)
        self.staged = StagedRows(self.layout)
        self.files = MirroredFiles(warehouse, self.layout)
        self.foreign_commits = 0
        self._indexing: _Indexing | None = None
        self._take(loaded)

    @property
    def name(self) -> str:
        """The table's name in the source."""
        return self.staged.layout.table

    @property
    def has_changes(self) -> bool:
        """Whether anything is staged."""
        staged = self.staged
        return bool(staged.rows) or staged.is_emptied or staged.layout is not self.layout

    def stage_schema(self, change: SchemaChange) -> None:
        """Take in a change of the table's columns, its being dropped, or made again."""
        self.staged.stage_schema(change, self._types, self._ids_of_other_branches())

    def _ids_of_other_branches(self) -> set[int]:
        own = layout_property(self.table.ref)
        ids: set[int] = set()
        for name, text in (self.table.metadata.get("properties") or {}).items():
            if name.startswith(LAYOUT) and name != own:
                ids |= layout_of_property(text).field_ids
        return ids

    def prepare(self, summary: Mapping[str, str]) -> TableChange | None:
        """Write the files of a snapshot of what is staged; None when nothing is.

        Shape: `summary` goes into the snapshot's. Call `committed` or `failed` afterwards.
        """
        if not self.has_changes and not len(self.files.surplus):
            return None
        staged, table = self.staged, self.table
        if staged.must_convert and staged.layout.misfit_id is None:
            staged.layout = replace(staged.layout, misfit_id=UNASSIGNED)
        rows, layout = staged.table()
        layout, update = written_layout(
            table, self.layout, layout, kept_ids=self._ids_of_other_branches()
        )
        commit = self._begin_commit(update.schema)
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
        self._indexing = _Indexing(
            replace(made.changes, added=added),
            keys,
            new_locations if len(keys) else keys,
            made.is_reset,
        )
        paths = [*made.paths, *(file.file_path for file, _ in written)]
        return self._hold_prepared(snapshot, update, layout, paths)

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
        commit = self._begin_commit(update.schema)
        self._emptied(commit)
        commit.add(written)
        self.staged = StagedRows(wanted, is_emptied=True)
        nothing = np.empty(0, np.int64)
        snapshot = commit.write(commit.operation, summary)
        files = [MirroredFile(_added_entry(file)) for file in written]
        self._indexing = _Indexing(FileChanges(files, {}, []), nothing, nothing, is_reset=True)
        paths = [file.file_path for file in written]
        return self._hold_prepared(snapshot, update, layout, paths)

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
            rows = converted_rows(self._warehouse, file.path, self.layout, self.staged.layout)
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
        self._take_prepared(loaded)
        indexing, self._indexing = self._indexing, None
        assert indexing is not None
        entries = {
            entry.data_file.file_path: entry
            for is_data in (True, False)
            for entry in self.table.contents.live(is_data=is_data)
        }
        changes = indexing.changes
        for file in changes.added:  # now with the row ids and sequence numbers they inherit
            file.entry = entries[file.path]
        for _, deletes in changes.deleted.values():
            deletes[:] = [entries[entry.data_file.file_path] for entry in deletes]
        if indexing.is_reset:
            self.files.reset(self.layout, changes.added)
        else:
            self.files.layout = self.layout
            self.files.apply(changes, indexing.keys, indexing.locations)
        self.staged = StagedRows(self.layout, is_dropped=self.staged.is_dropped)

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
