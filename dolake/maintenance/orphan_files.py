"""Files under a table's location that nothing names: what failed and killed writers left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dolake.catalog.identifiers import Namespace, TableIdentifier
from dolake.catalog.table_registry import LoadedTable, TableRegistry
from dolake.maintenance.snapshot_expiry import files_of_snapshots, live_files_of
from dolake.warehouse import Warehouse


def sweep_orphans(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    *,
    age_seconds_min: float = 3 * 86_400.0,
    is_dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Remove a table's orphaned files of at least that age; their paths.

    Shape: a file younger than `age_seconds_min` may belong to a commit that is still on its way.
           What lies in the location of another table is left alone.
    """
    location = registry.load_table(identifier).metadata["location"]
    # First what is there, then what is named: a file that is committed in between is in both.
    found = list(warehouse.list(location))
    loaded = registry.load_table(identifier)
    named = {warehouse.path_of(path) for path in named_files(warehouse, loaded)}
    others = [warehouse.path_of(other) + "/" for other in _locations_inside(registry, (), location)]
    orphans = [
        stored.path
        for stored in found
        if stored.path not in named
        and clock() - stored.modified_at.timestamp() >= age_seconds_min
        and not any(stored.path.startswith(other) for other in others)
    ]
    if not is_dry_run and (loaded.metadata.get("properties") or {}).get("gc.enabled") != "false":
        warehouse.delete(orphans)
    return orphans


def named_files(warehouse: Warehouse, loaded: LoadedTable) -> set[str]:
    """Every file that a table needs, or that its metadata names."""
    metadata: dict[str, Any] = loaded.metadata
    snapshots = metadata.get("snapshots") or []
    lists = files_of_snapshots(warehouse, snapshots)
    manifests = set().union(*lists.values())
    statistics = [
        entry["statistics-path"]
        for kind in ("statistics", "partition-statistics")
        for entry in metadata.get(kind) or ()
    ]
    return {
        loaded.metadata_location,
        *(entry["metadata-file"] for entry in metadata.get("metadata-log") or ()),
        *statistics,
        *lists,
        *manifests,
        *live_files_of(warehouse, snapshots, manifests),
    }


def all_tables(registry: TableRegistry, parent: Namespace = ()) -> list[TableIdentifier]:
    """Every table of a catalog, or of a namespace and those in it."""
    found = list(registry.list_tables(parent)) if parent else []
    for namespace in registry.namespaces.below(parent):
        found += all_tables(registry, namespace)
    return found


def _locations_inside(registry: TableRegistry, parent: Namespace, location: str) -> list[str]:
    """Locations of other tables that lie in this one's."""
    inside = location.rstrip("/") + "/"
    locations = (
        str(registry.load_table(identifier).metadata["location"]).rstrip("/")
        for identifier in all_tables(registry, parent)
    )
    return [other for other in locations if other.startswith(inside)]
