"""A query of a served lake gives what was accepted, also while a slow store holds up the commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("obstore")
pytest.importorskip("typer")

from dolake.command_line.serving import pending_changes
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.wire_format import encode_message
from dolake.lake import Lake
from dolake.query.lake_query import LakeQuery
from dolake.settings import FlushPolicy, IngestSettings
from dolake.warehouse import Warehouse
from fixtures.lake_tables import SourceModel

NEVER = FlushPolicy(10**9, 10**12, 10**6)


class HeldWarehouse(Warehouse):
    """Keeps every promise of Warehouse, and each write waits while it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_write = threading.Event()
        self.may_write.set()
        self.waits = threading.Event()
        self.gave_up = False

    def write(self, name: str, data: bytes | memoryview) -> None:
        self._wait()
        super().write(name, data)

    def write_if_absent(self, name: str, data: bytes | memoryview) -> None:
        self._wait()
        super().write_if_absent(name, data)

    def _wait(self) -> None:
        if not self.may_write.is_set():
            self.waits.set()
            self.gave_up = not self.may_write.wait(60)
            assert not self.gave_up


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake(tmp_path / "lake") as opened:
        held = HeldWarehouse(tmp_path / "lake")
        opened.warehouse = opened.registry.warehouse = held
        yield opened


def test_what_is_accepted_is_seen_before_during_and_after_its_commit(lake: Lake) -> None:
    warehouse = lake.warehouse
    assert isinstance(warehouse, HeldWarehouse)
    service = IngestService(lake.open_tables, lake.state, IngestSettings(flush=NEVER))
    query = LakeQuery(lake.registry, partial(pending_changes, service))
    source = SourceModel()

    def send() -> None:
        batch = source.commit()
        message = BatchMessage(1, batch.after_lsn, batch.last_lsn, batch.changes)
        pipeline = service.pipeline(SourceKey("shop", "main"))
        accepted = pipeline.accept(message, encode_message(message, Form.JSON), Form.JSON)
        if accepted.durable is not None:
            accepted.durable.result(30)

    def rows() -> list[Any]:
        with query.run("select id, n from shop.t order by id") as result:
            return [tuple(row.values()) for row in result.table().to_pylist()]

    def eventually(wanted: list[Any]) -> None:
        for _ in range(200):  # it is staged a moment after it was accepted
            if (found := rows()) == wanted:
                return
        raise AssertionError(f"{found} instead of {wanted}")

    try:
        source.create("t", "*id INTEGER", "n INTEGER")
        source.put("t", {"id": 1, "n": 1})
        source.put("t", {"id": 2, "n": 1})
        send()
        for flushed in service.flush().values():
            flushed.result(60)
        assert rows() == [(1, 1), (2, 1)]
        source.put("t", {"id": 1, "n": 2})
        source.delete("t", 2)
        source.put("t", {"id": 3, "n": 2})
        send()
        eventually([(1, 2), (3, 2)])
        warehouse.may_write.clear()
        flushes = service.flush()
        assert warehouse.waits.wait(60)
        assert rows() == [(1, 2), (3, 2)]
        assert not warehouse.gave_up  # the commit still waits, the answer did not
        warehouse.may_write.set()
        for flushed in flushes.values():
            flushed.result(60)
        assert rows() == [(1, 2), (3, 2)]
        with LakeQuery(lake.registry).run("select count(*) from shop.t") as result:
            assert result.table().column(0).to_pylist() == [2]
    finally:
        warehouse.may_write.set()
        service.close()
