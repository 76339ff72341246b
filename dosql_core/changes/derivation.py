"""The events of one commit after another, derived from the pages that each of them wrote.

Nothing is recorded when a transaction commits, so streams cost writers nothing, and the commits of
any program have their events.
"""

from __future__ import annotations

from collections.abc import Iterator

from dosql_core.changes.change_event import ChangeEvent, EventKind
from dosql_core.history.log import utc
from dosql_core.identifiers import BranchName, Lsn, PageNumber
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage, ParsedPages
from dosql_core.rows.row_change import row_change
from dosql_core.rows.row_difference import RowDifferences
from dosql_core.rows.table_layout import Schema, SchemaChange, read_schema, schema_changes
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import CommitFlag, CommitRecord

COMMITS_AT_ONCE = 256


class Derivation:
    """Walks a branch from one LSN on and tells what each commit did.

    Threads: one at a time.
    """

    def __init__(self, history: PageHistory, branch: BranchName, after: Lsn) -> None:
        self._history = history
        self._branch = branch
        self._parsed = ParsedPages()
        self.lsn = after
        self._image = PageImage(history.view(after), self._parsed)
        self._schema = read_schema(self._image.pages)
        self._schema_pages = self._pages_of_schema(self._image)

    def up_to(self, last: Lsn) -> Iterator[list[ChangeEvent]]:
        """The events of each commit up to `last`, commit by commit; none is skipped.

        Errors: HistoryExpiredError when commits are no longer kept; CorruptStoreError.
        """
        while self.lsn < last:
            first = Lsn(self.lsn + 1)
            until = min(Lsn(self.lsn + COMMITS_AT_ONCE), last)
            written = self._history.pages_written(first, until)
            for lsn in range(first, until + 1):
                events = self._events_of(Lsn(lsn), written[Lsn(lsn)])
                self.lsn = Lsn(lsn)
                yield events

    def _events_of(self, lsn: Lsn, written: list[PageNumber]) -> list[ChangeEvent]:
        record = self._history.commit(lsn)
        image = PageImage(self._history.view(lsn), self._parsed)
        before = self._image.pages.page_count
        cut_or_new = range(
            min(before, image.pages.page_count) + 1, max(before, image.pages.page_count) + 1
        )
        changed = {*written, *cut_or_new}
        schema = self._schema_at(image, changed)
        told = _Telling(self._branch, record)
        if record.flags & (CommitFlag.GAP | CommitFlag.BASE):
            told.add(EventKind.GAP)
        if schema is not self._schema:
            for change in schema_changes(self._schema, schema):
                told.add_schema_change(change)
        rows = RowDifferences(self._image, image, changed, self._schema.tables, schema.tables)
        pairs = {pair.name: pair for pair in rows.pairs}
        for difference in rows.of_tables():
            found = row_change(pairs[difference.table], difference)
            told.add(
                EventKind(found.operation.value),
                table=found.table,
                key=found.key,
                before=found.before,
                after=found.after,
            )
        told.add(EventKind.COMMIT)
        self._image, self._schema = image, schema
        return told.events

    def _schema_at(self, image: PageImage, changed: set[int]) -> Schema:
        """The schema of the next commit, read again only when its pages say so."""
        touched = changed & self._schema_pages
        if not touched or (
            touched == {SCHEMA_ROOT}
            and self._schema_pages == {SCHEMA_ROOT}
            and not (image.is_empty or self._image.is_empty)
            and self._image.rows_of_leaf(SCHEMA_ROOT) == image.rows_of_leaf(SCHEMA_ROOT)
        ):
            return self._schema
        self._schema_pages = self._pages_of_schema(image)
        return read_schema(image.pages)

    @staticmethod
    def _pages_of_schema(image: PageImage) -> set[int]:
        if image.is_empty:
            return {SCHEMA_ROOT}
        interior, leaves = image.tree_pages(SCHEMA_ROOT)
        return interior | leaves


class _Telling:
    """The events of one commit, numbered as they are added."""

    def __init__(self, branch: BranchName, record: CommitRecord) -> None:
        self._branch = branch
        self._record = record
        self._committed_at = utc(record.committed_at)
        self.events: list[ChangeEvent] = []
        self.add(EventKind.BEGIN, author=record.author, message=record.message)

    def add(self, operation: EventKind, **details: object) -> None:
        self.events.append(
            ChangeEvent(
                self._branch,
                self._record.lsn,
                len(self.events),
                self._committed_at,
                operation,
                **details,  # type: ignore[arg-type]
            )
        )

    def add_schema_change(self, change: SchemaChange) -> None:
        self.add(
            EventKind.SCHEMA,
            table=change.name,
            object_kind=change.kind,
            before=None if change.before is None else {"sql": change.before},
            after=None if change.after is None else {"sql": change.after},
        )
