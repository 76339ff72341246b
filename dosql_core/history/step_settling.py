"""What happened to rows, put in order, with what their overflow pages held at the time.

A cell whose payload goes on in overflow pages says only where it begins. SQLite overwrites those
pages in place, and then the cell's bytes stay what they were: the row is another version, and
where the key is in there, too, another row.
"""

from __future__ import annotations

from collections.abc import Iterator

from dosql_core.history.row_reader import Identity, RowReader
from dosql_core.identifiers import Lsn
from dosql_core.rows.stored_rows import OverflowPayload, Payload
from dosql_core.storage.page_timeline import PageTimeline

Steps = list[Lsn | bytes | None]
"""What happened to a row, flat: LSN, payload, LSN, payload ...; None where it was deleted."""

RawSteps = list[Lsn | Payload | None]


class StepSettling:
    """Puts what happened to a row in order: what came in a commit wins over what went in it."""

    def __init__(self, timeline: PageTimeline, reader: RowReader) -> None:
        self._timeline = timeline
        self._reader = reader

    def add(self, identity: Identity, steps: Steps, raw: RawSteps) -> OverflowPayload | None:
        """Add to `steps` what is in `raw`; the overflowing payload that is current in the end."""
        by_lsn: dict[Lsn, Payload | None] = {}
        for lsn, payload in zip(raw[::2], raw[1::2], strict=True):
            if payload is not None or lsn not in by_lsn:
                by_lsn[lsn] = payload  # type: ignore[index, assignment]
        lsns = sorted(by_lsn)
        overflow: OverflowPayload | None = None
        for place, lsn in enumerate(lsns):
            payload = by_lsn[lsn]
            overflow = None
            if type(payload) is OverflowPayload:
                overflow = payload
                until = lsns[place + 1] if place + 1 < len(lsns) else self._timeline.last + 1
                for at, whole in self._whole_payloads(payload, lsn, until):
                    self._append(identity, steps, at, whole)
            else:
                self._append(identity, steps, lsn, payload)  # type: ignore[arg-type]
        return overflow

    def tell_changed_keys(self, raw: dict[Identity, RawSteps]) -> None:
        """Add to `raw` where a cell that stayed as it is on its page became another row.

        Where a cell came and went is there under the key that it had at the time.
        """
        waiting = [
            (identity, lsn, payload)
            for identity, steps in raw.items()
            for lsn, payload in zip(steps[::2], steps[1::2], strict=True)
            if type(payload) is OverflowPayload
        ]
        while waiting:
            identity, lsn, payload = waiting.pop()
            changed = self._changed_key(identity, payload, lsn, raw[identity])  # type: ignore[arg-type]
            if changed is not None:
                at, other = changed
                raw[identity] += (at, None)
                raw.setdefault(other, []).extend((at, payload))
                waiting.append((other, at, payload))

    def _changed_key(
        self, identity: Identity, payload: OverflowPayload, lsn: Lsn, raw: RawSteps
    ) -> tuple[Lsn, Identity] | None:
        """When the cell that came as a row at `lsn` became another one, and which."""
        reader = self._reader
        if reader.is_key_within(payload.local, reader.layout_at(lsn)):
            return None
        told = [(at, step) for at, step in zip(raw[::2], raw[1::2], strict=True) if at > lsn]  # type: ignore[operator]
        until = min((at for at, _ in told), default=self._timeline.last + 1)  # type: ignore[type-var]
        if told and (until, None) not in told:
            until += 1  # type: ignore[operator]  # another cell is that row now, so this one is not
        for at, whole in self._whole_payloads(payload, lsn, until):  # type: ignore[arg-type]
            other = reader.identity(whole, payload.rowid, reader.layout_at(at))
            if other != identity:
                return at, other
        return None

    def _append(self, identity: Identity, steps: Steps, lsn: Lsn, payload: bytes | None) -> None:
        before = steps[-1] if steps else None
        if before is None or payload is None:
            if before is payload:
                return
        else:
            before_lsn = steps[-2]
            assert isinstance(before, bytes)
            if before_lsn == lsn or self._reader.is_same(
                identity,
                before,
                before_lsn,  # type: ignore[arg-type]
                payload,
                lsn,
            ):
                return
        steps += (lsn, payload)

    def _whole_payloads(
        self, payload: OverflowPayload, lsn: Lsn, until: int
    ) -> Iterator[tuple[Lsn, bytes]]:
        """The whole payload, and again whenever a page of its chain is overwritten in place."""
        while True:
            whole, pages = whole_payload(self._timeline, payload, lsn, self._reader)
            yield lsn, whole
            following = [self._timeline.next_written(page, lsn) for page in pages]
            lsn = min((at for at in following if at is not None), default=Lsn(until))
            if lsn >= until:
                return


def whole_payload(
    timeline: PageTimeline, payload: OverflowPayload, lsn: Lsn, reader: RowReader
) -> tuple[bytes, list[int]]:
    """A payload with what is in its overflow pages as of an LSN; and which pages those are."""
    usable = reader.table_limits.usable_bytes
    parts, page, pages = [payload.local], payload.first_page, []
    rest = payload.payload_bytes - len(payload.local)
    while rest > 0:
        pages.append(page)
        content = timeline.page_at(page, lsn)
        parts.append(content[4:usable])
        rest -= usable - 4
        page = int.from_bytes(content[:4], "big")
    return b"".join(parts)[: payload.payload_bytes], pages
