"""All maintenance of a table, or of every table of a catalog, one part after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dolake.catalog.identifiers import Namespace, TableIdentifier
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import (
    CommitConflictError,
    ForeignDeletesError,
    LakeConfigurationError,
    TableNotFoundError,
)
from dolake.maintenance.data_compaction import CompactionResult, compact_table
from dolake.maintenance.maintenance_policy import MaintenancePolicy
from dolake.maintenance.manifest_rewrite import rewrite_manifests
from dolake.maintenance.orphan_files import all_tables, sweep_orphans
from dolake.maintenance.snapshot_expiry import ExpiryResult, expire_snapshots
from dolake.warehouse import Warehouse

# Reasons to go on with the next table: others were faster, or wrote what we have no type for.
_LATER = (CommitConflictError, ForeignDeletesError, LakeConfigurationError, TableNotFoundError)


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """What maintenance did to a table. Shape: `left_for_later` says what did not work out."""

    table: TableIdentifier
    compaction: CompactionResult
    manifests_rewritten: int
    expiry: ExpiryResult
    orphans_removed: int
    left_for_later: str = ""


def maintain_table(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    policy: MaintenancePolicy,
    *,
    clock: Callable[[], float] = time.time,
) -> MaintenanceResult:
    """Do to a table, on all its branches, what the policy asks for."""
    compaction, manifests, expiry, orphans = CompactionResult(), 0, ExpiryResult(), 0
    later = ""
    refs = registry.load_table(identifier).metadata.get("refs") or {}
    branches = [name for name, ref in refs.items() if ref.get("type", "branch") == "branch"]
    try:
        for branch in branches:
            if policy.compaction is not None:
                compaction += compact_table(
                    registry, warehouse, identifier, policy.compaction, branch=branch
                )
            if policy.manifests_max is not None:
                manifests += rewrite_manifests(
                    registry,
                    warehouse,
                    identifier,
                    branch=branch,
                    manifests_max=policy.manifests_max,
                )
        if policy.expiry is not None:
            expiry = expire_snapshots(registry, warehouse, identifier, policy.expiry, clock=clock)
        if policy.orphan_age_seconds_min is not None:
            orphans = len(
                sweep_orphans(
                    registry,
                    warehouse,
                    identifier,
                    age_seconds_min=policy.orphan_age_seconds_min,
                    clock=clock,
                )
            )
    except _LATER as error:
        later = str(error)  # the next run finds the table as it is then
    return MaintenanceResult(identifier, compaction, manifests, expiry, orphans, later)


def maintain_tables(
    registry: TableRegistry,
    warehouse: Warehouse,
    policy: MaintenancePolicy,
    namespace: Namespace = (),
) -> Iterator[MaintenanceResult]:
    """As `maintain_table`, of every table of a catalog or of a namespace."""
    for identifier in all_tables(registry, namespace):
        yield maintain_table(registry, warehouse, identifier, policy)
