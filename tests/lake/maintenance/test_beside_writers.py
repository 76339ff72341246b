"""Writers and maintenance in processes of their own, beside each other, and killed at any time."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pyarrow")

from dolake.maintenance.maintenance_policy import (
    CompactionPolicy,
    ExpiryPolicy,
    MaintenancePolicy,
)
from dolake.maintenance.maintenance_process import MaintenanceProcess
from dolake.maintenance.orphan_files import named_files, sweep_orphans
from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

T = ("shop", "t")
EAGER = MaintenancePolicy(
    compaction=CompactionPolicy(files_min=2, dead_share_min=0.1),
    manifests_max=2,
    expiry=ExpiryPolicy(age_seconds_max=-60, snapshots_kept_min=3),
    orphan_age_seconds_min=None,
)
KILLS = 3
KILLS_OF_A_LONG_RUN = 100

# Writes commit after commit, flushes each, and maintains the table in between.
WRITER = """
import sys
from pathlib import Path

from dolake.maintenance.table_maintenance import maintain_table
from fixtures.lake_tables import Lake, SourceModel
from lake.maintenance.test_beside_writers import EAGER, T, batches

lake = Lake(Path(sys.argv[1]))
tables = lake.open(has_change_log=True)
for batch in batches(SourceModel(), 200):
    if batch.last_lsn > tables.watermark:
        tables.stage(batch)
        tables.flush()
        acknowledge(batch.last_lsn)
        if batch.last_lsn % 4 == 0:
            maintain_table(lake.registry, lake.warehouse, T, EAGER)
"""


def batches(source: SourceModel, count: int) -> Any:
    """The same commits every time: a table of some thirty rows that all change."""
    source.create("t", "*id INTEGER", "v TEXT")
    for lsn in range(1, count + 1):
        for number in range(lsn, lsn + 5):
            source.put("t", {"id": number * 7 % 30, "v": f"{lsn} {number}"})
        if (lsn * 11 % 30,) in source.tables["t"]:
            source.delete("t", lsn * 11 % 30)
        yield source.commit()


def assert_as_of(lake: Lake, lsn: int) -> None:
    source = SourceModel()
    list(batches(source, lsn))
    expected = in_order(list(source.tables["t"].values()))
    for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
        assert in_order(source_rows(read("t"), ["id", "v"])) == expected, read.__name__


def test_a_kill_at_any_moment_loses_no_commit_and_no_file(
    lake: Lake, crash: Any, is_long_run: bool
) -> None:
    flushed = 0
    for _ in range(KILLS_OF_A_LONG_RUN if is_long_run else KILLS):
        report = crash(WRITER, lake.root, seconds_max=0.5, acknowledgements_max=12)
        assert report.was_killed or report.exit_code == 0, report.errors
        told = [int(text) for text in report.acknowledgements]
        tables = lake.open(has_change_log=True)
        assert tables.watermark >= max(told, default=flushed)
        flushed = tables.watermark
        if flushed:
            assert_as_of(lake, flushed)
        for name in ("t", "t__changes"):
            if lake.registry.table_exists(("shop", name)):
                named = named_files(lake.warehouse, lake.registry.load_table(("shop", name)))
                assert all(lake.warehouse.exists(path) for path in named)
    sweep_orphans(lake.registry, lake.warehouse, T, age_seconds_min=-60)
    assert_as_of(lake, flushed)
    logged = [row["_cdc_sequence"] for row in lake.read_with_duckdb("t__changes")]
    source = SourceModel()
    sent = [len(b.changes) - (b.last_lsn == 1) for b in batches(source, flushed)]
    assert [logged.count(lsn) for lsn in range(1, flushed + 1)] == sent


def test_a_writer_goes_on_while_a_process_maintains_its_table(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    stream = batches(source, 60)
    for _ in range(12):
        tables.stage(next(stream))
        tables.flush()
    conflicts, runs = 0, []
    process = MaintenanceProcess(lake.root / "catalog.db", lake.warehouse, EAGER)
    for batch in stream:
        tables.stage(batch)
        conflicts += tables.flush().conflicts
        if not process.is_running():
            runs += process.wait(600)
            process = MaintenanceProcess(lake.root / "catalog.db", lake.warehouse, EAGER)
    runs += process.wait(600)
    # On a busy machine the writer may have outrun every one of them.
    runs += MaintenanceProcess(lake.root / "catalog.db", lake.warehouse, EAGER).wait(600)
    assert sum(run.compaction.files_before for run in runs) > 12
    assert sum(run.expiry.snapshots for run in runs) > 0
    assert_as_of(lake, 60)
    assert lake.open().watermark == 60


def test_killed_maintenance_leaves_a_table_that_can_be_written(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    stream = batches(source, 20)
    for batch in stream:
        tables.stage(batch)
        tables.flush()
        process = MaintenanceProcess(lake.root / "catalog.db", lake.warehouse, EAGER)
        if batch.last_lsn % 7 == 0:
            process.wait(600)
        elif batch.last_lsn % 5 == 0:
            process.stop()
        else:
            process.stop()
            continue
        assert_as_of(lake, batch.last_lsn)
    assert_as_of(lake, 20)
