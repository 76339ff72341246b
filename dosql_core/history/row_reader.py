"""Payloads of one table read as rows, and what tells one row from another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dosql_core.history.table_epochs import TableEpochs, column_sources, converted_row
from dosql_core.identifiers import Lsn, SqlValue
from dosql_core.rows.btree_page import PayloadLimits
from dosql_core.rows.page_image import database_encoding, usable_bytes
from dosql_core.rows.record import bytes_up_to, decode_record
from dosql_core.rows.table_layout import TableLayout
from dosql_core.storage.page_timeline import PageTimeline

Identity = int | tuple[SqlValue, ...]
"""What tells a row from others: its rowid, or the values of its primary key."""


class RowReader:
    """Payloads of one table read as rows, whatever columns it had when they were written."""

    def __init__(self, epochs: TableEpochs, timeline: PageTimeline) -> None:
        self.epochs = epochs
        newest = timeline.page_at(1, timeline.last)
        self.encoding = database_encoding(newest)
        usable = usable_bytes(newest, timeline.page_size)
        self.table_limits = PayloadLimits.for_tables(usable)
        self.index_limits = PayloadLimits.for_indexes(usable)
        self._sources = lru_cache(64)(self._sources_between)

    def layout_at(self, lsn: int) -> TableLayout:
        """The layout of the table as of an LSN at which it is there."""
        layout = self.epochs.epochs[self.epochs.at(lsn)].layout
        assert layout is not None
        return layout

    def row(self, identity: Identity, payload: bytes, lsn: int, target: int) -> Sequence[SqlValue]:
        """A version valid at `lsn`, with the columns of epoch `target`."""
        source = self.epochs.at(lsn)
        layout = self.epochs.epochs[source].layout
        assert layout is not None
        rowid = identity if isinstance(identity, int) else None
        row = layout.row(decode_record(payload, self.encoding), rowid)
        if source == target:
            return row
        sources, defaults = self._sources(source, target)
        return converted_row(row, sources, defaults)

    def identity(self, payload: bytes, rowid: int | None, layout: TableLayout) -> Identity:
        """What tells a row from others."""
        if rowid is not None and is_told_by_rowid(layout):
            return rowid
        has_key, key = layout.identity(
            layout.row(decode_record(payload, self.encoding), rowid), rowid
        )
        if has_key or rowid is None:
            return key
        return rowid

    def is_key_within(self, local: bytes, layout: TableLayout) -> bool:
        """Whether the beginning of a payload is enough to tell the row from others."""
        if is_told_by_rowid(layout):
            return True
        last = max(layout.stored.index(place) for place in layout.key_places)
        end = bytes_up_to(local, last)
        return end is not None and end <= len(local)

    def is_same(
        self, identity: Identity, before: bytes, before_lsn: Lsn, after: bytes, after_lsn: Lsn
    ) -> bool:
        """Whether two payloads of a row are the same row to whoever reads it by column names."""
        source, target = self.epochs.at(before_lsn), self.epochs.at(after_lsn)
        if source == target:
            if before == after:
                return True
            # Records of as many columns differ where their bytes do; after ADD COLUMN some are
            # shorter, and hold the same.
            if before[0] == after[0]:
                return False
        layout = self.epochs.epochs[target].layout
        assert layout is not None
        were = self.row(identity, before, before_lsn, target)
        are = self.row(identity, after, after_lsn, target)
        return were == are and list(map(type, were)) == list(map(type, are))

    def _sources_between(
        self, source: int, target: int
    ) -> tuple[tuple[int | None, ...], tuple[SqlValue, ...]]:
        layout = self.epochs.epochs[target].layout
        assert layout is not None
        return column_sources(self.epochs.epochs, source, target), layout.defaults


def is_told_by_rowid(layout: TableLayout) -> bool:
    """Whether rows go by their rowid: it is their primary key, or they have none."""
    return layout.has_rowid and (layout.rowid_column is not None or not layout.key)
