"""When commits happened, from the commit hook until capture seals them: a ring shared by processes.

A time is taken under SQLite's write lock, so one process writes at a time and times rise with LSNs.
The entry says after which frame of which WAL generation the commit begins; a commit that failed
leaves an entry with the same key as the next one, and the later entry counts. The ring survives
the process but not a power cut: then times are estimated and flagged so.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Microseconds
from dosql_core.kernel.wal_index import MX_FRAME_WORD, SALT_1_WORD, WalIndex
from dosql_core.storage.durable_files import telling_disk_errors

MAGIC = 0x31454D49544F5344  # "DSOTIME1", little-endian
CAPACITY = 1 << 17
_HEADER_WORDS = 8
_WORD_MAGIC, _WORD_NEXT, _WORD_LAST_TIME = 0, 1, 2
_MASK = CAPACITY - 1
_HEADER_END = struct.Struct("<QQ")  # how many entries were ever written, the last time
_HEADER_END_AT = _WORD_NEXT * 8
_ENTRY = struct.Struct("<IIQ")  # the two halves of a key (see `time_key`), the time
_ENTRIES_AT = _HEADER_WORDS * 8
RING_BYTES = (_HEADER_WORDS + 2 * CAPACITY) * 8
_PAGE_BYTES = 4096
_ENTRIES_OF_A_PAGE = _PAGE_BYTES // 16


class NotedTimes(NamedTuple):
    """What a part of the ring says.

    Shape: `times` are those of the entries from `first` on; `places` says which of them is the one
           of a key (see `time_key`).
    """

    first: int
    times: list[Microseconds]
    places: dict[int, int]


class CommitTimes:
    """The ring of one head, mapped.

    `not_before` tells the time of the newest commit in history: after a power cut the ring may be
    older. It is asked once, when the first time is needed; whoever only reads needs none.
    """

    @telling_disk_errors()
    def __init__(self, path: str, *, not_before: Callable[[], Microseconds]) -> None:
        self._not_before: Callable[[], Microseconds] | None = not_before
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with telling_disk_errors():
                if os.fstat(self._descriptor).st_size < RING_BYTES:
                    os.ftruncate(self._descriptor, RING_BYTES)
                os.posix_fallocate(self._descriptor, 0, _PAGE_BYTES)  # the header: see `_allocate`
            self._map = mmap.mmap(self._descriptor, RING_BYTES)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.words = memoryview(self._map).cast("Q")
        if self.words[_WORD_MAGIC] == 0:
            self.words[_WORD_MAGIC] = MAGIC
        elif self.words[_WORD_MAGIC] != MAGIC:
            self.close()
            raise CorruptStoreError(f"{path} does not begin as a ring of commit times does")

    def _catch_up_with_history(self) -> None:
        """See to it that no time is given out again; call under the write lock."""
        if self._not_before is not None:
            self.words[_WORD_LAST_TIME] = max(self.words[_WORD_LAST_TIME], self._not_before())
            self._not_before = None

    @property
    def position(self) -> int:
        """How many entries were ever written."""
        return self.words[_WORD_NEXT]

    @property
    def last_time(self) -> Microseconds:
        """The time noted last."""
        return Microseconds(self.words[_WORD_LAST_TIME])

    def next_time(self) -> Microseconds:
        """The time the next commit would get; call under the write lock."""
        self._catch_up_with_history()
        return Microseconds(max(time.time_ns() // 1000, self.words[_WORD_LAST_TIME] + 1))

    def record(self, index: WalIndex, at: Microseconds) -> None:
        """Note that a commit beginning after the present end of the WAL happens at `at`."""
        self.recorder(index)(at)

    def recorder(self, index: WalIndex) -> Callable[[Microseconds | None], int]:
        """A function that notes a commit at a time planned before, or now when that is None.

        It returns the time. It runs in every commit, so all it needs is at hand.
        """
        now_ns, ring, wal = time.time_ns, self._map, index.words
        read_header, write_header = _HEADER_END.unpack_from, _HEADER_END.pack_into
        write_entry = _ENTRY.pack_into
        roomy_from, roomy_to = 0, 0

        def note(planned: Microseconds | None) -> int:
            nonlocal roomy_from, roomy_to
            position, last = read_header(ring, _HEADER_END_AT)
            place = position & _MASK
            if not roomy_from <= place < roomy_to:
                self._catch_up_with_history()
                roomy_from, roomy_to = self._allocate(place)
                position, last = read_header(ring, _HEADER_END_AT)
            if planned is not None:
                at: int = planned
            else:
                at = now_ns() // 1000
                if at <= last:
                    at = last + 1
            if roomy_to:  # else the time will be estimated
                entry_at = _ENTRIES_AT + (place << 4)
                write_entry(ring, entry_at, wal[MX_FRAME_WORD], wal[SALT_1_WORD], at)
                position += 1
            write_header(ring, _HEADER_END_AT, position, at)
            return at

        return note

    def _allocate(self, place: int) -> tuple[int, int]:
        """Have the file system give room for an entry and its neighbours: from where to where.

        Nowhere, (0, 0), when it has none: to write into a hole of a file on a full disk would end
        the process.
        """
        page = (_HEADER_WORDS + 2 * place) * 8 // _PAGE_BYTES
        try:
            os.posix_fallocate(self._descriptor, page * _PAGE_BYTES, _PAGE_BYTES)
        except OSError:
            return 0, 0
        begins = page * _ENTRIES_OF_A_PAGE - _HEADER_WORDS // 2
        return max(begins, 0), min(begins + _ENTRIES_OF_A_PAGE, CAPACITY)

    def since(self, position: int) -> NotedTimes:
        """Times noted since `position`; overwritten ones are missing."""
        end = self.words[_WORD_NEXT]
        first = max(position, end - CAPACITY, 0)
        wraps = min(end, (first | _MASK) + 1)
        keys: list[int] = []
        times: list[Microseconds] = []
        for begins, ends in ((first, wraps), (wraps, end)):
            if begins < ends:
                slot = _HEADER_WORDS + ((begins & _MASK) << 1)
                entries = self.words[slot : slot + ((ends - begins) << 1)]
                keys += entries[::2].tolist()
                times += cast(list[Microseconds], entries[1::2].tolist())
        places = dict(zip(keys, range(len(keys)), strict=True))
        if 0 in times:  # a power cut took an entry, but not the count of them
            places = {key: place for key, place in places.items() if times[place]}
        return NotedTimes(first, times, places)

    def last(self) -> tuple[int, Microseconds] | None:
        """Key and time of the newest entry."""
        end = self.words[_WORD_NEXT]
        if end == 0:
            return None
        slot = _HEADER_WORDS + (((end - 1) & _MASK) << 1)
        return self.words[slot], Microseconds(self.words[slot + 1])

    def close(self) -> None:
        """Unmap the ring, and forget whom it was to ask."""
        self._not_before = None
        self.words.release()
        self._map.close()
        os.close(self._descriptor)


def begins_a_generation(key: int) -> bool:
    """Whether a time was noted when the WAL was empty, whichever salt it had then.

    SQLite may choose the salts of a WAL only as it writes the first frame.
    """
    return key & 0xFFFFFFFF == 0


def time_key(stored_salt1: int, frames_before: int) -> int:
    """Key of the commit that begins after `frames_before` in the generation with that salt.

    Units: `stored_salt1` as a native word of the WAL index, not big-endian as in the WAL file.
    """
    return (stored_salt1 << 32) | frames_before
