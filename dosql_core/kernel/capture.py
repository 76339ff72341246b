"""Copy committed frames of a head's WAL into its history, whole commits at a time.

The caller sees to it that nobody can recycle the frames meanwhile (an open read transaction or the
write lock). Capture takes no SQLite lock of its own, so a statement that asks for the past inside
its own write transaction can use it.
"""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import accumulate, islice
from operator import lt
from typing import cast

import apsw

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import Lsn, Microseconds, PageNumber
from dosql_core.kernel.change_causes import CauseLog
from dosql_core.kernel.commit_times import CommitTimes, begins_a_generation, time_key
from dosql_core.kernel.connection import run
from dosql_core.kernel.group_commit import GroupCommit
from dosql_core.kernel.head_watch import BACKGROUND
from dosql_core.kernel.wal_index import WalIndex, WalState
from dosql_core.kernel.wal_position import (
    CapturedPosition,
    GapFound,
    LsnClock,
    first_uncaptured_frame,
)
from dosql_core.storage.block_encoding import Version
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.lock_files import LockFile
from dosql_core.storage.page_history import PageHistory, PageView
from dosql_core.storage.page_walk import LiveCommit
from dosql_core.storage.sealing import PageVersions
from dosql_core.storage.segment_format import (
    CommitDetails,
    CommitFlag,
    CommitRecord,
    NewCommits,
)
from dosql_core.storage.wal_frames import (
    FrameRun,
    commits_of,
    read_frames,
    read_pages,
)

SEAL_BYTES_MAX = 32 * 1024 * 1024
_LIVE_FRAMES_MAX = 1000
_SYNCED_MEANWHILE_MIN = 500
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
        self._lock_file = LockFile(lock_path)
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
            self._lock_file.lock()
        self._depth += 1
        return self

    def __exit__(self, *_exception: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._lock_file.unlock()
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
            try:
                first = first_uncaptured_frame(captured, state, descriptor, page_size)
            except GapFound:
                self._check_it_was_overtaken(captured, state)
                return captured
            if first > state.frames:
                return captured
            wait_for_sync = self._sync_meanwhile(state.frames - first)
            run = read_frames(descriptor, first, state.frames, page_size, state.salts, keep=True)
            if run.last_checksum != state.checksum:
                raise CorruptStoreError(
                    f"the checksum of WAL frame {state.frames} is not the one the WAL index has"
                )
            ends = run.ends_of_commits()
            starts = [first, *[first + end for end in ends[:-1]]]
            times, estimated, ring = self._known_times(captured, state, starts)
            page_counts = list(filter(None, run.sizes_after))
            told = {index: CommitDetails(CommitFlag.ESTIMATED_TIME) for index in estimated}
            self._add_details(connection, times, told, self._last_time(newest))
            done = 0
            while done < len(ends):
                begins = done
                done += _some_commits(ends, done, SEAL_BYTES_MAX // page_size)
                last_frame = starts[done] - 1 if done < len(ends) else state.frames
                captured = CapturedPosition(
                    salts=state.salts,
                    frame=last_frame,
                    checksum=run.checksum_of(last_frame, descriptor, page_size),
                    is_complete=False,
                    ring=ring if done == len(ends) else captured.ring,
                    checkpointed=captured.checkpointed,
                )
                commits = NewCommits(
                    Lsn(newest + 1 + begins),
                    times[begins:done],
                    page_counts[begins:done],
                    {at - begins: told[at] for at in told.keys() & range(begins, done)},
                )
                self._history.seal(
                    commits,
                    self._versions(run, commits, starts[begins], last_frame, state),
                    captured=captured.to_json(),
                    predecessor=self._predecessor,
                    before_it_counts=wait_for_sync,  # history never gets ahead of the disk
                )
            return captured

    def _sync_meanwhile(self, frames: int) -> Callable[[], None]:
        """Have the WAL synced, beside what follows when it is much; returns what waits for it."""
        if frames < _SYNCED_MEANWHILE_MIN:
            return self._sync_wal.wait
        syncing = Future[None]()

        def sync() -> None:
            try:
                self._sync_wal.wait()
            except Exception as error:
                syncing.set_exception(error)
            else:
                syncing.set_result(None)

        try:
            threading.Thread(target=sync, name=f"{BACKGROUND}sync", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            return self._sync_wal.wait
        return syncing.result

    def _check_it_was_overtaken(self, captured: CapturedPosition, state: WalState) -> None:
        """See that others wrote and captured on since `state` was read: then history has more.

        Errors: GapFound when the WAL as it is now does not continue where history ends either.
        """
        now = self._index.state()
        descriptor = self._clock.descriptor() if now.frames else -1
        first_uncaptured_frame(captured, now, descriptor, self._history.page_size)

    def read_live(
        self, connection: apsw.Connection, state: WalState, after: CapturedPosition, lsn: Lsn
    ) -> tuple[list[LiveCommit], CapturedPosition] | None:
        """The commits after a position, up to `state`, without sealing them; and where they end.

        They are durable, as what is sealed is. None when they are better captured: too many of
        them, with times that are not known yet, or sealed already.

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
        run = read_frames(descriptor, first, state.frames, page_size, state.salts, keep=True)
        if run.last_checksum != state.checksum:
            raise CorruptStoreError(
                f"the checksum of WAL frame {state.frames} is not the one the WAL index has"
            )
        commits = list(commits_of(run))
        times, estimated, ring = self._known_times(
            after, state, [begins for begins, _, _ in commits]
        )
        if estimated:
            return None
        metadata = _commit_metadata(connection, Microseconds(times[0] - 1))
        causes = self.causes.noted_after(Microseconds(times[0] - 1))
        self._history.refresh()
        if self._history.newest_lsn > lsn:
            return None  # what was noted beside the WAL goes once it is in history
        read = read_pages(descriptor, run, first, state.frames, page_size)
        contents = dict(enumerate(read, first))
        live: list[LiveCommit] = []
        for number, ((_, size, frames), at) in enumerate(zip(commits, times, strict=True), start=1):
            flags = CommitFlag.NONE
            author, message = metadata.get(at, (None, None))
            if at in self._descriptions:
                flags, author, message = self._descriptions[at]
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

    def _add_details(
        self,
        connection: apsw.Connection,
        times: list[Microseconds],
        told: dict[int, CommitDetails],
        after: Microseconds,
    ) -> None:
        """Tell of those commits that carry an author, a message, a flag or causes what they carry.

        None of them is older than the time `after`.
        """
        metadata = _commit_metadata(connection, after)
        causes = self.causes.noted_after(after)
        if not metadata and not causes and not self._descriptions:
            return
        for index, at in enumerate(times):
            flags = told[index].flags if index in told else CommitFlag.NONE
            author, message = metadata.get(at, (None, None))
            if at in self._descriptions:
                more, author, message = self._descriptions.pop(at)
                flags |= more
            details = CommitDetails(flags, author, message, causes.get(at))
            if details != CommitDetails():
                told[index] = details

    def _versions(
        self, run: FrameRun, commits: NewCommits, first: int, last: int, state: WalState
    ) -> PageVersions:
        """The page versions in frames `first` to `last`, which are those of `commits`.

        Of a page that a commit wrote twice, having spilled it, the later frame counts.
        """
        of_batch = slice(first - run.first, last + 1 - run.first)
        ends = map(bool, run.sizes_after[of_batch])
        lsns = accumulate(ends, initial=commits.first)  # one more than there are frames
        contents = read_pages(self._clock.descriptor(), run, first, last, self._history.page_size)
        versions: defaultdict[PageNumber, list[Version]] = defaultdict(list)
        for page, lsn, content in zip(run.pages[of_batch], lsns, contents, strict=False):
            versions[page].append((Lsn(lsn), content))
        if last - first >= len(commits):
            for page, of_page in versions.items():
                versions[page] = list(dict(of_page).items())
        if self._index.state().salts != state.salts:
            raise CorruptStoreError("the WAL was restarted while its frames were captured")
        return versions

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
    ) -> tuple[list[Microseconds], list[int], int]:
        """When each commit happened, which times are estimated, and the ring's entry after them.

        Times nobody noted lie between those that were. Entries of commits in flight stay for the
        next capture.
        """
        noted = self._times.since(captured.ring)
        base = time_key(_native(state.salts[0]), 0) - 1  # frames before a commit: one less
        places = list(map(noted.places.get, [base + begins for begins in starts]))
        if starts and starts[0] == 1:
            # noted when the WAL was empty, or at the end of the generation before this one
            before = time_key(_native(captured.salts[0]), captured.frame)
            places[0] = max(
                (
                    place
                    for key, place in noted.places.items()
                    if key == before or begins_a_generation(key)
                ),
                default=None,
            )
        found = [None if place is None else noted.times[place] for place in places]
        known = [place for place in places if place is not None]
        ring = noted.first + max(known) + 1 if known else captured.ring
        times, estimated = _settled(found, self._last_time(self._history.newest_lsn))
        return times, estimated, ring

    def close(self) -> None:
        """Give the file lock's descriptor and the parent's segments back."""
        if self._parent_view is not None:
            self._parent_view.close()
        self._lock_file.close()


def _settled(
    found: list[Microseconds | None], last: Microseconds
) -> tuple[list[Microseconds], list[int]]:
    """Times that ascend from `last` on, where one is not known in between; and which those are."""
    if None not in found:
        known = cast(list[Microseconds], found)
        if not known or (known[0] > last and all(map(lt, known, islice(known, 1, None)))):
            return known, []
    upper = Microseconds(time.time_ns() // 1000)
    upper_bounds = []
    for at in reversed(found):
        upper = upper if at is None else at
        upper_bounds.append(upper)
    times: list[Microseconds] = []
    for at, bound in zip(found, reversed(upper_bounds), strict=True):
        last = Microseconds(max(bound - 1 if at is None else at, last + 1))
        times.append(last)
    return times, [index for index, at in enumerate(found) if at is None]


def _some_commits(ends: list[int], start: int, frames_max: int) -> int:
    """How many commits from `start` make one seal: bounded in frames, at least one commit.

    Shape: `ends` counts the frames up to the end of each commit.
    """
    frames_before = ends[start - 1] if start else 0
    return max(1, bisect_right(ends, frames_before + frames_max) - start)


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
