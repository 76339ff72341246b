"""Compare a head with its history, and have SQLite check heads and moments of the past."""

from __future__ import annotations

import apsw

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.kernel.adoption import differing_pages_of
from dosql_core.kernel.connection import OPEN_READ_ONLY, OPEN_URI, run
from dosql_core.kernel.head import Head
from dosql_core.kernel.past_vfs import Pages, past_vfs, view_uri
from dosql_core.kernel.wal_index import WalState


def differing_pages(head: Head, state: WalState, lsn: Lsn) -> list[PageNumber]:
    """Pages of the head at `state`, which a transaction pins, that are not those of `lsn`."""
    view = head.history.view(lsn)
    try:
        pages = head.pages(state)
        try:
            if not view.page_count:
                return []
            missing = range(pages.page_count + 1, view.page_count + 1)
            return [*differing_pages_of(pages, view), *map(PageNumber, missing)]
        finally:
            pages.close()
    finally:
        view.close()


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
