"""Sealing, reopening, refreshing: what a branch's history promises its writer and readers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosql_core.errors import HistoryExpiredError, LsnNotAvailableError
from dosql_core.identifiers import BranchId, Lsn, Microseconds, PageNumber
from dosql_core.storage import sealing
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.compaction import merge_small
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import CommitFlag, NewCommit
from fixtures.histories import CommitPlan, RememberedBranch

PAGE_SIZE = 512


def content(letter: str) -> bytes:
    return letter.encode() * PAGE_SIZE


def commit(lsn: int, page_count: int = 1, time: int | None = None) -> NewCommit:
    return NewCommit(Lsn(lsn), Microseconds(lsn * 10 if time is None else time), page_count)


def version(page: int, lsn: int, letter: str) -> tuple[PageNumber, Lsn, bytes]:
    return PageNumber(page), Lsn(lsn), content(letter)


@pytest.fixture
def history(tmp_path: Path) -> BranchHistory:
    return BranchHistory.create(
        str(tmp_path / "history"), page_size=PAGE_SIZE, branch_id=BranchId("main"), fork_lsn=Lsn(0)
    )


def test_a_new_history_is_the_empty_database(history: BranchHistory) -> None:
    assert (history.oldest_lsn, history.newest_lsn, history.captured) == (0, 0, {})
    assert PageHistory(history, None).view(Lsn(0)).page_count == 0
    assert history.newest_at(Microseconds(10**15)) is None
    assert list(history.commits(Lsn(0), Lsn(100))) == []


def test_a_history_is_created_once(history: BranchHistory) -> None:
    with pytest.raises(FileExistsError):
        BranchHistory.create(
            history.directory, page_size=512, branch_id=BranchId("main"), fork_lsn=Lsn(0)
        )


@pytest.mark.parametrize("page_size", [0, 256, 1000, 131072])
def test_a_page_size_that_sqlite_lacks_is_refused(tmp_path: Path, page_size: int) -> None:
    with pytest.raises(ValueError, match=f"page size {page_size}"):
        BranchHistory.create(
            str(tmp_path / "h"), page_size=page_size, branch_id=BranchId("m"), fork_lsn=Lsn(0)
        )


def test_what_was_captured_is_recorded_with_the_commits_and_alone(history: BranchHistory) -> None:
    history.seal([commit(1)], [version(1, 1, "a")], captured={"frame": 9, "salts": [1, 2]})
    again = BranchHistory.open(history.directory)
    assert (again.newest_lsn, again.captured) == (1, {"frame": 9, "salts": [1, 2]})
    history.seal([], (), captured={"frame": 10})
    again = BranchHistory.open(history.directory)
    assert (again.newest_lsn, again.captured) == (1, {"frame": 10})


@pytest.mark.parametrize(
    ("commits", "versions", "complaint"),
    [
        ([commit(3)], [], "do not continue LSN 1"),
        ([commit(2), commit(4)], [], "are not dense"),
        ([commit(2)], [version(1, 3, "a")], "page 1 at LSN 3"),
        ([commit(2)], [version(1, 1, "a")], "page 1 at LSN 1"),
        ([commit(2)], [version(0, 2, "a")], "pages from 1"),
        ([commit(2)], [version(1, 2, "a"), version(1, 2, "b")], "given twice"),
        ([commit(2)], [(PageNumber(1), Lsn(2), b"short")], "has 5 bytes, not 512"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    history: BranchHistory, commits, versions, complaint: str
) -> None:
    history.seal([commit(1)], [version(1, 1, "a")], captured={"kept": True})
    before = sorted(os.listdir(history.directory))
    with pytest.raises(ValueError, match=complaint):
        history.seal(commits, versions, captured={})
    assert sorted(os.listdir(history.directory)) == before
    assert BranchHistory.open(history.directory).captured == {"kept": True}
    history.seal([commit(2)], [version(1, 2, "b")], captured={})
    assert PageHistory(history, None).view(Lsn(2)).read_page(1) == content("b")


def test_a_source_that_fails_half_way_changes_nothing(history: BranchHistory) -> None:
    def versions():
        yield version(1, 1, "a")
        raise OSError("the WAL cannot be read")

    with pytest.raises(OSError, match="the WAL"):
        history.seal([commit(1)], versions(), captured={})
    assert os.listdir(history.directory) == ["manifest.json"]
    assert history.newest_lsn == 0


def test_a_version_equal_to_the_one_before_is_not_stored(history: BranchHistory) -> None:
    history.seal([commit(1), commit(2)], [version(1, 1, "a"), version(1, 2, "a")], captured={})
    history.seal([commit(3)], [version(1, 3, "a")], captured={})
    counts = [record.version_count for record in history.commits(Lsn(1), Lsn(3))]
    assert counts == [1, 0, 0]
    assert PageHistory(history, None).view(Lsn(3)).version_lsn(1) == 1


def test_a_page_that_comes_back_is_stored_again(history: BranchHistory) -> None:
    versions = [version(1, lsn, letter) for lsn, letter in enumerate("abaab", 1)]
    history.seal([commit(lsn) for lsn in range(1, 6)], versions, captured={})
    pages = PageHistory(history, None)
    read = [pages.view(Lsn(lsn)).read_page(1)[:1] for lsn in range(1, 6)]
    assert b"".join(read) == b"abaab"


def test_a_page_beyond_the_end_of_its_own_commit_is_not_stored(history: BranchHistory) -> None:
    history.seal([commit(1, 1)], [version(1, 1, "a"), version(2, 1, "b")], captured={})
    assert history.commit(Lsn(1)).version_count == 1


def test_a_fork_drops_what_equals_its_parent(tmp_path: Path) -> None:
    main = RememberedBranch(tmp_path / "main", PAGE_SIZE)
    main.seal([CommitPlan(2, {1: content("a"), 2: content("b")})])
    fork = RememberedBranch(tmp_path / "fork", PAGE_SIZE, main, 1, "fork")
    commits, versions = fork.plan([CommitPlan(2, {1: content("a"), 2: content("c")})])
    inherited = main.page_history.view(Lsn(1))
    fork.history.seal(
        commits, versions, captured={}, predecessor=lambda page, lsn: inherited.read_page(page)
    )
    assert fork.history.commit(Lsn(2)).version_count == 1
    fork.check()


def test_more_than_a_batch_must_come_in_order(
    history: BranchHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "BATCH_BYTES", 2 * PAGE_SIZE)
    commits = [commit(lsn, 9) for lsn in (1, 2, 3)]
    unordered = [version(page, 4 - page, "a") for page in (1, 2, 3)]
    with pytest.raises(ValueError, match="expected LSN 3 to 3"):
        history.seal(commits, unordered, captured={})
    history.seal(commits, sorted(unordered, key=lambda v: v[1]), captured={})
    assert history.newest_lsn == 3


def test_progress_is_told_and_ends_with_everything(history: BranchHistory) -> None:
    told = []
    versions = [version(page, 1, "a") for page in range(1, 3001)]
    history.seal([commit(1, 3000)], versions, captured={}, progress=lambda *now: told.append(now))
    assert told[0] == (1024, 3000)
    assert told[-1] == (3000, 3000)


def test_a_time_that_runs_backwards_is_raised_and_flagged(history: BranchHistory) -> None:
    history.seal([commit(1, time=100)], [], captured={})
    history.seal([commit(2, time=40), commit(3, time=50), commit(4, time=200)], [], captured={})
    records = list(history.commits(Lsn(1), Lsn(4)))
    assert [r.committed_at for r in records] == [100, 100, 100, 200]
    is_estimated = [bool(r.flags & CommitFlag.ESTIMATED_TIME) for r in records]
    assert is_estimated == [False, True, True, False]


def test_commits_are_listed_both_ways(history: BranchHistory) -> None:
    for first in (1, 6, 11):
        history.seal([commit(lsn) for lsn in range(first, first + 5)], [], captured={})
    assert [r.lsn for r in history.commits(Lsn(4), Lsn(12))] == list(range(4, 13))
    assert [r.lsn for r in history.commits_backwards(Lsn(12))] == list(range(12, 0, -1))


@pytest.mark.parametrize(
    ("time", "lsn"), [(0, None), (9, None), (10, 1), (19, 1), (20, 2), (50, 5), (9_999, 5)]
)
def test_the_newest_commit_at_a_time_is_found(
    history: BranchHistory, time: int, lsn: int | None
) -> None:
    history.seal([commit(1), commit(2)], [], captured={})
    history.seal([commit(3), commit(4), commit(5)], [], captured={})
    assert history.newest_at(Microseconds(time)) == lsn


def test_a_time_whose_commit_expired_is_not_answered_with_another(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    branch.seal([CommitPlan(1, {1: content(letter)}) for letter in "abcdef"])
    branch.compact(5, pins=[2])
    times = {lsn: record.committed_at for lsn, record in branch.records.items()}
    assert branch.history.newest_at(times[2]) == 2
    assert branch.history.newest_at(times[5]) == 5
    for time in (times[2] + 1, times[5] - 1, times[2] - 1):
        with pytest.raises(HistoryExpiredError):
            branch.history.newest_at(Microseconds(time))


def test_a_commit_of_another_branch_or_the_future_is_not_available(tmp_path: Path) -> None:
    main = RememberedBranch(tmp_path / "main", PAGE_SIZE)
    main.seal([CommitPlan(1, {1: content("a")})] * 3)
    fork = RememberedBranch(tmp_path / "fork", PAGE_SIZE, main, 2, "fork")
    fork.seal([CommitPlan(1, {1: content("b")})])
    for lsn in (0, 2, 4):
        with pytest.raises(LsnNotAvailableError, match=f"not {lsn}"):
            fork.history.commit(Lsn(lsn))
    assert fork.page_history.commit(Lsn(2)) == main.history.commit(Lsn(2))
    with pytest.raises(LsnNotAvailableError, match="has come to LSN 3, not 4"):
        fork.page_history.view(Lsn(4))


def test_a_reader_sees_what_another_object_sealed_after_refresh(history: BranchHistory) -> None:
    reader = BranchHistory.open(history.directory)
    assert not reader.refresh()
    history.seal([commit(1)], [version(1, 1, "a")], captured={})
    assert reader.newest_lsn == 0
    assert reader.refresh()
    assert not reader.refresh()
    assert PageHistory(reader, None).view(Lsn(1)).read_page(1) == content("a")


def test_open_segments_are_kept_over_a_refresh(history: BranchHistory) -> None:
    history.seal([commit(1)], [version(1, 1, "a")], captured={})
    reader = BranchHistory.open(history.directory)
    (first,) = reader.stack().segments
    history.seal([commit(2)], [version(1, 2, "b")], captured={})
    assert reader.refresh()
    assert reader.stack().segments[0] is first


def test_a_view_of_a_commit_sealed_elsewhere_needs_no_refresh(history: BranchHistory) -> None:
    reader = PageHistory(BranchHistory.open(history.directory), None)
    history.seal([commit(1)], [version(1, 1, "a")], captured={})
    assert reader.view(Lsn(1)).read_page(1) == content("a")


def test_a_reader_whose_segments_were_compacted_away_finds_the_new_ones(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    branch.seal([CommitPlan(1, {1: content(letter)}) for letter in "abc"])
    reader = BranchHistory.open(str(branch.directory))  # knows the old manifest, opened nothing
    branch.compact(2)
    branch.check_view(PageHistory(reader, None).view(Lsn(3)), 3)


def test_leftovers_of_a_crashed_writer_go_with_the_next_merge(history: BranchHistory) -> None:
    for name in ("1-1-1.seg", "1-1-1.seg.tmp", "manifest.json.tmp"):
        Path(history.directory, name).write_bytes(b"half written")
    history.seal([commit(1)], [version(1, 1, "a")], captured={})
    merge_small(history)
    assert sorted(os.listdir(history.directory)) == ["1-1-1.seg", "manifest.json"]
    assert PageHistory(history, None).view(Lsn(1)).read_page(1) == content("a")


def test_thousands_of_versions_and_commits_fill_many_slices_and_chunks(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    branch.seal(
        [
            CommitPlan(2500, {page: page.to_bytes(4, "big") * 128 for page in range(1, 2501)}),
            *(
                CommitPlan(2500, {1 + n * 7 % 2500: n.to_bytes(4, "little") * 128}, f"by {n}")
                for n in range(2500)
            ),
        ]
    )
    branch.reopen()
    branch.check([1, 2, 1024, 1025, 2048, 2049, 2501])
    branch.check_integrity()
