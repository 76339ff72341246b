"""Copy committed frames of a head's WAL into its history, whole commits at a time.

The caller sees to it that nobody can recycle the frames meanwhile (an open read transaction or the
write lock). Capture takes no SQLite lock of its own, so a statement that asks for the past inside
its own write transaction can use it.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import apsw

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn, Microseconds, PageNumber
from dosql_core.kernel.change_causes import CauseLog
from dosql_core.kernel.commit_times import CommitTimes, begins_a_generation, time_key
from dosql_core.kernel.connection import run
from dosql_core.kernel.group_commit import GroupCommit
from dosql_core.kernel.wal_index import WalIndex, WalState
from dosql_core.kernel.wal_position import CapturedPosition, LsnClock, first_uncaptured_frame
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.page_history import PageHistory, PageView
from dosql_core.storage.page_walk import LiveCommit
from dosql_core.storage.segment_format import CommitFlag, CommitRecord, NewCommit
from dosql_core.storage.wal_frames import (
    CommitFrames,
    FrameRun,
    commits_of,
    read_frames,
    read_pages,
)

SEAL_BYTES_MAX = 32 * 1024 * 1024
_LIVE_FRAMES_MAX = 1000
# Named as SQLite's own tables are, so that programs which list or dump tables pass over it.
COMMIT_METADATA_TABLE = "sqlite_dosql_commits"
_METADATA_SQL = (
    f'SELECT committed_at, author, message FROM main."{COMMIT_METADATA_TABLE}" '
    "WHERE committed_at > ?"
)


class Capture:
    """Captures one head; one thread of one process at a time, by a lock and a file lock."""

    def __init__(
        self,
        history: BranchHistory,
        pages: PageHistory,
        *,
        lock_path: str,
        index: WalIndex,
        clock: LsnClock,
        times: CommitTimes,
        causes: CauseLog,
        sync_wal: GroupCommit,
    ) -> None:
        self._history = history
        self._index = index
        self._clock = clock
        self._times = times
        self.causes = causes
        self._sync_wal = sync_wal
        self._pages = pages
        self._lock = threading.RLock()
        self._lock_descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        self._depth = 0
        self._parent_view: PageView | None = None
        self._descriptions: dict[Microseconds, tuple[CommitFlag, str | None, str | None]] = {}

    def describe(
        self, at: Microseconds, flags: CommitFlag, author: str | None, message: str | None
    ) -> None:
        """What to say of the commit noted at that time, once it is captured by this process."""
        self._descriptions[at] = (flags, author, message)

    def position(self) -> tuple[CapturedPosition, Lsn]:
        """Where history ends now, other processes' captures included."""
        self._history.refresh()
        return CapturedPosition.from_json(self._history.captured), self._history.newest_lsn

    def __enter__(self) -> Capture:
        self._lock.acquire()
        if self._depth == 0:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX)
        self._depth += 1
        return self

    def __exit__(self, *_exception: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_UN)
        self._lock.release()

    def capture(self, connection: apsw.Connection, state: WalState) -> CapturedPosition:
        """Seal every commit up to `state`, which `connection` reads or may write at.

        Errors: GapFound when the WAL does not continue where history ends; CorruptStoreError when
                its frames are damaged. Nothing is sealed then.
        """
        with self:
            captured, newest = self.position()
            page_size = self._history.page_size
            descriptor = self._clock.descriptor() if state.frames else -1
            first = first_uncaptured_frame(captured, state, descriptor, page_size)
            if first > state.frames:
                return captured
            self._sync_wal.wait()  # history never gets ahead of the disk
            run = read_frames(descriptor, first, state.frames, page_size, state.salts)
            if run.last_checksum != state.checksum:
                raise CorruptStoreError(
                    f"the checksum of WAL frame {state.frames} is not the one the WAL index has"
                )
            commits = list(commits_of(run))
            starts = [commit.first_frame for commit in commits]
            known, ring = self._known_times(captured, state, starts)
            records = [
                NewCommit(Lsn(lsn), at, commit.page_count, flags)
                for lsn, (at, flags), commit in zip(
                    range(newest + 1, newest + 1 + len(commits)), known, commits, strict=True
                )
            ]
            self._add_descriptions(connection, records, self._last_time(newest))
            done = 0
            while done < len(commits):
                begins = done
                done += _some_commits(commits, done, SEAL_BYTES_MAX // page_size)
                last_frame = starts[done] - 1 if done < len(commits) else state.frames
                captured = CapturedPosition(
                    salts=state.salts,
                    frame=last_frame,
                    checksum=run.checksum_of(last_frame, descriptor, page_size),
                    is_complete=False,
                    ring=ring if done == len(commits) else captured.ring,
                    checkpointed=captured.checkpointed,
                )
                self._history.seal(
                    records[begins:done],
                    self._versions(
                        run, commits[begins:done], records[begins].lsn, last_frame, state
                    ),
                    captured=captured.to_json(),
                    predecessor=self._predecessor,
                )
            return captured

    def read_live(
        self, connection: apsw.Connection, state: WalState, after: CapturedPosition, lsn: Lsn
    ) -> tuple[list[LiveCommit], CapturedPosition] | None:
        """The commits after a position, up to `state`, without sealing them; and where they end.

        They are durable, as what is sealed is. None when they are better captured: too many of
        them, or with times that are not known yet.

        Errors: GapFound when the WAL does not continue after the position; CorruptStoreError.
        """
        page_size = self._history.page_size
        descriptor = self._clock.descriptor() if state.frames else -1
        first = first_uncaptured_frame(after, state, descriptor, page_size)
        if first > state.frames:
            return [], after
        if state.frames - first >= _LIVE_FRAMES_MAX:
            return None
        self._sync_wal.wait()  # nobody hears of what a power cut could take back
        run = read_frames(descriptor, first, state.frames, page_size, state.salts)
        if run.last_checksum != state.checksum:
            raise CorruptStoreError(
                f"the checksum of WAL frame {state.frames} is not the one the WAL index has"
            )
        commits = list(commits_of(run))
        known, ring = self._known_times(after, state, [begins for begins, _, _ in commits])
        if any(flags & CommitFlag.ESTIMATED_TIME for _, flags in known):
            return None
        metadata = _commit_metadata(connection, Microseconds(known[0][0] - 1))
        causes = self.causes.noted_after(Microseconds(known[0][0] - 1))
        contents = dict(read_pages(descriptor, first, state.frames, page_size))
        live: list[LiveCommit] = []
        for number, ((_, size, frames), (at, flags)) in enumerate(
            zip(commits, known, strict=True), start=1
        ):
            author, message = metadata.get(at, (None, None))
            if at in self._descriptions:
                more, author, message = self._descriptions[at]
                flags |= more
            pages: dict[int, bytes] = {
                page: contents[frame] for page, frame in frames.items() if page <= size
            }
            record = CommitRecord(
                Lsn(lsn + number), at, size, len(pages), 0, flags, author, message, causes.get(at)
            )
            live.append((record, pages))
        if self._index.state().salts != state.salts:
            raise CorruptStoreError("the WAL was restarted while its frames were read")
        checksum = run.checksum_of(state.frames, descriptor, page_size)
        end = replace(
            after, salts=state.salts, frame=state.frames, checksum=checksum, ring=ring,
            is_complete=False, stamp=None,
        )  # fmt: skip
        return live, end

    def record_position(self, position: CapturedPosition) -> None:
        """Persist a position whose commits are all sealed already."""
        with self:
            self._history.seal([], (), captured=position.to_json(), predecessor=None)

    def _add_descriptions(
        self, connection: apsw.Connection, records: list[NewCommit], after: Microseconds
    ) -> None:
        """Give those commits that carry an author, a message, a flag or causes what they carry.

        None of them is older than the time `after`.
        """
        metadata = _commit_metadata(connection, after)
        causes = self.causes.noted_after(after)
        if not metadata and not causes and not self._descriptions:
            return
        for place, record in enumerate(records):
            at, flags = record.committed_at, CommitFlag.NONE
            author, message = metadata.get(at, (None, None))
            if at in self._descriptions:
                flags, author, message = self._descriptions.pop(at)
            records[place] = record._replace(
                flags=record.flags | flags,
                author=author,
                message=message,
                causes=causes.get(at),
            )

    def _versions(
        self,
        run: FrameRun,
        commits: list[CommitFrames],
        first: Lsn,
        last_frame: int,
        state: WalState,
    ) -> Iterator[tuple[PageNumber, Lsn, bytes]]:
        """The page versions of consecutive commits, the first of LSN `first`, as the WAL has them.

        Of a page that a commit wrote twice, having spilled it, the later frame counts.
        """
        descriptor, page_size = self._clock.descriptor(), self._history.page_size
        first_frame = commits[0].first_frame
        of_batch = slice(first_frame - run.first, last_frame + 1 - run.first)
        following = iter(zip(itertools.count(first), commits, strict=False))
        begins_commit = True
        for (frame, content), page, size_after in zip(
            read_pages(descriptor, first_frame, last_frame, page_size),
            run.pages[of_batch],
            run.sizes_after[of_batch],
            strict=True,
        ):
            if begins_commit:
                lsn, (_first_frame, page_count, frames) = next(following)
            begins_commit = size_after != 0
            if frames[page] == frame and page <= page_count:
                yield page, Lsn(lsn), content
        if self._index.state().salts != state.salts:
            raise CorruptStoreError("the WAL was restarted while its frames were captured")

    def _predecessor(self, page: PageNumber, lsn: Lsn) -> bytes | None:
        """The version of a page that an ancestor left, for a fork's first version of it."""
        parent = self._pages.parent
        if parent is None:
            return None
        if self._parent_view is None:
            self._parent_view = parent.view(self._history.fork_lsn)
        if page > self._parent_view.page_count:
            return None
        return self._parent_view.read_page(page)

    def _last_time(self, newest: Lsn) -> Microseconds:
        if newest == 0:
            return Microseconds(0)
        return self._pages.commit(newest).committed_at

    def _known_times(
        self, captured: CapturedPosition, state: WalState, starts: list[int]
    ) -> tuple[list[tuple[Microseconds, CommitFlag]], int]:
        """When each commit happened, and the entry of the ring after the last of them.

        Times nobody noted lie between those that were. Entries of commits in flight stay for the
        next capture.
        """
        noted = self._times.since(captured.ring)
        salt = _native(state.salts[0])
        entries = [noted.get(time_key(salt, begins - 1)) for begins in starts]
        if starts and starts[0] == 1:
            # noted when the WAL was empty, or at the end of the generation before this one
            before = time_key(_native(captured.salts[0]), captured.frame)
            entries[0] = max(
                (time for key, time in noted.items() if key == before or begins_a_generation(key)),
                default=None,
            )
        ring = max((entry[0] + 1 for entry in entries if entry), default=captured.ring)
        found = [entry[1] if entry else None for entry in entries]
        upper = Microseconds(time.time_ns() // 1000)
        upper_bounds = []
        for at in reversed(found):
            upper = upper if at is None else at
            upper_bounds.append(upper)
        upper_bounds.reverse()
        times: list[tuple[Microseconds, CommitFlag]] = []
        last = self._last_time(self._history.newest_lsn)
        for at, bound in zip(found, upper_bounds, strict=True):
            flags = CommitFlag.NONE
            if at is None:
                at, flags = Microseconds(bound - 1), CommitFlag.ESTIMATED_TIME
            last = Microseconds(max(at, last + 1))
            times.append((last, flags))
        return times, ring

    def close(self) -> None:
        """Give the file lock's descriptor and the parent's segments back."""
        if self._parent_view is not None:
            self._parent_view.close()
        os.close(self._lock_descriptor)


def _some_commits(commits: list[CommitFrames], start: int, frames_max: int) -> int:
    """How many commits from `start` make one seal: bounded in frames, at least one commit."""
    frames = 0
    for number in range(start, len(commits)):
        frames += len(commits[number].frames)
        if frames > frames_max and number > start:
            return number - start
    return len(commits) - start


def _commit_metadata(
    connection: apsw.Connection, after: Microseconds
) -> dict[Microseconds, tuple[str | None, str | None]]:
    try:
        rows = run(connection, _METADATA_SQL, (after,))
    except apsw.SQLError:  # no commit of this database ever carried an author or a message
        return {}
    return {Microseconds(at): (author, message) for at, author, message in rows}


def _native(salt: int) -> int:
    """A salt as the WAL index's words show it."""
    return int.from_bytes(salt.to_bytes(4, "big"), sys.byteorder)
