"""Many wait for one sync: each for one begun after it came, nobody for one that never comes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dosql_core.errors import DatabasePoisonedError
from dosql_core.kernel.group_commit import GroupCommit

SYNC_SECONDS = 0.02
COMMITTERS = 20
PATIENCE_SECONDS = 60.0


class SlowDisk:
    """A disk whose syncs take a while; the moments at which they began and ended are kept."""

    def __init__(self) -> None:
        self.syncs: list[tuple[float, float]] = []
        self.before_a_sync: Callable[[int], None] = lambda _number: None

    def fdatasync(self, _descriptor: int) -> None:
        began = time.monotonic()
        time.sleep(SYNC_SECONDS)
        self.before_a_sync(len(self.syncs))
        self.syncs.append((began, time.monotonic()))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    slow = SlowDisk()
    monkeypatch.setattr(os, "fdatasync", slow.fdatasync)
    return slow


@pytest.fixture
def group_commit(tmp_path: Path) -> Iterator[GroupCommit]:
    wal = tmp_path / "wal"
    wal.write_bytes(b"")
    group = GroupCommit(str(wal))
    yield group
    group.forget_file()


def commit_together(
    group: GroupCommit, count: int, rounds: int
) -> tuple[list[tuple[float, float]], list[BaseException]]:
    """When each wait of many threads began and ended, and what they met."""
    waits, met = [], []

    def commit() -> None:
        try:
            for _ in range(rounds):
                began = time.monotonic()
                group.wait()
                waits.append((began, time.monotonic()))
        except BaseException as error:
            met.append(error)

    threads = [threading.Thread(target=commit, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    return waits, met


def test_each_waits_for_a_sync_that_began_after_it_came(
    group_commit: GroupCommit, disk: SlowDisk
) -> None:
    waits, met = commit_together(group_commit, COMMITTERS, rounds=5)
    assert met == []
    assert len(waits) == 5 * COMMITTERS
    for came, went in waits:
        assert any(came <= began and ended <= went for began, ended in disk.syncs)
    assert len(disk.syncs) < len(waits) / 2
    for (_, ended), (began, _) in zip(disk.syncs, disk.syncs[1:], strict=False):
        assert ended <= began


@pytest.mark.parametrize("which", [0, 1])
def test_an_interrupted_sync_holds_nobody_up(
    group_commit: GroupCommit, disk: SlowDisk, which: int
) -> None:
    interrupts = [which]

    def interrupt(number: int) -> None:
        if number in interrupts:
            interrupts.remove(number)
            raise KeyboardInterrupt

    disk.before_a_sync = interrupt
    waits, met = commit_together(group_commit, COMMITTERS, rounds=3)
    assert [type(error) for error in met] == [KeyboardInterrupt]
    assert len(waits) >= 3 * (COMMITTERS - 1)
    for came, went in waits:
        assert any(came <= began and ended <= went for began, ended in disk.syncs)
    group_commit.wait()


def test_a_failed_sync_is_told_to_all_it_was_for_and_to_all_who_come(
    group_commit: GroupCommit, disk: SlowDisk
) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise OSError(5, "Input/output error")

    disk.before_a_sync = fail
    waits, met = commit_together(group_commit, COMMITTERS, rounds=3)
    assert len(met) == COMMITTERS
    assert {type(error) for error in met} == {DatabasePoisonedError}
    assert len(disk.syncs) == 1
    for came, went in waits:
        assert any(came <= began and ended <= went for began, ended in disk.syncs)
    with pytest.raises(DatabasePoisonedError):
        group_commit.wait()
