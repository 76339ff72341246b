"""SQLite's b-tree pages taken apart: cells of leaves, children of interior pages; no I/O.

Source: https://sqlite.org/fileformat2.html, "B-tree Pages".
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dosql_core.identifiers import SQLITE_HEADER_BYTES

INTERIOR_INDEX = 2
INTERIOR_TABLE = 5
LEAF_INDEX = 10
LEAF_TABLE = 13
INTERIOR_KINDS = frozenset((INTERIOR_INDEX, INTERIOR_TABLE))
INDEX_KINDS = frozenset((INTERIOR_INDEX, LEAF_INDEX))

_LEAF_HEADER_BYTES = 8
_INTERIOR_HEADER_BYTES = 12
_CHILD = struct.Struct(">I")
_FIRST_CELL = struct.Struct(">HHxH")  # from the count of cells on to the first cell's offset


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """How much of a payload stays on its page, for one kind of page of one database."""

    usable_bytes: int
    local_max: int
    local_min: int

    @classmethod
    def for_tables(cls, usable_bytes: int) -> PayloadLimits:
        """Those of table leaves; `usable_bytes` is the page size less what is reserved."""
        return cls(usable_bytes, usable_bytes - 35, (usable_bytes - 12) * 32 // 255 - 23)

    @classmethod
    def for_indexes(cls, usable_bytes: int) -> PayloadLimits:
        """Those of index pages, of which WITHOUT ROWID tables are made too."""
        local_max = (usable_bytes - 12) * 64 // 255 - 23
        return cls(usable_bytes, local_max, (usable_bytes - 12) * 32 // 255 - 23)

    def local_bytes(self, payload_bytes: int) -> int:
        """How many bytes of a payload are on the page itself."""
        if payload_bytes <= self.local_max:
            return payload_bytes
        surplus = self.local_min + (payload_bytes - self.local_min) % (self.usable_bytes - 4)
        return surplus if surplus <= self.local_max else self.local_min


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """An unsigned varint of up to nine bytes, and the offset behind it."""
    value = 0
    for _ in range(8):
        byte = data[offset]
        offset += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset
    return value << 8 | data[offset], offset + 1


def signed(value: int) -> int:
    """The 64 bits of a varint as SQLite's signed integer."""
    return value - (1 << 64) if value >> 63 else value


def page_kind(page: bytes, page_number: int) -> int:
    """The first byte of the b-tree header; anything for a page that is no b-tree page."""
    return page[SQLITE_HEADER_BYTES if page_number == 1 else 0]


def cell_offsets(page: bytes, page_number: int) -> tuple[int, ...]:
    """Where the cells of a b-tree page begin, in the order of their keys."""
    header = SQLITE_HEADER_BYTES if page_number == 1 else 0
    is_interior = page[header] in INTERIOR_KINDS
    (count,) = struct.unpack_from(">H", page, header + 3)
    first = header + (_INTERIOR_HEADER_BYTES if is_interior else _LEAF_HEADER_BYTES)
    return struct.unpack_from(f">{count}H", page, first)


def children(page: bytes, page_number: int) -> list[int]:
    """The pages below an interior page, from left to right."""
    header = SQLITE_HEADER_BYTES if page_number == 1 else 0
    found = [_CHILD.unpack_from(page, offset)[0] for offset in cell_offsets(page, page_number)]
    found.append(_CHILD.unpack_from(page, header + 8)[0])
    return found


def child_keys(page: bytes, page_number: int) -> list[int]:
    """The largest rowid below each child of an interior table page but the last."""
    return [signed(read_varint(page, offset + 4)[0]) for offset in cell_offsets(page, page_number)]


def table_cells(
    page: bytes, page_number: int, limits: PayloadLimits, offsets: Iterable[int] | None = None
) -> dict[int, bytes]:
    """The cells of a table leaf by rowid, each whole: sizes, local payload, overflow page.

    `offsets`: only of the cells that begin there.
    """
    cells = {}
    local_max = limits.local_max
    for offset in cell_offsets(page, page_number) if offsets is None else offsets:
        payload_bytes = page[offset]
        behind = offset + 1
        if payload_bytes >= 0x80:
            payload_bytes, behind = read_varint(page, offset)
        rowid = page[behind]
        behind += 1
        if rowid >= 0x80:
            rowid, behind = read_varint(page, behind - 1)
            rowid = signed(rowid)
        if payload_bytes <= local_max:
            end = behind + payload_bytes
        else:
            end = behind + limits.local_bytes(payload_bytes) + 4
        cells[rowid] = page[offset:end]
    return cells


def first_rowid(page: bytes, page_number: int) -> int | None:
    """The rowid of the first cell of a table leaf; None when it has none."""
    header = SQLITE_HEADER_BYTES if page_number == 1 else 0
    count, _content, offset = _FIRST_CELL.unpack_from(page, header + 3)
    if count == 0:
        return None
    _, behind = read_varint(page, offset)
    return signed(read_varint(page, behind)[0])


def differing_offsets(
    one: bytes, other: bytes, page_number: int
) -> tuple[Collection[int], Collection[int]]:
    """Where the cells begin, in two versions of a leaf, that are not the same bytes in the same
    place; a few more may be among them."""
    offsets, other_offsets = cell_offsets(one, page_number), cell_offsets(other, page_number)
    if not offsets or not other_offsets:
        return offsets, other_offsets
    lowest = min(min(offsets), min(other_offsets))
    # One number a page: the highest and the lowest bit that differ bound what has to be looked at.
    bits = int.from_bytes(one[lowest:], "big") ^ int.from_bytes(other[lowest:], "big")
    if bits == 0:
        first, last = len(one), -1
    else:
        first = len(one) - (bits.bit_length() + 7) // 8
        last = len(one) - ((bits & -bits).bit_length() + 7) // 8
    here, there = set(offsets), set(other_offsets)
    if here == there:
        reached = _reached(offsets, first, last)
        return reached, reached
    common = here & there
    found = common.intersection(_reached(offsets, first, last))
    found.update(common.intersection(_reached(other_offsets, first, last)))
    return (here - there) | found, (there - here) | found


def _reached(offsets: tuple[int, ...], first: int, last: int) -> list[int]:
    """The cells that begin from `first` to `last`, and the one before, which may reach `first`."""
    if last < first:
        return []
    in_order = sorted(offsets)
    return in_order[max(bisect_right(in_order, first) - 1, 0) : bisect_right(in_order, last)]


def index_cells(page: bytes, page_number: int, limits: PayloadLimits) -> list[bytes]:
    """The cells of an index page, leaf or interior, each without the child to its left."""
    left_child_bytes = 4 if page_kind(page, page_number) == INTERIOR_INDEX else 0
    cells = []
    for offset in cell_offsets(page, page_number):
        begins = offset + left_child_bytes
        payload_bytes, behind = read_varint(page, begins)
        local = limits.local_bytes(payload_bytes)
        end = behind + local + (4 if local < payload_bytes else 0)
        cells.append(page[begins:end])
    return cells
