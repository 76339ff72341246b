"""The versions of one row, found by its key: only the pages on the way to it are looked at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from dosql_core.errors import CorruptStoreError
from dosql_core.history.row_reader import Identity, RowReader, is_told_by_rowid
from dosql_core.history.step_settling import RawSteps, Steps, StepSettling, whole_payload
from dosql_core.identifiers import SQLITE_HEADER_BYTES, Lsn, SqlValue
from dosql_core.rows.btree_page import (
    INTERIOR_INDEX,
    INTERIOR_TABLE,
    LEAF_TABLE,
    cell_offsets,
    page_kind,
    read_varint,
    signed,
)
from dosql_core.rows.record import decode_record
from dosql_core.rows.stored_rows import OverflowPayload, Payload, index_payloads, table_payload
from dosql_core.rows.table_declaration import KeyOrder, TableDeclaration
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_timeline import PageTimeline

_DEPTH_MAX = 20

Declare = Sequence[TableDeclaration | None]
"""The declaration of each epoch; None where there is no table."""


class RowTrace:
    """Follows the row of one key through time.

    Errors: CorruptStoreError for pages that make no tree.
    """

    def __init__(
        self, timeline: PageTimeline, reader: RowReader, declarations: Declare, first: Lsn
    ) -> None:
        self._timeline = timeline
        self._reader = reader
        self._declarations = declarations
        self._first = first
        self._raw: dict[Identity, RawSteps] = {}
        self._next_written: dict[int, Lsn | None] = {}

    def follow(self, key: Sequence[SqlValue]) -> dict[Identity, Steps]:
        """What happened to the row of that key, or that rowid where there is no key.

        More than one row where the key's collation takes several for the same.
        """
        epochs, last = self._reader.epochs.epochs, self._timeline.last
        lsn = self._first
        current: tuple[Identity, Payload] | None = None
        while lsn <= last:
            place = self._reader.epochs.at(lsn)
            layout, declaration = epochs[place].layout, self._declarations[place]
            end = epochs[place + 1].start if place + 1 < len(epochs) else Lsn(last + 1)
            if layout is None or declaration is None or not _may_hold(layout, key):
                current = self._tell(current, None, lsn)
                lsn = end
                continue
            if is_told_by_rowid(layout):
                rowid = key[0]
                assert isinstance(rowid, int)
                payload, leaf, above = self._row_at(layout, rowid, lsn)
                current = self._tell(current, payload if payload is None else (rowid, payload), lsn)
                until = self._next_of(above, lsn, end)
                for at, content in self._timeline.versions(leaf, lsn + 1, until - 1):
                    if page_kind(content, leaf) != LEAF_TABLE:
                        until = at  # a root that has got pages below it
                        break
                    payload = table_payload(content, leaf, self._reader.table_limits, rowid)
                    current = self._tell(
                        current, payload if payload is None else (rowid, payload), at
                    )
                lsn = until
            else:
                found, pages = self._keyed_row_at(layout, declaration.key_order, key, lsn)
                current = self._tell(current, found, lsn)
                lsn = self._next_of(pages, lsn, end)
        settling = StepSettling(self._timeline, self._reader)
        rows: dict[Identity, Steps] = {}
        for identity, raw in self._raw.items():
            settling.add(identity, rows.setdefault(identity, []), raw)
        return rows

    def _tell(
        self,
        before: tuple[Identity, Payload] | None,
        after: tuple[Identity, Payload] | None,
        lsn: Lsn,
    ) -> tuple[Identity, Payload] | None:
        if before is not None and (after is None or after[0] != before[0]):
            self._raw[before[0]] += (lsn, None)
        if after is not None and after != before:
            self._raw.setdefault(after[0], []).extend((lsn, after[1]))
        return after

    def _next_of(self, pages: Sequence[int], lsn: Lsn, end: Lsn) -> Lsn:
        """The next commit that wrote one of the pages, or `end`."""
        following = end
        for page in pages:
            known = self._next_written.get(page, Lsn(-1))
            if known is not None and known <= lsn:
                known = self._next_written[page] = self._timeline.next_written(page, lsn)
            if known is not None and known < following:
                following = known
        return following

    # -- searching ---------------------------------------------------------------------------------

    def _row_at(
        self, layout: TableLayout, rowid: int, lsn: Lsn
    ) -> tuple[Payload | None, int, list[int]]:
        """The payload of a row, the leaf it is in or would be in, and the pages above that."""
        page = layout.root_page
        above: list[int] = []
        for _ in range(_DEPTH_MAX):
            content = self._timeline.page_at(page, lsn)
            if page_kind(content, page) != INTERIOR_TABLE:
                payload = table_payload(content, page, self._reader.table_limits, rowid)
                return payload, page, above
            above.append(page)
            offsets = cell_offsets(content, page)
            place = bisect_left(offsets, rowid, key=lambda at: _rowid_of_child(content, at))
            page = _child(content, page, offsets, place)
        raise CorruptStoreError(f"the tree of page {layout.root_page} runs in circles")

    def _keyed_row_at(
        self, layout: TableLayout, order: KeyOrder, key: Sequence[SqlValue], lsn: Lsn
    ) -> tuple[tuple[Identity, Payload] | None, list[int]]:
        """The row of a key, and every page that it depends on whether it is found there."""
        assert order.root_page is not None
        payload, values, pages = self._entry_at(order.root_page, order, key, lsn)
        rowid: int | None = None
        if payload is not None and layout.has_rowid:
            found = values[-1]
            assert isinstance(found, int)
            rowid = found
            payload, leaf, above = self._row_at(layout, rowid, lsn)
            pages += [*above, leaf]
        if payload is None:
            return None, pages
        whole: Payload = payload
        if type(payload) is OverflowPayload:
            whole, chain = whole_payload(self._timeline, payload, lsn, self._reader)
            pages += chain
        assert isinstance(whole, bytes)
        return (self._reader.identity(whole, rowid, layout), payload), pages

    def _entry_at(
        self, root: int, order: KeyOrder, key: Sequence[SqlValue], lsn: Lsn
    ) -> tuple[Payload | None, list[SqlValue], list[int]]:
        page, pages = root, []
        limits = self._reader.index_limits
        for _ in range(_DEPTH_MAX):
            content = self._timeline.page_at(page, lsn)
            pages.append(page)
            offsets = cell_offsets(content, page)
            low, high = 0, len(offsets)
            while low < high:
                middle = (low + high) // 2
                (payload,) = index_payloads(content, page, limits, offsets[middle : middle + 1])
                whole: Payload = payload
                chain: list[int] = []
                if type(payload) is OverflowPayload:
                    whole, chain = whole_payload(self._timeline, payload, lsn, self._reader)
                assert isinstance(whole, bytes)
                values = decode_record(whole, self._reader.encoding)
                compared = order.compare(key, values, self._reader.encoding)
                if compared == 0:
                    return payload, values, pages + chain
                pages += chain
                if compared < 0:
                    high = middle
                else:
                    low = middle + 1
            if page_kind(content, page) != INTERIOR_INDEX:
                return None, [], pages
            page = _child(content, page, offsets, low)
        raise CorruptStoreError(f"the tree of page {root} runs in circles")


def _may_hold(layout: TableLayout, key: Sequence[SqlValue]) -> bool:
    """Whether a row of the table may have that key."""
    if is_told_by_rowid(layout):
        return len(key) == 1 and isinstance(key[0], int)
    return len(key) == len(layout.key) and None not in key


def _rowid_of_child(content: bytes, offset: int) -> int:
    return signed(read_varint(content, offset + 4)[0])


def _child(content: bytes, page: int, offsets: Sequence[int], place: int) -> int:
    """The page below an interior page to the left of a cell; the last one behind all of them."""
    header = SQLITE_HEADER_BYTES if page == 1 else 0
    at = offsets[place] if place < len(offsets) else header + 8
    return int.from_bytes(content[at : at + 4], "big")
