"""Which pages a table's tree has, followed from commit to commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn
from dosql_core.rows.btree_page import INTERIOR_KINDS, children, page_kind

ReadPage = Callable[[int, int], bytes]
_DEPTH_MAX = 20  # no tree of SQLite's is deeper


class TreeMembership:
    """The pages of one tree that hold rows, as of the LSN it has been moved to.

    Shape: `leaves_only`: rows are in leaves alone, as those of a table with rowids.
    Errors: CorruptStoreError for pages that make no tree.
    """

    def __init__(self, read_page: ReadPage, root: int, lsn: Lsn, *, leaves_only: bool) -> None:
        self._read_page = read_page
        self._root = root
        self._leaves_only = leaves_only
        self._interior: dict[int, list[int]] = {}
        self._leaves: set[int] = set()
        self._build(lsn)

    @property
    def pages(self) -> set[int]:
        """The pages that hold rows."""
        return set(self._leaves) if self._leaves_only else self._leaves | self._interior.keys()

    def may_move(self, written: Iterable[int]) -> bool:
        """Whether a commit that wrote these pages may have changed which pages the tree has."""
        return not self._interior.keys().isdisjoint(written) or (
            not self._interior and self._root in written
        )

    def move_to(self, lsn: Lsn, written: set[int]) -> tuple[set[int], set[int]]:
        """Go on to the commit `lsn`, which wrote these pages: the pages that went, and came."""
        if self._root in written and self._height_at(lsn) != self._height(self._root):
            # Every page may be on another level than it was, which is rare.
            before = self.pages
            self._build(lsn)
            return before - self.pages, self.pages - before
        came_below: set[int] = set()
        went_below: set[int] = set()
        lost: set[int] = set()
        rewritten: dict[int, list[int]] = {}
        # From the root down: a page whose parent has let go of it may hold anything by now, unless
        # another parent has taken it as it is, which may turn out only later.
        waiting = sorted(written & self._interior.keys(), key=self._height, reverse=True)
        while waiting:
            still_waiting: list[int] = []
            for page in waiting:
                if page in lost:
                    has_moved = page in went_below and page in came_below
                    if not has_moved or not self._is_interior(page, lsn):
                        still_waiting.append(page)
                        continue
                    lost -= self._known_below({page})[0]
                were, are = self._interior[page], self._children(page, lsn)
                rewritten[page] = are
                went, came = set(were).difference(are), set(are).difference(were)
                for child in written.intersection(were, are):
                    if (child in self._interior) != self._is_interior(child, lsn):
                        went.add(child)
                        came.add(child)
                lost |= self._known_below(went)[0]
                went_below |= went
                came_below |= came
            if len(still_waiting) == len(waiting):
                break
            waiting = still_waiting
        for child in went_below & came_below:  # from one parent to another, as it is
            if child not in written or (child in self._interior) == self._is_interior(child, lsn):
                went_below.discard(child)
                came_below.discard(child)
        went_interior, went_leaves = self._known_below(went_below)
        came_interior, came_leaves = self._found_below(came_below, lsn)
        for page in went_interior:
            del self._interior[page]
        self._interior.update(came_interior)
        for page, below in rewritten.items():
            if page in self._interior:
                self._interior[page] = below
        self._leaves -= went_leaves
        self._leaves |= came_leaves
        if not self._leaves_only:
            went_leaves |= went_interior
            came_leaves |= came_interior.keys()
        return went_leaves - came_leaves, came_leaves - went_leaves

    def _height(self, page: int) -> int:
        """How many levels are below an interior page."""
        height = 0
        while page in self._interior:
            page = self._interior[page][0]
            height += 1
        return height

    def _height_at(self, lsn: Lsn) -> int:
        """How many levels are below the root as of a commit."""
        page = self._root
        for height in range(_DEPTH_MAX):
            if not self._is_interior(page, lsn):
                return height
            page = self._children(page, lsn)[0]
        raise CorruptStoreError(f"the tree of page {self._root} runs in circles")

    def _build(self, lsn: Lsn) -> None:
        self._interior, self._leaves = self._found_below({self._root}, lsn)

    def _known_below(self, pages: set[int]) -> tuple[set[int], set[int]]:
        interior: set[int] = set()
        leaves: set[int] = set()
        waiting = list(pages)
        while waiting:
            page = waiting.pop()
            below = self._interior.get(page)
            if below is None:
                leaves.add(page)
            elif page not in interior:
                interior.add(page)
                waiting += below
        return interior, leaves

    def _found_below(self, pages: set[int], lsn: Lsn) -> tuple[dict[int, list[int]], set[int]]:
        interior: dict[int, list[int]] = {}
        leaves: set[int] = set()
        level, depth = list(pages), 0
        while level:
            depth += 1
            if depth > _DEPTH_MAX:
                raise CorruptStoreError(f"the tree of page {self._root} runs in circles")
            below: list[list[int]] = []
            for page in level:
                if self._is_interior(page, lsn):
                    interior[page] = self._children(page, lsn)
                    below.append(interior[page])
                else:
                    leaves.add(page)
            level = []
            for siblings in below:  # siblings are of one level, so one tells for all
                if self._is_interior(siblings[0], lsn):
                    level += siblings
                else:
                    leaves.update(siblings)
        return interior, leaves

    def _is_interior(self, page: int, lsn: Lsn) -> bool:
        return page_kind(self._read_page(page, lsn), page) in INTERIOR_KINDS

    def _children(self, page: int, lsn: Lsn) -> list[int]:
        return children(self._read_page(page, lsn), page)
