"""The newest versions of recently sealed pages, in memory: the next seal builds on them."""

from __future__ import annotations

from collections import OrderedDict

from dosql_core.identifiers import PageNumber
from dosql_core.storage.block_encoding import Predecessor

BYTES_MAX = 16 * 1024 * 1024


class NewestVersions:
    """Versions by page, those sealed longest ago leaving first.

    Without them the predecessor of every page sealed would be found and decoded again, at about
    60 us each. One thread at a time.
    """

    def __init__(self) -> None:
        self._versions: OrderedDict[PageNumber, Predecessor] = OrderedDict()
        self._bytes = 0

    def take(self, page: PageNumber) -> Predecessor | None:
        """The newest version of `page` if it is remembered; it no longer is then."""
        version = self._versions.pop(page, None)
        if version is not None:
            self._bytes -= len(version.content)
        return version

    def keep(self, page: PageNumber, version: Predecessor) -> None:
        """Remember the newest version of a page that is not remembered (see `take`)."""
        self._versions[page] = version
        self._bytes += len(version.content)
        while self._bytes > BYTES_MAX:
            _, oldest = self._versions.popitem(last=False)
            self._bytes -= len(oldest.content)

    def forget(self) -> None:
        """Forget everything, as when a seal failed half-way or another process sealed."""
        self._versions.clear()
        self._bytes = 0
