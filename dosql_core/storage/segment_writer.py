"""Writing one segment: blocks as they come, then the index, the commits and the trailer."""

from __future__ import annotations

import contextlib
import os
import zlib
from array import array
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import BinaryIO, NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.commit_table import PackedChunk
from dosql_core.storage.durable_files import remove_quietly, telling_disk_errors
from dosql_core.storage.segment_format import (
    INDEX_SLICE_ENTRIES,
    LSN_OFFSET_BITS,
    POSITION_BITS,
    TRAILER_BYTES,
    BlockHeader,
    SegmentHeader,
    SegmentTrailer,
    pack_block,
    pack_header,
    pack_trailer,
    require_little_endian,
)

_BUFFER_BYTES = 1 << 20


class WrittenSegment(NamedTuple):
    """What the manifest must know of a segment: its size and the checksum of its trailer."""

    bytes: int
    checksum: int


class SegmentWriter:
    """One segment in the making, in a temporary file that only `finish` makes whole.

    Memory: 16 bytes a version (the index); blocks go to the file as they come.
    """

    @telling_disk_errors()
    def __init__(self, path: str, header: SegmentHeader) -> None:
        require_little_endian()
        self.path = path
        self._header = header
        # "x" so that two writers of one segment find out at once.
        self._file: BinaryIO = open(path, "xb", buffering=_BUFFER_BYTES)  # noqa: SIM115
        packed = pack_header(header)
        self._header_checksum = zlib.crc32(packed)
        self._file.write(packed)
        self._offset = len(packed)
        self._keys = array("Q")
        self._locations = array("Q")
        self._is_sorted = True

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.close()
            return
        with contextlib.suppress(OSError):  # it would write what is buffered, to no avail
            self._file.close()
        remove_quietly(self.path)

    @property
    def version_count(self) -> int:
        """How many versions were appended."""
        return len(self._keys)

    def append_block(self, header: BlockHeader, lsns: Sequence[Lsn], payload: bytes) -> None:
        """Append a compressed block that holds the versions `lsns` of its page."""
        self.append_packed_block(header.page_number, lsns, pack_block(header, payload))

    def append_packed_block(self, page: PageNumber, lsns: Sequence[Lsn], packed: bytes) -> None:
        """Append a block byte for byte as another segment holds it.

        Shape: `lsns` has one entry for every version in the block.
        """
        keys = self._keys
        high = page << LSN_OFFSET_BITS
        first = self._header.first_lsn
        if keys and high | (lsns[0] - first) <= keys[-1]:
            self._is_sorted = False
        location = self._offset << POSITION_BITS
        keys.extend([high | (lsn - first) for lsn in lsns])
        self._locations.extend(range(location, location + len(lsns)))
        self._file.write(packed)
        self._offset += len(packed)

    def append_stretch(
        self, first_lsn: Lsn, offset: int, raw: bytes, keys: list[int], locations: list[int]
    ) -> None:
        """Append consecutive blocks of another segment as they lie there, from `offset` on.

        Shape: `keys` and `locations` are those of that segment, which begins with `first_lsn`.
        """
        later = first_lsn - self._header.first_lsn
        moved = (self._offset - offset) << POSITION_BITS
        if self._keys and keys[0] + later <= self._keys[-1]:
            self._is_sorted = False
        self._keys.extend([key + later for key in keys])
        self._locations.extend([location + moved for location in locations])
        self._write(raw)

    def finish(self, commits: Iterable[PackedChunk]) -> WrittenSegment:
        """Write the tables, sync the file and close it; the caller publishes it."""
        index_offset, fences_checksum = self._write_index()
        chunks_offset = self._offset
        directory_offset, directory_checksum, chunk_count = self._write_commits(commits)
        trailer = pack_trailer(
            SegmentTrailer(
                index_offset,
                len(self._keys),
                fences_checksum,
                chunks_offset,
                chunk_count,
                directory_offset,
                directory_checksum,
                self._header_checksum,
            )
        )
        self._write(trailer)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        assert len(trailer) == TRAILER_BYTES
        return WrittenSegment(self._offset, zlib.crc32(trailer))

    def _write_index(self) -> tuple[int, int]:
        if not self._is_sorted:
            self._sort_index()
        self._align()
        offset = self._offset
        keys, locations = memoryview(self._keys), memoryview(self._locations)
        self._write(keys)
        self._write(locations)
        starts = range(0, len(keys), INDEX_SLICE_ENTRIES)
        fences = array("Q", (keys[start] for start in starts))
        checksums = array("I", (slice_checksum(keys, locations, start) for start in starts))
        packed = fences.tobytes() + checksums.tobytes()
        self._write(packed)
        return offset, zlib.crc32(packed)

    def _sort_index(self) -> None:
        keys = self._keys
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._locations = array("Q", (self._locations[i] for i in order))
        self._keys = array("Q", (keys[i] for i in order))

    def _write_commits(self, chunks: Iterable[PackedChunk]) -> tuple[int, int, int]:
        """Write the chunks and their directory; returns its offset, its checksum, its length."""
        first_lsns, first_times, ends = array("Q"), array("q"), array("Q")
        checksums = array("I")
        for first_lsn, first_time, packed in chunks:
            self._write(packed)
            first_lsns.append(first_lsn)
            first_times.append(first_time)
            ends.append(self._offset)
            checksums.append(zlib.crc32(packed))
        directory = b"".join(c.tobytes() for c in (first_lsns, first_times, ends, checksums))
        offset = self._offset
        self._write(directory)
        return offset, zlib.crc32(directory), len(ends)

    def _align(self) -> None:
        self._write(bytes(-self._offset % 8))

    def _write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._offset += len(content) if isinstance(content, bytes) else content.nbytes


def slice_checksum(keys: memoryview, locations: memoryview, start: int) -> int:
    """The checksum of the index slice that begins at entry `start`: its keys, its locations."""
    end = start + INDEX_SLICE_ENTRIES
    return zlib.crc32(locations[start:end], zlib.crc32(keys[start:end]))
