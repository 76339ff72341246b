"""Rows as pages store them, by what they are found under; which of them differ; no I/O.

What a walk along time needs of a page: payloads without decoding them, compared as bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import NamedTuple

from dosql_core.rows.btree_page import (
    INTERIOR_INDEX,
    PayloadLimits,
    cell_offsets,
    differing_offsets,
    page_kind,
    read_varint,
    signed,
)

_LEAF_HEADER_BYTES = 8


class OverflowPayload(NamedTuple):
    """A payload of which only the beginning is on its page.

    Shape: `local` is what is there; the rest is in a chain of pages that begins with `first_page`.
           `rowid` is None where rows have none.
    """

    payload_bytes: int
    local: bytes
    first_page: int
    rowid: int | None


Payload = bytes | OverflowPayload


def table_payloads(
    page: bytes, page_number: int, limits: PayloadLimits, offsets: Iterable[int] | None = None
) -> dict[int, Payload]:
    """The payloads of a table leaf by rowid; `offsets`: only of the cells that begin there."""
    payloads: dict[int, Payload] = {}
    local_max = limits.local_max
    for offset in cell_offsets(page, page_number) if offsets is None else offsets:
        payload_bytes = page[offset]
        behind = offset + 1
        if payload_bytes >= 0x80:
            payload_bytes, behind = read_varint(page, offset)
        rowid = page[behind]
        behind += 1
        if rowid >= 0x80:
            second = page[behind]
            if second < 0x80:
                rowid = (rowid & 0x7F) << 7 | second
                behind += 1
            else:
                rowid, behind = read_varint(page, behind - 1)
                rowid = signed(rowid)
        if payload_bytes <= local_max:
            payloads[rowid] = page[behind : behind + payload_bytes]
        else:
            payloads[rowid] = _overflowing(page, behind, payload_bytes, limits, rowid)
    return payloads


def table_payload(
    page: bytes, page_number: int, limits: PayloadLimits, wanted: int
) -> Payload | None:
    """The payload of one row of a table leaf, found as SQLite finds it; None if it is not there."""
    offsets = cell_offsets(page, page_number)
    at = bisect_left(offsets, wanted, key=lambda offset: _rowid_at(page, offset))
    if at == len(offsets):
        return None
    return table_payloads(page, page_number, limits, offsets[at : at + 1]).get(wanted)


def _rowid_at(page: bytes, offset: int) -> int:
    while page[offset] >= 0x80:  # a payload's size has nine bytes at the most, and few in practice
        offset += 1
    return signed(read_varint(page, offset + 1)[0])


def index_payloads(
    page: bytes, page_number: int, limits: PayloadLimits, offsets: Iterable[int] | None = None
) -> list[Payload]:
    """The payloads of an index page, leaf or interior; `offsets`: only of those cells."""
    left_child_bytes = 4 if page_kind(page, page_number) == INTERIOR_INDEX else 0
    payloads: list[Payload] = []
    for offset in cell_offsets(page, page_number) if offsets is None else offsets:
        payload_bytes, behind = read_varint(page, offset + left_child_bytes)
        if payload_bytes <= limits.local_max:
            payloads.append(page[behind : behind + payload_bytes])
        else:
            payloads.append(_overflowing(page, behind, payload_bytes, limits, None))
    return payloads


def _overflowing(
    page: bytes, behind: int, payload_bytes: int, limits: PayloadLimits, rowid: int | None
) -> OverflowPayload:
    end = behind + limits.local_bytes(payload_bytes)
    first_page = int.from_bytes(page[end : end + 4], "big")
    return OverflowPayload(payload_bytes, page[behind:end], first_page, rowid)


def changed_offsets(
    one: bytes, other: bytes, page_number: int
) -> tuple[Collection[int], Collection[int]]:
    """Where the cells begin, in two versions of a page, that may differ; a few more may be among
    them."""
    if page_kind(one, page_number) != page_kind(other, page_number):
        return cell_offsets(one, page_number), cell_offsets(other, page_number)
    return differing_offsets(one, other, page_number)
