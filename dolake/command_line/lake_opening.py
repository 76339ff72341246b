"""The options that say which lake, each described once, and the one place where it is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableRegistry
from dolake.lake import Lake
from dolake.settings import FlushPolicy
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse
from dosql_core.command_line.reporting import UsageError

DEFAULT_WAREHOUSE = "./lake"

WarehouseOption = Annotated[
    str,
    typer.Option(
        "--warehouse",
        "-w",
        metavar="PLACE",
        envvar="DOLAKE_WAREHOUSE",
        help="Where the tables are: a folder, or s3://bucket/prefix.",
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        envvar="DOLAKE_STATE",
        help="Where the lake keeps its catalog and its log; .dolake in a warehouse that is a "
        "folder, else ./dolake-state.",
        show_default=False,
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="AWS_ENDPOINT_URL",
        help="The S3 server, where it is not Amazon's. Keys come from AWS_ACCESS_KEY_ID and the "
        "like.",
        show_default=False,
    ),
]
FlushRowsOption = Annotated[
    int,
    typer.Option(metavar="COUNT", min=1, help="A snapshot at the latest after so many changes."),
]
FlushAgeOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0.01, help="A snapshot at the latest so long after a change."
    ),
]
ChangeLogOption = Annotated[
    bool,
    typer.Option("--change-log", help="Keep an append-only log of changes beside each new table."),
]
FormatVersionOption = Annotated[
    int,
    typer.Option(
        metavar="N", min=2, max=3, help="Iceberg's version of new tables; 2 for older readers."
    ),
]

FLUSH_DEFAULTS = FlushPolicy()


def open_lake(
    warehouse: str,
    state: str | None,
    endpoint: str | None,
    table_options: TableOptions | None = None,
    *,
    must_exist: bool = False,
) -> Lake:
    """Open the lake, or make it. Errors: UsageError when it must exist and does not."""
    store: dict[str, Any] = {}
    if warehouse.startswith("s3://"):
        if endpoint is not None:
            store["endpoint"] = endpoint
        store.setdefault("region", os.environ.get("AWS_REGION", "us-east-1"))
    if must_exist and not os.path.exists(_catalog_path(warehouse, state)):
        raise UsageError(
            f"there is no lake at {warehouse}",
            hint="`dolake sync DATABASE` makes one; --warehouse and --state say where it is",
        )
    return Lake(warehouse, state=state, table_options=table_options, **store)


def table_identifiers(
    registry: TableRegistry, names: Sequence[str] | None = None
) -> list[TableIdentifier]:
    """The tables named, or all there are. Errors: UsageError for a name that is none."""
    if names:
        for name in names:
            if "." not in name:
                raise UsageError(f"{name!r} names no table", hint="it is written source.table")
        return [tuple(name.split(".")) for name in names]
    found: list[TableIdentifier] = []
    waiting = sorted(registry.namespaces.below())
    while waiting:
        namespace = waiting.pop(0)
        waiting = sorted(registry.namespaces.below(namespace)) + waiting
        found += sorted(registry.list_tables(namespace))
    return found


def _catalog_path(warehouse: str, state: str | None) -> str:
    if state is None:
        is_bucket = warehouse.startswith("s3://")
        folder = None if is_bucket else warehouse
        if folder is not None and folder.startswith("file:"):
            folder = str(Warehouse(folder).folder)
        state = "./dolake-state" if folder is None else os.path.join(folder, ".dolake")
    return os.path.join(state, "catalog.db")
