"""The manifest of a history as read last, and the segments it names, opened when first needed."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

from dosql_core.errors import CorruptStoreError, MissingSegmentError
from dosql_core.storage.block_cache import BlockCache
from dosql_core.storage.manifest import (
    MANIFEST_NAME,
    Manifest,
    SegmentName,
    read_manifest,
    write_manifest,
)
from dosql_core.storage.segment_format import SegmentHeader
from dosql_core.storage.segment_reader import SegmentReader
from dosql_core.storage.segment_stack import SegmentStack

_CACHE_BYTES_MAX = 8 * 1024 * 1024

_Signature = tuple[int, int, int]


@dataclass(slots=True)
class LiveState:
    """A manifest, the stamp of the file it was read from, and its segments once they are open.

    Shape: `reusable` are open segments of the manifest before, until then.
    """

    manifest: Manifest
    signature: _Signature
    stack: SegmentStack | None = None
    reusable: SegmentStack | None = None


class LiveSegments:
    """Of one history: its newest manifest that was noticed, with its segments.

    Threads: any number may read while one swaps the manifest.
    Errors:  MissingSegmentError when there is no manifest; CorruptStoreError, FormatVersionError
             when it cannot be read.
    """

    __slots__ = ("_cache", "_directory", "_loading", "state")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._cache = BlockCache(_CACHE_BYTES_MAX)
        self._loading = threading.RLock()
        self.state = _load(directory)

    def refresh(self) -> bool:
        """Take notice of a manifest that another process wrote; whether there was one."""
        if _signature(self._directory) == self.state.signature:
            return False
        with self._loading:
            old = self.state
            self.state = _load(self._directory)
            self.state.reusable = old.stack or old.reusable
        return True

    def snapshot(self) -> tuple[Manifest, SegmentStack]:
        """The manifest read last and its open segments, as one.

        Errors: MissingSegmentError, CorruptStoreError, FormatVersionError, naming the segment.
        """
        state = self.state
        if state.stack is not None:
            return state.manifest, state.stack
        with self._loading:
            while True:
                state = self.state
                try:
                    if state.stack is None:
                        state.stack = self._open_segments(state.manifest, state.reusable)
                        state.reusable = None
                    return state.manifest, state.stack
                except MissingSegmentError:
                    # Compaction swaps the manifest before it unlinks: the new one does without.
                    if not self.refresh():
                        raise

    def swap(self, manifest: Manifest) -> None:
        """Replace the manifest, durably; segments that the old one named too stay open."""
        write_manifest(self._directory, manifest)
        with self._loading:
            old = self.state.stack
            self.state = LiveState(manifest, _signature(self._directory))
            if old is not None:
                self.state.stack = self._open_segments(manifest, old)

    def close(self) -> None:
        """Let go of the segments; views that hold them keep them open."""
        with self._loading:
            self.state = replace(self.state, stack=None, reusable=None)
            self._cache.clear()

    def _open_segments(self, manifest: Manifest, old: SegmentStack | None) -> SegmentStack:
        known = {segment.path: segment for segment in old.segments} if old is not None else {}
        segments = []
        for named in manifest.segments:
            path = os.path.join(self._directory, named.name)
            segment = known.get(path) or SegmentReader(path)
            check_segment(segment, named, manifest)
            segments.append(segment)
        return SegmentStack(segments, manifest.page_size, self._cache)


def check_segment(segment: SegmentReader, named: SegmentName, manifest: Manifest) -> None:
    """Check that an open segment is the one that the manifest means.

    Errors: CorruptStoreError when it is another, or cut short.
    """
    if segment.bytes != named.bytes:
        raise CorruptStoreError(
            f"{segment.path} has {segment.bytes} bytes; the manifest says {named.bytes}"
        )
    expected = SegmentHeader(manifest.page_size, manifest.branch_id, named.first, named.last)
    if segment.checksum != named.checksum or segment.header != expected:
        raise CorruptStoreError(f"{segment.path} is not the segment that the manifest means")


def _load(directory: str) -> LiveState:
    signature = _signature(directory)  # before reading: at worst it is read once more
    return LiveState(read_manifest(directory), signature)


def _signature(directory: str) -> _Signature:
    path = os.path.join(directory, MANIFEST_NAME)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise MissingSegmentError(f"{path} is missing") from None
    return status.st_ino, status.st_mtime_ns, status.st_size
