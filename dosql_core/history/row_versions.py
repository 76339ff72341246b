"""Every version of every row of one table, worked out from the versions of its pages.

Page by page and not commit by commit: the versions of one page are stored together and differ in
a few cells, so most of them cost a comparison. Which pages the table has is followed in
`TreeMembership`; a row that leaves one page for another in the same commit has not changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import repeat
from typing import Any

from dosql_core.history.row_reader import Identity, RowReader, is_told_by_rowid
from dosql_core.history.step_settling import RawSteps, Steps, StepSettling, whole_payload
from dosql_core.history.table_epochs import TableEpochs
from dosql_core.history.tree_membership import TreeMembership
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.rows.stored_rows import (
    OverflowPayload,
    Payload,
    changed_offsets,
    index_payloads,
    table_payloads,
)
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_timeline import PageTimeline

_PAGES_KEPT = 64


RowVersion = tuple[Identity, bytes, Lsn, Lsn | None, bytes | None, bytes | None]
"""One version of a row: whose, its payload, the commit that made it, the commit that ended it or
None while it is current, and the payloads before and after it: None where the row was not there.

A plain tuple, for there may be millions."""


class TableVersions:
    """The versions of the rows of one table from LSN `first` on, up to `last`.

    Threads: one at a time.
    Errors:  CorruptStoreError for pages that make no tree.
    """

    def __init__(self, epochs: TableEpochs, first: Lsn) -> None:
        self.first = first
        self.last: Lsn | None = None
        self.epochs = epochs
        self.rows: dict[Identity, Steps] = {}
        self._overflowing: dict[Identity, OverflowPayload] = {}

    def extend(self, timeline: PageTimeline) -> None:
        """Work out what the commits up to the end of the timeline did; the epochs know of them."""
        last = timeline.last
        if self.last is not None and last <= self.last:
            return
        walk = _Walk(timeline, RowReader(self.epochs, timeline))
        begin = self.first if self.last is None else self.last
        walk.follow(begin, last, is_first=self.last is None)
        self._settle(walk, begin)
        self.last = last

    def versions(self, low: int, high: int, horizon: int) -> list[RowVersion]:
        """The versions valid at some LSN from `low` to `high`, row by row, ascending.

        Shape: what was committed behind `horizon` counts as not yet happened.
        """
        found: list[RowVersion] = []
        for identity, steps in self.rows.items():
            found += row_versions(identity, steps, low, high, horizon)
        return found

    def _settle(self, walk: _Walk, begin: Lsn) -> None:
        """Put what the walk found in order, and behind what was known."""
        settle = StepSettling(walk.timeline, walk.reader)
        for identity, payload in list(self._overflowing.items()):
            walk.raw.setdefault(identity, [])[:0] = [begin, payload]
        settle.tell_changed_keys(walk.raw)
        rows, messy = self.rows, walk.messy
        for identity, raw in walk.raw.items():
            known = rows.get(identity)
            is_clean = identity not in messy and known is None
            if is_clean and not any(type(payload) is OverflowPayload for payload in raw[1::2]):
                rows[identity] = raw  # type: ignore[assignment]
                continue
            steps: Steps = [] if known is None else known
            open_overflow = settle.add(identity, steps, raw)
            if open_overflow is None:
                self._overflowing.pop(identity, None)
            else:
                self._overflowing[identity] = open_overflow
            if steps:
                rows[identity] = steps


def row_versions(
    identity: Identity, steps: Steps, low: int, high: int, horizon: int
) -> list[RowVersion]:
    """The versions of one row that were valid at some LSN from `low` to `high`."""
    firsts: list[Any] = steps[::2]
    payloads: list[Any] = steps[1::2]
    if firsts[-1] > horizon:
        count = bisect_right(firsts, horizon)
        del firsts[count:], payloads[count:]
    begin = max(bisect_right(firsts, low) - 1, 0)
    end = bisect_right(firsts, high)
    found = list(
        zip(
            repeat(identity),
            payloads[begin:end],
            firsts[begin:end],
            [*firsts[begin + 1 : end + 1], None],
            [payloads[begin - 1] if begin else None, *payloads[begin:end]],
            [*payloads[begin + 1 : end + 1], None],
            strict=False,
        )
    )
    if None in payloads:
        return [version for version in found if version[1] is not None]
    return found


class _Walk:
    """What a stretch of commits did to the rows of a table, not yet in order.

    Shape: `raw` by row as `Steps`, with payloads as they are on their pages. Rows of `messy` went
           from some page, or may be the same though their bytes are not: to be sorted out.
    """

    def __init__(self, timeline: PageTimeline, reader: RowReader) -> None:
        self.timeline = timeline
        self.reader = reader
        self.raw: dict[Identity, RawSteps] = {}
        self.messy: set[Identity] = set()
        self.epoch_starts = {epoch.start for epoch in reader.epochs.epochs}
        self._page_at = lru_cache(_PAGES_KEPT)(timeline.page_at)

    def follow(self, begin: Lsn, last: Lsn, *, is_first: bool) -> None:
        """Walk from the state at `begin` to `last`; `is_first`: that state is told, too."""
        written = self.timeline.written(begin + 1, last)
        epochs = self.reader.epochs.epochs
        start, place, is_told = begin, self.reader.epochs.at(begin), is_first
        while start <= last:
            end = place + 1
            while end < len(epochs) and _is_same_tree(epochs[place].layout, epochs[end].layout):
                end += 1
            until = epochs[end].start if end < len(epochs) else Lsn(last + 1)
            layout = epochs[place].layout
            if layout is not None:
                self._follow_tree(layout, start, until, written, is_told, until <= last)
            start, place, is_told = until, end, True

    def _follow_tree(
        self,
        layout: TableLayout,
        start: Lsn,
        until: Lsn,
        written: dict[Lsn, list[PageNumber]],
        is_told: bool,
        ends: bool,
    ) -> None:
        """Rows of one tree, which is the table's from `start` to before `until`."""
        tree = TreeMembership(self._page_at, layout.root_page, start, leaves_only=layout.has_rowid)
        opened = dict.fromkeys(tree.pages, start)
        page_writer = _PageTelling(self, layout)
        touched: set[int] = set()
        for number in range(start + 1, until):
            lsn = Lsn(number)
            pages = written[lsn]
            touched.update(pages)
            if tree.may_move(pages):
                went, came = tree.move_to(lsn, set(pages))
                for page in went:
                    begin = opened.pop(page)
                    page_writer.tell(page, begin, lsn, comes=is_told or begin > start, goes=True)
                opened.update(dict.fromkeys(came, lsn))
        for page, begin in opened.items():
            comes = is_told or begin > start
            if comes or ends or page in touched:
                page_writer.tell(page, begin, until, comes=comes, goes=ends)

    def identity(
        self, payload: Payload, rowid: int | None, lsn: Lsn, layout: TableLayout
    ) -> Identity:
        """What tells the row from others, where its key has to be read."""
        if type(payload) is OverflowPayload:
            payload = whole_payload(self.timeline, payload, lsn, self.reader)[0]
        assert isinstance(payload, bytes)
        return self.reader.identity(payload, rowid, layout)


class _PageTelling:
    """Tells what happened on pages while they belonged to a table."""

    def __init__(self, walk: _Walk, layout: TableLayout) -> None:
        self._walk = walk
        self._has_rowid = layout.has_rowid
        self._by_rowid = is_told_by_rowid(layout)

    def tell(self, page: int, begin: Lsn, until: Lsn, *, comes: bool, goes: bool) -> None:
        """What happened from `begin` to before `until`.

        Shape: `comes`: the rows it holds at `begin` came with it; `goes`: those it holds in the
               end go with it, at `until`.
        """
        walk = self._walk
        content = walk.timeline.page_at(page, begin)
        if comes:
            self._come(self._payloads(content, page, None), begin)
        for lsn, following in walk.timeline.versions(page, begin + 1, until - 1):
            were_at, are_at = changed_offsets(content, following, page)
            if were_at or are_at:
                were = self._payloads(content, page, were_at)
                are = self._payloads(following, page, are_at)
                if self._by_rowid:
                    self._changed(were, are, lsn)
                else:
                    self._go({k: v for k, v in were.items() if k not in are or are[k] != v}, lsn)
                    self._come({k: v for k, v in are.items() if k not in were or were[k] != v}, lsn)
            content = following
        if goes:
            self._go(self._payloads(content, page, None), until)

    def _payloads(self, content: bytes, page: int, offsets: Collection[int] | None) -> _OnPage:
        reader = self._walk.reader
        if self._has_rowid:
            return table_payloads(content, page, reader.table_limits, offsets)  # type: ignore[return-value]
        found = index_payloads(content, page, reader.index_limits, offsets)
        return {payload: payload for payload in found}

    def _changed(self, were: _OnPage, are: _OnPage, lsn: Lsn) -> None:
        """The rows of a table that goes by rowids, the most common case by far."""
        raw, messy = self._walk.raw, self._walk.messy
        is_boundary = lsn in self._walk.epoch_starts
        for rowid, payload in are.items():
            was = were.get(rowid)
            if was != payload:
                steps = raw.get(rowid)  # type: ignore[arg-type]
                if steps is None:
                    raw[rowid] = [lsn, payload]  # type: ignore[index]
                else:
                    steps += (lsn, payload)
                if was is not None and (is_boundary or was[0] != payload[0]):
                    messy.add(rowid)  # type: ignore[arg-type]
        if len(were) > len(are) or not were.keys() <= are.keys():
            self._go({rowid: was for rowid, was in were.items() if rowid not in are}, lsn)

    def _come(self, payloads: _OnPage, lsn: Lsn) -> None:
        raw = self._walk.raw
        for identity, payload in self._identified(payloads, lsn):
            steps = raw.get(identity)
            if steps is None:
                raw[identity] = [lsn, payload]
            else:
                steps += (lsn, payload)

    def _go(self, payloads: _OnPage, lsn: Lsn) -> None:
        raw, messy = self._walk.raw, self._walk.messy
        for identity, _ in self._identified(payloads, Lsn(lsn - 1)):
            raw.setdefault(identity, []).extend((lsn, None))
            messy.add(identity)

    def _identified(self, payloads: _OnPage, lsn: Lsn) -> Iterable[tuple[Identity, Payload]]:
        if self._by_rowid:
            return payloads.items()  # type: ignore[return-value]
        walk, layout = self._walk, self._walk.reader.layout_at(lsn)
        return [
            (walk.identity(payload, key if self._has_rowid else None, lsn, layout), payload)  # type: ignore[arg-type]
            for key, payload in payloads.items()
        ]


_OnPage = dict[int | Payload, Payload]
"""Rows of a page: by rowid, or where there is none by themselves."""


def _is_same_tree(one: TableLayout | None, other: TableLayout | None) -> bool:
    """Whether rows are in the same tree, and told from one another the same way."""
    if one is None or other is None:
        return one is other
    return (
        one.root_page == other.root_page
        and one.has_rowid == other.has_rowid
        and is_told_by_rowid(one) == is_told_by_rowid(other)
        and (is_told_by_rowid(one) or one.key == other.key)
    )
