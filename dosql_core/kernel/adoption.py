"""Bring a database file into history whole: when it is adopted, and after commits we did not see.

Both compare nothing by SQL: they read the pages of the head at one snapshot (the newest committed
frame of a page, else the page in the file) and seal those that history does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import apsw

from dosql_core.errors import ForeignDirectoryError, HistoryExpiredError, LostCommitsError
from dosql_core.identifiers import EMPTY_LSN, Lsn, Microseconds, PageNumber
from dosql_core.kernel.wal_index import WalState
from dosql_core.kernel.wal_position import CapturedPosition
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.page_history import PageHistory, PageView
from dosql_core.storage.segment_format import CommitFlag, NewCommit
from dosql_core.storage.wal_frames import commits_of, read_frames, read_page

Progress = Callable[[int, int], None]
SQLITE_LOCK_PAGE_AT = 1 << 30
_JOURNAL_BYTES_END = 20
_WAL_JOURNAL = b"\x02\x02"
_SCHEMA_CELL_COUNT = slice(103, 105)
_SAME_DATABASE_SHARE = 0.05


@dataclass(slots=True)
class HeadPages:
    """The pages of a head at the snapshot `state`, which a read transaction of ours pins.

    `wal` is a descriptor of the WAL. The file itself is read through `vfs`, SQLite's own or that of
    forks: a plain open and close would drop this process's locks on it.
    """

    path: str
    page_size: int
    state: WalState
    wal: int
    vfs: str = ""
    _frames: dict[PageNumber, int] | None = None
    _file: apsw.VFSFile | None = None

    @property
    def page_count(self) -> int:
        """Pages in the database at the snapshot."""
        if self.state.frames:
            return self.state.pages
        return self._open().xFileSize() // self.page_size

    def _open(self) -> apsw.VFSFile:
        if self._file is None:
            flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
            self._file = apsw.VFSFile(self.vfs, self.path, flags)
        return self._file

    def read_page(self, page_number: PageNumber) -> bytes:
        """One page; the lock-byte page, which SQLite never writes, is zeros."""
        if self._frames is None:
            self._frames = {}
            if self.state.frames:
                run = read_frames(self.wal, 1, self.state.frames, self.page_size, self.state.salts)
                for _begins, _size, frames in commits_of(run):
                    self._frames.update(frames)
        frame = self._frames.get(page_number)
        if frame is not None:
            page = read_page(self.wal, frame, self.page_size)
        else:
            page = self._open().xRead(self.page_size, (page_number - 1) * self.page_size)
            if len(page) < self.page_size:
                page = page + bytes(self.page_size - len(page))
        if page_number == 1:
            page = page[:18] + _WAL_JOURNAL + page[_JOURNAL_BYTES_END:]
        return page

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.xClose()
            self._file = None


def adopt(
    pages: HeadPages, history: BranchHistory, position: CapturedPosition, at: Microseconds,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Seal every page of a database that had no history as its first commit."""
    lsn = Lsn(history.newest_lsn + 1)
    commit = NewCommit(
        lsn=lsn,
        committed_at=at,
        page_count=pages.page_count,
        flags=CommitFlag.BASE,
        author=None,
        message="adopted an existing SQLite database",
    )
    history.seal(
        [commit],
        _all_pages(pages, lsn, progress),
        captured=position.to_json(),
        predecessor=None,
    )


def _all_pages(
    pages: HeadPages, lsn: Lsn, progress: Progress | None
) -> Iterator[tuple[PageNumber, Lsn, bytes]]:
    total = pages.page_count
    lock_page = SQLITE_LOCK_PAGE_AT // pages.page_size + 1
    for number in range(1, total + 1):
        if number != lock_page:
            yield PageNumber(number), lsn, pages.read_page(PageNumber(number))
        if progress is not None and (number % 256 == 0 or number == total):
            progress(number, total)


def close_gap(
    pages: HeadPages,
    own: BranchHistory,
    history: PageHistory,
    position: CapturedPosition,
    at: Microseconds,
    reason: str,
) -> Lsn | None:
    """Seal what differs between the head and history's newest commit as one commit, a gap.

    Returns the gap's LSN, or None when nothing differs (somebody checkpointed what we had seen).
    Errors: LostCommitsError when the head is what it was before commits that history has;
            ForeignDirectoryError when the head shares next to nothing with history.
    """
    newest = own.newest_lsn
    view = history.view(newest)
    try:
        differing = differing_pages_of(pages, view)
        if not differing and view.page_count == pages.page_count:
            own.seal([], (), captured=position.to_json(), predecessor=None)
            return None
        captured = CapturedPosition.from_json(own.captured)
        if captured.checkpointed < newest and equals_moment(pages, history, captured.checkpointed):
            raise LostCommitsError(
                f"the head is at LSN {captured.checkpointed}, but history has commits up to "
                f"LSN {newest}: the WAL with {newest - captured.checkpointed} of them is lost"
            )
        if len(differing) > 16 and len(differing) > (1 - _SAME_DATABASE_SHARE) * pages.page_count:
            raise ForeignDirectoryError(
                f"{pages.path} shares {pages.page_count - len(differing)} of {pages.page_count} "
                "pages with the newest commit of the history beside it: it is another database",
                hint="if the file was replaced on purpose, `dosql detach` it (the history is "
                "removed) and open it again; otherwise put the right file back",
            )
        lsn = Lsn(newest + 1)
        commit = NewCommit(
            lsn=lsn,
            committed_at=at,
            page_count=pages.page_count,
            flags=CommitFlag.GAP | CommitFlag.FOREIGN | CommitFlag.ESTIMATED_TIME,
            author=None,
            message=f"changed outside DoSQL while nobody watched: {reason}",
        )
        if position.is_complete:
            position = replace(position, checkpointed=lsn)
        own.seal(
            [commit],
            ((page, lsn, pages.read_page(page)) for page in differing),
            captured=position.to_json(),
            predecessor=lambda page, _lsn: (
                view.read_page(page) if page <= view.page_count else None
            ),
        )
    finally:
        view.close()
    return lsn


def differing_pages_of(pages: HeadPages, view: PageView) -> list[PageNumber]:
    """The pages of a head that are not those of a view, the lock-byte page aside."""
    lock_page = SQLITE_LOCK_PAGE_AT // pages.page_size + 1
    return [
        PageNumber(number)
        for number in range(1, pages.page_count + 1)
        if number != lock_page
        and (
            number > view.page_count
            or _comparable(number, pages.read_page(PageNumber(number)))
            != _comparable(number, view.read_page(PageNumber(number)))
        )
    ]


def _comparable(number: int, page: bytes) -> bytes:
    """The page without what a change of journal mode writes: the mode and the change counters."""
    if number > 1:
        return page
    return page[:18] + page[20:24] + page[28:92] + page[100:]


def equals_moment(pages: HeadPages, history: PageHistory, lsn: Lsn) -> bool:
    """Whether a head is what it was at `lsn`; False when that moment is no longer kept."""
    if lsn == EMPTY_LSN:
        return pages.page_count == 0 or (pages.page_count == 1 and _is_empty_schema(pages))
    try:
        view = history.view(lsn)
    except HistoryExpiredError:
        return False
    try:
        return view.page_count == pages.page_count and not differing_pages_of(pages, view)
    finally:
        view.close()


def _is_empty_schema(pages: HeadPages) -> bool:
    """Whether the first page, which switching to WAL mode writes, lists no table."""
    cell_count = pages.read_page(PageNumber(1))[_SCHEMA_CELL_COUNT]
    return int.from_bytes(cell_count, "big") == 0
