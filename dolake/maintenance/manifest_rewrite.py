"""Many small manifests become few: readers open fewer files, and no row or data file changes."""

from __future__ import annotations

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import CommitConflictError
from dolake.maintenance.data_compaction import committed_or_not
from dolake.tables.lake_table import LakeTable
from dolake.tables.snapshot_commit import SnapshotCommit
from dolake.tables.snapshot_contents import current_schema
from dolake.warehouse import Warehouse

_ATTEMPTS_MAX = 100


def rewrite_manifests(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    *,
    branch: str = "main",
    manifests_max: int = 1,
) -> int:
    """Write the manifests of a table's branch anew when there are more; how many were replaced."""
    table = LakeTable(warehouse, registry.load_table(identifier), branch)
    for _ in range(_ATTEMPTS_MAX):
        table.contents = table.load(registry.load_table(identifier))
        paths = [manifest.path for manifest in table.contents.manifests]
        if len(paths) <= max(manifests_max, 1):
            return 0
        schema = current_schema(table.metadata)
        commit = SnapshotCommit(warehouse, table.metadata, branch, table.contents, schema)
        commit.rewrite_manifests(paths)
        if committed_or_not(registry, table, commit, ()):
            return len(paths)
    raise CommitConflictError(f"other commits to {'.'.join(identifier)} always came first")
