"""Walking a branch commit by commit: the pages before and after each, read once and kept.

A view of every commit would cost more than reading what the commit changed, so a walk keeps one
present that it carries from commit to commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dosql_core.errors import HistoryExpiredError
from dosql_core.identifiers import BranchId, Lsn
from dosql_core.storage.page_history import LiveVersion, PageHistory, WrittenVersion
from dosql_core.storage.segment_format import CommitRecord

_COMMITS_AT_ONCE = 4096
_VERSIONS_AT_ONCE = 50_000
_KEPT_BYTES_MAX = 32 << 20

Versions = Mapping[int, WrittenVersion | LiveVersion]


class PageWalk:
    """The pages of a branch, moved from one commit to the next.

    Threads: one at a time.
    Errors:  every method: as `PageHistory.view`; CorruptStoreError.
    """

    def __init__(self, history: PageHistory, after: Lsn) -> None:
        self._history = history
        self.lsn = after
        self._base = history.view(after)
        self._moved: dict[int, WrittenVersion | LiveVersion] = {}
        self._contents: dict[int, bytes] = {}
        self.kept_pages_max = max(_KEPT_BYTES_MAX // history.page_size, 64)
        self.present = WalkedPages(self, self._base.page_count, {})

    def commits_up_to(self, last: Lsn) -> Iterator[WalkedCommit]:
        """Each commit; `present` is before it until `move_to` is called, which has to be."""
        history = self._history
        while self.lsn < last:
            records = self._next_records(last)
            self._base = history.view(self.lsn)
            self._moved = {}
            written = history.versions_written(records[0].lsn, records[-1].lsn)
            for record in records:
                versions = written.pop(record.lsn)
                after = WalkedPages(self, record.page_count, versions)
                yield WalkedCommit(record, after, versions)

    def commits_of(self, live: Sequence[LiveCommit]) -> Iterator[WalkedCommit]:
        """The same for commits that no segment has yet, the next of the branch."""
        branch_id = self._history.own.branch_id
        for record, pages in live:
            assert record.lsn == self.lsn + 1
            versions = {
                page: LiveVersion((branch_id, record.lsn), content)
                for page, content in pages.items()
            }
            yield WalkedCommit(record, WalkedPages(self, record.page_count, versions), versions)

    @property
    def is_heavy(self) -> bool:
        """Whether so much was read of live commits that `settle` is due."""
        return len(self._moved) > self.kept_pages_max

    def settle(self) -> None:
        """Let go of what was read of live commits; segments have it by now."""
        self._base = self._history.view(self.lsn)
        self._moved = {}

    def move_to(self, commit: WalkedCommit) -> None:
        """Make the pages after the commit the present ones."""
        versions, read = commit.versions, commit.after.read
        self._moved.update(versions)
        kept = self._contents
        if len(kept) + len(versions) > self.kept_pages_max:
            kept.clear()
        for page in versions:
            content = read.get(page)
            if content is not None:
                kept[page] = content
            else:
                kept.pop(page, None)
        self.present = WalkedPages(self, commit.after.page_count, {})
        self.lsn = commit.record.lsn

    def _next_records(self, last: Lsn) -> list[CommitRecord]:
        """The next commits: as many as have a bounded number of page versions, one at least."""
        first = Lsn(self.lsn + 1)
        records: list[CommitRecord] = []
        versions = 0
        for record in self._history.commits(first, min(last, Lsn(self.lsn + _COMMITS_AT_ONCE))):
            versions += record.version_count
            if records and versions > _VERSIONS_AT_ONCE:
                break
            if record.lsn != first + len(records):
                break
            records.append(record)
        if not records:
            raise HistoryExpiredError(first, self._history.oldest_lsn)
        return records

    def content(self, page: int) -> bytes:
        """The present content of a page."""
        found = self._contents.get(page)
        if found is None:
            moved = self._moved.get(page)
            # A page cut off before and there again holds what it held, if nobody wrote it since.
            found = self._base.read_newest(page) if moved is None else moved.read(page)
            if len(self._contents) >= self.kept_pages_max:
                self._contents.clear()
            self._contents[page] = found
        return found

    def version(self, page: int) -> tuple[BranchId, Lsn] | None:
        """Which commit wrote the page as it is at present."""
        moved = self._moved.get(page)
        return self._base.newest_version(page) if moved is None else moved.version


class WalkedCommit(NamedTuple):
    """A commit, the pages after it, and the versions of pages that it made."""

    record: CommitRecord
    after: WalkedPages
    versions: Versions


LiveCommit = tuple[CommitRecord, Mapping[int, bytes]]
"""A commit that no segment has yet, and the pages it wrote."""


class WalkedPages:
    """The pages of one moment of a walk."""

    __slots__ = ("_new", "_walk", "page_count", "page_size", "read")

    def __init__(self, walk: PageWalk, page_count: int, new: Versions) -> None:
        self._walk = walk
        self._new = new
        self.page_count = page_count
        self.page_size = walk._history.page_size
        self.read: dict[int, bytes] = {}

    def read_page(self, page: int) -> bytes:
        """The content of a page.

        Errors: ValueError when the database has no such page at this moment.
        """
        if not 0 < page <= self.page_count:
            raise ValueError(f"page {page} of {self.page_count}")
        new = self._new.get(page)
        if new is None:
            return self._walk.content(page)
        found = self.read.get(page)
        if found is None:
            found = new.read(page)
            if len(self.read) < self._walk.kept_pages_max:
                self.read[page] = found
        return found

    def version(self, page: int) -> tuple[BranchId, Lsn] | None:
        """Which commit wrote the page as it is here."""
        new = self._new.get(page)
        return self._walk.version(page) if new is None else new.version
