"""Which leaves of which tables have to be compared, found from the pages that differ.

A page says of itself only what kind it is. Which table it belongs to is found by searching the
tables' trees for one of its rows. A page can only have joined or left a tree where an interior
page of that tree, or its root, differs; so the trees are never walked as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dosql_core.errors import CorruptStoreError
from dosql_core.rows.btree_page import INTERIOR_TABLE, LEAF_TABLE
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage
from dosql_core.rows.table_layout import TableLayout

TreePages = tuple[set[int], set[int]]
"""The interior pages of a tree, and its leaves."""


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


@dataclass(slots=True)
class KnownPages:
    """What was found out about the pages of the earlier moment; kept from commit to commit.

    Shape: `kinds` is the kind a page was last seen to be, wrong only for pages that no table has
           had since; `owners` the table of a leaf, `index_trees` the pages of a WITHOUT ROWID table
           by its root, both right; `guesses` may be wrong.
    """

    kinds: dict[int, int] = field(default_factory=dict)
    owners: dict[int, str | None] = field(default_factory=dict)
    guesses: dict[int, str] = field(default_factory=dict)
    index_trees: dict[int, TreePages] = field(default_factory=dict)

    def forget(self) -> None:
        """After a change of the schema nothing is known."""
        for known in (self.kinds, self.owners, self.guesses, self.index_trees):
            known.clear()


@dataclass(slots=True)
class Leaves:
    """The leaves of one table to be compared, at the moment before and at the one after."""

    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)


class ChangedLeaves:
    """Finds the leaves of tables with rowids that may hold rows that differ."""

    def __init__(
        self,
        before: PageImage,
        after: PageImage,
        changed: set[int],
        pairs: Sequence[TablePair],
        known: KnownPages,
    ) -> None:
        self._before = before
        self._after = after
        self._changed = changed
        self._moved = [pair for pair in pairs if pair.moved]
        self._roots = {pair.name: pair.layout.root_page for pair in pairs if not pair.moved}
        self._known = known

    def by_table(self) -> dict[str, Leaves]:
        """The leaves to compare of each table that has any."""
        if self._moved or (found := self._of_same_trees()) is None:
            self._known.owners.clear()
            found = self._of_other_trees()
            for pair in self._moved:
                found[pair.name] = self._of_whole_trees(pair)
        return found

    def _of_same_trees(self) -> dict[str, Leaves] | None:
        """Where every tree has the pages it had; None when one may have others."""
        kinds, owners = self._known.kinds, self._known.owners
        leaves = []
        for page in self._changed:
            kind = kinds.get(page)
            if kind is None:
                kind = kinds[page] = self._before.kind(page)
            if kind == LEAF_TABLE:
                if self._after.kind(page) != LEAF_TABLE:
                    return None
                if page != SCHEMA_ROOT:
                    leaves.append(page)
            elif kind == INTERIOR_TABLE:
                return None
        found: dict[str, Leaves] = {}
        for page in leaves:
            owner = owners.get(page, "")
            if owner == "":
                owner = self._owner(self._before, page) or self._owner(self._after, page)
                owners[page] = owner
            if owner is not None:
                touched = found.setdefault(owner, Leaves())
                touched.before.add(page)
                touched.after.add(page)
        return found

    def _of_other_trees(self) -> dict[str, Leaves]:
        before, after = self._before, self._after
        found: dict[str, Leaves] = {}
        interior: dict[str, tuple[set[int], set[int]]] = {}
        kinds = self._known.kinds
        for page in self._changed:
            for place, image in enumerate((before, after)):
                kind = image.kind(page)
                if kind not in (LEAF_TABLE, INTERIOR_TABLE) or page == SCHEMA_ROOT:
                    continue
                owner = self._owner(image, page)
                if owner is None:
                    continue
                if kind == INTERIOR_TABLE:
                    interior.setdefault(owner, (set(), set()))[place].add(page)
                else:
                    leaves = found.setdefault(owner, Leaves())
                    (leaves.before if place == 0 else leaves.after).add(page)
            kinds[page] = after.kind(page)
        for owner, (pages_before, pages_after) in interior.items():
            leaves = found.setdefault(owner, Leaves())
            had = {child for page in pages_before for child in before.children(page)}
            has = {child for page in pages_after for child in after.children(page)}
            for image, children, into in (
                (before, had - has, leaves.before),
                (after, has - had, leaves.after),
            ):
                for child in children:
                    inner, below = image.tree_pages(child)
                    into |= below
                    for page in (*inner, *below):
                        kinds.pop(page, None)
        for owner, leaves in found.items():
            # A leaf that changed its place in the tree was found on one side only.
            both = [
                (leaves.before - leaves.after, after, leaves.after),
                (leaves.after - leaves.before, before, leaves.before),
            ]
            for pages, image, into in both:
                into |= {page for page in pages if self._has(image, owner, page)}
        return found

    def _of_whole_trees(self, pair: TablePair) -> Leaves:
        """The leaves that are not the same page with the same content in both trees."""
        before = self._before.tree_pages(pair.before.root_page)[1] if pair.before else set()
        after = self._after.tree_pages(pair.after.root_page)[1] if pair.after else set()
        return Leaves(
            (before - after) | (before & self._changed),
            (after - before) | (after & self._changed),
        )

    def _has(self, image: PageImage, owner: str, page: int) -> bool:
        """Whether a table has that leaf at the moment of the image."""
        return image.kind(page) == LEAF_TABLE and self._leads_to(image, owner, page)

    def _owner(self, image: PageImage, page: int) -> str | None:
        """The table, of those whose root stays, which has this leaf or interior page."""
        guess = self._known.guesses.get(page)
        if guess in self._roots and self._leads_to(image, guess, page):
            return guess
        try:
            rowid = image.rowid_below(page)
        except CorruptStoreError:  # what is left in a page that was freed need not make sense
            rowid = None
        for name, root in self._roots.items():
            if root == page or (rowid is not None and image.is_below(root, page, rowid)):
                self._known.guesses[page] = name
                return name
        return None

    def _leads_to(self, image: PageImage, name: str, page: int) -> bool:
        root = self._roots[name]
        if root == page:
            return True
        try:
            rowid = image.rowid_below(page)
        except CorruptStoreError:
            return False
        return rowid is not None and image.is_below(root, page, rowid)


def changed_pages_of_index_tree(
    pair: TablePair, before: PageImage, after: PageImage, changed: set[int], known: KnownPages
) -> tuple[set[int], set[int]]:
    """The pages of a WITHOUT ROWID table, leaves or not, that are to be compared: before, after."""
    assert pair.before is not None
    assert pair.after is not None
    was_root, root = pair.before.root_page, pair.after.root_page
    had = known.index_trees.get(was_root) or before.tree_pages(was_root)
    if was_root == root and had[0].isdisjoint(changed) and before.kind(root) == after.kind(root):
        has = had
    else:
        has = after.tree_pages(root)
    known.index_trees[root] = has
    if has is had:
        touched = {page for page in changed if page in had[1]}
        return touched, touched
    pages_before, pages_after = had[0] | had[1], has[0] | has[1]
    return (
        (pages_before - pages_after) | (pages_before & changed),
        (pages_after - pages_before) | (pages_after & changed),
    )


def whole_tree(image: PageImage, layout: TableLayout | None) -> set[int]:
    """Every page of a table's tree."""
    if layout is None:
        return set()
    interior, leaves = image.tree_pages(layout.root_page)
    return interior | leaves
