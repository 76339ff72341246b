"""Which pages of a fork are its own: a bitmap shared by processes, made durable in SQLite's xSync.

The order that makes it safe: page into the overlay file, the map marked dirty, bit into the map,
and in xSync the overlay before the map. Until xSync returns SQLite keeps the WAL, so whatever a
crash leaves is repaired by checkpointing again. docs/formats/overlay-map.md has the layout.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib

from dosql_core.errors import CorruptStoreError, FormatVersionError, MissingSegmentError
from dosql_core.storage.durable_files import telling_disk_errors

MAGIC = b"DoSQLmap"
FORMAT_VERSION = 1
_HEADER = struct.Struct("<8sIIIII")
_HEADER_BYTES = 4096
_SLICE_BYTES = 4096
_BITS_BYTES = _SLICE_BYTES - 4
_BASE_LIMIT_AT = 20
_IS_DIRTY_AT = 24
_HEADER_CRC_AT = 28


class OverlayMap:
    """The map of one fork.

    Units: `base_limit` counts pages; a page after it never comes from the parent.
    """

    @telling_disk_errors()
    def __init__(self, path: str) -> None:
        self._path = path
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise MissingSegmentError(f"{path} is missing") from None
        try:
            size = os.fstat(descriptor).st_size
            if size < _HEADER_BYTES or size % _SLICE_BYTES:
                raise CorruptStoreError(f"{path} has {size} bytes; expected whole 4096-byte slices")
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        magic, version, self.page_size, self.page_count, _limit, dirty = _HEADER.unpack_from(
            self._map
        )
        if magic != MAGIC:
            raise CorruptStoreError(f"{path} does not begin as a map of pages does")
        if version != FORMAT_VERSION:
            raise FormatVersionError(
                f"{path} has format version {version}; this DoSQL knows {FORMAT_VERSION}"
            )
        self._words = memoryview(self._map).cast("I")
        if size != map_bytes(self.page_count):
            raise CorruptStoreError(
                f"{path} has {size} bytes; expected {map_bytes(self.page_count)}"
            )
        if not dirty:
            self.check()

    @property
    def base_limit(self) -> int:
        """Pages of the parent that may still be read."""
        return self._words[_BASE_LIMIT_AT // 4]

    def is_own(self, page_number: int) -> bool:
        """Whether the page is in the overlay."""
        index = page_number - 1
        if index >= self._words[_BASE_LIMIT_AT // 4]:
            return True
        part, bit = divmod(index, _BITS_BYTES * 8)
        return bool(self._map[_HEADER_BYTES + part * _SLICE_BYTES + (bit >> 3)] & (1 << (bit & 7)))

    def add(self, page_number: int) -> None:
        """Note that the overlay file has the page now."""
        index = page_number - 1
        if index >= self.page_count:
            return
        part, bit = divmod(index, _BITS_BYTES * 8)
        at = _HEADER_BYTES + part * _SLICE_BYTES + (bit >> 3)
        present = self._map[at]
        if not present & (1 << (bit & 7)):
            self._mark_dirty()
            self._map[at] = present | (1 << (bit & 7))

    def truncate(self, page_count: int) -> None:
        """The database shrank: pages beyond must never come from the parent again."""
        if page_count < self.base_limit:
            self._mark_dirty()
            self._words[_BASE_LIMIT_AT // 4] = page_count

    def _mark_dirty(self) -> None:
        """Say, durably, that the checksums do not hold: a disk may keep bits of its own choice."""
        if not self._words[_IS_DIRTY_AT // 4]:
            self._words[_IS_DIRTY_AT // 4] = 1
            self._map.flush(0, _HEADER_BYTES)

    def sync(self) -> None:
        """Make the map durable; call after the overlay file was synced."""
        if not self._words[_IS_DIRTY_AT // 4]:
            return
        for begins in range(_HEADER_BYTES, len(self._map), _SLICE_BYTES):
            ends = begins + _BITS_BYTES
            struct.pack_into("<I", self._map, ends, zlib.crc32(self._map[begins:ends]))
        struct.pack_into("<I", self._map, _HEADER_CRC_AT, _header_checksum(self._map))
        self._map.flush()
        self._words[_IS_DIRTY_AT // 4] = 0  # only when the checksums it vouches for are on disk
        self._map.flush(0, _HEADER_BYTES)

    def check(self) -> None:
        """Compare every checksum.

        Errors: CorruptStoreError naming the map.
        """
        if self._words[_IS_DIRTY_AT // 4]:
            return  # a checkpoint is at work, or was cut short and will be done again
        (stored,) = struct.unpack_from("<I", self._map, _HEADER_CRC_AT)
        is_right = stored == _header_checksum(self._map)
        for begins in range(_HEADER_BYTES, len(self._map), _SLICE_BYTES):
            ends = begins + _BITS_BYTES
            (stored,) = struct.unpack_from("<I", self._map, ends)
            is_right = is_right and stored == zlib.crc32(self._map[begins:ends])
        if not is_right and not self._words[_IS_DIRTY_AT // 4]:
            raise CorruptStoreError(f"{self._path} fails its checksum")

    def own_pages(self) -> int:
        """How many pages of the parent's range the fork has rewritten."""
        bits = 0
        for begins in range(_HEADER_BYTES, len(self._map), _SLICE_BYTES):
            bits += int.from_bytes(self._map[begins : begins + _BITS_BYTES], "little").bit_count()
        return bits

    def close(self) -> None:
        """Unmap."""
        self._words.release()
        self._map.close()


def map_bytes(page_count: int) -> int:
    """The size of a map over that many pages."""
    slices = -(-page_count // (_BITS_BYTES * 8))
    return _HEADER_BYTES + slices * _SLICE_BYTES


@telling_disk_errors()
def create_overlay_map(path: str, *, page_size: int, page_count: int) -> None:
    """Write the map of a new fork, which has no page of its own yet, and sync it."""
    slices = (map_bytes(page_count) - _HEADER_BYTES) // _SLICE_BYTES
    header = bytearray(_HEADER_BYTES)
    _HEADER.pack_into(header, 0, MAGIC, FORMAT_VERSION, page_size, page_count, page_count, 0)
    struct.pack_into("<I", header, _HEADER_CRC_AT, _header_checksum(header))
    empty = bytes(_BITS_BYTES)
    empty_slice = empty + struct.pack("<I", zlib.crc32(empty))
    with open(path, "xb") as file:
        file.write(header)
        file.write(empty_slice * slices)
        file.flush()
        os.fsync(file.fileno())


def _header_checksum(raw: bytearray | mmap.mmap) -> int:
    """Over the header without the flag that changes while a checkpoint is at work."""
    return zlib.crc32(raw[:_IS_DIRTY_AT])
