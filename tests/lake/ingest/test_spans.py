"""Batches and flushes are OpenTelemetry spans, for whoever collects them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("msgspec")
sdk = pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dolake.changes import RowChange
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.reception import take_batch
from dolake.ingest.wire_format import encode_message
from fixtures.file_tables import FileTables


def test_a_batch_and_its_flush_are_spans(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # once a process; no other test sets one
    (tmp_path / "tables").mkdir()
    service = IngestService(lambda key: FileTables(tmp_path / "tables", key), tmp_path / "state")
    row = RowChange(1, 0, 0, "insert", "t", {"id": 1}, None, {"id": 1})
    batch = BatchMessage(1, 0, 1, (row,))
    pipeline = service.pipeline(SourceKey("shop", "main"))
    take_batch(service, pipeline, batch, encode_message(batch, Form.JSON), Form.JSON)
    service.close()
    provider.shutdown()
    spans = {span.name: dict(span.attributes or {}) for span in exporter.get_finished_spans()}
    assert spans["dolake.batch"]["dolake.source"] == "shop@main"
    assert spans["dolake.batch"]["dolake.changes"] == 1
    assert spans["dolake.flush"]["dolake.reason"] == "shutdown"
