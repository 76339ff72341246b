"""When the keeper's cycle is due: few, large cycles cost little; a short WAL syncs fast."""

from __future__ import annotations

import time

from dosql_core.kernel.wal_index import WalIndex, WalState

_PARTS_OF_A_CYCLE = 8
_BACKLOG_CYCLES = 16
_FRAMES_A_SECOND_UNSYNCED = 20_000
_CYCLE_GROWTH_MAX = 4


class CyclePacing:
    """How long the WAL of one head may grow; one thread at a time notes cycles."""

    def __init__(self, index: WalIndex, frames_min: int) -> None:
        self._index = index
        self._frames_min = frames_min
        self._frames = frames_min
        self._cycled_at = time.monotonic()
        self._cycled = ((0, 0), 0)  # salts and length of the WAL at the end of our last cycle
        # A commit that leaves the WAL this long has to say so; looked at in every commit.
        self.next_frames = frames_min

    def is_due(self) -> bool:
        """Whether the WAL has grown enough for a cycle, whichever process wrote it."""
        return self._index.state().frames - self._cycled_frames() >= self._frames

    def is_far_behind(self, frames: int) -> bool:
        """Whether a WAL of that many frames has outrun capture: then writers should wait."""
        return frames - self._cycled_frames() > _BACKLOG_CYCLES * self._frames_min

    def is_little(self, frames: int) -> bool:
        """Whether so many frames are soon captured while others wait."""
        return frames < self._frames // _PARTS_OF_A_CYCLE

    def note_request(self, frames: int) -> None:
        """A cycle was asked for when the WAL was that long: do not ask at every commit."""
        self.next_frames = frames + self._frames

    def note_cycle(self, state: WalState) -> None:
        """A cycle captured the WAL up to `state`, and chooses when the next one comes.

        After more frames while commits come very fast: but a WAL that grows takes twice as long to
        sync, so it grows only where commits come faster than anybody could sync them one by one.
        """
        self._cycled = state.salts, state.frames
        now = time.monotonic()
        seconds, self._cycled_at = now - self._cycled_at, now
        if state.frames > seconds * _FRAMES_A_SECOND_UNSYNCED:
            self._frames = min(2 * self._frames, _CYCLE_GROWTH_MAX * self._frames_min)
        else:
            self._frames = self._frames_min

    def expect_next(self, frames_left: int) -> None:
        """The next cycle comes after this many frames that stayed, and those of one cycle."""
        self.next_frames = frames_left + self._frames

    def _cycled_frames(self) -> int:
        """How many frames of the present WAL our last cycle has seen."""
        salts, frames = self._cycled
        return frames if salts == self._index.state().salts else 0
