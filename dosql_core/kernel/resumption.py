"""Where history goes on when a head is opened: adopt a file, continue, record a gap, or refuse.

The keeper calls this before anybody may recycle what nobody has captured.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dosql_core.errors import LostCommitsError
from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.kernel.adoption import Progress, adopt, close_gap, equals_moment
from dosql_core.kernel.connection import run
from dosql_core.kernel.keeper import Keeper, Stamp, new_stamp
from dosql_core.kernel.wal_index import WalState
from dosql_core.kernel.wal_position import (
    CapturedPosition,
    FramesLost,
    GapFound,
    first_uncaptured_frame,
)

if TYPE_CHECKING:
    from dosql_core.kernel.head import Head


def begin_history(head: Head, keeper: Keeper, on_progress: Progress | None) -> None:
    """Adopt an existing database, or note that there is none yet.

    After that note a crash cannot make our own first commits pass for a file to be adopted.
    """
    now = Microseconds(time.time_ns() // 1000)
    with contextlib.ExitStack() as pinning:
        with keeper.write_lock(head.gate):
            keeper.release()
            is_in_file = keeper.checkpoint(head.index.state())
            keeper.keep()
            _connection, state = pinning.enter_context(head.pinned())
            is_new = not (state.pages or _file_pages(head) > 1 or _has_schema(head))
            lsn = Lsn(0 if is_new else 1)
            position = _position_at(head, state, lsn, is_complete=is_in_file)
        if is_new:
            head.capture.record_position(position)
            return
        # K's mark stands: foreign programs may write on meanwhile and begin the WAL anew where
        # all of it is in the file, but nobody can write to the file
        pages = head.pages(replace(state, frames=0) if is_in_file else state)
        try:
            adopt(pages, head.own_history, position, now, on_progress)
        finally:
            pages.close()


def find_out_what_happened(head: Head, stamp: Stamp | None) -> None:
    """Continue history where it ends, or record a gap.

    `stamp` is the one the database file has, or had before we opened it. The keeper's mark holds
    what it finds.
    """
    captured = CapturedPosition.from_json(head.own_history.captured)
    state = head.index.state()
    if not state.frames and _why_not_continued(head, captured, state, stamp) is None:
        return  # nothing to be pinned: whatever comes next is in the WAL
    with head.pinned() as (_connection, state):
        captured = CapturedPosition.from_json(head.own_history.captured)
        reason = _why_not_continued(head, captured, state, stamp)
        if reason is None:
            return
        if state.frames and (head.place.is_overlay or _file_is_newest(head, state)):
            # K died between a complete checkpoint and its record: all of the WAL is new
            head.capture.record_position(CapturedPosition(
                state.salts, 0, (0, 0), False, captured.ring, head.own_history.newest_lsn
            ))  # fmt: skip
        elif head.place.is_overlay:
            raise LostCommitsError(f"{head.place.database_path}: {reason}")
        else:
            lsn = _record_gap(head, state, reason)
            head.opening_note = f"{reason}: " + (
                "its pages are those history has" if lsn is None else f"see LSN {lsn}"
            )


def _has_schema(head: Head) -> bool:
    return bool(run(head.pin_connection, "SELECT 1 FROM sqlite_schema LIMIT 1"))


def _file_pages(head: Head) -> int:
    return os.stat(head.place.database_path).st_size // head.page_size


def _file_is_newest(head: Head, state: WalState) -> bool:
    """Whether the database file, its WAL left aside, is at the newest commit of history."""
    newest = head.own_history.newest_lsn
    pages = head.pages(replace(state, frames=0))
    try:
        return equals_moment(pages, head.history, newest)
    finally:
        pages.close()


def _why_not_continued(
    head: Head, captured: CapturedPosition, state: WalState, stamp: Stamp | None
) -> str | None:
    is_untouched = head.place.is_overlay or captured.stamp == stamp is not None
    if state.frames == 0:
        if not captured.is_complete:
            return "the WAL with the newest commits is gone"
        if is_untouched:
            return None
        return "the file was written by another program, copied or replaced"
    try:
        first_uncaptured_frame(captured, state, head.clock.descriptor(), head.page_size)
    except FramesLost as lost:
        raise LostCommitsError(f"{head.place.database_path}: {lost}") from lost
    except GapFound as gap:
        return str(gap)
    if state.salts != captured.salts and not is_untouched:
        # a restarted WAL looks the same after commits that were checkpointed unseen
        return "another program checkpointed while nobody watched"
    return None


def _record_gap(head: Head, state: WalState, reason: str) -> Lsn | None:
    now = Microseconds(max(time.time_ns() // 1000, head.times.next_time()))
    is_in_file = state.frames == 0  # where it is not, the cycle that follows will do it
    position = _position_at(head, state, head.own_history.newest_lsn, is_complete=is_in_file)
    pages = head.pages(state)
    try:
        return close_gap(pages, head.own_history, head.history, position, now, reason)
    finally:
        pages.close()


def _position_at(
    head: Head, state: WalState, checkpointed: Lsn, *, is_complete: bool
) -> CapturedPosition:
    """The position of a head whose pages at `state` history has, however it came by them."""
    return CapturedPosition(
        state.salts,
        state.frames,
        state.checksum if state.frames else (0, 0),
        is_complete,
        head.times.position,
        checkpointed,
        new_stamp(head.place.database_path) if is_complete else None,
    )
