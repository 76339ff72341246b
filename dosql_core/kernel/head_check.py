"""Compare a head with its history, and have SQLite check heads and moments of the past."""

from __future__ import annotations

import apsw

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.kernel.adoption import SQLITE_LOCK_PAGE_AT, differing_pages_of
from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI, run
from dosql_core.kernel.head import Head
from dosql_core.kernel.past_vfs import Pages, past_vfs, view_uri
from dosql_core.kernel.wal_index import WalState
from dosql_core.storage.page_history import PageView


def differing_pages(head: Head, state: WalState, lsn: Lsn) -> list[PageNumber]:
    """Pages of the head at `state`, which a transaction pins, that are not those of `lsn`."""
    view = head.history.view(lsn)
    try:
        if head.overlay is not None:
            return _differing_by_sqlite(head, view)
        pages = head.pages(state)
        try:
            return differing_pages_of(pages, view) if view.page_count else []
        finally:
            pages.close()
    finally:
        view.close()


def _differing_by_sqlite(head: Head, view: PageView) -> list[PageNumber]:
    """As above for a fork, whose pages only its VFS can tell: read through a backup in memory."""
    size = view.page_count * view.page_size
    if not size:
        return []
    copy = apsw.Connection(":memory:")
    try:
        with copy.backup("main", head.pin_connection, "main") as backup:
            backup.step(-1)
        image = copy.serialize("main")
    finally:
        copy.close()
    found = []
    lock_page = SQLITE_LOCK_PAGE_AT // view.page_size + 1
    for number in range(1, view.page_count + 1):
        begins = (number - 1) * view.page_size
        here, there = image[begins : begins + view.page_size], view.read_page(number)
        if number == 1:  # the backup writes its own change counters and journal mode
            here, there = here[100:], there[100:]
        if number != lock_page and here != there:
            found.append(PageNumber(number))
    return found


def integrity_of_head(connection: apsw.Connection) -> list[str]:
    """What SQLite's integrity_check complains of."""
    return _complaints(connection)


def integrity_of_pages(pages: Pages) -> list[str]:
    """What SQLite's integrity_check complains of in a view."""
    if not pages.page_count:
        return []
    name = past_vfs().register(pages)
    try:
        connection = apsw.Connection(view_uri(name), flags=OPEN_READ_ONLY | OPEN_URI)
    finally:
        past_vfs().forget(name)
    try:
        return _complaints(connection)
    finally:
        connection.close()


def _complaints(connection: apsw.Connection) -> list[str]:
    try:
        rows = run(connection, "PRAGMA integrity_check(20)")
    except apsw.Error as error:
        return [str(error)]
    return [str(row[0]) for row in rows if row[0] != "ok"]
