"""Maintenance changes which files hold the rows, never the rows, whoever writes meanwhile."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from dolake.catalog.table_registry import TableChange
from dolake.errors import MaintenanceFailedError
from dolake.maintenance.data_compaction import compact_table
from dolake.maintenance.maintenance_policy import (
    CompactionPolicy,
    ExpiryPolicy,
    MaintenancePolicy,
)
from dolake.maintenance.maintenance_process import MaintenanceProcess
from dolake.maintenance.manifest_rewrite import rewrite_manifests
from dolake.maintenance.orphan_files import named_files, sweep_orphans
from dolake.maintenance.snapshot_expiry import expire_snapshots
from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

T = ("shop", "t")
VERSIONS = pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
EAGER = CompactionPolicy(files_min=2)


def filled(lake: Lake, version: int = 3, flushes: int = 6, **options: Any) -> tuple[Any, Any]:
    source, tables = SourceModel(), lake.open(format_version=version, **options)
    source.create("t", "*id INTEGER", "v TEXT")
    for flush in range(flushes):
        for number in range(flush, 40, 2):
            source.put("t", {"id": number, "v": f"{flush} {number}"})
        tables.stage(source.commit())
        tables.flush()
    return source, tables


def assert_mirrored(lake: Lake, source: SourceModel) -> None:
    expected = in_order(list(source.tables["t"].values()))
    names = [c.name for c in source.schemas["t"].columns]
    for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
        assert in_order(source_rows(read("t"), names)) == expected, read.__name__


def summary_of(lake: Lake) -> dict[str, str]:
    metadata = lake.metadata("t")
    current = metadata["current-snapshot-id"]
    (snapshot,) = [s for s in metadata["snapshots"] if s["snapshot-id"] == current]
    summary: dict[str, str] = snapshot["summary"]
    return summary


@VERSIONS
def test_compaction_leaves_one_file_without_deletes(lake: Lake, version: int) -> None:
    source, tables = filled(lake, version)
    result = compact_table(lake.registry, lake.warehouse, T, EAGER)
    assert result.files_before > 1 and result.files_after == 1
    assert result.rows_written == len(source.tables["t"]) and result.dead_rows_removed > 0
    summary = summary_of(lake)
    assert (summary["operation"], summary["dosql.lsn"]) == ("replace", str(tables.watermark))
    assert (summary["total-data-files"], summary["total-delete-files"]) == ("1", "0")
    assert_mirrored(lake, source)
    assert lake.open().watermark == source.lsn


@VERSIONS
def test_a_writer_goes_on_where_a_compaction_left_the_rows(lake: Lake, version: int) -> None:
    source, tables = filled(lake, version)
    compact_table(lake.registry, lake.warehouse, T, EAGER)
    source.put("t", {"id": 1, "v": "after"})
    source.delete("t", 2)
    tables.stage(source.commit())
    tables.flush()
    assert tables.mirror("t").foreign_commits == 1
    assert_mirrored(lake, source)


@VERSIONS
def test_deletes_that_arrive_during_a_compaction_are_translated(
    lake: Lake, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, tables = filled(lake, version, sort_by={"t": ("id desc",)})
    commit, arrivals = lake.registry.commit, [3, 5, 9]

    def commit_after_another(changes: list[TableChange]) -> Any:
        """The registry's own commit, before which the writer's comes: three times."""
        is_compaction = changes[0].updates[0]["snapshot"]["summary"]["operation"] == "replace"
        if is_compaction and arrivals:
            number = arrivals.pop()
            source.delete("t", number)
            source.put("t", {"id": number + 1, "v": "meanwhile"})
            source.put("t", {"id": 100 + number, "v": "new"})
            tables.stage(source.commit())
            tables.flush()
        return commit(changes)

    monkeypatch.setattr(lake.registry, "commit", commit_after_another)
    result = compact_table(lake.registry, lake.warehouse, T, EAGER)
    assert (result.conflicts, result.groups_overtaken) == (3, 0)
    assert_mirrored(lake, source)
    source.put("t", {"id": 4, "v": "later"})
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source)


def test_a_compaction_gives_up_files_that_others_wrote_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = filled(lake)
    commit, is_first = lake.registry.commit, [True]

    def commit_second(changes: list[TableChange]) -> Any:
        if is_first.pop():
            is_first.append(False)
            compact_table(lake.registry, lake.warehouse, T, EAGER)
        else:
            is_first.append(False)
        return commit(changes)

    monkeypatch.setattr(lake.registry, "commit", commit_second)
    result = compact_table(lake.registry, lake.warehouse, T, EAGER)
    assert result.groups_overtaken == 1 and result.files_after == 0
    assert_mirrored(lake, source)


def test_compacted_rows_keep_their_lineage(lake: Lake) -> None:
    from lake.tables.test_mirror import _lineage

    filled(lake)
    before = _lineage(lake)
    compact_table(lake.registry, lake.warehouse, T, EAGER)
    assert _lineage(lake) == before


@VERSIONS
def test_rewritten_manifests_name_the_same_files(lake: Lake, version: int) -> None:
    source, tables = filled(lake, version)
    assert rewrite_manifests(lake.registry, lake.warehouse, T) > 2
    assert rewrite_manifests(lake.registry, lake.warehouse, T, manifests_max=2) == 0
    assert_mirrored(lake, source)
    source.delete("t", 1)
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source)


def test_expired_snapshots_take_their_files_along_and_no_others(lake: Lake) -> None:
    source, tables = filled(lake)
    compact_table(lake.registry, lake.warehouse, T, EAGER)
    kept = ExpiryPolicy(age_seconds_max=0, snapshots_kept_min=1)
    assert expire_snapshots(lake.registry, lake.warehouse, T).snapshots == 0
    now = time.time() + 10
    result = expire_snapshots(lake.registry, lake.warehouse, T, kept, clock=lambda: now)
    assert result.snapshots == 6 and result.files > 6 + 6 + 6  # lists, manifests, data files
    assert len(lake.metadata("t")["snapshots"]) == 1
    assert_mirrored(lake, source)
    lsn, snapshot_id = next(iter(lake.snapshot_ids("t").items()))
    assert lsn == source.lsn and len(lake.read_with_duckdb("t", snapshot_id)) == 40
    named = named_files(lake.warehouse, lake.registry.load_table(T))
    assert all(lake.warehouse.exists(path) for path in named)
    assert sweep_orphans(lake.registry, lake.warehouse, T, age_seconds_min=-1) == []
    source.put("t", {"id": 1, "v": "goes on"})
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source)


def test_what_a_branch_or_a_tag_points_to_does_not_expire(lake: Lake) -> None:
    _, _ = filled(lake)
    oldest = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    tagged = {
        "action": "set-snapshot-ref",
        "ref-name": "audit",
        "type": "tag",
        "snapshot-id": oldest,
    }
    lake.registry.commit([TableChange(T, [], [tagged])])
    policy = ExpiryPolicy(age_seconds_max=0, snapshots_kept_min=1)
    expire_snapshots(lake.registry, lake.warehouse, T, policy, clock=lambda: time.time() + 10)
    assert lake.metadata("t")["snapshots"][0]["snapshot-id"] == oldest
    assert len(lake.metadata("t")["snapshots"]) == 2
    assert len(lake.read_with_duckdb("t", oldest)) == 20


def test_orphans_are_swept_once_they_are_old(lake: Lake) -> None:
    source, _ = filled(lake)
    location = lake.metadata("t")["location"]
    for name in ("data/left.parquet", "metadata/left.avro"):
        lake.warehouse.write(f"{location}/{name}", b"left behind")
    sweep = lambda **options: sweep_orphans(lake.registry, lake.warehouse, T, **options)  # noqa: E731
    assert sweep() == []
    assert len(sweep(age_seconds_min=-1, is_dry_run=True)) == 2
    assert len(sweep(age_seconds_min=-1)) == 2
    assert sweep(age_seconds_min=-1) == []
    assert_mirrored(lake, source)


def test_a_process_of_its_own_maintains_all_tables(lake: Lake) -> None:
    source, tables = filled(lake, has_change_log=True)
    policy = MaintenancePolicy(
        compaction=EAGER,
        manifests_max=1,
        expiry=ExpiryPolicy(age_seconds_max=-60, snapshots_kept_min=1),
        orphan_age_seconds_min=-60,
    )
    process = MaintenanceProcess(lake.root / "catalog.db", lake.warehouse, policy)
    results = {result.table[-1]: result for result in process.wait(600)}
    assert set(results) == {"t", "t__changes"}
    assert not any(result.left_for_later for result in results.values())
    assert results["t"].compaction.files_after == 1
    assert results["t__changes"].compaction.files_after == 1
    assert len(lake.metadata("t")["snapshots"]) == 1
    source.put("t", {"id": 7, "v": "later"})
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source)
    changed = sum(len(range(flush, 40, 2)) for flush in range(6)) + 1
    assert len(lake.read_with_pyiceberg("t__changes")) == changed


def test_a_process_that_is_stopped_says_so_and_one_that_fails_says_why(lake: Lake) -> None:
    filled(lake, flushes=2)
    stopped = MaintenanceProcess(lake.root / "catalog.db", lake.warehouse)
    stopped.stop()
    assert not stopped.is_running()
    failing = MaintenanceProcess(
        lake.root / "catalog.db", lake.warehouse, tables=[("shop", "nowhere")]
    )
    with pytest.raises(MaintenanceFailedError, match="nowhere"):
        failing.wait(600)
