"""Page n as of LSN L, over the segments of a branch and of its ancestors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dosql_core.errors import HistoryExpiredError, LsnNotAvailableError
from dosql_core.identifiers import EMPTY_LSN, BranchId, Lsn, Microseconds, PageNumber
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.page_timeline import PageTimeline, SeenSegment
from dosql_core.storage.segment_format import LOW_LSN_MASK, LSN_OFFSET_BITS, CommitRecord
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack

_PAGE_NUMBER_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class _BranchLayer:
    """What a view sees of one branch: versions up to `lsn`, of pages up to `page_limit`."""

    branch_id: BranchId
    stack: SegmentStack
    lsn: Lsn
    page_limit: int

    def pages_after(self, lsn: int) -> set[int]:
        """The pages with versions after `lsn`, among those seen."""
        pages: set[int] = set()
        for segment in self.stack.segments:
            first, last = segment.header.first_lsn, segment.header.last_lsn
            if first <= self.lsn and last > lsn:
                low, high = lsn - first, self.lsn - first
                for keys, _ in segment.entries():
                    pages.update(
                        key >> LSN_OFFSET_BITS for key in keys if low < key & LOW_LSN_MASK <= high
                    )
        return pages


class WrittenVersion(NamedTuple):
    """One version of a page, and where it is."""

    version: tuple[BranchId, Lsn]
    stack: SegmentStack
    segment: SegmentReader
    location: int

    def read(self, page: int) -> bytes:
        """Its content. Errors: CorruptStoreError, naming the file."""
        return self.stack.read_at(self.segment, self.location, PageNumber(page))


class LiveVersion(NamedTuple):
    """One version of a page that no segment has yet."""

    version: tuple[BranchId, Lsn]
    content: bytes

    def read(self, _page: int) -> bytes:
        """Its content."""
        return self.content


class PageView:
    """The pages of a database as of one LSN; it never changes, and compaction cannot break it.

    Threads: any number.
    Errors:  every method: CorruptStoreError, naming the file, when stored bytes are damaged.
    """

    __slots__ = ("_branches", "_segments", "_zeros", "branch_id", "lsn", "page_count", "page_size")

    def __init__(
        self,
        branch_id: BranchId,
        lsn: Lsn,
        page_size: int,
        page_count: int,
        branches: list[_BranchLayer],
    ) -> None:
        self.branch_id = branch_id
        self.lsn = lsn
        self.page_size = page_size
        self.page_count = page_count
        self._branches = branches
        self._zeros = bytes(page_size)
        # One flat list, newest first: finding a page is the innermost loop of reading the past.
        self._segments: list[tuple[SegmentReader, int, _BranchLayer]] = [
            (segment, min(layer.lsn, segment.header.last_lsn) - segment.header.first_lsn, layer)
            for layer in branches
            for segment in reversed(layer.stack.segments)
            if segment.header.first_lsn <= layer.lsn
        ]

    def read_page(self, page: int) -> bytes:
        """The content of a page; zeros for one that was never written, as the lock-byte page.

        Errors: ValueError when the database has no such page at this LSN.
        """
        if not 0 < page <= self.page_count:
            raise ValueError(f"page {page} of {self.page_count}")
        return self.read_newest(page)

    def read_newest(self, page: int) -> bytes:
        """The newest content of a page, which may have been cut off since."""
        found = self._locate(page)
        if found is None:
            return self._zeros
        segment, index, layer = found
        return layer.stack.read(segment, index, PageNumber(page))

    def version_lsn(self, page: int) -> Lsn | None:
        """The LSN of the commit that wrote the page as it is here; None if none did."""
        version = self.version(page)
        return None if version is None else version[1]

    def version(self, page: int) -> tuple[BranchId, Lsn] | None:
        """The branch and the LSN of the commit that wrote the page as it is here."""
        return self.newest_version(page) if page <= self.page_count else None

    def newest_version(self, page: int) -> tuple[BranchId, Lsn] | None:
        """The same for a page that may have been cut off since."""
        found = self._locate(page)
        return None if found is None else (found[2].branch_id, found[0].lsn_at(found[1]))

    def close(self) -> None:
        """Let go of the segments; pages can no longer be read."""
        self._branches, self._segments = [], []
        self.page_count = 0

    def changed_pages(self, other: PageView) -> list[PageNumber]:
        """The pages that another commit wrote there than here, or that only one of the two has.

        Both must be of one database. Costs as much as the index of the commits that only one of
        them has, whatever the size of the database.
        """
        candidates: set[int] = set()
        must_compare = False
        here = {layer.branch_id: layer for layer in self._branches}
        there = {layer.branch_id: layer for layer in other._branches}
        for branch_id in here.keys() | there.keys():
            layers = [side[branch_id] for side in (here, there) if branch_id in side]
            newer = max(layers, key=lambda layer: layer.lsn)
            # In a branch that both come from, what is up to the older of the two is common.
            common = min(layer.lsn for layer in layers) if len(layers) == 2 else Lsn(-1)
            if newer.lsn > common:
                candidates |= newer.pages_after(common)
                # A branch's own version hides its parent's, so what it wrote since is another one.
                own = self._branches[0], other._branches[0]
                must_compare |= all(newer is not layer for layer in own)
        page_count = max(self.page_count, other.page_count)
        limits = [layer.page_limit for layer in (*self._branches, *other._branches)]
        candidates.update(range(min(limits, default=0) + 1, page_count + 1))
        return [
            PageNumber(page)
            for page in sorted(candidates)
            if page <= page_count
            and (
                page > min(self.page_count, other.page_count)
                or not must_compare
                or self.version(page) != other.version(page)
            )
        ]

    def _locate(self, page: int) -> tuple[SegmentReader, int, _BranchLayer] | None:
        floor = page << LSN_OFFSET_BITS
        own = self._branches[0] if self._branches else None
        for segment, lsn_offset, layer in self._segments:
            # a branch's own pages are told by its size, which whoever asks for less looks at
            if page <= layer.page_limit or layer is own:
                index = segment.find(floor | lsn_offset, floor)
                if index >= 0:
                    return segment, index, layer
        return None


class PageHistory:
    """The past of a branch: its own history above its fork LSN, its parent's below.

    Threads: any number.
    """

    def __init__(self, own: BranchHistory, parent: PageHistory | None) -> None:
        self.own = own
        self.parent = parent

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self.own.page_size

    @property
    def newest_lsn(self) -> Lsn:
        """The last commit that can be read."""
        return self.own.newest_lsn

    @property
    def oldest_lsn(self) -> Lsn:
        """Every LSN from here on is readable, those of ancestors included."""
        own = self.own
        if self.parent is None or own.oldest_lsn > own.fork_lsn + 1:
            return own.oldest_lsn
        # The fork LSN itself is pinned in the parent.
        return min(self.parent.oldest_lsn, own.fork_lsn)

    def refresh(self) -> bool:
        """Take notice of what other processes wrote, here or in an ancestor."""
        is_newer = self.own.refresh()
        return (self.parent is not None and self.parent.refresh()) or is_newer

    def view(self, lsn: Lsn) -> PageView:
        """The database as of `lsn`.

        Errors: LsnNotAvailableError when the branch has not come that far; HistoryExpiredError when
                the moment is not kept; MissingSegmentError or CorruptStoreError, naming the file.
        """
        branches: list[_BranchLayer] = []
        page_count, page_limit = 0, _PAGE_NUMBER_MAX
        for history, seen_to, stack in self._lineage(lsn):
            count = history.page_count(seen_to)
            if not branches:
                page_count = count
            # Beyond the size that the parent had at the fork its pages were cut off already.
            page_limit = min(page_limit, count)
            branches.append(_BranchLayer(history.own.branch_id, stack, seen_to, page_limit))
        return PageView(self.own.branch_id, lsn, self.page_size, page_count, branches)

    def timeline(self, last: Lsn) -> PageTimeline:
        """The versions of every page up to LSN `last`.

        Errors: as `view`.
        """
        segments: list[SeenSegment] = []
        page_limit = _PAGE_NUMBER_MAX
        for history, seen_to, stack in self._lineage(last):
            if history is not self:  # beyond the size at the fork pages were cut off already
                page_limit = min(page_limit, history.page_count(seen_to))
            segments += [
                SeenSegment(segment, stack, Lsn(min(seen_to, segment.header.last_lsn)), page_limit)
                for segment in reversed(stack.segments)
                if segment.header.first_lsn <= seen_to
            ]
        return PageTimeline(last, self.page_size, segments[::-1])

    def require(self, lsn: Lsn) -> None:
        """Check that the moment is kept, for less than a view costs.

        Errors: as `view`.
        """
        for _ in self._lineage(lsn):
            pass

    def page_count(self, lsn: Lsn) -> int:
        """The size of the database in pages as of `lsn`.

        Errors: as `view`.
        """
        return 0 if lsn == EMPTY_LSN else self.commit(lsn).page_count

    def changed_pages(self, from_lsn: Lsn, to_lsn: Lsn) -> list[PageNumber]:
        """The pages that differ between two LSNs; see `PageView.changed_pages`."""
        return self.view(from_lsn).changed_pages(self.view(to_lsn))

    def versions_written(self, first: Lsn, last: Lsn) -> dict[Lsn, dict[int, WrittenVersion]]:
        """The page versions that each commit from `first` to `last` made; walks each segment once.

        Errors: as `view`.
        """
        written: dict[Lsn, dict[int, WrittenVersion]] = {
            Lsn(lsn): {} for lsn in range(first, last + 1)
        }
        for history, seen_to, stack in self._lineage(last):
            branch_id = history.own.branch_id
            for segment in stack.segments:
                base = segment.header.first_lsn
                if base <= seen_to and segment.header.last_lsn >= first:
                    low, high = max(first - base, 0), seen_to - base
                    for keys, locations in segment.entries():
                        for key, location in zip(keys, locations, strict=True):
                            if low <= key & LOW_LSN_MASK <= high:
                                lsn = Lsn(base + (key & LOW_LSN_MASK))
                                written[lsn][key >> LSN_OFFSET_BITS] = WrittenVersion(
                                    (branch_id, lsn), stack, segment, location
                                )
            if first > history.own.fork_lsn:
                break
        return written

    def commit(self, lsn: Lsn) -> CommitRecord:
        """The record of a commit of this branch or of its past in an ancestor.

        Errors: LsnNotAvailableError, HistoryExpiredError.
        """
        return self._keeper_of(lsn).commit(lsn)

    def commits(self, first: Lsn, last: Lsn) -> Iterator[CommitRecord]:
        """The commits from `first` to `last` that are kept, ascending."""
        if self.parent is not None and first <= self.own.fork_lsn:
            yield from self.parent.commits(first, min(last, self.own.fork_lsn))
        yield from self.own.commits(first, last)

    def stored_bytes_of(self, first: Lsn, last: Lsn) -> int:
        """What the commits from `first` to `last` take, about."""
        own = self.own.stored_bytes_of(first, last)
        if self.parent is None or first > self.own.fork_lsn:
            return own
        return own + self.parent.stored_bytes_of(first, min(last, self.own.fork_lsn))

    def commits_backwards(self, last: Lsn) -> Iterator[CommitRecord]:
        """The commits from `last` back that are kept, descending."""
        yield from self.own.commits_backwards(last)
        if self.parent is not None:
            yield from self.parent.commits_backwards(min(last, self.own.fork_lsn))

    def newest_at(self, time: Microseconds) -> Lsn | None:
        """The newest commit not after `time`; None when there was none yet.

        Errors: HistoryExpiredError when the commit that was the newest then is not kept.
        """
        try:
            lsn = self.own.newest_at(time)
            fork_lsn = self.own.fork_lsn
            if lsn is not None or self.parent is None or fork_lsn == EMPTY_LSN:
                return lsn
            if self.parent.commit(fork_lsn).committed_at <= time:
                return fork_lsn  # whatever the parent committed after it
            return self.parent.newest_at(time)
        except HistoryExpiredError as error:
            raise HistoryExpiredError(error.asked, self.oldest_lsn) from None

    def _lineage(self, lsn: Lsn) -> Iterator[tuple[PageHistory, Lsn, SegmentStack]]:
        """The branches that a view sees, the LSN up to which, the segments; this one first.

        Errors: as `view`.
        """
        history: PageHistory | None = self
        while history is not None:
            own = history.own
            if lsn > own.fork_lsn or history.parent is None:
                manifest, stack = own.snapshot()
                if lsn > manifest.newest_lsn and own.refresh():
                    manifest, stack = own.snapshot()
                if not 0 <= lsn <= manifest.newest_lsn:
                    raise LsnNotAvailableError(
                        f"branch {own.branch_id} has come to LSN {manifest.newest_lsn}, not {lsn}"
                    )
                if not manifest.is_readable(lsn):
                    raise HistoryExpiredError(lsn, self.oldest_lsn)
                yield history, lsn, stack
                lsn = own.fork_lsn
                if lsn == EMPTY_LSN:  # forked from nothing: nothing is inherited
                    return
            history = history.parent

    def _keeper_of(self, lsn: Lsn) -> BranchHistory:
        """The history that holds the commit: this one or an ancestor's."""
        history = self
        while history.parent is not None and lsn <= history.own.fork_lsn:
            history = history.parent
        return history.own
