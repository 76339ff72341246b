"""Damage to any byte of a history is an error or changes nothing: never a wrong answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosql_core.errors import (
    CorruptStoreError,
    DatabaseError,
    FormatVersionError,
    MissingSegmentError,
)
from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.integrity import Severity, verify_history
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import SEGMENT_FORMAT_VERSION
from fixtures.histories import CommitPlan, RememberedBranch

PAGE_SIZE = 512
NEWEST = 7


def page(letter: bytes, edit: int = 0) -> bytes:
    content = bytearray(letter * PAGE_SIZE)
    content[edit : edit + 3] = b"<*>"
    return bytes(content)


@pytest.fixture
def branch(tmp_path: Path) -> RememberedBranch:
    """Three pages, seven commits, two segments: the second builds on the first."""
    branch = RememberedBranch(tmp_path / "history", PAGE_SIZE)
    branch.seal(
        [
            CommitPlan(2, {1: page(b"a"), 2: page(b"b")}, author="Ada", message="begin"),
            CommitPlan(2, {1: page(b"a", 9)}),
            CommitPlan(3, {3: page(b"c")}),
            CommitPlan(3, {2: page(b"b", 4)}),
        ]
    )
    branch.seal(
        [
            CommitPlan(3, {1: page(b"a", 20)}, message="change"),
            CommitPlan(2, {2: page(b"b", 40)}),
            CommitPlan(2, {1: page(b"a", 80), 2: page(b"b", 81)}),
        ]
    )
    branch.history.close()
    return branch


def everything(directory: Path) -> Iterator[object]:
    """All that a history answers, piece by piece, as far as it gets."""
    history = BranchHistory.open(str(directory))
    yield history.captured
    yield history.oldest_lsn, history.newest_lsn, history.fork_lsn, history.page_size
    pages = PageHistory(history, None)
    for lsn in range(NEWEST + 1):
        view = pages.view(Lsn(lsn))
        yield lsn, view.page_count
        for number in range(1, view.page_count + 1):
            yield lsn, number, view.version_lsn(number), view.read_page(number)
    yield list(pages.commits(Lsn(0), Lsn(NEWEST)))
    yield list(pages.commits_backwards(Lsn(NEWEST)))
    yield pages.changed_pages(Lsn(1), Lsn(NEWEST))
    for lsn in range(1, NEWEST + 1):
        commit = pages.commit(Lsn(lsn))
        yield (
            pages.newest_at(commit.committed_at),
            pages.newest_at(Microseconds(commit.committed_at + 5)),
        )


def answers_wrongly(directory: Path, expected: list[object]) -> bool:
    """Whether a damaged history answers anything otherwise than before."""
    try:
        for place, answer in enumerate(everything(directory)):
            if answer != expected[place]:
                return True
    except DatabaseError:
        return False
    return False


def files_of(directory: Path) -> list[Path]:
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == ["1-4-1.seg", "5-7-2.seg", "manifest.json"]
    return files


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_no_flipped_byte_gives_a_wrong_answer(branch: RememberedBranch, change: int) -> None:
    expected = list(everything(branch.directory))
    unnoticed = 0
    for file in files_of(branch.directory):
        whole = file.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= change
            file.write_bytes(damaged)
            assert not answers_wrongly(branch.directory, expected), f"byte {place} of {file.name}"
            unnoticed += not verify_history_afresh(branch.directory)
        file.write_bytes(whole)
    assert unnoticed == 0


def verify_history_afresh(directory: Path) -> list[object]:
    try:
        history = BranchHistory.open(str(directory))
    except DatabaseError as error:
        return [error]
    return list(verify_history(history))


def test_no_missing_end_gives_a_wrong_answer(branch: RememberedBranch) -> None:
    expected = list(everything(branch.directory))
    for file in files_of(branch.directory):
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            with pytest.raises(CorruptStoreError, match=file.name):
                list(everything(branch.directory))
            assert verify_history_afresh(branch.directory) != []
        file.write_bytes(whole + b"\0")
        with pytest.raises(CorruptStoreError, match=file.name):
            list(everything(branch.directory))
        file.write_bytes(whole)
    assert list(everything(branch.directory)) == expected


def test_a_missing_segment_is_named(branch: RememberedBranch) -> None:
    (branch.directory / "1-4-1.seg").unlink()
    with pytest.raises(MissingSegmentError, match=r"1-4-1\.seg is missing"):
        list(everything(branch.directory))
    (found,) = [f for f in verify_history(branch.history) if "is missing" in f.what]
    assert found.file.endswith("1-4-1.seg")
    assert found.severity is Severity.ERROR


def test_a_segment_of_another_branch_is_refused(branch: RememberedBranch, tmp_path: Path) -> None:
    other = RememberedBranch(tmp_path / "other", PAGE_SIZE, branch_id="othr")
    for states in ([1, 2, 3, 4], [5, 6, 7]):
        other.seal([CommitPlan(1, {1: page(b"z", lsn)}) for lsn in states])
    for name in ("1-4-1.seg", "5-7-2.seg"):
        shutil.copy(tmp_path / "other" / name, branch.directory / name)
    with pytest.raises(CorruptStoreError):
        list(everything(branch.directory))


def test_segments_that_changed_places_are_refused(branch: RememberedBranch) -> None:
    first, second = (branch.directory / name for name in ("1-4-1.seg", "5-7-2.seg"))
    os.rename(first, branch.directory / "x")
    os.rename(second, first)
    os.rename(branch.directory / "x", second)
    with pytest.raises(CorruptStoreError):
        list(everything(branch.directory))


def test_a_segment_of_a_newer_format_is_told_from_damage(branch: RememberedBranch) -> None:
    import struct
    import zlib

    file = branch.directory / "1-4-1.seg"
    raw = bytearray(file.read_bytes())
    struct.pack_into("<I", raw, 8, SEGMENT_FORMAT_VERSION + 1)
    (branch_bytes,) = struct.unpack_from("<H", raw, 32)
    end = 36 + branch_bytes
    struct.pack_into("<I", raw, end, zlib.crc32(raw[:end]))
    file.write_bytes(raw)
    with pytest.raises(FormatVersionError, match=r"1-4-1\.seg has segment format version 2"):
        list(everything(branch.directory))


def test_an_orphan_is_noted_and_loses_nothing(branch: RememberedBranch) -> None:
    (branch.directory / "8-9-3.seg").write_bytes(b"half")
    (branch.directory / "manifest.json.tmp").write_bytes(b"half")
    findings = verify_history(branch.history)
    assert {os.path.basename(f.file) for f in findings} == {"8-9-3.seg", "manifest.json.tmp"}
    assert {f.severity for f in findings} == {Severity.NOTE}
    branch.reopen()
    branch.check()
