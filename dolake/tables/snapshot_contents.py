"""What a snapshot consists of, in memory: its manifests, their entries, who deletes what.

Manifests never change, so going from one snapshot to another reads only those not seen before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap

from dolake.errors import ForeignDeletesError, SnapshotNotFoundError
from dolake.tables.deletion_vector import unpack_position_deletes, unpack_vector
from dolake.tables.manifest_files import unpack_manifest, unpack_manifest_list
from dolake.tables.manifests import (
    Content,
    DataFile,
    Manifest,
    ManifestEntry,
)
from dolake.warehouse import Warehouse


@dataclass(slots=True)
class SnapshotContents:
    """The manifests of one snapshot with their entries.

    Shape: `snapshot` is the snapshot's JSON, None for a table or branch without one; `entries` has
           the entries of every manifest by its path, deleted ones included.
    """

    snapshot: Mapping[str, Any] | None = None
    manifests: tuple[Manifest, ...] = ()
    entries: dict[str, list[ManifestEntry]] = field(default_factory=dict)

    @property
    def snapshot_id(self) -> int | None:
        return None if self.snapshot is None else self.snapshot["snapshot-id"]

    def live(self, *, is_data: bool) -> Iterator[ManifestEntry]:
        """Entries of the files that are part of the snapshot."""
        for manifest in self.manifests:
            if manifest.is_data == is_data:
                for entry in self.entries[manifest.path]:
                    if entry.is_live:
                        yield entry

    def data_files(self) -> dict[str, ManifestEntry]:
        """The entry of each live data file, by path."""
        return {entry.data_file.file_path: entry for entry in self.live(is_data=True)}


def load_contents(
    warehouse: Warehouse,
    snapshot: Mapping[str, Any] | None,
    known: SnapshotContents | None = None,
) -> SnapshotContents:
    """The contents of a snapshot; manifests that `known` has are taken from there."""
    if snapshot is None:
        return SnapshotContents()
    manifests = tuple(unpack_manifest_list(warehouse.read(snapshot["manifest-list"])))
    had = known.entries if known is not None else {}
    entries = {
        m.path: had[m.path] if m.path in had else unpack_manifest(warehouse.read(m.path), m)
        for m in manifests
    }
    return SnapshotContents(snapshot, manifests, entries)


def snapshot_of_ref(metadata: Mapping[str, Any], ref: str) -> Mapping[str, Any] | None:
    """The snapshot a branch or tag of the table points to, None when there is no such ref."""
    refs = metadata.get("refs") or {}
    if ref in refs:
        return snapshot_by_id(metadata, refs[ref]["snapshot-id"])
    current = metadata.get("current-snapshot-id")
    if ref == "main" and current is not None and current >= 0:
        return snapshot_by_id(metadata, current)
    return None


def snapshot_by_id(metadata: Mapping[str, Any], snapshot_id: int) -> Mapping[str, Any]:
    """Errors: SnapshotNotFoundError."""
    for snapshot in metadata.get("snapshots") or ():
        if snapshot["snapshot-id"] == snapshot_id:
            found: Mapping[str, Any] = snapshot
            return found
    raise SnapshotNotFoundError(f"the table has no snapshot {snapshot_id}")


def schema_by_id(metadata: Mapping[str, Any], schema_id: int) -> dict[str, Any]:
    return next(s for s in metadata["schemas"] if s["schema-id"] == schema_id)


def current_schema(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return schema_by_id(metadata, metadata["current-schema-id"])


def spec_by_id(metadata: Mapping[str, Any], spec_id: int) -> dict[str, Any]:
    return next(s for s in metadata["partition-specs"] if s["spec-id"] == spec_id)


@dataclass(slots=True)
class FileDeletes:
    """What is deleted from one data file, and the entries of the files that say so."""

    positions: BitMap = field(default_factory=BitMap)
    entries: list[ManifestEntry] = field(default_factory=list)


DeletesByPath = Mapping[str, Mapping[str, BitMap]]
"""Of each file of deletes, the positions it names in each data file."""


def load_deletes(
    warehouse: Warehouse, contents: SnapshotContents, known: DeletesByPath | None = None
) -> dict[str, FileDeletes]:
    """The deleted rows of each data file that has some; files in `known` are not read again.

    Errors: ForeignDeletesError when another engine wrote equality deletes.
    """
    had = known or {}
    deletes: dict[str, FileDeletes] = {}
    data_entries = contents.data_files()
    for entry in contents.live(is_data=False):
        file = entry.data_file
        if file.content is Content.EQUALITY_DELETES:
            raise ForeignDeletesError(file.file_path)
        told = had[file.file_path] if file.file_path in had else _read_deletes(warehouse, file)
        for path, positions in told.items():
            data_entry = data_entries.get(path)
            if data_entry is None or not _applies(entry, data_entry):
                continue
            found = deletes.setdefault(path, FileDeletes())
            found.positions |= positions
            found.entries.append(entry)
    return deletes


def _applies(delete: ManifestEntry, data: ManifestEntry) -> bool:
    """Whether deletes are not older than the data file, as the specification asks."""
    return (
        delete.sequence_number is None
        or data.sequence_number is None
        or data.sequence_number <= delete.sequence_number
    )


def read_vector(warehouse: Warehouse, file: DataFile) -> BitMap:
    """The positions in the vector of a Puffin file."""
    assert file.content_offset is not None and file.content_bytes is not None
    blob = warehouse.read_range(file.file_path, file.content_offset, file.content_bytes)
    return unpack_vector(blob)


def _read_deletes(warehouse: Warehouse, file: DataFile) -> Mapping[str, BitMap]:
    if file.file_format == "PUFFIN":
        assert file.referenced_data_file is not None
        return {file.referenced_data_file: read_vector(warehouse, file)}
    return unpack_position_deletes(warehouse.read(file.file_path))
