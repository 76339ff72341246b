"""What compaction drops, what it must not, and that nobody who reads is disturbed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dosql_core.errors import CorruptStoreError, HistoryExpiredError
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage import stretches
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.compaction import compact, fixed_pins, merge_small
from dosql_core.storage.integrity import verify_history
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import POSITION_BITS
from dosql_core.storage.tiering import choose_merge
from fixtures.histories import CommitPlan, RememberedBranch

PAGE_SIZE = 4096


def edited(number: int, page_size: int = PAGE_SIZE, letter: bytes = b"x") -> bytes:
    content = bytearray(letter * page_size)
    at = number * 16 % page_size
    content[at : at + 8] = number.to_bytes(8, "big")
    return bytes(content)


def branch_of_one_page(directory: Path, commits: int, page_size: int = 65536) -> RememberedBranch:
    """Every commit changes page 1 a little and is a segment of its own; at 64 KiB also a block."""
    branch = RememberedBranch(directory, page_size)
    for number in range(commits):
        branch.seal([CommitPlan(1, {1: edited(number, page_size)})])
    return branch


def depths(history: BranchHistory) -> list[int]:
    """The depth of the block of page 1 at each LSN."""
    found = []
    for segment in history.stack().segments:
        for _, locations in segment.entries():
            for location in locations:
                block = segment.read_block(location >> POSITION_BITS, PageNumber(1))
                found.append(block.header.depth)
    return found


def test_a_chain_ends_after_four_blocks(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 12)
    assert depths(branch.history) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_only_what_no_kept_moment_sees_is_dropped(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 12)
    report = branch.compact(9, pins=[2, 5])
    assert report.versions_dropped == 6  # 1, 3, 4, 6, 7, 8
    assert report.bytes_after < report.bytes_before
    branch.check()
    branch.check_integrity()
    for lsn in (1, 3, 4, 6, 7, 8):
        with pytest.raises(HistoryExpiredError, match="the oldest moment available is LSN 9"):
            branch.page_history.view(Lsn(lsn))


def test_a_pin_that_is_gone_frees_what_it_kept(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 12)
    branch.compact(9, pins=[2, 5])
    assert branch.compact(9, pins=[5]).versions_dropped == 1
    with pytest.raises(HistoryExpiredError):
        branch.page_history.view(Lsn(2))
    branch.check()


def test_what_expired_stays_expired(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 12)
    branch.compact(9)
    assert branch.compact(3, pins=[4]).versions_dropped == 0
    assert branch.history.oldest_lsn == 9
    assert branch.history.pinned == ()


def test_later_blocks_keep_their_place_in_the_chain(tmp_path: Path) -> None:
    """LSN 7 loses its predecessor; put behind LSN 4, it would push those that follow too deep."""
    branch = branch_of_one_page(tmp_path / "h", 12)
    compact(branch.history, keep_from=Lsn(7), pins=fixed_pins(map(Lsn, (1, 2, 3, 4))), merge=False)
    assert depths(branch.history) == [0, 1, 2, 3, 0, 2, 3, 4, 0, 1]
    branch.check_integrity()


def test_pages_beyond_the_end_are_dropped_with_the_last_moment_that_saw_them(
    tmp_path: Path,
) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    branch.seal([CommitPlan(50, {page: os.urandom(PAGE_SIZE) for page in range(1, 51)})])
    branch.seal([CommitPlan(2, {1: edited(1)}), CommitPlan(2, {1: edited(2)})])
    report = branch.compact(2, pins=[1])
    assert report.versions_dropped == 0
    report = branch.compact(2)
    assert report.versions_dropped == 49
    assert report.bytes_after < PAGE_SIZE * 2
    # Grown again, the pages are new: neither old bytes nor a block that builds on them.
    branch.seal([CommitPlan(50, {page: edited(page) for page in range(3, 40)})])
    branch.check()
    branch.check_integrity()


def test_a_seal_during_compaction_is_kept(tmp_path: Path) -> None:
    """The commit comes after what to drop was decided, and takes pages into use that it drops."""
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    first = {page: edited(page) for page in range(1, 31)}
    branch.seal([CommitPlan(30, first)])
    branch.seal([CommitPlan(2, {1: edited(100)})])
    told: list[int] = []

    def seal_once(done: int, total: int) -> None:
        if not told:
            told.append(done)
            branch.seal([CommitPlan(30, {page: edited(page + 1) for page in range(3, 31)})])

    compact(branch.history, keep_from=Lsn(2), pins=fixed_pins(()), progress=seal_once)
    assert told
    del branch.states[0], branch.states[1], branch.records[1]
    branch.check()
    branch.check_integrity()
    branch.reopen()
    branch.check()


def test_a_view_reads_on_through_compaction_and_after_the_files_are_gone(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 12)
    view, state = branch.page_history.view(Lsn(3)), branch.states[3]
    before = set(os.listdir(branch.directory))
    branch.compact(12)
    assert not before & {n for n in os.listdir(branch.directory) if n.endswith(".seg")}
    branch.check_state(view, state)
    view.close()


def test_readers_in_threads_are_not_disturbed(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    for number in range(40):
        branch.seal([CommitPlan(6, {1 + number % 6: edited(number), 6: edited(number + 1)})])
    stop, errors = threading.Event(), []

    def read_for_ever() -> None:
        history = PageHistory(BranchHistory.open(str(branch.directory)), None)
        # A pause, or the one that compacts, and calls the system all the time, waits in each call
        # until these give the interpreter back.
        while not stop.wait(0.001):
            try:
                for lsn in (40, 35, 39):
                    branch.check_state(history.view(Lsn(lsn)), branch.states[lsn])
                history.refresh()
            except BaseException as error:
                errors.append(error)
                return

    states = dict(branch.states)
    threads = [threading.Thread(target=read_for_ever) for _ in range(3)]
    for thread in threads:
        thread.start()
    for keep_from in range(1, 36):
        branch.compact(keep_from)
        branch.states = {**states}
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_merging_keeps_few_segments_and_every_moment(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    for number in range(60):
        branch.seal([CommitPlan(4, {1 + number % 4: edited(number)})])
        merge_small(branch.history)
        assert len(branch.history.manifest.segments) <= 8
    branch.check()
    branch.check_integrity()


def test_merging_joins_small_blocks(tmp_path: Path) -> None:
    branch = RememberedBranch(tmp_path / "h", PAGE_SIZE)
    for number in range(16):
        branch.seal([CommitPlan(1, {1: edited(number)})])
    before = branch.history.stored_bytes
    merge_small(branch.history, live_max=1)
    assert set(depths(branch.history)) == {0}  # sixteen versions, one block
    assert branch.history.stored_bytes < before / 4


@pytest.mark.parametrize("piece_bytes", [1, 500, 4 << 20])
def test_merging_copies_what_only_one_segment_has(
    tmp_path: Path, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "_PIECE_BYTES", piece_bytes)
    branch = RememberedBranch(tmp_path / "h", 512)
    for seal in range(5):
        first = 20 * seal + 1
        # pages of its own, edited by turns, and page 1, which all of them have
        branch.seal([
            CommitPlan(
                first + 19,
                {page: edited(page * 31 + number, 512) for page in (1, *range(first, first + 20))},
            )
            for number in range(24)
        ])  # fmt: skip
    assert merge_small(branch.history, live_max=2).segments_after <= 2
    branch.check()
    branch.check_integrity()


@pytest.mark.parametrize("byte", [4, 40, -3])
def test_a_damaged_block_that_would_be_copied_stops_merging(tmp_path: Path, byte: int) -> None:
    branch = RememberedBranch(tmp_path / "h", 512)
    for seal in range(9):
        branch.seal([CommitPlan(seal + 1, {seal + 1: edited(seal, 512)})])
    stack = branch.history.stack()
    segment = stack.segments[8]
    offset = segment.location(segment.find(9 << 32 | 0, 0)) >> POSITION_BITS
    raw = bytearray(Path(segment.path).read_bytes())
    end = segment.end_of_block(offset)
    raw[offset + byte if byte >= 0 else end + byte] ^= 1
    Path(segment.path).write_bytes(raw)
    before = branch.history.manifest
    with pytest.raises(CorruptStoreError, match=r"fails its checksum|runs past|does not fit"):
        merge_small(branch.history)
    assert branch.history.manifest == before


def test_a_damaged_block_stops_compaction_and_replaces_nothing(tmp_path: Path) -> None:
    branch = branch_of_one_page(tmp_path / "h", 6)
    names = [s.name for s in branch.history.manifest.segments]
    path = branch.directory / names[2]
    raw = bytearray(path.read_bytes())
    raw[70] ^= 1
    path.write_bytes(raw)
    branch.reopen()
    with pytest.raises(CorruptStoreError, match=names[2]):
        compact(branch.history, keep_from=Lsn(6), pins=fixed_pins([Lsn(3)]))
    assert [s.name for s in branch.history.manifest.segments] == names
    assert sorted(n for n in os.listdir(branch.directory) if n.endswith(".seg")) == sorted(names)
    assert verify_history(branch.history)[0].file == str(path)


@pytest.mark.parametrize("sizes", [[5] * 8, [1], []])
def test_few_segments_are_left_alone(sizes: list[int]) -> None:
    assert choose_merge(sizes) is None


def test_a_version_is_rewritten_seldom() -> None:
    """20,000 seals of equal size: bytes rewritten per byte sealed, and the most segments live."""
    sizes: list[int] = []
    rewritten = 0
    for _ in range(20_000):
        sizes.append(1)
        while (places := choose_merge(sizes)) is not None:
            merged = sum(sizes[places.start : places.stop])
            rewritten += merged
            sizes[places.start : places.stop] = [merged]
        assert len(sizes) <= 8
    assert rewritten / 20_000 < 9
    assert sum(sizes) == 20_000


def test_a_large_base_is_not_rewritten_for_small_seals() -> None:
    sizes = [1_000_000]
    for _ in range(3_000):
        sizes.append(1)
        while (places := choose_merge(sizes)) is not None:
            assert places.start > 0
            sizes[places.start : places.stop] = [sum(sizes[places.start : places.stop])]
