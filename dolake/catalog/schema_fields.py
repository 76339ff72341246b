"""Iceberg schemas as JSON: their fields, whether they are valid, and ids given afresh."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dolake.catalog.json_fields import Json, boolean, integer, integers, shown, text
from dolake.errors import TableMetadataError

_DEPTH_MAX = 64
_FIXED = re.compile(r"fixed\[\s*(\d+)\s*\]")
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_GEO = re.compile(r"(geometry|geography)(\(.*\))?")
_SINCE_VERSION_1 = frozenset(
    (
        *("boolean", "int", "long", "float", "double", "string", "uuid", "binary"),
        *("date", "time", "timestamp", "timestamptz"),
    )
)
_SINCE_VERSION_3 = frozenset(("timestamp_ns", "timestamptz_ns", "unknown", "variant"))
_COLLECTIONS = {"list": ("element",), "map": ("key", "value")}


@dataclass(slots=True)
class FieldIndex:
    """The fields of one schema by id.

    Shape: names of nested fields are joined by dots, as in `address.city`, `tags.element`;
           `types` holds the name of a primitive type or None for a nested one.
    """

    names: dict[int, str] = field(default_factory=dict)
    types: dict[int, str | None] = field(default_factory=dict)

    @property
    def highest_id(self) -> int:
        """The highest id in use; 0 for a schema without fields."""
        return max(self.names, default=0)


def index_of(schema: Json, format_version: int) -> FieldIndex:
    """The schema's fields by id.

    Errors: TableMetadataError when the schema is not one that this format version allows.
    """
    if schema.get("type") != "struct":
        raise TableMetadataError(
            f"the type of a schema is {shown(schema.get('type'))}; 'struct' was expected"
        )
    index = FieldIndex()
    for name, described, _ in _walk(schema, "", 0):
        identifier, type_ = described
        if identifier in index.names:
            raise TableMetadataError(
                f"the fields {index.names[identifier]!r} and {name!r} have the same id {identifier}"
            )
        index.names[identifier] = name
        index.types[identifier] = _checked_primitive(type_, name, format_version)
    for identifier in _identifier_ids(schema):
        if identifier not in index.names:
            raise TableMetadataError(
                f"identifier-field-ids names the field {identifier}, which the schema has not"
            )
    return index


def with_fresh_ids(schema: Json, format_version: int) -> tuple[Json, dict[int, int], int]:
    """A new table's first schema: (schema with ids from 1 on, old id -> new id, last id given).

    Ids are given as the reference implementation does: the fields of a struct in order, and only
    then what is nested in them.
    """
    index_of(schema, format_version)
    given: dict[int, int] = {}

    def next_id(old: int) -> int:
        given[old] = len(given) + 1
        return given[old]

    fresh = _renumbered(schema, next_id)
    fresh["schema-id"] = 0
    identifiers = _identifier_ids(schema)
    if identifiers:
        fresh["identifier-field-ids"] = [given[identifier] for identifier in identifiers]
    return fresh, given, len(given)


def same_fields(one: Json, other: Json) -> bool:
    """Whether two schemas have the same fields and identifier fields, whatever their own ids."""
    return one["fields"] == other["fields"] and sorted(_identifier_ids(one)) == sorted(
        _identifier_ids(other)
    )


def _identifier_ids(schema: Json) -> list[int]:
    if schema.get("identifier-field-ids") is None:
        return []
    return integers(schema, "identifier-field-ids", "a schema")


def _walk(type_: Json, prefix: str, depth: int) -> Iterator[tuple[str, tuple[int, Any], int]]:
    """Every field below a nested type: (full name, (id, type), depth)."""
    if depth > _DEPTH_MAX:
        raise TableMetadataError(f"the type of {prefix!r} is nested more than {_DEPTH_MAX} deep")
    for name, identifier, inner in _children(type_, prefix):
        yield name, (identifier, inner), depth
        if isinstance(inner, dict):
            yield from _walk(inner, f"{name}.", depth + 1)


def _children(type_: Json, prefix: str) -> list[tuple[str, int, Any]]:
    what = f"the type of {prefix.rstrip('.')!r}" if prefix else "the schema"
    kind = type_.get("type")
    if kind == "struct":
        fields = type_.get("fields")
        if not isinstance(fields, list) or not all(isinstance(item, dict) for item in fields):
            raise TableMetadataError(
                f"'fields' of {what} is {shown(fields)}; a list of JSON objects was expected"
            )
        children = []
        seen: set[str] = set()
        for item in fields:
            name = text(item, "name", f"a field of {what}")
            if name in seen:
                raise TableMetadataError(f"{what} has two fields named {name!r}")
            seen.add(name)
            boolean(item, "required", f"the field {name!r}", default=False)
            children.append(
                (prefix + name, integer(item, "id", f"the field {name!r}"), item.get("type"))
            )
        return children
    if isinstance(kind, str) and kind in _COLLECTIONS:
        return [
            (f"{prefix}{part}", integer(type_, f"{part}-id", what), type_.get(part))
            for part in _COLLECTIONS[kind]
        ]
    raise TableMetadataError(
        f"the type of {what} is {shown(kind)}; 'struct', 'list' or 'map' was expected"
    )


def _checked_primitive(type_: Any, name: str, format_version: int) -> str | None:
    if isinstance(type_, dict):
        return None
    if isinstance(type_, str):
        if type_ in _SINCE_VERSION_1 or _FIXED.fullmatch(type_):
            return type_
        decimal = _DECIMAL.fullmatch(type_)
        if decimal and int(decimal[2]) <= int(decimal[1]) <= 38 and int(decimal[1]) > 0:
            return type_
        if type_ in _SINCE_VERSION_3 or _GEO.fullmatch(type_):
            if format_version >= 3:
                return type_
            raise TableMetadataError(
                f"the field {name!r} is of the type {type_}, which needs format version 3; "
                f"the table has version {format_version}"
            )
    raise TableMetadataError(
        f"the type of the field {name!r} is {shown(type_)}; an Iceberg type was expected"
    )


def _renumbered(type_: Any, next_id: Callable[[int], int]) -> Any:
    if not isinstance(type_, dict):
        return type_
    if type_["type"] == "struct":
        numbered = [{**item, "id": next_id(item["id"])} for item in type_["fields"]]
        return {
            "type": "struct",
            "fields": [{**item, "type": _renumbered(item["type"], next_id)} for item in numbered],
        }
    parts = _COLLECTIONS[type_["type"]]
    fresh = {**type_, **{f"{part}-id": next_id(type_[f"{part}-id"]) for part in parts}}
    return {**fresh, **{part: _renumbered(fresh[part], next_id) for part in parts}}
