"""Partition fields as options name them, as Iceberg's JSON, and the rows of each partition.

Source: Iceberg table specification, "Partition Transforms" and appendix B, "32-bit Hash".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolake.errors import LakeConfigurationError
from dolake.tables.single_values import to_stored

FIRST_PARTITION_FIELD_ID = 1000

_FIELD = re.compile(r"\s*(?:(\w+)\s*\(\s*(?:(\d+)\s*,\s*)?(.+?)\s*\)|(.+?))\s*")
_TIMES = {"year": "Y", "month": "M", "day": "D", "hour": "h"}  # as numpy calls them
_TYPES_OF: Mapping[str, tuple[str, ...]] = {
    "identity": ("long", "string", "boolean", "date", "timestamp", "timestamptz", "binary"),
    "year": ("date", "timestamp", "timestamptz"),
    "month": ("date", "timestamp", "timestamptz"),
    "day": ("date", "timestamp", "timestamptz"),
    "hour": ("timestamp", "timestamptz"),
    "bucket": ("long", "string", "date", "timestamp", "timestamptz", "binary"),
    "truncate": ("long", "string", "binary"),
}


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One field of a partition spec, bound to the column it is computed from.

    Shape: `transform` is Iceberg's text: identity, day, bucket[16], truncate[4] ...
    """

    name: str
    transform: str
    source_id: int
    field_id: int
    source_type: str

    @property
    def result_type(self) -> str:
        """The Iceberg type of the partition's value."""
        kind = self.transform.partition("[")[0]
        if kind == "day":
            return "date"
        if kind in (*_TIMES, "bucket"):
            return "int"
        return self.source_type

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "transform": self.transform,
            "source-id": self.source_id,
            "field-id": self.field_id,
        }


def parse_transform(text: str) -> tuple[str, str]:
    """Iceberg's transform and the column's name out of `day(created)`, `bucket(16, id)`, `city`.

    Errors: LakeConfigurationError when it is none of these.
    """
    found = _FIELD.fullmatch(text)
    if found is None:
        raise LakeConfigurationError(f"{text!r} is no partition field")
    if found[4] is not None:
        return "identity", found[4]
    kind, argument, column = found[1].lower(), found[2], found[3]
    if kind not in _TYPES_OF or (kind in ("bucket", "truncate")) != (argument is not None):
        raise LakeConfigurationError(
            f"{text!r} is no partition field",
            hint="write column, year(c), month(c), day(c), hour(c), bucket(n, c) or truncate(n, c)",
        )
    if argument is not None and not 0 < int(argument) < 1 << 31:
        raise LakeConfigurationError(f"{text!r}: {argument} is not between 1 and 2147483647")
    return (f"{kind}[{argument}]" if argument is not None else kind), column


def partition_spec(fields: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Iceberg's JSON of a partition spec over the columns of a schema.

    Errors: LakeConfigurationError for a column that is not there, or whose type has no such
            transform.
    """
    by_name = {field["name"]: field for field in schema["fields"]}
    made = []
    for number, text in enumerate(fields):
        transform, column = parse_transform(text)
        kind = transform.partition("[")[0]
        field = by_name.get(column)
        if field is None:
            raise LakeConfigurationError(f"{text!r}: there is no column {column!r} to partition by")
        if field["type"] not in _TYPES_OF[kind]:
            raise LakeConfigurationError(f"{text!r}: a {field['type']} has no transform {kind}")
        made.append(
            PartitionField(
                column if kind == "identity" else f"{column}_{kind}",
                transform,
                field["id"],
                FIRST_PARTITION_FIELD_ID + number,
                field["type"],
            ).as_json()
        )
    return {"spec-id": 0, "fields": made}


def bound_fields(
    spec: Mapping[str, Any], schemas: Sequence[Mapping[str, Any]]
) -> tuple[PartitionField, ...]:
    """The fields of a spec with their columns' types; of several schemas the last counts."""
    types = {field["id"]: field["type"] for schema in schemas for field in schema["fields"]}
    return tuple(
        PartitionField(
            field["name"],
            field["transform"],
            field.get("source-id", (field.get("source-ids") or [0])[0]),
            field["field-id"],
            types.get(field.get("source-id", 0), "string"),
        )
        for field in spec["fields"]
    )


def split_by_partition(
    table: pa.Table, fields: Sequence[PartitionField], column_of_id: Mapping[int, str]
) -> Iterator[tuple[tuple[Any, ...], np.ndarray | None]]:
    """Each partition that has rows, and which rows; None stands for all of them.

    Shape: a partition is a tuple of stored values: days and microseconds for dates and times.
    """
    if not fields or not table.num_rows:
        if table.num_rows:
            yield (None,) * len(fields), None
        return
    codes = np.zeros(table.num_rows, dtype=np.int64)
    values: list[list[Any]] = []
    for field in fields:
        name = column_of_id.get(field.source_id)  # a dropped column's partitions are all NULL
        column = pa.nulls(table.num_rows) if name is None else table.column(name)
        encoded = _transformed(column, field)
        values.append([to_stored(value) for value in encoded.dictionary.to_pylist()] + [None])
        indices = pc.fill_null(encoded.indices, len(values[-1]) - 1).to_numpy(zero_copy_only=False)
        codes = codes * len(values[-1]) + indices
    distinct, inverse = np.unique(codes, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(distinct)))
    for number, code in enumerate(distinct.tolist()):
        partition: list[Any] = []
        for choices in reversed(values):
            code, position = divmod(code, len(choices))
            partition.append(choices[position])
        rows = order[ends[number - 1] if number else 0 : ends[number]]
        yield tuple(reversed(partition)), rows


def _transformed(column: Any, field: PartitionField) -> pa.DictionaryArray:
    """A dictionary array of the partition's values."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    kind, _, argument = field.transform.partition("[")
    if kind in _TIMES:
        return _encoded(_time_units(whole, kind))
    encoded = _encoded(whole)
    if kind == "identity":
        return encoded
    width = int(argument.rstrip("]"))
    of: Callable[[Any], Any]
    if kind == "bucket":
        of = lambda value: bucket(value, width)  # noqa: E731
    else:
        of = lambda value: truncate(value, width)  # noqa: E731
    results = [None if value is None else of(value) for value in encoded.dictionary.to_pylist()]
    distinct = list(dict.fromkeys(results))
    place = {value: number for number, value in enumerate(distinct)}
    mapping = pa.array([place[value] for value in results], pa.int32())
    indices = mapping.take(encoded.indices) if len(results) else encoded.indices
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct))


def _encoded(array: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(array.type):
        return array
    return array.dictionary_encode()


def _time_units(array: pa.Array, kind: str) -> pa.Array:
    """Years, months, days or hours since 1970, rounded down."""
    is_date = pa.types.is_date(array.type)
    unit = "datetime64[D]" if is_date else "datetime64[us]"
    stored = pc.cast(array, pa.int32() if is_date else pa.int64())
    moments = pc.fill_null(stored, 0).to_numpy(zero_copy_only=False).astype(unit)
    counted = moments.astype(f"datetime64[{_TIMES[kind]}]")
    numbers = pa.array(counted.astype(np.int64).astype(np.int32))
    return pc.if_else(pc.is_valid(array), numbers, pa.scalar(None, pa.int32()))


def bucket(value: Any, count: int) -> int:
    """The bucket of a value: murmur3 of its stored form, modulo the count."""
    stored = to_stored(value)
    if isinstance(stored, int):
        data = struct.pack("<q", stored)
    else:
        data = stored.encode() if isinstance(stored, str) else bytes(stored)
    return (murmur3_32(data) & 0x7FFFFFFF) % count


def truncate(value: Any, width: int) -> Any:
    """The value cut to a width: characters, bytes, or a multiple below."""
    if not isinstance(value, int):
        return value[:width]
    below = value - value % width
    return below if below >= -(1 << 63) else below + (1 << 64)  # as 64-bit integers wrap


def murmur3_32(data: bytes) -> int:
    """Murmur3's 32-bit hash, x86 variant, seed 0."""
    mask, hashed = 0xFFFFFFFF, 0
    whole = len(data) & ~3
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        block = block * 0xCC9E2D51 & mask
        block = (block << 15 | block >> 17) & mask
        hashed ^= block * 0x1B873593 & mask
        hashed = (hashed << 13 | hashed >> 19) & mask
        hashed = hashed * 5 + 0xE6546B64 & mask
    if tail := int.from_bytes(data[whole:], "little"):
        tail = tail * 0xCC9E2D51 & mask
        tail = (tail << 15 | tail >> 17) & mask
        hashed ^= tail * 0x1B873593 & mask
    hashed ^= len(data)
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6B & mask
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & mask
    return hashed ^ hashed >> 16
