"""Branches, snapshots and restores as DDL elements: `connection.execute(CreateBranch("dev"))`.

Like other DDL they can be listened for and put behind metadata events. None of them is part of the
transaction it stands in, and RESTORE refuses to run while one is open.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from sqlalchemy_dosql.driver import Place
from sqlalchemy_dosql.moments import literal_moment, quoted


class _HistoryElement(ExecutableDDLElement):
    """A statement about history: `sql` is its text."""

    inherit_cache = False

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(_HistoryElement, "sqlite")
def _text_of(element: Any, compiler: Any, **_options: Any) -> str:
    """The text as it is: the driver's parameters are question marks, which these have none of."""
    text: str = element.sql
    return text


class CreateBranch(_HistoryElement):
    """CREATE BRANCH: fork the database, now or as of a moment, from a branch or this one."""

    def __init__(
        self,
        name: str,
        *,
        source: str | None = None,
        as_of: Any = None,
        if_not_exists: bool = False,
    ) -> None:
        super().__init__(
            "CREATE BRANCH "
            + ("IF NOT EXISTS " if if_not_exists else "")
            + quoted(name)
            + (f" FROM {quoted(source)}" if source is not None else "")
            + _as_of(as_of)
        )
        self.name = name


class DropBranch(_HistoryElement):
    """DROP BRANCH; `force` drops one that has branches of its own or was not merged."""

    def __init__(self, name: str, *, if_exists: bool = False, force: bool = False) -> None:
        super().__init__(
            "DROP BRANCH "
            + ("IF EXISTS " if if_exists else "")
            + quoted(name)
            + (" FORCE" if force else "")
        )
        self.name = name


class CreateSnapshot(_HistoryElement):
    """CREATE SNAPSHOT: name a moment, the present one or an earlier."""

    def __init__(self, name: str, *, as_of: Any = None, if_not_exists: bool = False) -> None:
        super().__init__(
            "CREATE SNAPSHOT "
            + ("IF NOT EXISTS " if if_not_exists else "")
            + quoted(name)
            + _as_of(as_of)
        )
        self.name = name


class DropSnapshot(_HistoryElement):
    """DROP SNAPSHOT: the moment is not kept for its name's sake any more."""

    def __init__(self, name: str, *, if_exists: bool = False) -> None:
        super().__init__(f"DROP SNAPSHOT {'IF EXISTS ' if if_exists else ''}{quoted(name)}")
        self.name = name


class RestoreTo(_HistoryElement):
    """RESTORE: put the branch back to a moment, as a new commit that can itself be undone."""

    def __init__(self, moment: Any) -> None:
        super().__init__(f"RESTORE TO {literal_moment(Place(None, moment))}")


class RestoreTable(_HistoryElement):
    """RESTORE TABLE: put one table back to a moment, or make `into` of what it was then."""

    def __init__(self, table: Any, moment: Any, *, into: str | None = None) -> None:
        name = getattr(table, "name", table)
        super().__init__(
            f"RESTORE TABLE {_name(name)}"
            + (f" AS {_name(into)}" if into is not None else "")
            + f" TO {literal_moment(Place(None, moment))}"
        )


def _as_of(moment: Any) -> str:
    return "" if moment is None else f" AS OF {literal_moment(Place(None, moment))}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
