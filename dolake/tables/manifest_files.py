"""Manifests and manifest lists: Avro files that name a snapshot's files, their rows and bounds.

Source: Iceberg table specification, "Manifests" and "Manifest Lists", format versions 2 and 3.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import fastavro

from dolake.tables.partitioning import PartitionField
from dolake.tables.single_values import to_bytes, to_stored

_CODEC = "deflate"


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


# -- Avro schemas ----------------------------------------------------------------------------------


def _optional(name: str, kind: Any, field_id: int) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None, "field-id": field_id}


def _required(name: str, kind: Any, field_id: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "field-id": field_id}


def _map(key_id: int, value_id: int, value: str) -> dict[str, Any]:
    return {
        "type": "array",
        "logicalType": "map",
        "items": {
            "type": "record",
            "name": f"k{key_id}_v{value_id}",
            "fields": [_required("key", "int", key_id), _required("value", value, value_id)],
        },
    }


def _list(element_id: int, element: Any) -> dict[str, Any]:
    return {"type": "array", "items": element, "element-id": element_id}


_AVRO_TYPES: Mapping[str, Any] = {
    "int": "int",
    "long": "long",
    "double": "double",
    "string": "string",
    "binary": "bytes",
    "boolean": "boolean",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": False},
    "timestamptz": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": True},
}


def _avro_name(name: str) -> str:
    """A name Avro takes: other characters become _x and their code."""
    made = "".join(
        character
        if character.isascii() and (character.isalnum() or character == "_")
        else f"_x{ord(character):X}"
        for character in name
    )
    return f"_{made}" if made[:1].isdigit() else made


def _entry_schema(fields: Sequence[PartitionField], format_version: int) -> dict[str, Any]:
    partition = {
        "type": "record",
        "name": "r102",
        "fields": [
            _optional(_avro_name(f.name), _AVRO_TYPES[f.result_type], f.field_id) for f in fields
        ],
    }
    data_file = [
        _required("content", "int", 134),
        _required("file_path", "string", 100),
        _required("file_format", "string", 101),
        _required("partition", partition, 102),
        _required("record_count", "long", 103),
        _required("file_size_in_bytes", "long", 104),
        _optional("column_sizes", _map(117, 118, "long"), 108),
        _optional("value_counts", _map(119, 120, "long"), 109),
        _optional("null_value_counts", _map(121, 122, "long"), 110),
        _optional("nan_value_counts", _map(138, 139, "long"), 137),
        _optional("lower_bounds", _map(126, 127, "bytes"), 125),
        _optional("upper_bounds", _map(129, 130, "bytes"), 128),
        _optional("split_offsets", _list(133, "long"), 132),
        _optional("equality_ids", _list(136, "int"), 135),
        _optional("sort_order_id", "int", 140),
    ]
    if format_version >= 3:
        data_file.append(_optional("first_row_id", "long", 142))
    data_file.append(_optional("referenced_data_file", "string", 143))
    if format_version >= 3:
        data_file.append(_optional("content_offset", "long", 144))
        data_file.append(_optional("content_size_in_bytes", "long", 145))
    return {
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            _required("status", "int", 0),
            _optional("snapshot_id", "long", 1),
            _optional("sequence_number", "long", 3),
            _optional("file_sequence_number", "long", 4),
            _required("data_file", {"type": "record", "name": "r2", "fields": data_file}, 2),
        ],
    }


def _manifest_list_schema(format_version: int) -> dict[str, Any]:
    summary = {
        "type": "record",
        "name": "r508",
        "fields": [
            _required("contains_null", "boolean", 509),
            _optional("contains_nan", "boolean", 518),
            _optional("lower_bound", "bytes", 510),
            _optional("upper_bound", "bytes", 511),
        ],
    }
    fields = [
        _required("manifest_path", "string", 500),
        _required("manifest_length", "long", 501),
        _required("partition_spec_id", "int", 502),
        _required("content", "int", 517),
        _required("sequence_number", "long", 515),
        _required("min_sequence_number", "long", 516),
        _required("added_snapshot_id", "long", 503),
        _required("added_files_count", "int", 504),
        _required("existing_files_count", "int", 505),
        _required("deleted_files_count", "int", 506),
        _required("added_rows_count", "long", 512),
        _required("existing_rows_count", "long", 513),
        _required("deleted_rows_count", "long", 514),
        _optional("partitions", _list(508, summary), 507),
        _optional("key_metadata", "bytes", 519),
    ]
    if format_version >= 3:
        fields.append(_optional("first_row_id", "long", 520))
    return {"type": "record", "name": "manifest_file", "fields": fields}


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
    names = [_avro_name(f.name) for f in fields]
    written = io.BytesIO()
    fastavro.writer(
        written,
        fastavro.parse_schema(_entry_schema(fields, format_version)),
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
        fastavro.parse_schema(_manifest_list_schema(format_version)),
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
