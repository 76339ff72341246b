"""Up to where a head's WAL is in history, and which LSN a place in the WAL has.

The manifest of the history records the position of the last capture. A WAL *generation* is what
lies between two restarts of the WAL; its salts name it. A restart is legitimate only after a
checkpoint that copied everything captured, and then the first salt is one higher; anything else
means that somebody checkpointed commits we never saw.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import EMPTY_LSN, Lsn
from dosql_core.kernel.wal_index import WalState
from dosql_core.storage.durable_files import telling_disk_errors
from dosql_core.storage.wal_frames import (
    frame_checksum,
    frame_offset,
    read_frames,
    read_wal_header,
)

_SMALL_SCAN_FRAMES = 16


class GapFound(CorruptStoreError):
    """The WAL does not continue where history ends: commits were checkpointed unseen."""


class FramesLost(GapFound):
    """The WAL of the captured generation lacks frames that history has: it was damaged."""


@dataclass(frozen=True, slots=True)
class CapturedPosition:
    """Where the last capture ended.

    Shape: `stamp` is (device, inode, bytes, mtime_ns) of the database file after the last complete
           checkpoint, None when frames were captured since; `ring` counts entries of the ring of
           commit times; `checkpointed` is the LSN the database file itself had at the last
           complete checkpoint.
    """

    salts: tuple[int, int] = (0, 0)
    frame: int = 0
    checksum: tuple[int, int] = (0, 0)
    is_complete: bool = True
    ring: int = 0
    checkpointed: Lsn = EMPTY_LSN
    stamp: tuple[int, int, int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """As the manifest stores it."""
        return {
            "salts": list(self.salts),
            "frame": self.frame,
            "checksum": list(self.checksum),
            "complete": self.is_complete,
            "ring": self.ring,
            "checkpointed": self.checkpointed,
            "stamp": list(self.stamp) if self.stamp else None,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> CapturedPosition:
        """Read what `to_json` wrote; an empty dictionary is the position of a new history."""
        if not stored:
            return cls()
        salts, checksum, stamp = stored["salts"], stored["checksum"], stored["stamp"]
        return cls(
            (salts[0], salts[1]),
            stored["frame"],
            (checksum[0], checksum[1]),
            stored["complete"],
            stored["ring"],
            Lsn(stored["checkpointed"]),
            (stamp[0], stamp[1], stamp[2], stamp[3]) if stamp else None,
        )


def first_uncaptured_frame(
    captured: CapturedPosition, state: WalState, wal_descriptor: int, page_size: int
) -> int:
    """The first frame of the present generation that history does not have yet.

    Errors: GapFound when the generation does not follow from the captured one.
    """
    if state.frames == 0:
        return 1
    if state.salts == captured.salts:
        if state.frames < captured.frame:
            raise FramesLost(
                f"the WAL holds {state.frames} frames; history has {captured.frame} of them"
            )
        stored = (
            frame_checksum(wal_descriptor, captured.frame, page_size) if captured.frame else None
        )
        if captured.frame and stored != captured.checksum:
            raise FramesLost(f"frame {captured.frame} of the WAL is not the one history has")
        return captured.frame + 1
    if captured.is_complete:
        if state.salts[0] == (captured.salts[0] + 1) & 0xFFFFFFFF:
            return 1
        header = read_wal_header(wal_descriptor)
        if header and header.salts == state.salts and header.checkpoint_sequence == 0:
            # a WAL file born after all that was captured had been checkpointed
            return 1
    raise GapFound(
        f"the WAL's generation {state.salts[0]:08x} does not follow {captured.salts[0]:08x}"
    )


class LsnClock:
    """Tells the LSN of any committed place in the present WAL, counting commit frames once."""

    def __init__(
        self, wal_path: str, page_size: int, position: Callable[[], tuple[CapturedPosition, Lsn]]
    ) -> None:
        self._wal_path = wal_path
        self._page_size = page_size
        self._position = position
        self._descriptor = -1
        self._lock = threading.Lock()
        self._salts: tuple[int, int] | None = None
        self._base = Lsn(0)
        self._first_counted = 0
        self._counted = 0
        self._commit_frames = array("I")

    def descriptor(self) -> int:
        """A descriptor of the WAL; plain reads of it are safe, SQLite locks other files."""
        if self._descriptor < 0:
            with telling_disk_errors():
                self._descriptor = os.open(self._wal_path, os.O_RDONLY)
        return self._descriptor

    def lsn_of(self, state: WalState) -> Lsn:
        """The LSN of the last commit in `state`.

        Errors: GapFound, or CorruptStoreError when the WAL was restarted meanwhile: look again.
        """
        with self._lock:
            if state.frames == 0 or state.salts != self._salts:
                self._start_generation(state)
            if state.frames < self._first_counted:
                self._count_from_the_start(state.salts)
            if state.frames > self._counted:
                self._commit_frames.extend(
                    self._commit_frames_in(self._counted + 1, state.frames, state.salts)
                )
                self._counted = state.frames
            return Lsn(self._base + bisect_right(self._commit_frames, state.frames))

    def _start_generation(self, state: WalState) -> None:
        captured, lsn = self._position()
        self._base = lsn
        self._commit_frames = array("I")
        self._first_counted = self._counted = 0
        self._salts = None
        if state.frames:
            if state.salts == captured.salts:
                self._first_counted = self._counted = captured.frame
            else:
                first_uncaptured_frame(captured, state, self.descriptor(), self._page_size)
            self._salts = state.salts

    def _count_from_the_start(self, salts: tuple[int, int]) -> None:
        """Count the frames before the captured position too: a snapshot older than it asks."""
        earlier = self._commit_frames_in(1, self._first_counted, salts)
        self._base = Lsn(self._base - len(earlier))
        self._commit_frames = earlier + self._commit_frames
        self._first_counted = 0

    def _commit_frames_in(self, first: int, last: int, salts: tuple[int, int]) -> array[int]:
        found = array("I")
        if last - first < _SMALL_SCAN_FRAMES:
            descriptor = self.descriptor()
            for frame in range(first, last + 1):
                header = os.pread(descriptor, 16, frame_offset(frame, self._page_size))
                if len(header) < 16 or _salts_of(header) != salts:
                    raise CorruptStoreError(f"WAL frame {frame} is not of this generation")
                if header[4:8] != b"\0\0\0\0":
                    found.append(frame)
        else:
            run = read_frames(self.descriptor(), first, last, self._page_size, salts)
            for position, size in enumerate(run.sizes_after):
                if size:
                    found.append(first + position)
        return found

    def close(self) -> None:
        """Close the descriptor of the WAL, and forget whoever told the position."""
        self._position = _position_of_nothing
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _position_of_nothing() -> tuple[CapturedPosition, Lsn]:
    raise ValueError("the head is closed")


def _salts_of(header: bytes) -> tuple[int, int]:
    return int.from_bytes(header[8:12], "big"), int.from_bytes(header[12:16], "big")
