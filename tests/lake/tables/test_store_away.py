"""A mirror whose store goes away in the middle of something is right when the store is back."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyiceberg")

import pyarrow as pa
from pyiceberg.table import StaticTable

from dolake.catalog.table_registry import TableRegistry
from dolake.changes import Batch, Column, RowChange, TableSchema
from dolake.errors import ObjectStoreError
from dolake.tables.source_tables import SourceTables
from dolake.warehouse import Warehouse
from fixtures.servers import S3Server

SCHEMA = TableSchema("t", (Column("id", "integer", key_position=1), Column("v", "text")))


class LeavingWarehouse(Warehouse):
    """A warehouse that answers `calls_left` more calls, and then none."""

    calls_left = 1 << 30

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise ObjectStoreError("the store is away")

    def read(self, name: str) -> bytes:
        self._count()
        return super().read(name)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        self._count()
        return super().read_range(name, start, length)

    def write(self, name: str, data: bytes | memoryview) -> None:
        self._count()
        super().write(name, data)

    def write_if_absent(self, name: str, data: bytes | memoryview) -> None:
        self._count()
        super().write_if_absent(name, data)


def test_a_flush_that_failed_at_any_call_succeeds_later(
    tmp_path: Path, s3_server: S3Server
) -> None:
    for calls in range(12):
        folder = tmp_path / str(calls)
        folder.mkdir()
        warehouse = LeavingWarehouse(s3_server.new_uri(), **s3_server.options)
        try_with_failures_after(calls, warehouse, folder, s3_server)


def try_with_failures_after(
    calls: int, warehouse: LeavingWarehouse, tmp_path: Path, s3_server: S3Server
) -> None:
    options = s3_server.options
    properties = {
        "s3.endpoint": options["endpoint"],
        "s3.access-key-id": options["access_key_id"],
        "s3.secret-access-key": options["secret_access_key"],
        "s3.region": options["region"],
    }
    registry = TableRegistry(tmp_path / "catalog.db", warehouse)
    rows = pa.record_batch({"id": list(range(20)), "v": ["old"] * 20})
    SourceTables(registry, warehouse, "s").initial_copy(4, [(SCHEMA, [rows])])
    tables = SourceTables(registry, warehouse, "s")
    for lsn, value in ((5, "newer"), (6, "newest")):
        changes = tuple(
            RowChange(lsn, n, 0, "update", "t", {"id": n}, None, {"id": n, "v": value})
            for n in range(5)
        )
        tables.stage(Batch("s", "main", lsn - 1, lsn, changes))
        warehouse.calls_left = calls
        try:
            for _ in range(3):
                tables.flush()
        except ObjectStoreError:
            pass
        except Exception as error:
            assert getattr(error, "is_retryable", False), error
        warehouse.calls_left = 1 << 30
        tables.flush()
        table = registry.load_table(("s", "t"))
        found = (
            StaticTable.from_metadata(table.metadata_location, properties)
            .scan()
            .to_arrow()
            .to_pylist()
        )
        values = [row["v"] for row in sorted(found, key=lambda row: row["id"])]
        assert values == [value] * 5 + ["old"] * 15
    registry.close()
