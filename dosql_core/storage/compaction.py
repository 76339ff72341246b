"""Dropping the versions that nobody may read any more, and merging segments; readers go on.

What is written is a new segment in place of adjacent old ones (`PageRewriting`); swapping the
manifest makes it live.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.commit_table import CommitChunk, PackedChunk, pack_chunk
from dosql_core.storage.manifest import Manifest, SegmentName
from dosql_core.storage.page_rewriting import PageRewriting, lsns_of, placed_pages
from dosql_core.storage.sealing import Progress
from dosql_core.storage.segment_format import COMMITS_PER_CHUNK, CommitRecord
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack
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
    for page, blocks in placed_pages(stack, places):
        lsns = lsns_of(blocks)
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
        rewriting = PageRewriting(stack, writer, places)
        work = rewriting.merge() if need is None else rewriting.drop(need.kept)
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
