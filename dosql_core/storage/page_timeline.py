"""Every version of a page up to an LSN, in order: what walks along time read instead of views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.segment_format import LOW_LSN_MASK, LSN_OFFSET_BITS, POSITION_BITS
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack

_POSITION_MASK = (1 << POSITION_BITS) - 1


class SeenSegment(NamedTuple):
    """A segment of a branch or of an ancestor.

    Shape: of it count versions of pages up to `page_limit` and of LSNs up to `last`.
    """

    segment: SegmentReader
    stack: SegmentStack
    last: Lsn
    page_limit: int


class PageTimeline:
    """The versions of the pages of one branch up to LSN `last`; compaction cannot break it.

    Threads: any number.
    Errors:  every method: CorruptStoreError, naming the file, when stored bytes are damaged.
    """

    def __init__(self, last: Lsn, page_size: int, segments: list[SeenSegment]) -> None:
        """Shape: `segments` from the oldest to the newest."""
        self.last = last
        self.page_size = page_size
        self._segments = segments
        self._newest_first = segments[::-1]
        self._zeros = bytes(page_size)

    def page_at(self, page: int, lsn: int) -> bytes:
        """The content of a page as of `lsn`; zeros for one that was never written."""
        floor = page << LSN_OFFSET_BITS
        for segment, stack, last, page_limit in self._newest_first:
            first = segment.header.first_lsn
            if first <= lsn and page <= page_limit:
                index = segment.find(floor | (min(lsn, last) - first), floor)
                if index >= 0:
                    return stack.read(segment, index, PageNumber(page))
        return self._zeros

    def next_written(self, page: int, after: int) -> Lsn | None:
        """The first LSN above `after` whose commit wrote the page."""
        for segment, _, last, page_limit in self._segments:
            if last > after and page <= page_limit:
                lsn = segment.next_written(page, after + 1, last)
                if lsn is not None:
                    return lsn
        return None

    def versions(self, page: int, first: int, last: int) -> Iterator[tuple[Lsn, bytes]]:
        """The versions of a page written from LSN `first` to `last`, ascending; decoded in runs."""
        size = self.page_size
        for segment, stack, seen_to, page_limit in self._segments:
            if seen_to < first or segment.header.first_lsn > last or page > page_limit:
                continue
            found = segment.versions(page, first, min(last, seen_to))
            begin = 0
            while begin < len(found):
                offset = found[begin][1] >> POSITION_BITS
                end = begin + 1
                while end < len(found) and found[end][1] >> POSITION_BITS == offset:
                    end += 1
                count = (found[end - 1][1] & _POSITION_MASK) + 1
                run = stack.run(segment, offset, PageNumber(page), count)
                for lsn, location in found[begin:end]:
                    position = location & _POSITION_MASK
                    yield lsn, run[position * size : (position + 1) * size]
                begin = end

    def written(self, first: int, last: int) -> dict[Lsn, list[PageNumber]]:
        """The pages that each commit from `first` to `last` wrote, ascending by LSN."""
        written: dict[Lsn, list[PageNumber]] = {Lsn(lsn): [] for lsn in range(first, last + 1)}
        for segment, _, seen_to, _ in self._segments:
            base = segment.header.first_lsn
            if base > last or seen_to < first:
                continue
            low, high = max(first - base, 0), min(last, seen_to) - base
            for keys, _locations in segment.entries():
                for key in keys:
                    if low <= key & LOW_LSN_MASK <= high:
                        lsn = Lsn(base + (key & LOW_LSN_MASK))
                        written[lsn].append(PageNumber(key >> LSN_OFFSET_BITS))
        return written
