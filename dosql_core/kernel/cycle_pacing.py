"""When capture and the keeper's cycle are due.

Few, large cycles cost little, and what is done under the write lock costs the writers. But a WAL
that grows takes twice as long to sync, so it grows only where commits come faster than anybody
could sync them one by one.
"""

from __future__ import annotations

import time

from dosql_core.kernel.commit_times import CommitTimes
from dosql_core.kernel.wal_index import WalIndex, WalState

_PARTS_OF_A_CAPTURE = 8
# Multiples of the least number of frames that are captured at a time:
_CAPTURE_GROWTH_MAX = 4
_CYCLE_GROWTH_MAX = 8
_LENGTH_WITH_HELP = 20
_LENGTH_MAX = 24
_FRAMES_A_SECOND_UNSYNCED = 20_000
_FLOOD_COMMITS = 4000
_PRESSURE_HALVES_SECONDS = 1.0


class CyclePacing:
    """How long the WAL of one head may grow; one thread at a time notes what was done about it."""

    def __init__(self, index: WalIndex, times: CommitTimes, frames_min: int) -> None:
        self._index = index
        self._times = times
        self._frames_min = frames_min
        self._frames = frames_min
        self._captured_at = time.monotonic()
        self._worked_seconds, self._worked_at = 0.0, self._captured_at
        self._captured = ((0, 0), 0)  # salts and length of the WAL when it was last captured
        self._commits_before = times.position  # how many there were then
        self._is_work_owed = False
        self.is_hurried = False
        """Whether commits came very fast when the WAL was last captured."""
        # A commit that leaves the WAL this long has to say so; looked at in every commit.
        self.next_frames = frames_min

    def is_due(self) -> bool:
        """Whether there is enough to be done, whichever process wrote it."""
        return self._is_work_owed or self._uncaptured(self._index.state().frames) >= self._frames

    def is_far_behind(self, frames: int) -> bool:
        """Whether a WAL of that many frames has outrun capture: then writers should wait.

        Where it is long because somebody reads an old part of it, waiting would not help.
        """
        return self.is_too_long(frames, uncaptured=self._uncaptured(frames))

    def is_too_long(self, frames: int, *, uncaptured: int) -> bool:
        """As `is_far_behind`, for who knows how many of the frames nobody has captured."""
        return (
            frames > _LENGTH_MAX * self._frames_min
            and uncaptured >= _CAPTURE_GROWTH_MAX * self._frames_min
        )

    def is_little(self, frames: int) -> bool:
        """Whether so many frames are soon captured while others wait."""
        return frames < self._frames // _PARTS_OF_A_CAPTURE

    def note_request(self, frames: int) -> None:
        """It was asked for when the WAL was that long: do not ask at every commit."""
        self.next_frames = frames + self._frames

    def put_off(self, state: WalState, *, is_help_coming: bool) -> bool:
        """Whether the WAL had better not be captured yet; then it is due again soon.

        That is where commits come very fast and nobody else captures them: most often they stop
        after a moment, and then capture is in nobody's way.
        """
        length_max = _LENGTH_WITH_HELP if is_help_coming else _CYCLE_GROWTH_MAX
        if state.frames >= length_max * self._frames_min or not self._is_fast(state):
            return False
        self._is_work_owed = True
        self.next_frames = state.frames + self._frames_min
        return True

    def is_flooded(self, state: WalState) -> bool:
        """Whether commits come very fast, and very many have come."""
        commits = self._times.position - self._commits_before
        return commits >= _FLOOD_COMMITS and self._is_fast(state)

    def _is_fast(self, state: WalState) -> bool:
        seconds = time.monotonic() - self._captured_at
        return self._uncaptured(state.frames) > seconds * _FRAMES_A_SECOND_UNSYNCED

    def note_capture(self, state: WalState) -> bool:
        """The WAL up to `state` was captured; whether the cycle had better come later.

        That is where commits come very fast, until the WAL has a length that pays for a cycle.
        """
        self.is_hurried = self._is_fast(state)
        self._note_captured(state)
        self.next_frames = state.frames + self._frames
        if self.is_hurried:
            self._frames = min(2 * self._frames, _CAPTURE_GROWTH_MAX * self._frames_min)
            self._is_work_owed = state.frames < _CYCLE_GROWTH_MAX * self._frames_min
        else:
            self._frames = self._frames_min
            self._is_work_owed = False
        return self._is_work_owed

    def note_cycle(self, state: WalState, *, copied_all: bool) -> None:
        """A cycle left the WAL at `state`; when it copied all, the next commit begins it anew."""
        self._note_captured(state)
        self._is_work_owed = False
        self.next_frames = self._frames + (0 if copied_all else state.frames)

    def note_cycle_missed(self) -> None:
        """There could be none: try again soon."""
        self._is_work_owed = True

    def _note_captured(self, state: WalState) -> None:
        self._captured = state.salts, state.frames
        self._captured_at = time.monotonic()
        self._commits_before = self._times.position

    def note_work(self, seconds: float) -> None:
        """So much time of a processor was spent on it."""
        self._worked_seconds = self.worked_lately() + seconds
        self._worked_at = time.monotonic()

    def worked_lately(self) -> float:
        """How much time of a processor that took within the last second or so; in seconds."""
        half_lives = (time.monotonic() - self._worked_at) / _PRESSURE_HALVES_SECONDS
        faded: float = self._worked_seconds * 0.5**half_lives
        return faded

    def _uncaptured(self, frames: int) -> int:
        """How many frames of a WAL of that many have come since the last capture."""
        salts, captured = self._captured
        return frames - captured if salts == self._index.state().salts else frames
