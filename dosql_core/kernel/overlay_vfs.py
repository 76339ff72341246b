"""The head of a fork: its own pages over those of its parent's past, copy on write."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import apsw

from dosql_core.errors import CannotOpenError
from dosql_core.kernel.overlay_map import OverlayMap
from dosql_core.kernel.past_vfs import Pages

VFS_NAME = "dosql-fork"
_SQLITE_MAGIC = b"SQLite format 3\0"
# a foreign tool must not take the overlay for a database: it would recover the WAL into it
_OVERLAY_MAGIC = b"DoSQL overlay 1\0"
_WAL_JOURNAL = b"\x02\x02"


@dataclass(frozen=True, slots=True)
class Fork:
    """What the file of a fork's head is made of, besides the file."""

    own: OverlayMap
    parent: Pages


class OverlayFile(apsw.VFSFile):
    """The database file of a fork, as SQLite sees it."""

    def __init__(self, name: apsw.URIFilename | str, flags: list[int], fork: Fork) -> None:
        self._own = fork.own
        self._parent = fork.parent
        self._page_size = fork.own.page_size
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        number, begins = divmod(offset, self._page_size)
        if self._own.is_own(number + 1):
            data = super().xRead(amount, offset)
            if offset < len(_SQLITE_MAGIC) and data.startswith(_OVERLAY_MAGIC[: amount or 1]):
                data = (_SQLITE_MAGIC + data[len(_SQLITE_MAGIC) :])[:amount]
            return data
        if number >= self._parent.page_count:
            return b""
        page = self._parent.read_page(number + 1)
        if number == 0:
            page = page[:18] + _WAL_JOURNAL + page[20:]
        if amount == self._page_size:
            return page
        return page[begins : begins + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        if offset == 0 and data[: len(_SQLITE_MAGIC)] == _SQLITE_MAGIC:
            data = _OVERLAY_MAGIC + bytes(data[len(_SQLITE_MAGIC) :])
        super().xWrite(data, offset)
        self._own.add(offset // self._page_size + 1)

    def xTruncate(self, size: int) -> None:
        self._own.truncate(size // self._page_size)
        super().xTruncate(size)

    def xFileSize(self) -> int:
        own_bytes: int = super().xFileSize()
        return int(max(own_bytes, self._own.base_limit * self._page_size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._own.sync()


class OverlayVFS(apsw.VFS):
    """Opens the registered heads of forks; WAL, shared memory and temporary files are ordinary."""

    def __init__(self) -> None:
        self._forks: dict[str, Fork] = {}
        super().__init__(VFS_NAME, "")

    def register(self, path: str, fork: Fork) -> None:
        """Let SQLite open the head at `path`."""
        self._forks[path] = fork

    def forget(self, path: str) -> None:
        """Do not open it any more."""
        self._forks.pop(path, None)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None or not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return super().xOpen(name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        fork = self._forks.get(path)
        if fork is None:
            if path.endswith("head.cow"):
                raise CannotOpenError(f"{path} is the head of a branch; connect with branch=...")
            return super().xOpen(name, flags)  # a file the user attached to a fork
        return OverlayFile(name, flags, fork)


_vfs: OverlayVFS | None = None
_lock = threading.Lock()


def overlay_vfs() -> OverlayVFS:
    """The VFS of forks, registered with SQLite on first use."""
    global _vfs
    with _lock:
        if _vfs is None:
            _vfs = OverlayVFS()
        return _vfs
