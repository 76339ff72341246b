"""A read-only SQLite database as of one LSN: every page comes from page history."""

from __future__ import annotations

import itertools
import threading
from typing import Protocol

import apsw

from dosql_core.kernel.connection import DISK_VFS

VFS_NAME = "dosql-past"
# A page of the past costs some 40 us to find and decode, one in SQLite's cache next to nothing;
# the memory is taken as pages are read.
CACHE_KIB_OF_A_CONNECTION = 64 * 1024
CACHE_KIB_OF_AN_ATTACHED_VIEW = 16 * 1024
_JOURNAL_BYTES = slice(18, 20)
_ROLLBACK_JOURNAL = b"\x01\x01"


class Pages(Protocol):
    """A database that never changes, page by page."""

    @property
    def page_size(self) -> int:
        """Bytes in a page."""

    @property
    def page_count(self) -> int:
        """Pages in the database; 0 for the empty one."""

    def read_page(self, page_number: int) -> bytes:
        """One page, counted from 1; exactly `page_size` bytes."""


class PastFile:
    """The database file of one view, as SQLite sees it."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._page_size = pages.page_size
        self._read_page = pages.read_page

    def xRead(self, amount: int, offset: int) -> bytes:
        number, begins = divmod(offset, self._page_size)
        if number >= self._pages.page_count:
            return b""
        page = self._read_page(number + 1)
        if number == 0:
            # the image was taken in WAL mode; without a WAL it has to say that it needs none
            page = page[:18] + _ROLLBACK_JOURNAL + page[20:]
        if amount == self._page_size and begins == 0:
            return page
        return page[begins : begins + amount]

    def xFileSize(self) -> int:
        return self._pages.page_count * self._page_size

    def xClose(self) -> None:
        pass

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_IMMUTABLE

    def xSync(self, flags: int) -> None:
        pass

    def xTruncate(self, size: int) -> None:
        raise apsw.ReadOnlyError("the past cannot be written")

    def xWrite(self, data: bytes, offset: int) -> None:
        raise apsw.ReadOnlyError("the past cannot be written")


class PastVFS(apsw.VFS):
    """Opens registered views by name; temporary files go to the ordinary VFS."""

    def __init__(self) -> None:
        self._views: dict[str, Pages] = {}
        self._numbers = itertools.count(1)
        super().__init__(VFS_NAME, DISK_VFS)

    def register(self, pages: Pages) -> str:
        """A name under which SQLite can open these pages, until `forget`."""
        name = f"/dosql-view-{next(self._numbers)}"
        self._views[name] = pages
        return name

    def forget(self, name: str) -> None:
        """Let a name go; a file opened under it stays readable."""
        self._views.pop(name, None)

    def xFullPathname(self, name: str) -> str:
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        if pathname.startswith("/dosql-view-"):
            return False
        return super().xAccess(pathname, flags)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None or not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return super().xOpen(name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        pages = self._views.get(path)
        if pages is None:
            raise apsw.CantOpenError(f"no view is registered as {path}")
        flags[1] = flags[0] & ~apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_READONLY
        return PastFile(pages)  # type: ignore[return-value]


_vfs: PastVFS | None = None
_lock = threading.Lock()


def past_vfs() -> PastVFS:
    """The VFS of views, registered with SQLite on first use."""
    global _vfs
    with _lock:
        if _vfs is None:
            _vfs = PastVFS()
        return _vfs


def view_uri(name: str) -> str:
    """The URI that opens a registered view, for a connection or for ATTACH."""
    return f"file:{name}?vfs={VFS_NAME}&mode=ro&immutable=1"
