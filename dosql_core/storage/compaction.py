"""Dropping the versions that nobody may read any more, and merging segments; readers go on.

What is written is a new segment in place of adjacent old ones; swapping the manifest makes it live.
Blocks that keep all their versions are copied, and the others made anew. Three facts keep the
blocks of segments that are not rewritten readable: a block builds on the version just before its
own first, a version that a kept LSN sees is never dropped, and no block comes to lie deeper in its
chain than it did.
"""

from __future__ import annotations

import heapq
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.block_encoding import Predecessor, Version, encode_block
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.commit_table import CommitChunk, PackedChunk, pack_chunk
from dosql_core.storage.manifest import Manifest, SegmentName
from dosql_core.storage.sealing import Progress
from dosql_core.storage.segment_format import (
    CHAIN_DEPTH_MAX,
    COMMITS_PER_CHUNK,
    BlockHeader,
    CommitRecord,
    versions_per_block,
)
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack
from dosql_core.storage.segment_writer import SegmentWriter
from dosql_core.storage.stretches import Stretch, stretches
from dosql_core.storage.tiering import LIVE_SEGMENTS_MAX, choose_merge

_PROGRESS_EVERY = 1024
_UNDISTURBED_TRIES = 3

HeldPins = Callable[[], AbstractContextManager[Collection[Lsn]]]


def fixed_pins(lsns: Iterable[Lsn]) -> HeldPins:
    """Pins that nobody can change."""
    kept = frozenset(lsns)
    return lambda: nullcontext(kept)


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did.

    Units: bytes of all live segments; `versions_dropped` counts page versions.
    """

    bytes_before: int
    bytes_after: int
    versions_dropped: int
    segments_before: int
    segments_after: int


@dataclass(frozen=True, slots=True)
class _Need:
    """Which LSNs of a branch must stay readable, and so which versions.

    Units: `page_count_max` is the greatest size in pages from `keep_from` on; `pin_sizes` that at
           each of `pins`.
    """

    keep_from: Lsn
    pins: Sequence[Lsn]
    page_count_max: int
    pin_sizes: Sequence[int]

    def sees(self, page: int, lsn: int, next_lsn: int | None) -> bool:
        """Whether a version is read by any LSN kept; `next_lsn` is that of the page's next one."""
        if (next_lsn is None or next_lsn > self.keep_from) and page <= self.page_count_max:
            return True
        place = bisect_left(self.pins, lsn)
        while place < len(self.pins) and (next_lsn is None or self.pins[place] < next_lsn):
            if page <= self.pin_sizes[place]:
                return True
            place += 1
        return False

    def kept(self, page: PageNumber, lsns: list[Lsn]) -> list[Lsn]:
        """Those of the LSNs of all versions of a page that stay, ascending."""
        following: list[Lsn | None] = [*lsns[1:], None]
        return [
            lsn
            for lsn, next_lsn in zip(lsns, following, strict=True)
            if self.sees(page, lsn, next_lsn)
        ]


class _KeptCommits(NamedTuple):
    """The commits that stay known: those from `keep_from` on, and the pinned ones."""

    keep_from: Lsn
    pins: Collection[Lsn]


class _PlacedBlock(NamedTuple):
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


def compact(
    history: BranchHistory,
    *,
    keep_from: Lsn,
    pins: HeldPins,
    merge: bool = True,
    progress: Progress | None = None,
) -> CompactionReport:
    """Drop what no LSN from `keep_from` on and none of `pins` can see; it is then unreadable.

    Shape:  `keep_from` above the newest LSN means the newest; what expired before stays expired.
            `pins` gives the pins, which stay as they are as long as it is held. With `merge` the
            segments are also merged to a few.
    Errors: CorruptStoreError when a block cannot be read: nothing is replaced then.
    Locks:  no process may compact the same history meanwhile; sealing goes on.
    """
    with history.compacting:
        history.tidy()
        before, size_before = history.manifest, history.stored_bytes
        dropped = None
        for _ in range(_UNDISTURBED_TRIES):
            dropped = _drop(history, keep_from, pins, progress)
            if dropped is not None:
                break
        while dropped is None:
            with history.writing():
                dropped = _drop(history, keep_from, pins, progress)
        if merge:
            _merge_all(history, progress, LIVE_SEGMENTS_MAX)
        return _report(before, size_before, history, dropped)


def merge_small(
    history: BranchHistory,
    progress: Progress | None = None,
    *,
    live_max: int = LIVE_SEGMENTS_MAX,
) -> CompactionReport:
    """Merge the newest segments when more than `live_max` live; cheap to call after every seal."""
    with history.compacting:
        history.tidy()
        before, size_before = history.manifest, history.stored_bytes
        _merge_all(history, progress, live_max)
        return _report(before, size_before, history, 0)


def _report(
    before: Manifest, bytes_before: int, history: BranchHistory, dropped: int
) -> CompactionReport:
    return CompactionReport(
        bytes_before,
        history.stored_bytes,
        dropped,
        len(before.segments),
        len(history.manifest.segments),
    )


def _merge_all(history: BranchHistory, progress: Progress | None, live_max: int) -> None:
    with history.writing():
        manifest, stack = history.snapshot()
    while (places := choose_merge([s.bytes for s in manifest.segments], live_max)) is not None:
        kept = _KeptCommits(manifest.oldest_lsn, frozenset(manifest.pinned))
        merged = _rewrite(history, stack, places, None, kept, progress)
        replaced = manifest.segments[places.start : places.stop]
        history.replace_segments(replaced, merged)
        manifest, stack = history.snapshot()


def _drop(
    history: BranchHistory, keep_from: Lsn, pins: HeldPins, progress: Progress | None
) -> int | None:
    """Drop what need not be kept; how many versions that were, or None when something interfered.

    A commit sealed meanwhile may build on pages that were beyond the end before it; and a moment
    pinned meanwhile may be one that was about to go.
    """
    with history.writing():
        manifest, stack = history.snapshot()
    keep_from = Lsn(max(manifest.oldest_lsn, min(keep_from, manifest.newest_lsn)))

    def pins_before(kept: Collection[Lsn]) -> set[Lsn]:
        return {p for p in kept if p < keep_from and manifest.is_readable(p)}

    with pins() as pinned:
        kept_pins = pins_before(pinned)
    if keep_from == manifest.oldest_lsn and kept_pins == set(manifest.pinned):
        return 0
    need = _need_of(manifest, stack, keep_from, sorted(kept_pins))
    # What `keep_from` sees may lie in any segment up to its own, and nothing later is dropped.
    places = range(sum(1 for s in manifest.segments if s.first <= keep_from))
    dropped, drops_newest = 0, False
    for page, blocks in _pages(stack, places):
        lsns = _lsns_of(blocks)
        kept = need.kept(page, lsns)
        dropped += len(lsns) - len(kept)
        drops_newest |= not kept or kept[-1] != lsns[-1]
    replaced: Sequence[SegmentName] = ()
    rewritten = None
    if dropped:
        replaced = manifest.segments[: places.stop]
        rewritten = _rewrite(
            history,
            stack,
            places,
            need,
            _KeptCommits(keep_from, frozenset(kept_pins)),
            progress,
        )
    with pins() as pinned, history.writing():
        is_unsafe = drops_newest and history.newest_lsn != manifest.newest_lsn
        if is_unsafe or not pins_before(pinned) <= kept_pins:
            if rewritten:
                os.unlink(os.path.join(history.directory, rewritten.name))
            return None
        history.replace_segments(replaced, rewritten, oldest_lsn=keep_from, pinned=kept_pins)
    return dropped


def _need_of(manifest: Manifest, stack: SegmentStack, keep_from: Lsn, pins: Sequence[Lsn]) -> _Need:
    sizes = [max(s.page_counts(keep_from, manifest.newest_lsn), default=0) for s in stack.segments]
    pin_sizes = [
        max((size for s in stack.segments for size in s.page_counts(pin, pin)), default=0)
        for pin in pins
    ]
    return _Need(keep_from, pins, max(sizes, default=0), pin_sizes)


def _rewrite(
    history: BranchHistory,
    stack: SegmentStack,
    places: range,
    need: _Need | None,
    kept_commits: _KeptCommits,
    progress: Progress | None,
) -> SegmentName:
    """One published segment with the contents of adjacent ones, or what of them is needed."""
    segments = stack.segments[places.start : places.stop]
    first, last = segments[0].header.first_lsn, segments[-1].header.last_lsn
    total = sum(segment.entry_count for segment in segments)
    done, told = 0, 0
    writer, name = history.begin_segment(first, last)
    with writer:
        rewriting = _PageRewriting(stack, writer, places)
        work = rewriting.merge() if need is None else rewriting.drop(need)
        for versions in work:
            done += versions
            if progress is not None and done - told >= _PROGRESS_EVERY:
                progress(done, total)
                told = done
        written = writer.finish(_chunks(segments, kept_commits))
        history.publish_segment(writer, name)
    if progress is not None:
        progress(total, total)
    return SegmentName(name, first, last, written.bytes, written.checksum)


class _PageRewriting:
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
                _PlacedBlock(page, self._places.start + place, offset, lsns)
                for place, begins, ends in part.parts
                for page, offset, lsns in segments[place].blocks(begins, ends)
            ]
            self._rewrite(part.page, blocks, None)
            yield sum(len(block.lsns) for block in blocks)

    def drop(self, need: _Need) -> Iterator[int]:
        """Write what is needed; after each page, how many versions of the old ones are done."""
        for page, blocks in _pages(self._stack, self._places):
            lsns = _lsns_of(blocks)
            self._rewrite(page, blocks, frozenset(need.kept(page, lsns)))
            yield len(lsns)

    def _rewrite(
        self, page: PageNumber, placed: list[_PlacedBlock], kept: Collection[Lsn] | None
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
        self, page: PageNumber, placed: list[_PlacedBlock], kept: Collection[Lsn] | None
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


def _pages(stack: SegmentStack, places: range) -> Iterator[tuple[PageNumber, list[_PlacedBlock]]]:
    """The pages that some segments have, ascending, with their blocks, ascending."""
    merged = heapq.merge(*(_placed_blocks(stack.segments[place], place) for place in places))
    for page, blocks in groupby(merged, key=itemgetter(0)):
        yield PageNumber(page), list(blocks)


def _placed_blocks(segment: SegmentReader, place: int) -> Iterator[_PlacedBlock]:
    for page, offset, lsns in segment.blocks():
        yield _PlacedBlock(page, place, offset, lsns)


def _lsns_of(blocks: Sequence[_PlacedBlock]) -> list[Lsn]:
    return [lsn for block in blocks for lsn in block.lsns]


def _chunks(segments: Sequence[SegmentReader], kept: _KeptCommits) -> Iterator[PackedChunk]:
    """The commits of adjacent segments that are kept.

    A chunk that stays whole is copied, unless it is a small one: those are joined with others.
    """
    waiting: list[CommitRecord] = []
    for segment in segments:
        for chunk in segment.packed_chunks():
            decoded = CommitChunk(chunk.content)
            if chunk.first_lsn >= kept.keep_from and 2 * len(decoded) >= COMMITS_PER_CHUNK:
                if waiting:
                    yield pack_chunk(waiting)
                    waiting = []
                yield chunk
                continue
            waiting += [
                record
                for record in decoded.records(0, len(decoded))
                if record.lsn >= kept.keep_from or record.lsn in kept.pins
            ]
            while len(waiting) >= COMMITS_PER_CHUNK:
                yield pack_chunk(waiting[:COMMITS_PER_CHUNK])
                waiting = waiting[COMMITS_PER_CHUNK:]
    if waiting:
        yield pack_chunk(waiting)
