"""The event log keeps what it was given, and says what it cannot keep."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from dolake.errors import DamagedEventLogError, EventLogFailedError, LakeBufferFullError
from dolake.ingest import event_log
from dolake.ingest.event_log import EventLog, LogRecord

SIZE = 1 << 30


def record(lsn: int, payload: bytes = b"payload", key: str = "shop@main") -> LogRecord:
    return LogRecord(key, 1, lsn - 1, lsn, payload)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "FILE_BYTES_MAX", 200)


def reopened(log: EventLog, directory: Path) -> list[LogRecord]:
    log.close()
    again = EventLog(directory, bytes_max=SIZE)
    found = [found for _, found in again.records()]
    again.close()
    return found


def test_records_are_read_back_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path, bytes_max=SIZE)
    positions = [log.append(record(lsn, b"x" * lsn)) for lsn in range(1, 50)]
    log.synced().result(30)
    assert [log.read(position).last_lsn for position in positions] == list(range(1, 50))
    assert reopened(log, tmp_path) == [record(lsn, b"x" * lsn) for lsn in range(1, 50)]


def test_a_record_cut_short_by_a_crash_is_removed_and_the_log_goes_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path, bytes_max=SIZE)
    log.append(record(1))
    log.append(record(2))
    log.close()
    (file,) = tmp_path.glob("*.log")
    whole = file.stat().st_size
    for cut in (1, 5, 20, 40):
        os.truncate(file, whole - cut)
        log = EventLog(tmp_path, bytes_max=SIZE)
        assert [found.last_lsn for _, found in log.records()] == [1]
        log.append(record(2))
        log.close()
    assert file.stat().st_size == whole


def test_a_flipped_bit_in_an_older_file_is_told(tmp_path: Path, small_files: None) -> None:
    log = EventLog(tmp_path, bytes_max=SIZE)
    for lsn in range(1, 20):
        log.append(record(lsn))
    log.close()
    oldest = min(tmp_path.glob("*.log"))
    raw = bytearray(oldest.read_bytes())
    raw[-1] ^= 1
    oldest.write_bytes(raw)
    with pytest.raises(DamagedEventLogError, match="checksum"):
        EventLog(tmp_path, bytes_max=SIZE)


def test_files_go_when_everything_in_them_is_in_a_snapshot(
    tmp_path: Path, small_files: None
) -> None:
    log = EventLog(tmp_path, bytes_max=SIZE)
    for lsn in range(1, 20):
        log.append(record(lsn, key="a@main"))
        log.append(record(lsn, key="b@main"))
    log.release("a@main", 19)
    assert [found.key for _, found in log.records()].count("b@main") == 19
    log.release("b@main", 10)
    assert [found.last_lsn for _, found in log.records() if found.key == "b@main"][-1] == 19
    log.release("b@main", 19)
    assert len(list(tmp_path.glob("*.log"))) == 1
    log.append(record(20, key="a@main"))
    assert [found.last_lsn for _, found in log.records()][-1] == 20
    assert reopened(log, tmp_path)[-1] == record(20, key="a@main")


def test_a_full_log_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path, bytes_max=300)
    lsn = 0
    with pytest.raises(LakeBufferFullError):
        while True:
            log.append(record(lsn + 1))
            lsn += 1
    assert [found.last_lsn for _, found in log.records()] == list(range(1, lsn + 1))
    log.close()


def test_a_sync_that_failed_is_never_believed_again(tmp_path: Path) -> None:
    log = EventLog(tmp_path, bytes_max=SIZE)
    log.append(record(1))
    read_end, write_end = os.pipe()  # a pipe cannot be synced
    file = log._files[1]
    os.dup2(write_end, file.descriptor)
    with pytest.raises(EventLogFailedError):
        log.synced().result(30)
    with pytest.raises(EventLogFailedError):
        log.append(record(2))
    os.close(read_end)
    os.close(write_end)
    log.close()


def test_a_file_of_another_kind_is_not_taken_for_a_log(tmp_path: Path) -> None:
    (tmp_path / f"{1:016d}.log").write_bytes(b"something else entirely")
    with pytest.raises(DamagedEventLogError):
        EventLog(tmp_path, bytes_max=SIZE)


def test_a_full_log_has_room_again_once_its_records_are_in_snapshots(tmp_path: Path) -> None:
    with contextlib.closing(EventLog(tmp_path, bytes_max=2000)) as log:
        for _ in range(3):
            lsn = 0
            with pytest.raises(LakeBufferFullError):
                while True:
                    log.append(LogRecord("shop@main", 1, lsn, lsn + 1, b"x" * 100))
                    lsn += 1
            assert lsn > 5
            log.release("shop@main", lsn - 1)  # one is not in a snapshot yet, and stays
            assert len(list(log.records())) == lsn
            log.release("shop@main", lsn)
            log.synced().result(30)
        log.append(LogRecord("shop@main", 1, 7, 8, b"y" * 200))
    with contextlib.closing(EventLog(tmp_path, bytes_max=2000)) as log:
        assert [record.payload for _, record in log.records()] == [b"y" * 200]
