"""One moment of a database as trees of cells: which pages a table has, and what they hold.

What is taken apart is kept, by page and version, so that whoever walks from commit to commit takes
apart only what the commit changed.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import BranchId, Lsn, SqlValue
from dosql_core.rows.btree_page import (
    INDEX_KINDS,
    INTERIOR_KINDS,
    INTERIOR_TABLE,
    LEAF_TABLE,
    PayloadLimits,
    child_keys,
    children,
    differing_offsets,
    first_rowid,
    index_cells,
    page_kind,
    read_varint,
    table_cells,
)
from dosql_core.rows.record import decode_record

SCHEMA_ROOT = 1
KEPT_PAGES_MAX = 4096
KEPT_BYTES_MAX = 16 << 20
_DEPTH_MAX = 20  # of a tree; 512-byte pages make no deeper one
_RESERVED_BYTES_AT = 20
_FREE_LIST_AT = slice(32, 36)
_SCHEMA_COOKIE_AT = slice(40, 44)
_AUTO_VACUUM_AT = slice(52, 56)
_ENCODING_AT = slice(56, 60)
_ENCODINGS = {0: "utf-8", 1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}


class VersionedPages(Protocol):
    """The pages of a moment, each with the commit that wrote it."""

    @property
    def page_size(self) -> int:
        """Bytes in a page."""

    @property
    def page_count(self) -> int:
        """Pages in the database."""

    def read_page(self, page: int) -> bytes:
        """The content of a page, counted from 1."""

    def version(self, page: int) -> tuple[BranchId, Lsn] | None:
        """Which commit wrote the page as it is here."""


def database_encoding(header: bytes) -> str:
    """What text is encoded in, as the first page of a database says."""
    return _ENCODINGS.get(int.from_bytes(header[_ENCODING_AT], "big"), "utf-8")


def usable_bytes(header: bytes, page_size: int) -> int:
    """The page size less what the first page of a database says is reserved."""
    return page_size - (header[_RESERVED_BYTES_AT] if header else 0)


class ParsedPages:
    """What was taken apart lately, whatever moment it was for."""

    def __init__(self) -> None:
        self._parsed: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def get(self, key: tuple[Any, ...]) -> Any:
        """What is known under the key, or None."""
        found = self._parsed.get(key)
        if found is not None:
            self._parsed.move_to_end(key)
        return found

    def put(self, key: tuple[Any, ...], parsed: Any) -> Any:
        """Keep it; the least recently used makes room."""
        self._parsed[key] = parsed
        if len(self._parsed) > KEPT_PAGES_MAX:
            self._parsed.popitem(last=False)
        return parsed


class PageImage:
    """The b-trees of one moment.

    Errors: every method: CorruptStoreError for pages that make no tree.
    """

    def __init__(self, pages: VersionedPages, parsed: ParsedPages | None = None) -> None:
        self.pages = pages
        self._parsed = parsed or ParsedPages()
        self.is_empty = pages.page_count == 0
        header = b"" if self.is_empty else pages.read_page(1)
        usable = usable_bytes(header, pages.page_size)
        self._table_limits = PayloadLimits.for_tables(usable)
        self._index_limits = PayloadLimits.for_indexes(usable)
        self._usable_bytes = usable
        self._kinds: dict[int, int] = {}
        self._below: dict[int, tuple[list[int], list[int]]] = {}
        kept = max(KEPT_BYTES_MAX // max(pages.page_size, 1), 16)
        self.read_page: Callable[[int], bytes] = lru_cache(kept)(pages.read_page)
        self._header = header
        self.encoding = database_encoding(header)

    def moved_to(self, pages: VersionedPages, *, is_header_same: bool) -> PageImage:
        """The same database at another moment, whose `pages` keep what they read by themselves."""
        if self.is_empty or pages.page_count == 0:
            return PageImage(pages, self._parsed)
        moved = PageImage.__new__(PageImage)
        moved.pages = pages
        moved._parsed = self._parsed
        moved.is_empty = False
        moved._table_limits = self._table_limits
        moved._index_limits = self._index_limits
        moved._usable_bytes = self._usable_bytes
        moved._kinds = {}
        moved._below = {}
        moved.read_page = pages.read_page
        moved._header = self._header if is_header_same else pages.read_page(1)
        moved.encoding = self.encoding
        return moved

    def has(self, page: int) -> bool:
        """Whether the database has a page of that number."""
        return 0 < page <= self.pages.page_count

    def kind(self, page: int) -> int:
        """The kind a page says it is; pages that are no b-tree pages may say anything."""
        known = self._kinds.get(page)
        if known is None:
            known = page_kind(self.read_page(page), page) if self.has(page) else 0
            self._kinds[page] = known
        return known

    @property
    def schema_cookie(self) -> int:
        """The number that every change of the schema, and VACUUM, makes larger."""
        return int.from_bytes(self._header[_SCHEMA_COOKIE_AT], "big")

    def may_be_overflow(self, page: int) -> bool:
        """Whether a page could be an overflow page: its first bytes name another page, or none."""
        if not self.has(page) or page == 1 or self._is_pointer_map(page):
            return False
        following = int.from_bytes(self.read_page(page)[:4], "big")
        return following == 0 or self.has(following)

    def _is_pointer_map(self, page: int) -> bool:
        keeps_one = any(self._header[_AUTO_VACUUM_AT])
        return keeps_one and (page - 2) % (self._usable_bytes // 5 + 1) == 0

    def free_list(self) -> set[int]:
        """The pages that list free pages."""
        found: set[int] = set()
        page = int.from_bytes(self._header[_FREE_LIST_AT], "big")
        while self.has(page) and page not in found:
            found.add(page)
            page = int.from_bytes(self.read_page(page)[:4], "big")
        return found

    # -- trees -------------------------------------------------------------------------------------

    def tree_pages(self, root: int) -> tuple[set[int], set[int]]:
        """The interior pages and the leaves of a tree; leaves are not read, but for one."""
        interior: set[int] = set()
        level = [root]
        while self._is_interior(level[0]):
            interior.update(level)
            level = [child for page in level for child in self.children(page)]
            if len(interior) > self.pages.page_count:
                raise CorruptStoreError(f"the tree of page {root} runs in circles")
        return interior, set(level)

    def leaf_of(self, root: int, rowid: int) -> int:
        """The leaf of a table in which a row of that rowid would be."""
        page = root
        for _ in range(_DEPTH_MAX):
            if self.kind(page) != INTERIOR_TABLE:
                return page
            page = self._child(page, rowid)
        raise CorruptStoreError(f"the tree of page {root} runs in circles")

    def is_below(self, root: int, page: int, rowid: int) -> bool:
        """Whether a page is on the way from a table's root to the row of that rowid."""
        reached = root
        for _ in range(_DEPTH_MAX):
            if reached == page:
                return True
            if self.kind(reached) != INTERIOR_TABLE:
                return False
            reached = self._child(reached, rowid)
        raise CorruptStoreError(f"the tree of page {root} runs in circles")

    def rowid_below(self, page: int) -> int | None:
        """A rowid to which the way leads through this page of a table; None for an empty leaf."""
        if self.kind(page) == INTERIOR_TABLE:
            keys = self._child_keys(page)
            return keys[0] if keys else self.rowid_below(self.children(page)[0])
        return self.first_rowid(page)

    def leaves_below(self, page: int) -> set[int]:
        """The leaves of the tree whose uppermost page this is."""
        return self.tree_pages(page)[1]

    def _is_interior(self, page: int) -> bool:
        return self.kind(page) in INTERIOR_KINDS

    def children(self, page: int) -> list[int]:
        """The pages below an interior page, from left to right."""
        return self._take_apart("children", page, children)  # type: ignore[no-any-return]

    def _child(self, page: int, rowid: int) -> int:
        """The page below an interior one through which the way to a row leads."""
        known = self._below.get(page)
        if known is None:  # kept by page alone, for the version of a page takes long to find
            known = self._below[page] = self.children(page), self._child_keys(page)
        return known[0][bisect_left(known[1], rowid)]

    def _child_keys(self, page: int) -> list[int]:
        return self._take_apart("child keys", page, child_keys)  # type: ignore[no-any-return]

    def _take_apart(self, what: str, page: int, how: Any, *more: Any) -> Any:
        key = (what, page, self.pages.version(page))
        found = self._parsed.get(key)
        if found is not None:
            return found
        content = self.read_page(page)
        try:
            return self._parsed.put(key, how(content, page, *more))
        except (IndexError, struct.error) as cause:
            raise CorruptStoreError(f"page {page} is no page of a tree: {cause}") from cause

    # -- cells -------------------------------------------------------------------------------------

    def rows_of_leaf(self, page: int) -> dict[int, bytes]:
        """The cells of a leaf of a table, by rowid."""
        if self.kind(page) != LEAF_TABLE:
            raise CorruptStoreError(f"page {page} is no leaf of a table")
        found: dict[int, bytes] = self._take_apart("cells", page, table_cells, self._table_limits)
        return found

    def rows_differing_from(
        self, other: PageImage, page: int
    ) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """The cells of a leaf that are not the same here and there, by rowid: here, there."""
        one, two = self.read_page(page), other.read_page(page)
        try:
            here, there = differing_offsets(one, two, page)
            return (
                table_cells(one, page, self._table_limits, here),
                table_cells(two, page, self._table_limits, there),
            )
        except (IndexError, struct.error) as cause:
            raise CorruptStoreError(f"page {page} is no leaf of a table: {cause}") from cause

    def first_rowid(self, page: int) -> int | None:
        """A rowid that the leaf holds, or None for an empty one."""
        try:
            return first_rowid(self.read_page(page), page)
        except (IndexError, struct.error) as cause:
            raise CorruptStoreError(f"page {page} is no leaf of a table: {cause}") from cause

    def cells_of_index_page(self, page: int) -> list[bytes]:
        """The cells of a page of a WITHOUT ROWID table, leaf or not."""
        if self.kind(page) not in INDEX_KINDS:
            raise CorruptStoreError(f"page {page} is no page of an index")
        found: list[bytes] = self._take_apart("keys", page, index_cells, self._index_limits)
        return found

    def may_overflow(self, cell: bytes, *, is_table: bool) -> bool:
        """Whether a cell's payload may go on in other pages; False is certain."""
        limits = self._table_limits if is_table else self._index_limits
        return cell[0] > limits.local_max or cell[0] >= 0x80

    def overflow_pages(self, cell: bytes, *, is_table: bool) -> Iterator[int]:
        """The pages that hold the rest of a cell's payload."""
        payload_bytes, _ = read_varint(cell, 0)
        limits = self._table_limits if is_table else self._index_limits
        rest = payload_bytes - limits.local_bytes(payload_bytes)
        page = int.from_bytes(cell[-4:], "big")
        while rest > 0:
            if not self.has(page):
                raise CorruptStoreError(f"an overflow chain leads to page {page}")
            yield page
            rest -= limits.usable_bytes - 4
            page = int.from_bytes(self.read_page(page)[:4], "big")

    def record(self, cell: bytes, *, is_table: bool) -> list[SqlValue]:
        """The values a cell holds, as they are stored."""
        payload_bytes, behind = cell[0], 1
        if payload_bytes >= 0x80:
            payload_bytes, behind = read_varint(cell, 0)
        if is_table:
            last = behind + 8  # of the bytes a varint may have
            while cell[behind] >= 0x80 and behind < last:
                behind += 1
            behind += 1
        limits = self._table_limits if is_table else self._index_limits
        if payload_bytes <= limits.local_max:
            payload = cell[behind:]
        else:
            parts = [cell[behind : behind + limits.local_bytes(payload_bytes)]]
            for page in self.overflow_pages(cell, is_table=is_table):
                parts.append(self.read_page(page)[4 : limits.usable_bytes])
            payload = b"".join(parts)[:payload_bytes]
        try:
            return decode_record(payload, self.encoding)
        except (IndexError, KeyError, struct.error) as cause:
            raise CorruptStoreError(f"a cell holds no record: {cause}") from cause
