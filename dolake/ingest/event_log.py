"""The log of what was accepted and is not yet in a snapshot, durable before it is acknowledged.

One log serves all sources, so that one sync covers everybody who waits. Its files are removed when
every record in them is in a snapshot. The layout is docs/formats/event-log.md.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from dolake.errors import DamagedEventLogError, EventLogFailedError, LakeBufferFullError
from dolake.ingest.durable_file import sync_directory

MAGIC = b"DOLAKLOG"
FORMAT_VERSION = 1
FILE_HEADER = struct.Struct("<8sI4x")
RECORD_HEADER = struct.Struct("<IIQQHBx")  # payload bytes, checksum, after, last, key bytes, kind
FILE_BYTES_MAX = 64 << 20
_SUFFIX = ".log"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where a record begins: the number of its file, and how far in it."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of the log.

    Shape: `key` names the source and branch; `kind` says how `payload` is to be read. It holds the
           commits after `after_lsn` up to `last_lsn`.
    """

    key: str
    kind: int
    after_lsn: int
    last_lsn: int
    payload: bytes


@dataclass(slots=True)
class _LogFile:
    path: Path
    descriptor: int
    size_bytes: int
    last_lsns: dict[str, int] = field(default_factory=dict)


class EventLog:
    """An append-only log in a directory. Safe for any number of threads.

    Durability: `append` hands the bytes to the operating system, so that they survive this
                process; the future of `synced` is done when they survive a power cut.
    Errors:     LakeBufferFullError at `bytes_max` or on a full disk, with nothing appended;
                EventLogFailedError for ever after a write or a sync that failed otherwise.
    """

    def __init__(self, directory: Path, *, bytes_max: int) -> None:
        """Open or make the log; a record that a crash cut short is removed.

        Errors: DamagedEventLogError.
        """
        self._directory = directory
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._files: dict[int, _LogFile] = {}
        self._failure: EventLogFailedError | None = None
        self._waiting: list[Future[None]] = []
        self._wake = threading.Condition()
        self._is_closed = False
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(directory.glob("*" + _SUFFIX)):
            self._open_file(int(path.stem), path)
        if not self._files:
            self._new_file(1)
        self._syncer = threading.Thread(target=self._sync_when_asked, name="event log", daemon=True)
        self._syncer.start()

    # -- writing -----------------------------------------------------------------------------------

    def append(self, record: LogRecord) -> LogPosition:
        """Add a record; it survives this process from now on."""
        key = record.key.encode()
        tail = key + record.payload
        header = RECORD_HEADER.pack(
            len(record.payload),
            _checksum(record, tail),
            record.after_lsn,
            record.last_lsn,
            len(key),
            record.kind,
        )
        with self._lock:
            self._refuse_if_failed()
            record_bytes = len(header) + len(tail)
            if self.size_bytes + record_bytes > self._bytes_max:
                self._reclaim()
            if self.size_bytes + record_bytes > self._bytes_max:
                raise LakeBufferFullError(
                    f"the log of changes holds {self.size_bytes} of {self._bytes_max} bytes"
                )
            number = max(self._files)
            file = self._files[number]
            if file.size_bytes >= FILE_BYTES_MAX:
                number += 1
                file = self._new_file(number)
            try:
                position = LogPosition(number, file.size_bytes)
                self._write(file, header + tail)
            except LakeBufferFullError:  # the disk is full
                if not self._reclaim():
                    raise
                position = LogPosition(number, file.size_bytes)
                self._write(file, header + tail)
            file.last_lsns[record.key] = max(file.last_lsns.get(record.key, 0), record.last_lsn)
            return position

    def synced(self) -> Future[None]:
        """A future that is done when everything appended so far survives a power cut."""
        waiting: Future[None] = Future()
        with self._wake:
            if self._is_closed:
                waiting.set_exception(EventLogFailedError("the log is closed"))
                return waiting
            self._waiting.append(waiting)
            self._wake.notify()
        return waiting

    def release(self, key: str, lsn: int) -> None:
        """Everything of a source up to `lsn` is in a snapshot: remove files nobody needs."""
        with self._lock:
            newest = max(self._files)
            for number, file in list(self._files.items()):
                if file.last_lsns.get(key, lsn + 1) <= lsn:
                    del file.last_lsns[key]
                if not file.last_lsns and number != newest:
                    self._remove(number)
            if self._files[newest].size_bytes > FILE_BYTES_MAX // 4:
                self._reclaim()

    @property
    def size_bytes(self) -> int:
        """What the log's files hold together."""
        return sum(file.size_bytes for file in self._files.values())

    # -- reading -----------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[LogPosition, LogRecord]]:
        """Every record, the oldest first. Errors: DamagedEventLogError."""
        for number, file in sorted(self._files.items()):
            offset = FILE_HEADER.size
            while offset < file.size_bytes:
                record, offset_behind = self._record_at(file, offset)
                yield LogPosition(number, offset), record
                offset = offset_behind

    def read(self, position: LogPosition) -> LogRecord:
        """One record. Errors: DamagedEventLogError."""
        return self._record_at(self._files[position.file], position.offset)[0]

    def close(self) -> None:
        """Sync what is waited for and let go."""
        with self._wake:
            if self._is_closed:
                return
            self._is_closed = True
            self._wake.notify()
        self._syncer.join()
        with self._lock:
            for file in self._files.values():
                os.close(file.descriptor)

    # -- files -------------------------------------------------------------------------------------

    def _new_file(self, number: int) -> _LogFile:
        if self._files:
            os.fsync(self._files[max(self._files)].descriptor)  # nobody syncs it any more
        path = self._directory / f"{number:016d}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        file = _LogFile(path, descriptor, 0)
        self._files[number] = file
        self._write(file, FILE_HEADER.pack(MAGIC, FORMAT_VERSION))
        os.fsync(descriptor)
        sync_directory(self._directory)
        return file

    def _open_file(self, number: int, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR)
        size = os.fstat(descriptor).st_size
        file = _LogFile(path, descriptor, size)
        header = os.pread(descriptor, FILE_HEADER.size, 0)
        if len(header) < FILE_HEADER.size:  # a crash while it was made: nothing was in it
            os.close(descriptor)
            path.unlink()
            return
        magic, version = FILE_HEADER.unpack(header)
        if magic != MAGIC or version != FORMAT_VERSION:
            raise DamagedEventLogError(f"{path} does not begin as a log of version 1 does")
        self._files[number] = file
        is_newest = path == max(self._directory.glob("*" + _SUFFIX))
        offset = FILE_HEADER.size
        while offset < size:
            try:
                record, offset_behind = self._record_at(file, offset)
            except DamagedEventLogError:
                if not is_newest:
                    raise
                # Only what was never synced can be torn, and that was never acknowledged.
                os.ftruncate(descriptor, offset)
                os.fsync(descriptor)
                file.size_bytes = offset
                return
            file.last_lsns[record.key] = max(file.last_lsns.get(record.key, 0), record.last_lsn)
            offset = offset_behind

    def _record_at(self, file: _LogFile, offset: int) -> tuple[LogRecord, int]:
        raw = os.pread(file.descriptor, RECORD_HEADER.size, offset)
        if len(raw) < RECORD_HEADER.size:
            raise DamagedEventLogError(f"{file.path}: the record at {offset} is cut short")
        payload_bytes, checksum, after, last, key_bytes, kind = RECORD_HEADER.unpack(raw)
        behind = offset + RECORD_HEADER.size + key_bytes + payload_bytes
        if behind > file.size_bytes:
            raise DamagedEventLogError(f"{file.path}: the record at {offset} is cut short")
        tail = os.pread(file.descriptor, key_bytes + payload_bytes, offset + RECORD_HEADER.size)
        key = tail[:key_bytes].decode("utf-8", "replace")
        record = LogRecord(key, kind, after, last, tail[key_bytes:])
        if _checksum(record, tail) != checksum:
            raise DamagedEventLogError(f"{file.path}: the record at {offset} fails its checksum")
        return record, behind

    def _write(self, file: _LogFile, data: bytes) -> None:
        view = memoryview(data)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(file.descriptor, view[written:], file.size_bytes + written)
        except OSError as error:
            try:
                os.ftruncate(file.descriptor, file.size_bytes)
            except OSError as second:
                raise self._fail(second) from second
            raise LakeBufferFullError(f"the log of changes: {error.strerror}") from error
        file.size_bytes += written

    def _reclaim(self) -> bool:
        """Empty the newest file where all in it is in snapshots; whether that made room.

        In place, for on a full disk there is none for another file.
        """
        newest = self._files[max(self._files)]
        if newest.last_lsns or newest.size_bytes == FILE_HEADER.size:
            return False
        try:
            os.ftruncate(newest.descriptor, FILE_HEADER.size)
        except OSError as error:
            raise self._fail(error) from error
        newest.size_bytes = FILE_HEADER.size
        return True

    def _remove(self, number: int) -> None:
        file = self._files.pop(number)
        os.close(file.descriptor)
        file.path.unlink()

    # -- syncing -----------------------------------------------------------------------------------

    def _sync_when_asked(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._is_closed:
                    self._wake.wait()
                waiting, self._waiting = self._waiting, []
                if not waiting:
                    return
            try:
                self._sync()
            except EventLogFailedError as error:
                for each in waiting:
                    _settle(each, error)
            else:
                for each in waiting:
                    _settle(each, None)

    def _sync(self) -> None:
        with self._lock:
            self._refuse_if_failed()
            # A descriptor of our own, so that the file may be removed meanwhile.
            descriptor = os.dup(self._files[max(self._files)].descriptor)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._fail(error) from error
        finally:
            os.close(descriptor)

    def _fail(self, error: OSError) -> EventLogFailedError:
        # What a failed sync left on the disk is unknown, and trying again would not tell.
        self._failure = EventLogFailedError(f"the log of changes: {error.strerror}")
        return self._failure

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            raise EventLogFailedError(str(self._failure))


def _checksum(record: LogRecord, tail: bytes) -> int:
    numbers = struct.pack("<QQB", record.after_lsn, record.last_lsn, record.kind)
    return zlib.crc32(tail, zlib.crc32(numbers))


def _settle(waiting: Future[None], error: BaseException | None) -> None:
    with contextlib.suppress(Exception):  # whoever waited may have gone
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
