"""What manifests and manifest lists tell of a snapshot: its files, their rows and bounds.

Source: Iceberg table specification, "Manifests" and "Manifest Lists", format versions 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from dolake.tables.partitioning import PartitionField
from dolake.tables.single_values import to_bytes


class Content(IntEnum):
    """What a file holds."""

    DATA = 0
    POSITION_DELETES = 1  # deletion vectors, too
    EQUALITY_DELETES = 2


class Status(IntEnum):
    """What a snapshot did to the file of a manifest's entry."""

    EXISTING = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of rows or of deletes, as a manifest describes it.

    Shape: `partition` holds stored values in the order of the spec's fields; bounds are Iceberg's
           single values by field id. `first_row_id` is resolved, inherited or not.
    """

    content: Content
    file_path: str
    file_format: str
    partition: tuple[Any, ...]
    record_count: int
    file_bytes: int
    spec_id: int = 0
    column_sizes: Mapping[int, int] = field(default_factory=dict)
    value_counts: Mapping[int, int] = field(default_factory=dict)
    null_value_counts: Mapping[int, int] = field(default_factory=dict)
    nan_value_counts: Mapping[int, int] = field(default_factory=dict)
    lower_bounds: Mapping[int, bytes] = field(default_factory=dict)
    upper_bounds: Mapping[int, bytes] = field(default_factory=dict)
    split_offsets: tuple[int, ...] = ()
    sort_order_id: int | None = None
    equality_ids: tuple[int, ...] = ()
    first_row_id: int | None = None
    referenced_data_file: str | None = None
    content_offset: int | None = None
    content_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A file in a manifest. Shape: sequence numbers are None until the snapshot has its own."""

    status: Status
    snapshot_id: int | None
    sequence_number: int | None
    file_sequence_number: int | None
    data_file: DataFile

    @property
    def is_live(self) -> bool:
        return self.status is not Status.DELETED

    def kept(self) -> ManifestEntry:
        """The entry as a manifest written anew carries it on."""
        return replace(self, status=Status.EXISTING)

    def deleted_by(self, snapshot_id: int) -> ManifestEntry:
        return replace(self, status=Status.DELETED, snapshot_id=snapshot_id)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as a manifest list describes it.

    Shape: `is_data` tells manifests of data files from those of deletes; `partitions` are the
           summaries in Avro's form.
    """

    path: str
    file_bytes: int
    spec_id: int
    is_data: bool
    sequence_number: int
    min_sequence_number: int
    added_snapshot_id: int
    added_files_count: int
    existing_files_count: int
    deleted_files_count: int
    added_rows_count: int
    existing_rows_count: int
    deleted_rows_count: int
    partitions: Sequence[Mapping[str, Any]] | None = None
    first_row_id: int | None = None

    @property
    def has_live_files(self) -> bool:
        return self.added_files_count + self.existing_files_count > 0


def describe_manifest(
    path: str,
    file_bytes: int,
    entries: Sequence[ManifestEntry],
    *,
    is_data: bool,
    spec_id: int,
    fields: Sequence[PartitionField],
    sequence_number: int,
    snapshot_id: int,
) -> Manifest:
    """What a manifest list says of a manifest just written by a snapshot."""
    files = dict.fromkeys(Status, 0)
    rows = dict.fromkeys(Status, 0)
    for entry in entries:
        files[entry.status] += 1
        rows[entry.status] += entry.data_file.record_count
    live = [entry for entry in entries if entry.is_live]
    return Manifest(
        path=path,
        file_bytes=file_bytes,
        spec_id=spec_id,
        is_data=is_data,
        sequence_number=sequence_number,
        min_sequence_number=min(
            (
                sequence_number if entry.sequence_number is None else entry.sequence_number
                for entry in live
            ),
            default=sequence_number,
        ),
        added_snapshot_id=snapshot_id,
        added_files_count=files[Status.ADDED],
        existing_files_count=files[Status.EXISTING],
        deleted_files_count=files[Status.DELETED],
        added_rows_count=rows[Status.ADDED],
        existing_rows_count=rows[Status.EXISTING],
        deleted_rows_count=rows[Status.DELETED],
        partitions=[
            _partition_summary([entry.data_file.partition[n] for entry in entries], f.result_type)
            for n, f in enumerate(fields)
        ],
    )


def _partition_summary(values: Iterable[Any], iceberg_type: str) -> dict[str, Any]:
    distinct = set(values)
    known = distinct - {None}
    return {
        "contains_null": None in distinct,
        "contains_nan": False,
        "lower_bound": to_bytes(min(known), iceberg_type) if known else None,
        "upper_bound": to_bytes(max(known), iceberg_type) if known else None,
    }
