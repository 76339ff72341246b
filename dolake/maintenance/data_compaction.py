"""Small and half-dead data files are written together into new ones, beside writers.

A plan is made on a snapshot. When the new files are there, what was deleted from the old ones since
is translated to their positions in the new ones, and the commit is made on condition that nobody
else's came in between; if one did, only the translation is done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableChange, TableRegistry
from dolake.errors import CommitConflictError, ObjectNotFoundError
from dolake.maintenance.maintenance_policy import CompactionPolicy
from dolake.tables.data_file import (
    LINEAGE_FIELDS,
    field_of,
    read_columns,
)
from dolake.tables.lake_table import LakeTable, carried_summary
from dolake.tables.manifests import DataFile, ManifestEntry
from dolake.tables.mirrored_files import resolved_row_ids
from dolake.tables.position_deletes import packed_deletes
from dolake.tables.schema_mapping import arrow_type
from dolake.tables.snapshot_commit import SnapshotCommit, write_files
from dolake.tables.snapshot_contents import FileDeletes, current_schema, load_deletes
from dolake.warehouse import Warehouse

Positions = NDArray[np.int64]

_ATTEMPTS_MAX = 100


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """What a compaction of a table did.

    Shape: `conflicts` counts commits of others that came first and made us translate again;
           `groups_overtaken` those groups all of whose files others removed meanwhile.
    """

    files_before: int = 0
    files_after: int = 0
    rows_written: int = 0
    dead_rows_removed: int = 0
    conflicts: int = 0
    groups_overtaken: int = 0

    def __add__(self, other: CompactionResult) -> CompactionResult:
        return CompactionResult(
            self.files_before + other.files_before,
            self.files_after + other.files_after,
            self.rows_written + other.rows_written,
            self.dead_rows_removed + other.dead_rows_removed,
            self.conflicts + other.conflicts,
            self.groups_overtaken + other.groups_overtaken,
        )


@dataclass(slots=True)
class _Source:
    """A file to be written anew: which of its rows are, and where they are in all that is read."""

    entry: ManifestEntry
    deleted: BitMap
    live: Positions = field(default_factory=lambda: np.empty(0, np.int64))
    offset: int = 0


def compact_table(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    policy: CompactionPolicy | None = None,
    *,
    branch: str = "main",
) -> CompactionResult:
    """Write the small and half-dead files of a table's branch anew, a commit for each group.

    Errors: ForeignDeletesError when the table has equality deletes.
    """
    policy = policy or CompactionPolicy()
    table = LakeTable(warehouse, registry.load_table(identifier), branch)
    table.contents = table.load(registry.load_table(identifier))
    deletes = load_deletes(warehouse, table.contents)
    result = CompactionResult()
    for group in plan_groups(table.contents.data_files(), deletes, policy):
        result += _compact_group(registry, table, group, deletes)
    return result


def plan_groups(
    files: Mapping[str, ManifestEntry],
    deletes: Mapping[str, FileDeletes],
    policy: CompactionPolicy,
) -> Iterator[list[ManifestEntry]]:
    """Which files are written anew together: of one partition, up to the size of a file."""
    by_partition: dict[tuple[Any, ...], list[ManifestEntry]] = {}
    for entry in files.values():
        file = entry.data_file
        if file.file_bytes < policy.small_file_bytes or _is_half_dead(entry, deletes, policy):
            by_partition.setdefault((file.spec_id, file.partition), []).append(entry)
    for entries in by_partition.values():
        # Oldest first: rows that came together stay together, and bounds stay narrow.
        entries.sort(key=lambda entry: (entry.sequence_number or 0, entry.data_file.file_path))
        group: list[ManifestEntry] = []
        for entry in entries:
            if group and not _has_room(group, entry, policy):
                if _is_worthwhile(group, deletes, policy):
                    yield group
                group = []
            group.append(entry)
        if _is_worthwhile(group, deletes, policy):
            yield group


def _is_half_dead(
    entry: ManifestEntry, deletes: Mapping[str, FileDeletes], policy: CompactionPolicy
) -> bool:
    told = deletes.get(entry.data_file.file_path)
    return told is not None and (
        len(told.positions) >= policy.dead_share_min * entry.data_file.record_count
    )


def _has_room(group: list[ManifestEntry], entry: ManifestEntry, policy: CompactionPolicy) -> bool:
    files = [*(e.data_file for e in group), entry.data_file]
    return (
        sum(f.file_bytes for f in files) <= policy.file_bytes_max
        and sum(f.record_count for f in files) <= policy.rows_per_file
    )


def _is_worthwhile(
    group: list[ManifestEntry], deletes: Mapping[str, FileDeletes], policy: CompactionPolicy
) -> bool:
    return len(group) >= policy.files_min or any(
        _is_half_dead(entry, deletes, policy) for entry in group
    )


def _compact_group(
    registry: TableRegistry,
    table: LakeTable,
    group: Sequence[ManifestEntry],
    deletes: Mapping[str, FileDeletes],
) -> CompactionResult:
    sources = [_source(entry, deletes) for entry in group]
    schema = current_schema(table.metadata)
    try:
        rows = _gathered(table, sources, schema)
    except ObjectNotFoundError:  # replaced by others and expired since
        return CompactionResult(groups_overtaken=1)
    written = table.write_rows(rows, schema)
    # Where each row that was read is now: the number of the new file, and the position in it.
    new_file = np.zeros(rows.num_rows, dtype=np.int64)
    new_position = np.zeros(rows.num_rows, dtype=np.int64)
    for number, (_, places) in enumerate(written):
        new_file[places] = number
        new_position[places] = np.arange(len(places))
    outputs = [file for file, _ in written]
    conflicts = 0
    try:
        while not _try_to_commit(registry, table, sources, outputs, new_file, new_position):
            conflicts += 1
            if conflicts == _ATTEMPTS_MAX:
                raise CommitConflictError(
                    f"other commits to {'.'.join(table.identifier)} came first {conflicts} times"
                )
    except _OvertakenError:
        table.warehouse.forget(file.file_path for file in outputs)
        return CompactionResult(conflicts=conflicts, groups_overtaken=1)
    dead = sum(len(source.deleted) for source in sources)
    return CompactionResult(len(sources), len(outputs), rows.num_rows, dead, conflicts)


class _OvertakenError(Exception):
    """Others removed all files of the group, or brought rows of them back."""


def _source(entry: ManifestEntry, deletes: Mapping[str, FileDeletes]) -> _Source:
    told = deletes.get(entry.data_file.file_path)
    return _Source(entry, BitMap(told.positions) if told is not None else BitMap())


def _gathered(table: LakeTable, sources: Sequence[_Source], schema: Mapping[str, Any]) -> pa.Table:
    """The live rows of all sources, one after another, with their lineage in version 3."""
    fields = [
        field_of(f["name"], arrow_type(f["type"]), f["id"], is_required=f["required"])
        for f in schema["fields"]
    ]
    stored = [f.with_nullable(True) for f in fields]
    has_lineage = table.format_version >= 3
    if has_lineage:
        stored += LINEAGE_FIELDS
        fields += LINEAGE_FIELDS
    parts, offset = [], 0
    for source in sources:
        rows = read_columns(table.warehouse, source.entry.data_file.file_path, stored)
        if has_lineage:
            rows = _with_lineage_told(rows, source.entry)
        is_live = np.ones(rows.num_rows, dtype=np.bool_)
        is_live[np.array(source.deleted.to_array(), dtype=np.int64)] = False
        source.live, source.offset = np.flatnonzero(is_live), offset
        offset += len(source.live)
        parts.append(rows.filter(pa.array(is_live)))
    return pa.table(pa.concat_tables(parts).columns, schema=pa.schema(fields))


def _with_lineage_told(rows: pa.Table, entry: ManifestEntry) -> pa.Table:
    """The rows with the lineage that they inherit from their file written out."""
    ids, updated = rows.column(rows.num_columns - 2), rows.column(rows.num_columns - 1)
    told = pa.array(resolved_row_ids(ids, entry.data_file.first_row_id))
    rows = rows.set_column(rows.num_columns - 2, LINEAGE_FIELDS[0], told)
    filled = updated.fill_null(entry.sequence_number or 0)
    return rows.set_column(rows.num_columns - 1, LINEAGE_FIELDS[1], filled)


def _try_to_commit(
    registry: TableRegistry,
    table: LakeTable,
    sources: Sequence[_Source],
    outputs: Sequence[DataFile],
    new_file: Positions,
    new_position: Positions,
) -> bool:
    """Commit the new files with the deletes that arrived since; False when another came first.

    Errors: _OvertakenError.
    """
    table.contents = table.load(registry.load_table(table.identifier))
    live = table.contents.data_files()
    if not any(source.entry.data_file.file_path in live for source in sources):
        raise _OvertakenError
    deletes = load_deletes(table.warehouse, table.contents)
    schema = current_schema(table.metadata)
    commit = SnapshotCommit(table.warehouse, table.metadata, table.ref, table.contents, schema)
    moved: list[Positions] = []
    for source in sources:
        path = source.entry.data_file.file_path
        if path not in live:  # whoever removed it has put its rows elsewhere, or deleted them
            moved.append(source.offset + np.arange(len(source.live)))
            continue
        commit.remove([path])
        now = deletes.get(path, FileDeletes())
        commit.remove(
            entry.data_file.file_path
            for entry in now.entries
            if entry.data_file.referenced_data_file is not None
        )
        if source.deleted - now.positions:
            raise _OvertakenError
        arrived = np.array((now.positions - source.deleted).to_array(), dtype=np.int64)
        moved.append(source.offset + np.searchsorted(source.live, arrived))
    dead = np.concatenate(moved) if moved else np.empty(0, np.int64)
    new_deletes: list[tuple[DataFile, bytes]] = []
    for number, output in enumerate(outputs):
        positions = new_position[dead[new_file[dead] == number]]
        if len(positions) == output.record_count:
            continue  # all its rows are gone again
        commit.add([output])
        if len(positions):
            bitmap = BitMap(positions.astype(np.uint32))
            new_deletes.append(packed_deletes(table, output, bitmap))
    commit.add(file for file, _ in new_deletes)
    write_files(table.warehouse, [(file.file_path, data) for file, data in new_deletes])
    return committed_or_not(registry, table, commit, [file.file_path for file, _ in new_deletes])


def committed_or_not(
    registry: TableRegistry, table: LakeTable, commit: SnapshotCommit, more_paths: Sequence[str]
) -> bool:
    """Commit a snapshot that changes no row; False when another commit came first.

    Shape: `more_paths` are files that are of no use then, as the manifests are.
    """
    snapshot = commit.write("replace", carried_summary(table.metadata, table.ref))
    try:
        registry.commit([TableChange(table.identifier, snapshot.requirements, snapshot.updates)])
    except CommitConflictError:
        table.warehouse.forget([*more_paths, *snapshot.paths])
        return False
    return True
