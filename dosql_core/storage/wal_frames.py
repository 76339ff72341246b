"""SQLite's WAL format: its header, its frames, and which frames make which commit; no locking.

Source: https://sqlite.org/fileformat2.html, "The Write-Ahead Log".
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import PageNumber

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = struct.Struct(">IIIIIIII")
_FRAME_HEADER = struct.Struct(">IIIIII")
_HEADER_WORDS = FRAME_HEADER_BYTES // 4
_READ_BYTES = 1 << 20
_KEPT_BYTES_MAX = 20 << 20


@dataclass(frozen=True, slots=True)
class WalHeader:
    """The header of a WAL file."""

    page_size: int
    checkpoint_sequence: int
    salts: tuple[int, int]


class CommitFrames(NamedTuple):
    """The frames of one commit.

    Shape: `frames` has for each page the last frame that carries it. `page_count` is the size of
           the database after the commit.
    """

    first_frame: int
    page_count: int
    frames: dict[PageNumber, int]


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Frames `first`..`last` of a WAL (counted from 1), as their headers tell them.

    Shape: `pages[i]` and `sizes_after[i]` belong to frame `first + i`; a size other than 0 marks a
           commit frame and is the size of the database in pages after that commit. `kept` is the
           part of the file that was read, where it was to be kept.
    """

    first: int
    pages: list[PageNumber]
    sizes_after: list[int]
    last_checksum: tuple[int, int]
    kept: list[bytes] | None

    @property
    def last(self) -> int:
        return self.first + len(self.pages) - 1

    def ends_of_commits(self) -> list[int]:
        """How many frames of the run there are up to the end of each commit.

        Errors: CorruptStoreError when the run ends within a commit.
        """
        ends = [place for place, size in enumerate(self.sizes_after, 1) if size]
        complete = ends[-1] if ends else 0
        if complete < len(self.pages):
            raise CorruptStoreError(
                f"frames {self.first + complete}..{self.last} of the WAL end without a commit"
            )
        return ends

    def checksum_of(self, frame: int, descriptor: int, page_size: int) -> tuple[int, int]:
        """The running checksum of one frame of the run."""
        if frame == self.last:
            return self.last_checksum
        checksum = frame_checksum(descriptor, frame, page_size)
        if checksum is None:
            raise CorruptStoreError(f"the WAL ends before frame {frame}")
        return checksum


def read_wal_header(descriptor: int) -> WalHeader | None:
    """The header of the WAL, or None when the file is too short to have one."""
    raw = os.pread(descriptor, WAL_HEADER_BYTES, 0)
    if len(raw) < WAL_HEADER_BYTES:
        return None
    magic, _version, page_size, sequence, salt1, salt2, _c1, _c2 = _WAL_HEADER.unpack(raw)
    if magic not in WAL_MAGIC:
        return None
    return WalHeader(65536 if page_size == 1 else page_size, sequence, (salt1, salt2))


def frame_offset(frame: int, page_size: int) -> int:
    """Where the header of a frame begins in the WAL file."""
    return WAL_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + page_size)


def frame_checksum(descriptor: int, frame: int, page_size: int) -> tuple[int, int] | None:
    """The running checksum stored with a frame, or None when the file ends before it."""
    raw = os.pread(descriptor, FRAME_HEADER_BYTES, frame_offset(frame, page_size))
    if len(raw) < FRAME_HEADER_BYTES:
        return None
    fields = _FRAME_HEADER.unpack(raw)
    return fields[4], fields[5]


def read_page(descriptor: int, frame: int, page_size: int) -> bytes:
    """The page a frame carries.

    Errors: CorruptStoreError when the file ends before it.
    """
    page = os.pread(descriptor, page_size, frame_offset(frame, page_size) + FRAME_HEADER_BYTES)
    if len(page) != page_size:
        raise CorruptStoreError(f"WAL frame {frame} has {len(page)} of {page_size} bytes")
    return page


def read_frames(
    descriptor: int,
    first: int,
    last: int,
    page_size: int,
    salts: tuple[int, int],
    *,
    keep: bool = False,
) -> FrameRun:
    """Read the headers of frames `first`..`last`, all of which must carry `salts`.

    With `keep` the pages that come with them are kept for `read_pages`, unless they are many.
    Errors: CorruptStoreError when the file ends early or a frame belongs to another generation:
            the WAL was restarted under us or is damaged, and the caller decides which.
    """
    columns = [array("I") for _ in range(_HEADER_WORDS)]
    is_little = (last + 1 - first) * page_size <= _KEPT_BYTES_MAX
    kept: list[bytes] | None = [] if keep and is_little else None
    for raw in _runs_of_frames(descriptor, first, last, page_size):
        if kept is not None:
            kept.append(raw)
        words = memoryview(raw).cast("I")
        stride = (FRAME_HEADER_BYTES + page_size) // words.itemsize
        for place, column in enumerate(columns):
            column.frombytes(words[place::stride].tobytes())
    if sys.byteorder == "little":  # the file is big-endian
        for column in columns:
            column.byteswap()
    pages, sizes, *salt_columns, check1, check2 = columns
    for expected, found in zip(salts, salt_columns, strict=True):
        if found.count(expected) != len(found):
            stray = next(place for place, salt in enumerate(found) if salt != expected)
            raise CorruptStoreError(
                f"WAL frame {first + stray} carries salts "
                f"{salt_columns[0][stray]:08x}{salt_columns[1][stray]:08x}; "
                f"expected {salts[0]:08x}{salts[1]:08x}"
            )
    checksum = (check1[-1], check2[-1]) if pages else (0, 0)
    numbers = cast(list[PageNumber], pages.tolist())
    return FrameRun(first, numbers, sizes.tolist(), checksum, kept)


def read_pages(
    descriptor: int, run: FrameRun, first: int, last: int, page_size: int
) -> Iterator[bytes]:
    """The pages that frames `first`..`last` of a run carry.

    Errors: CorruptStoreError when the file ends before the last.
    """
    stride = FRAME_HEADER_BYTES + page_size
    runs: Iterable[bytes] = _runs_of_frames(descriptor, first, last, page_size)
    if run.kept is not None and (first, last) == (run.first, run.last):
        runs = run.kept
    for raw in runs:
        yield from [raw[at : at + page_size] for at in range(FRAME_HEADER_BYTES, len(raw), stride)]


def _runs_of_frames(descriptor: int, first: int, last: int, page_size: int) -> Iterator[bytes]:
    """Whole frames, about a megabyte of them at a time."""
    stride = FRAME_HEADER_BYTES + page_size
    per_read = max(1, _READ_BYTES // stride)
    for start in range(first, last + 1, per_read):
        count = min(per_read, last + 1 - start)
        raw = os.pread(descriptor, count * stride, frame_offset(start, page_size))
        if len(raw) != count * stride:
            raise CorruptStoreError(
                f"the WAL ends in frame {start + len(raw) // stride}; {last} frames are committed"
            )
        yield raw


def commits_of(run: FrameRun) -> Iterator[CommitFrames]:
    """The commits in a run.

    Errors: CorruptStoreError when it ends within one.
    """
    pages, sizes = run.pages, run.sizes_after
    begins = 0
    for ends in run.ends_of_commits():
        first = run.first + begins
        frames = dict(zip(pages[begins:ends], range(first, run.first + ends), strict=True))
        yield CommitFrames(first, sizes[ends - 1], frames)
        begins = ends
