"""The rows that differ between two moments, found from the pages that differ.

The cost follows what changed, not the size of the database: only leaves that changed, came or went
are taken apart. Where an interior page changed, the interior pages of the trees are walked too,
about one in a hundred of a table's pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue
from dosql_core.rows.btree_page import INDEX_KINDS, INTERIOR_TABLE, LEAF_TABLE
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage
from dosql_core.rows.table_layout import Identity, TableLayout

Row = tuple[SqlValue, ...]
Leaves = tuple[set[int], set[int]]
_NO_LEAVES: Leaves = (set(), set())


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that is not the same at both moments.

    Shape: `before` is None for a row that was inserted, `after` for one that was deleted; `key` is
           the primary key, or the rowid of a table or row that has none.
    """

    table: str
    key: Row
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class TablePair:
    """One table at both moments; None where a moment has no such table."""

    name: str
    before: TableLayout | None
    after: TableLayout | None

    @property
    def layout(self) -> TableLayout:
        """The table as it is, or as it was."""
        layout = self.after or self.before
        assert layout is not None
        return layout

    @property
    def is_another_table(self) -> bool:
        """Whether the name now belongs to a table of another kind of tree."""
        return (
            self.before is not None
            and self.after is not None
            and self.before.has_rowid != self.after.has_rowid
        )

    @property
    def moved(self) -> bool:
        """Whether its tree does not begin where it did."""
        return (
            self.before is None
            or self.after is None
            or self.before.root_page != self.after.root_page
        )


class RowDifferences:
    """What differs between two moments of one database, given the pages that do."""

    def __init__(
        self,
        before: PageImage,
        after: PageImage,
        changed_pages: Iterable[int],
        layouts_before: Mapping[str, TableLayout],
        layouts_after: Mapping[str, TableLayout],
    ) -> None:
        self._before = before
        self._after = after
        self._changed = set(changed_pages)
        self._explained: set[int] = set()
        names = dict.fromkeys([*layouts_before, *layouts_after])
        self.pairs = [
            TablePair(name, layouts_before.get(name), layouts_after.get(name)) for name in names
        ]

    def of_tables(
        self, wanted: Callable[[str], bool] = lambda table: True
    ) -> Iterator[RowDifference]:
        """The rows that differ, table by table.

        Errors: CorruptStoreError when pages make no tree.
        """
        if not self._changed:
            return
        touched = self._touched_leaves()
        for pair in self.pairs:
            if wanted(pair.name):
                yield from self._of_table(pair, touched.get(pair.name, _NO_LEAVES))
        yield from self._hidden_in_overflow(wanted)

    def _of_table(self, pair: TablePair, leaves: Leaves) -> Iterator[RowDifference]:
        if pair.is_another_table:
            for one_sided in (
                TablePair(pair.name, pair.before, None),
                TablePair(pair.name, None, pair.after),
            ):
                yield from self._of_table(one_sided, self._differing_leaves(one_sided))
        elif pair.layout.has_rowid:
            yield from self._of_leaves(pair, leaves)
        else:
            yield from self._of_index_tree(pair)

    # -- which leaves ------------------------------------------------------------------------------

    def _touched_leaves(self) -> dict[str, Leaves]:
        """For each table with rowids that may differ: the leaves to compare, before and after."""
        pairs = [p for p in self.pairs if p.layout.has_rowid and not p.is_another_table]
        if self._trees_may_differ():
            return {pair.name: self._differing_leaves(pair) for pair in pairs}
        touched: dict[str, Leaves] = {}
        for page in self._changed:
            if page != SCHEMA_ROOT and self._after.kind(page) == LEAF_TABLE:
                owner = self._owner_of(page, pairs)
                if owner is not None:
                    for leaves in touched.setdefault(owner, (set(), set())):
                        leaves.add(page)
        return touched

    def _trees_may_differ(self) -> bool:
        """Whether a tree may have other leaves than before; if not, a leaf is easily placed."""
        for page in self._changed:
            kinds = self._before.kind(page), self._after.kind(page)
            if INTERIOR_TABLE in kinds or (kinds[0] != kinds[1] and LEAF_TABLE in kinds):
                return True
        return any(pair.moved for pair in self.pairs)

    def _owner_of(self, page: int, pairs: list[TablePair]) -> str | None:
        """The table whose tree, which has the same pages at both moments, has this leaf."""
        image, rowid = self._after, self._after.first_rowid(page)
        if rowid is None:
            image, rowid = self._before, self._before.first_rowid(page)
        for pair in pairs:
            root = pair.layout.root_page
            if root == page or (rowid is not None and image.leaf_of(root, rowid) == page):
                return pair.name
        return None

    def _differing_leaves(self, pair: TablePair) -> Leaves:
        """The leaves that are not the same page with the same content at both moments."""
        before = self._before.tree_pages(pair.before.root_page)[1] if pair.before else set()
        after = self._after.tree_pages(pair.after.root_page)[1] if pair.after else set()
        return (
            (before - after) | (before & self._changed),
            (after - before) | (after & self._changed),
        )

    # -- which rows --------------------------------------------------------------------------------

    def _of_leaves(self, pair: TablePair, leaves: Leaves) -> Iterator[RowDifference]:
        before: dict[int, bytes] = {}
        after: dict[int, bytes] = {}
        for page in leaves[0] & leaves[1]:
            here, there = self._before.rows_differing_from(self._after, page)
            before.update(here)
            after.update(there)
        for page in leaves[0] - leaves[1]:
            before.update(self._before.rows_of_leaf(page))
        for page in leaves[1] - leaves[0]:
            after.update(self._after.rows_of_leaf(page))
        touched = sorted(
            rowid
            for rowid in before.keys() | after.keys()
            if before.get(rowid) != after.get(rowid)
            or self._overflow_differs(before[rowid], is_table=True)
        )
        yield from self._of_rowids(pair, touched, before, after)

    def _of_rowids(
        self,
        pair: TablePair,
        rowids: Iterable[int],
        before: Mapping[int, bytes],
        after: Mapping[int, bytes],
    ) -> Iterator[RowDifference]:
        old: dict[Identity, Row] = {}
        new: dict[Identity, Row] = {}
        for rowid in rowids:
            for image, layout, cells, rows in (
                (self._before, pair.before, before, old),
                (self._after, pair.after, after, new),
            ):
                cell = cells.get(rowid)
                if layout is not None and cell is not None:
                    self._explained.update(image.overflow_pages(cell, is_table=True))
                    row = layout.row(image.record(cell, is_table=True), rowid)
                    rows[layout.identity(row, rowid)] = row
        if not pair.layout.key and self._is_renumbered(pair):
            yield from _as_multisets(pair, old, new)
        else:
            yield from _paired(pair, old, new)

    def _of_index_tree(self, pair: TablePair) -> Iterator[RowDifference]:
        """Those of a WITHOUT ROWID table, whose interior pages hold rows too."""
        if not pair.moved and not self._index_pages_changed():
            return
        pages_before = _tree(self._before, pair.before)
        pages_after = _tree(self._after, pair.after)
        only_before = (pages_before - pages_after) | (pages_before & self._changed)
        only_after = (pages_after - pages_before) | (pages_after & self._changed)
        cells_before = {c for page in only_before for c in self._before.cells_of_index_page(page)}
        cells_after = {c for page in only_after for c in self._after.cells_of_index_page(page)}
        same = {
            cell
            for cell in cells_before & cells_after
            if not self._overflow_differs(cell, is_table=False)
        }
        old = self._keyed_rows(self._before, pair.before, cells_before - same)
        new = self._keyed_rows(self._after, pair.after, cells_after - same)
        yield from _paired(pair, old, new)

    def _keyed_rows(
        self, image: PageImage, layout: TableLayout | None, cells: Iterable[bytes]
    ) -> dict[Identity, Row]:
        rows: dict[Identity, Row] = {}
        for cell in cells if layout is not None else ():
            assert layout is not None
            self._explained.update(image.overflow_pages(cell, is_table=False))
            row = layout.row(image.record(cell, is_table=False), None)
            rows[layout.identity(row, None)] = row
        return rows

    def _index_pages_changed(self) -> bool:
        return any(
            image.kind(page) in INDEX_KINDS
            for page in self._changed
            for image in (self._before, self._after)
        )

    def _is_renumbered(self, pair: TablePair) -> bool:
        """Whether VACUUM, which gives rows without a key new rowids, may have come between."""
        return (
            self._before.schema_cookie != self._after.schema_cookie
            and not (pair.before is None or pair.after is None)
            and pair.before.sql == pair.after.sql
            and 2 * len(self._changed) > self._after.pages.page_count
        )

    # -- overflow pages overwritten in place -------------------------------------------------------

    def _overflow_differs(self, cell: bytes, *, is_table: bool) -> bool:
        """Whether equal cells lead to overflow pages of which one was overwritten in place."""
        if cell[0] < 0x80:  # a payload of less than 128 bytes never overflows
            return False
        pages = self._before.overflow_pages(cell, is_table=is_table)
        return any(page in self._changed for page in pages)

    def _hidden_in_overflow(self, wanted: Callable[[str], bool]) -> Iterator[RowDifference]:
        """Rows whose leaf did not change, but an overflow page of theirs did.

        SQLite overwrites a value of the same size in place, and incremental blob writes do too.
        Nothing leads from such a page to its row, so all rows with overflow pages are looked at.
        """
        unexplained = {
            page
            for page in self._changed - self._explained
            if self._before.may_be_overflow(page)
            and self._after.has(page)
            and self._before.read_page(page)[:4] == self._after.read_page(page)[:4]
        }
        unexplained -= self._before.free_list() | self._after.free_list()
        for pair in self.pairs:
            if not unexplained:
                return
            if pair.before is None or pair.after is None or pair.is_another_table:
                continue
            if wanted(pair.name):
                pages = _tree(self._before, pair.before) & _tree(self._after, pair.after)
                for page in pages:
                    yield from self._hidden_below(pair, page, unexplained)

    def _hidden_below(
        self, pair: TablePair, page: int, unexplained: set[int]
    ) -> Iterator[RowDifference]:
        is_table = pair.layout.has_rowid
        if is_table and {self._before.kind(page), self._after.kind(page)} != {LEAF_TABLE}:
            return
        hidden = {
            place: cell
            for place, cell in self._cells_kept(page, is_table).items()
            if cell[0] >= 0x80
            and not unexplained.isdisjoint(self._before.overflow_pages(cell, is_table=is_table))
        }
        for cell in hidden.values():
            unexplained.difference_update(self._before.overflow_pages(cell, is_table=is_table))
        if is_table:
            yield from self._of_rowids(pair, hidden, hidden, hidden)
        else:
            old = self._keyed_rows(self._before, pair.before, hidden.values())
            new = self._keyed_rows(self._after, pair.after, hidden.values())
            yield from _paired(pair, old, new)

    def _cells_kept(self, page: int, is_table: bool) -> dict[int, bytes]:
        """The cells of a page that are the same bytes at both moments."""
        if is_table:
            cells = self._before.rows_of_leaf(page)
            if page in self._changed:
                later = self._after.rows_of_leaf(page)
                cells = {rowid: cell for rowid, cell in cells.items() if later.get(rowid) == cell}
            return cells
        keys = self._before.cells_of_index_page(page)
        if page in self._changed:
            still_there = set(self._after.cells_of_index_page(page))
            keys = [cell for cell in keys if cell in still_there]
        return dict(enumerate(keys))


def _tree(image: PageImage, layout: TableLayout | None) -> set[int]:
    if layout is None:
        return set()
    interior, leaves = image.tree_pages(layout.root_page)
    return interior | leaves


def _paired(
    pair: TablePair, old: Mapping[Identity, Row], new: Mapping[Identity, Row]
) -> Iterator[RowDifference]:
    for identity in dict.fromkeys([*old, *new]):
        before, after = old.get(identity), new.get(identity)
        if before is None or after is None or not _is_same_row(pair, before, after):
            yield RowDifference(pair.name, identity[1], before, after)


def _as_multisets(
    pair: TablePair, old: Mapping[Identity, Row], new: Mapping[Identity, Row]
) -> Iterator[RowDifference]:
    held, holds = Counter(map(_typed, old.values())), Counter(map(_typed, new.values()))
    gone, come = held - holds, holds - held
    for (_, key), row in old.items():
        if gone[_typed(row)] > 0:
            gone[_typed(row)] -= 1
            yield RowDifference(pair.name, key, row, None)
    for (_, key), row in new.items():
        if come[_typed(row)] > 0:
            come[_typed(row)] -= 1
            yield RowDifference(pair.name, key, None, row)


def _typed(row: Row) -> tuple[tuple[type, SqlValue], ...]:
    """The row so that 1 and 1.0 differ, as they do in SQLite; to Python they are equal."""
    return tuple((type(value), value) for value in row)


def _is_same_row(pair: TablePair, before: Row, after: Row) -> bool:
    """Whether the columns that both moments have hold the same, and new ones their defaults."""
    assert pair.before is not None
    assert pair.after is not None
    if pair.before.columns != pair.after.columns:
        was = dict(zip(pair.before.columns, before, strict=True))
        expected = zip(pair.after.columns, pair.after.defaults, strict=True)
        before = tuple(was.get(column, default) for column, default in expected)
    return before == after and _typed(before) == _typed(after)
