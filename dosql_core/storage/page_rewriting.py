"""The blocks of pages put into a new segment: copied whole, or made anew of what is kept of them.

Two things keep the blocks of other segments, and those copied here, readable: a block builds on the
version just before its own first, and none comes to lie deeper in its chain than it did. The third,
that no version goes which a kept LSN sees, is up to who says what is kept.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.block_encoding import Predecessor, Version, encode_block
from dosql_core.storage.segment_format import CHAIN_DEPTH_MAX, BlockHeader, versions_per_block
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack
from dosql_core.storage.segment_writer import SegmentWriter
from dosql_core.storage.stretches import Stretch, stretches

WhatStays = Callable[[PageNumber, list[Lsn]], Collection[Lsn]]
"""Of a page and the LSNs of all its versions, ascending: those of the versions that stay."""


class PlacedBlock(NamedTuple):
    """A block of one of the segments, in the order of page and LSN."""

    page: PageNumber
    place: int
    offset: int
    lsns: list[Lsn]


@dataclass(slots=True)
class _OldBlock:
    """A block as it is.

    Shape: `staying` are the LSNs of the versions kept, `positions` where they lie in it; `is_whole`
           says that the block can be copied, everything in it and what it builds on being kept.
    """

    segment: SegmentReader
    offset: int
    header: BlockHeader
    payload: bytes
    staying: list[Lsn]
    positions: Sequence[int]
    is_whole: bool


class _Before(NamedTuple):
    """The version written last of a page, whose content may never be asked for."""

    lsn: Lsn
    depth: int
    content: Callable[[], bytes]


class PageRewriting:
    """Writes the blocks of one page after another: copies of old ones, or new ones for old."""

    def __init__(self, stack: SegmentStack, writer: SegmentWriter, places: range) -> None:
        self._stack = stack
        self._writer = writer
        self._places = places
        self._first_lsn = stack.segments[places.start].header.first_lsn
        self._size = stack.page_size
        self._per_block = versions_per_block(stack.page_size)

    def merge(self) -> Iterator[int]:
        """Write everything; after each part, how many versions of the old segments are done."""
        segments = self._stack.segments[self._places.start : self._places.stop]
        for part in stretches(segments):
            if isinstance(part, Stretch):
                self._writer.append_stretch(*part)
                yield len(part.keys)
                continue
            blocks = [
                PlacedBlock(page, self._places.start + place, offset, lsns)
                for place, begins, ends in part.parts
                for page, offset, lsns in segments[place].blocks(begins, ends)
            ]
            self._rewrite(part.page, blocks, None)
            yield sum(len(block.lsns) for block in blocks)

    def drop(self, what_stays: WhatStays) -> Iterator[int]:
        """Write what stays; after each page, how many versions of the old ones are done."""
        for page, blocks in placed_pages(self._stack, self._places):
            lsns = lsns_of(blocks)
            self._rewrite(page, blocks, frozenset(what_stays(page, lsns)))
            yield len(lsns)

    def _rewrite(
        self, page: PageNumber, placed: list[PlacedBlock], kept: Collection[Lsn] | None
    ) -> None:
        """Write what is kept of a page, everything when that is None.

        A block is copied when it stays whole, unless it is a small one beside others that it can
        be joined with: many small blocks cost bytes, and long chains.
        """
        blocks = self._old_blocks(page, placed, kept)
        before: _Before | None = None
        while blocks:
            run = self._take_run(blocks)
            if len(run) == 1 and run[0].is_whole:
                before = self._copy(run[0])
            else:
                if blocks and blocks[0].is_whole:
                    follower = blocks[0].header
                    depth_max = follower.depth - 1 if follower.prefix_distance else CHAIN_DEPTH_MAX
                else:
                    # Blocks of later segments build on the last one and trust its old depth.
                    depth_max = CHAIN_DEPTH_MAX if blocks else run[-1].header.depth
                before = self._encode(page, run, self._predecessor(page, before), depth_max)

    def _old_blocks(
        self, page: PageNumber, placed: list[PlacedBlock], kept: Collection[Lsn] | None
    ) -> deque[_OldBlock]:
        """The blocks that hold something kept, in ascending order."""
        blocks: deque[_OldBlock] = deque()
        for _page, place, offset, lsns in placed:
            staying, is_whole = lsns, True
            positions: Sequence[int] = range(len(lsns))
            if kept is not None:
                positions = [at for at, lsn in enumerate(lsns) if lsn in kept]
                staying = [lsns[at] for at in positions]
                if not staying:
                    continue
            segment = self._stack.segments[place]
            header, payload = segment.read_block(offset, page)
            if kept is not None:
                prefix = segment.prefix_lsn(header)
                is_whole = len(staying) == header.version_count and (
                    prefix is None or prefix < self._first_lsn or prefix in kept
                )
            blocks.append(_OldBlock(segment, offset, header, payload, staying, positions, is_whole))
        return blocks

    def _take_run(self, blocks: deque[_OldBlock]) -> list[_OldBlock]:
        """Take the blocks off the front that will become one."""
        run = [blocks.popleft()]
        count = len(run[0].staying)
        if run[0].is_whole and 2 * count >= self._per_block:
            return run
        while blocks:
            size = len(blocks[0].staying)
            is_full = blocks[0].is_whole and 2 * size >= self._per_block
            if is_full or count + size > self._per_block:
                break
            run.append(blocks.popleft())
            count += size
        return run

    def _copy(self, block: _OldBlock) -> _Before:
        self._writer.append_block(block.header, block.staying, block.payload)
        return _Before(block.staying[-1], block.header.depth, lambda: self._contents(block)[-1])

    def _encode(
        self,
        page: PageNumber,
        run: list[_OldBlock],
        predecessor: Predecessor | None,
        depth_max: int,
    ) -> _Before:
        versions: list[Version] = []
        for block in run:
            contents = self._contents(block)
            kept_contents = [contents[at] for at in block.positions]
            versions.extend(zip(block.staying, kept_contents, strict=True))
        encoded = encode_block(page, versions, predecessor, depth_max)
        self._writer.append_block(*encoded)
        lsn, content = versions[-1]
        return _Before(lsn, encoded.header.depth, lambda: content)

    def _predecessor(self, page: PageNumber, before: _Before | None) -> Predecessor | None:
        if before is not None:
            return Predecessor(before.lsn, before.depth, before.content())
        return self._stack.predecessor(page, Lsn(self._first_lsn - 1))

    def _contents(self, block: _OldBlock) -> list[bytes]:
        """The versions of an old block, dropped ones too."""
        count, size = block.header.version_count, self._size
        run = self._stack.run(block.segment, block.offset, block.header.page_number, count)
        return [run[at : at + size] for at in range(0, count * size, size)]


def placed_pages(
    stack: SegmentStack, places: range
) -> Iterator[tuple[PageNumber, list[PlacedBlock]]]:
    """The pages that some segments have, ascending, with their blocks, ascending."""
    merged = heapq.merge(*(_placed_blocks(stack.segments[place], place) for place in places))
    for page, blocks in groupby(merged, key=itemgetter(0)):
        yield PageNumber(page), list(blocks)


def _placed_blocks(segment: SegmentReader, place: int) -> Iterator[PlacedBlock]:
    for page, offset, lsns in segment.blocks():
        yield PlacedBlock(page, place, offset, lsns)


def lsns_of(blocks: Sequence[PlacedBlock]) -> list[Lsn]:
    """The LSNs of all versions in the blocks of a page."""
    return [lsn for block in blocks for lsn in block.lsns]
