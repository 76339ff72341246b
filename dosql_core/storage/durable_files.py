"""Making files and directory entries survive a power cut; the only place that calls fsync."""

from __future__ import annotations

import contextlib
import errno
import os
from types import TracebackType

from dosql_core.errors import DiskError, DiskFullError, TooManyOpenFilesError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_BROKEN = (errno.EIO, errno.EFBIG, errno.EROFS)


def is_for_want_of_descriptors(error: OSError) -> bool:
    """Whether the operating system says that there are too many open files."""
    return error.errno in _NO_DESCRIPTORS


def may_open_no_more(count: int = 1) -> bool:
    """Whether this process may not open so many files more just now."""
    opened = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return is_for_want_of_descriptors(error)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False


class telling_disk_errors(contextlib.ContextDecorator):
    """Raise ours for what the operating system says of a disk that is full or broken.

    And for what it says of a process that may open no more files.
    Other errors of its, a missing file say, mean something to whoever called and pass.
    """

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        where = f": {error.filename}" if error.filename else ""
        if error.errno in _NO_SPACE:
            raise DiskFullError(f"no space left on the disk{where}") from error
        if is_for_want_of_descriptors(error):
            raise TooManyOpenFilesError(f"too many open files{where}") from error
        if error.errno in _BROKEN:
            raise DiskError(f"the disk failed: {error.strerror}{where}") from error


@telling_disk_errors()
def sync_directory(directory: str) -> None:
    """Make the names in `directory` (files created, renamed, removed) durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@telling_disk_errors()
def make_directory(directory: str) -> None:
    """See to it that `directory` is there, and survives; missing parents are made too."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(os.path.abspath(directory))
    make_directory(parent)
    try:
        os.mkdir(directory)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise
    sync_directory(parent)


@telling_disk_errors()
def publish_file(temporary: str, path: str) -> None:
    """Give a written and synced file its final name, durably; it replaces what had that name."""
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path) or ".")


@telling_disk_errors()
def write_synced(path: str, content: bytes) -> None:
    """Create or overwrite `path` with `content` and sync the file; its name is not yet durable."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove_quietly(path: str) -> None:
    """Remove a file that may already be gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
