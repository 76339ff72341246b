"""Subcommands that keep a lake tidy: compact, expire, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    EndpointOption,
    StateOption,
    WarehouseOption,
    open_lake,
    table_identifiers,
)
from dolake.command_line.scheduled_upkeep import age_seconds
from dolake.maintenance.maintenance_policy import (
    CompactionPolicy,
    ExpiryPolicy,
    MaintenancePolicy,
)
from dolake.maintenance.table_maintenance import MaintenanceResult, maintain_table
from dolake.maintenance.verification import LakeFinding, verify_table
from dosql_core.command_line.commands.parameters import JsonOption, examples
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.reporting import note, progress_bar
from dosql_core.command_line.wording import counted

_EXPIRY = ExpiryPolicy()

TablesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TABLE...]", help="Tables, as source.table; all of them by default."),
]


def compact(
    tables: TablesArgument = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    files_min: Annotated[
        int, typer.Option(min=1, help="Merge where a partition has so many small files.")
    ] = CompactionPolicy().files_min,
    json: JsonOption = False,
) -> None:
    """Merge small data files, and write those anew whose rows are mostly deleted.

    Safe beside a lake that is served and beside other engines: what they commit meanwhile is kept.
    """
    policy = MaintenancePolicy(
        compaction=CompactionPolicy(files_min=files_min), expiry=None, orphan_age_seconds_min=None
    )
    results = _maintained(tables, warehouse, state, endpoint, policy, "compacting")
    if json:
        print_json([_as_plain(result) for result in results])
        return
    print_table(
        ("table", "files before", "files after", "dead rows removed", "manifests rewritten"),
        [
            (
                ".".join(result.table),
                result.compaction.files_before,
                result.compaction.files_after,
                result.compaction.dead_rows_removed,
                result.manifests_rewritten,
            )
            for result in results
        ],
    )
    _note_left(results)


def expire(
    tables: TablesArgument = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Let go of snapshots older than this: 12h, 5d, 4w.")
    ] = "5d",
    keep: Annotated[
        int, typer.Option(metavar="COUNT", min=1, help="Keep the newest so many in any case.")
    ] = _EXPIRY.snapshots_kept_min,
    orphans_older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="Remove files that no table names, when older than this."),
    ] = "3d",
    json: JsonOption = False,
) -> None:
    """Let go of old snapshots, and remove the files that nothing needs any more."""
    policy = MaintenancePolicy(
        compaction=None,
        manifests_max=None,
        expiry=ExpiryPolicy(age_seconds(older_than), keep),
        orphan_age_seconds_min=age_seconds(orphans_older_than),
    )
    results = _maintained(tables, warehouse, state, endpoint, policy, "expiring")
    if json:
        print_json([_as_plain(result) for result in results])
        return
    print_table(
        ("table", "snapshots let go", "files removed", "orphans removed"),
        [
            (
                ".".join(result.table),
                result.expiry.snapshots,
                result.expiry.files,
                result.orphans_removed,
            )
            for result in results
        ],
    )
    _note_left(results)


def verify(
    tables: TablesArgument = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only that files are there and have their size.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check that every snapshot's files are there and hold what the metadata says.

    Leaves with status 3 when something is wrong.
    """
    findings: list[LakeFinding] = []
    with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
        chosen = table_identifiers(lake.registry, tables)
        for identifier in chosen:
            with progress_bar(f"verifying {'.'.join(identifier)}", unit="snapshots") as report:
                findings += verify_table(
                    lake.registry, lake.warehouse, identifier, deep=not quick, progress=report
                )
    if json:
        print_json({"is_sound": not findings, "tables": len(chosen), "findings": findings})
    else:
        for finding in findings:
            print(finding)
        if findings:
            print(f"{counted(len(findings), 'finding')} in {counted(len(chosen), 'table')}")
        else:
            print(f"{counted(len(chosen), 'table')} of {warehouse}: sound")
    if findings:
        raise typer.Exit(ExitCode.DAMAGED)


def _maintained(
    tables: list[str] | None,
    warehouse: str,
    state: str | None,
    endpoint: str | None,
    policy: MaintenancePolicy,
    title: str,
) -> list[MaintenanceResult]:
    results = []
    with (
        open_lake(warehouse, state, endpoint, must_exist=True) as lake,
        progress_bar(title, unit="tables") as report,
    ):
        chosen = table_identifiers(lake.registry, tables)
        for done, identifier in enumerate(chosen):
            report(done, len(chosen))
            results.append(maintain_table(lake.registry, lake.warehouse, identifier, policy))
    return results


def _as_plain(result: MaintenanceResult) -> dict[str, object]:
    return {
        "table": ".".join(result.table),
        "compaction": result.compaction,
        "manifests_rewritten": result.manifests_rewritten,
        "expiry": result.expiry,
        "orphans_removed": result.orphans_removed,
        "left_for_later": result.left_for_later,
    }


def _note_left(results: list[MaintenanceResult]) -> None:
    for result in results:
        if result.left_for_later:
            note(f"{'.'.join(result.table)}: left for later: {result.left_for_later}")


def register(app: typer.Typer) -> None:
    """Add these subcommands."""
    app.command(epilog=examples("dolake compact", "dolake compact shop.orders"))(compact)
    app.command(epilog=examples("dolake expire --older-than 7d --keep 10"))(expire)
    app.command(epilog=examples("dolake verify", "dolake verify shop.orders --quick"))(verify)
