"""SQLite's shared-memory WAL index, read where SQLite maps it.

The header tells what is committed; the lock bytes tell who reads. Linux only: the descriptor is
found in /proc, because opening and closing the file again would drop the process's POSIX locks.

Source: https://sqlite.org/walformat.html, "The WAL-Index File Format".
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dosql_core.errors import CannotOpenError
from dosql_core.storage.durable_files import telling_disk_errors

_HEADER_BYTES = 48
_MAP_BYTES = 4096
_HEADER = struct.Struct("=IIIBBHIIIIIIII")
_FLOCK = struct.Struct("hhqqi4x")
_F_OFD_GETLK = 36  # Linux; it also reports the POSIX locks of this very process
_WRITE_LOCK = 120
_READ_LOCK_1 = 124
_READ_LOCKS_ABOVE_0 = 4
_READ_MARK_1_WORD = 26
MX_FRAME_WORD = 4
SALT_1_WORD = 8
_BACKFILLED_WORD = 24
_LOOKS_NEARBY = 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PROT_READ = 1
_PROT_WRITE = 2
_HEADER_CHECKSUM_AT = 40
_MAP_SHARED = 1


@dataclass(frozen=True, slots=True)
class WalState:
    """What the header says is committed.

    Units: `frames` counts the frames of all commits; `pages` is the database's size.
    """

    frames: int
    pages: int
    checksum: tuple[int, int]
    salts: tuple[int, int]


class WalIndex:
    """The mapped header of one `-shm` file, valid while the process keeps a connection open."""

    def __init__(self, shm_path: str) -> None:
        self._descriptor = _descriptor_of(shm_path)
        address = _libc.mmap(None, _MAP_BYTES, _PROT_READ, _MAP_SHARED, self._descriptor, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise CannotOpenError(f"{shm_path} cannot be mapped: {os.strerror(ctypes.get_errno())}")
        self._address: int | None = address
        self._bytes = memoryview((ctypes.c_char * _MAP_BYTES).from_address(address)).cast("B")
        self.words = self._bytes.cast("I")

    def state(self) -> WalState:
        """A consistent copy of the header."""
        while True:
            first = bytes(self._bytes[:_HEADER_BYTES])
            if first == self._bytes[_HEADER_BYTES : 2 * _HEADER_BYTES]:
                break
        fields = _HEADER.unpack(first)
        # the salts are stored as the WAL file has them, big-endian
        salt1, salt2 = struct.unpack(">II", first[32:40])
        return WalState(fields[6], fields[7], (fields[8], fields[9]), (salt1, salt2))

    def raw_header(self) -> bytes:
        """Both copies of the header: equal before and after means nothing was committed between."""
        return bytes(self._bytes[: 2 * _HEADER_BYTES])

    def is_all_in_file(self) -> bool:
        """Whether every frame was checkpointed: who begins to read now needs none of them."""
        return self.words[_BACKFILLED_WORD] >= self.words[MX_FRAME_WORD]

    def readers_need_the_wal(self) -> bool:
        """Whether any process, this one included, reads at a mark inside the WAL."""
        return self._is_locked(_READ_LOCK_1, _READ_LOCKS_ABOVE_0)

    def oldest_mark_in_use(self) -> int | None:
        """The frame that the oldest reader inside the WAL reads up to; None when there is none."""
        return min(
            (
                self.words[_READ_MARK_1_WORD + slot]
                for slot in range(_READ_LOCKS_ABOVE_0)
                if self._is_locked(_READ_LOCK_1 + slot, 1)
            ),
            default=None,
        )

    def is_write_locked(self) -> bool:
        """Whether any process, this one included, holds SQLite's write lock."""
        return self._is_locked(_WRITE_LOCK, 1)

    def _is_locked(self, first_byte: int, count: int) -> bool:
        query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first_byte, count, 0)
        answer = _FLOCK.unpack(fcntl.fcntl(self._descriptor, _F_OFD_GETLK, query))
        return bool(answer[0] != fcntl.F_UNLCK)

    def invalidate(self) -> None:
        """Make the checksum of the header wrong, so that SQLite builds the index from the WAL anew.

        Both copies say the same as before and are equal, so that nobody waits for a writer's end.
        Call under the write lock; recovery begins with the first read after it.
        """
        protection = _PROT_READ | _PROT_WRITE
        address = _libc.mmap(None, _MAP_BYTES, protection, _MAP_SHARED, self._descriptor, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise CannotOpenError(
                f"the WAL index cannot be mapped: {os.strerror(ctypes.get_errno())}"
            )
        try:
            header = (ctypes.c_ubyte * _MAP_BYTES).from_address(address)
            for copy in (0, _HEADER_BYTES):
                header[copy + _HEADER_CHECKSUM_AT] ^= 0xFF
        finally:
            _libc.munmap(address, _MAP_BYTES)

    def close(self) -> None:
        """Unmap the header; the descriptor is SQLite's and stays."""
        if self._address is not None:
            self.words.release()
            self._bytes.release()
            _libc.munmap(self._address, _MAP_BYTES)
            self._address = None


@telling_disk_errors()
def _descriptor_of(path: str) -> int:
    """SQLite's descriptor of a file that it has opened just now, or earlier."""
    wanted = os.stat(path)
    # The lowest free number is just above what was opened last, so one look mostly does.
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    nearby = range(lowest_free - 1, max(lowest_free - 1 - _LOOKS_NEARBY, -1), -1)
    for descriptor in itertools.chain(nearby, _all_descriptors()):
        try:
            found = os.fstat(descriptor)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return descriptor
    raise CannotOpenError(f"this process has no descriptor of {path}: is a connection open?")


def _all_descriptors() -> Iterator[int]:
    yield from map(int, os.listdir("/proc/self/fd"))
