"""Turning commits and their page versions into one segment file; the manifest is not its business.

Versions are gathered until they fill a batch, then written page by page, so that consecutive
versions of a page share a block; a batch bounds the memory, whatever the size of a commit.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter, le, lt

from dosql_core.identifiers import Lsn, Microseconds, PageNumber
from dosql_core.storage.block_encoding import EncodedBlock, Predecessor, Version, encode_page
from dosql_core.storage.commit_table import pack_new_commits
from dosql_core.storage.newest_versions import NewestVersions
from dosql_core.storage.segment_format import (
    BLOCK_HEADER_BYTES,
    CommitDetails,
    CommitFlag,
    NewCommits,
)
from dosql_core.storage.segment_stack import SegmentStack
from dosql_core.storage.segment_writer import SegmentWriter, WrittenSegment

BATCH_BYTES = 64 * 1024 * 1024
_PAGES_PER_TASK = 128
_INDEX_ENTRY_BYTES = 16
_PROGRESS_EVERY = 1024

PageVersion = tuple[PageNumber, Lsn, bytes]
PageVersions = dict[PageNumber, list[Version]]
FindPredecessor = Callable[[PageNumber, Lsn], bytes | None]
Progress = Callable[[int, int], None]
_PageWork = tuple[PageNumber, list[Version], Predecessor | None]


@dataclass(slots=True)
class _Growth:
    """The pages that a commit added to the database, and which of them it wrote."""

    lsn: Lsn
    page_count_before: int
    is_written: bytearray

    def note(self, pages: Sequence[PageNumber], pending: dict[PageNumber, list[Version]]) -> None:
        """Take note of which of its pages the commit wrote; `pages` are those pending, ascending.

        A page is pending with what later commits wrote, too.
        """
        first = self.page_count_before + 1
        begins = bisect_left(pages, first)
        for page in pages[begins : bisect_left(pages, first + len(self.is_written), begins)]:
            if any(lsn == self.lsn for lsn, _ in pending[page]):
                self.is_written[page - first] = 1

    def unwritten(self) -> Iterator[PageNumber]:
        index = self.is_written.find(0)
        while index >= 0:
            yield PageNumber(self.page_count_before + 1 + index)
            index = self.is_written.find(0, index + 1)


class SegmentSealing:
    """One segment in the making.

    Shape: versions may come in any order; when they fill more than one batch (`BATCH_BYTES`), in
           order of LSN, as a WAL holds them (pages within a commit in any order).
    """

    def __init__(
        self,
        writer: SegmentWriter,
        commits: NewCommits,
        *,
        stack: SegmentStack,
        newest: NewestVersions,
        page_count_before: int,
        inherits: bool,
        predecessor: FindPredecessor | None,
    ) -> None:
        """Begin a segment for `commits`.

        Shape: `stack` has what the branch has so far; `inherits` says that pages without a version
               in it come from a parent branch, where `predecessor` finds them.
        """
        self._writer = writer
        self._commits = commits
        self._stack = stack
        self._newest = newest
        self._inherits = inherits
        self._inherited = predecessor
        self._page_size = stack.page_size
        self._first, self._last = commits.first, commits.last
        self._growths = _growths(commits, page_count_before)
        self._pending: defaultdict[PageNumber, list[Version]] = defaultdict(list)
        self._pending_bytes = 0
        self._current = self._first
        self._flushed_to = self._first
        self._is_flushed = bytearray()
        self._version_counts = array("Q", bytes(8 * len(commits)))
        self._stored_bytes = array("Q", bytes(8 * len(commits)))

    def add_all(self, versions: Iterable[PageVersion], progress: Progress | None) -> None:
        """Take in versions one by one.

        Errors: ValueError for a version that cannot be: of a commit that is not being sealed, of
                the wrong size, or too late for its batch.
        """
        total = self._expected_count(versions)
        done = 0
        for page, lsn, content in versions:
            self._add(page, lsn, content)
            if progress is not None:
                done += 1
                if done % _PROGRESS_EVERY == 0:
                    progress(done, max(total, done))
        if progress is not None:
            progress(done, done)

    def add_pages(self, versions: PageVersions) -> None:
        """Take in all versions of all commits at once, which are trusted to be whole pages."""
        self._pending.update(versions)
        page_counts = self._commits.page_counts
        page_count_min = min(page_counts)
        for page in [page for page in versions if page > page_count_min]:
            shown = [v for v in versions[page] if page <= page_counts[v[0] - self._first]]
            if shown:
                self._pending[page] = shown
            else:  # written and cut off again in the same commit: no moment shows it
                del self._pending[page]

    def finish(self) -> WrittenSegment:
        """Write what is pending and the tables; the segment is then whole and synced."""
        self._flush(Lsn(self._last + 1))
        return self._writer.finish(
            pack_new_commits(self._commits, self._version_counts, self._stored_bytes)
        )

    def _expected_count(self, versions: Iterable[PageVersion]) -> int:
        if isinstance(versions, Sized):
            return len(versions)
        return sum(
            self._commits.page_counts[index]
            for index, details in self._commits.told.items()
            if details.flags & CommitFlag.BASE
        )

    def _add(self, page: PageNumber, lsn: Lsn, content: bytes) -> None:
        if self._pending_bytes >= BATCH_BYTES:
            self._flush(self._current)
            self._flushed_to = self._current
        if len(content) != self._page_size:
            raise ValueError(
                f"page {page} at LSN {lsn} has {len(content)} bytes, not {self._page_size}"
            )
        if not self._flushed_to <= lsn <= self._last or page < 1:
            raise ValueError(
                f"page {page} at LSN {lsn}: expected LSN {self._flushed_to} to {self._last}, "
                "pages from 1"
            )
        if page > self._commits.page_counts[lsn - self._first]:
            return  # as in `add_pages`
        self._pending[page].append((lsn, content))
        self._pending_bytes += self._page_size
        if lsn > self._current:
            self._current = lsn

    def _flush(self, complete_to: Lsn) -> None:
        """Write what is pending; of commits before `complete_to` nothing more will come."""
        pages = sorted(self._pending)
        for growth in self._growths.values():
            growth.note(pages, self._pending)
        if self._blank_reappearing_pages(complete_to):
            pages = sorted(self._pending)
        work = (w for page in pages if (w := self._prepare(page)) is not None)
        # Threads pay for keyframes; against a prefix zstd spends its time in the allocator.
        if len(pages) >= 2 * _PAGES_PER_TASK and (os.cpu_count() or 1) > 1:
            self._write_in_threads(work)
        else:
            for page_work in work:
                self._write_page(page_work, self._encode(page_work))
        self._pending.clear()
        self._pending_bytes = 0

    def _write_in_threads(self, work: Iterator[_PageWork]) -> None:
        """Compress in two threads, prepare and write in this one."""
        with ThreadPoolExecutor(2, thread_name_prefix="dosql-seal") as pool:
            waiting = []
            while True:
                part = list(islice(work, _PAGES_PER_TASK))
                if part:
                    waiting.append(
                        (part, pool.submit(lambda p: [self._encode(w) for w in p], part))
                    )
                if len(waiting) > 4 or not part:
                    if not waiting:
                        return
                    done, encoded = waiting.pop(0)
                    for page_work, blocks in zip(done, encoded.result(), strict=True):
                        self._write_page(page_work, blocks)

    def _blank_reappearing_pages(self, complete_to: Lsn) -> bool:
        """Give zeros to pages that a commit added without writing them; whether there were any.

        SQLite does so with a page that it both takes and frees in one transaction. What the page
        held before the database shrank must not come back.
        """
        is_any = False
        for lsn in [lsn for lsn in self._growths if lsn < complete_to]:
            for page in self._growths.pop(lsn).unwritten():
                pending = self._pending.get(page, [])
                had_content = (
                    self._inherits
                    or any(other < lsn for other, _ in pending)
                    or self._was_flushed(page)
                    or self._stack.locate(page, Lsn(self._first - 1)) is not None
                )
                if had_content:
                    self._pending[page].append((lsn, bytes(self._page_size)))
                    is_any = True
        return is_any

    def _prepare(self, page: PageNumber) -> _PageWork | None:
        """The versions of a page that are worth writing, and what precedes them."""
        versions = self._pending[page]
        lsns = [lsn for lsn, _ in versions]
        if not all(map(lt, lsns, lsns[1:])):
            versions.sort(key=itemgetter(0))
            if len(set(lsns)) < len(lsns):
                raise ValueError(f"page {page} was given twice for one LSN")
        before = self._newest.take(page)
        content: bytes | None = None
        if before is None and not self._was_flushed(page):
            before = self._stack.predecessor(page, Lsn(self._first - 1))
            if before is None and self._inherited is not None:
                content = self._inherited(page, versions[0][0])
        if before is not None:
            content = before.content
        changed = []
        for version in versions:
            if version[1] != content:
                changed.append(version)
                content = version[1]
        if changed:
            return page, changed, before
        if before is not None:
            self._newest.keep(page, before)
        return None

    def _encode(self, work: _PageWork) -> list[EncodedBlock]:
        page, versions, before = work
        return encode_page(page, versions, before, self._page_size)

    def _write_page(self, work: _PageWork, blocks: list[EncodedBlock]) -> None:
        page, versions, _ = work
        first, version_counts, stored_bytes = self._first, self._version_counts, self._stored_bytes
        for block in blocks:
            self._writer.append_block(*block)
            share = (BLOCK_HEADER_BYTES + len(block.payload)) // len(block.lsns)
            share += _INDEX_ENTRY_BYTES
            for lsn in block.lsns:
                place = lsn - first
                version_counts[place] += 1
                stored_bytes[place] += share
        newest_lsn, newest_content = versions[-1]
        self._newest.keep(page, Predecessor(newest_lsn, blocks[-1].header.depth, newest_content))
        if page >= len(self._is_flushed):
            self._is_flushed.extend(bytes(page + 1 - len(self._is_flushed) + 4096))
        self._is_flushed[page] = 1

    def _was_flushed(self, page: PageNumber) -> bool:
        """Whether an earlier batch of this segment has the page: it cannot be read back yet."""
        return page < len(self._is_flushed) and self._is_flushed[page] != 0


def settle_times(commits: NewCommits, previous: Microseconds | None) -> NewCommits:
    """The commits with times that never run backwards: searching by time depends on it.

    A time before its predecessor's (a clock was set back) becomes the predecessor's and is flagged
    as estimated.
    """
    times = commits.times
    if (previous is None or previous <= times[0]) and all(map(le, times, islice(times, 1, None))):
        return commits
    settled, told = [], dict(commits.told)
    for index, at in enumerate(times):
        if previous is not None and at < previous:
            details = told.get(index, CommitDetails())
            told[index] = details._replace(flags=details.flags | CommitFlag.ESTIMATED_TIME)
            at = previous
        settled.append(at)
        previous = at
    return replace(commits, times=settled, told=told)


def _growths(commits: NewCommits, page_count: int) -> dict[Lsn, _Growth]:
    growths = {}
    for index, count in enumerate(commits.page_counts):
        if count > page_count:
            lsn = Lsn(commits.first + index)
            growths[lsn] = _Growth(lsn, page_count, bytearray(count - page_count))
        page_count = count
    return growths
