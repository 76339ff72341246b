"""View metadata as Iceberg's JSON: made, committed to and read; pure functions of dictionaries."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from dolake.catalog.json_fields import (
    Json,
    integer,
    mapping,
    object_of,
    objects,
    properties_of,
    shown,
    text,
    texts,
)
from dolake.catalog.metadata_draft import LAST_ADDED, MetadataDraft, next_id, or_last_added
from dolake.catalog.metadata_updates import FORMAT_VERSION_MAX
from dolake.catalog.schema_fields import index_of, same_fields
from dolake.catalog.table_metadata import parsed_json
from dolake.errors import CommitConflictError, TableMetadataError

VIEW_FORMAT_VERSION = 1
HISTORY_MAX = "version.history.num-entries"
_HISTORY_MAX_DEFAULT = 10


def new_view_metadata(
    schema: Json,
    version: Json,
    *,
    location: str,
    properties: Mapping[str, str] | None = None,
    now_ms: int | None = None,
) -> Json:
    """The metadata of a new view with one version.

    Errors: TableMetadataError.
    """
    draft = _ViewDraft(
        {
            "view-uuid": str(uuid.uuid4()),
            "format-version": VIEW_FORMAT_VERSION,
            "location": location,
            "properties": dict(properties or {}),
            "schemas": [],
            "versions": [],
            "version-log": [],
        },
        now_ms,
    )
    draft.add_schema({"schema": schema})
    draft.add_version(
        {"view-version": {**object_of(version, "the version"), "schema-id": LAST_ADDED}}
    )
    draft.set_current_version({"view-version-id": LAST_ADDED})
    return draft.metadata


def check_view_requirements(metadata: Json, requirements: Iterable[Any]) -> None:
    """Make sure that a view is what a commit takes it to be.

    Errors: CommitConflictError when it is not; TableMetadataError for a requirement that is none.
    """
    for requirement in requirements:
        requirement = object_of(requirement, "a requirement")
        if requirement.get("type") != "assert-view-uuid":
            raise TableMetadataError(
                f"the type of a requirement is {shown(requirement.get('type'))}; "
                "assert-view-uuid was expected"
            )
        wanted = text(requirement, "uuid", "assert-view-uuid")
        if wanted.lower() != metadata["view-uuid"].lower():
            raise CommitConflictError(
                f"the view's UUID is {metadata['view-uuid']}; {wanted} was required"
            )


def apply_view_updates(
    metadata: Json, updates: Iterable[Any], *, now_ms: int | None = None
) -> Json:
    """What updates make of a view; the metadata given stays as it is.

    Errors: TableMetadataError.
    """
    draft = _ViewDraft(metadata, now_ms)
    draft.apply(updates)
    draft.forget_old_versions()
    return draft.metadata


def checked_view_metadata(raw: bytes) -> Json:
    """View metadata that somebody else wrote, checked for what we rely on.

    Errors: TableMetadataError.
    """
    what = "the view's metadata"
    metadata = object_of(parsed_json(raw), what)
    for key in ("view-uuid", "location"):
        text(metadata, key, what)
    for schema in objects(metadata, "schemas", what):
        integer(schema, "schema-id", what)
        index_of(schema, FORMAT_VERSION_MAX)
    for version in objects(metadata, "versions", what):
        integer(version, "version-id", what)
    for entry in objects(metadata, "version-log", what):
        integer(entry, "version-id", what)
    integer(metadata, "current-version-id", what)
    return {**metadata, "properties": properties_of(metadata, "properties", what)}


class _ViewDraft(MetadataDraft):
    """A view's metadata while updates are applied to it."""

    def __init__(self, base: Json, now_ms: int | None) -> None:
        super().__init__(base, ("schemas", "versions", "version-log"))
        self._now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        self._last_schema: int | None = None
        self._last_version: int | None = None

    def assign_uuid(self, update: Json) -> None:
        given = text(update, "uuid", "assign-uuid")
        if given.lower() != self.metadata["view-uuid"].lower():
            raise TableMetadataError(
                f"the view has the UUID {self.metadata['view-uuid']} already; it stays the same"
            )

    def upgrade_format_version(self, update: Json) -> None:
        version = integer(update, "format-version", "upgrade-format-version")
        if version != VIEW_FORMAT_VERSION:
            raise TableMetadataError(f"views have format version 1; {version} is not known")

    def add_schema(self, update: Json) -> None:
        schema = mapping(update, "schema", "add-schema")
        index_of(schema, FORMAT_VERSION_MAX)
        for known in self.metadata["schemas"]:
            if same_fields(known, schema):
                self._last_schema = known["schema-id"]
                return
        self._last_schema = next_id(self.metadata["schemas"], "schema-id")
        self.metadata["schemas"].append({**schema, "schema-id": self._last_schema})

    def add_version(self, update: Json) -> None:
        what = "the view's version"
        version = dict(mapping(update, "view-version", "add-view-version"))
        for item in objects(version, "representations", what):
            for key in ("type", "sql", "dialect"):
                text(item, key, "a representation")
        if not version["representations"]:
            raise TableMetadataError(f"{what} has no representation; SQL was expected")
        namespace = version.get("default-namespace", [])
        texts({"default-namespace": namespace}, "default-namespace", what)
        schema_id = integer(version, "schema-id", what)
        schema_id = or_last_added(schema_id, self._last_schema, "schema")
        if all(schema["schema-id"] != schema_id for schema in self.metadata["schemas"]):
            raise TableMetadataError(f"the view has no schema {schema_id}")
        self._last_version = next_id(self.metadata["versions"], "version-id", first=1)
        self.metadata["versions"].append(
            {
                **version,
                "version-id": self._last_version,
                "schema-id": schema_id,
                "timestamp-ms": integer(version, "timestamp-ms", what, default=self._now_ms),
                "summary": properties_of(version, "summary", what),
                "default-namespace": namespace,
            }
        )

    def set_current_version(self, update: Json) -> None:
        version_id = integer(update, "view-version-id", "set-current-view-version")
        version_id = or_last_added(version_id, self._last_version, "version")
        if all(version["version-id"] != version_id for version in self.metadata["versions"]):
            raise TableMetadataError(f"the view has no version {version_id}")
        if self.metadata.get("current-version-id") != version_id:
            self.metadata["current-version-id"] = version_id
            entry = {"timestamp-ms": self._now_ms, "version-id": version_id}
            self.metadata["version-log"].append(entry)

    def forget_old_versions(self) -> None:
        """Keep as many versions as the view says, the current one in any case."""
        value = self.metadata["properties"].get(HISTORY_MAX, "")
        kept_max = max(1, int(value)) if value.isdecimal() else _HISTORY_MAX_DEFAULT
        versions = self.metadata["versions"]
        current = self.metadata["current-version-id"]
        kept = {version["version-id"] for version in versions[-kept_max:]} | {current}
        if len(kept) < len(versions):
            for name in ("versions", "version-log"):
                self.metadata[name] = [
                    item for item in self.metadata[name] if item["version-id"] in kept
                ]


_ViewDraft.actions = {
    "assign-uuid": _ViewDraft.assign_uuid,
    "upgrade-format-version": _ViewDraft.upgrade_format_version,
    "add-schema": _ViewDraft.add_schema,
    "set-location": _ViewDraft.set_location,
    "set-properties": _ViewDraft.set_properties,
    "remove-properties": _ViewDraft.remove_properties,
    "add-view-version": _ViewDraft.add_version,
    "set-current-view-version": _ViewDraft.set_current_version,
}
