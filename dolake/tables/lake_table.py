"""One branch of one Iceberg table as its writer holds it: metadata, contents, and new files.

What mirrors and change logs share; it knows no keys and stages nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import LoadedTable
from dolake.tables.data_file import describe_rows, pack_rows
from dolake.tables.key_index import Integers
from dolake.tables.manifests import DataFile
from dolake.tables.partitioning import bound_fields, parse_transform, split_by_partition
from dolake.tables.schema_mapping import Layout, layout_of_property, same_fields, settled
from dolake.tables.snapshot_commit import new_file_path, write_files
from dolake.tables.snapshot_contents import (
    SnapshotContents,
    current_schema,
    load_contents,
    schema_by_id,
    snapshot_of_ref,
    spec_by_id,
)
from dolake.warehouse import Warehouse

SOURCE = "dosql.source"
BRANCH = "dosql.branch"
LSN = "dosql.lsn"
FIRST_LSN = "dosql.first-lsn"
"""The oldest of the changes that a snapshot brought: until then the table was as before it."""
KEY = "dosql.key"
"""The fields of the key that those changes name their rows by, as a JSON list of ids."""
COMMIT = "dosql.commit"
TABLE = "dosql.table"
ROLE = "dosql.role"
LAYOUT = "dosql.layout"

MIRROR = "mirror"
CHANGE_LOG = "change-log"
CHANGE_LOG_SUFFIX = "__changes"


@dataclass(frozen=True, slots=True)
class SchemaUpdate:
    """A schema to write with, and what must be committed for the table to have it."""

    schema: Mapping[str, Any]
    requirements: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)


class LakeTable:
    """A branch of a table. Shape: `metadata` and `contents` are what we last saw or wrote."""

    def __init__(self, warehouse: Warehouse, loaded: LoadedTable, branch: str) -> None:
        self.warehouse = warehouse
        self.identifier: TableIdentifier = loaded.identifier
        self.ref = branch
        self.metadata: Mapping[str, Any] = loaded.metadata
        self.contents = SnapshotContents()

    @property
    def format_version(self) -> int:
        return int(self.metadata["format-version"])

    def load(self, loaded: LoadedTable) -> SnapshotContents:
        """Take the table as it is now, and give the contents of our branch."""
        snapshot = snapshot_of_ref(loaded.metadata, self.ref)
        if snapshot is None or snapshot["snapshot-id"] != self.contents.snapshot_id:
            contents = load_contents(self.warehouse, snapshot, self.contents)
        else:
            contents = self.contents
        self.metadata = loaded.metadata
        return contents

    def property(self, name: str) -> str | None:
        found: str | None = (self.metadata.get("properties") or {}).get(name)
        return found

    def stored_layout(self) -> Layout:
        """The columns of our branch, as its last commit left them."""
        stored = self.property(layout_property(self.ref))
        assert stored is not None
        return layout_of_property(stored)

    def layout_updates(self, layout: Layout) -> list[dict[str, Any]]:
        """What a commit says for the table to remember these columns; nothing where it does."""
        name, text = layout_property(self.ref), settled(layout).to_property()
        if self.property(name) == text:
            return []
        return [{"action": "set-properties", "updates": {name: text}}]

    def watermark(self) -> int:
        """The LSN of the newest snapshot of our branch that has one; 0 when none has."""
        snapshot = watermarked_snapshot(self.metadata, self.ref)
        return 0 if snapshot is None else int(snapshot["summary"][LSN])

    def schema_update(self, schema: Mapping[str, Any], last_column_id: int) -> SchemaUpdate:
        """How the table comes to have these fields: not at all when it has them already."""
        current = current_schema(self.metadata)
        if same_fields(schema, current):
            return SchemaUpdate(current)
        requirements: list[dict[str, Any]] = [
            {
                "type": "assert-current-schema-id",
                "current-schema-id": self.metadata["current-schema-id"],
            },
            {
                "type": "assert-last-assigned-field-id",
                "last-assigned-field-id": self.metadata["last-column-id"],
            },
        ]
        for earlier in self.metadata["schemas"]:
            if same_fields(schema, earlier):
                chosen = {"action": "set-current-schema", "schema-id": earlier["schema-id"]}
                return SchemaUpdate(earlier, requirements, [chosen])
        number = max(s["schema-id"] for s in self.metadata["schemas"]) + 1
        numbered = {**schema, "schema-id": number}
        return SchemaUpdate(
            numbered,
            requirements,
            [
                {"action": "add-schema", "schema": numbered, "last-column-id": last_column_id},
                {"action": "set-current-schema", "schema-id": -1},
            ],
        )

    def fields_in_use(self) -> set[int]:
        """Ids of fields that a partition spec or sort order in force is computed from."""
        spec = spec_by_id(self.metadata, self.metadata["default-spec-id"])
        used = {f["source-id"] for f in spec["fields"] if "source-id" in f}
        return used | {f["source-id"] for f in self._sort_order()["fields"]}

    def _sort_order(self) -> Mapping[str, Any]:
        wanted = self.metadata.get("default-sort-order-id", 0)
        for order in self.metadata.get("sort-orders") or ():
            if order["order-id"] == wanted:
                found: Mapping[str, Any] = order
                return found
        return {"order-id": 0, "fields": []}

    def write_rows(
        self, rows: pa.Table, schema: Mapping[str, Any]
    ) -> list[tuple[DataFile, Integers]]:
        """Store rows in a file for each of their partitions, sorted as the table asks.

        Shape: with each file, which rows it holds, in its order. The rows' fields have Iceberg's
               ids; columns that are not in the schema (the lineage) get no statistics.
        """
        if not rows.num_rows:
            return []
        names = {f["id"]: f["name"] for f in schema["fields"] if f["name"] in rows.column_names}
        types = {f["id"]: f["type"] for f in schema["fields"] if f["name"] in rows.column_names}
        spec = spec_by_id(self.metadata, self.metadata["default-spec-id"])
        fields = bound_fields(spec, [*self.metadata["schemas"], schema])
        order = self._sort_order()
        written, files = [], []
        for partition, chosen in split_by_partition(rows, fields, names):
            part = rows if chosen is None else rows.take(pa.array(chosen))
            places = np.arange(rows.num_rows) if chosen is None else chosen
            sorting = _sorting(part, order, names)
            if sorting is not None:
                part, places = part.take(pa.array(sorting)), places[sorting]
            path = new_file_path(self.metadata, "data", "{}.parquet")
            data, footer = pack_rows(part)
            written.append((path, data))
            described = describe_rows(
                part,
                types,
                path=path,
                file_bytes=len(data),
                footer=footer,
                spec_id=spec["spec-id"],
                partition=partition,
                sort_order_id=order["order-id"] or None,
            )
            files.append((described, places))
        write_files(self.warehouse, written)
        return files


def layout_property(branch: str) -> str:
    """The name of the property that holds a branch's layout."""
    return LAYOUT if branch == "main" else f"{LAYOUT}.{branch}"


def watermarked_snapshot(metadata: Mapping[str, Any], ref: str) -> Mapping[str, Any] | None:
    """The newest snapshot of a branch that says up to which LSN it goes."""
    snapshot = snapshot_of_ref(metadata, ref)
    by_id = {s["snapshot-id"]: s for s in metadata.get("snapshots") or ()}
    while snapshot is not None:
        if LSN in (snapshot.get("summary") or {}):
            return snapshot
        snapshot = by_id.get(snapshot.get("parent-snapshot-id"))
    return None


def carried_summary(metadata: Mapping[str, Any], ref: str) -> dict[str, str]:
    """What a snapshot that changes no row says of its LSN: the same as the one before."""
    snapshot = watermarked_snapshot(metadata, ref)
    if snapshot is None:
        return {}
    told = snapshot["summary"]
    return {
        name: told[name] for name in (SOURCE, BRANCH, LSN, FIRST_LSN, KEY, COMMIT) if name in told
    }


def snapshot_at(metadata: Mapping[str, Any], ref: str, lsn: int) -> Mapping[str, Any] | None:
    """The snapshot of a branch that shows the table as of an LSN: the newest not after it."""
    snapshot = snapshot_of_ref(metadata, ref)
    by_id = {s["snapshot-id"]: s for s in metadata.get("snapshots") or ()}
    while snapshot is not None:
        told = (snapshot.get("summary") or {}).get(LSN)
        if told is not None and int(told) <= lsn:
            return snapshot
        snapshot = by_id.get(snapshot.get("parent-snapshot-id"))
    return None


def schema_of_snapshot(
    metadata: Mapping[str, Any], snapshot: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The schema a snapshot was written with."""
    number = snapshot.get("schema-id")
    return current_schema(metadata) if number is None else schema_by_id(metadata, number)


def sort_order(fields: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Iceberg's JSON of a sort order: `column`, `column desc`, `day(created)`."""
    ids = {f["name"]: f["id"] for f in schema["fields"]}
    made = []
    for text in fields:
        words = text.strip()
        direction = "desc" if words.lower().endswith(" desc") else "asc"
        transform, column = parse_transform(words[:-5] if direction == "desc" else words)
        made.append(
            {
                "transform": transform,
                "source-id": ids[column],
                "direction": direction,
                "null-order": "nulls-last",
            }
        )
    return {"order-id": 1 if made else 0, "fields": made}


def _sorting(rows: pa.Table, order: Mapping[str, Any], names: Mapping[int, str]) -> Integers | None:
    """The order of the rows by the sort order's columns, None where there is none.

    A column sorts its transforms, too, for each of them keeps the order of what it is given.
    """
    keys = [
        (names[f["source-id"]], "descending" if f["direction"] == "desc" else "ascending")
        for f in order["fields"]
        if f["source-id"] in names and not f["transform"].startswith("bucket")
    ]
    if not keys or not rows.num_rows:
        return None
    sorting: Integers = pc.sort_indices(rows, sort_keys=keys).to_numpy().astype(np.int64)
    return sorting


def with_lineage(rows: pa.Table, row_ids: Integers | None, fields: Sequence[pa.Field]) -> pa.Table:
    """The rows with their lineage when some moved here from other files: their row ids, NULL for
    new rows, and no sequence number, so that they count as updated by this commit."""
    if row_ids is None or not (row_ids >= 0).any():
        return rows
    ids = pa.array(row_ids, mask=row_ids < 0)
    return rows.append_column(fields[0], ids).append_column(
        fields[1], pa.nulls(rows.num_rows, pa.int64())
    )
