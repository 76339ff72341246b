"""Stretches of a segment's blocks, to be copied as they lie: what merging segments mostly does.

Of pages that only one of the segments has there is nothing to put together, and their blocks lie
in the file in the order of the index. To take them one by one costs ten times as much.
"""

from __future__ import annotations

import sys
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import le
from typing import NamedTuple

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.segment_format import (
    BLOCK_HEADER_BYTES,
    LSN_OFFSET_BITS,
    POSITION_BITS,
    unpack_block_header,
)
from dosql_core.storage.segment_reader import SegmentReader

_PIECE_BYTES = 4 << 20
_NO_PAGE = sys.maxsize


class Shared(NamedTuple):
    """A page that several segments have, or whose blocks do not lie one behind the other."""

    page: PageNumber
    parts: list[tuple[int, int, int]]
    """The place of each segment that has it, and from which entry to which."""


class Stretch(NamedTuple):
    """Consecutive blocks of one segment, checked.

    Shape: the index has `keys` and `locations` for them; `first_lsn` is the segment's.
    """

    first_lsn: Lsn
    offset: int
    raw: bytes
    keys: list[int]
    locations: list[int]


def stretches(segments: Sequence[SegmentReader]) -> Iterator[Stretch | Shared]:
    """All blocks of adjacent segments, in ascending order of page.

    Errors: CorruptStoreError.
    """
    for segment in segments:
        segment.check_index()
    in_order = [_is_in_order(segment) for segment in segments]
    cursors = [0] * len(segments)
    while True:
        pages = [
            segment.page_at(at) if at < segment.entry_count else _NO_PAGE
            for segment, at in zip(segments, cursors, strict=True)
        ]
        page = min(pages)
        if page == _NO_PAGE:
            return
        having = [place for place, first in enumerate(pages) if first == page]
        place = having[0]
        if len(having) == 1 and in_order[place]:
            segment, begins = segments[place], cursors[place]
            other = min((p for p in pages if p != page), default=_NO_PAGE)
            ends = segment.entry_count if other == _NO_PAGE else segment.end_before(other, begins)
            yield from _pieces(segment, begins, ends)
            cursors[place] = ends
            continue
        parts = []
        for place in having:
            begins = cursors[place]
            cursors[place] = segments[place].end_before(page + 1, begins)
            parts.append((place, begins, cursors[place]))
        yield Shared(PageNumber(page), parts)


def _is_in_order(segment: SegmentReader) -> bool:
    """Whether the blocks lie in the file in the order of the index."""
    locations = segment.locations
    return all(map(le, locations, islice(locations, 1, None)))


def _pieces(segment: SegmentReader, begins: int, ends: int) -> Iterator[Stretch]:
    """The blocks of some entries, a few megabytes at a time."""
    while begins < ends:
        target = (segment.locations[begins] >> POSITION_BITS) + _PIECE_BYTES
        until = bisect_left(segment.locations, target << POSITION_BITS, begins + 1, ends)
        yield _stretch(segment, begins, until)
        begins = until


def _stretch(segment: SegmentReader, begins: int, ends: int) -> Stretch:
    keys, locations = segment.keys[begins:ends].tolist(), segment.locations[begins:ends].tolist()
    start = locations[0] >> POSITION_BITS
    raw = segment.read_exactly(start, segment.end_of_block(locations[-1] >> POSITION_BITS) - start)
    view, at, entry = memoryview(raw), 0, 0
    while at + BLOCK_HEADER_BYTES <= len(raw):
        checksum, header = unpack_block_header(view[at : at + BLOCK_HEADER_BYTES])
        end = at + BLOCK_HEADER_BYTES + header.payload_bytes
        if zlib.crc32(view[at + 4 : end]) != checksum:
            raise CorruptStoreError(f"{segment.path}: the block at {start + at} fails its checksum")
        is_expected = (
            entry < len(keys)
            and locations[entry] == start + at << POSITION_BITS
            and keys[entry] >> LSN_OFFSET_BITS == header.page_number
        )
        if not is_expected:
            break
        at, entry = end, entry + header.version_count
    if at != len(raw) or entry != len(keys):
        raise CorruptStoreError(
            f"{segment.path}: the index does not fit the blocks from {start} to {start + len(raw)}"
        )
    return Stretch(segment.header.first_lsn, start, raw, keys, locations)
