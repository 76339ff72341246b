"""Writing the database of one moment as a stock SQLite file."""

from __future__ import annotations

import os

from dosql_core.storage.durable_files import remove_quietly, sync_directory, telling_disk_errors
from dosql_core.storage.page_history import PageView
from dosql_core.storage.sealing import Progress

_VERSION_BYTES = slice(18, 20)
_ROLLBACK_JOURNAL = b"\x01\x01"
_PROGRESS_EVERY = 1024


@telling_disk_errors()
def write_database(view: PageView, path: str, progress: Progress | None = None) -> None:
    """Write all pages of `view` into a new file, a SQLite database in rollback journal mode.

    It is durable on return; after an error there is no file.

    Errors: FileExistsError when `path` exists; DiskFullError, DiskError; CorruptStoreError when a
            page cannot be read.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb", buffering=1 << 20) as file:
            for page in range(1, view.page_count + 1):
                content = view.read_page(page)
                if page == 1:
                    content = _as_rollback_journal(content)
                file.write(content)
                if progress is not None and page % _PROGRESS_EVERY == 0:
                    progress(page, view.page_count)
            file.flush()
            os.fsync(descriptor)
        sync_directory(os.path.dirname(os.path.abspath(path)))
    except BaseException:
        remove_quietly(path)
        raise
    if progress is not None:
        progress(view.page_count, view.page_count)


def _as_rollback_journal(first_page: bytes) -> bytes:
    """The first page with the header saying so: a WAL database cannot be opened read-only."""
    changed = bytearray(first_page)
    changed[_VERSION_BYTES] = _ROLLBACK_JOURNAL
    return bytes(changed)
