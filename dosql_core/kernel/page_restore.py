"""Make a head what it was at a moment, as one commit that writes the pages that differ.

SQLite's API writes a page as a whole only by its backup, which writes all of them. So the frames of
the commit are put into the WAL here, where SQLite would put them, while its write lock is held.
Then the header of the WAL index is made invalid, and SQLite builds the index anew from the WAL, as
it does after a crash: readers stay where they are, and whoever begins to read sees the commit.

Until the frames are whole and synced they lie behind the committed end of the WAL, where nobody
looks, and the next commit is written over them. A crash before the header is made invalid leaves
the head as it was, one afterwards as it is to be. docs/decisions/0019.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

import apsw

from dosql_core.errors import DatabaseLockedError
from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI, open_internal, run
from dosql_core.kernel.head import Head
from dosql_core.kernel.past_vfs import past_vfs, view_uri
from dosql_core.storage.durable_files import telling_disk_errors
from dosql_core.storage.page_history import PageView
from dosql_core.storage.segment_format import CommitFlag
from dosql_core.storage.wal_frames import WAL_HEADER_BYTES, frame_offset, read_wal_header
from dosql_core.storage.wal_writing import commit_frames, has_big_endian_checksums, wal_header

_GATE_SECONDS = 30.0
# Beyond this share of the pages SQLite's backup, which copies in C, takes less time for all.
_WORTH_CHOOSING_SHARE = 0.3
_SCHEMA_PAGE = PageNumber(1)
_CHANGE_COUNTER = slice(24, 28)
_SCHEMA_COOKIE = slice(40, 44)
_VERSION_VALID_FOR = slice(92, 96)
_JOURNAL_BYTES = slice(18, 20)
_WAL_JOURNAL = b"\x02\x02"
_LOCK_PAGE_AT = 1 << 30


def restore_pages(head: Head, then: PageView, *, author: str | None, message: str | None) -> Lsn:
    """Make the head equal to `then` and return the LSN of the commit that did it.

    Errors: DatabaseLockedError when writers do not make room.
    """
    writer = open_internal(head.place.database_path, vfs=head.vfs)
    writer.set_busy_timeout(int(_GATE_SECONDS * 1000))
    try:
        head.gate.enter(_GATE_SECONDS)
        try:
            lsn = _write_what_differs(head, writer, then, author, message)
            if lsn is None:
                lsn = _write_everything(head, writer, then, author, message)
        except (apsw.BusyError, apsw.LockedError) as error:
            raise DatabaseLockedError("database is locked") from error
        finally:
            head.gate.leave()
    finally:
        writer.close()
    head.keeping.note_frames(head.index.state().frames)
    return lsn


def _write_what_differs(
    head: Head, writer: apsw.Connection, then: PageView, author: str | None, message: str | None
) -> Lsn | None:
    """The LSN of the commit; None, and nothing was done, where that is more work than to copy."""
    with contextlib.ExitStack() as held:
        run(writer, "BEGIN IMMEDIATE")
        held.enter_context(head.pin_lock)
        held.enter_context(head.capture)
        try:
            now = head.history.view(head.capture_now())
            changed = {_SCHEMA_PAGE, *now.changed_pages(then)}
            differing = {page for page in changed if page <= then.page_count}
            if not then.page_count or len(differing) > _WORTH_CHOOSING_SHARE * then.page_count:
                return None
            _note(head, author, message)
            _append_commit(head, _pages(now, then, differing), then.page_count)
            head.index.invalidate()
        finally:
            run(writer, "COMMIT")  # of nothing: it lets go of the lock
        run(writer, "SELECT 1 FROM sqlite_schema LIMIT 1")  # has SQLite build the index anew
        return head.capture_now()


def _note(head: Head, author: str | None, message: str | None) -> None:
    at = head.times.next_time()
    head.times.record(head.index, at)
    head.capture.describe(at, CommitFlag.RESTORE, author, message)


def _pages(
    now: PageView, then: PageView, differing: set[PageNumber]
) -> Iterator[tuple[PageNumber, bytes]]:
    lock_page = _LOCK_PAGE_AT // then.page_size + 1
    for number in sorted(differing):
        if number == _SCHEMA_PAGE:
            yield number, _first_page(now.read_page(number), then.read_page(number))
        elif number != lock_page:
            yield number, then.read_page(number)


def _first_page(now: bytes, then: bytes) -> bytes:
    """The first page as it was, with counters that go on from where they are now.

    Other connections know by the schema's cookie whether what they remember of it still holds, so
    a cookie that has been must not come back with another schema.
    """
    page = bytearray(then)
    counter = _next(now[_CHANGE_COUNTER])
    page[_JOURNAL_BYTES] = _WAL_JOURNAL
    page[_CHANGE_COUNTER] = page[_VERSION_VALID_FOR] = counter
    if now[_SCHEMA_COOKIE] != then[_SCHEMA_COOKIE]:
        page[_SCHEMA_COOKIE] = _next(now[_SCHEMA_COOKIE])
    return bytes(page)


def _next(counter: bytes) -> bytes:
    return ((int.from_bytes(counter, "big") + 1) & 0xFFFFFFFF).to_bytes(4, "big")


def _append_commit(head: Head, pages: Iterator[tuple[PageNumber, bytes]], page_count: int) -> None:
    """Write and sync a commit behind the committed end of the WAL, under the write lock."""
    state = head.index.state()
    with telling_disk_errors():
        wal = os.open(head.place.database_path + "-wal", os.O_RDWR)
    try:
        if state.frames:
            salts, checksum = state.salts, state.checksum
            is_big_endian = has_big_endian_checksums(os.pread(wal, WAL_HEADER_BYTES, 0))
        else:
            # the salts that a restart has chosen, else those of a WAL that is the first
            is_first = state.salts == (0, 0)
            salts = (secrets.randbits(32), secrets.randbits(32)) if is_first else state.salts
            former = read_wal_header(wal)
            sequence = 0 if is_first else 1 if former is None else former.checkpoint_sequence + 1
            header, checksum = wal_header(head.page_size, sequence, salts)
            is_big_endian = False
            os.pwrite(wal, header, 0)
            os.fdatasync(wal)  # old frames must not pass for those of the new header
        offset = frame_offset(state.frames + 1, head.page_size)
        for frame in commit_frames(pages, page_count, salts, checksum, is_big_endian=is_big_endian):
            os.pwrite(wal, frame, offset)
            offset += len(frame)
        os.fdatasync(wal)
    finally:
        os.close(wal)


def _write_everything(
    head: Head, writer: apsw.Connection, then: PageView, author: str | None, message: str | None
) -> Lsn:
    """SQLite's backup writes into the WAL within one transaction; it runs no commit hook."""
    name = past_vfs().register(then)
    source = apsw.Connection(view_uri(name), flags=OPEN_READ_ONLY | OPEN_URI)
    try:
        with head.pin_lock, head.capture:
            with writer.backup("main", source, "main") as backup:
                backup.step(1)
                _note(head, author, message)
                while not backup.done:
                    backup.step(-1)
            return head.capture_now()
    finally:
        source.close()
        past_vfs().forget(name)
