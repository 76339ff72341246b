"""Views of the past attached to one connection, so that a statement can read several moments."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable

import apsw

from dosql_core.errors import NotSupportedError
from dosql_core.identifiers import BranchId, Lsn
from dosql_core.kernel.connection import run
from dosql_core.kernel.past_guard import SCHEMA_PREFIX, PastGuard
from dosql_core.kernel.past_vfs import CACHE_KIB_OF_AN_ATTACHED_VIEW, Pages, past_vfs, view_uri
from dosql_core.storage.page_history import PageView

VIEWS_MAX = 16
# What SQLite says of a definition that is right in its database, and wrong under another name.
_SPELLS_OUT_MAIN = "cannot reference objects in database main"


class AttachedViews:
    """The moments one connection has attached; the least recently used make room for new ones."""

    def __init__(
        self,
        connection: apsw.Connection,
        open_view: Callable[[BranchId, Lsn], PageView],
        make_attachable: Callable[[PageView], Pages],
        guard: PastGuard | None = None,
    ) -> None:
        self._connection = connection
        self._open_view = open_view
        self._make_attachable = make_attachable  # for one that can stand under no name but main
        self._guard = guard
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
        view = self._open_view(branch_id, lsn)
        try:
            self._attach(view, schema)
        except apsw.CorruptError as error:
            if _SPELLS_OUT_MAIN not in str(error):
                raise
            self._attach_as_it_can_be(view, schema, lsn)
        self._attached[key] = schema
        if self._guard is not None:
            self._guard.watch(schema)
        return schema

    @property
    def any(self) -> bool:
        """Whether a moment is attached."""
        return bool(self._attached)

    def detach_all(self) -> bool:
        """Detach every moment that nothing reads any more, and tell whether none is left."""
        for key, schema in list(self._attached.items()):
            with contextlib.suppress(apsw.SQLError):  # in use by a cursor or a transaction
                self._detach(key, schema)
        return not self._attached

    def _attach(self, pages: Pages, schema: str) -> None:
        name = past_vfs().register(pages)
        try:
            run(self._connection, f'ATTACH DATABASE ? AS "{schema}"', (view_uri(name),))
            kibibytes = CACHE_KIB_OF_AN_ATTACHED_VIEW
            run(self._connection, f'PRAGMA "{schema}".cache_size = -{kibibytes}')
        finally:
            past_vfs().forget(name)

    def _attach_as_it_can_be(self, view: PageView, schema: str, lsn: Lsn) -> None:
        try:
            self._attach(self._make_attachable(view), schema)
        except apsw.CorruptError as error:
            if _SPELLS_OUT_MAIN not in str(error):
                raise
            raise NotSupportedError(
                f"the database as of LSN {lsn} cannot be read beside the present one: {error}, and "
                "the name main has another meaning there, too",
                hint=f"connect with as_of={lsn} to read it, or define that view without main.",
            ) from error

    def _make_room(self, keep: int) -> None:
        while len(self._attached) >= max(VIEWS_MAX, keep):
            key = next(iter(self._attached))
            try:
                self._detach(key, self._attached[key])
            except apsw.SQLError:  # in use by a cursor or a transaction
                self._attached.move_to_end(key)
                return

    def _detach(self, key: tuple[BranchId, Lsn], schema: str) -> None:
        run(self._connection, f'DETACH DATABASE "{schema}"')
        del self._attached[key]
        if self._guard is not None:
            self._guard.forget(schema)
