"""The history of one branch on disk: its manifest, its segments, its commits.

Whoever writes holds off all other processes by a lock of the kernel's (`exclude_processes`), but a
compaction does so only while it swaps the manifest. Any number read. A reader sees the manifest it
read last until `refresh`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from dosql_core.errors import (
    CorruptStoreError,
    HistoryExpiredError,
    LsnNotAvailableError,
)
from dosql_core.identifiers import BranchId, Lsn, Microseconds
from dosql_core.storage.durable_files import (
    make_directory,
    publish_file,
    remove_quietly,
    telling_disk_errors,
)
from dosql_core.storage.live_segments import LiveSegments
from dosql_core.storage.manifest import MANIFEST_NAME, Manifest, SegmentName, write_manifest
from dosql_core.storage.newest_versions import NewestVersions
from dosql_core.storage.sealing import (
    FindPredecessor,
    PageVersion,
    PageVersions,
    Progress,
    SegmentSealing,
    settle_times,
)
from dosql_core.storage.segment_format import (
    CommitRecord,
    NewCommit,
    NewCommits,
    SegmentHeader,
)
from dosql_core.storage.segment_stack import SegmentStack
from dosql_core.storage.segment_writer import SegmentWriter, WrittenSegment

SEGMENT_SUFFIX = ".seg"
TEMPORARY_SUFFIX = ".tmp"


class BranchHistory:
    """Commits and page versions of one branch; what lies before its fork is its parent's.

    Threads: any number may read while one seals and one compacts.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._live = LiveSegments(directory)
        self._newest = NewestVersions()
        self._remembered: tuple[Lsn, Lsn, tuple[Lsn, ...]] | None = None
        self._generation = 0
        self._is_tidied = False
        self._writing = threading.RLock()
        self.compacting = threading.Lock()
        self.exclude_processes: Callable[[], AbstractContextManager[object]] = nullcontext

    @classmethod
    def create(
        cls, directory: str, *, page_size: int, branch_id: BranchId, fork_lsn: Lsn
    ) -> BranchHistory:
        """Begin the history of a branch in `directory`, which is made if need be.

        Errors: FileExistsError when there is one already; ValueError for a page size that SQLite
                does not have.
        """
        if page_size not in (512 << n for n in range(8)):
            raise ValueError(f"page size {page_size}: expected a power of two from 512 to 65536")
        make_directory(directory)
        if os.path.exists(os.path.join(directory, MANIFEST_NAME)):
            raise FileExistsError(f"{directory} already has a history")
        manifest = Manifest(page_size, branch_id, fork_lsn, fork_lsn, fork_lsn, captured={})
        write_manifest(directory, manifest)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: str) -> BranchHistory:
        """The history in `directory`; its segments are opened when first needed.

        Errors: MissingSegmentError when there is none; CorruptStoreError, FormatVersionError when
                its manifest cannot be read.
        """
        return cls(directory)

    # -- what it holds -----------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """The manifest as read last."""
        return self._live.state.manifest

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self.manifest.page_size

    @property
    def branch_id(self) -> BranchId:
        """The branch this is the history of."""
        return self.manifest.branch_id

    @property
    def fork_lsn(self) -> Lsn:
        """The last LSN that belongs to the parent; 0 for a branch without one."""
        return self.manifest.fork_lsn

    @property
    def newest_lsn(self) -> Lsn:
        """The last commit sealed; the fork LSN when there is none."""
        return self.manifest.newest_lsn

    @property
    def oldest_lsn(self) -> Lsn:
        """Every LSN from here on is readable."""
        return self.manifest.oldest_lsn

    @property
    def pinned(self) -> tuple[Lsn, ...]:
        """Older LSNs that are readable still."""
        return self.manifest.pinned

    @property
    def captured(self) -> dict[str, Any]:
        """What the kernel stored with the last seal."""
        return self.manifest.captured or {}

    @property
    def stored_bytes(self) -> int:
        """Bytes of all live segments."""
        return sum(segment.bytes for segment in self.manifest.segments)

    def refresh(self) -> bool:
        """Take notice of a manifest that another process wrote; whether there was one.

        Errors: as `open`.
        """
        return self._live.refresh()

    def stack(self) -> SegmentStack:
        """The open segments of the manifest read last.

        Errors: MissingSegmentError, CorruptStoreError, FormatVersionError, naming the segment.
        """
        return self.snapshot()[1]

    def snapshot(self) -> tuple[Manifest, SegmentStack]:
        """The manifest read last and its open segments, as one.

        Errors: as `stack`.
        """
        return self._live.snapshot()

    def close(self) -> None:
        """Let go of the segments; views that hold them keep them open."""
        self._live.close()
        self._newest.forget()

    # -- commits -----------------------------------------------------------------------------------

    def commit(self, lsn: Lsn) -> CommitRecord:
        """The record of a commit of this branch.

        Errors: LsnNotAvailableError when it has none such; HistoryExpiredError when no longer.
        """
        manifest, stack = self.snapshot()
        if not manifest.fork_lsn < lsn <= manifest.newest_lsn:
            raise LsnNotAvailableError(
                f"branch {manifest.branch_id} has LSN {manifest.fork_lsn + 1} to "
                f"{manifest.newest_lsn}, not {lsn}"
            )
        if not manifest.is_readable(lsn):
            raise HistoryExpiredError(lsn, manifest.oldest_lsn)
        for segment in reversed(stack.segments):
            if segment.header.first_lsn <= lsn <= segment.header.last_lsn:
                record = segment.commit(lsn)
                if record is not None:
                    return record
        raise CorruptStoreError(f"{self.directory}: no segment has the commit of LSN {lsn}")

    def commits(self, first: Lsn, last: Lsn) -> Iterator[CommitRecord]:
        """The commits of this branch from `first` to `last` that are kept, ascending."""
        manifest, stack = self.snapshot()
        for segment in stack.segments:
            if segment.header.last_lsn >= first and segment.header.first_lsn <= last:
                for record in segment.commits(first, last):
                    if manifest.is_readable(record.lsn):
                        yield record

    def stored_bytes_of(self, first: Lsn, last: Lsn) -> int:
        """What the commits from `first` to `last` take, about."""
        return sum(
            segment.stored_bytes(first, last)
            for segment in self.stack().segments
            if segment.header.last_lsn >= first and segment.header.first_lsn <= last
        )

    def commits_backwards(self, last: Lsn) -> Iterator[CommitRecord]:
        """The commits of this branch from `last` back that are kept, descending."""
        manifest, stack = self.snapshot()
        for segment in reversed(stack.segments):
            if segment.header.first_lsn <= last:
                for record in segment.commits_backwards(last):
                    if manifest.is_readable(record.lsn):
                        yield record

    def newest_at(self, time: Microseconds) -> Lsn | None:
        """The newest commit of this branch not after `time`; None when it had none yet.

        Errors: HistoryExpiredError when the commit that was the newest then is not kept.
        """
        manifest, stack = self.snapshot()
        lsn = None
        for segment in reversed(stack.segments):
            lsn = segment.newest_at(time)
            if lsn is not None:
                break
        if lsn is not None and lsn >= manifest.oldest_lsn:
            return lsn
        if manifest.oldest_lsn <= manifest.fork_lsn + 1:
            return None
        # Between pinned commits lie others, of which nothing is known any more.
        if lsn in manifest.pinned and self.commit(lsn).committed_at == time:
            return lsn
        raise HistoryExpiredError(lsn or Lsn(manifest.oldest_lsn - 1), manifest.oldest_lsn)

    # -- writing -----------------------------------------------------------------------------------

    def seal(
        self,
        commits: Sequence[NewCommit] | NewCommits,
        versions: Iterable[PageVersion] | PageVersions,
        *,
        captured: dict[str, Any],
        predecessor: FindPredecessor | None = None,
        progress: Progress | None = None,
        before_it_counts: Callable[[], None] | None = None,
    ) -> None:
        """Add commits and the page versions they made, and record `captured`; all or nothing.

        It is durable on return. Without commits only `captured` is recorded.

        Shape:  commits are dense from `newest_lsn` + 1. A version is (page, lsn, content); no page
                twice in a commit; in any order up to 64 MiB of them, beyond that in order of LSN;
                or all of them, each page with its (lsn, content), in no more than 64 MiB.
                `predecessor` tells the content of a page of a fork before an LSN, as inherited; it
                only serves to drop versions that change nothing. `before_it_counts` is called
                when all is written and nobody knows of it yet.
        Errors: ValueError for commits or versions out of place; DiskFullError, DiskError, OSError.
                Nothing has changed then.
        """
        with self.writing():
            manifest = self.manifest
            if not commits:
                self._live.swap(replace(manifest, captured=captured))
                return
            if not isinstance(commits, NewCommits):
                commits = NewCommits.of(commits)
            first, last = commits.first, commits.last
            if first != manifest.newest_lsn + 1:
                raise ValueError(
                    f"commits {first} to {last} do not continue LSN {manifest.newest_lsn}"
                )
            try:
                written, name = self._write_sealed(commits, versions, predecessor, progress)
                if before_it_counts is not None:
                    before_it_counts()
                segment = SegmentName(name, first, last, written.bytes, written.checksum)
                self._live.swap(
                    replace(
                        manifest,
                        newest_lsn=last,
                        segments=(*manifest.segments, segment),
                        captured=captured,
                        generation=self._generation,
                    )
                )
            except BaseException:
                self._newest.forget()  # it has versions that are not in history
                raise
            self._remembered = _newest_versions_of(self.manifest)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold off all other writers; on entry the manifest is the newest."""
        with self.exclude_processes(), self._writing:
            self.refresh()
            yield

    def tidy(self) -> None:
        """Remove what crashed writers left, once; nobody may compact meanwhile."""
        with self.writing():
            if not self._is_tidied:
                self._remove_leftovers()
                self._is_tidied = True

    def begin_segment(self, first: Lsn, last: Lsn) -> tuple[SegmentWriter, str]:
        """A writer for a new segment, and the name to publish it under."""
        with self.writing():
            self._generation = max(self._generation, self.manifest.generation) + 1
            name = f"{first}-{last}-{self._generation}{SEGMENT_SUFFIX}"
        temporary = os.path.join(self.directory, name + TEMPORARY_SUFFIX)
        remove_quietly(temporary)  # a writer that crashed may have used the same generation
        header = SegmentHeader(self.page_size, self.branch_id, first, last)
        return SegmentWriter(temporary, header), name

    def publish_segment(self, writer: SegmentWriter, name: str) -> None:
        """Give a finished segment its name, durably; the manifest does not name it yet."""
        publish_file(writer.path, os.path.join(self.directory, name))

    def replace_segments(
        self,
        replaced: Collection[SegmentName],
        by: SegmentName | None,
        *,
        oldest_lsn: Lsn | None = None,
        pinned: Collection[Lsn] | None = None,
    ) -> None:
        """Let `by` stand for the segments `replaced` (adjacent ones), then remove those.

        Readers that have them open keep them; a crash leaves the old manifest or the new one.
        """
        with self.writing():
            manifest = self.manifest
            segments: list[SegmentName] = []
            for segment in manifest.segments:
                if segment not in replaced:
                    segments.append(segment)
                elif by is not None and by not in segments:
                    segments.append(by)
            self._live.swap(
                replace(
                    manifest,
                    segments=tuple(segments),
                    oldest_lsn=manifest.oldest_lsn if oldest_lsn is None else oldest_lsn,
                    pinned=manifest.pinned if pinned is None else tuple(sorted(pinned)),
                    generation=max(manifest.generation, self._generation),
                )
            )
            if oldest_lsn is not None:
                # Versions of pages beyond the end may have been dropped, the newest ones too.
                self._newest.forget()
            for segment in replaced:
                remove_quietly(os.path.join(self.directory, segment.name))

    @telling_disk_errors()
    def _write_sealed(
        self,
        commits: NewCommits,
        versions: Iterable[PageVersion] | PageVersions,
        predecessor: FindPredecessor | None,
        progress: Progress | None,
    ) -> tuple[WrittenSegment, str]:
        manifest, stack = self.snapshot()
        if self._remembered != _newest_versions_of(manifest):
            self._newest.forget()
        previous_time = None
        # What the parent had is not known here; its pages beyond the fork's size are masked anyway.
        page_count = commits.page_counts[0] if manifest.fork_lsn else 0
        if manifest.newest_lsn > manifest.fork_lsn:
            previous = self.commit(manifest.newest_lsn)
            previous_time, page_count = previous.committed_at, previous.page_count
        commits = settle_times(commits, previous_time)
        writer, name = self.begin_segment(commits.first, commits.last)
        with writer:
            sealing = SegmentSealing(
                writer,
                commits,
                stack=stack,
                newest=self._newest,
                page_count_before=page_count,
                inherits=manifest.fork_lsn > 0,
                predecessor=predecessor,
            )
            if isinstance(versions, dict):
                sealing.add_pages(versions)
            else:
                sealing.add_all(versions, progress)
            written = sealing.finish()
            self.publish_segment(writer, name)
        return written, name

    def _remove_leftovers(self) -> None:
        """Remove what a crashed writer left: temporary files, segments the manifest never named."""
        live = {segment.name for segment in self.manifest.segments}
        for name in os.listdir(self.directory):
            is_orphan = name.endswith(SEGMENT_SUFFIX) and name not in live
            if is_orphan or name.endswith(TEMPORARY_SUFFIX):
                remove_quietly(os.path.join(self.directory, name))


def _newest_versions_of(manifest: Manifest) -> tuple[Lsn, Lsn, tuple[Lsn, ...]]:
    """What tells whether the newest version of each page may be another than it was."""
    return manifest.newest_lsn, manifest.oldest_lsn, manifest.pinned
