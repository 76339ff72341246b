"""What a commit does to a table's metadata: the REST specification's updates, in order."""

from __future__ import annotations

import uuid

from dolake.catalog.json_fields import (
    Json,
    integer,
    integers,
    mapping,
    properties_of,
    text,
)
from dolake.catalog.metadata_draft import MetadataDraft, next_id, or_last_added
from dolake.catalog.partition_and_sort import (
    UNSORTED,
    checked_order,
    checked_spec,
    same_spec,
)
from dolake.catalog.requirements import MAIN
from dolake.catalog.schema_fields import FieldIndex, index_of, same_fields
from dolake.errors import CommitConflictError, TableMetadataError

FORMAT_VERSION_MAX = 3
CLOCK_SKEW_MILLISECONDS_MAX = 60_000

_BRANCH_FIELDS = ("max-ref-age-ms", "max-snapshot-age-ms", "min-snapshots-to-keep")
_LISTS = (
    "schemas",
    "partition-specs",
    "sort-orders",
    "snapshots",
    "snapshot-log",
    "metadata-log",
    "statistics",
    "partition-statistics",
    "encryption-keys",
)


class TableDraft(MetadataDraft):
    """A table's metadata while updates are applied to it."""

    def __init__(self, base: Json, *, is_new: bool, now_ms: int) -> None:
        super().__init__(base, _LISTS)
        self.metadata["refs"] = dict(base.get("refs") or {})
        self.is_new = is_new
        self.now_ms = now_ms
        self.updated_ms: int | None = None
        self._last_schema: int | None = None
        self._last_spec: int | None = None
        self._last_order: int | None = None
        self._added_snapshots: set[int] = set()
        self._removed_snapshots: set[int] = set()
        self._made_current: list[tuple[int, int]] = []  # (time, snapshot), in order

    def finish(self) -> Json:
        """The metadata, with its snapshot log and its time brought up to date."""
        metadata = self.metadata
        metadata["last-updated-ms"] = self.now_ms if self.updated_ms is None else self.updated_ms
        current = metadata.get("current-snapshot-id")
        log = metadata["snapshot-log"]
        for time, snapshot_id in self._made_current:
            # A snapshot that came and was replaced within this very commit was never current.
            if snapshot_id == current or snapshot_id not in self._added_snapshots:
                log.append({"timestamp-ms": time, "snapshot-id": snapshot_id})
        if self._removed_snapshots:
            # What comes before a hole would make AS OF a time give wrong answers.
            holes = [
                position
                for position, entry in enumerate(log)
                if entry["snapshot-id"] in self._removed_snapshots
            ]
            if holes:
                metadata["snapshot-log"] = log[holes[-1] + 1 :]
        if metadata["format-version"] == 1:
            metadata["schema"] = self._schema(metadata["current-schema-id"])
            metadata["partition-spec"] = self._spec(metadata["default-spec-id"])["fields"]
        return metadata

    # -- the table ---------------------------------------------------------------------------------

    def assign_uuid(self, update: Json) -> None:
        given = text(update, "uuid", "assign-uuid")
        try:
            given = str(uuid.UUID(given))
        except ValueError as error:
            raise TableMetadataError(f"{given!r} is not a UUID") from error
        found = self.metadata.get("table-uuid")
        if found is not None and found.lower() != given:
            raise TableMetadataError(f"the table has the UUID {found} already; it stays the same")
        self.metadata["table-uuid"] = given

    def upgrade_format_version(self, update: Json) -> None:
        version = integer(update, "format-version", "upgrade-format-version")
        found = self.metadata["format-version"]
        if not 1 <= version <= FORMAT_VERSION_MAX:
            raise TableMetadataError(
                f"format version {version} is not known; 1 to {FORMAT_VERSION_MAX} are"
            )
        if version < found and not self.is_new:
            raise TableMetadataError(
                f"the table has format version {found} and cannot go back to {version}"
            )
        self.metadata["format-version"] = version
        if version > 1:
            self.metadata.setdefault("last-sequence-number", 0)
            self.metadata.pop("schema", None)
            self.metadata.pop("partition-spec", None)
        else:
            self.metadata.pop("last-sequence-number", None)
        if version > 2:
            self.metadata.setdefault("next-row-id", 0)
            self.metadata.setdefault("encryption-keys", [])

    # -- schemas, specs, sort orders ---------------------------------------------------------------

    def add_schema(self, update: Json) -> None:
        schema = mapping(update, "schema", "add-schema")
        index = index_of(schema, self.metadata["format-version"])
        for known in self.metadata["schemas"]:
            if same_fields(known, schema):
                self._last_schema = known["schema-id"]
                break
        else:
            self._last_schema = next_id(self.metadata["schemas"], "schema-id")
            self.metadata["schemas"].append({**schema, "schema-id": self._last_schema})
        last = integer(update, "last-column-id", "add-schema", default=None)
        self.metadata["last-column-id"] = max(
            self.metadata["last-column-id"], index.highest_id, last or 0
        )

    def set_current_schema(self, update: Json) -> None:
        schema_id = integer(update, "schema-id", "set-current-schema")
        schema_id = or_last_added(schema_id, self._last_schema, "schema")
        self._schema(schema_id)
        self.metadata["current-schema-id"] = schema_id

    def remove_schemas(self, update: Json) -> None:
        gone = set(integers(update, "schema-ids", "remove-schemas"))
        if self.metadata["current-schema-id"] in gone:
            raise TableMetadataError(
                f"schema {self.metadata['current-schema-id']} is the current one: it stays"
            )
        self.metadata["schemas"] = [
            schema for schema in self.metadata["schemas"] if schema["schema-id"] not in gone
        ]

    def add_spec(self, update: Json) -> None:
        specs = self.metadata["partition-specs"]
        spec, last_id = checked_spec(
            mapping(update, "spec", "add-spec"),
            self._current_fields(),
            specs,
            self.metadata["last-partition-id"],
        )
        for known in specs:
            if same_spec(known, spec):
                self._last_spec = known["spec-id"]
                return
        self._last_spec = next_id(specs, "spec-id")
        specs.append({"spec-id": self._last_spec, **spec})
        self.metadata["last-partition-id"] = last_id

    def set_default_spec(self, update: Json) -> None:
        spec_id = or_last_added(
            integer(update, "spec-id", "set-default-spec"), self._last_spec, "partition spec"
        )
        self._spec(spec_id)
        self.metadata["default-spec-id"] = spec_id

    def remove_partition_specs(self, update: Json) -> None:
        gone = set(integers(update, "spec-ids", "remove-partition-specs"))
        if self.metadata["default-spec-id"] in gone:
            raise TableMetadataError(
                f"partition spec {self.metadata['default-spec-id']} is the default: it stays"
            )
        self.metadata["partition-specs"] = [
            spec for spec in self.metadata["partition-specs"] if spec["spec-id"] not in gone
        ]

    def add_sort_order(self, update: Json) -> None:
        orders = self.metadata["sort-orders"]
        order = checked_order(
            mapping(update, "sort-order", "add-sort-order"), self._current_fields()
        )
        for known in orders:
            if known["fields"] == order["fields"]:
                self._last_order = known["order-id"]
                return
        if not order["fields"]:
            self._last_order = UNSORTED["order-id"]
        else:
            self._last_order = max(1, next_id(orders, "order-id"))
        orders.append({"order-id": self._last_order, **order})

    def set_default_sort_order(self, update: Json) -> None:
        order_id = or_last_added(
            integer(update, "sort-order-id", "set-default-sort-order"),
            self._last_order,
            "sort order",
        )
        if all(order["order-id"] != order_id for order in self.metadata["sort-orders"]):
            raise TableMetadataError(f"the table has no sort order {order_id}")
        self.metadata["default-sort-order-id"] = order_id

    # -- snapshots and refs ------------------------------------------------------------------------

    def add_snapshot(self, update: Json) -> None:
        snapshot = dict(mapping(update, "snapshot", "add-snapshot"))
        what = "the snapshot"
        snapshot_id = integer(snapshot, "snapshot-id", what)
        time = integer(snapshot, "timestamp-ms", what)
        version = self.metadata["format-version"]
        if self._has_snapshot(snapshot_id):
            raise TableMetadataError(f"the table has a snapshot {snapshot_id} already")
        if time < self.metadata["last-updated-ms"] - CLOCK_SKEW_MILLISECONDS_MAX:
            raise TableMetadataError(
                f"the snapshot's timestamp-ms {time} lies more than a minute before the table's "
                f"last-updated-ms {self.metadata['last-updated-ms']}"
            )
        if snapshot.get("schema-id") is not None:
            self._schema(integer(snapshot, "schema-id", what))
        if version > 1 or "manifests" not in snapshot:
            text(snapshot, "manifest-list", what)
        if version > 1 or snapshot.get("summary") is not None:
            summary = properties_of(snapshot, "summary", what)
            text(summary, "operation", "the snapshot's summary")
        if version > 1:
            sequence = integer(snapshot, "sequence-number", what)
            last = self.metadata["last-sequence-number"]
            if sequence <= last and snapshot.get("parent-snapshot-id") is not None:
                raise CommitConflictError(
                    f"the snapshot's sequence number is {sequence}; the table is at {last} already"
                )
            self.metadata["last-sequence-number"] = max(last, sequence)
        if version > 2:
            self._give_row_ids(snapshot)
        self.metadata["snapshots"].append(snapshot)
        self.updated_ms = time
        self._added_snapshots.add(snapshot_id)

    def _give_row_ids(self, snapshot: Json) -> None:
        first = integer(snapshot, "first-row-id", "the snapshot")
        added = integer(snapshot, "added-rows", "the snapshot")
        following = self.metadata["next-row-id"]
        if first < following:
            raise CommitConflictError(
                f"the snapshot's first-row-id is {first}; the table's next-row-id is {following}"
            )
        if added < 0:
            raise TableMetadataError(
                f"the snapshot's added-rows is {added}; 0 or more was expected"
            )
        self.metadata["next-row-id"] = first + added

    def remove_snapshots(self, update: Json) -> None:
        gone = set(integers(update, "snapshot-ids", "remove-snapshots"))
        current = self.metadata.get("current-snapshot-id")
        if current in gone:
            raise TableMetadataError(
                f"snapshot {current} is the current one of {MAIN!r}: it stays while {MAIN!r} is "
                "at it"
            )
        kept = self.metadata["snapshots"]
        self._removed_snapshots |= {item["snapshot-id"] for item in kept} & gone
        self.metadata["snapshots"] = [item for item in kept if item["snapshot-id"] not in gone]
        self.metadata["refs"] = {
            name: ref
            for name, ref in self.metadata["refs"].items()
            if ref["snapshot-id"] not in gone
        }
        for kind in ("statistics", "partition-statistics"):
            self.metadata[kind] = [
                item for item in self.metadata.get(kind, ()) if item["snapshot-id"] not in gone
            ]

    def set_snapshot_ref(self, update: Json) -> None:
        name = text(update, "ref-name", "set-snapshot-ref")
        kind = text(update, "type", "set-snapshot-ref")
        snapshot_id = integer(update, "snapshot-id", "set-snapshot-ref")
        if kind not in ("branch", "tag"):
            raise TableMetadataError(f"the ref's type is {kind!r}; 'branch' or 'tag' was expected")
        if name == MAIN and kind == "tag":
            raise TableMetadataError(f"{MAIN!r} is a branch and cannot become a tag")
        if not self._has_snapshot(snapshot_id):
            raise TableMetadataError(
                f"{name!r} was to be set to snapshot {snapshot_id}, which the table has not"
            )
        ref: Json = {"snapshot-id": snapshot_id, "type": kind}
        for field in _BRANCH_FIELDS:
            value = integer(update, field, "set-snapshot-ref", default=None)
            if value is None:
                continue
            if value <= 0:
                raise TableMetadataError(f"{field!r} is {value}; more than 0 was expected")
            if kind == "tag" and field != "max-ref-age-ms":
                raise TableMetadataError(f"{field!r} is for branches; {name!r} is a tag")
            ref[field] = value
        if self.metadata["refs"].get(name) == ref:
            return
        self.metadata["refs"][name] = ref
        if name == MAIN and self.metadata.get("current-snapshot-id") != snapshot_id:
            self.metadata["current-snapshot-id"] = snapshot_id
            is_added_here = snapshot_id in self._added_snapshots and self.updated_ms is not None
            time = self.updated_ms if is_added_here else self.now_ms
            self.updated_ms = time
            assert time is not None  # both of them are times
            self._made_current.append((time, snapshot_id))

    def remove_snapshot_ref(self, update: Json) -> None:
        name = text(update, "ref-name", "remove-snapshot-ref")
        self.metadata["refs"].pop(name, None)
        if name == MAIN:
            self.metadata.pop("current-snapshot-id", None)

    # -- statistics and keys -----------------------------------------------------------------------

    def set_statistics(self, update: Json) -> None:
        self._replace("statistics", mapping(update, "statistics", "set-statistics"))

    def set_partition_statistics(self, update: Json) -> None:
        statistics = mapping(update, "partition-statistics", "set-partition-statistics")
        self._replace("partition-statistics", statistics)

    def remove_statistics(self, update: Json) -> None:
        self._remove("statistics", "snapshot-id", integer(update, "snapshot-id", "the update"))

    def remove_partition_statistics(self, update: Json) -> None:
        gone = integer(update, "snapshot-id", "the update")
        self._remove("partition-statistics", "snapshot-id", gone)

    def add_encryption_key(self, update: Json) -> None:
        self._needs_version_3("encryption keys")
        key = mapping(update, "encryption-key", "add-encryption-key")
        key_id = text(key, "key-id", "the encryption key")
        text(key, "encrypted-key-metadata", "the encryption key")
        self._remove("encryption-keys", "key-id", key_id)
        self.metadata["encryption-keys"].append(dict(key))

    def remove_encryption_key(self, update: Json) -> None:
        self._needs_version_3("encryption keys")
        self._remove("encryption-keys", "key-id", text(update, "key-id", "remove-encryption-key"))

    def _replace(self, kind: str, statistics: Json) -> None:
        snapshot_id = integer(statistics, "snapshot-id", kind)
        text(statistics, "statistics-path", kind)
        integer(statistics, "file-size-in-bytes", kind)
        if not self._has_snapshot(snapshot_id):
            raise TableMetadataError(f"{kind} are of snapshot {snapshot_id}, which is not there")
        self._remove(kind, "snapshot-id", snapshot_id)
        self.metadata[kind].append(dict(statistics))

    def _remove(self, kind: str, key: str, value: int | str) -> None:
        self.metadata[kind] = [item for item in self.metadata.get(kind, ()) if item[key] != value]

    # -- what is there -----------------------------------------------------------------------------

    def _needs_version_3(self, what: str) -> None:
        if self.metadata["format-version"] < 3:
            raise TableMetadataError(
                f"{what} need format version 3; the table has {self.metadata['format-version']}"
            )

    def _has_snapshot(self, snapshot_id: int) -> bool:
        return any(item["snapshot-id"] == snapshot_id for item in self.metadata["snapshots"])

    def _schema(self, schema_id: int) -> Json:
        for schema in self.metadata["schemas"]:
            if schema["schema-id"] == schema_id:
                return dict(schema)
        raise TableMetadataError(f"the table has no schema {schema_id}")

    def _spec(self, spec_id: int) -> Json:
        for spec in self.metadata["partition-specs"]:
            if spec["spec-id"] == spec_id:
                return dict(spec)
        raise TableMetadataError(f"the table has no partition spec {spec_id}")

    def _current_fields(self) -> FieldIndex:
        # DuckDB creates a table with its spec before it says which schema is the current one.
        current = self.metadata.get("current-schema-id", self._last_schema)
        if current is None:
            raise TableMetadataError("the table needs a schema first")
        return index_of(self._schema(current), self.metadata["format-version"])


TableDraft.actions = {
    "assign-uuid": TableDraft.assign_uuid,
    "upgrade-format-version": TableDraft.upgrade_format_version,
    "add-schema": TableDraft.add_schema,
    "set-current-schema": TableDraft.set_current_schema,
    "add-spec": TableDraft.add_spec,
    "set-default-spec": TableDraft.set_default_spec,
    "add-sort-order": TableDraft.add_sort_order,
    "set-default-sort-order": TableDraft.set_default_sort_order,
    "add-snapshot": TableDraft.add_snapshot,
    "set-snapshot-ref": TableDraft.set_snapshot_ref,
    "remove-snapshots": TableDraft.remove_snapshots,
    "remove-snapshot-ref": TableDraft.remove_snapshot_ref,
    "set-location": TableDraft.set_location,
    "set-properties": TableDraft.set_properties,
    "remove-properties": TableDraft.remove_properties,
    "set-statistics": TableDraft.set_statistics,
    "remove-statistics": TableDraft.remove_statistics,
    "set-partition-statistics": TableDraft.set_partition_statistics,
    "remove-partition-statistics": TableDraft.remove_partition_statistics,
    "remove-partition-specs": TableDraft.remove_partition_specs,
    "remove-schemas": TableDraft.remove_schemas,
    "add-encryption-key": TableDraft.add_encryption_key,
    "remove-encryption-key": TableDraft.remove_encryption_key,
}
