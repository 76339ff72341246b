"""Reading one segment: which versions of a page it has, their blocks, its commits."""

from __future__ import annotations

import itertools
import mmap
import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from dosql_core.errors import CorruptStoreError, MissingSegmentError
from dosql_core.identifiers import Lsn, Microseconds, PageNumber
from dosql_core.storage.commit_table import CommitChunk, PackedChunk
from dosql_core.storage.durable_files import telling_disk_errors
from dosql_core.storage.segment_format import (
    BLOCK_HEADER_BYTES,
    INDEX_SLICE_ENTRIES,
    LOW_LSN_MASK,
    LSN_OFFSET_BITS,
    POSITION_BITS,
    TRAILER_BYTES,
    BlockHeader,
    CommitRecord,
    SegmentHeader,
    require_little_endian,
    unpack_block_header,
    unpack_header,
    unpack_trailer,
    versions_per_block,
)
from dosql_core.storage.segment_writer import slice_checksum

_FIRST_READ_BYTES = 2048
_CHUNKS_CACHED_MAX = 8
_serials = itertools.count(1)


class Block(NamedTuple):
    """A block as stored: checked, not yet decoded."""

    header: BlockHeader
    payload: bytes


class IndexedBlock(NamedTuple):
    """A block as the index knows it: where it lies, and the versions in it that are kept."""

    page: PageNumber
    offset: int
    lsns: list[Lsn]


class SegmentReader:
    """An open segment. Opening costs the same for every size; checks happen on first use.

    It stays readable after the file is unlinked, and is closed when nobody holds it any more: the
    views and the history that share it are its owners, by Python's reference counts.

    Threads: any number may read at once.
    Errors:  every method: CorruptStoreError, naming the file, when what it reads fails its
             checksum or makes no sense.
    """

    __slots__ = (
        "__weakref__",
        "_chunk_checksums",
        "_chunk_ends",
        "_chunk_lsns",
        "_chunk_times",
        "_chunks",
        "_chunks_offset",
        "_descriptor",
        "_fences",
        "_is_slice_checked",
        "_slice_checksums",
        "blocks_end",
        "blocks_offset",
        "bytes",
        "checksum",
        "entry_count",
        "header",
        "keys",
        "locations",
        "path",
        "serial",
    )

    @telling_disk_errors()
    def __init__(self, path: str) -> None:
        """Open the segment at `path`.

        Errors: MissingSegmentError when there is no such file; FormatVersionError for a version
                this DoSQL does not know.
        """
        require_little_endian()
        self._descriptor = -1
        self.path = path
        self.serial = next(_serials)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise MissingSegmentError(f"the segment {path} is missing") from error
        self.bytes = os.fstat(self._descriptor).st_size
        self.header, self.blocks_offset = self._read_header()
        self._read_tables()

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # -- the page index ----------------------------------------------------------------------------

    def find(self, key: int, floor: int) -> int:
        """The entry with the greatest key from `floor` to `key`, or -1.

        Units: a key is page number << 32 | LSN - first LSN of the segment.
        """
        slice_index = bisect_right(self._fences, key) - 1
        if slice_index < 0:
            return -1
        if not self._is_slice_checked[slice_index]:
            self._check_slice(slice_index)
        low = slice_index * INDEX_SLICE_ENTRIES
        keys = self.keys
        index = bisect_right(keys, key, low, min(low + INDEX_SLICE_ENTRIES, self.entry_count)) - 1
        return index if keys[index] >= floor else -1

    def location(self, index: int) -> int:
        """Where the version of an entry that `find` returned is: block offset << 16 | position."""
        return self.locations[index]

    def lsn_at(self, index: int) -> Lsn:
        """The LSN of an entry that `find` returned."""
        return Lsn(self.header.first_lsn + (self.keys[index] & LOW_LSN_MASK))

    def versions(self, page: int, first: int, last: int) -> list[tuple[Lsn, int]]:
        """The versions of a page from LSN `first` to `last`: LSN and location, ascending."""
        base = self.header.first_lsn
        if last < base or first > self.header.last_lsn:
            return []
        floor = page << LSN_OFFSET_BITS
        low, high = floor | max(first - base, 0), floor | (last - base)
        keys, fences = self.keys, self._fences
        slice_index = max(bisect_right(fences, low) - 1, 0)
        found: list[tuple[Lsn, int]] = []
        while slice_index < len(fences) and fences[slice_index] <= high:
            if not self._is_slice_checked[slice_index]:
                self._check_slice(slice_index)
            start = slice_index * INDEX_SLICE_ENTRIES
            end = min(start + INDEX_SLICE_ENTRIES, self.entry_count)
            begin = bisect_left(keys, low, start, end)
            end = bisect_right(keys, high, begin, end)
            found += [
                (Lsn(base + (key & LOW_LSN_MASK)), location)
                for key, location in zip(keys[begin:end], self.locations[begin:end], strict=True)
            ]
            slice_index += 1
        return found

    def next_written(self, page: int, first: int, last: int) -> Lsn | None:
        """The LSN of the first version of a page from LSN `first` to `last`."""
        base = self.header.first_lsn
        if last < base or first > self.header.last_lsn:
            return None
        floor = page << LSN_OFFSET_BITS
        low, high = floor | max(first - base, 0), floor | (last - base)
        index = bisect_left(self.keys, low)
        if index == self.entry_count or self.keys[index] > high:
            return None
        for slice_index in {max(index - 1, 0) // INDEX_SLICE_ENTRIES, index // INDEX_SLICE_ENTRIES}:
            if not self._is_slice_checked[slice_index]:
                self._check_slice(slice_index)
        return Lsn(base + (self.keys[index] & LOW_LSN_MASK))

    def entries(self) -> Iterator[tuple[list[int], list[int]]]:
        """The whole index as (keys, locations), slice by slice, in ascending order of key."""
        for slice_index in range(len(self._fences)):
            if not self._is_slice_checked[slice_index]:
                self._check_slice(slice_index)
            low = slice_index * INDEX_SLICE_ENTRIES
            high = low + INDEX_SLICE_ENTRIES
            yield self.keys[low:high].tolist(), self.locations[low:high].tolist()

    def check_index(self) -> None:
        """See that the whole index is as it was written; `keys` and `locations` can be used then.

        Shape: both ascend by key, one of each for every version; see `find` and `location`.
        """
        for slice_index in range(len(self._fences)):
            if not self._is_slice_checked[slice_index]:
                self._check_slice(slice_index)

    def page_at(self, index: int) -> int:
        """The page of an entry."""
        return self.keys[index] >> LSN_OFFSET_BITS

    def end_before(self, page: int, begins: int) -> int:
        """The first entry from `begins` on that is of `page` or of one after it."""
        return bisect_left(self.keys, page << LSN_OFFSET_BITS, begins)

    def blocks(self, begins: int = 0, end_of_all: int | None = None) -> Iterator[IndexedBlock]:
        """The blocks of some entries, of all by default, in ascending order of page and LSN."""
        self.check_index()
        keys, locations, base = self.keys, self.locations, self.header.first_lsn
        full = versions_per_block(self.header.page_size)
        end_of_all = self.entry_count if end_of_all is None else end_of_all
        while begins < end_of_all:
            offset = locations[begins] >> POSITION_BITS
            # The versions of a block are neighbours in the index; most of them lie in full blocks.
            ends = begins + full
            if ends > end_of_all or locations[ends - 1] >> POSITION_BITS != offset:
                ends = begins + 1
                while ends < end_of_all and locations[ends] >> POSITION_BITS == offset:
                    ends += 1
            of_block = keys[begins:ends].tolist()
            page = PageNumber(of_block[0] >> LSN_OFFSET_BITS)
            yield IndexedBlock(page, offset, [Lsn(base + (key & LOW_LSN_MASK)) for key in of_block])
            begins = ends

    def _check_slice(self, slice_index: int) -> None:
        start = slice_index * INDEX_SLICE_ENTRIES
        found = slice_checksum(self.keys, self.locations, start)
        if found != self._slice_checksums[slice_index]:
            raise CorruptStoreError(f"{self.path}: slice {slice_index} of the index is damaged")
        self._is_slice_checked[slice_index] = 1

    # -- blocks ------------------------------------------------------------------------------------

    def read_block(self, offset: int, page: PageNumber) -> Block:
        """The block at `offset`, which must hold versions of `page`."""
        raw = self._read(offset, _FIRST_READ_BYTES)
        if len(raw) < BLOCK_HEADER_BYTES:
            raise CorruptStoreError(f"{self.path}: no block at {offset}")
        checksum, header = unpack_block_header(raw)
        end = BLOCK_HEADER_BYTES + header.payload_bytes
        if offset + end > self.blocks_end:
            raise CorruptStoreError(f"{self.path}: the block at {offset} runs past the last one")
        if end > len(raw):
            raw += self._read(offset + len(raw), end - len(raw))
        if zlib.crc32(raw[4:end]) != checksum:
            raise CorruptStoreError(f"{self.path}: the block at {offset} fails its checksum")
        if header.page_number != page:
            raise CorruptStoreError(
                f"{self.path}: the block at {offset} holds page {header.page_number}, not {page}"
            )
        return Block(header, raw[BLOCK_HEADER_BYTES:end])

    def end_of_block(self, offset: int) -> int:
        """Where the block at `offset` ends, by its header, which is not checked."""
        _, header = unpack_block_header(self.read_exactly(offset, BLOCK_HEADER_BYTES))
        end = offset + BLOCK_HEADER_BYTES + header.payload_bytes
        if end > self.blocks_end:
            raise CorruptStoreError(f"{self.path}: the block at {offset} runs past the last one")
        return end

    def prefix_lsn(self, header: BlockHeader) -> Lsn | None:
        """The version that the block's compression builds on; None for a keyframe."""
        if not header.prefix_distance:
            return None
        return Lsn(self.first_lsn_of(header) - header.prefix_distance)

    def first_lsn_of(self, header: BlockHeader) -> Lsn:
        """The LSN of the block's first version; its header has only the lower half."""
        first = self.header.first_lsn
        return Lsn(first + (header.first_lsn_low - first & LOW_LSN_MASK))

    # -- commits -----------------------------------------------------------------------------------

    def commit(self, lsn: Lsn) -> CommitRecord | None:
        """The record of the commit `lsn`, when the segment has it."""
        chunk_index = bisect_right(self._chunk_lsns, lsn) - 1
        if chunk_index < 0:
            return None
        chunk = self._chunk(chunk_index)
        index = chunk.index_of(lsn)
        return None if index is None else chunk.record(index)

    def newest_at(self, time: Microseconds) -> Lsn | None:
        """The newest commit not after `time`, when the segment has one."""
        chunk_index = bisect_right(self._chunk_times, time) - 1
        if chunk_index < 0:
            return None
        chunk = self._chunk(chunk_index)
        return Lsn(chunk.lsns[bisect_right(chunk.times, time) - 1])

    def commits(self, first: Lsn, last: Lsn) -> Iterator[CommitRecord]:
        """The records from `first` to `last`, ascending."""
        start = max(0, bisect_right(self._chunk_lsns, first) - 1)
        for chunk_index in range(start, bisect_right(self._chunk_lsns, last)):
            chunk = self._chunk(chunk_index)
            yield from chunk.records(bisect_left(chunk.lsns, first), bisect_right(chunk.lsns, last))

    def stored_bytes(self, first: Lsn, last: Lsn) -> int:
        """What the commits from `first` to `last` take here, about; cheap when that is all."""
        if first <= self.header.first_lsn and last >= self.header.last_lsn:
            return self.bytes
        start = max(0, bisect_right(self._chunk_lsns, first) - 1)
        return sum(
            self._chunk(chunk_index).stored_bytes(first, last)
            for chunk_index in range(start, bisect_right(self._chunk_lsns, last))
        )

    def commits_backwards(self, last: Lsn) -> Iterator[CommitRecord]:
        """The records from `last` down to the segment's first."""
        for chunk_index in reversed(range(bisect_right(self._chunk_lsns, last))):
            chunk = self._chunk(chunk_index)
            for index in reversed(range(bisect_right(chunk.lsns, last))):
                yield chunk.record(index)

    def page_counts(self, first: Lsn, last: Lsn) -> Iterator[int]:
        """The sizes of the database in pages after the commits from `first` to `last`."""
        start = max(0, bisect_right(self._chunk_lsns, first) - 1)
        for chunk_index in range(start, bisect_right(self._chunk_lsns, last)):
            chunk = self._chunk(chunk_index)
            yield from chunk.page_counts[
                bisect_left(chunk.lsns, first) : bisect_right(chunk.lsns, last)
            ]

    def packed_chunks(self) -> Iterator[PackedChunk]:
        """The records of all commits as they are stored, in ascending order."""
        for chunk_index, (lsn, at) in enumerate(
            zip(self._chunk_lsns, self._chunk_times, strict=True)
        ):
            yield PackedChunk(Lsn(lsn), Microseconds(at), self._packed_chunk(chunk_index))

    def _packed_chunk(self, chunk_index: int) -> bytes:
        start = self._chunk_ends[chunk_index - 1] if chunk_index else self._chunks_offset
        raw = self.read_exactly(start, self._chunk_ends[chunk_index] - start)
        if zlib.crc32(raw) != self._chunk_checksums[chunk_index]:
            raise CorruptStoreError(f"{self.path}: the commits at {start} fail their checksum")
        return raw

    def _chunk(self, chunk_index: int) -> CommitChunk:
        chunk = self._chunks.get(chunk_index)
        if chunk is None:
            raw = self._packed_chunk(chunk_index)
            try:
                chunk = CommitChunk(raw)
            except ValueError as error:
                raise CorruptStoreError(
                    f"{self.path}: chunk {chunk_index} of the commits: {error}"
                ) from error
            if len(self._chunks) >= _CHUNKS_CACHED_MAX:
                self._chunks.clear()
            self._chunks[chunk_index] = chunk
        return chunk

    def read_exactly(self, offset: int, size: int) -> bytes:
        """The bytes of the file from `offset`, as they are."""
        raw = self._read(offset, size)
        if len(raw) != size:
            raise CorruptStoreError(f"{self.path}: {len(raw)} of {size} bytes at {offset}")
        return raw

    # -- opening -----------------------------------------------------------------------------------

    def _read_header(self) -> tuple[SegmentHeader, int]:
        return unpack_header(self._read(0, _FIRST_READ_BYTES), self.path)

    def _read_tables(self) -> None:
        if self.bytes < self.blocks_offset + TRAILER_BYTES:
            raise CorruptStoreError(f"{self.path} is cut short: {self.bytes} bytes")
        raw = self.read_exactly(self.bytes - TRAILER_BYTES, TRAILER_BYTES)
        trailer = unpack_trailer(raw, self.path)
        if zlib.crc32(self.read_exactly(0, self.blocks_offset)) != trailer.header_checksum:
            raise CorruptStoreError(f"{self.path}: the trailer belongs to another segment")
        self.checksum = zlib.crc32(raw)
        self.blocks_end = trailer.index_offset
        self.entry_count = trailer.entry_count
        self._map_index(trailer.index_offset)

        slice_count = -(-self.entry_count // INDEX_SLICE_ENTRIES)
        fences = self._read_checked(
            trailer.index_offset + 16 * self.entry_count,
            12 * slice_count,
            trailer.fences_checksum,
            "the directory of the index",
        )
        self._fences = fences[: 8 * slice_count].cast("Q")
        self._slice_checksums = fences[8 * slice_count :].cast("I")
        self._is_slice_checked = bytearray(slice_count)

        count = trailer.chunk_count
        directory = self._read_checked(
            trailer.chunk_directory_offset,
            28 * count,
            trailer.chunk_directory_checksum,
            "the directory of the commits",
        )
        self._chunk_lsns = directory[: 8 * count].cast("Q")
        self._chunk_times = directory[8 * count : 16 * count].cast("q")
        self._chunk_ends = directory[16 * count : 24 * count].cast("Q")
        self._chunk_checksums = directory[24 * count :].cast("I")
        self._chunks_offset = trailer.chunks_offset
        if (
            trailer.index_offset + 16 * self.entry_count + 12 * slice_count != self._chunks_offset
            or (self._chunk_ends[-1] if count else self._chunks_offset)
            != trailer.chunk_directory_offset
            or trailer.chunk_directory_offset + 28 * count + TRAILER_BYTES != self.bytes
        ):
            raise CorruptStoreError(f"{self.path}: its tables do not fill the file")
        self._chunks: dict[int, CommitChunk] = {}

    def _map_index(self, offset: int) -> None:
        """Make the keys and locations addressable; their checksums are verified slice by slice."""
        size = 8 * self.entry_count
        if offset + 2 * size > self.bytes:
            raise CorruptStoreError(f"{self.path}: the index runs past the end of the file")
        if not size:
            self.keys = self.locations = memoryview(b"").cast("Q")
            return
        start = offset % mmap.ALLOCATIONGRANULARITY
        mapped = memoryview(
            mmap.mmap(
                self._descriptor,
                start + 2 * size,
                access=mmap.ACCESS_READ,
                offset=offset - start,
            )
        )
        self.keys = mapped[start : start + size].cast("Q")
        self.locations = mapped[start + size :].cast("Q")

    def _read_checked(self, offset: int, size: int, checksum: int, what: str) -> memoryview:
        raw = self.read_exactly(offset, size)
        if zlib.crc32(raw) != checksum:
            raise CorruptStoreError(f"{self.path}: {what} fails its checksum")
        return memoryview(raw)

    def _read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        raw = os.pread(self._descriptor, size, offset)
        while len(raw) < size:
            more = os.pread(self._descriptor, size - len(raw), offset + len(raw))
            if not more:
                break
            raw += more
        return raw
