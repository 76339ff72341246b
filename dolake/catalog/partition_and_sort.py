"""Partition specs and sort orders as JSON: whether they are valid, and ids for their fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dolake.catalog.json_fields import Json, integer, objects, shown, text
from dolake.catalog.schema_fields import FieldIndex
from dolake.errors import TableMetadataError

PARTITION_FIELD_ID_BEFORE_FIRST = 999
UNPARTITIONED: Json = {"spec-id": 0, "fields": []}
UNSORTED: Json = {"order-id": 0, "fields": []}

_WITH_WIDTH = re.compile(r"(bucket|truncate)\[\s*(\d+)\s*\]")
_TIMESTAMPS = frozenset(("timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns"))
_DATES = _TIMESTAMPS | {"date"}
_NOT_FOR = {
    "identity": frozenset(("variant", "geometry", "geography")),
    "bucket": frozenset(("boolean", "float", "double", "variant", "geometry", "geography")),
}
_ONLY_FOR = {
    "year": _DATES,
    "month": _DATES,
    "day": _DATES,
    "hour": _TIMESTAMPS,
    "truncate": frozenset(("int", "long", "string", "binary", "decimal")),
}
_NAMES = ("identity", "void", "year", "month", "day", "hour", "bucket", "truncate")


def checked_spec(
    spec: Json, fields: FieldIndex, known: Iterable[Json], last_partition_id: int
) -> tuple[Json, int]:
    """A partition spec with an id for each field: (spec without spec-id, last id given).

    A field that an earlier spec has as well (same source, transform and name) keeps its id.
    """
    earlier = {_meaning(item): item["field-id"] for other in known for item in other["fields"]}
    names = {name: identifier for identifier, name in fields.names.items()}
    seen_names: set[str] = set()
    seen_ids: set[int] = set()
    checked: list[Json] = []
    for item in objects(spec, "fields", "a partition spec"):
        name = text(item, "name", "a partition field")
        what = f"the partition field {name!r}"
        source, transform = _checked_source(item, fields, what)
        if name in seen_names:
            raise TableMetadataError(f"two partition fields are named {name!r}")
        if names.get(name, source) != source and transform != "void":
            raise TableMetadataError(f"{what} has the name of another column")
        entry = {"source-id": source, "transform": transform, "name": name}
        given = integer(item, "field-id", what, default=None)
        if given is None:
            given = earlier.get(_meaning(entry))
        if given is None or given in seen_ids:
            given = max(last_partition_id, PARTITION_FIELD_ID_BEFORE_FIRST) + 1
        last_partition_id = max(last_partition_id, given)
        seen_names.add(name)
        seen_ids.add(given)
        checked.append({**entry, "field-id": given})
    return {"fields": checked}, max(last_partition_id, PARTITION_FIELD_ID_BEFORE_FIRST)


def checked_order(order: Json, fields: FieldIndex) -> Json:
    """A sort order without order-id."""
    checked: list[Json] = []
    for item in objects(order, "fields", "a sort order"):
        what = "a sort field"
        source, transform = _checked_source(item, fields, what)
        direction, nulls = item.get("direction"), item.get("null-order")
        if direction not in ("asc", "desc"):
            raise TableMetadataError(
                f"'direction' of {what} is {shown(direction)}; 'asc' or 'desc' was expected"
            )
        if nulls not in ("nulls-first", "nulls-last"):
            raise TableMetadataError(
                f"'null-order' of {what} is {shown(nulls)}; 'nulls-first' or 'nulls-last' was "
                "expected"
            )
        checked.append(
            {
                "source-id": source,
                "transform": transform,
                "direction": direction,
                "null-order": nulls,
            }
        )
    return {"fields": checked}


def with_sources(holder: Json, given: Mapping[int, int], what: str) -> Json:
    """The same spec or order with the ids that its source columns have been given afresh."""
    renamed = []
    for item in objects(holder, "fields", what):
        source = integer(item, "source-id", f"a field of {what}")
        if source not in given:
            raise TableMetadataError(f"{what} names the column {source}, which the schema has not")
        renamed.append({**item, "source-id": given[source]})
    return {**holder, "fields": renamed}


def same_spec(one: Json, other: Json) -> bool:
    """Whether two specs mean the same partitions, whatever the ids of their fields."""
    return [_meaning(item) for item in one["fields"]] == [
        _meaning(item) for item in other["fields"]
    ]


def _meaning(item: Json) -> tuple[int, str, str]:
    return item["source-id"], item["transform"], item["name"]


def _checked_source(item: Json, fields: FieldIndex, what: str) -> tuple[int, str]:
    """The column a field is made from and the transform, which must suit it."""
    source = integer(item, "source-id", what)
    if source not in fields.names:
        raise TableMetadataError(f"{what} names the column {source}, which the schema has not")
    transform = text(item, "transform", what)
    width = _WITH_WIDTH.fullmatch(transform)
    name = width[1] if width else transform
    if name not in _NAMES or (name in ("bucket", "truncate")) != (width is not None):
        raise TableMetadataError(
            f"'transform' of {what} is {shown(transform)}; one of identity, void, year, month, "
            "day, hour, bucket[n], truncate[n] was expected"
        )
    if width and not 0 < int(width[2]) < 2**31:
        raise TableMetadataError(f"the width of {transform} of {what} is out of range")
    type_ = fields.types[source]
    bare = None if type_ is None else re.split(r"[\[(]", type_)[0]
    suits = name == "void" or (
        bare is not None
        and bare not in _NOT_FOR.get(name, ())
        and (name not in _ONLY_FOR or bare in _ONLY_FOR[name])
    )
    if not suits:
        raise TableMetadataError(
            f"{what} applies {transform} to {fields.names[source]!r}, which is of the type "
            f"{type_ or 'of a nested one'}"
        )
    return source, transform
