"""A branch of a source begins as a branch of its tables: where its parent was, without a copy."""

from __future__ import annotations

from collections.abc import Iterable

from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.errors import SnapshotNotFoundError
from dolake.tables.lake_table import (
    LSN,
    SOURCE,
    layout_property,
    schema_of_snapshot,
    snapshot_at,
)
from dolake.tables.schema_mapping import layout_as_of, layout_of_property


def fork_changes(
    tables: Iterable[LoadedTable], source: str, branch: str, parent_branch: str, lsn: int
) -> tuple[list[TableChange], int]:
    """The commits that begin a branch where its parent was at an LSN, and which LSN they show.

    Errors: SnapshotNotFoundError when the snapshots of that time have expired.
    """
    forked: list[TableChange] = []
    begin = 0
    for loaded in tables:
        metadata = loaded.metadata
        properties = metadata.get("properties") or {}
        parent_layout = layout_property(parent_branch)
        if properties.get(SOURCE) != source or parent_layout not in properties:
            continue
        snapshot = snapshot_at(metadata, parent_branch, lsn)
        if snapshot is None:
            continue  # made later
        begin = max(begin, int(snapshot["summary"][LSN]))
        layout = layout_as_of(
            layout_of_property(properties[parent_layout]),
            schema_of_snapshot(metadata, snapshot),
        )
        forked.append(
            TableChange(
                loaded.identifier,
                [
                    {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
                    {"type": "assert-ref-snapshot-id", "ref": branch, "snapshot-id": None},
                ],
                [
                    {
                        "action": "set-snapshot-ref",
                        "ref-name": branch,
                        "type": "branch",
                        "snapshot-id": snapshot["snapshot-id"],
                    },
                    {
                        "action": "set-properties",
                        "updates": {layout_property(branch): layout.to_property()},
                    },
                ],
            )
        )
    if not forked:
        raise SnapshotNotFoundError(
            f"no snapshot of branch {parent_branch} is as old as LSN {lsn}",
            hint="make an initial copy of the branch",
        )
    return forked, begin
