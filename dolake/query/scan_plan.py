"""How a table is read: the files of a snapshot that a query needs, less what is deleted from them.

Our own planning over `read_parquet`, rather than DuckDB's iceberg extension: it needs no extension,
knows every file by name before anything runs (so that a query may read these files and nothing
else), and applies deletion vectors by one lookup of a whole number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from dolake.catalog.json_fields import Json
from dolake.catalog.table_metadata import current_schema
from dolake.errors import LakeQueryError
from dolake.query.column_types import default_literal, duckdb_type, quoted_name, quoted_text
from dolake.query.file_pruning import FilePruning, PrunableColumn
from dolake.tables.manifests import DataFile
from dolake.tables.partitioning import bound_fields
from dolake.tables.snapshot_contents import FileDeletes, SnapshotContents, schema_by_id
from dolake.warehouse import Warehouse

_NAME_MAPPING = "schema.name-mapping.default"
_ROW_BITS = 32  # deletion vectors hold positions below 2**32


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A data file of a snapshot. Shape: `left_out_by` is "" for one that is read."""

    file: DataFile
    left_out_by: str
    deleted_rows: int


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What is read of one table.

    Shape: `sql` is a SELECT over the files with the names and types of the schema; `deleted` holds
           the keys of the rows it must not give, for the relation that `sql` calls by
           `deleted_relation`, None when no row is deleted.
    """

    schema: Json
    files: tuple[PlannedFile, ...]
    sql: str
    deleted: pa.Table | None
    has_name_mapping: bool = False

    @property
    def files_read(self) -> list[PlannedFile]:
        """Those that are read."""
        return [planned for planned in self.files if not planned.left_out_by]


def table_schema(metadata: Json, snapshot: Json | None, *, is_past: bool) -> Json:
    """The schema of a table, or that of its snapshot where a past moment was asked for."""
    if is_past and snapshot is not None and snapshot.get("schema-id") is not None:
        return schema_by_id(metadata, snapshot["schema-id"])
    return current_schema(metadata)


def plan_table(
    warehouse: Warehouse,
    metadata: Json,
    schema: Json,
    contents: SnapshotContents,
    deletes: Mapping[str, FileDeletes],
    scans: Sequence[Sequence[Any]],
    deleted_relation: str,
) -> TablePlan:
    """Plan the reading of a snapshot by one or several scans, each with its own conditions.

    Errors: LakeQueryError for files that are no Parquet.
    """
    columns = {
        item["name"]: PrunableColumn(item["id"], item["type"])
        for item in schema["fields"]
        if isinstance(item["type"], str)
    }
    # Names in conditions are not quoted: an odd one might be taken for more than a name.
    is_prunable = all(item["name"].isidentifier() for item in schema["fields"])
    fields = {
        spec["spec-id"]: bound_fields(spec, metadata["schemas"])
        for spec in metadata["partition-specs"]
    }
    prunings = [FilePruning(conditions, columns, fields) for conditions in scans]
    planned = []
    for path, entry in sorted(contents.data_files().items()):
        file = entry.data_file
        if file.file_format.upper() != "PARQUET":
            raise LakeQueryError(
                f"{path} is in the format {file.file_format}: only Parquet is read"
            )
        deleted = deletes[path].positions if path in deletes else BitMap()
        reasons = [pruning.left_out_by(file) for pruning in prunings]
        reason = reasons[0] if is_prunable and reasons and all(reasons) else ""
        planned.append((PlannedFile(file, reason, len(deleted)), deleted))
    read = [(each.file, deleted) for each, deleted in planned if not each.left_out_by]
    clean = [file for file, deleted in read if not deleted]
    touched = [(file, deleted) for file, deleted in read if deleted]
    parts = []
    if clean or not touched:
        parts.append(_select(warehouse, schema, clean, ""))
    if touched:
        without = (
            f" WHERE ((file_index::BIGINT << {_ROW_BITS}) | file_row_number) NOT IN "
            f"(SELECT key FROM {deleted_relation})"
        )
        parts.append(_select(warehouse, schema, [file for file, _ in touched], without))
    return TablePlan(
        schema,
        tuple(each for each, _ in planned),
        " UNION ALL ".join(parts),
        _deleted_keys([deleted for _, deleted in touched]) if touched else None,
        _NAME_MAPPING in metadata["properties"],
    )


def scan_path(warehouse: Warehouse, url: str) -> str:
    """A file as DuckDB opens it: a plain path in a local warehouse, else its URL."""
    if warehouse.folder is not None:
        return str(warehouse.folder / warehouse.path_of(url))
    return url


def column_list(schema: Mapping[str, Any]) -> str:
    """The columns of a schema as the columns of CREATE TABLE."""
    return ", ".join(
        f"{quoted_name(item['name'])} {duckdb_type(item['type'])}" for item in schema["fields"]
    )


def _select(warehouse: Warehouse, schema: Json, files: Sequence[DataFile], condition: str) -> str:
    if not files:
        nothing = ", ".join(
            f"NULL::{duckdb_type(item['type'])} AS {quoted_name(item['name'])}"
            for item in schema["fields"]
        )
        return f"SELECT {nothing} WHERE false"
    # Columns are found by field id, whatever they were called when the file was written.
    mapped = ", ".join(
        f"{item['id']}: {{name: {quoted_text(item['name'])}, "
        f"type: {quoted_text(duckdb_type(item['type']))}, "
        f"default_value: {default_literal(item.get('initial-default'), item['type'])}}}"
        for item in schema["fields"]
    )
    paths = ", ".join(quoted_text(scan_path(warehouse, file.file_path)) for file in files)
    names = ", ".join(_value(item, files) for item in schema["fields"])
    return f"SELECT {names} FROM read_parquet([{paths}], schema = MAP {{{mapped}}}){condition}"


def _value(item: Json, files: Sequence[DataFile]) -> str:
    """A column of the files, hidden from DuckDB's own pruning where it may hold NaN.

    Parquet's statistics know nothing of NaN, and DuckDB 1.5.5 leaves out row groups by them.
    """
    name = quoted_name(item["name"])
    if item["type"] not in ("float", "double") or all(
        file.nan_value_counts.get(item["id"]) == 0
        or file.value_counts.get(item["id"]) == file.null_value_counts.get(item["id"], -1)
        for file in files
    ):
        return name
    return f"CASE WHEN isnan({name}) THEN 'nan' ELSE {name} END AS {name}"


def _deleted_keys(deleted: Sequence[BitMap]) -> pa.Table:
    """The keys of deleted rows: the file's place in the list, then the row's in the file."""
    keys = [
        pa.array(np.asarray(positions.to_array(), np.int64) + (index << _ROW_BITS))
        for index, positions in enumerate(deleted)
    ]
    return pa.table({"key": pa.chunked_array(keys, pa.int64())})
