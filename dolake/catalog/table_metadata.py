"""Table metadata as Iceberg's JSON, versions 1 to 3: made, committed to, written and read.

Everything here is a pure function of dictionaries; no file and no catalog is touched.
"""

from __future__ import annotations

import gzip
import io
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from dolake.catalog.json_fields import (
    Json,
    integer,
    mapping,
    object_of,
    objects,
    properties_of,
    text,
)
from dolake.catalog.metadata_updates import FORMAT_VERSION_MAX, TableDraft
from dolake.catalog.partition_and_sort import (
    PARTITION_FIELD_ID_BEFORE_FIRST,
    UNPARTITIONED,
    UNSORTED,
    with_sources,
)
from dolake.catalog.schema_fields import index_of, with_fresh_ids
from dolake.errors import TableMetadataError

FORMAT_VERSION_DEFAULT = 2
FORMAT_VERSION = "format-version"
PREVIOUS_METADATA_MAX = "write.metadata.previous-versions-max"
_PREVIOUS_METADATA_MAX_DEFAULT = 100
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BYTES_MAX = 512 << 20


def new_table_metadata(
    schema: Json,
    *,
    location: str,
    partition_spec: Json | None = None,
    sort_order: Json | None = None,
    properties: Mapping[str, str] | None = None,
    now_ms: int | None = None,
) -> Json:
    """The metadata of a table without snapshots, its fields numbered afresh from 1 on.

    Shape:  `schema`, `partition_spec` and `sort_order` are the specification's JSON; ids in spec
            and order are those of the given schema. The property `format-version` chooses the
            version (2 without) and is not kept as a property.
    Errors: TableMetadataError.
    """
    kept = dict(properties or {})
    version = format_version_of(kept.pop(FORMAT_VERSION, None))
    schema, given, _ = with_fresh_ids(object_of(schema, "the schema"), version)
    spec = with_sources(partition_spec or UNPARTITIONED, given, "the partition spec")
    order = with_sources(sort_order or UNSORTED, given, "the sort order")
    # As the reference implementation does, partition fields are numbered afresh, too.
    spec = {"fields": [{**item, "field-id": None} for item in spec["fields"]]}
    updates: list[Json] = [
        {"action": "upgrade-format-version", FORMAT_VERSION: version},
        {"action": "set-location", "location": location},
        {"action": "add-schema", "schema": schema},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": spec},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": order},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-properties", "updates": kept},
    ]
    return metadata_from_updates(updates, default_location=location, now_ms=now_ms)


def metadata_from_updates(
    updates: Iterable[Any], *, default_location: str, now_ms: int | None = None
) -> Json:
    """The metadata of a table that a commit creates: what its updates make of nothing.

    Errors: TableMetadataError, among others when they give the table no schema.
    """
    draft = TableDraft(_nothing(), is_new=True, now_ms=_now(now_ms))
    draft.apply(updates)
    metadata = draft.metadata
    if metadata.get("current-schema-id") is None:
        raise TableMetadataError("the commit that creates the table gives it no current schema")
    metadata.setdefault("table-uuid", str(uuid.uuid4()))
    metadata.setdefault("location", default_location)
    if metadata.get("default-spec-id") is None:
        draft.apply([{"action": "add-spec", "spec": UNPARTITIONED}])
        draft.apply([{"action": "set-default-spec", "spec-id": -1}])
    if metadata.get("default-sort-order-id") is None:
        draft.apply([{"action": "add-sort-order", "sort-order": UNSORTED}])
        draft.apply([{"action": "set-default-sort-order", "sort-order-id": -1}])
    return draft.finish()


def apply_updates(
    metadata: Json, updates: Iterable[Any], *, metadata_location: str, now_ms: int | None = None
) -> Json:
    """What updates make of a table, whose metadata so far lies at `metadata_location`.

    The metadata given stays as it is. The same metadata comes back when nothing changes.

    Errors: TableMetadataError, CommitConflictError.
    """
    updates = list(updates)
    if not updates:
        return metadata
    draft = TableDraft(metadata, is_new=False, now_ms=_now(now_ms))
    draft.apply(updates)
    changed = draft.finish()
    previous = {
        "timestamp-ms": metadata["last-updated-ms"],
        "metadata-file": metadata_location,
    }
    changed["metadata-log"] = [*changed.get("metadata-log", ()), previous][
        -_previous_metadata_max(changed["properties"]) :
    ]
    return changed


def checked_metadata(raw: bytes | Json) -> Json:
    """Metadata that somebody else wrote, plain or compressed by gzip, checked for what we rely on.

    Errors: TableMetadataError.
    """
    metadata = raw if isinstance(raw, dict) else object_of(parsed_json(raw), "the metadata")
    what = "the table's metadata"
    version = integer(metadata, FORMAT_VERSION, what)
    if not 1 <= version <= FORMAT_VERSION_MAX:
        raise TableMetadataError(
            f"the table has format version {version}; 1 to {FORMAT_VERSION_MAX} are known here"
        )
    metadata = _with_what_may_be_missing(metadata, version)
    if metadata["current-snapshot-id"] == -1 or metadata["current-snapshot-id"] is None:
        del metadata["current-snapshot-id"]  # how older writers say that there is none
    text(metadata, "location", what)
    text(metadata, "table-uuid", what)
    for key in ("last-updated-ms", "last-column-id", "current-schema-id", "default-spec-id"):
        integer(metadata, key, what)
    for schema in objects(metadata, "schemas", what):
        integer(schema, "schema-id", "a schema")
        index_of(schema, FORMAT_VERSION_MAX)
    for key, identifier in (("partition-specs", "spec-id"), ("sort-orders", "order-id")):
        for item in objects(metadata, key, what):
            integer(item, identifier, key)
            objects(item, "fields", key)
    for key in ("snapshots", "snapshot-log"):
        for item in objects(metadata, key, what):
            integer(item, "snapshot-id", key)
            integer(item, "timestamp-ms", key)
    for name, ref in mapping(metadata, "refs", what).items():
        integer(object_of(ref, f"the ref {name!r}"), "snapshot-id", f"the ref {name!r}")
    properties_of(metadata, "properties", what)
    if version > 1:
        integer(metadata, "last-sequence-number", what)
    if version > 2:
        integer(metadata, "next-row-id", what)
    return metadata


def current_snapshot(metadata: Json) -> Json | None:
    """The snapshot that readers of the table see; None for a table without one."""
    return snapshot_of(metadata, metadata.get("current-snapshot-id"))


def snapshot_of(metadata: Json, snapshot_id: int | None) -> Json | None:
    """The snapshot of that id; None when the table has it not."""
    for snapshot in metadata["snapshots"]:
        if snapshot["snapshot-id"] == snapshot_id:
            return dict(snapshot)
    return None


def current_schema(metadata: Json) -> Json:
    """The schema that readers of the table see."""
    for schema in metadata["schemas"]:
        if schema["schema-id"] == metadata["current-schema-id"]:
            return dict(schema)
    raise TableMetadataError(f"the table has no schema {metadata['current-schema-id']}")


def only_referenced_snapshots(metadata: Json) -> Json:
    """The metadata with no other snapshots than those that a branch or a tag is at."""
    wanted = {ref["snapshot-id"] for ref in metadata["refs"].values()}
    kept = [item for item in metadata["snapshots"] if item["snapshot-id"] in wanted]
    return {**metadata, "snapshots": kept}


def parsed_json(raw: bytes) -> Any:
    """What a JSON file, plain or compressed by gzip, holds."""
    try:
        if raw.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as opened:
                raw = opened.read(_GZIP_BYTES_MAX)
        return orjson.loads(raw)
    except (OSError, EOFError, ValueError) as error:
        raise TableMetadataError(f"the file is not JSON: {error}") from error


def format_version_of(value: str | None) -> int:
    """The format version that a table's properties ask for."""
    if value is None:
        return FORMAT_VERSION_DEFAULT
    if value not in ("1", "2", "3"):
        raise TableMetadataError(
            f"{FORMAT_VERSION} is {value!r}; 1 to {FORMAT_VERSION_MAX} are known"
        )
    return int(value)


def _now(now_ms: int | None) -> int:
    return time.time_ns() // 1_000_000 if now_ms is None else now_ms


def _nothing() -> Json:
    return {
        FORMAT_VERSION: FORMAT_VERSION_DEFAULT,
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": 0,
        "last-partition-id": PARTITION_FIELD_ID_BEFORE_FIRST,
        "properties": {},
        "refs": {},
        **{
            name: []
            for name in (
                "schemas",
                "partition-specs",
                "sort-orders",
                "snapshots",
                "statistics",
                "partition-statistics",
                "snapshot-log",
                "metadata-log",
            )
        },
    }


def _previous_metadata_max(properties: Mapping[str, str]) -> int:
    value = properties.get(PREVIOUS_METADATA_MAX, "")
    return max(1, int(value)) if value.isdecimal() else _PREVIOUS_METADATA_MAX_DEFAULT


def _with_what_may_be_missing(metadata: Json, version: int) -> Json:
    """Optional fields filled in, and version 1's schema and spec as the lists of later versions."""
    filled = {**_nothing(), "current-snapshot-id": None, **metadata}
    for key in ("properties", "refs", "snapshots", "statistics", "partition-statistics"):
        filled[key] = filled[key] or type(_nothing()[key])()
    for key in ("snapshot-log", "metadata-log"):
        filled[key] = filled[key] or []
    if version == 1:
        filled.pop("last-sequence-number")
        filled["table-uuid"] = metadata.get("table-uuid") or str(uuid.uuid4())
        if not metadata.get("schemas"):
            schema = {"schema-id": 0, **mapping(metadata, "schema", "the table's metadata")}
            filled["schemas"], filled["current-schema-id"] = [schema], schema["schema-id"]
        if not metadata.get("partition-specs"):
            fields = objects(metadata, "partition-spec", "the table's metadata", default=())
            fields = [{"field-id": 1000 + place, **item} for place, item in enumerate(fields)]
            filled["partition-specs"] = [{"spec-id": 0, "fields": fields}]
            filled["default-spec-id"] = 0
            filled["last-partition-id"] = PARTITION_FIELD_ID_BEFORE_FIRST + len(fields)
    elif version > 2:
        filled.setdefault("encryption-keys", [])
    if not metadata.get("sort-orders"):
        filled["sort-orders"], filled["default-sort-order-id"] = [UNSORTED], UNSORTED["order-id"]
    current = filled["current-snapshot-id"]
    if current not in (None, -1) and "main" not in filled["refs"]:
        main = {"snapshot-id": current, "type": "branch"}
        filled["refs"] = {**filled["refs"], "main": main}
    return filled
