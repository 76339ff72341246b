"""Walking a branch's history, every byte of it, and reporting what is wrong; changes nothing."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from dosql_core.errors import CorruptStoreError, DatabaseError
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.block_cache import BlockCache
from dosql_core.storage.branch_history import SEGMENT_SUFFIX, BranchHistory
from dosql_core.storage.live_segments import check_segment
from dosql_core.storage.manifest import MANIFEST_NAME, Manifest, SegmentName, read_manifest
from dosql_core.storage.page_codec import decompress_run
from dosql_core.storage.sealing import Progress
from dosql_core.storage.segment_format import (
    BLOCK_HEADER_BYTES,
    CHAIN_DEPTH_MAX,
    LOW_LSN_MASK,
    LSN_OFFSET_BITS,
    POSITION_BITS,
)
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack

_UNDISTURBED_TRIES = 20
_CACHE_BYTES_MAX = 8 * 1024 * 1024
_FINDINGS_PER_SEGMENT_MAX = 100
_PROGRESS_EVERY = 1024
_POSITION_MASK = (1 << POSITION_BITS) - 1


class Severity(enum.Enum):
    """ERROR: some moment cannot be read, or not be trusted. NOTE: nothing is lost."""

    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: in which file, what, and how bad it is."""

    file: str
    what: str
    severity: Severity = Severity.ERROR


def verify_history(history: BranchHistory, progress: Progress | None = None) -> list[Finding]:
    """Everything wrong with a branch's own history; an empty list says that all of it was read.

    Every checksum is verified, every block decoded, the index compared with the blocks, the commits
    with the manifest. Files are opened anew, so nothing verified earlier is taken on trust.
    """
    path = os.path.join(history.directory, MANIFEST_NAME)
    try:
        manifest = read_manifest(history.directory)
        segments, findings = _open_segments(history.directory, manifest)
        for _ in range(_UNDISTURBED_TRIES):
            if not findings or (now := read_manifest(history.directory)) == manifest:
                break
            manifest = now  # others may have merged segments meanwhile
            segments, findings = _open_segments(history.directory, manifest)
    except (DatabaseError, OSError) as error:
        return [Finding(path, str(error))]
    findings += [Finding(path, what) for what in _wrong_in_manifest(manifest)]
    stack = SegmentStack(segments, manifest.page_size, BlockCache(_CACHE_BYTES_MAX))
    total = sum(segment.entry_count for segment in segments)
    done = 0
    for segment in segments:
        check = _SegmentCheck(stack, segment, manifest)
        for what in check.wrong(done, total, progress):
            findings.append(Finding(segment.path, what))
            if check.findings >= _FINDINGS_PER_SEGMENT_MAX:
                break
        done += segment.entry_count
    findings.extend(_orphans(history.directory, manifest.segments))
    return findings


def _open_segments(directory: str, manifest: Manifest) -> tuple[list[SegmentReader], list[Finding]]:
    """The segments that a manifest names, opened, and what is wrong with those that cannot be."""
    segments, findings = [], []
    for named in manifest.segments:
        path = os.path.join(directory, named.name)
        try:
            segment = SegmentReader(path)
            check_segment(segment, named, manifest)
            segments.append(segment)
        except DatabaseError as error:
            findings.append(Finding(path, str(error)))
    return segments, findings


def _wrong_in_manifest(manifest: Manifest) -> Iterator[str]:
    expected = manifest.fork_lsn + 1
    for segment in manifest.segments:
        if segment.first != expected or segment.last < segment.first:
            yield f"{segment.name} covers {segment.first} to {segment.last}, not from {expected}"
        expected = segment.last + 1
    if manifest.newest_lsn != expected - 1:
        yield f"the segments end with LSN {expected - 1}, the history with {manifest.newest_lsn}"
    if not manifest.fork_lsn <= manifest.oldest_lsn <= manifest.newest_lsn:
        yield (
            f"the oldest LSN {manifest.oldest_lsn} is not within "
            f"{manifest.fork_lsn} to {manifest.newest_lsn}"
        )


def _orphans(directory: str, segments: tuple[SegmentName, ...]) -> Iterator[Finding]:
    live = {MANIFEST_NAME, *(segment.name for segment in segments)}
    for name in sorted(os.listdir(directory)):
        if name not in live:
            what = "left by a writer that crashed; the next writer removes it"
            if not name.endswith((SEGMENT_SUFFIX, ".tmp")):
                what = "not a file of a history"
            yield Finding(os.path.join(directory, name), what, Severity.NOTE)


class _SegmentCheck:
    """Compares everything in one segment with everything else in it."""

    def __init__(self, stack: SegmentStack, segment: SegmentReader, manifest: Manifest) -> None:
        self.findings = 0
        self._stack = stack
        self._segment = segment
        self._manifest = manifest

    def wrong(self, done: int, total: int, progress: Progress | None) -> Iterator[str]:
        """What is wrong, one sentence each."""
        try:
            for what in self._wrong_in_pages(done, total, progress):
                self.findings += 1
                yield what
            for what in self._wrong_in_commits():
                self.findings += 1
                yield what
        except CorruptStoreError as error:
            self.findings += 1
            yield str(error)

    def _wrong_in_pages(self, done: int, total: int, progress: Progress | None) -> Iterator[str]:
        previous = -1
        blocks_bytes = 0
        for keys, _ in self._segment.entries():
            if keys[0] <= previous or any(a >= b for a, b in pairwise(keys)):
                yield "the index is out of order"
            previous = keys[-1]
        for (page, offset), entries in groupby(self._entries(), key=lambda e: (e[0], e[2])):
            versions = [(lsn, position) for _, lsn, _, position in entries]
            try:
                size, wrong = self._check_block(PageNumber(page), offset, versions)
                blocks_bytes += size
                if wrong:
                    yield f"the block at {offset}, page {page}: {wrong}"
            except CorruptStoreError as error:
                yield str(error)
            done += len(versions)
            if progress is not None and done % _PROGRESS_EVERY < len(versions):
                progress(done, total)
        end = self._segment.blocks_end
        unused = end - self._segment.blocks_offset - blocks_bytes
        if self.findings:
            return  # blocks that could not be read are among the unused bytes
        if not 0 <= unused < 8 or any(self._segment.read_exactly(end - unused, unused)):
            yield f"{unused} bytes among the blocks belong to none"

    def _entries(self) -> Iterator[tuple[int, Lsn, int, int]]:
        """The index as (page, lsn, block offset, position)."""
        first = self._segment.header.first_lsn
        for keys, locations in self._segment.entries():
            for key, location in zip(keys, locations, strict=True):
                yield (
                    key >> LSN_OFFSET_BITS,
                    Lsn(first + (key & LOW_LSN_MASK)),
                    location >> POSITION_BITS,
                    location & _POSITION_MASK,
                )

    def _check_block(
        self, page: PageNumber, offset: int, versions: list[tuple[Lsn, int]]
    ) -> tuple[int, str]:
        """The size of a block in the file, and what is wrong with it."""
        segment = self._segment
        header, payload = segment.read_block(offset, page)
        size = BLOCK_HEADER_BYTES + len(payload)
        lsns = [lsn for lsn, _ in versions]
        if [position for _, position in versions] != list(range(header.version_count)):
            return size, f"the index knows {len(versions)} of {header.version_count} versions"
        if segment.first_lsn_of(header) != lsns[0] or lsns[-1] > segment.header.last_lsn:
            return size, f"the index says it begins with LSN {lsns[0]}"
        if header.depth > CHAIN_DEPTH_MAX or (header.depth > 0) != (header.prefix_distance > 0):
            return size, f"its depth {header.depth} cannot be"
        prefix_lsn = segment.prefix_lsn(header)
        if prefix_lsn is not None:
            before = self._stack.predecessor(page, Lsn(lsns[0] - 1))
            if before is None or before.lsn != prefix_lsn or before.depth >= header.depth:
                return size, f"what it builds on, LSN {prefix_lsn}, is not the version before it"
        raw_bytes = header.version_count * self._manifest.page_size
        try:
            raw = decompress_run(payload, self._stack.prefix(segment, header), raw_bytes + 1)
        except ValueError as error:
            return size, str(error)
        if len(raw) != raw_bytes:
            return size, f"it decodes to {len(raw)} bytes, not {raw_bytes}"
        return size, ""

    def _wrong_in_commits(self) -> Iterator[str]:
        header, manifest = self._segment.header, self._manifest
        previous_time = None
        found = []
        for record in self._segment.commits(Lsn(0), header.last_lsn):
            found.append(record.lsn)
            if previous_time is not None and record.committed_at < previous_time:
                yield f"the time of LSN {record.lsn} is before that of the commit before it"
            previous_time = record.committed_at
        if any(a >= b for a, b in pairwise(found)):
            yield "the commits are out of order"
        readable = {lsn for lsn in manifest.pinned if header.first_lsn <= lsn <= header.last_lsn}
        readable.update(
            Lsn(lsn)
            for lsn in range(max(header.first_lsn, manifest.oldest_lsn), header.last_lsn + 1)
        )
        if missing := sorted(readable - set(found)):
            yield f"no record of {len(missing)} commits, the first LSN {missing[0]}"
