"""Views of the past attached to one connection, so that a statement can read several moments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import apsw

from dosql_core.errors import NotSupportedError
from dosql_core.identifiers import BranchId, Lsn
from dosql_core.kernel.connection import run
from dosql_core.kernel.past_vfs import CACHE_KIB_OF_AN_ATTACHED_VIEW, past_vfs, view_uri
from dosql_core.storage.page_history import PageView

VIEWS_MAX = 16
SCHEMA_PREFIX = "_dosql_"


class AttachedViews:
    """The moments one connection has attached; the least recently used make room for new ones."""

    def __init__(
        self, connection: apsw.Connection, open_view: Callable[[BranchId, Lsn], PageView]
    ) -> None:
        self._connection = connection
        self._open_view = open_view
        self._attached: OrderedDict[tuple[BranchId, Lsn], str] = OrderedDict()

    def has(self, branch_id: BranchId, lsn: Lsn) -> bool:
        """Whether the moment is attached."""
        return (branch_id, lsn) in self._attached

    def schema_of(self, branch_id: BranchId, lsn: Lsn, *, keep: int = 1) -> str:
        """The schema under which the moment can be read; `keep` of the newest stay attached.

        ATTACH works inside a transaction, DETACH of a schema in use does not: such views stay
        until there is a quiet moment.
        """
        key = (branch_id, lsn)
        schema = self._attached.get(key)
        if schema is not None:
            self._attached.move_to_end(key)
            return schema
        self._make_room(keep)
        schema = f"{SCHEMA_PREFIX}{branch_id}_{lsn}"
        name = past_vfs().register(self._open_view(branch_id, lsn))
        try:
            run(self._connection, f'ATTACH DATABASE ? AS "{schema}"', (view_uri(name),))
            kibibytes = CACHE_KIB_OF_AN_ATTACHED_VIEW
            run(self._connection, f'PRAGMA "{schema}".cache_size = -{kibibytes}')
        except apsw.CorruptError as error:
            raise _refusal(error, lsn) from error
        finally:
            past_vfs().forget(name)
        self._attached[key] = schema
        return schema

    def _make_room(self, keep: int) -> None:
        while len(self._attached) >= max(VIEWS_MAX, keep):
            key = next(iter(self._attached))
            try:
                run(self._connection, f'DETACH DATABASE "{self._attached[key]}"')
            except apsw.SQLError:  # in use by a cursor or a transaction
                self._attached.move_to_end(key)
                return
            del self._attached[key]


def _refusal(error: apsw.CorruptError, lsn: Lsn) -> Exception:
    """What to say when SQLite cannot attach a past: one of its views or triggers spells out main.

    Such a definition is valid in the database itself, and wrong under any other schema name.
    """
    said = str(error)
    if "cannot reference objects in database" not in said:
        return error
    return NotSupportedError(
        f"the database as of LSN {lsn} cannot be read beside the present one: {said}",
        hint=f"connect with as_of={lsn} to read it, or define that view without naming a schema",
    )
