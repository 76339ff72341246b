"""A new snapshot out of the one before: manifests, manifest list, and what is to be committed.

Nothing here changes a table: the files are written, and what is returned goes to the registry.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from dolake.tables.manifest_files import pack_manifest, pack_manifest_list
from dolake.tables.manifests import (
    Content,
    DataFile,
    Manifest,
    ManifestEntry,
    Status,
    describe_manifest,
)
from dolake.tables.partitioning import PartitionField, bound_fields
from dolake.tables.snapshot_contents import SnapshotContents, spec_by_id
from dolake.warehouse import Warehouse

MANIFESTS_MERGED_MIN = 50
"""So many small manifests of one kind are merged into one by the commit that finds them."""

ENTRIES_PER_MANIFEST = 2_000
_WRITERS = 8


@dataclass(slots=True)
class PreparedSnapshot:
    """A snapshot whose files are written, waiting to be committed.

    Shape: `requirements` and `updates` are those of the REST specification; `paths` are the files
           that nobody else names, to be removed if the commit fails.
    """

    contents: SnapshotContents
    requirements: list[dict[str, Any]]
    updates: list[dict[str, Any]]
    paths: list[str]

    @property
    def snapshot_id(self) -> int:
        assert self.contents.snapshot is not None
        return int(self.contents.snapshot["snapshot-id"])


def write_files(warehouse: Warehouse, files: Sequence[tuple[str, bytes]]) -> None:
    """Store files, several at a time where there are several."""
    if len(files) == 1:
        warehouse.write(*files[0])
    elif files:
        with ThreadPoolExecutor(min(_WRITERS, len(files))) as writers:
            for _ in writers.map(lambda file: warehouse.write(*file), files):
                pass


def new_file_path(metadata: Mapping[str, Any], folder: str, name: str) -> str:
    """The URL of a new file of the table; `{}` in its name is made unique."""
    return f"{metadata['location'].rstrip('/')}/{folder}/{name.format(uuid.uuid4().hex)}"


@dataclass(slots=True)
class SnapshotCommit:
    """Gathers what a snapshot adds and removes, then writes its manifests.

    Shape: `metadata` is the table's as the commit will find it, with the schema and the specs that
           it adds itself.
    """

    warehouse: Warehouse
    metadata: Mapping[str, Any]
    ref: str
    base: SnapshotContents
    schema: Mapping[str, Any]
    snapshot_id: int = field(default_factory=lambda: uuid.uuid4().int >> 65 or 1)
    _added: list[DataFile] = field(default_factory=list)
    _removed: set[str] = field(default_factory=set)
    _rewritten: set[str] = field(default_factory=set)

    @property
    def sequence_number(self) -> int:
        return int(self.metadata.get("last-sequence-number", 0)) + 1

    def add(self, files: Iterable[DataFile]) -> None:
        """Files of rows or deletes that are part of the new snapshot."""
        self._added.extend(files)

    def remove(self, paths: Iterable[str]) -> None:
        """Files of the snapshot before that are no part of the new one."""
        self._removed.update(paths)

    @property
    def operation(self) -> str:
        """What the summary calls a snapshot of these changes."""
        if self._removed or any(f.content is not Content.DATA for f in self._added):
            is_data_added = any(f.content is Content.DATA for f in self._added)
            return "overwrite" if is_data_added else "delete"
        return "append"

    def rewrite_manifests(self, paths: Iterable[str]) -> None:
        """Manifests of the snapshot before whose entries go into new ones."""
        self._rewritten.update(paths)

    def write(
        self,
        operation: str,
        properties: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> PreparedSnapshot:
        """Write manifests and manifest list. Units: `clock` gives seconds since 1970."""
        sequence_number = self.sequence_number
        new_entries = [
            ManifestEntry(
                Status.ADDED,
                self.snapshot_id,
                None,
                None,
                file,
            )
            for file in self._added
        ]
        kept, groups = self._sorted_out(new_entries)
        written: list[tuple[str, bytes]] = []
        made: list[tuple[Manifest, list[ManifestEntry]]] = []
        for (is_data, spec_id), entries in groups.items():
            spec = spec_by_id(self.metadata, spec_id)
            fields = bound_fields(spec, self._schemas())
            for start in range(0, len(entries), ENTRIES_PER_MANIFEST):
                part = entries[start : start + ENTRIES_PER_MANIFEST]
                path = self._metadata_path("m{}.avro")
                data = self._packed(part, is_data, spec, fields)
                written.append((path, data))
                manifest = describe_manifest(
                    path,
                    len(data),
                    part,
                    is_data=is_data,
                    spec_id=spec_id,
                    fields=fields,
                    sequence_number=sequence_number,
                    snapshot_id=self.snapshot_id,
                )
                made.append((manifest, part))
        version = int(self.metadata["format-version"])
        first_row_id, next_row_id = self._number_rows(made) if version >= 3 else (None, None)
        manifests = [manifest for manifest, _ in made] + kept
        # Data first: some readers expect it, and the specification leaves the order open.
        manifests.sort(key=lambda manifest: not manifest.is_data)
        snapshot = self._snapshot(operation, sequence_number, clock)
        if first_row_id is not None and next_row_id is not None:
            snapshot["first-row-id"] = first_row_id
            snapshot["added-rows"] = next_row_id - first_row_id
        entries_by_path = {m.path: self.base.entries[m.path] for m in kept}
        for manifest, entries in made:
            entries_by_path[manifest.path] = _resolved(entries, manifest, sequence_number)
        contents = SnapshotContents(snapshot, tuple(manifests), entries_by_path)
        snapshot["summary"] = {
            "operation": operation,
            **self._changes(new_entries),
            **_totals(contents),
            **properties,
        }
        packed = pack_manifest_list(manifests, snapshot=snapshot, format_version=version)
        written.append((snapshot["manifest-list"], packed))
        write_files(self.warehouse, written)
        return PreparedSnapshot(
            contents,
            self._requirements(),
            [
                {"action": "add-snapshot", "snapshot": snapshot},
                {
                    "action": "set-snapshot-ref",
                    "ref-name": self.ref,
                    "type": "branch",
                    "snapshot-id": self.snapshot_id,
                },
            ],
            [path for path, _ in written],
        )

    def _schemas(self) -> list[Mapping[str, Any]]:
        return [*self.metadata["schemas"], self.schema]

    def _metadata_path(self, name: str) -> str:
        return new_file_path(self.metadata, "metadata", name)

    def _packed(
        self,
        entries: Sequence[ManifestEntry],
        is_data: bool,
        spec: Mapping[str, Any],
        fields: Sequence[PartitionField],
    ) -> bytes:
        return pack_manifest(
            entries,
            is_data=is_data,
            spec=spec,
            fields=fields,
            schema=self.schema,
            format_version=int(self.metadata["format-version"]),
        )

    def _sorted_out(
        self, new_entries: Sequence[ManifestEntry]
    ) -> tuple[list[Manifest], dict[tuple[bool, int], list[ManifestEntry]]]:
        """The manifests that stay, and by kind and spec the entries that new ones are made of."""
        groups: dict[tuple[bool, int], list[ManifestEntry]] = {}
        for entry in new_entries:
            is_data = entry.data_file.content is Content.DATA
            groups.setdefault((is_data, entry.data_file.spec_id), []).append(entry)
        kept = []
        for manifest in self.base.manifests:
            if not manifest.has_live_files:
                continue  # it told what an earlier snapshot deleted, which that one still tells
            entries = self.base.entries[manifest.path]
            if manifest.path in self._rewritten or any(
                entry.data_file.file_path in self._removed for entry in entries if entry.is_live
            ):
                groups.setdefault((manifest.is_data, manifest.spec_id), []).extend(
                    self._carried_on(entries)
                )
            else:
                kept.append(manifest)
        for kind in list(groups):
            small = [m for m in kept if (m.is_data, m.spec_id) == kind and _is_small(m)]
            if len(small) >= MANIFESTS_MERGED_MIN:
                for manifest in small:
                    groups[kind].extend(self._carried_on(self.base.entries[manifest.path]))
                merged = {manifest.path for manifest in small}
                kept = [manifest for manifest in kept if manifest.path not in merged]
        return kept, groups

    def _carried_on(self, entries: Iterable[ManifestEntry]) -> Iterable[ManifestEntry]:
        for entry in entries:
            if entry.is_live:
                is_removed = entry.data_file.file_path in self._removed
                yield entry.deleted_by(self.snapshot_id) if is_removed else entry.kept()

    def _number_rows(self, made: list[tuple[Manifest, list[ManifestEntry]]]) -> tuple[int, int]:
        """Give new data manifests their first row ids; where those begin and end.

        Source: Iceberg table specification, "First Row ID Assignment".
        """
        first = following = int(self.metadata.get("next-row-id", 0))
        for number, (manifest, entries) in enumerate(made):
            if manifest.is_data:
                made[number] = (replace(manifest, first_row_id=following), entries)
                following += manifest.added_rows_count + manifest.existing_rows_count
        return first, following

    def _snapshot(
        self, operation: str, sequence_number: int, clock: Callable[[], float]
    ) -> dict[str, Any]:
        snapshot: dict[str, Any] = {
            "snapshot-id": self.snapshot_id,
            "sequence-number": sequence_number,
            # The log of a table must not run backwards, whatever the clock does.
            "timestamp-ms": max(
                int(clock() * 1000), int(self.metadata.get("last-updated-ms", 0)) + 1
            ),
            "manifest-list": self._metadata_path(f"snap-{self.snapshot_id}-{{}}.avro"),
            "schema-id": self.schema["schema-id"],
        }
        if self.base.snapshot_id is not None:
            snapshot["parent-snapshot-id"] = self.base.snapshot_id
        return snapshot

    def _requirements(self) -> list[dict[str, Any]]:
        return [
            {"type": "assert-table-uuid", "uuid": self.metadata["table-uuid"]},
            {
                "type": "assert-ref-snapshot-id",
                "ref": self.ref,
                "snapshot-id": self.base.snapshot_id,
            },
        ]

    def _changes(self, new_entries: Sequence[ManifestEntry]) -> dict[str, str]:
        """What the summary tells of the files and rows that came and went."""
        removed = [
            entry.data_file
            for is_data in (True, False)
            for entry in self.base.live(is_data=is_data)
            if entry.data_file.file_path in self._removed
        ]
        added = [entry.data_file for entry in new_entries]
        told: dict[str, int] = {}
        for files, past, size in ((added, "added", "added"), (removed, "deleted", "removed")):
            delete_word = "removed" if past == "deleted" else past
            data = [f for f in files if f.content is Content.DATA]
            deletes = [f for f in files if f.content is not Content.DATA]
            told[f"{past}-data-files"] = len(data)
            told[f"{past}-records"] = sum(f.record_count for f in data)
            told[f"{delete_word}-delete-files"] = len(deletes)
            told[f"{delete_word}-dvs"] = sum(f.file_format == "PUFFIN" for f in deletes)
            told[f"{delete_word}-position-deletes"] = sum(f.record_count for f in deletes)
            told[f"{size}-files-size"] = sum(_content_bytes(f) for f in files)
        partitions = {(f.spec_id, f.partition) for f in (*added, *removed)}
        told["changed-partition-count"] = len(partitions)
        return {name: str(value) for name, value in told.items() if value}


def _resolved(
    entries: Sequence[ManifestEntry], manifest: Manifest, sequence_number: int
) -> list[ManifestEntry]:
    """The entries with what they inherit once the manifest is committed."""
    next_row_id = manifest.first_row_id
    resolved = []
    for entry in entries:
        file = entry.data_file
        if file.first_row_id is None and next_row_id is not None:
            file = replace(file, first_row_id=next_row_id)
            next_row_id += file.record_count
        resolved.append(
            ManifestEntry(
                entry.status,
                entry.snapshot_id,
                sequence_number if entry.sequence_number is None else entry.sequence_number,
                sequence_number
                if entry.file_sequence_number is None
                else entry.file_sequence_number,
                file,
            )
        )
    return resolved


def _is_small(manifest: Manifest) -> bool:
    return manifest.added_files_count + manifest.existing_files_count < ENTRIES_PER_MANIFEST // 2


def _content_bytes(file: DataFile) -> int:
    """The bytes a file counts for: those of the vector, where a Puffin file holds one."""
    return file.file_bytes if file.content_bytes is None else file.content_bytes


def _totals(contents: SnapshotContents) -> dict[str, str]:
    data = [entry.data_file for entry in contents.live(is_data=True)]
    deletes = [entry.data_file for entry in contents.live(is_data=False)]
    return {
        "total-records": str(sum(f.record_count for f in data)),
        "total-files-size": str(sum(_content_bytes(f) for f in (*data, *deletes))),
        "total-data-files": str(len(data)),
        "total-delete-files": str(len(deletes)),
        "total-position-deletes": str(
            sum(f.record_count for f in deletes if f.content is Content.POSITION_DELETES)
        ),
        "total-equality-deletes": str(
            sum(f.record_count for f in deletes if f.content is Content.EQUALITY_DELETES)
        ),
    }
