"""What one table looked like along time: from which commit on it had which columns and root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dosql_core.identifiers import SQLITE_HEADER_BYTES, Lsn, SqlValue
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage, ParsedPages
from dosql_core.rows.table_layout import TableLayout, read_schema, renamed_columns
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.page_timeline import PageTimeline

_COOKIE_AT = slice(40, 44)


@dataclass(frozen=True, slots=True)
class TableEpoch:
    """A stretch of time in which a table was defined the same way.

    Shape: `start` is the commit that began it; `layout` is None while there is no such table.
    """

    start: Lsn
    layout: TableLayout | None


@dataclass(frozen=True, slots=True)
class _Definition:
    name: str
    root_page: int
    sql: str
    automatic_indexes: tuple[tuple[str, int], ...]


class TableEpochs:
    """The epochs of the table of that name, up to the LSN it has been extended to."""

    def __init__(self, table: str, first: Lsn) -> None:
        self.table = table
        self.epochs: list[TableEpoch] = []
        self._folded = table.casefold()
        self._parsed = ParsedPages()
        self._at = first
        self._definition: _Definition | None = None
        self._schema_pages: set[int] = set()

    def extend(self, history: PageHistory, timeline: PageTimeline) -> None:
        """Take notice of the commits up to the end of the timeline."""
        if not self.epochs:
            self._look(history, self._at)
        if timeline.last <= self._at:
            return
        for lsn in self._schema_commits(timeline):
            self._look(history, lsn)
        self._at = timeline.last

    def at(self, lsn: int) -> int:
        """The index of the epoch that a commit belongs to."""
        low, high = 0, len(self.epochs)
        while high - low > 1:
            middle = (low + high) // 2
            if self.epochs[middle].start <= lsn:
                low = middle
            else:
                high = middle
        return low

    def newest_existing(self, lsn: int) -> int | None:
        """The epoch of the newest table there was up to `lsn`; None if there never was one."""
        for index in range(self.at(lsn), -1, -1):
            if self.epochs[index].layout is not None and self.epochs[index].start <= lsn:
                return index
        return None

    def _schema_commits(self, timeline: PageTimeline) -> Iterator[Lsn]:
        """The commits that wrote pages of the schema; looking at one may move where those are."""
        at = self._at
        known = _marks(timeline.page_at(SCHEMA_ROOT, at))
        roots = iter(timeline.versions(SCHEMA_ROOT, at + 1, timeline.last))
        root_lsn = _next_change(roots, known)
        while True:
            others = [
                lsn
                for page in self._schema_pages - {SCHEMA_ROOT}
                if (lsn := timeline.next_written(page, at)) is not None
            ]
            lsns = others if root_lsn is None else [*others, root_lsn[0]]
            if not lsns:
                return
            at = min(lsns)
            if root_lsn is not None and root_lsn[0] == at:
                root_lsn = _next_change(roots, root_lsn[1])
            yield at

    def _look(self, history: PageHistory, lsn: Lsn) -> None:
        view = history.view(lsn)
        image = PageImage(view, self._parsed)
        definition = None if image.is_empty else self._find(image)
        if self.epochs and definition == self._definition:
            return
        self._definition = definition
        layout = None
        if definition is not None:
            layout = read_schema(view).tables.get(definition.name)
        self.epochs.append(TableEpoch(lsn, layout))

    def _find(self, image: PageImage) -> _Definition | None:
        interior, leaves = image.tree_pages(SCHEMA_ROOT)
        self._schema_pages = interior | leaves
        found: tuple[str, int, str] | None = None
        indexes: list[tuple[str, int]] = []
        for leaf in leaves:
            for cell in image.rows_of_leaf(leaf).values():
                kind, name, table, root_page, sql = image.record(cell, is_table=True)
                if str(table).casefold() == self._folded and isinstance(root_page, int):
                    if kind == "table" and root_page:
                        found = str(name), root_page, str(sql)
                    elif kind == "index" and sql is None:
                        indexes.append((str(name), root_page))
        return None if found is None else _Definition(*found, tuple(sorted(indexes)))


def _marks(page: bytes) -> bytes:
    return page[_COOKIE_AT] + page[SQLITE_HEADER_BYTES:]


def _next_change(versions: Iterator[tuple[Lsn, bytes]], known: bytes) -> tuple[Lsn, bytes] | None:
    for lsn, content in versions:
        marks = _marks(content)
        if marks != known:
            return lsn, marks
    return None


# -- one row through several definitions -----------------------------------------------------------


def column_sources(
    epochs: Sequence[TableEpoch], source: int, target: int
) -> tuple[int | None, ...]:
    """For each column of the `target` epoch where a row of the `source` epoch has it, or None.

    Columns go by their names. One that was renamed while the table stayed as it was is followed;
    one that was dropped and added again is another one.
    """
    of_target = epochs[target].layout
    assert of_target is not None
    layout = epochs[source].layout
    assert layout is not None
    sources: dict[str, int] = {name: place for place, name in enumerate(layout.columns)}
    before: TableLayout | None = layout
    for index in range(source + 1, target + 1):
        after = epochs[index].layout
        if before is not None and after is not None:
            renamed = renamed_columns(before, after)
            sources = {
                name: place
                for old, place in sources.items()
                if (name := renamed.get(old, old)) in after.columns
            }
        before = after
    return tuple(sources.get(name) for name in of_target.columns)


def converted_row(
    row: Sequence[SqlValue], sources: Sequence[int | None], defaults: Sequence[SqlValue]
) -> tuple[SqlValue, ...]:
    """A row with the columns of another epoch; what it does not have holds their defaults."""
    return tuple(
        default if place is None else row[place]
        for place, default in zip(sources, defaults, strict=True)
    )
