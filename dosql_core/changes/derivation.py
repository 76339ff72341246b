"""The events of one commit after another, derived from the pages that each of them wrote.

Nothing is recorded when a transaction commits, so streams cost writers nothing, and the commits of
any program have their events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dosql_core.changes.change_cause import Causes
from dosql_core.changes.change_event import ChangeEvent, EventKind
from dosql_core.history.log import utc
from dosql_core.identifiers import SQLITE_HEADER_BYTES, BranchName, Lsn
from dosql_core.rows.btree_page import LEAF_TABLE
from dosql_core.rows.changed_leaves import KnownPages
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage, ParsedPages
from dosql_core.rows.row_change import Operation, named_row_change
from dosql_core.rows.row_difference import RowDifferences, TablePairs
from dosql_core.rows.table_layout import (
    Schema,
    SchemaChange,
    TableLayout,
    read_schema,
    schema_changes,
)
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.page_walk import LiveCommit, PageWalk, WalkedCommit
from dosql_core.storage.segment_format import CommitFlag, CommitRecord

_KINDS = {operation: EventKind(operation.value) for operation in Operation}


class Derivation:
    """Walks a branch from one LSN on and tells what each commit did.

    Shape:   `markers`: also the begin and the commit of each; they count either way.
    Threads: one at a time.
    """

    def __init__(
        self, history: PageHistory, branch: BranchName, after: Lsn, *, markers: bool = True
    ) -> None:
        self._branch = branch
        self._markers = markers
        self._walk = PageWalk(history, after)
        self._parsed = ParsedPages()
        self._known = KnownPages()
        self._image = PageImage(self._walk.present, self._parsed)
        self._schema = read_schema(self._walk.present)
        self._tables = TablePairs(self._schema.tables, self._schema.tables)
        self._schema_pages = _pages_of_schema(self._image)

    @property
    def lsn(self) -> Lsn:
        """The commit up to which everything was told."""
        return self._walk.lsn

    @property
    def tables(self) -> Mapping[str, TableLayout]:
        """The tables there are now, by name; another object when that has changed."""
        return self._schema.tables

    def up_to(self, last: Lsn) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        """The events of each commit up to `last`, commit by commit; none is skipped.

        Errors: HistoryExpiredError when commits are no longer kept; CorruptStoreError.
        """
        return self._told(self._walk.commits_up_to(last))

    def of(self, live: Sequence[LiveCommit]) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        """The same of the next commits, which no segment has yet."""
        return self._told(self._walk.commits_of(live))

    @property
    def is_heavy(self) -> bool:
        """Whether so much was told of live commits that `settle` is due."""
        return self._walk.is_heavy

    def settle(self) -> None:
        """Let go of what was read of live commits; call when all of them are captured."""
        self._walk.settle()

    def _told(self, commits: Iterator[WalkedCommit]) -> Iterator[tuple[Lsn, list[ChangeEvent]]]:
        for commit in commits:
            events = self._events_of(commit)
            self._walk.move_to(commit)
            self._image = self._image.moved_to(self._walk.present, is_header_same=True)
            yield commit.record.lsn, events

    def _events_of(self, commit: WalkedCommit) -> list[ChangeEvent]:
        record, after, versions = commit
        before = self._image
        image = before.moved_to(after, is_header_same=SCHEMA_ROOT not in versions)
        changed = set(versions)
        if before.pages.page_count != after.page_count:
            counts = sorted((before.pages.page_count, after.page_count))
            changed.update(range(counts[0] + 1, counts[1] + 1))
        told = _Telling(self._branch, record, self._markers)
        if record.flags & (CommitFlag.GAP | CommitFlag.BASE):
            self._known.forget()
            told.add(EventKind.GAP)
        schema, tables = self._schema_at(image, changed), self._tables
        if schema is not self._schema:
            self._known.forget()
            tables = TablePairs(self._schema.tables, schema.tables)
            for change in schema_changes(self._schema, schema):
                told.add_schema_change(change)
        causes = None if record.causes is None else Causes(record.causes)
        differences = RowDifferences(before, image, changed, tables, self._known)
        if causes is not None:
            differences.rowids = {}
        told.add_rows(differences, causes)
        told.add_marker(EventKind.COMMIT)
        if schema is not self._schema:
            self._known.forget()
            self._schema = schema
            self._tables = TablePairs(schema.tables, schema.tables)
        self._image = image
        return told.events

    def _schema_at(self, image: PageImage, changed: set[int]) -> Schema:
        """The schema of the next commit, read again only when its pages say so."""
        touched = changed & self._schema_pages
        if not touched or (touched == {SCHEMA_ROOT} and self._is_schema_same(image)):
            return self._schema
        self._schema_pages = _pages_of_schema(image)
        return read_schema(image.pages)

    def _is_schema_same(self, image: PageImage) -> bool:
        """Whether of the first page only the database's header differs, or a free part of it."""
        if image.is_empty or self._image.is_empty:
            return False
        was, now = self._image.read_page(SCHEMA_ROOT), image.read_page(SCHEMA_ROOT)
        if was[SQLITE_HEADER_BYTES:] == now[SQLITE_HEADER_BYTES:]:
            return True
        is_one_leaf = self._schema_pages == {SCHEMA_ROOT} and image.kind(SCHEMA_ROOT) == LEAF_TABLE
        return is_one_leaf and (
            self._image.rows_of_leaf(SCHEMA_ROOT) == image.rows_of_leaf(SCHEMA_ROOT)
        )


def _pages_of_schema(image: PageImage) -> set[int]:
    if image.is_empty:
        return {SCHEMA_ROOT}
    interior, leaves = image.tree_pages(SCHEMA_ROOT)
    return interior | leaves


class _Telling:
    """The events of one commit, numbered as they are added."""

    def __init__(self, branch: BranchName, record: CommitRecord, markers: bool) -> None:
        self._branch = branch
        self._record = record
        self._markers = markers
        self._committed_at = utc(record.committed_at)
        self.events: list[ChangeEvent] = []
        self._index = 0
        self.add_marker(EventKind.BEGIN)

    def add(self, operation: EventKind, **details: object) -> None:
        self.events.append(
            ChangeEvent(
                self._branch,
                self._record.lsn,
                self._index,
                self._committed_at,
                operation,
                **details,  # type: ignore[arg-type]
            )
        )
        self._index += 1

    def add_marker(self, operation: EventKind) -> None:
        if self._markers:
            record = self._record
            self.add(operation, author=record.author, message=record.message)
        else:
            self._index += 1

    def add_schema_change(self, change: SchemaChange) -> None:
        self.add(
            EventKind.SCHEMA,
            table=change.name,
            object_kind=change.kind,
            before=None if change.before is None else {"sql": change.before},
            after=None if change.after is None else {"sql": change.after},
        )

    def add_rows(self, differences: RowDifferences, causes: Causes | None) -> None:
        branch, lsn, committed_at = self._branch, self._record.lsn, self._committed_at
        append, index = self.events.append, self._index
        by_name = differences.tables.by_name
        cause = None
        for difference in differences.of_tables():
            operation, key, before, after = named_row_change(by_name[difference[0]], difference)
            if causes is not None:
                assert differences.rowids is not None
                cause = causes.of(difference, differences.rowids)
            append(
                ChangeEvent(
                    branch,
                    lsn,
                    index,
                    committed_at,
                    _KINDS[operation],
                    difference[0],
                    key,
                    before,
                    after,
                    cause,
                )
            )
            index += 1
        self._index = index
