"""Subcommands that look: tables and snapshots."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dolake.catalog.table_registry import LoadedTable
from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    EndpointOption,
    StateOption,
    WarehouseOption,
    open_lake,
    table_identifiers,
)
from dosql_core.command_line.commands.parameters import JsonOption, examples
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.wording import age_text, size_text

_SNAPSHOTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as a list shows it. Shape: `lsn` is the source's, None for foreign tables."""

    table: str
    format_version: int
    rows: int
    files: int
    file_bytes: int
    lsn: int | None
    snapshots: int
    updated_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """A snapshot as a list shows it."""

    snapshot_id: int
    committed_at: datetime.datetime
    operation: str
    lsn: int | None
    branch: str | None
    added_rows: int
    deleted_rows: int
    rows: int
    is_current: bool


def tables(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    json: JsonOption = False,
) -> None:
    """List the tables of a lake."""
    with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
        facts = [
            _table_facts(lake.registry.load_table(each))
            for each in table_identifiers(lake.registry)
        ]
    if json:
        print_json(facts)
        return
    print_table(
        ("table", "rows", "files", "size", "lsn", "snapshots", "updated"),
        [
            (
                each.table,
                each.rows,
                each.files,
                size_text(each.file_bytes),
                each.lsn,
                each.snapshots,
                age_text(each.updated_at),
            )
            for each in facts
        ],
    )


def snapshots(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="The table: source.table.", show_default=False)
    ],
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    limit: Annotated[
        int, typer.Option(metavar="COUNT", min=0, help="Only the newest so many; 0 for all.")
    ] = _SNAPSHOTS_SHOWN,
    json: JsonOption = False,
) -> None:
    """List the snapshots of a table, the newest first, with the LSN that each holds."""
    with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
        (identifier,) = table_identifiers(lake.registry, [table])
        loaded = lake.registry.load_table(identifier)
    facts = [_snapshot_facts(loaded, each) for each in loaded.metadata.get("snapshots") or ()]
    facts.sort(key=lambda each: each.committed_at, reverse=True)
    facts = facts[: limit or None]
    if json:
        print_json(facts)
        return
    print_table(
        ("snapshot", "committed", "operation", "lsn", "branch", "added", "deleted", "rows", ""),
        [
            (
                str(each.snapshot_id),
                each.committed_at.strftime("%Y-%m-%d %H:%M:%S"),
                each.operation,
                each.lsn,
                each.branch,
                each.added_rows,
                each.deleted_rows,
                each.rows,
                "current" if each.is_current else "",
            )
            for each in facts
        ],
    )


def _table_facts(table: LoadedTable) -> TableFacts:
    metadata = table.metadata
    current = metadata.get("current-snapshot-id")
    summary: dict[str, Any] = next(
        (
            each.get("summary") or {}
            for each in metadata.get("snapshots") or ()
            if each["snapshot-id"] == current
        ),
        {},
    )
    rows = _number(summary, "total-records") - _number(summary, "total-position-deletes")
    return TableFacts(
        ".".join(table.identifier),
        metadata["format-version"],
        max(rows, 0),
        _number(summary, "total-data-files"),
        _number(summary, "total-files-size"),
        _lsn(summary),
        len(metadata.get("snapshots") or ()),
        _moment(metadata["last-updated-ms"]),
    )


def _snapshot_facts(table: LoadedTable, snapshot: dict[str, Any]) -> SnapshotFacts:
    summary = snapshot.get("summary") or {}
    return SnapshotFacts(
        snapshot["snapshot-id"],
        _moment(snapshot["timestamp-ms"]),
        summary.get("operation", ""),
        _lsn(summary),
        summary.get("dosql.branch"),
        _number(summary, "added-records"),
        _number(summary, "added-position-deletes") + _number(summary, "deleted-records"),
        max(_number(summary, "total-records") - _number(summary, "total-position-deletes"), 0),
        snapshot["snapshot-id"] == table.metadata.get("current-snapshot-id"),
    )


def _number(summary: dict[str, Any], name: str) -> int:
    return int(summary.get(name, 0))


def _lsn(summary: dict[str, Any]) -> int | None:
    told = summary.get("dosql.lsn")
    return None if told is None else int(told)


def _moment(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)


def register(app: typer.Typer) -> None:
    """Add these subcommands."""
    app.command(epilog=examples("dolake tables", "dolake tables --json"))(tables)
    app.command(epilog=examples("dolake snapshots shop.orders"))(snapshots)
