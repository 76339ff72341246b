"""The rows that differ between two moments, found from the pages that differ.

The cost follows what changed, not the size of the database: only leaves that changed, came or went
are taken apart, and of those only the cells that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from dosql_core.identifiers import SqlValue
from dosql_core.rows.btree_page import INDEX_KINDS, INTERIOR_TABLE, LEAF_TABLE
from dosql_core.rows.changed_leaves import (
    ChangedLeaves,
    KnownPages,
    Leaves,
    TablePair,
    changed_pages_of_index_tree,
    whole_tree,
)
from dosql_core.rows.page_image import PageImage
from dosql_core.rows.table_layout import Identity, TableLayout

Row = tuple[SqlValue, ...]
_BTREE_KINDS = INDEX_KINDS | {INTERIOR_TABLE, LEAF_TABLE}
_BTREE_PAGES_MAX = 1 << 25
"""In a database of fewer pages no overflow page begins with a byte that a b-tree page begins with:
it begins with the number of another page."""


class RowDifference(NamedTuple):
    """One row that is not the same at both moments.

    Shape: `before` is None for a row that was inserted, `after` for one that was deleted; `key` is
           the primary key, or the rowid of a table or row that has none.
    """

    table: str
    key: Row
    before: Row | None
    after: Row | None


class TablePairs:
    """The tables of two moments, side by side, under the names they have at the later one.

    `renamed` are those that go by another name there; without it a table is what its name says.
    """

    def __init__(
        self,
        layouts_before: Mapping[str, TableLayout],
        layouts_after: Mapping[str, TableLayout],
        *,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        renamed = renamed or {}
        was_called = {is_now: was for was, is_now in renamed.items()}
        names = dict.fromkeys([*(renamed.get(n, n) for n in layouts_before), *layouts_after])
        self.all = [
            TablePair(name, layouts_before.get(was_called.get(name, name)), layouts_after.get(name))
            for name in names
        ]
        self.by_name = {pair.name: pair for pair in self.all}
        same = [pair for pair in self.all if not pair.is_another_table]
        self.with_rowids = [pair for pair in same if pair.layout.has_rowid]
        self.have_others = len(self.with_rowids) < len(self.all)


class RowDifferences:
    """What differs between two moments of one database, given the pages that do.

    Shape: `known` is what earlier comparisons that led up to the moment before found out.
    """

    def __init__(
        self,
        before: PageImage,
        after: PageImage,
        changed_pages: Iterable[int],
        tables: TablePairs,
        known: KnownPages | None = None,
    ) -> None:
        self._before = before
        self._after = after
        self._changed = set(changed_pages)
        self._known = known or KnownPages()
        self._explained: set[int] = set()
        self.tables = tables
        # Whoever wants to know the rowids of rows with another key puts a dictionary here.
        self.rowids: dict[tuple[str, Row], int] | None = None

    @property
    def pairs(self) -> list[TablePair]:
        """The tables of both moments."""
        return self.tables.all

    def of_tables(self, wanted: Callable[[str], bool] | None = None) -> Iterator[RowDifference]:
        """The rows that differ, table by table.

        Errors: CorruptStoreError when pages make no tree.
        """
        if not self._changed:
            return
        touched = ChangedLeaves(
            self._before, self._after, self._changed, self.tables.with_rowids, self._known
        ).by_table()
        in_place = self._maybe_overwritten_in_place()
        found = self._of_changed_leaves(touched, wanted)
        if in_place:
            visible = list(found)
            hidden = self._hidden_in_overflow(in_place - self._explained, wanted)
            found = self._by_key(visible, list(hidden))
        yield from found
        for page in self._explained:
            self._known.kinds.pop(page, None)

    def _of_changed_leaves(
        self, touched: Mapping[str, Leaves], wanted: Callable[[str], bool] | None
    ) -> Iterator[RowDifference]:
        tables = self.tables
        if len(touched) <= 1 and not tables.have_others:
            for name, leaves in touched.items():
                if wanted is None or wanted(name):
                    yield from self._of_leaves(tables.by_name[name], leaves)
        else:
            for pair in tables.all:
                if wanted is None or wanted(pair.name):
                    yield from self._of_table(pair, touched.get(pair.name))

    def _of_table(self, pair: TablePair, leaves: Leaves | None) -> Iterator[RowDifference]:
        if pair.is_another_table:
            for one_sided in (
                TablePair(pair.name, pair.before, None),
                TablePair(pair.name, None, pair.after),
            ):
                yield from self._of_table(one_sided, self._of_one_side(one_sided))
        elif not pair.layout.has_rowid:
            yield from self._of_index_tree(pair)
        elif leaves is not None:
            yield from self._of_leaves(pair, leaves)

    def _of_one_side(self, pair: TablePair) -> Leaves:
        found = Leaves()
        for image, layout, leaves in (
            (self._before, pair.before, found.before),
            (self._after, pair.after, found.after),
        ):
            if layout is not None and layout.has_rowid:
                leaves |= image.tree_pages(layout.root_page)[1]
        return found

    # -- which rows --------------------------------------------------------------------------------

    def _of_leaves(self, pair: TablePair, leaves: Leaves) -> Iterator[RowDifference]:
        before: dict[int, bytes] = {}
        after: dict[int, bytes] = {}
        if leaves.before == leaves.after:
            common: Iterable[int] = leaves.before
        else:
            common = leaves.before & leaves.after
            for page in leaves.before - leaves.after:
                before.update(self._before.rows_of_leaf(page))
            for page in leaves.after - leaves.before:
                after.update(self._after.rows_of_leaf(page))
        for page in common:
            here, there = self._before.rows_differing_from(self._after, page)
            before.update(here)
            after.update(there)
        touched = [
            rowid
            for rowid in sorted(before.keys() | after.keys())
            if before.get(rowid) != after.get(rowid)
            or self._overflow_differs(before[rowid], is_table=True)
        ]
        yield from self._of_rowids(pair, touched, before, after)

    def _of_rowids(
        self,
        pair: TablePair,
        rowids: Collection[int],
        before: Mapping[int, bytes],
        after: Mapping[int, bytes],
    ) -> Iterator[RowDifference]:
        old = self._rows_of(self._before, pair.before, rowids, before)
        new = self._rows_of(self._after, pair.after, rowids, after)
        if not pair.layout.key and self.is_renumbered(pair):
            yield from _as_multisets(pair, old, new)
        else:
            yield from _paired(pair, old, new)

    def _rows_of(
        self,
        image: PageImage,
        layout: TableLayout | None,
        rowids: Iterable[int],
        cells: Mapping[int, bytes],
    ) -> dict[Identity, Row]:
        rows: dict[Identity, Row] = {}
        if layout is None or not cells:
            return rows
        record, may_overflow = image.record, image.may_overflow
        make_row, identity = layout.row, layout.identity
        rowids_of = self.rowids
        for rowid in rowids:
            cell = cells.get(rowid)
            if cell is not None:
                if may_overflow(cell, is_table=True):
                    self._explained.update(image.overflow_pages(cell, is_table=True))
                row = make_row(record(cell, is_table=True), rowid)
                key = identity(row, rowid)
                rows[key] = row
                if rowids_of is not None:
                    rowids_of[layout.name, key[1]] = rowid
        return rows

    def _of_index_tree(self, pair: TablePair) -> Iterator[RowDifference]:
        """Those of a WITHOUT ROWID table, whose interior pages hold rows too."""
        if pair.moved:
            before = whole_tree(self._before, pair.before)
            after = whole_tree(self._after, pair.after)
            only_before = (before - after) | (before & self._changed)
            only_after = (after - before) | (after & self._changed)
        else:
            only_before, only_after = changed_pages_of_index_tree(
                pair, self._before, self._after, self._changed, self._known
            )
        if not only_before and not only_after:
            return
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
        if layout is None:
            return rows
        for cell in sorted(cells):  # for the events of a commit always come in the same order
            self._explained.update(image.overflow_pages(cell, is_table=False))
            row = layout.row(image.record(cell, is_table=False), None)
            rows[layout.identity(row, None)] = row
        return rows

    def is_renumbered(self, pair: TablePair) -> bool:
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
        if not self._before.may_overflow(cell, is_table=is_table):
            return False
        pages = self._before.overflow_pages(cell, is_table=is_table)
        return any(page in self._changed for page in pages)

    def _maybe_overwritten_in_place(self) -> set[int]:
        """The changed pages in which the rest of a row may be at both moments.

        The chain may go on in another page than it did: a row that was deleted and made anew gets
        the pages nearest to each other, of those that are free by then.
        """
        kinds = self._known.kinds
        are_few = self._before.pages.page_count < _BTREE_PAGES_MAX
        return {
            page
            for page in self._changed
            if not (are_few and kinds.get(page) in _BTREE_KINDS)
            and self._before.may_be_overflow(page)
            and self._after.may_be_overflow(page)
        }

    def _hidden_in_overflow(
        self, unexplained: set[int], wanted: Callable[[str], bool] | None
    ) -> Iterator[RowDifference]:
        """Rows whose leaf did not change, but an overflow page of theirs did.

        SQLite overwrites a value of the same size in place, incremental blob writes do too, and a
        row that takes the place of another may get its pages. Where its key goes on there, that is
        a row gone and another one come.
        Nothing leads from such a page to its row, so all rows with overflow pages are looked at.
        """
        if unexplained:
            unexplained -= self._before.free_list() | self._after.free_list()
        for pair in self.pairs:
            if not unexplained:
                return
            if pair.before is None or pair.after is None or pair.is_another_table:
                continue
            if wanted is None or wanted(pair.name):
                yield from self._hidden_of_table(pair, unexplained)

    def _hidden_of_table(self, pair: TablePair, unexplained: set[int]) -> Iterator[RowDifference]:
        is_table = pair.layout.has_rowid
        pages = whole_tree(self._before, pair.before) & whole_tree(self._after, pair.after)
        hidden: dict[int | bytes, bytes] = {}
        for page in sorted(pages):
            if is_table and {self._before.kind(page), self._after.kind(page)} != {LEAF_TABLE}:
                continue
            for place, cell in self._cells_kept(page, is_table):
                if self._before.may_overflow(cell, is_table=is_table):
                    chain = set(self._before.overflow_pages(cell, is_table=is_table))
                    if not unexplained.isdisjoint(chain):
                        hidden[place] = cell
                        unexplained -= chain
        if is_table:
            yield from self._of_rowids(pair, hidden, hidden, hidden)  # type: ignore[arg-type]
        else:
            old = self._keyed_rows(self._before, pair.before, hidden.values())
            new = self._keyed_rows(self._after, pair.after, hidden.values())
            yield from _paired(pair, old, new)

    def _by_key(
        self, visible: Iterable[RowDifference], hidden: Iterable[RowDifference]
    ) -> Iterator[RowDifference]:
        """Both together, each key once: the row of a key may have gone from a cell that changed,
        and come in one that only its overflow pages make another row; or the other way."""
        by_key = {}
        for difference in hidden:
            by_key[self._keyed(difference)] = difference
        for difference in visible:
            other = by_key.pop(self._keyed(difference), None) if by_key else None
            if other is None:
                yield difference
                continue
            gone, come = (other, difference) if difference.before is None else (difference, other)
            assert gone.before is not None
            assert come.after is not None
            if not _is_same_row(self.tables.by_name[gone.table], gone.before, come.after):
                yield gone._replace(after=come.after)
        yield from by_key.values()

    def _keyed(self, difference: RowDifference) -> tuple[str, bool, Row]:
        pair = self.tables.by_name[difference.table]
        layout, row = (
            (pair.before, difference.before)
            if difference.after is None
            else (pair.after, difference.after)
        )
        assert layout is not None
        assert row is not None
        return difference.table, layout.identity(row, None)[0], difference.key

    def _cells_kept(self, page: int, is_table: bool) -> Iterable[tuple[int | bytes, bytes]]:
        """The cells of a page that are the same bytes at both moments, by what tells them apart."""
        if is_table:
            cells = self._before.rows_of_leaf(page)
            if page in self._changed:
                later = self._after.rows_of_leaf(page)
                return [item for item in cells.items() if later.get(item[0]) == item[1]]
            return cells.items()
        keys = self._before.cells_of_index_page(page)
        if page in self._changed:
            still_there = set(self._after.cells_of_index_page(page))
            keys = [cell for cell in keys if cell in still_there]
        return [(cell, cell) for cell in keys]


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
