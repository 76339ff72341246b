"""A mirror as of an LSN between two of its snapshots: the older one, and the changes until then.

They are read from the table's change log, and stand beside the snapshot as pending ones do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from dolake.catalog.json_fields import Json
from dolake.catalog.table_registry import LoadedTable, TableRegistry
from dolake.changes import ROWID_KEY
from dolake.errors import TableNotFoundError
from dolake.query.column_types import quoted_name
from dolake.query.pending_rows import Pending
from dolake.query.table_moments import states_by_lsn
from dolake.tables.lake_table import (
    CHANGE_LOG,
    CHANGE_LOG_SUFFIX,
    KEY,
    ROLE,
    SOURCE,
    TABLE,
)
from dolake.tables.snapshot_contents import schema_by_id
from dolake.tables.value_conversion import MISFIT_COLUMN

# A field that no file has: the snapshot has no misfits.
_MISFITS = {"id": 2_147_480_000, "name": MISFIT_COLUMN, "required": False, "type": "string"}

Rows = Callable[[str], pa.Table]
"""The rows of a query over the lake."""


def replayed_until(
    registry: TableRegistry, table: LoadedTable, lsn: int, rows_of: Rows
) -> tuple[Json, Json, Pending] | None:
    """The newest snapshot before an LSN and the changes from then on; None where they are not told.

    Shape: the snapshot, the columns to read it with, and the changes. They are told where the log
           has been kept since that snapshot, and the snapshot after the LSN came from changes, not
           from a copy, with the same columns.
    """
    states = states_by_lsn(table.metadata)
    before = next((state for state in states if state[0] < lsn), None)
    after = next((state for state in reversed(states) if state[0] > lsn), None)
    log = _log_of(registry, table)
    if before is None or after is None or log is None:
        return None
    logged = dict(reversed(states_by_lsn(log.metadata)))
    if after[0] not in logged or min(logged) > before[0]:
        return None
    schema = schema_by_id(table.metadata, after[1]["schema-id"])
    if _but_misfits(schema) != _but_misfits(schema_by_id(table.metadata, before[1]["schema-id"])):
        return None
    known = {
        item["name"] for item in schema_by_id(log.metadata, logged[after[0]]["schema-id"])["fields"]
    }
    if MISFIT_COLUMN in known:  # a value that did not fit may have come and gone in between
        fields = schema["fields"]
        if MISFIT_COLUMN not in {item["name"] for item in fields}:
            schema = {**schema, "fields": [*fields, _MISFITS]}
    names = [item["name"] for item in schema["fields"] if item["name"] in known]
    key_ids = json.loads(after[1]["summary"].get(KEY, "[]"))
    keys = [item["name"] for item in schema["fields"] if item["id"] in key_ids]
    is_by_rowid = keys == [ROWID_KEY]
    if not keys or (not is_by_rowid and ROWID_KEY in {i["name"] for i in schema["fields"]}):
        return None  # of some rows the primary key is NULL: they are told by their rowid
    told = ["_cdc_row_id", *([] if is_by_rowid else map(quoted_name, keys))]
    changes = rows_of(
        f"select {', '.join(map(quoted_name, names))}, _cdc_row_id, _cdc_operation "
        f"from {'.'.join(map(quoted_name, _levels(log)))} as of lsn {after[0]} "
        f"where _cdc_sequence > {before[0]} and _cdc_sequence <= {lsn} "
        "qualify row_number() over (partition by "
        f"{', '.join(told)} "
        "order by _cdc_sequence desc, _cdc_index desc) = 1"
    )
    if is_by_rowid:
        rowids = pa.array(map(int, changes.column("_cdc_row_id").to_pylist()), pa.int64())
        changes = changes.append_column(ROWID_KEY, rowids)
    elif any(changes.column(name).null_count for name in keys):
        return None  # a key that does not fit its column stands among the misfits
    is_kept = pa.array(op != "delete" for op in changes.column("_cdc_operation").to_pylist())
    replaced: list[dict[str, Any]] = changes.select(keys).to_pylist()
    return before[1], schema, Pending(changes.filter(is_kept), replaced)


def _but_misfits(schema: Json) -> list[Json]:
    return [item for item in schema["fields"] if item["name"] != MISFIT_COLUMN]


def _log_of(registry: TableRegistry, table: LoadedTable) -> LoadedTable | None:
    name = f"{table.identifier[-1]}{CHANGE_LOG_SUFFIX}"
    try:
        found = registry.load_table((*table.identifier[:-1], name))
    except TableNotFoundError:
        return None
    own, log = table.metadata["properties"], found.metadata["properties"]
    is_its_log = log.get(ROLE) == CHANGE_LOG and all(
        log.get(name) == own.get(name) for name in (SOURCE, TABLE)
    )
    return found if is_its_log else None


def _levels(table: LoadedTable) -> tuple[str, str]:
    return ".".join(table.identifier[:-1]), table.identifier[-1]
