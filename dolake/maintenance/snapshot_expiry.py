"""Old snapshots are let go, and then the files that only they needed.

The commit comes first: whoever is killed after it leaves files that nobody names, which the sweep
of orphans finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableChange, TableRegistry
from dolake.maintenance.maintenance_policy import ExpiryPolicy
from dolake.tables.lake_table import watermarked_snapshot
from dolake.tables.manifest_files import unpack_manifest, unpack_manifest_list
from dolake.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """What was let go: snapshots, and files that no snapshot needs any more."""

    snapshots: int = 0
    files: int = 0


def expire_snapshots(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    policy: ExpiryPolicy | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> ExpiryResult:
    """Let go of a table's snapshots by age and count, and remove the files only they needed.

    Shape: what a branch or a tag points to stays, and so does, of each branch, the newest snapshot
           that tells up to which LSN it goes. `gc.enabled=false` on the table keeps all files.
    Errors: CommitConflictError when a branch moved in between: nothing is let go.
    """
    metadata = registry.load_table(identifier).metadata
    expired = expired_snapshots(metadata, policy or ExpiryPolicy(), clock())
    if not expired:
        return ExpiryResult()
    refs = metadata.get("refs") or {}
    requirements: list[dict[str, Any]] = [
        {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
        *(
            {"type": "assert-ref-snapshot-id", "ref": name, "snapshot-id": ref["snapshot-id"]}
            for name, ref in refs.items()
        ),
    ]
    update = {
        "action": "remove-snapshots",
        "snapshot-ids": [snapshot["snapshot-id"] for snapshot in expired],
    }
    (loaded,) = registry.commit([TableChange(identifier, requirements, [update])])
    if (metadata.get("properties") or {}).get("gc.enabled") == "false":
        return ExpiryResult(len(expired))
    # What others committed since is in `loaded`, and so counts as needed.
    paths = _only_needed_by(warehouse, expired, loaded.metadata["snapshots"])
    own = [path for path in paths if path.startswith(warehouse.uri + "/")]
    warehouse.delete(own)
    return ExpiryResult(len(expired), len(own))


def expired_snapshots(
    metadata: Mapping[str, Any], policy: ExpiryPolicy, now: float
) -> list[Mapping[str, Any]]:
    """The snapshots that are beyond the policy's limits. Units: `now` seconds since 1970."""
    by_id = {s["snapshot-id"]: s for s in metadata.get("snapshots") or ()}
    oldest_ms = (now - policy.age_seconds_max) * 1000
    kept: set[int] = set()
    for name, ref in (metadata.get("refs") or {}).items():
        at = by_id.get(ref["snapshot-id"])
        if ref.get("type") == "tag":
            kept.add(ref["snapshot-id"])
            continue
        kept_min = max(1, int(ref.get("min-snapshots-to-keep") or policy.snapshots_kept_min))
        age_ms = ref.get("max-snapshot-age-ms")
        oldest_of_ref = oldest_ms if age_ms is None else now * 1000 - age_ms
        count = 0
        while at is not None and (count < kept_min or at["timestamp-ms"] >= oldest_of_ref):
            kept.add(at["snapshot-id"])
            at, count = by_id.get(at.get("parent-snapshot-id")), count + 1
        told = watermarked_snapshot(metadata, name)
        if told is not None:
            kept.add(told["snapshot-id"])
    # A snapshot that no branch has may be staged by a writer that has not named it yet.
    return [
        s for s in by_id.values() if s["snapshot-id"] not in kept and s["timestamp-ms"] < oldest_ms
    ]


def files_of_snapshots(
    warehouse: Warehouse, snapshots: Iterable[Mapping[str, Any]]
) -> dict[str, set[str]]:
    """What snapshots need: the manifests of each manifest list by its path."""
    return {
        s["manifest-list"]: {
            m.path for m in unpack_manifest_list(warehouse.read(s["manifest-list"]))
        }
        for s in snapshots
    }


def live_files_of(
    warehouse: Warehouse, snapshots: Iterable[Mapping[str, Any]], manifest_paths: set[str]
) -> set[str]:
    """The data and delete files that these manifests name as part of a snapshot."""
    manifests = {
        m.path: m
        for s in snapshots
        for m in unpack_manifest_list(warehouse.read(s["manifest-list"]))
        if m.path in manifest_paths
    }
    return {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in unpack_manifest(warehouse.read(manifest.path), manifest)
        if entry.is_live
    }


def _only_needed_by(
    warehouse: Warehouse,
    expired: list[Mapping[str, Any]],
    kept: list[Mapping[str, Any]],
) -> set[str]:
    lists_gone = files_of_snapshots(warehouse, expired)
    lists_kept = files_of_snapshots(warehouse, kept)
    manifests_kept = set().union(*lists_kept.values())
    manifests_gone = set().union(*lists_gone.values()) - manifests_kept
    files_gone = live_files_of(warehouse, expired, manifests_gone)
    if files_gone:
        files_gone -= live_files_of(warehouse, kept, manifests_kept)
    return files_gone | manifests_gone | (lists_gone.keys() - lists_kept.keys())
