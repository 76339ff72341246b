"""The Avro schemas of manifests and manifest lists: which fields there are, and their ids.

Source: Iceberg table specification, "Manifests" and "Manifest Lists", format versions 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dolake.tables.partitioning import PartitionField

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


def entry_schema(fields: Sequence[PartitionField], format_version: int) -> dict[str, Any]:
    """The schema of the entries of a manifest whose spec has these fields."""
    partition = {
        "type": "record",
        "name": "r102",
        "fields": [
            _optional(avro_name(f.name), _AVRO_TYPES[f.result_type], f.field_id) for f in fields
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


def manifest_list_schema(format_version: int) -> dict[str, Any]:
    """The schema of what a manifest list says of each manifest."""
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


def avro_name(name: str) -> str:
    """A name Avro takes: other characters become _x and their code."""
    made = "".join(
        character
        if character.isascii() and (character.isalnum() or character == "_")
        else f"_x{ord(character):X}"
        for character in name
    )
    return f"_{made}" if made[:1].isdigit() else made


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
