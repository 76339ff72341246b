"""A mirror in an object store: opened again, compacted and expired there as in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from dolake.catalog.table_registry import TableRegistry
from dolake.maintenance.data_compaction import compact_table
from dolake.maintenance.maintenance_policy import CompactionPolicy, ExpiryPolicy, MaintenancePolicy
from dolake.maintenance.maintenance_process import MaintenanceProcess
from dolake.tables.source_tables import SourceTables
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse
from fixtures.lake_tables import SourceModel, in_order, source_rows
from fixtures.servers import S3Server

T = ("shop", "t")


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_a_mirror_lives_in_an_object_store(
    s3_server: S3Server, tmp_path: Path, version: int
) -> None:
    from pyiceberg.table import StaticTable

    warehouse = Warehouse(s3_server.new_uri(), **s3_server.options)
    options = TableOptions(format_version=version)
    database = tmp_path / "catalog.db"

    def rows_there(registry: TableRegistry) -> list[dict[str, Any]]:
        table = StaticTable.from_metadata(
            registry.load_table(T).metadata_location,
            {
                "s3.endpoint": s3_server.endpoint,
                "s3.access-key-id": s3_server.options["access_key_id"],
                "s3.secret-access-key": s3_server.options["secret_access_key"],
                "s3.region": "us-east-1",
            },
        )
        return source_rows(table.scan().to_arrow().to_pylist(), ["k", "v"])

    source = SourceModel()
    with TableRegistry(database, warehouse) as registry:
        source.create("t", "*k TEXT", "v INTEGER")
        for commit in range(6):
            tables = SourceTables(registry, warehouse, "shop", options)
            for number in range(commit, 60, 3):
                source.put("t", {"k": f"key {number}", "v": commit})
            if commit:
                source.delete("t", f"key {commit}")
            tables.stage(source.commit())
            tables.flush()
        expected = in_order(list(source.tables["t"].values()))
        assert in_order(rows_there(registry)) == expected
        compact_table(registry, warehouse, T, CompactionPolicy(files_min=2))
        assert in_order(rows_there(registry)) == expected
        policy = MaintenancePolicy(
            expiry=ExpiryPolicy(age_seconds_max=-60, snapshots_kept_min=1),
            orphan_age_seconds_min=-3600,
        )
        (result,) = MaintenanceProcess(database, warehouse, policy, [T]).wait(600)
        assert result.expiry.snapshots == 6 and not result.left_for_later
        source.put("t", {"k": "key 1", "v": 99})
        tables.stage(source.commit())
        tables.flush()
        assert in_order(rows_there(registry)) == in_order(list(source.tables["t"].values()))
        assert SourceTables(registry, warehouse, "shop", options).watermark == source.lsn
