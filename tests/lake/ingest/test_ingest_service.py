"""What is accepted reaches the tables once, whatever fails on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")

from dolake.changes import Column, RowChange, TableSchema
from dolake.errors import (
    LakeBufferFullError,
    LakeConfigurationError,
    SequenceError,
    ShuttingDownError,
    SourceBusyError,
    SourceHaltedError,
)
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import BatchMessage, CopyBegin, CopyRows, Form
from dolake.ingest.schema_messages import schema_message
from dolake.ingest.source_pipeline import Accepted, SourcePipeline
from dolake.ingest.wire_format import decode_message, encode_message
from dolake.settings import FlushPolicy, IngestLimits, IngestSettings, RetryPolicy, Tier
from fixtures.file_tables import FileTables, stored_rows

SHOP = SourceKey("shop", "main")
OTHER = SourceKey("other", "main")
NEVER = FlushPolicy(10**9, 10**12, 10**6)
QUICK = RetryPolicy(0.01, 0.02)


def insert(lsn: int, value: object = "v", index: int = 0) -> RowChange:
    row = {"id": lsn * 1000 + index, "value": value}
    return RowChange(lsn, index, 0, "insert", "t", {"id": row["id"]}, None, row)  # type: ignore[arg-type, dict-item]


def batch(after: int, last: int, *changes: RowChange, **more: object) -> BatchMessage:
    chosen = changes or tuple(insert(lsn) for lsn in range(after + 1, last + 1))
    return BatchMessage(1, after, last, chosen, **more)  # type: ignore[arg-type]


def send(to: SourcePipeline, message: BatchMessage, form: Form = Form.JSON) -> Accepted:
    accepted = to.accept(message, encode_message(message, form), form)
    if accepted.durable is not None:
        accepted.durable.result(60)
    return accepted


def committed(wanted: Future[int] | dict[str, Future[int]]) -> None:
    for each in wanted.values() if isinstance(wanted, dict) else [wanted]:
        each.result(60)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Lake:
    """A service whose tables are files, begun anew as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = folder / "tables"
        self.tables.mkdir()
        self.services: list[IngestService] = []

    def open(self, **settings: object) -> IngestService:
        chosen = IngestSettings(**{"flush": NEVER, "retry": QUICK, **settings})  # type: ignore[arg-type]
        service = IngestService(
            lambda key: FileTables(self.tables, key), self.folder / "state", chosen
        )
        self.services.append(service)
        return service

    def abandon(self, service: IngestService) -> None:
        """End it without a flush; the tests of recovery do so with SIGKILL."""
        service.close(flush=False)

    def store_is_away(self, is_away: bool) -> None:
        if is_away:
            (self.tables / "away").touch()
        else:
            (self.tables / "away").unlink()

    def lsns(self, key: SourceKey = SHOP) -> list[int]:
        watermark, rows = stored_rows(self.tables, key)
        found = sorted({row["id"] // 1000 for row in rows.get("t", {}).values()})
        assert not found or found[-1] <= watermark
        return found


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = Lake(tmp_path)
    yield made
    for service in made.services:
        service.close()


def test_what_is_accepted_is_in_the_tables_after_a_flush(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    accepted = send(pipeline, batch(0, 3))
    assert (accepted.status, accepted.lsn) == ("persisted", 3)
    committed(service.flush())
    assert lake.lsns() == [1, 2, 3]
    assert pipeline.committed_lsn == 3


def test_a_duplicate_is_acknowledged_and_changes_nothing(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 3))
    assert send(pipeline, batch(0, 3)).status == "duplicate"
    assert send(pipeline, batch(1, 2), Form.MSGPACK).status == "duplicate"
    committed(service.flush())
    assert lake.lsns() == [1, 2, 3]


def test_of_a_batch_that_overlaps_only_the_new_commits_count(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 3))
    assert send(pipeline, batch(1, 5)).status == "persisted"
    lake.abandon(service)  # replayed from the log, the same holds
    again = lake.open()
    committed(again.flush())
    assert lake.lsns() == [1, 2, 3, 4, 5]


def test_a_gap_is_refused_with_what_was_expected(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 3))
    with pytest.raises(SequenceError, match="commits 4 to 7 are missing") as raised:
        send(pipeline, batch(7, 9))
    assert raised.value.expected_lsn == 3
    send(pipeline, batch(3, 9))
    committed(service.flush())
    assert lake.lsns() == list(range(1, 10))


def test_what_was_acknowledged_outlives_a_process_that_dies(lake: Lake) -> None:
    for round_ in range(5):
        service = lake.open()
        pipeline = service.pipeline(SHOP)
        assert pipeline.accepted_lsn == round_ * 10
        send(pipeline, batch(round_ * 10, round_ * 10 + 10))
        if round_ % 2:
            committed(service.flush())
        lake.abandon(service)
    service = lake.open()
    committed(service.flush())
    assert lake.lsns() == list(range(1, 51))


def test_a_commit_in_parts_is_there_whole_or_not_at_all(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 1, insert(1, index=0), more=True))
    assert pipeline.accepted_lsn == 0
    with pytest.raises(SequenceError, match="part 2"):
        send(pipeline, batch(0, 1, insert(1, index=5), more=True, part=2))
    lake.abandon(service)  # the sender begins the commit again
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 1, insert(1, index=0), more=True))
    send(pipeline, batch(0, 1, insert(1, index=1), more=True, part=1))
    send(pipeline, batch(0, 1, insert(1, index=2), part=2))
    assert pipeline.accepted_lsn == 1
    lake.abandon(service)
    service = lake.open()
    committed(service.flush())
    assert len(stored_rows(lake.tables, SHOP)[1]["t"]) == 3


def test_commits_without_a_change_of_interest_are_known_after_a_restart(lake: Lake) -> None:
    service = lake.open()
    send(service.pipeline(SHOP), batch(0, 2))
    committed(service.flush())
    quiet = BatchMessage(1, 2, 9)
    send(service.pipeline(SHOP), quiet)
    committed(service.flush())
    assert service.pipeline(SHOP).committed_lsn == 2  # no snapshot holds it
    lake.abandon(service)
    service = lake.open()
    assert service.pipeline(SHOP).accepted_lsn == 9
    send(service.pipeline(SHOP), batch(9, 10))
    committed(service.flush())
    assert lake.lsns() == [1, 2, 10]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (FlushPolicy(5, 10**9, 10**6), "rows"),
        (FlushPolicy(10**9, 500, 10**6), "bytes"),
        (FlushPolicy(10**9, 10**9, 0.05), "age"),
        (FlushPolicy(10**9, 10**9, 10**6, memory_bytes_max=2000), "memory"),
    ],
)
def test_a_snapshot_is_made_when_a_limit_is_met(
    lake: Lake, policy: FlushPolicy, reason: str
) -> None:
    service = lake.open(flush=policy)
    pipeline = service.pipeline(SHOP)
    lsn = 0
    while pipeline.committed_lsn == 0:
        send(pipeline, batch(lsn, lsn + 1))
        lsn += 1
        time.sleep(0.001)
        assert lsn < 20_000
    assert f'dolake_flushes_total{{reason="{reason}"}}' in service.metrics.exposition().decode()


def test_closing_flushes_what_is_there(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 30))
    service.close()
    assert lake.lsns() == list(range(1, 31))
    with pytest.raises(ShuttingDownError):
        send(pipeline, batch(30, 31))


def test_while_the_store_is_away_changes_are_kept_and_written_when_it_is_back(lake: Lake) -> None:
    service = lake.open(flush=FlushPolicy(1, 10**9, 0.01))
    pipeline = service.pipeline(SHOP)
    lake.store_is_away(True)
    send(pipeline, batch(0, 1))
    eventually(lambda: pipeline.writer.is_store_away)
    assert send(pipeline, batch(1, 2)).status == "fallback"
    assert "the store is away" in str(pipeline.status()["error"])
    lake.store_is_away(False)
    eventually(lambda: pipeline.committed_lsn == 2)
    assert lake.lsns() == [1, 2]
    assert pipeline.status()["error"] is None
    assert send(pipeline, batch(2, 3)).status == "persisted"


def test_memory_stays_within_its_limit_while_the_store_is_away(lake: Lake) -> None:
    limit = 40_000
    service = lake.open(flush=FlushPolicy(10, 10**9, 0.01, memory_bytes_max=limit))
    pipeline = service.pipeline(SHOP)
    lake.store_is_away(True)
    for lsn in range(0, 2000, 10):
        send(pipeline, batch(lsn, lsn + 10))
        assert service.budget.held_bytes <= limit * 1.2
    lake.store_is_away(False)
    committed(service.flush())
    assert lake.lsns() == list(range(1, 2001))


def test_a_full_log_refuses_until_the_store_is_back(lake: Lake) -> None:
    service = lake.open(
        flush=FlushPolicy(10, 10**9, 0.01), limits=IngestLimits(log_bytes_max=20_000)
    )
    pipeline = service.pipeline(SHOP)
    lake.store_is_away(True)
    lsn = 0
    with pytest.raises(LakeBufferFullError) as raised:
        while True:
            send(pipeline, batch(lsn, lsn + 10))
            lsn += 10
    assert raised.value.is_retryable and raised.value.retry_after_seconds
    lake.store_is_away(False)
    committed(service.flush())
    assert lake.lsns() == list(range(1, lsn + 1))


def test_a_batch_that_no_table_takes_becomes_a_dead_letter_and_the_source_goes_on(
    lake: Lake,
) -> None:
    service = lake.open(tier=Tier.P1)
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 2))
    odd = "\udcff"  # text that is no Unicode
    send(pipeline, batch(2, 3, insert(3, odd), insert(3, "poison", 1)), Form.MSGPACK)
    send(pipeline, batch(3, 4))
    committed(service.flush())
    assert lake.lsns() == [1, 2, 4]  # nothing of the bad batch, all of the others
    (letter,) = service.letters.list()
    assert (letter.after_lsn, letter.last_lsn, letter.state) == (2, 3, "passed")
    assert "poison" in letter.error
    (raw,) = (lake.folder / "state" / "dead_letters").glob("*.batch")
    kept = decode_message(raw.read_bytes(), Form.JSON)
    assert isinstance(kept, BatchMessage)
    assert [change.after for change in kept.changes] == [
        {"id": 3000, "value": odd},
        {"id": 3001, "value": "poison"},
    ]


def test_in_tier_p0_such_a_batch_halts_its_source_until_somebody_decides(lake: Lake) -> None:
    service = lake.open(tiers={"shop": Tier.P0})
    pipeline, other = service.pipeline(SHOP), service.pipeline(OTHER)
    send(pipeline, batch(0, 1))
    send(pipeline, batch(1, 2, insert(2, "poison")))
    eventually(lambda: pipeline.writer.halted is not None)
    with pytest.raises(SourceHaltedError, match="LSN 2 to 2"):
        send(pipeline, batch(2, 3))
    send(other, batch(0, 1))
    lake.abandon(service)

    service = lake.open(tiers={"shop": Tier.P0})  # a restart does not forget it
    pipeline = service.pipeline(SHOP)
    eventually(lambda: pipeline.writer.halted is not None)
    pipeline.writer.resume(drop=False)  # tried again, halted again
    eventually(lambda: pipeline.writer.halted is not None)
    pipeline.writer.resume(drop=True)
    send(pipeline, batch(2, 3))
    committed(service.flush())
    assert lake.lsns() == [1, 3]
    assert lake.lsns(OTHER) == [1]


def test_a_tier_that_a_source_asked_for_holds_after_a_restart(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    service.configure({"tiers": {"shop": "P0"}})
    send(pipeline, batch(0, 1, insert(1, "poison")))
    lake.abandon(service)
    service = lake.open()
    eventually(lambda: service.pipeline(SHOP).writer.halted is not None)
    assert [letter.state for letter in service.letters.list()] == ["halting"]


def test_tier_p2_acknowledges_before_the_disk_and_keeps_it_through_a_crash(lake: Lake) -> None:
    service = lake.open(tier=Tier.P2)
    accepted = send(service.pipeline(SHOP), batch(0, 2))
    assert (accepted.status, accepted.durable) == ("buffered", None)
    lake.abandon(service)
    service = lake.open(tier=Tier.P2)
    committed(service.flush())
    assert lake.lsns() == [1, 2]


def test_tier_p3_keeps_nothing_and_goes_on_after_a_gap(lake: Lake) -> None:
    service = lake.open(tier=Tier.P3, flush=FlushPolicy(10**9, 10**9, 10**6, 3000))
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 1))
    with pytest.raises(LakeBufferFullError):
        send(pipeline, batch(1, 2, insert(2, "x" * 4000)))
    send(pipeline, batch(2, 3))
    committed(service.flush())
    assert lake.lsns() == [1, 3]
    assert 'dolake_dropped_changes_total{source="shop"} 1.0' in (
        service.metrics.exposition().decode()
    )


def copy_of(pipeline: SourcePipeline, lsn: int, rows: list[tuple[int, object]]) -> Accepted:
    schema = TableSchema("t", (Column("id", "integer", key_position=1), Column("value", "text")))
    begin = CopyBegin(1, lsn, (schema_message(schema),))
    pipeline.begin_copy(lsn, encode_message(begin, Form.JSON), Form.JSON)
    for start in range(0, len(rows), 3):
        some = CopyRows(1, "t", tuple(rows[start : start + 3]))  # type: ignore[arg-type]
        pipeline.add_to_copy(encode_message(some, Form.MSGPACK), Form.MSGPACK)
    return pipeline.end_copy()


def test_a_copy_comes_first_and_changes_follow_it(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    assert pipeline.needs_copy
    mixed = [None, 1, 1.5, "text", b"\x00\xff", 2]
    accepted = copy_of(pipeline, 5, [(n, value) for n, value in enumerate(mixed)])
    accepted.durable.result(60)  # type: ignore[union-attr]
    send(pipeline, batch(5, 6))
    lake.abandon(service)
    service = lake.open()
    assert not service.pipeline(SHOP).needs_copy
    committed(service.flush())
    _, rows = stored_rows(lake.tables, SHOP)
    kept = [row["value"] for row in rows["t"].values()]
    assert kept == [None, 1, 1.5, "text", "00ff", 2, "v"]
    assert type(kept[1]) is int and type(kept[2]) is float
    assert list((lake.folder / "state" / "copies").glob("*")) == []


def test_a_copy_that_did_not_end_leaves_nothing(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    schema = TableSchema("t", (Column("id", "integer", key_position=1),))
    begin = CopyBegin(1, 5, (schema_message(schema),))
    pipeline.begin_copy(5, encode_message(begin, Form.JSON), Form.JSON)
    lake.abandon(service)
    service = lake.open()
    assert service.pipeline(SHOP).needs_copy
    assert list((lake.folder / "state" / "copies").glob("*")) == []
    with pytest.raises(SequenceError, match="no copy has begun"):
        service.pipeline(SHOP).end_copy()


def test_a_copy_waits_while_the_store_is_away(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    lake.store_is_away(True)
    copy_of(pipeline, 5, [(1, "x")])
    eventually(lambda: pipeline.writer.failures > 2)
    lake.store_is_away(False)
    eventually(lambda: pipeline.committed_lsn == 5)


def test_settings_change_while_it_runs(lake: Lake) -> None:
    service = lake.open()
    pipeline = service.pipeline(SHOP)
    send(pipeline, batch(0, 1))
    service.configure({"flush": {"age_seconds_max": 0.01}, "tiers": {"shop": "P2"}})
    eventually(lambda: pipeline.committed_lsn == 1)
    assert send(pipeline, batch(1, 2)).status == "buffered"
    mistakes: list[dict[str, Any]] = [
        {"flash": {}},
        {"flush": {"rows": 1}},
        {"flush": {"rows_max": 0}},
        {"flush": {"rows_max": "many"}},
        {"flush": 3},
        {"tiers": {"shop": "P9"}},
    ]
    for wrong in mistakes:
        with pytest.raises(LakeConfigurationError):
            service.configure(wrong)


def test_one_process_takes_changes_in(lake: Lake) -> None:
    lake.open()
    with pytest.raises(SourceBusyError):
        lake.open()
