"""The open segments of one branch, as one manifest names them: finds and decodes versions."""

from __future__ import annotations

from collections.abc import Sequence

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.block_cache import BlockCache
from dosql_core.storage.block_encoding import Predecessor
from dosql_core.storage.page_codec import decompress_run
from dosql_core.storage.segment_format import LSN_OFFSET_BITS, POSITION_BITS, BlockHeader
from dosql_core.storage.segment_reader import SegmentReader

_POSITION_MASK = (1 << POSITION_BITS) - 1

Entry = tuple[SegmentReader, int]
"""A version found: its segment and its place in that segment's index."""


class SegmentStack:
    """Segments in ascending order of LSN; it never changes, so views may hold on to it.

    Threads: any number.
    Errors:  every method: CorruptStoreError, naming the file.
    """

    __slots__ = ("_cache", "page_size", "segments")

    def __init__(
        self, segments: Sequence[SegmentReader], page_size: int, cache: BlockCache
    ) -> None:
        self.segments = tuple(segments)
        self.page_size = page_size
        self._cache = cache

    def locate(self, page: PageNumber, lsn: Lsn) -> Entry | None:
        """The newest version of `page` not after `lsn`, if this branch has one."""
        floor = page << LSN_OFFSET_BITS
        for segment in reversed(self.segments):
            header = segment.header
            if header.first_lsn > lsn:
                continue
            key = floor | (min(lsn, header.last_lsn) - header.first_lsn)
            index = segment.find(key, floor)
            if index >= 0:
                return segment, index
        return None

    def read(self, segment: SegmentReader, index: int, page: PageNumber) -> bytes:
        """The content of a version of `page` that `locate` found."""
        location = segment.location(index)
        position = location & _POSITION_MASK
        run = self.run(segment, location >> POSITION_BITS, page, position + 1)
        size = self.page_size
        return run[position * size : (position + 1) * size]

    def read_at(self, segment: SegmentReader, location: int, page: PageNumber) -> bytes:
        """The content of a version of `page` by its place in `segment`, for who reads in order.

        Decodes the whole block, of which such a reader wants the other versions next.
        """
        offset, position = location >> POSITION_BITS, location & _POSITION_MASK
        size = self.page_size
        run = self._cache.get((segment.serial, offset))
        if run is None or len(run) < (position + 1) * size:
            run = self.run(segment, offset, page, position + 1, is_whole=True)
        return run[position * size : (position + 1) * size]

    def predecessor(self, page: PageNumber, lsn: Lsn) -> Predecessor | None:
        """The newest version of `page` not after `lsn`, as what a new block may build on."""
        entry = self.locate(page, lsn)
        if entry is None:
            return None
        segment, index = entry
        header = segment.read_block(segment.location(index) >> POSITION_BITS, page).header
        return Predecessor(segment.lsn_at(index), header.depth, self.read(segment, index, page))

    def prefix(self, segment: SegmentReader, header: BlockHeader) -> bytes | None:
        """The version that a block of `segment` was compressed against, if any."""
        lsn = segment.prefix_lsn(header)
        if lsn is None:
            return None
        page = header.page_number
        entry = self.locate(page, lsn)
        if entry is None or entry[0].lsn_at(entry[1]) != lsn:
            raise CorruptStoreError(
                f"{segment.path}: a block needs page {page} at LSN {lsn}, which is nowhere"
            )
        return self.read(*entry, page)

    def run(
        self,
        segment: SegmentReader,
        offset: int,
        page: PageNumber,
        count: int,
        *,
        is_whole: bool = False,
    ) -> bytes:
        """The first `count` versions, or more, of the block at `offset`, one after another."""
        key = (segment.serial, offset)
        size = count * self.page_size
        run = self._cache.get(key)
        if run is not None and len(run) >= size:
            return run
        header, payload = segment.read_block(offset, page)
        if count > header.version_count:
            raise CorruptStoreError(
                f"{segment.path}: the block at {offset} has {header.version_count} versions, "
                f"not {count}"
            )
        if is_whole:
            size = header.version_count * self.page_size
        try:
            run = decompress_run(payload, self.prefix(segment, header), size)
        except ValueError as error:
            raise CorruptStoreError(f"{segment.path}: the block at {offset}: {error}") from error
        if len(run) != size:
            raise CorruptStoreError(
                f"{segment.path}: the block at {offset} holds {len(run)} bytes of {size}"
            )
        self._cache.put(key, run)
        return run
