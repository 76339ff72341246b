"""Which snapshot of a table a moment means: an LSN of its source, a time, a snapshot, a ref."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator

from dolake.catalog.json_fields import Json
from dolake.catalog.table_metadata import current_snapshot, snapshot_of
from dolake.errors import LakeQueryError, LsnNotInLakeError, SnapshotNotFoundError
from dolake.query.query_text import Moment
from dolake.tables.lake_table import FIRST_LSN, LSN, SOURCE

_SHOWN_MAX = 5


def snapshot_at(
    metadata: Json, moment: Moment | None, siblings: Callable[[], Iterable[Json]]
) -> Json | None:
    """The snapshot of a table at a moment; None where it had none yet.

    Shape:  `siblings` gives the metadata of the tables that come from the same source.
    Errors: SnapshotNotFoundError, LsnNotInLakeError, LakeQueryError for a moment that is none.
    """
    if moment is None:
        return current_snapshot(metadata)
    if moment.kind == "snapshot":
        found = snapshot_of(metadata, _number(moment))
        if found is None:
            raise SnapshotNotFoundError(f"the table has no snapshot {moment.value}")
        return found
    if moment.kind in ("branch", "tag"):
        ref = metadata["refs"].get(moment.value)
        if ref is None or ref["type"] != moment.kind:
            raise SnapshotNotFoundError(f"the table has no {moment.kind} {moment.value!r}")
        return snapshot_of(metadata, ref["snapshot-id"])
    if moment.kind == "timestamp":
        return _at_time(metadata, _milliseconds(moment.value))
    return _at_lsn(metadata, _number(moment), siblings)


def lsn_of(metadata: Json, snapshot: Json | None) -> int | None:
    """The LSN of the source that a snapshot stands for: its own, or that of one it builds on."""
    for ancestor in _ancestry(metadata, snapshot):
        if LSN in ancestor.get("summary", {}):
            return int(ancestor["summary"][LSN])
    return None


def _at_time(metadata: Json, time_ms: int) -> Json | None:
    log = [entry for entry in metadata["snapshot-log"] if entry["timestamp-ms"] <= time_ms]
    if not log:
        if metadata["snapshot-log"]:
            first = _shown_time(metadata["snapshot-log"][0]["timestamp-ms"])
            raise SnapshotNotFoundError(f"the oldest snapshot that is kept is of {first}")
        return None
    found = snapshot_of(metadata, log[-1]["snapshot-id"])
    if found is None:
        raise SnapshotNotFoundError(
            f"the snapshot that was the current one at {_shown_time(time_ms)} has expired"
        )
    return found


def _at_lsn(metadata: Json, lsn: int, siblings: Callable[[], Iterable[Json]]) -> Json | None:
    """The newest snapshot not after the LSN, where nothing of the table changed in between.

    A snapshot gathers many commits, so that not every LSN has a state in the lake. Between two
    snapshots of this table the state is known up to the oldest change of the second, and to the
    last flush that left it as it was.
    """
    source = metadata["properties"].get(SOURCE)
    if source is None:
        raise LakeQueryError("the table comes from no database: it has no LSNs")
    states = states_by_lsn(metadata)
    before = [state for state in states if state[0] <= lsn]
    after = [state for state in states if state[0] > lsn]
    if before and before[0][0] == lsn:
        return before[0][1]
    if before and after and lsn < int(after[-1][1]["summary"].get(FIRST_LSN, 0)):
        return before[0][1]  # the snapshot after it brought no change that is as old
    flushed = sorted(
        {own for own, _ in states} | {own for other in siblings() for own in _lsns(other, source)}
    )
    if not flushed or lsn > flushed[-1]:
        newest = flushed[-1] if flushed else 0
        raise LsnNotInLakeError(f"the lake has the source {source!r} up to LSN {newest}, not {lsn}")
    following = after[-1][0] if after else None
    # Flushes up to here did not touch the table, or it would have a snapshot of them.
    untouched = max((own for own in flushed if following is None or own < following), default=0)
    if before and lsn <= untouched:
        return before[0][1]
    known = sorted(own for own, _ in states)
    near = [own for own in known if own <= lsn][-_SHOWN_MAX:] + [own for own in known if own > lsn]
    raise LsnNotInLakeError(
        f"the table has no state as of exactly LSN {lsn}; it has as of "
        f"{', '.join(map(str, near[: 2 * _SHOWN_MAX])) or 'none'}"
    )


def states_by_lsn(metadata: Json) -> list[tuple[int, Json]]:
    """The snapshots of a mirror that say which LSN they show, the newest first."""
    source = metadata["properties"].get(SOURCE)
    return [
        (int(item["summary"][LSN]), item)
        for item in _ancestry(metadata, current_snapshot(metadata))
        if item.get("summary", {}).get(SOURCE) == source and LSN in item["summary"]
    ]


def _lsns(metadata: Json, source: str) -> Iterator[int]:
    if metadata["properties"].get(SOURCE) == source:
        for own, _ in states_by_lsn(metadata):
            yield own


def _ancestry(metadata: Json, snapshot: Json | None) -> Iterator[Json]:
    """A snapshot, then those it builds on, as far as they are kept."""
    by_id = {item["snapshot-id"]: item for item in metadata["snapshots"]}
    while snapshot is not None:
        yield snapshot
        snapshot = by_id.get(snapshot.get("parent-snapshot-id"))


def _number(moment: Moment) -> int:
    if not moment.value.isdecimal():
        raise LakeQueryError(f"{moment.kind} {moment.value!r} was given; a number was expected")
    return int(moment.value)


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise LakeQueryError(
            f"{text!r} is no time; one such as '2026-11-23 10:00:00' (UTC) was expected"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def _shown_time(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).isoformat(" ")
