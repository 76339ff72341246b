"""Manifests and manifest lists as files: packed into Avro, and read, whoever wrote them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import fastavro

from dolake.tables.manifest_schemas import avro_name, entry_schema, manifest_list_schema
from dolake.tables.manifests import Content, DataFile, Manifest, ManifestEntry, Status
from dolake.tables.partitioning import PartitionField
from dolake.tables.single_values import to_stored

_CODEC = "deflate"

# -- writing ---------------------------------------------------------------------------------------


def pack_manifest(
    entries: Sequence[ManifestEntry],
    *,
    is_data: bool,
    spec: Mapping[str, Any],
    fields: Sequence[PartitionField],
    schema: Mapping[str, Any],
    format_version: int,
) -> bytes:
    """A manifest file of the entries, all of one partition spec."""
    names = [avro_name(f.name) for f in fields]
    written = io.BytesIO()
    fastavro.writer(
        written,
        fastavro.parse_schema(entry_schema(fields, format_version)),
        [_entry_record(entry, names) for entry in entries],
        codec=_CODEC,
        metadata={
            "schema": json.dumps(schema),
            "schema-id": str(schema["schema-id"]),
            "partition-spec": json.dumps(spec["fields"]),
            "partition-spec-id": str(spec["spec-id"]),
            "format-version": str(format_version),
            "content": "data" if is_data else "deletes",
        },
    )
    return written.getvalue()


def pack_manifest_list(
    manifests: Iterable[Manifest],
    *,
    snapshot: Mapping[str, Any],
    format_version: int,
) -> bytes:
    """A manifest list file of a snapshot."""
    written = io.BytesIO()
    parent = snapshot.get("parent-snapshot-id")
    fastavro.writer(
        written,
        fastavro.parse_schema(manifest_list_schema(format_version)),
        [
            {
                "manifest_path": m.path,
                "manifest_length": m.file_bytes,
                "partition_spec_id": m.spec_id,
                "content": 0 if m.is_data else 1,
                "sequence_number": m.sequence_number,
                "min_sequence_number": m.min_sequence_number,
                "added_snapshot_id": m.added_snapshot_id,
                "added_files_count": m.added_files_count,
                "existing_files_count": m.existing_files_count,
                "deleted_files_count": m.deleted_files_count,
                "added_rows_count": m.added_rows_count,
                "existing_rows_count": m.existing_rows_count,
                "deleted_rows_count": m.deleted_rows_count,
                "partitions": m.partitions,
                "key_metadata": None,
                "first_row_id": m.first_row_id,
            }
            for m in manifests
        ],
        codec=_CODEC,
        metadata={
            "snapshot-id": str(snapshot["snapshot-id"]),
            "parent-snapshot-id": "null" if parent is None else str(parent),
            "sequence-number": str(snapshot["sequence-number"]),
            "format-version": str(format_version),
        },
    )
    return written.getvalue()


def _pairs(values: Mapping[int, Any]) -> list[dict[str, Any]] | None:
    return [{"key": key, "value": value} for key, value in values.items()] or None


def _entry_record(entry: ManifestEntry, partition_names: Sequence[str]) -> dict[str, Any]:
    file = entry.data_file
    return {
        "status": int(entry.status),
        "snapshot_id": entry.snapshot_id,
        "sequence_number": entry.sequence_number,
        "file_sequence_number": entry.file_sequence_number,
        "data_file": {
            "content": int(file.content),
            "file_path": file.file_path,
            "file_format": file.file_format,
            "partition": dict(zip(partition_names, file.partition, strict=True)),
            "record_count": file.record_count,
            "file_size_in_bytes": file.file_bytes,
            "column_sizes": _pairs(file.column_sizes),
            "value_counts": _pairs(file.value_counts),
            "null_value_counts": _pairs(file.null_value_counts),
            "nan_value_counts": _pairs(file.nan_value_counts),
            "lower_bounds": _pairs(file.lower_bounds),
            "upper_bounds": _pairs(file.upper_bounds),
            "split_offsets": list(file.split_offsets) or None,
            "equality_ids": list(file.equality_ids) or None,
            "sort_order_id": file.sort_order_id,
            "first_row_id": file.first_row_id,
            "referenced_data_file": file.referenced_data_file,
            "content_offset": file.content_offset,
            "content_size_in_bytes": file.content_bytes,
        },
    }


# -- reading ---------------------------------------------------------------------------------------


def unpack_manifest_list(data: bytes) -> list[Manifest]:
    """The manifests of a manifest list, written by us or by others."""
    return [
        Manifest(
            path=record["manifest_path"],
            file_bytes=record["manifest_length"],
            spec_id=record["partition_spec_id"],
            is_data=record.get("content", 0) == 0,
            sequence_number=record.get("sequence_number") or 0,
            min_sequence_number=record.get("min_sequence_number") or 0,
            added_snapshot_id=record["added_snapshot_id"],
            added_files_count=_count(record, "added"),
            existing_files_count=_count(record, "existing"),
            deleted_files_count=_count(record, "deleted"),
            added_rows_count=record.get("added_rows_count") or 0,
            existing_rows_count=record.get("existing_rows_count") or 0,
            deleted_rows_count=record.get("deleted_rows_count") or 0,
            partitions=record.get("partitions"),
            first_row_id=record.get("first_row_id"),
        )
        for record in _records(data)
    ]


def unpack_manifest(data: bytes, manifest: Manifest) -> list[ManifestEntry]:
    """The entries of a manifest, with what they inherit from the manifest list filled in."""
    entries = []
    next_row_id = manifest.first_row_id
    for record in _records(data):
        file = record["data_file"]
        status = Status(record["status"])
        first_row_id = file.get("first_row_id")
        if first_row_id is None and next_row_id is not None and manifest.is_data:
            first_row_id = next_row_id
            next_row_id += file["record_count"]
        entries.append(
            ManifestEntry(
                status,
                _inherited(record.get("snapshot_id"), manifest.added_snapshot_id),
                _inherited(record.get("sequence_number"), manifest.sequence_number),
                _inherited(record.get("file_sequence_number"), manifest.sequence_number),
                DataFile(
                    content=Content(file.get("content", 0)),
                    file_path=file["file_path"],
                    file_format=file["file_format"].upper(),
                    partition=tuple(to_stored(value) for value in file["partition"].values()),
                    record_count=file["record_count"],
                    file_bytes=file["file_size_in_bytes"],
                    spec_id=manifest.spec_id,
                    column_sizes=_mapping(file.get("column_sizes")),
                    value_counts=_mapping(file.get("value_counts")),
                    null_value_counts=_mapping(file.get("null_value_counts")),
                    nan_value_counts=_mapping(file.get("nan_value_counts")),
                    lower_bounds=_mapping(file.get("lower_bounds")),
                    upper_bounds=_mapping(file.get("upper_bounds")),
                    split_offsets=tuple(file.get("split_offsets") or ()),
                    sort_order_id=file.get("sort_order_id"),
                    equality_ids=tuple(file.get("equality_ids") or ()),
                    first_row_id=first_row_id,
                    referenced_data_file=file.get("referenced_data_file"),
                    content_offset=file.get("content_offset"),
                    content_bytes=file.get("content_size_in_bytes"),
                ),
            )
        )
    return entries


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    for record in fastavro.reader(io.BytesIO(data)):
        assert isinstance(record, dict)
        yield record


def _count(record: Mapping[str, Any], what: str) -> int:
    """How many files; writers of version 1 call them data files."""
    return int(record.get(f"{what}_files_count") or record.get(f"{what}_data_files_count") or 0)


def _inherited(value: int | None, from_manifest: int) -> int:
    return from_manifest if value is None else value


def _mapping(pairs: Any) -> dict[int, Any]:
    """A map as Iceberg's Avro writes it: an array of key and value."""
    return {} if pairs is None else {pair["key"]: pair["value"] for pair in pairs}
